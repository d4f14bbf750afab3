"""What readers ask of the chain tables. Only covered blocks have rows, so a row that is found counts."""

from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

import asyncpg

from core.alarm import Alarm
from core.errors import StoreUnavailable
from core.store import listing
from core.store.alarm import PgAlarms
from core.store.copy import hash_key
from core.store.held import Held
from core.store.listing import AnchorGone, Filter, Listed, Place, Window
from core.store.plans import Plans
from core.store.pool import Connection, Pool, translated
from core.store.transactions import StoredToken, StoredTx, at_block, at_places, token_versions
from core.store.verified import Completeness, PgVerified, Quarantined
from core.together import Together
from core.types import BlockRange, BlockRef, HowFinal, how_final, joined

MAX_BLOCK_NUMBER: Final = 2**63 - 2

SQL_CHAINS: Final = "select chain_id, name from chain.chain order by name"
SQL_LAG: Final = """
    select c.number, b.block_time, h.number as tip, h.block_time as tip_time, h.seen_at, now() as asked_at
    from (select $1::bigint as chain_id) as wanted
    left join chain.cursor c on c.chain_id = wanted.chain_id
    left join chain.head h on h.chain_id = wanted.chain_id
    left join chain.block b on b.chain_id = wanted.chain_id and b.number = c.number
"""
SQL_COVERAGE: Final = """
    select lower(blocks) as first, upper(blocks) - 1 as last
    from chain.coverage
    where chain_id = $1
    order by lower(blocks)
"""
# Where only events are stored, no address' transactions are.
SQL_WATCHED: Final = """
    select case when events_only then array[]::bytea[] else watched end
    from chain.chain
    where chain_id = $1
"""
SQL_MODE: Final = """
    select case when watched is null then 'full' when events_only then 'events' else 'watch' end
    from chain.chain
    where chain_id = $1
"""
SQL_BACKFILL_PAUSED: Final = "select backfill_paused from chain.chain where chain_id = $1"
SQL_BLOCK: Final = """
    select b.number, b.hash, b.block_time, b.tx_count, b.stored_tx_count,
        array(
            select t.hash from chain.transaction t
            where t.chain_id = $1 and t.block_number = $2
            order by t.tx_index
        ) as hashes,
        (select h.safe_number from chain.head h where h.chain_id = $1) as safe,
        (select h.finalized_number from chain.head h where h.chain_id = $1) as finalized,
        (select v.checks from chain.verified v where v.chain_id = $1 and v.blocks @> $2::bigint) as checks
    from chain.block b
    where b.chain_id = $1 and b.number = $2
"""
SQL_PLACES_OF_HASHES: Final = """
    select x.block_number, x.tx_index, h.safe_number as safe, h.finalized_number as finalized
    from chain.tx_hash x
    left join chain.head h on h.chain_id = $1
    where x.chain_id = $1 and x.hash_key = any($2::bigint[])
"""
# All that a page says beside its rows.
SQL_STANDING: Final = """
    select c.number, c.hash, h.safe_number as safe, h.finalized_number as finalized,
        array(select lower(v.blocks) from chain.coverage v where v.chain_id = $1 order by 1) as firsts,
        array(select upper(v.blocks) - 1 from chain.coverage v where v.chain_id = $1 order by 1) as lasts,
        (select case when w.events_only then array[]::bytea[] else w.watched end
            from chain.chain w where w.chain_id = $1) as watched
    from chain.cursor c
    left join chain.head h on h.chain_id = c.chain_id
    where c.chain_id = $1
"""
SQL_STANDARD_OF: Final = "select standard from chain.token_seen where chain_id = $1 and address = $2"


@dataclass(frozen=True, slots=True)
class Lag:
    """How far the index is behind the chain, by the database alone. Nothing indexed yet: `number` is None.

    `alarms` are those that nobody has cleared.
    """

    number: int | None
    block_time: datetime | None
    tip: int | None
    tip_time: datetime | None
    seen_at: datetime | None
    asked_at: datetime
    alarms: tuple[Alarm, ...] = ()

    @property
    def seconds(self) -> float | None:
        """Time of the tip minus time of the last indexed block, 0 at the tip; None when one is unknown."""
        if self.block_time is None or self.tip_time is None or self.number is None or self.tip is None:
            return None
        return 0.0 if self.number >= self.tip else max(0.0, (self.tip_time - self.block_time).total_seconds())

    @property
    def silence_s(self) -> float | None:
        """Seconds since a node last announced a new head; None if none ever did."""
        return None if self.seen_at is None else max(0.0, (self.asked_at - self.seen_at).total_seconds())


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """A block as listings need it. `tx_hashes` are all of its `tx_count` transactions unless it is only `watched`."""

    number: int
    hash: bytes
    block_time: datetime
    tx_hashes: tuple[bytes, ...]
    tx_count: int
    watched: bool = False
    finality: HowFinal = "latest"
    checks: int = 0  # bits of core.verify.checks.Check that it passed


class TxPage(NamedTuple):
    """One page of a listing, the block it is anchored at, and what of the blocks it speaks of is indexed.

    `anchor` is None when nothing is indexed. `covered` are the indexed ranges within the blocks that were asked for,
    `complete` whether they leave nothing out. Unless `is_exact`, there are `total` transactions or more.
    """

    txs: tuple[StoredTx, ...]
    total: int
    anchor: BlockRef | None
    covered: tuple[BlockRange, ...]
    complete: bool
    is_exact: bool = True


class _Ask(NamedTuple):
    """A page that somebody asks for."""

    wanted: Filter
    window: Window
    as_of: int | None
    as_of_hash: bytes | None

    @property
    def is_cheap(self) -> bool:
        """Whether it costs about what any other page costs, so that nobody waits for it who asked for less (ADR 41)."""
        return self.wanted.is_indexed


class Reader:
    """Reads one chain. Transactions and pages that are asked for at the same time are read in one snapshot."""

    def __init__(self, pool: Pool, chain_id: int) -> None:
        self._pool = pool
        self._chain = chain_id
        self._plans = Plans()
        self._for_hashes, self._for_pages = Held(pool), Held(pool)
        self._by_hash = Together(self._with_hashes)
        self._pages = Together(self._listed)

    async def lag(self) -> Lag:
        """Return how far the index is behind the chain."""
        with translated():
            row = await self._pool.fetchrow(SQL_LAG, self._chain)
        assert row is not None, "the query selects from a constant row"
        alarms = await PgAlarms(self._pool, self._chain).raised()
        times = (row["tip"], row["tip_time"], row["seen_at"], row["asked_at"])
        return Lag(row["number"], row["block_time"], *times, alarms)

    async def coverage(self) -> tuple[BlockRange, ...]:
        """Return the stored ranges in ascending order, adjacent ones joined."""
        return await coverage(self._pool, self._chain)

    async def backfill_paused(self) -> str | None:
        """Return why backfill waits; None while it does not."""
        with translated():
            why: str | None = await self._pool.fetchval(SQL_BACKFILL_PAUSED, self._chain)
        return why

    async def block(self, number: int) -> StoredBlock | None:
        """Return the block at `number` with its transactions' hashes in order."""
        with translated():
            row = await self._pool.fetchrow(SQL_BLOCK, self._chain, number)
        if row is None:
            return None
        watched = row["stored_tx_count"] is not None
        expected = row["stored_tx_count"] if watched else row["tx_count"]
        if len(row["hashes"]) != expected:
            raise StoreUnavailable(f"block {number}: {len(row['hashes'])} of {expected} transactions are readable")
        return StoredBlock(
            row["number"], row["hash"], row["block_time"], tuple(row["hashes"]), row["tx_count"], watched,
            how_final(number, safe=row["safe"], finalized=row["finalized"]), row["checks"] or 0,
        )  # fmt: skip

    async def completeness(self) -> tuple[Completeness, list[Quarantined]]:
        """Return how much of what is stored is verified, and what is in quarantine."""
        known = PgVerified(self._pool, self._chain)
        return await known.completeness(), await known.quarantined()

    async def mode(self) -> str:
        """Return `full`, `watch` or `events`: what is stored of each block."""
        with translated():
            found: str | None = await self._pool.fetchval(SQL_MODE, self._chain)
        return found or "full"

    async def watched(self) -> tuple[bytes, ...] | None:
        """Return the addresses whose transactions alone are stored; None where all are."""
        with translated():
            found = await self._pool.fetchval(SQL_WATCHED, self._chain)
        return None if found is None else tuple(found)

    async def transaction(self, tx_hash: bytes) -> StoredTx | None:
        """Return the transaction with this hash, if a covered block holds it."""
        return await self._by_hash.get(tx_hash)

    async def transactions(
        self, wanted: Filter, window: Window, *, as_of: int | None = None, as_of_hash: bytes | None = None
    ) -> TxPage:
        """Return one page of the transactions that pass the filter, as the chain stood at block `as_of`.

        Raises AnchorGone if that block, or the block with that hash, is not part of the chain.
        """
        ask = _Ask(wanted, window, as_of, as_of_hash)
        found = await self._pages.get(ask) if ask.is_cheap else (await self._listed([ask]))[ask]
        assert found is not None, "every page that is asked for is answered"
        if isinstance(found, AnchorGone):
            raise found
        return found

    async def token(self, address: bytes) -> StoredToken | None:
        """Return what is known of a token now; None if no transfer of it was ever stored."""
        with translated():
            async with snapshot(self._pool) as conn:
                if await conn.fetchval(SQL_STANDARD_OF, self._chain, address) is None:
                    return None
                versions = await token_versions(conn, self._chain, [address])
                return at_block(versions[address], address, MAX_BLOCK_NUMBER)

    async def _with_hashes(self, hashes: Sequence[bytes]) -> dict[bytes, StoredTx]:
        with translated():
            async with self._plans.snapshot(self._for_hashes) as conn:
                rows = await conn.fetch(SQL_PLACES_OF_HASHES, self._chain, [hash_key(each) for each in hashes])
                if not rows:
                    return {}
                places = {(row["block_number"], row["tx_index"]) for row in rows}
                found = await at_places(conn, self._chain, places, rows[0])
        return {tx.hash: tx for tx in found.values()}

    async def _listed(self, asks: Sequence[_Ask]) -> dict[_Ask, TxPage | AnchorGone]:
        """Answer pages that are all cheap, or one."""
        pages: dict[_Ask, TxPage | AnchorGone] = {}
        anchors: dict[_Ask, BlockRef] = {}
        cheap = asks[0].is_cheap
        with translated():
            async with self._plans.snapshot(self._for_pages) if cheap else snapshot(self._pool) as conn:
                standing = await conn.fetchrow(SQL_STANDING, self._chain)
                if standing is None:
                    return dict.fromkeys(asks, TxPage((), 0, None, (), complete=False))
                cursor = _cursor(standing)
                for ask in asks:
                    try:
                        anchors[ask] = await listing.anchor(conn, self._chain, cursor, ask.as_of, ask.as_of_hash)
                    except AnchorGone as error:
                        pages[ask] = error
                found = await self._found(conn, anchors)
                places = {place for each in found.values() for place in each.places}
                stored = await at_places(conn, self._chain, places, standing)
        known = joined(map(BlockRange, standing["firsts"], standing["lasts"]))
        watched = standing["watched"]
        return pages | {ask: _page(known, watched, ask.wanted, each, stored) for ask, each in found.items()}

    async def _found(self, conn: Connection, anchors: Mapping[_Ask, BlockRef]) -> dict[_Ask, Listed]:
        """Find the places of all pages, and leave the planner as it is to be for what is read by them."""
        found: dict[_Ask, Listed] = {}
        own: dict[object, dict[_Ask, listing.Asked]] = defaultdict(dict)
        for ask, at in anchors.items():
            asked = listing.Asked(ask.wanted, ask.window, at)
            if ask.wanted.is_own:
                own[asked.way][ask] = asked
            elif ask.wanted.only_range:
                found[ask] = await listing.of_range(conn, self._chain, asked)
            else:
                found[ask] = await listing.listed(conn, self._chain, ask.wanted, ask.window, at)
                await self._plans.once(conn)
        if own:
            async with self._plans.of_whole_tables(conn):
                for same in own.values():
                    asked_together = list(same.values())
                    found |= zip(same, await listing.of_addresses(conn, self._chain, asked_together), strict=True)
        return found


def _cursor(standing: asyncpg.Record) -> BlockRef:
    return BlockRef(standing["number"], standing["hash"])


def _page(
    known: Sequence[BlockRange],
    watched: Collection[bytes] | None,
    wanted: Filter,
    found: Listed,
    stored: Mapping[Place, StoredTx],
) -> TxPage:
    covered = within(known, found.span)
    complete = found.span is None or covered == (found.span,)
    complete = complete and (watched is None or wanted.within(watched))
    txs = tuple([stored[place] for place in found.places])
    return TxPage(txs, found.total, found.anchor, covered, complete, found.is_exact)


@asynccontextmanager
async def snapshot(pool: Pool) -> AsyncIterator[Connection]:
    """One snapshot for several statements: a rewind between them must not mix two chains."""
    async with pool.acquire() as conn, conn.transaction(isolation="repeatable_read", readonly=True):
        yield conn


def within(ranges: Sequence[BlockRange], span: BlockRange | None) -> tuple[BlockRange, ...]:
    """Return what of `ranges` lies in `span`, none if there is no span."""
    if span is None:
        return ()
    parts = ((max(each.first, span.first), min(each.last, span.last)) for each in ranges)
    return tuple(BlockRange(first, last) for first, last in parts if first <= last)


async def coverage(pool: Pool, chain_id: int) -> tuple[BlockRange, ...]:
    """Return a chain's stored ranges in ascending order, adjacent ones joined."""
    with translated():
        rows = await pool.fetch(SQL_COVERAGE, chain_id)
    return joined([BlockRange(row["first"], row["last"]) for row in rows])


async def chains(pool: Pool) -> dict[str, int]:
    """Return the chains the database holds, by name."""
    with translated():
        rows = await pool.fetch(SQL_CHAINS)
    return {row["name"]: row["chain_id"] for row in rows}
