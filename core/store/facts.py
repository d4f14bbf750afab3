"""Facts of one chain in PostgreSQL: told inside the transaction of what they tell, read in the order of commits.

A number is taken by raising `chain.fact_tail`, as the last thing before a commit. That row stays locked until the
commit is visible, so that no later number can be seen before an earlier one, and a rollback gives its number back.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import asyncpg

from core.facts import BlockFact, Fact, FactsGone, FillFact, FinalizeFact, ReorgFact, Tail, Told
from core.store.copy import block_time
from core.store.pool import Connection, Pool, translated
from core.types import Block, BlockRange, BlockRef

# $1 chain, $2 how many, $3 when they are told; then the columns, an array each.
SQL_TELL: Final = """
    with tail as (
        insert into chain.fact_tail (chain_id, last) values ($1, $2)
        on conflict (chain_id) do update set last = fact_tail.last + excluded.last
        returning last
    )
    insert into chain.fact
        (chain_id, seq, told_at, kind, first_block, last_block, hash, parent_hash, block_time, tx_count, reason,
        safe_number, safe_hash, by_depth)
    select $1, tail.last - $2 + f.place, $3, f.kind, f.first_block, f.last_block, f.hash, f.parent_hash, f.block_time,
        f.tx_count, f.reason, f.safe_number, f.safe_hash, f.by_depth
    from tail
    cross join unnest(
        $4::text[], $5::bigint[], $6::bigint[], $7::bytea[], $8::bytea[], $9::timestamptz[], $10::integer[],
        $11::text[], $12::bigint[], $13::bytea[], $14::boolean[]
    ) with ordinality as f (
        kind, first_block, last_block, hash, parent_hash, block_time, tx_count, reason, safe_number, safe_hash,
        by_depth, place
    )
"""
SQL_TAIL: Final = "select last, pruned from chain.fact_tail where chain_id = $1"
SQL_AFTER: Final = """
    select seq, told_at, kind, first_block, last_block, hash, parent_hash, block_time, tx_count, reason, safe_number,
        safe_hash, by_depth
    from chain.fact
    where chain_id = $1 and seq > $2
    order by seq
    limit $3
"""
# A clock that was set back must not keep a fact below one that goes: what goes is always the lower end.
SQL_LAST_OLD: Final = """
    select max(seq) from (
        select f.seq, f.told_at from chain.fact f where f.chain_id = $1 order by f.seq limit $3
    ) as oldest
    where told_at < $2
"""
SQL_FORGET: Final = "delete from chain.fact where chain_id = $1 and seq <= $2"
SQL_PRUNED: Final = "update chain.fact_tail set pruned = greatest(pruned, $2) where chain_id = $1"
SQL_NOTIFY: Final = "select pg_notify('chain_' || $1::bigint, '')"

_Row = tuple[Any, ...]  # kind to by_depth, in the order of SQL_TELL


async def tell(conn: Connection, chain_id: int, facts: Sequence[Fact], at: datetime) -> None:
    """Write facts inside the caller's transaction. Nothing may come after it but the commit: others wait for that."""
    columns = zip(*map(_row, facts), strict=True)
    await conn.execute(SQL_TELL, chain_id, len(facts), at, *map(list, columns))


async def wake(pool: Pool, chain_id: int) -> None:
    """Wake who reads facts. A statement of its own after the commit: it only wakes, the rows are the facts."""
    with translated():
        await pool.execute(SQL_NOTIFY, chain_id)


def of_head(blocks: Sequence[Block]) -> list[Fact]:
    """Return what is told of blocks that the head writer commits."""
    return [
        BlockFact(
            block=block.ref, parent_hash=block.parent_hash, timestamp=block.timestamp,
            tx_count=block.tx_count,
        )
        for block in blocks
    ]  # fmt: skip


def of_fill(blocks: Sequence[Block]) -> FillFact:
    """Return what is told of linked blocks that backfill stores."""
    first, last = blocks[0], blocks[-1]
    return FillFact(
        blocks=BlockRange(first.number, last.number), parent_hash=first.parent_hash, tip_hash=last.hash
    )  # fmt: skip


class PgFacts:
    """The facts of one chain (FactLog)."""

    def __init__(self, pool: Pool, chain_id: int) -> None:
        self._pool = pool
        self._chain = chain_id

    async def tail(self) -> Tail:
        """Return which facts there are."""
        with translated():
            row = await self._pool.fetchrow(SQL_TAIL, self._chain)
        return Tail(0, 0) if row is None else Tail(row["pruned"], row["last"])

    async def after(self, seq: int, limit: int) -> tuple[Told, ...]:
        """Return the facts after number `seq`, `limit` at most, none left out. Raises FactsGone."""
        with translated():
            rows = await self._pool.fetch(SQL_AFTER, self._chain, seq, limit)
        # Numbers have no gaps: if the next one is there, so is all that follows, and one statement has told.
        if not rows or rows[0]["seq"] != seq + 1:
            tail = await self.tail()
            if not tail.pruned <= seq <= tail.last:
                raise FactsGone(seq, tail)
        return tuple(told_of(row) for row in rows)

    async def prune(self, before: datetime, limit: int) -> int:
        """Forget facts told before `before`, the oldest first and `limit` at most; return how many."""
        with translated():
            async with self._pool.acquire() as conn, conn.transaction():
                last = await conn.fetchval(SQL_LAST_OLD, self._chain, before, limit)
                if last is None:
                    return 0
                done = await conn.execute(SQL_FORGET, self._chain, last)
                # Last: from here on the head's commit waits for ours.
                await conn.execute(SQL_PRUNED, self._chain, last)
        return int(done.split()[-1])


def _row(fact: Fact) -> _Row:
    match fact:
        case BlockFact(block=block):
            at = block_time(fact.timestamp)
            return ("block", block.number, block.number, block.hash, fact.parent_hash, at, fact.tx_count, *_NONE[7:])
        case FillFact(blocks=span):
            return ("fill", span.first, span.last, fact.tip_hash, fact.parent_hash, *_NONE[5:])
        case ReorgFact(orphans=span):
            place = ("reorg", span.first, span.last, fact.tip_hash, fact.ancestor_hash, None, None)
            return (*place, fact.reason, *_NONE[8:])
        case FinalizeFact(safe=safe, finalized=final):
            judged = (None, None) if final is None else (final.number, final.hash)
            rest = (None, None) if safe is None else (safe.number, safe.hash)
            return ("finalize", None, *judged, *_NONE[4:8], *rest, fact.by_depth)


_NONE: Final = (None,) * 11


def told_of(row: asyncpg.Record) -> Told:
    """Return a stored row as the fact it is."""
    return Told(row["seq"], row["told_at"], _fact(row))


def _fact(row: asyncpg.Record) -> Fact:
    if row["kind"] == "finalize":
        return FinalizeFact(
            safe=_ref(row["safe_number"], row["safe_hash"]), finalized=_ref(row["last_block"], row["hash"]),
            by_depth=row["by_depth"],
        )  # fmt: skip
    if row["kind"] == "block":
        return BlockFact(
            block=BlockRef(row["last_block"], row["hash"]), parent_hash=row["parent_hash"],
            timestamp=int(row["block_time"].timestamp()), tx_count=row["tx_count"],
        )  # fmt: skip
    span = BlockRange(row["first_block"], row["last_block"])
    if row["kind"] == "fill":
        return FillFact(blocks=span, parent_hash=row["parent_hash"], tip_hash=row["hash"])
    return ReorgFact(orphans=span, ancestor_hash=row["parent_hash"], tip_hash=row["hash"], reason=row["reason"])


def _ref(number: int | None, hash_: bytes | None) -> BlockRef | None:
    return None if number is None or hash_ is None else BlockRef(number, hash_)
