"""The archive of reorgs: which blocks the chain no longer has, since when and why, and what was in them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import asyncpg

from core.store.pool import Connection, Pool, translated
from core.store.reader import snapshot
from core.store.transactions import StoredTx, stored_txs
from core.types import BlockRef

KEY_BYTES: Final = 8
SHOWN_BLOCKS: Final = 20  # highest blocks of a reorg that a listing shows; the rest is a listing of its own

Place = tuple[datetime, bytes]  # when it was detected, first 8 bytes of the hash of its highest orphan

# $1 chain, $2 and $3 the newest place, $4 and $5 the place after which to go on, $6 limit, $7 offset.
_LISTED: Final = """
    select r.detected_at, r.ancestor_number, r.ancestor_hash, r.orphan_number, r.orphan_hash, r.reason,
        (
            select count(*) from chain.orphan_block b
            where b.chain_id = $1 and b.detected_at = r.detected_at
                and b.number > r.ancestor_number and b.number <= r.orphan_number
        ) as blocks,
        (
            select count(*) from chain.orphan_transaction t
            where t.chain_id = $1 and t.detected_at = r.detected_at
                and t.block_number > r.ancestor_number and t.block_number <= r.orphan_number
        ) as txs
    from chain.reorg r
    where r.chain_id = $1
        and ($2::timestamptz is null or (r.detected_at, substring(r.orphan_hash from 1 for 8)) <= ($2, $3::bytea))
        and ($4::timestamptz is null or (r.detected_at, substring(r.orphan_hash from 1 for 8)) {beyond} ($4, $5::bytea))
    order by r.detected_at {order}, substring(r.orphan_hash from 1 for 8) {order}
    limit $6 offset $7
"""
SQL_NEWEST: Final = _LISTED.format(beyond="<", order="desc")
SQL_OLDEST: Final = _LISTED.format(beyond=">", order="asc")
SQL_NEWEST_PLACE: Final = """
    select r.detected_at, substring(r.orphan_hash from 1 for 8) as key
    from chain.reorg r
    where r.chain_id = $1
    order by r.detected_at desc, substring(r.orphan_hash from 1 for 8) desc
    limit 1
"""
SQL_COUNT: Final = """
    select count(*) from chain.reorg r
    where r.chain_id = $1 and (r.detected_at, substring(r.orphan_hash from 1 for 8)) <= ($2, $3::bytea)
"""
SQL_HIGHEST_BLOCKS: Final = """
    select b.detected_at, b.number, b.hash, b.parent_hash, b.block_time, b.tx_count
    from chain.orphan_block b
    join unnest($2::timestamptz[], $3::bigint[], $4::bigint[]) as w (detected_at, above, last)
        on b.detected_at = w.detected_at and b.number > w.above and b.number <= w.last
    where b.chain_id = $1
    order by b.number desc
"""
# $1 chain, $2 when the reorg was detected, $3 its ancestor, $4 its highest orphan; then place, limit, offset.
SQL_BLOCKS: Final = """
    select b.number, b.hash, b.parent_hash, b.block_time, b.tx_count
    from chain.orphan_block b
    where b.chain_id = $1 and b.detected_at = $2 and b.number > $3 and b.number <= $4
        and ($5::bigint is null or b.number < $5)
    order by b.number desc
    limit $6 offset $7
"""
SQL_TRANSACTIONS: Final = """
    select t.block_number, t.tx_index, t.hash, t.sender, t.recipient, t.contract_address, t.value, t.gas_used,
        coalesce(t.effective_gas_price, t.gas_price), t.status, b.hash, b.block_time
    from chain.orphan_transaction t
    join chain.orphan_block b
        on b.chain_id = t.chain_id and b.detected_at = t.detected_at and b.number = t.block_number
    where t.chain_id = $1 and t.detected_at = $2 and t.block_number > $3 and t.block_number <= $4
        and ($5::bigint is null or (t.block_number, t.tx_index) < ($5, $6::integer))
    order by t.block_number desc, t.tx_index desc
    limit $7 offset $8
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrphanBlock:
    """A block that the chain no longer has."""

    ref: BlockRef
    parent_hash: bytes
    block_time: datetime
    tx_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredReorg:
    """Stored blocks above `ancestor` up to `tip` that were taken away; `ancestor_hash` None: that was not stored.

    `blocks` and `txs` are how many were archived, `highest` the uppermost of the blocks.
    """

    detected_at: datetime
    ancestor: int
    ancestor_hash: bytes | None
    tip: BlockRef
    reason: str
    blocks: int
    txs: int
    highest: Sequence[OrphanBlock] = field(default=())

    @property
    def place(self) -> Place:
        """Where it stands in listings."""
        return self.detected_at, self.tip.hash[:KEY_BYTES]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReorgWindow:
    """Which part of the archive: `limit` reorgs after `offset` of them, or after the place `after`."""

    limit: int
    offset: int = 0
    after: Place | None = None
    oldest_first: bool = False


class Reorgs:
    """Reads one chain's archive of reorgs."""

    def __init__(self, pool: Pool, chain_id: int) -> None:
        self._pool = pool
        self._chain = chain_id

    async def page(
        self, window: ReorgWindow, as_of: Place | None = None
    ) -> tuple[tuple[StoredReorg, ...], int, Place | None]:
        """Return one page of the reorgs up to `as_of`, how many these are in all, and the newest of them.

        Without `as_of` that is the newest there is; None when there is none.
        """
        with translated():
            async with snapshot(self._pool) as conn:
                newest = as_of
                if newest is None:
                    row = await conn.fetchrow(SQL_NEWEST_PLACE, self._chain)
                    newest = None if row is None else (row["detected_at"], row["key"])
                if newest is None:
                    return (), 0, None
                sql = SQL_OLDEST if window.oldest_first else SQL_NEWEST
                asked = (*newest, *(window.after or (None, None)), window.limit, window.offset)
                rows = await conn.fetch(sql, self._chain, *asked)
                total = await conn.fetchval(SQL_COUNT, self._chain, *newest)
                highest = await self._highest(conn, rows)
        return tuple(_reorg(row, highest) for row in rows), total, newest

    async def find(self, place: Place) -> StoredReorg | None:
        """Return the reorg at `place`."""
        with translated():
            async with snapshot(self._pool) as conn:
                rows = await conn.fetch(SQL_NEWEST, self._chain, *place, None, None, 1, 0)
                highest = await self._highest(conn, rows)
        found = [_reorg(row, highest) for row in rows]
        return found[0] if found and found[0].place == place else None

    async def blocks(self, of: StoredReorg, *, below: int | None, limit: int, offset: int) -> tuple[OrphanBlock, ...]:
        """Return orphaned blocks of a reorg, highest first: those below height `below` if that is given."""
        with translated():
            rows = await self._pool.fetch(SQL_BLOCKS, *self._span(of), below, limit, offset)
        return tuple(map(_block, rows))

    async def transactions(
        self, of: StoredReorg, *, below: tuple[int, int] | None, limit: int, offset: int
    ) -> tuple[StoredTx, ...]:
        """Return orphaned transactions of a reorg, newest first: those before a place (block, index) if it is given."""
        with translated():
            rows = await self._pool.fetch(SQL_TRANSACTIONS, *self._span(of), *(below or (None, None)), limit, offset)
        return tuple(stored_txs(rows, {}, safe=None, finalized=None).values())

    def _span(self, of: StoredReorg) -> tuple[int, datetime, int, int]:
        return self._chain, of.detected_at, of.ancestor, of.tip.number

    async def _highest(
        self, conn: Connection, rows: Sequence[asyncpg.Record]
    ) -> Mapping[datetime, Sequence[OrphanBlock]]:
        found: dict[datetime, list[OrphanBlock]] = {row["detected_at"]: [] for row in rows}
        tops = [row["orphan_number"] for row in rows]
        above = [max(row["ancestor_number"], row["orphan_number"] - SHOWN_BLOCKS) for row in rows]
        for row in await conn.fetch(SQL_HIGHEST_BLOCKS, self._chain, [row["detected_at"] for row in rows], above, tops):
            found[row["detected_at"]].append(_block(row))
        return found


def _reorg(row: asyncpg.Record, highest: Mapping[datetime, Sequence[OrphanBlock]]) -> StoredReorg:
    return StoredReorg(
        detected_at=row["detected_at"],
        ancestor=row["ancestor_number"],
        ancestor_hash=row["ancestor_hash"],
        tip=BlockRef(row["orphan_number"], row["orphan_hash"]),
        reason=row["reason"],
        blocks=row["blocks"],
        txs=row["txs"],
        highest=tuple(highest.get(row["detected_at"], ())),
    )


def _block(row: asyncpg.Record) -> OrphanBlock:
    return OrphanBlock(
        ref=BlockRef(row["number"], row["hash"]), parent_hash=row["parent_hash"], block_time=row["block_time"],
        tx_count=row["tx_count"],
    )  # fmt: skip
