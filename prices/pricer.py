"""Prices of one chain's tokens at blocks: read in one snapshot, judged, and remembered by the block's hash."""

from collections import OrderedDict
from collections.abc import Collection, Mapping
from itertools import combinations
from typing import Final

from core.store import reader, ticks
from core.store.pool import Connection, Pool, translated
from core.store.ticks import Tick
from core.types import BlockRef
from prices import judge, routes
from prices.judge import Basis, Price, Word
from prices.routes import Venue

REMEMBERED: Final = 10_000  # prices; about 30 MB, measured

# What may change while the block stays: more blocks are filled, a token's metadata is read.
PASSING: Final[frozenset[Word]] = frozenset({"not_covered"})


class Pricer:
    """Prices of the tokens of one chain."""

    def __init__(self, pool: Pool, chain_id: int, venue: Venue) -> None:
        self._pool = pool
        self._chain = chain_id
        self.venue = venue
        # A block's hash names all that went before it, so what was found for it once stays true.
        self._known: OrderedDict[tuple[bytes, bytes], Price] = OrderedDict()

    async def prices(self, wanted: Mapping[BlockRef, Collection[bytes]]) -> dict[tuple[BlockRef, bytes], Price]:
        """Return the price of each token (the wrapper stands for the native coin) at the end of each block."""
        found: dict[tuple[BlockRef, bytes], Price] = {}
        missing: dict[BlockRef, set[bytes]] = {}
        for block, tokens in wanted.items():
            for token in tokens:
                known = self._known.get((block.hash, token))
                if known is None:
                    missing.setdefault(block, set()).add(token)
                else:
                    self._known.move_to_end((block.hash, token))
                    found[block, token] = known
        if missing:
            with translated():
                async with reader.snapshot(self._pool) as conn:
                    watched = await ticks.watched(conn, self._chain)
                    for block, tokens in missing.items():
                        for price in await self._at(conn, block, tokens, watched):
                            found[block, price.token] = price
                            self._remember(price)
        return found

    async def _at(
        self, conn: Connection, block: BlockRef, tokens: Collection[bytes], watched: frozenset[bytes] | None
    ) -> list[Price]:
        venue = self.venue
        ground = await ticks.ground(conn, self._chain, block, max_age=venue.max_age, window=judge.WINDOW)
        decimals = await self._decimals(conn, block)
        if ground is None:
            return [Price(token=token, block=block, reason="not_covered") for token in tokens]
        known = routes.pools(venue, tokens)
        # Of a pool that is not watched only some swaps are stored.
        asked = [address for address in known if watched is None or address in watched]
        newest = await ticks.newest(conn, self._chain, asked, ground.since, block.number)
        ways = routes.routes(venue, known, newest)
        used = {hop.pool.address for token in (*tokens, *venue.stables) if token in ways for hop in ways[token].hops}
        means = await ticks.means(conn, self._chain, used, ground)
        basis = Basis(venue, block, ground.time, means)
        wei = judge.usd_of_wei(basis, ways, decimals)
        return [judge.priced(basis, token, ways.get(token), wei) for token in tokens]

    async def pool_at(self, address: bytes) -> routes.Pool | None:
        """Return the key of a pool of the venue that a stored swap is of, None for any other address.

        The swap's own transaction names the tokens, and the address proves them.
        """
        with translated():
            async with reader.snapshot(self._pool) as conn:
                moved = sorted(await ticks.tokens_of(conn, self._chain, address))
        pairs = ((one, other, fee) for one, other in combinations(moved, 2) for fee in self.venue.fees)
        found = (routes.pool(self.venue, *pair) for pair in pairs)
        return next((each for each in found if each.address == address), None)

    async def deepest(self, one: bytes, other: bytes) -> routes.Pool | None:
        """Return the pool of two tokens that has most liquidity in range now, None if no stored log is of one."""
        known = {each.address: each for each in (routes.pool(self.venue, one, other, fee) for fee in self.venue.fees)}
        with translated():
            async with reader.snapshot(self._pool) as conn:
                found = await ticks.newest(conn, self._chain, list(known), 0, reader.MAX_BLOCK_NUMBER)
        best: Tick | None = max(found.values(), key=lambda tick: (tick.liquidity, tick.pool), default=None)
        return None if best is None else known[best.pool]

    async def _decimals(self, conn: Connection, block: BlockRef) -> dict[bytes, int]:
        """Return the decimals of the stables whose metadata is known."""
        versions = await reader.token_versions(conn, self._chain, self.venue.stables)
        said = {token: reader.at_block(found, token, block.number).decimals for token, found in versions.items()}
        return {token: decimals for token, decimals in said.items() if decimals is not None}

    def _remember(self, price: Price) -> None:
        if price.reason in PASSING:
            return
        self._known[price.block.hash, price.token] = price
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
