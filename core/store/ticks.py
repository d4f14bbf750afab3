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
SQL_CURSOR: Final = "select number, hash from chain.cursor where chain_id = $1"
SQL_UNTIL: Final = """
    select number, hash from chain.block
    where chain_id = $1 and block_time <= $2
    order by block_time desc, number desc
    limit 1
"""
SQL_SPAN: Final = """
    select (
        select number from chain.block
        where chain_id = $1 and block_time >= $2 order by block_time, number limit 1
    ) as first, (
        select number from chain.block
        where chain_id = $1 and block_time < $3 order by block_time desc, number desc limit 1
    ) as last
"""
SQL_TOKENS_OF: Final = """
    select distinct m.token
    from chain.token_transfer m
    join (
        select t.block_number, t.tx_index
        from chain.tick t
        where t.chain_id = $1 and t.pool = $2 and not t.first_price
        order by t.block_number desc, t.log_index desc
        limit 1
    ) as swap on swap.block_number = m.block_number and swap.tx_index = m.tx_index
    where m.chain_id = $1 and (m.sender = $2 or m.recipient = $2)
"""
SQL_BARS: Final = """
    select s.start, count(*) as logs, count(*) filter (where not s.first_price) as swaps,
        (array_agg(s.sqrt_price_x96 order by s.block_number, s.log_index))[1] as open,
        max(s.sqrt_price_x96) as high,
        min(s.sqrt_price_x96) as low,
        (array_agg(s.sqrt_price_x96 order by s.block_number desc, s.log_index desc))[1] as close,
        coalesce(sum(abs(s.amount0)), 0) as volume0,
        coalesce(sum(abs(s.amount1)), 0) as volume1
    from (
        select date_bin($5::interval, b.block_time, 'epoch'::timestamptz) as start, t.block_number, t.log_index,
            t.first_price, t.sqrt_price_x96, t.amount0, t.amount1
        from chain.tick t
        join chain.block b on b.chain_id = t.chain_id and b.number = t.block_number
        where t.chain_id = $1 and t.pool = $2
            and t.block_number between $3 and $4 and b.number between $3 and $4
        order by t.block_number desc, t.log_index desc
        limit $6
    ) as s
    group by s.start
    order by s.start
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


async def block_at(conn: Connection, chain_id: int, at: int | datetime | None) -> BlockRef | None:
    """Return the stored block of a number, or the newest one at a time; without either the newest one the head stored.

    None if it is not stored, or if the block after it is not, which might be the newest one at that time.
    """
    if isinstance(at, int):
        row = await conn.fetchrow(SQL_BLOCK, chain_id, at)
        return None if row is None else BlockRef(at, row["hash"])
    cursor = await conn.fetchrow(SQL_CURSOR, chain_id)
    if at is None or cursor is None:
        return None if cursor is None else BlockRef(cursor["number"], cursor["hash"])
    row = await conn.fetchrow(SQL_UNTIL, chain_id, at)
    if row is None:
        return None
    known = row["number"] == cursor["number"] or await conn.fetchrow(SQL_BLOCK, chain_id, row["number"] + 1)
    return BlockRef(row["number"], row["hash"]) if known else None


async def tokens_of(conn: Connection, chain_id: int, pool: bytes) -> list[bytes]:
    """Return the tokens that a pool moved in the transaction of its newest swap."""
    return [row["token"] for row in await conn.fetch(SQL_TOKENS_OF, chain_id, pool)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """What a pool's price did in one span of time: square roots as in Tick, and what was swapped, in base units."""

    start: datetime
    open: int
    high: int
    low: int
    close: int
    volume0: int
    volume1: int
    swaps: int


async def bars(
    conn: Connection, chain_id: int, pool: bytes, *, width: timedelta, blocks: BlockRange, most: int
) -> tuple[list[Bar], bool]:
    """Return the spans of `blocks` in which a pool spoke, oldest first, and whether these are all.

    Only its newest `most` logs are looked at; a span of which some are left out is left out.
    """
    rows = await conn.fetch(SQL_BARS, chain_id, pool, blocks.first, blocks.last, width, most + 1)
    whole = sum(row["logs"] for row in rows) <= most
    found = [
        Bar(
            start=row["start"], open=int(row["open"]), high=int(row["high"]), low=int(row["low"]),
            close=int(row["close"]), volume0=int(row["volume0"]), volume1=int(row["volume1"]), swaps=row["swaps"],
        )
        for row in rows
    ]  # fmt: skip
    return (found if whole else found[1:]), whole


async def span(conn: Connection, chain_id: int, start: datetime, end: datetime) -> tuple[BlockRange | None, bool]:
    """Return the stored blocks from `start` up to before `end`, and whether none is missing among them."""
    (row,) = await conn.fetch(SQL_SPAN, chain_id, start, end)
    first, last = row["first"], row["last"]
    if first is None or last is None or first > last:
        return None, False
    cursor = await conn.fetchrow(SQL_CURSOR, chain_id)
    ranges = joined([BlockRange(r["first"], r["last"]) for r in await conn.fetch(SQL_COVERAGE, chain_id)])
    # The block before and the one after prove that nothing is missing at the ends.
    below, above = max(first - 1, 0), last if cursor and cursor["number"] == last else last + 1
    return BlockRange(first, last), any(below in each and above in each for each in ranges)
