"""All that one pool of Uniswap v3 said over a range of blocks, for those who go through it once (backtests)."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Final

from core.store.pool import Connection
from core.store.reader import SQL_COVERAGE
from core.store.ticks import Tick
from core.types import BlockRange, joined

SQL_TIME: Final = "select block_time from chain.block where chain_id = $1 and number = $2"
# As each log said it: what Mint and Burn changed since is not in it.
SQL_TICKS: Final = """
    select t.pool, t.block_number, b.block_time, t.sqrt_price_x96, t.tick, t.liquidity
    from chain.tick t
    join chain.block b on b.chain_id = t.chain_id and b.number = t.block_number
    where t.chain_id = $1 and t.pool = $2
        and t.block_number between $3 and $4
    order by t.block_number, t.log_index
"""
SQL_EDGES: Final = """
    select c.tick_lower as edge
    from chain.liquidity_change c
    where c.chain_id = $1 and c.pool = $2 and c.block_number between $3 and $4
    union
    select c.tick_upper
    from chain.liquidity_change c
    where c.chain_id = $1 and c.pool = $2 and c.block_number between $3 and $4
"""
ROWS_AT_ONCE: Final = 5_000


async def ticks_of(conn: Connection, chain_id: int, pool: bytes, blocks: BlockRange) -> AsyncIterator[Tick]:
    """Yield all that a pool said of its price in `blocks`, oldest first, with the liquidity that each log names.

    Needs a transaction: rows are read as they are taken.
    """
    async for row in conn.cursor(SQL_TICKS, chain_id, pool, blocks.first, blocks.last, prefetch=ROWS_AT_ONCE):
        yield Tick(
            pool=row["pool"], number=row["block_number"], time=row["block_time"], sqrt_x96=int(row["sqrt_price_x96"]),
            tick=row["tick"], liquidity=int(row["liquidity"]),
        )  # fmt: skip


async def edges_of(conn: Connection, chain_id: int, pool: bytes, blocks: BlockRange) -> frozenset[int]:
    """Return the ticks between which liquidity came or went in `blocks`: multiples of the pool's spacing."""
    rows = await conn.fetch(SQL_EDGES, chain_id, pool, blocks.first, blocks.last)
    return frozenset(row["edge"] for row in rows)


async def covered(conn: Connection, chain_id: int) -> tuple[BlockRange, ...]:
    """Return the ranges of blocks whose logs are all stored, in order."""
    return joined([BlockRange(r["first"], r["last"]) for r in await conn.fetch(SQL_COVERAGE, chain_id)])


async def time_of(conn: Connection, chain_id: int, number: int) -> datetime | None:
    """Return the time of a stored block."""
    found: datetime | None = await conn.fetchval(SQL_TIME, chain_id, number)
    return found
