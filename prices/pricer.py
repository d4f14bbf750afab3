"""Prices of one chain's tokens at blocks: read in one snapshot, judged, and remembered by the block's hash."""

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations
from typing import Final

from core.store import reader, ticks, transactions
from core.store.pool import Pool, translated
from core.store.ticks import Tick
from core.types import BlockRef
from prices import judge, routes
from prices.history import History
from prices.judge import Basis, Price, Usd, Word, uncovered
from prices.routes import Past, Venue, Way

TURN: Final = 8  # blocks; where all are far from one another, about 0.2 s
BLOCKS: Final = 3_000  # whose own figures are remembered
REMEMBERED: Final = 10_000  # prices; with what answers show of them about 6 kB each, measured

# What may change while the block stays: more blocks are filled, a token's metadata is read.
PASSING: Final[frozenset[Word]] = frozenset({"not_covered"})


@dataclass(frozen=True, slots=True)
class _Block:
    """What all prices at one block have in common."""

    basis: Basis
    bases: Mapping[bytes, Way]
    wei: Usd | Word


class Pricer:
    """Prices of the tokens of one chain."""

    def __init__(self, pool: Pool, chain_id: int, venue: Venue) -> None:
        self._pool = pool
        self._chain = chain_id
        self.venue = venue
        self._bases = routes.pools_of_bases(venue)
        self._history = History(chain_id, venue.max_age)
        # One at a time reads what is not in memory, a few blocks, and then it is the next one's turn: of many who ask
        # for the same only the first reads, and prices take one connection from those who ask for something else.
        self._reading = asyncio.Lock()
        # A block's hash names all that went before it, so what was found for it once stays true.
        self._known: OrderedDict[tuple[bytes, bytes], Price] = OrderedDict()
        self._blocks: OrderedDict[bytes, _Block] = OrderedDict()
        self._versions: Mapping[bytes, Sequence[transactions.TokenVersion]] | None = (
            None  # of the stables' metadata, as last read
        )

    async def prices(self, wanted: Mapping[BlockRef, Collection[bytes]]) -> dict[tuple[BlockRef, bytes], Price]:
        """Return the price of each token (the wrapper stands for the native coin) at the end of each block."""
        found, missing = await self._remembered(wanted)
        blocks = sorted(missing, key=lambda each: each.number)
        for first in range(0, len(blocks), TURN):
            found |= await self._answered({block: missing[block] for block in blocks[first : first + TURN]})
        return found

    async def _answered(self, wanted: Mapping[BlockRef, Collection[bytes]]) -> dict[tuple[BlockRef, bytes], Price]:
        """Return prices that take a look into the database, when it is the caller's turn."""
        async with self._reading:
            # Somebody may have asked for the same before.
            found, missing = await self._remembered(wanted)
            read = await self._read(missing) if missing else {}
        for block, tokens in missing.items():
            for token in tokens:
                price = self._price(token, *read[block]) if block in read else uncovered(token, block)
                found[block, token] = price
                self._remember(price)
            await asyncio.sleep(0)
        return found

    async def _remembered(
        self, wanted: Mapping[BlockRef, Collection[bytes]]
    ) -> tuple[dict[tuple[BlockRef, bytes], Price], dict[BlockRef, list[bytes]]]:
        """Return the prices that are in memory or follow from what is, and what is asked for beside."""
        found: dict[tuple[BlockRef, bytes], Price] = {}
        missing: dict[BlockRef, list[bytes]] = {}
        for block, tokens in wanted.items():
            for token in tokens:
                price = self._known.get((block.hash, token))
                if price is None and (price := self._recalled(block, token)) is not None:
                    await asyncio.sleep(0)  # others get their turn: a page has many blocks
                if price is None:
                    missing.setdefault(block, []).append(token)
                else:
                    found[block, token] = price
                    self._remember(price)
        return found, missing

    def _recalled(self, block: BlockRef, token: bytes) -> Price | None:
        """Return a price that takes no look into the database, None if there is none."""
        if self._versions is None:
            return None
        known = self._blocks.get(block.hash)
        if known is None:
            bases = self._history.recall(block, self._bases)
            if bases is None:
                return None
            known = self._block(block, *bases, _decimals(self._versions, block.number))
            self._note(block, known)
        own = self._history.recall(block, routes.pools_of(self.venue, token))
        return None if own is None or known.wei in PASSING else self._price(token, known, own[1])

    async def _read(
        self, wanted: Mapping[BlockRef, Collection[bytes]]
    ) -> dict[BlockRef, tuple[_Block, Mapping[bytes, Past]]]:
        """Read what prices of these blocks rest on, in one snapshot; a block that is not covered is left out."""
        pools = {
            block: {*self._bases, *(pool for token in tokens for pool in routes.pools_of(self.venue, token))}
            for block, tokens in wanted.items()
        }
        with translated():
            async with reader.snapshot(self._pool) as conn:
                watched = await ticks.watched(conn, self._chain)
                versions = await transactions.token_versions(conn, self._chain, self.venue.stables)
                if watched is not None:  # of other pools only some swaps are stored
                    pools = {block: found & watched for block, found in pools.items()}
                read = await self._history.read(conn, pools)
        found: dict[BlockRef, tuple[_Block, Mapping[bytes, Past]]] = {}
        for block, (time, pasts) in read.items():
            known = self._blocks.get(block.hash) or self._block(block, time, pasts, _decimals(versions, block.number))
            found[block] = known, pasts
            if watched is None:
                self._note(block, known)
            await asyncio.sleep(0)
        # Where only some pools are watched nothing is recalled: `recall` is asked about all of them.
        self._versions = versions if watched is None else None
        return found

    def _note(self, block: BlockRef, known: _Block) -> None:
        if known.wei not in PASSING:
            self._blocks[block.hash] = known
            self._blocks.move_to_end(block.hash)
        while len(self._blocks) > BLOCKS:
            self._blocks.popitem(last=False)

    def _block(
        self, block: BlockRef, time: datetime, pasts: Mapping[bytes, Past], decimals: Mapping[bytes, int]
    ) -> _Block:
        of_bases = {address: past for address, past in pasts.items() if address in self._bases}
        bases = routes.ways_of_bases(self.venue, self._bases, of_bases)
        basis = Basis(self.venue, block, time, of_bases)
        return _Block(basis, bases, judge.usd_of_wei(basis, bases, decimals))

    def _price(self, token: bytes, at: _Block, pasts: Mapping[bytes, Past]) -> Price:
        pools = routes.pools_of(self.venue, token)
        way = routes.way_of(token, at.bases, pools, {each: pasts[each] for each in pools if each in pasts})
        return judge.priced(at.basis.beside(pasts), token, way, at.wei)

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

    def _remember(self, price: Price) -> None:
        if price.reason in PASSING:
            return
        self._known[price.block.hash, price.token] = price
        self._known.move_to_end((price.block.hash, price.token))
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)


def _decimals(versions: Mapping[bytes, Sequence[transactions.TokenVersion]], number: int) -> dict[bytes, int]:
    """Return the decimals of the tokens whose metadata is known, as they were at a block."""
    said = {token: transactions.at_block(found, token, number).decimals for token, found in versions.items()}
    return {token: decimals for token, decimals in said.items() if decimals is not None}
