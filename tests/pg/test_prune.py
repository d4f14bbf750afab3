"""Retention takes the oldest blocks away, whole, and nothing else; coverage says so in the same transaction."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterable

import pytest

from core.store.export import snapshot
from core.store.pg import PgStore
from core.store.pool import Pool, open_pool
from core.store.prune import Pruner
from core.types import BlockRange, joined
from tests.unit.test_backfill_bounds import made

CHAIN, OTHER = 7, 8
MILLION = 1_000_000
PARTITIONED = ("block", "event_transaction", "log", "token_transfer", "transaction")


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url, role="chainworkd_indexer", size=4) as pool:
        yield pool


async def filled(store: PgStore, ranges: Iterable[BlockRange]) -> None:
    for span in ranges:
        await store.fill([made(n) for n in range(span.first, span.last + 1)], anchored=False)


async def numbers(pool: Pool, chain: int = CHAIN) -> list[int]:
    rows = await pool.fetch("select number from chain.block where chain_id = $1 order by number", chain)
    return [row["number"] for row in rows]


@pytest.mark.parametrize("seed", range(25))
async def test_what_is_left_is_what_was_stored_above(pool: Pool, seed: int) -> None:
    dice = random.Random(seed)
    store, pruner = PgStore(pool, CHAIN), Pruner(pool, CHAIN)
    stored = {n for n in range(60) if dice.random() < 0.7}
    await store.commit([made(n) for n in range(60, 63)], after=None)
    await filled(store, joined(BlockRange(n, n) for n in stored))
    stored |= {60, 61, 62}
    below, limit = dice.randrange(70), dice.randrange(1, 20)
    while (old := await pruner.prune(below, limit)) is not None:
        gone = {n for n in stored if n < min(below, 62)} - {n for n in stored if n > old.last}
        stored -= gone
        assert old.last in gone
        assert len(old) <= limit
        # At every step: rows and coverage agree, and only the oldest went.
        assert await numbers(pool) == sorted(stored)
        assert await store.coverage() == joined(BlockRange(n, n) for n in stored)
    assert min(stored) >= min(below, 62)


async def test_the_head_goes_on_while_the_oldest_blocks_go(pool: Pool) -> None:
    store, pruner = PgStore(pool, CHAIN), Pruner(pool, CHAIN)
    await store.commit([made(n) for n in range(200)], after=None)

    async def head() -> None:
        for number in range(200, 300):
            await store.commit([made(number)], after=made(number - 1).ref)

    async def prune() -> None:
        while await pruner.prune(150, 3) is not None:
            pass

    await asyncio.gather(head(), prune())
    assert await store.coverage() == (BlockRange(150, 299),)
    assert await numbers(pool) == list(range(150, 300))
    # Rows of coverage, too: one, extended at one end and trimmed at the other.
    assert await pool.fetchval("select count(*) from chain.coverage") == 1


async def test_nothing_goes_without_a_cursor_nor_from_another_chain(pool: Pool) -> None:
    store, other = PgStore(pool, CHAIN), PgStore(pool, OTHER)
    await store.commit([made(n) for n in range(10)], after=None)
    await pool.execute("delete from chain.cursor")
    assert await Pruner(pool, CHAIN).prune(5, 10) is None
    await other.commit([made(n) for n in range(10)], after=None)
    assert await Pruner(pool, OTHER).prune(5, 10) == BlockRange(0, 4)
    assert (await numbers(pool), await numbers(pool, OTHER)) == (list(range(10)), list(range(5, 10)))


async def partitions(pool: Pool) -> set[str]:
    rows = await pool.fetch("select relname from pg_class where relname ~ '^block_p' and relkind = 'r'")
    return {row["relname"] for row in rows}


async def test_a_partition_that_is_empty_for_all_chains_is_dropped_and_made_again_when_needed(pool: Pool) -> None:
    store, other = PgStore(pool, CHAIN), PgStore(pool, OTHER)
    pruner = Pruner(pool, CHAIN)
    await store.commit([made(n) for n in range(MILLION - 5, MILLION + 5)], after=None)
    await other.commit([made(n) for n in range(MILLION - 5, MILLION + 5)], after=None)
    await pruner.prune(MILLION, 100)
    assert await pruner.drop_empty(MILLION) == []
    await Pruner(pool, OTHER).prune(MILLION, 100)
    assert await pruner.drop_empty(MILLION - 1) == []
    dropped = await pruner.drop_empty(MILLION)
    assert dropped == [f"{t}_p00000000" for t in PARTITIONED]
    assert await partitions(pool) == {"block_p00000001"}
    # The writer had noted that the partition is there: it fails once, for a while, and makes it again.
    with pytest.raises(Exception, match="no partition") as failed:
        await filled(store, [BlockRange(3, 4)])
    assert type(failed.value).__name__ == "StoreUnavailable"
    await filled(store, [BlockRange(3, 4)])
    assert await store.coverage() == (BlockRange(3, 4), BlockRange(MILLION, MILLION + 4))


async def test_an_export_that_is_under_way_keeps_its_partitions(pool: Pool, database_url: str) -> None:
    store, pruner = PgStore(pool, CHAIN), Pruner(pool, CHAIN)
    await store.commit([made(n) for n in range(MILLION - 5, MILLION + 5)], after=None)
    async with open_pool(database_url, size=1) as reading, snapshot(reading, CHAIN) as before:
        assert await before.coverage() == (BlockRange(MILLION - 5, MILLION + 4),)
        assert await pruner.prune(MILLION, 100) is not None
        with pytest.raises(Exception, match="lock timeout"):
            await pruner.drop_empty(MILLION)
        assert await before.ref_at(MILLION - 3) == made(MILLION - 3).ref
    assert len(await pruner.drop_empty(MILLION)) == len(PARTITIONED)
