"""How many transactions there are, of an address or in all: exact in every snapshot, however many (ADR 41).

Segments of blocks that are covered and finalized are counted once. A total is the sum of the counts of the segments
within the blocks that are asked for, and what lies beside them is counted there and then.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from core.store.locks import SQL_SHARE_LOCK
from core.store.pool import Connection, Pool, translated
from core.types import BlockRange

BATCH: Final = 500  # addresses counted in one transaction: a rewind at the head waits for one at most
SCAN_S: Final = 900.0  # for the look at all transactions of a wide segment, which holds no lock


@dataclass(frozen=True, slots=True)
class Scale:
    """How wide segments are, in blocks, and from how many rows on an address is counted in one.

    `wide` is a multiple of `narrow`. The limits of a total's price follow from these (ADR 41).
    """

    wide: int = 16_384
    narrow: int = 256
    least: int = 16


SCALE: Final = Scale()
WIDEST: Final = SCALE.wide


@dataclass(frozen=True, slots=True)
class Segment:
    """`width` blocks from `first` on, which is a multiple of `width`."""

    width: int
    first: int

    @property
    def blocks(self) -> BlockRange:
        """Which blocks these are."""
        return BlockRange(self.first, self.first + self.width - 1)


@dataclass(frozen=True, slots=True)
class Wrong:
    """A count that is not what is stored. `address` is None for all transactions; `found` None for no count."""

    segment: Segment
    address: bytes | None
    expected: tuple[int, ...]
    found: tuple[int, ...] | None


# -- totals ------------------------------------------------------------------------------------------------------------

# $1 chain, $2 address, $3 first and $4 last block, $5 and $6 widths of segments, $7 roles. Wide segments first, then
# narrow ones where there is no wide one, then rows where there is neither. By subqueries, which look into the index for
# each part; a join reads all narrow counts that the address has.
_OF_ADDRESS: Final = """
    with wide as (
        select c.{column} as rows, int8range(c.first_block, c.first_block + c.width) as blocks
        from chain.address_count c
        where c.chain_id = $1 and c.address = $2 and c.width = $5::integer
            and c.first_block between $3::bigint and $4::bigint - $5::integer + 1
    ),
    beside as (
        select int8multirange(int8range($3::bigint, $4::bigint + 1)) - coalesce(range_agg(w.blocks), '{{}}') as blocks
        from wide w
    ),
    narrow as (
        select (
                select sum(c.{column}) from chain.address_count c
                where c.chain_id = $1 and c.address = $2 and c.width = $6::integer
                    and c.first_block between lower(part) and upper(part) - $6::integer
            ) as rows,
            (
                select range_agg(int8range(c.first_block, c.first_block + c.width)) from chain.address_count c
                where c.chain_id = $1 and c.address = $2 and c.width = $6::integer
                    and c.first_block between lower(part) and upper(part) - $6::integer
            ) as blocks
        from beside b
        cross join unnest(b.blocks) as part
    ),
    live as (
        select b.blocks - coalesce((select range_agg(n.blocks) from narrow n), '{{}}') as blocks from beside b
    )
    select coalesce((select sum(w.rows) from wide w), 0)::bigint
        + coalesce((select sum(n.rows) from narrow n), 0)::bigint
        + coalesce((
            select sum((
                select count(*) from chain.address_transaction a
                where a.chain_id = $1 and a.address = $2 and a.block_number between lower(part) and upper(part) - 1
                    {roles}
            ))
            from live l
            cross join unnest(l.blocks) as part
        ), 0)::bigint
"""
_ROLES: Final = "and a.roles & $7::smallint <> 0"
# Without roles the index alone is read.
SQL_OF_ADDRESS: Final = _OF_ADDRESS.format(column="total", roles="and $7::smallint is not null")
SQL_INTO_ADDRESS: Final = _OF_ADDRESS.format(column="incoming", roles=_ROLES)
SQL_OUT_OF_ADDRESS: Final = _OF_ADDRESS.format(column="outgoing", roles=_ROLES)
# $1 chain, $2 first and $3 last block, $4 and $5 widths.
SQL_OF_CHAIN: Final = """
    with wide as (
        select s.transactions, int8range(s.first_block, s.first_block + s.width) as blocks
        from chain.seal s
        where s.chain_id = $1 and s.width = $4::integer
            and s.first_block between $2::bigint and $3::bigint - $4::integer + 1
    ),
    beside as (
        select int8multirange(int8range($2::bigint, $3::bigint + 1)) - coalesce(range_agg(w.blocks), '{}') as blocks
        from wide w
    ),
    narrow as (
        select (
                select sum(s.transactions) from chain.seal s
                where s.chain_id = $1 and s.width = $5::integer
                    and s.first_block between lower(part) and upper(part) - $5::integer
            ) as transactions,
            (
                select range_agg(int8range(s.first_block, s.first_block + s.width)) from chain.seal s
                where s.chain_id = $1 and s.width = $5::integer
                    and s.first_block between lower(part) and upper(part) - $5::integer
            ) as blocks
        from beside b
        cross join unnest(b.blocks) as part
    ),
    live as (
        select b.blocks - coalesce((select range_agg(n.blocks) from narrow n), '{}') as blocks from beside b
    )
    select coalesce((select sum(w.transactions) from wide w), 0)::bigint
        + coalesce((select sum(n.transactions) from narrow n), 0)::bigint
        + coalesce((
            select sum((
                select sum(coalesce(t.stored_tx_count, t.tx_count)) from chain.block t
                where t.chain_id = $1 and t.number between lower(part) and upper(part) - 1
            ))
            from live l
            cross join unnest(l.blocks) as part
        ), 0)::bigint
"""


async def of_address(
    conn: Connection, chain_id: int, address: bytes, span: BlockRange, *, sql: str, roles: int, scale: Scale = SCALE
) -> int:
    """Return how many transactions of `span` concern an address: SQL_OF_ADDRESS, or one way with those `roles`."""
    asked = (chain_id, address, span.first, span.last, scale.wide, scale.narrow, roles)
    total: int = await conn.fetchval(sql, *asked)
    return total


async def of_chain(conn: Connection, chain_id: int, span: BlockRange, *, scale: Scale = SCALE) -> int:
    """Return how many transactions of `span` are stored."""
    total: int = await conn.fetchval(SQL_OF_CHAIN, chain_id, span.first, span.last, scale.wide, scale.narrow)
    return total


# -- sealing -----------------------------------------------------------------------------------------------------------

# $1 chain, $2 the block above which and $3 the block up to which rows go, $4 the widest segment.
SQL_UNSEAL: Final = """
    delete from chain.seal
    where chain_id = $1 and first_block + width > $2::bigint + 1 and first_block <= $3
"""
SQL_UNCOUNT: Final = """
    delete from chain.address_count
    where chain_id = $1 and first_block > $2::bigint - $4 and first_block <= $3
        and first_block + width > $2::bigint + 1
"""


async def unseal(conn: Connection, chain_id: int, above: int, last: int) -> None:
    """Forget the counts of segments with blocks above `above` up to `last`, in the transaction that changes those.

    Of all addresses: one that has no row there now may get some with the blocks that come in their place.
    """
    await conn.execute(SQL_UNSEAL, chain_id, above, last)
    await conn.execute(SQL_UNCOUNT, chain_id, above, last, WIDEST)


# What is final and covered, in segments that are not sealed yet, the newest first.
SQL_UNSEALED: Final = """
    select w.width, segment * w.width as first_block
    from chain.head h
    cross join unnest(
        (select range_agg(v.blocks) from chain.coverage v where v.chain_id = $1)
            * int8multirange(int8range(0, h.finalized_number + 1))
    ) as part
    cross join unnest($2::integer[]) as w (width)
    cross join generate_series((lower(part) + w.width - 1) / w.width, upper(part) / w.width - 1) as segment
    where h.chain_id = $1 and h.finalized_number is not null
        and not exists (
            select from chain.seal s
            where s.chain_id = $1 and s.width = w.width and s.first_block = segment * w.width
        )
    order by (segment + 1) * w.width desc, w.width
    limit $3
"""
SQL_SEALED: Final = """
    select width, first_block from chain.seal where chain_id = $1 order by first_block desc, width
"""
# A transaction can name an address more than once: these may be too many, and are counted exactly afterwards.
SQL_BUSY: Final = """
    select part.address
    from (
        select t.sender as address from chain.transaction t
        where t.chain_id = $1 and t.block_number between $2 and $3
        union all
        select t.recipient from chain.transaction t
        where t.chain_id = $1 and t.block_number between $2 and $3
        union all
        select t.contract_address from chain.transaction t
        where t.chain_id = $1 and t.block_number between $2 and $3
        union all
        select m.sender from chain.token_transfer m
        where m.chain_id = $1 and m.block_number between $2 and $3
        union all
        select m.recipient from chain.token_transfer m
        where m.chain_id = $1 and m.block_number between $2 and $3
    ) as part
    where part.address is not null
    group by part.address
    having count(*) >= $4
    order by part.address
"""
SQL_SEALABLE: Final = """
    select coalesce(range_agg(v.blocks) @> int8range($2::bigint, $3::bigint + 1), false)
        and coalesce((select h.finalized_number >= $3::bigint from chain.head h where h.chain_id = $1), false)
    from chain.coverage v
    where v.chain_id = $1
"""
# $1 chain, $2 width, $3 first and $4 last block, $5 addresses, $6 the fewest rows that are counted, $7 and $8 roles.
_COUNTED: Final = """
    select $1::bigint as chain_id, a.address, $2::integer as width, $3::bigint as first_block,
        count(*)::integer as total,
        (count(*) filter (where a.roles & $7::smallint <> 0))::integer as incoming,
        (count(*) filter (where a.roles & $8::smallint <> 0))::integer as outgoing
    from chain.address_transaction a
    where a.chain_id = $1 and a.address = any($5::bytea[]) and a.block_number between $3 and $4
    group by a.address
    having count(*) >= $6
"""
SQL_COUNTED: Final = _COUNTED
_INSERT: Final = """
    insert into chain.address_count (chain_id, address, width, first_block, total, incoming, outgoing)
    {counted}
    on conflict (chain_id, address, width, first_block) do update
    set total = excluded.total, incoming = excluded.incoming, outgoing = excluded.outgoing
"""
SQL_COUNT: Final = _INSERT.format(counted=_COUNTED)
SQL_COUNTS: Final = """
    select address, total, incoming, outgoing from chain.address_count
    where chain_id = $1 and width = $2 and first_block = $3
"""
SQL_COUNT_COUNTS: Final = """
    select count(*) from chain.address_count where chain_id = $1 and width = $2 and first_block = $3
"""
SQL_UNCOUNT_ONE: Final = "delete from chain.address_count where chain_id = $1 and width = $2 and first_block = $3"
SQL_TRANSACTIONS: Final = """
    select coalesce(sum(coalesce(stored_tx_count, tx_count)), 0)::bigint
    from chain.block
    where chain_id = $1 and number between $2 and $3
"""
SQL_SEAL: Final = """
    insert into chain.seal (chain_id, width, first_block, transactions) values ($1, $2, $3, $4)
    on conflict (chain_id, width, first_block) do update set transactions = excluded.transactions
"""
SQL_TRANSACTIONS_OF: Final = """
    select transactions from chain.seal where chain_id = $1 and width = $2 and first_block = $3
"""
SQL_SHARE: Final = """
    select coalesce(sum(upper(part) - lower(part)), 0)::bigint as final,
        (select count(*) * $2 from chain.seal s where s.chain_id = $1 and s.width = $2::integer)::bigint as sealed
    from chain.head h
    cross join unnest(
        (select range_agg(v.blocks) from chain.coverage v where v.chain_id = $1)
            * int8multirange(int8range(0, h.finalized_number + 1))
    ) as part
    where h.chain_id = $1 and h.finalized_number is not null
"""


class PgCounts:
    """Seals segments of one chain. `incoming` and `outgoing` are the roles of the two directions.

    Every transaction holds fills' shared lock, which rewinds, discards and pruning wait for: what is covered when it
    looks is what is covered when it commits. Nothing is ever stored into covered blocks.
    """

    def __init__(
        self, pool: Pool, chain_id: int, *, incoming: int, outgoing: int, scale: Scale = SCALE, batch: int = BATCH
    ) -> None:
        self._pool = pool
        self._chain = chain_id
        self._roles = (incoming, outgoing)
        self._scale = scale
        self._batch = batch

    async def unsealed(self, limit: int) -> list[Segment]:
        """Return segments that can be sealed, the newest first."""
        widths = [self._scale.narrow, self._scale.wide]
        with translated():
            rows = await self._pool.fetch(SQL_UNSEALED, self._chain, widths, limit)
        return [Segment(row["width"], row["first_block"]) for row in rows]

    async def sealed(self) -> list[Segment]:
        """Return all sealed segments, the newest first."""
        with translated():
            rows = await self._pool.fetch(SQL_SEALED, self._chain)
        return [Segment(row["width"], row["first_block"]) for row in rows]

    async def share(self) -> float | None:
        """Return which share of the stored blocks that are final is sealed; None where there are none."""
        with translated():
            row = await self._pool.fetchrow(SQL_SHARE, self._chain, self._scale.narrow)
        return row["sealed"] / row["final"] if row is not None and row["final"] else None

    async def seal(self, segment: Segment) -> bool:
        """Count and seal a segment; False, and not sealed, if its blocks are not covered and final or have changed.

        Its counts are true one by one as they appear. The seal, which says that none is missing, comes last.
        """
        busy = await self._busy(segment)
        counted = 0
        for first in range(0, len(busy), self._batch):
            done = await self._count(segment, busy[first : first + self._batch])
            if done is None:
                return False
            counted += done
        return await self._close(segment, counted)

    async def reseal(self, segment: Segment) -> list[Wrong]:
        """Count a sealed segment again, store what it should be, and return what was stored otherwise."""
        busy = await self._busy(segment)
        place = (self._chain, segment.width, segment.first)
        with translated():
            async with self._pool.acquire() as conn, conn.transaction():
                await conn.execute(SQL_SHARE_LOCK, self._chain)
                transactions = await conn.fetchval(SQL_TRANSACTIONS_OF, *place)
                if transactions is None:  # unsealed meanwhile, and rightly
                    return []
                rows = await conn.fetch(SQL_COUNTS, *place)
                found = {row["address"]: _counts(row) for row in rows}
                asked = sorted({*busy, *found})
                expected = {row["address"]: _counts(row) for row in await self._counted(conn, segment, asked)}
                wrong = [
                    Wrong(segment, address, expected.get(address, ()), found.get(address))
                    for address in asked
                    if expected.get(address) != found.get(address)
                ]
                actual = await conn.fetchval(SQL_TRANSACTIONS, self._chain, segment.first, segment.blocks.last)
                if actual != transactions:
                    wrong.append(Wrong(segment, None, (actual,), (transactions,)))
                if wrong:
                    await conn.execute(SQL_UNCOUNT_ONE, *place)
                    await conn.execute(SQL_COUNT, *self._asked(segment, asked))
                    await conn.execute(SQL_SEAL, *place, actual)
        return wrong

    async def _busy(self, segment: Segment) -> list[bytes]:
        span = segment.blocks
        with translated():
            asked = (self._chain, span.first, span.last, self._scale.least)
            rows = await self._pool.fetch(SQL_BUSY, *asked, timeout=SCAN_S)
        return [row["address"] for row in rows]

    async def _count(self, segment: Segment, addresses: Sequence[bytes]) -> int | None:
        with translated():
            async with self._pool.acquire() as conn, conn.transaction():
                if not await self._sealable(conn, segment):
                    return None
                done = await conn.execute(SQL_COUNT, *self._asked(segment, addresses))
        return int(done.split()[-1])

    async def _close(self, segment: Segment, counted: int) -> bool:
        place = (self._chain, segment.width, segment.first)
        with translated():
            async with self._pool.acquire() as conn, conn.transaction():
                if not await self._sealable(conn, segment):
                    return False
                # Fewer: they were taken away in between, with the blocks that they counted.
                if await conn.fetchval(SQL_COUNT_COUNTS, *place) < counted:
                    return False
                transactions = await conn.fetchval(SQL_TRANSACTIONS, self._chain, segment.first, segment.blocks.last)
                await conn.execute(SQL_SEAL, *place, transactions)
        return True

    async def _sealable(self, conn: Connection, segment: Segment) -> bool:
        await conn.execute(SQL_SHARE_LOCK, self._chain)
        return bool(await conn.fetchval(SQL_SEALABLE, self._chain, segment.first, segment.blocks.last))

    async def _counted(
        self, conn: Connection, segment: Segment, addresses: Sequence[bytes]
    ) -> Sequence[asyncpg.Record]:
        return await conn.fetch(SQL_COUNTED, *self._asked(segment, addresses))

    def _asked(self, segment: Segment, addresses: Sequence[bytes]) -> tuple[object, ...]:
        span = segment.blocks
        place = (self._chain, segment.width, span.first, span.last)
        return (*place, list(addresses), self._scale.least, *self._roles)


def _counts(row: asyncpg.Record) -> tuple[int, ...]:
    return row["total"], row["incoming"], row["outgoing"]
