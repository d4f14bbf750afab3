"""Tables that PostgreSQL has not looked at yet, as after a backfill: its planner knows nothing of them."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from core.store import export, listing, plans, swaps, ticks
from core.store.copy import hash_key
from core.store.listing import Filter, Window
from core.store.pool import Connection, Pool, open_pool
from core.store.reader import Reader, TxPage
from core.types import BlockRange
from tests.pg.test_export import stored
from tests.pools import SWAP

CHAIN = 7
BLOCKS = 8_000  # of ten transactions
OWNER = b"\x77" * 20
PARTS = 400  # transactions that the owner has a part in, far from each other
ASKED = 100
POOL = b"\x99" * 20

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
    """A database that was filled at once; autovacuum is off in the tests' server (core/store/schema.py)."""
    async with open_pool(database_url, size=2) as pool:
        await pool.execute("insert into chain.chain (chain_id, name) values ($1, 'fresh')", CHAIN)
        await stored(pool, 0, BLOCKS - 1)
        await pool.execute(SQL_PARTS, OWNER, BLOCKS // PARTS)
        rows = await pool.fetch(SQL_HASHES)
        places = [(hash_key(row["hash"]), row["block_number"], row["tx_index"]) for row in rows]
        await pool.execute(SQL_BY_HASH, CHAIN, *map(list, zip(*places, strict=True)))
        yield pool


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
    assert before < 10 * after + 2, (before, after)


async def test_swaps_find_the_times_of_their_blocks_as_fast(fresh: Pool) -> None:
    await fresh.execute(SQL_SWAPS, POOL, SWAP, bytes(32), SWAPPED, BLOCKS)

    async def took() -> float:
        started = time.perf_counter()
        assert len(await fresh.fetch(swaps.SQL_TICKS, CHAIN, POOL, 0, BLOCKS)) == BLOCKS
        assert sum(row["swaps"] for row in await fresh.fetch(ticks.SQL_BARS, *_bars())) == BLOCKS
        return time.perf_counter() - started

    before = await took()
    await fresh.execute("analyze")
    after = await took()
    assert before < 10 * after + 2, (before, after)


def _bars() -> tuple[object, ...]:
    return CHAIN, POOL, 0, BLOCKS, timedelta(hours=1), BLOCKS + 1


async def _exported(pool: Pool) -> tuple[float, list[Sequence[asyncpg.Record]]]:
    rows: list[Sequence[asyncpg.Record]] = []

    class Taken:
        async def take(self, conn: Connection, sql: str, *arguments: object) -> int:
            rows.append(await conn.fetch(sql, *arguments))
            return len(rows[-1])

    started = time.perf_counter()
    async with export.snapshot(pool, CHAIN) as snapshot:
        for table in export.TABLES.values():
            async for _ in snapshot.write(table, BlockRange(0, 1_999), Taken()):
                pass
    return time.perf_counter() - started, rows


async def test_an_export_takes_as_long(fresh: Pool, database_url: str) -> None:
    await fresh.execute(SQL_SWAPS, POOL, SWAP, bytes(32), SWAPPED, BLOCKS)
    before, rows = await _exported(fresh)
    await fresh.execute("analyze")
    async with open_pool(database_url, size=1) as pool:
        after, same = await _exported(pool)
    assert rows == same
    assert sum(map(len, rows)) == 2_000 * (1 + 10 + 1 + 1)
    assert before < 5 * after + 1.5, (before, after)


SQL_BUSY_TOKEN = """
    insert into chain.token_transfer (chain_id, block_number, log_index, position, tx_index, standard, token, sender,
        recipient, amount)
    select 7, n, i, 0, i, 20, case when n % 500 = 250 and i = 2 then $1::bytea else $2::bytea end, $3, $3, n
    from generate_series(0, $4::bigint - 1) as n, generate_series(1, 9) as i
"""
RARE, BUSY = b"\x11" * 20, b"\x12" * 20


async def test_pages_of_a_token_cost_what_they_show(fresh: Pool, database_url: str) -> None:
    """All transfers of a partition were read for a token that moved 16 times."""
    await fresh.execute(SQL_BUSY_TOKEN, RARE, BUSY, OWNER, BLOCKS)

    async def took(pool: Pool) -> tuple[float, list[TxPage]]:
        reader = Reader(pool, CHAIN)
        asked = [
            (Filter(token=RARE), Window(limit=50)), (Filter(token=RARE), Window(limit=50, oldest_first=True)),
            (Filter(token=RARE, status=1, to_block=BLOCKS // 2), Window(limit=50)),
            (Filter(address=OWNER, token=BUSY), Window(limit=50)),
        ]  # fmt: skip
        pages = [await reader.transactions(*each) for each in asked]  # what is read for the first time is not measured
        started = time.perf_counter()
        for _ in range(5):
            for each in asked:
                pages.append(await reader.transactions(*each))
        return time.perf_counter() - started, pages

    before, pages = await took(fresh)
    await fresh.execute("analyze")
    async with open_pool(database_url, size=1) as pool:
        after, same = await took(pool)
    assert pages == same
    assert [page.total for page in pages[:4]] == [16, 16, 8, PARTS]
    assert before < 4 * after + 1, (before, after)


async def test_the_first_page_of_a_busy_token_does_not_read_all_that_it_moved(fresh: Pool) -> None:
    await fresh.execute(SQL_BUSY_TOKEN, RARE, BUSY, OWNER, BLOCKS)
    for known in (False, True):
        if known:
            await fresh.execute("analyze")
        for sql in (listing.SQL_TOKEN_NEWEST, listing.SQL_TOKEN_OLDEST):
            asked = (CHAIN, 0, BLOCKS, None, 1, None, None, BUSY, None, 1, None, None, 50, 0)
            assert await _read(fresh, sql, *asked) < 1_000, (known, sql)


async def test_the_first_block_of_a_time_is_found_without_a_walk(fresh: Pool) -> None:
    for known in (False, True):
        if known:
            await fresh.execute("analyze")
        for number in (10, BLOCKS // 2, BLOCKS - 10):
            at = datetime.fromtimestamp(1_700_000_000 + number, UTC)
            for sql in (listing.SQL_FIRST_SINCE, listing.SQL_LAST_UNTIL):
                assert await fresh.fetchval(sql, CHAIN, at) == number
                assert await _read(fresh, sql, CHAIN, at) < 50, (known, number, sql)


async def _read(pool: Pool, sql: str, *arguments: object) -> int:
    """Return how many pages of 8 kB are looked at for a statement of a filtered listing."""
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute(plans.PLAN_BY_KEY)
        (row,) = await conn.fetch(f"explain (analyze, format json) {sql}", *arguments)
    plan = json.loads(row[0])[0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
