"""What pools of Uniswap v3 said of their prices (views chain.tick and chain.liquidity_change), as of a block."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import asyncpg

from core.store.pool import Connection
from core.store.reader import SQL_COVERAGE
from core.types import BlockRange, BlockRef, joined

SQL_BLOCK: Final = "select hash, block_time from chain.block where chain_id = $1 and number = $2"
SQL_WATCHED: Final = "select watched from chain.chain where chain_id = $1"
SQL_BLOCKS: Final = """
    select number, hash, block_time from chain.block where chain_id = $1 and number = any($2::bigint[])
"""
SQL_BETWEEN: Final = """
    select number, hash, block_time from chain.block where chain_id = $1 and number between $2 and $3 order by number
"""
SQL_MOMENTS: Final = """
    select b.number, b.hash, b.block_time, lower(s.span) as first, upper(s.span) - 1 as last, f.block_time as since
    from chain.block b
    join (
        select unnest(range_agg(blocks)) as span from chain.coverage where chain_id = $1
    ) as s on b.number <@ s.span
    left join chain.block f on f.chain_id = $1 and f.number = lower(s.span)
    where b.chain_id = $1 and b.number = any($2::bigint[])
"""
# By block_by_time, not by a walk from the lowest number up. $2 to $4 times, $5 to $6 the stored blocks around.
SQL_BOUNDS: Final = """
    select s.since, s.first, b.number, b.hash, b.number = s.behind as closed
    from (
        select (
            select number from chain.block
            where chain_id = $1 and block_time >= $2 and number between $5 and $6 order by block_time, number limit 1
        ) as since, (
            select number from chain.block
            where chain_id = $1 and block_time >= $3 and number between $5 and $6 order by block_time, number limit 1
        ) as first, (
            select number from chain.block
            where chain_id = $1 and block_time >= $4 and number between $5 and $6 order by block_time, number limit 1
        ) as behind
    ) as s
    join chain.block b on b.chain_id = $1 and b.number = coalesce(s.behind, $6)
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
# Within one block only the last price has lasted. It is decoded here: PostgreSQL takes three times as long.
SQL_SAID: Final = """
    select pool, block_number, max(log_index) as log_index, bool_or(first_price) as first_price,
        (array_agg(data order by log_index desc))[1] as data
    from chain.tick
    where chain_id = $1 and pool = any($2::bytea[]) and block_number between $3 and $4
    group by pool, block_number
    order by pool, block_number
"""
SQL_CHANGES: Final = """
    select c.pool, c.block_number, c.log_index, b.block_time, c.tick_lower, c.tick_upper, c.change
    from chain.liquidity_change c
    join chain.block b on b.chain_id = c.chain_id and b.number = c.block_number
    where c.chain_id = $1 and c.pool = any($2::bytea[])
        and c.block_number between $3 and $4
    order by c.pool, c.block_number, c.log_index
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
    select s.start, count(*) as swaps,
        (array_agg(s.sqrt_price_x96 order by s.block_number, s.log_index))[1] as open,
        max(s.sqrt_price_x96) as high,
        min(s.sqrt_price_x96) as low,
        (array_agg(s.sqrt_price_x96 order by s.block_number desc, s.log_index desc))[1] as close,
        sum(abs(s.amount0)) as volume0,
        sum(abs(s.amount1)) as volume1
    from (
        select date_bin($5::interval, b.block_time, 'epoch'::timestamptz) as start, t.block_number, t.log_index,
            t.sqrt_price_x96, t.amount0, t.amount1
        from chain.tick t
        join chain.block b on b.chain_id = t.chain_id and b.number = t.block_number
        where t.chain_id = $1 and t.pool = $2 and not t.first_price
            and t.block_number between $3 and $4
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A stored block with its time in Unix seconds, the stored range it is in, and since when blocks are stored there.

    `since` is the time of the range's first block; None if that is the chain's first.
    """

    block: BlockRef
    time: int
    span: BlockRange
    since: int | None

    @property
    def at(self) -> datetime:
        """Its time."""
        return datetime.fromtimestamp(self.time, UTC)


@dataclass(frozen=True, slots=True)
class Bounds:
    """The blocks of a span of time: from `first` up to `end`, excluded where it is `closed`: it is younger then.

    `since` is the first block that an earlier price may be of.
    """

    since: int
    first: int
    end: BlockRef
    closed: bool

    @property
    def last(self) -> int:
        """The last block of the span."""
        return self.end.number - self.closed


@dataclass(frozen=True, slots=True)
class Change:
    """Liquidity that came or went between two ticks, in a log of block `number` at `time` (Unix seconds)."""

    number: int
    log_index: int
    time: int
    lower: int
    upper: int
    liquidity: int


class Said(NamedTuple):
    """A pool's state as its log in block `number` at `time` (Unix seconds) left it; `first`: it had no price before.

    What a slot holds many of, so it is small and quick to make.
    """

    number: int
    time: int
    log_index: int
    sqrt_x96: int
    tick: int
    liquidity: int
    first: bool

    def of(self, pool: bytes) -> Tick:
        """Return it as the state of `pool`."""
        time = datetime.fromtimestamp(self.time, UTC)
        return Tick(
            pool=pool, number=self.number, time=time, sqrt_x96=self.sqrt_x96, tick=self.tick, liquidity=self.liquidity
        )  # fmt: skip


async def stored(conn: Connection, chain_id: int, numbers: Collection[int]) -> Mapping[int, tuple[bytes, int]]:
    """Return hash and time, in Unix seconds, of those of the blocks that are stored."""
    rows = await conn.fetch(SQL_BLOCKS, chain_id, list(numbers)) if numbers else []
    return {row["number"]: (row["hash"], int(row["block_time"].timestamp())) for row in rows}


async def moments(conn: Connection, chain_id: int, blocks: Collection[BlockRef]) -> Mapping[BlockRef, Moment]:
    """Return what there is around those of the blocks that are stored."""
    wanted = {block.number: block for block in blocks}
    rows = await conn.fetch(SQL_MOMENTS, chain_id, list(wanted))
    return {
        wanted[row["number"]]: Moment(
            block=wanted[row["number"]], time=int(row["block_time"].timestamp()),
            span=BlockRange(row["first"], row["last"]),
            since=int(row["since"].timestamp()) if row["first"] else None,
        )
        for row in rows if row["hash"] == wanted[row["number"]].hash
    }  # fmt: skip


async def between(conn: Connection, chain_id: int, first: int, last: int) -> list[tuple[BlockRef, int]]:
    """Return the stored blocks from `first` to `last`, each with its time in Unix seconds."""
    rows = await conn.fetch(SQL_BETWEEN, chain_id, first, last)
    return [(BlockRef(row["number"], row["hash"]), int(row["block_time"].timestamp())) for row in rows]


async def bounds(
    conn: Connection, chain_id: int, span: BlockRange, *, since: datetime, start: datetime, end: datetime
) -> Bounds | None:
    """Return which blocks of the stored range `span` are from `start` up to before `end`; None if none is that young.

    Where `span` ends before `end` the last block is its last, and it is not closed.
    """
    row = await conn.fetchrow(SQL_BOUNDS, chain_id, since, start, end, span.first, span.last)
    if row is None or row["first"] is None:
        return None
    return Bounds(row["since"], row["first"], BlockRef(row["number"], row["hash"]), row["closed"] or False)


async def said(
    conn: Connection, chain_id: int, pools: Collection[bytes], blocks: Mapping[int, int]
) -> Mapping[bytes, list[Said]]:
    """Return the last price of each block in which a pool said one, in order; `blocks` are all of a span by time."""
    if not blocks:
        return {}
    rows = await conn.fetch(SQL_SAID, chain_id, list(pools), min(blocks), max(blocks))
    found: dict[bytes, list[Said]] = {}
    for row in rows:
        number, data = row["block_number"], row["data"]
        swap = len(data) == 160  # Initialize has 64
        found.setdefault(row["pool"], []).append(
            Said(
                number, blocks[number], row["log_index"], int.from_bytes(data[64:96] if swap else data[:32]),
                int.from_bytes(data[-4:], signed=True), int.from_bytes(data[96:128]) if swap else 0, row["first_price"],
            )
        )  # fmt: skip
    return found


async def changes(
    conn: Connection, chain_id: int, pools: Collection[bytes], first: int, last: int
) -> Mapping[bytes, list[Change]]:
    """Return what liquidity came and went in blocks `first` to `last`, in order."""
    found: dict[bytes, list[Change]] = {}
    for row in await conn.fetch(SQL_CHANGES, chain_id, list(pools), first, last):
        found.setdefault(row["pool"], []).append(
            Change(
                row["block_number"], row["log_index"], int(row["block_time"].timestamp()), row["tick_lower"],
                row["tick_upper"], int(row["change"]),
            )
        )  # fmt: skip
    return found


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
    """Return the spans of `blocks` in which somebody swapped, oldest first, and whether these are all.

    Only the newest `most` swaps are looked at; a span of which some are left out is left out.
    """
    rows = await conn.fetch(SQL_BARS, chain_id, pool, blocks.first, blocks.last, width, most + 1)
    whole = sum(row["swaps"] for row in rows) <= most
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
