"""Tables that PostgreSQL has not looked at yet, as after a backfill: its planner knows nothing of them."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest

from core.store import plans, swaps, ticks
from core.store.copy import hash_key
from core.store.listing import Filter, Window
from core.store.pool import Pool, open_pool
from core.store.reader import Reader
from tests.pg.test_export import stored

CHAIN = 7
BLOCKS = 8_000  # of ten transactions
OWNER = b"\x77" * 20
PARTS = 400  # transactions that the owner has a part in, far from each other
ASKED = 100
POOL = b"\x99" * 20
TOPIC_SWAP = bytes.fromhex("c42079f94a6350d7e6235f29174924f928cc2ac818eb64fed8004e115fbcca67")

SQL_PARTS = """
    insert into chain.address_transaction (chain_id, address, block_number, tx_index, roles)
    select chain_id, $1, block_number, tx_index, 1 from chain.transaction where block_number % $2 = 0 and tx_index = 1
"""
SQL_HASHES = "select hash, block_number, tx_index from chain.transaction"
SQL_BY_HASH = """
    insert into chain.tx_hash (chain_id, hash_key, block_number, tx_index)
    select $1, * from unnest($2::bigint[], $3::bigint[], $4::integer[])
"""
SQL_SWAPS = """
    insert into chain.log (chain_id, block_number, log_index, tx_index, address, topic0, topic1, topic2, data)
    select chain_id, number, 0, 1, $1, $2, $3, $3, $4 from chain.block where number < $5
"""
SWAPPED = b"".join(each.to_bytes(32, signed=True) for each in (5, -7, 2**96, 10**18, 0))


@pytest.fixture
async def fresh(database_url: str) -> AsyncIterator[Pool]:
    """A database that was filled at once, and that autovacuum leaves as it is."""
    connection = await asyncpg.connect(database_url)
    for table in ("transaction", "block", "token_transfer", "log"):
        partition = await _partition(connection, table)
        await connection.execute(f"alter table {partition} set (autovacuum_enabled = off)")
    await connection.execute("insert into chain.chain (chain_id, name) values ($1, 'fresh')", CHAIN)
    async with open_pool(database_url, size=2) as pool:
        await stored(pool, 0, BLOCKS - 1)
        await pool.execute(SQL_PARTS, OWNER, BLOCKS // PARTS)
        rows = await pool.fetch(SQL_HASHES)
        places = [(hash_key(row["hash"]), row["block_number"], row["tx_index"]) for row in rows]
        await pool.execute(SQL_BY_HASH, CHAIN, *map(list, zip(*places, strict=True)))
        yield pool
    await connection.close()


async def _partition(connection: "asyncpg.Connection[asyncpg.Record]", table: str) -> str:
    await connection.execute("select chain.ensure_partitions(0, $1)", BLOCKS)
    found = await connection.fetchval(
        "select inhrelid::regclass::text from pg_inherits where inhparent = $1::text::regclass", f"chain.{table}"
    )
    return str(found)


async def _took(pool: Pool) -> float:
    reader = Reader(pool, CHAIN)
    hashes = [row["hash"] for row in await pool.fetch(f"{SQL_HASHES} order by hash limit {ASKED}")]
    started = time.perf_counter()
    assert all(await asyncio.gather(*map(reader.transaction, hashes)))
    for wanted in (Filter(address=OWNER), Filter(address=OWNER, min_value=1)):
        page = await reader.transactions(wanted, Window(limit=200))
        assert (len(page.txs), page.total) == (200, PARTS)
    return time.perf_counter() - started


@pytest.mark.parametrize("few", [plans.PARTITIONS, 0], ids=["planned once", "planned each time"])
async def test_what_is_looked_up_by_its_key_costs_the_same_before_the_tables_are_looked_at(
    fresh: Pool, database_url: str, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    """A planner that took the range of a page for one row had it read for each of them: 50 times as long and more."""
    monkeypatch.setattr(plans, "PARTITIONS", few)
    before = await _took(fresh)
    await fresh.execute("analyze")
    async with open_pool(database_url, size=2) as pool:  # connections that have made no plans yet
        after = await _took(pool)
    assert before < 10 * after + 0.5, (before, after)


async def test_swaps_find_the_times_of_their_blocks_as_fast(fresh: Pool) -> None:
    await fresh.execute(SQL_SWAPS, POOL, TOPIC_SWAP, bytes(32), SWAPPED, BLOCKS)

    async def took() -> float:
        started = time.perf_counter()
        assert len(await fresh.fetch(swaps.SQL_TICKS, CHAIN, POOL, 0, BLOCKS)) == BLOCKS
        assert sum(row["swaps"] for row in await fresh.fetch(ticks.SQL_BARS, *_bars())) == BLOCKS
        return time.perf_counter() - started

    before = await took()
    await fresh.execute("analyze")
    after = await took()
    assert before < 10 * after + 0.5, (before, after)


def _bars() -> tuple[object, ...]:
    return CHAIN, POOL, 0, BLOCKS, timedelta(hours=1), BLOCKS + 1
