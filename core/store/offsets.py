"""Where row number `offset` of a listing is, found by counts: page 1,000 costs about what page 1 costs (ADR 41).

What a total is the sum of says where a row lies as well: the parts of the blocks that are asked for are added up in the
order of the listing until the offset is reached. Parts are wide segments that are counted, narrow ones beside those,
and what is beside both, whose rows are counted there and then. Within a wide segment the same is asked once more.
"""

from dataclasses import dataclass
from typing import Final

from core.store.counts import SCALE, Scale
from core.store.pool import Connection
from core.types import BlockRange

# $1 chain, $2 address, $3 first and $4 last block, $5 and $6 widths of segments, $7 roles, $8 offset. Counts are looked
# for as totals look for them (counts.py). A part without rows is never the one in which the offset falls: the sum does
# not grow there.
_PARTS: Final = """
    with wide as (
        select c.first_block as first, c.first_block + c.width as next, {rows} as rows
        from {counts} and c.width = $5::integer
            and c.first_block between $3::bigint and $4::bigint - $5::integer + 1
    ),
    beside as (
        select int8multirange(int8range($3::bigint, $4::bigint + 1))
            - coalesce(range_agg(int8range(w.first, w.next)), '{{}}') as blocks
        from wide w
    ),
    found as (
        select
            array(
                select c.first_block
                from {counts} and c.width = $6::integer
                    and c.first_block between lower(part) and upper(part) - $6::integer
                order by c.first_block
            ) as firsts,
            array(
                select {rows}
                from {counts} and c.width = $6::integer
                    and c.first_block between lower(part) and upper(part) - $6::integer
                order by c.first_block
            ) as rows
        from beside b
        cross join unnest(b.blocks) as part
    ),
    narrow as (
        select segment.first, segment.first + $6::integer as next, segment.rows
        from found f
        cross join unnest(f.firsts, f.rows) as segment (first, rows)
    ),
    live as (
        select lower(part) as first, upper(part) as next, ({live}) as rows
        from (
            select b.blocks - coalesce((select range_agg(int8range(n.first, n.next)) from narrow n), '{{}}') as blocks
            from beside b
        ) as rest
        cross join unnest(rest.blocks) as part
    ),
    running as (
        select part.first, part.next, sum(part.rows) over (order by part.first {order} rows unbounded preceding) as upto
        from (select * from wide union all select * from narrow union all select * from live) as part
    )
    select max(r.upto)::bigint as total,
        {nearest}(r.first) filter (where r.upto > $8::bigint) as first,
        {nearest}(r.next) filter (where r.upto > $8::bigint) - 1 as last,
        $8::bigint - coalesce(max(r.upto) filter (where r.upto <= $8::bigint), 0)::bigint as rest
    from running r
"""
_COUNTS: Final = "chain.address_count c where c.chain_id = $1 and c.address = $2"
_LIVE: Final = """
    select count(*)::integer from chain.address_transaction a
    where a.chain_id = $1 and a.address = $2 and a.block_number between lower(part) and upper(part) - 1
"""
_ANY_ROLE: Final = f"{_LIVE} and $7::smallint is not null"  # the index alone is read
_ROLES: Final = f"{_LIVE} and a.roles & $7::smallint <> 0"
_CHAIN: Final = {
    "counts": "chain.seal c where c.chain_id = $1 and $2::bytea is null and $7::smallint is null",
    "rows": "c.transactions",
    # The span once more: by it, a plan leaves out partitions.
    "live": """
        select coalesce(sum(coalesce(t.stored_tx_count, t.tx_count)), 0)::bigint from chain.block t
        where t.chain_id = $1 and t.number between lower(part) and upper(part) - 1 and t.number between $3 and $4
    """,
}
_NEWEST: Final = {"order": "desc", "nearest": "max"}
_OLDEST: Final = {"order": "asc", "nearest": "min"}

SQL_OF_ADDRESS_NEWEST: Final = _PARTS.format(counts=_COUNTS, rows="c.total", live=_ANY_ROLE, **_NEWEST)
SQL_OF_ADDRESS_OLDEST: Final = _PARTS.format(counts=_COUNTS, rows="c.total", live=_ANY_ROLE, **_OLDEST)
SQL_INTO_ADDRESS_NEWEST: Final = _PARTS.format(counts=_COUNTS, rows="c.incoming", live=_ROLES, **_NEWEST)
SQL_INTO_ADDRESS_OLDEST: Final = _PARTS.format(counts=_COUNTS, rows="c.incoming", live=_ROLES, **_OLDEST)
SQL_OUT_OF_ADDRESS_NEWEST: Final = _PARTS.format(counts=_COUNTS, rows="c.outgoing", live=_ROLES, **_NEWEST)
SQL_OUT_OF_ADDRESS_OLDEST: Final = _PARTS.format(counts=_COUNTS, rows="c.outgoing", live=_ROLES, **_OLDEST)
SQL_OF_CHAIN_NEWEST: Final = _PARTS.format(**_CHAIN, **_NEWEST)
SQL_OF_CHAIN_OLDEST: Final = _PARTS.format(**_CHAIN, **_OLDEST)

# $1 chain, $2 first and $3 last block, $4 offset. It stops at the block that it finds.
_BLOCK: Final = """
    select b.number, ($4::bigint - b.upto + b.rows)::bigint as rest
    from (
        select t.number, coalesce(t.stored_tx_count, t.tx_count) as rows,
            sum(coalesce(t.stored_tx_count, t.tx_count)) over so_far as upto
        from chain.block t
        where t.chain_id = $1 and t.number between $2 and $3
        window so_far as (order by t.number {order} rows unbounded preceding)
    ) as b
    where b.upto > $4::bigint
    order by b.number {order}
    limit 1
"""
SQL_BLOCK_NEWEST: Final = _BLOCK.format(order="desc")
SQL_BLOCK_OLDEST: Final = _BLOCK.format(order="asc")


@dataclass(frozen=True, slots=True)
class Found:
    """Row number `offset` is among the rows of `part`, after `rest` of them; None: there are only `total` rows."""

    total: int
    part: BlockRange | None
    rest: int


async def of_address(
    conn: Connection, chain_id: int, address: bytes, span: BlockRange, offset: int, *, sql: str, roles: int,
    scale: Scale = SCALE,
) -> Found:  # fmt: skip
    """Find a row among those of an address in `span`, by one of the statements above, which say direction and order."""
    return await _found(conn, sql, chain_id, address, roles, span=span, offset=offset, scale=scale)


async def of_chain(
    conn: Connection, chain_id: int, span: BlockRange, offset: int, *, oldest_first: bool, scale: Scale = SCALE
) -> Found:
    """Find a row among all of `span`; its part is one block."""
    sql = SQL_OF_CHAIN_OLDEST if oldest_first else SQL_OF_CHAIN_NEWEST
    found = await _found(conn, sql, chain_id, None, None, span=span, offset=offset, scale=scale)
    if found.part is None:
        return found
    block = SQL_BLOCK_OLDEST if oldest_first else SQL_BLOCK_NEWEST
    row = await conn.fetchrow(block, chain_id, found.part.first, found.part.last, found.rest)
    assert row is not None, "the part has more rows than the rest of the offset"
    return Found(found.total, BlockRange(row["number"], row["number"]), row["rest"])


async def _found(
    conn: Connection, sql: str, chain_id: int, address: bytes | None, roles: int | None, *, span: BlockRange,
    offset: int, scale: Scale,
) -> Found:  # fmt: skip
    row = await conn.fetchrow(sql, chain_id, address, span.first, span.last, scale.wide, scale.narrow, roles, offset)
    assert row is not None, "an aggregate has a row"
    total = row["total"]
    if row["last"] is not None and row["last"] - row["first"] + 1 == scale.wide:
        within = (row["first"], row["last"], scale.narrow, scale.narrow)
        row = await conn.fetchrow(sql, chain_id, address, *within, roles, row["rest"])
        assert row is not None, "an aggregate has a row"
    part = None if row["first"] is None else BlockRange(row["first"], row["last"])
    return Found(total, part, row["rest"])
