"""What pools of Uniswap v3 said of their prices (views chain.tick and chain.liquidity_change), as of a block."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import asyncpg

from core.store.pool import Connection
from core.store.reader import SQL_COVERAGE
from core.types import BlockRange, BlockRef, joined

SQL_BLOCK: Final = "select hash, block_time from chain.block where chain_id = $1 and number = $2"
SQL_WATCHED: Final = "select watched from chain.chain where chain_id = $1"
# By block_by_time, not by a walk from the lowest number up.
SQL_FIRST_SINCE: Final = """
    select number from chain.block
    where chain_id = $1 and block_time >= $2 and number between $3 and $4
    order by block_time, number
    limit 1
"""
SQL_LAST_UNTIL: Final = """
    select number from chain.block
    where chain_id = $1 and block_time <= $2 and number between $3 and $4
    order by block_time desc, number desc
    limit 1
"""
SQL_NEWEST: Final = """
    select p.pool, (
        select array[t.block_number, t.log_index]
        from chain.tick t
        where t.chain_id = $1 and t.pool = p.pool and t.block_number between $3 and $4
        order by t.block_number desc, t.log_index desc
        limit 1
    ) as place
    from unnest($2::bytea[]) as p (pool)
"""
# $2 and $3 places of logs, $4 the block up to which liquidity that came and went counts.
SQL_AT: Final = """
    select t.pool, t.block_number, b.block_time, t.first_price, t.sqrt_price_x96, t.tick,
        t.liquidity + coalesce((
            select sum(c.change)
            from chain.liquidity_change c
            where c.chain_id = $1 and c.pool = t.pool and c.block_number between t.block_number and $4
                and (c.block_number, c.log_index) > (t.block_number, t.log_index)
                and c.tick_lower <= t.tick and t.tick < c.tick_upper
        ), 0) as liquidity
    from chain.tick t
    join chain.block b on b.chain_id = t.chain_id and b.number = t.block_number
    where t.chain_id = $1
        and t.block_number = any($2::bigint[])
        and b.number = any($2::bigint[])
        and (t.block_number, t.log_index) in (select * from unnest($2::bigint[], $3::integer[]))
"""
# Within one block only the last price has lasted.
SQL_WITHIN: Final = """
    select t.pool, t.block_number, b.block_time, bool_or(t.first_price) as first_price,
        (array_agg(t.tick order by t.log_index desc))[1] as tick
    from chain.tick t
    join chain.block b on b.chain_id = t.chain_id and b.number = t.block_number
    where t.chain_id = $1 and t.pool = any($2::bytea[])
        and t.block_number between $3 and $4 and b.number between $3 and $4
    group by t.pool, t.block_number, b.block_time
    order by t.pool, t.block_number
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A pool's price, and the liquidity in range as of the block that was asked about.

    `sqrt_x96` is the square root of token1/token0 in base units, times 2**96; `number` and `time` are those of the
    block whose log said so.
    """

    pool: bytes
    number: int
    time: datetime
    sqrt_x96: int
    tick: int
    liquidity: int


@dataclass(frozen=True, slots=True)
class Mean:
    """A pool's ticks over a window: (tick, seconds) in order.

    `whole`: the price at the window's start is known. If it is not, `young` says that the pool had none yet.
    """

    held: Sequence[tuple[int, int]]
    whole: bool
    young: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What prices at a block are read from: the blocks from `since` up to it, of which the last are the window.

    Each pool's newest log counts if its block is at least `since`; `window` is the first block younger than
    `window_start`.
    """

    block: BlockRef
    time: datetime
    since: int
    window: int
    window_start: datetime


async def ground(
    conn: Connection, chain_id: int, block: BlockRef, *, max_age: timedelta, window: timedelta
) -> Ground | None:
    """Return what prices at `block` are read from; None unless all blocks of the last `max_age` are stored."""
    row = await conn.fetchrow(SQL_BLOCK, chain_id, block.number)
    ranges = joined([BlockRange(r["first"], r["last"]) for r in await conn.fetch(SQL_COVERAGE, chain_id)])
    span = next((each for each in ranges if block.number in each), None)
    if row is None or row["hash"] != block.hash or span is None:
        return None
    time: datetime = row["block_time"]
    first = await conn.fetchrow(SQL_BLOCK, chain_id, span.first)
    if first is None or (span.first > 0 and first["block_time"] >= time - max_age):
        return None
    bounds = (span.first, block.number)
    since: int = await conn.fetchval(SQL_FIRST_SINCE, chain_id, time - max_age, *bounds)
    # A window's first block may be the block itself, or none: all its blocks may share one time with those before.
    inside = await conn.fetchval(SQL_LAST_UNTIL, chain_id, time - window, *bounds)
    start = span.first if inside is None else inside + 1
    return Ground(block=block, time=time, since=since, window=start, window_start=time - window)


async def watched(conn: Connection, chain_id: int) -> frozenset[bytes] | None:
    """Return the contracts whose logs are stored; None where all are."""
    found = await conn.fetchval(SQL_WATCHED, chain_id)
    return None if found is None else frozenset(found)


async def newest(
    conn: Connection, chain_id: int, pools: Collection[bytes], first: int, last: int
) -> Mapping[bytes, Tick]:
    """Return the newest price of each pool that said one in blocks `first` to `last`, as of the end of `last`."""
    rows = await conn.fetch(SQL_NEWEST, chain_id, list(pools), first, last)
    places = [row["place"] for row in rows if row["place"] is not None]
    if not places:
        return {}
    numbers, indexes = zip(*places, strict=True)
    return {row["pool"]: _tick(row) for row in await conn.fetch(SQL_AT, chain_id, numbers, indexes, last)}


async def means(conn: Connection, chain_id: int, pools: Collection[bytes], of: Ground) -> Mapping[bytes, Mean]:
    """Return each pool's ticks over the window of `of`; a pool that said nothing since `of.since` is left out."""
    opening = await newest(conn, chain_id, pools, of.since, of.window - 1)
    said: dict[bytes, list[asyncpg.Record]] = {}
    for row in await conn.fetch(SQL_WITHIN, chain_id, list(pools), of.window, of.block.number):
        said.setdefault(row["pool"], []).append(row)
    return {pool: _mean(opening.get(pool), said.get(pool, []), of) for pool in pools if pool in opening or pool in said}


def _mean(opening: Tick | None, said: Sequence[asyncpg.Record], of: Ground) -> Mean:
    prices = [(row["block_time"], row["tick"]) for row in said]
    if opening is not None:
        prices.insert(0, (of.window_start, opening.tick))
    ends = [at for at, _ in prices[1:]] + [of.time]
    held = [
        (tick, int((end - at).total_seconds())) for (at, tick), end in zip(prices, ends, strict=True)
    ]  # fmt: skip
    young = opening is None and any(row["first_price"] for row in said[:1])
    return Mean(held, whole=opening is not None, young=young)


def _tick(row: asyncpg.Record) -> Tick:
    return Tick(
        pool=row["pool"], number=row["block_number"], time=row["block_time"], sqrt_x96=int(row["sqrt_price_x96"]),
        tick=row["tick"], liquidity=int(row["liquidity"]),
    )  # fmt: skip
