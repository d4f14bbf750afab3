"""Facts on PostgreSQL: no number becomes visible before an earlier one, whoever commits first."""

import asyncio
import random
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

import core
from core.facts import Fact, FactLog, FillFact, ReorgFact
from core.store.facts import PgFacts, tell
from core.store.pg import PgStore
from core.store.pool import Pool, open_pool
from core.types import BlockRange
from tests import make

CHAIN = 5
MIGRATION = Path(core.__file__).parent / "store/migrations/0012_facts.sql"
A = make.chain(200, txs=1)


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url, role="chainworkd_indexer", size=10) as pool:
        yield pool


@pytest.fixture
async def store(pool: Pool) -> PgStore:
    store = PgStore(pool, CHAIN)
    await store.register("facts", None)
    await store.commit(A[100:101], after=None)
    return store


def filled(first: int, last: int) -> FillFact:
    return FillFact(blocks=BlockRange(first, last), parent_hash=A[first].parent_hash, tip_hash=A[last].hash)


async def seqs(facts: FactLog, after: int = 0) -> list[int]:
    return [each.seq for each in await facts.after(after, 10_000)]


async def test_while_a_fact_is_not_committed_no_later_one_can_be_seen(pool: Pool, store: PgStore) -> None:
    facts = PgFacts(pool, CHAIN)
    async with pool.acquire() as conn:
        held = conn.transaction()
        await held.start()
        await tell(conn, CHAIN, [filled(90, 99)], make_at())
        # The head's commit takes its number after the open transaction, so it has to be seen after it: it waits.
        head = asyncio.create_task(store.commit(A[101:102], after=A[100].ref))
        done, _ = await asyncio.wait({head}, timeout=0.5)
        assert not done
        assert await seqs(facts) == [1]
        await held.commit()
    await head
    assert await seqs(facts) == [1, 2, 3]
    assert isinstance((await facts.after(1, 1))[0].fact, FillFact)


async def test_a_fact_that_is_rolled_back_leaves_no_gap(pool: Pool, store: PgStore) -> None:
    async with pool.acquire() as conn:
        held = conn.transaction()
        await held.start()
        await tell(conn, CHAIN, [filled(90, 99)], make_at())
        head = asyncio.create_task(store.commit(A[101:102], after=A[100].ref))
        await asyncio.wait({head}, timeout=0.2)
        await held.rollback()
    await head
    assert await seqs(PgFacts(pool, CHAIN)) == [1, 2]


async def test_chains_do_not_wait_for_one_another(pool: Pool, store: PgStore) -> None:
    other = PgStore(pool, CHAIN + 1)
    await other.register("other", None)
    async with pool.acquire() as conn, conn.transaction():
        await tell(conn, CHAIN, [filled(90, 99)], make_at())
        async with asyncio.timeout(5):
            await other.commit(A[7:8], after=None)
        assert await seqs(PgFacts(pool, CHAIN + 1)) == [1]


async def test_a_reader_that_never_stops_sees_every_fact_once_while_all_writers_write(
    pool: Pool, store: PgStore
) -> None:
    dice = random.Random("facts")
    facts = PgFacts(pool, CHAIN)
    seen: list[int] = []
    over = asyncio.Event()

    async def read() -> None:
        while True:
            last = over.is_set()
            seen.extend(await seqs(facts, seen[-1] if seen else 0))
            if last:
                return
            await asyncio.sleep(dice.choice((0, 0.001)))

    async def fill(firsts: list[int]) -> None:
        for first in firsts:
            await store.fill(A[first : first + 4], anchored=False)
            await asyncio.sleep(dice.choice((0, 0.003)))

    async def follow() -> None:
        for number in range(101, 140):
            await store.commit(A[number : number + 1], after=A[number - 1].ref)
        await store.rewind(A[139].ref, A[120].ref, reason="race")

    reader = asyncio.create_task(read())
    order = list(range(0, 100, 4))
    dice.shuffle(order)
    await asyncio.gather(*(fill(order[n::4]) for n in range(4)), follow())
    over.set()
    await reader
    assert seen == list(range(1, 1 + 1 + len(order) + 39 + 1))
    assert await seqs(facts) == seen


async def test_a_number_and_its_row_survive_or_vanish_together_with_what_they_tell(pool: Pool, store: PgStore) -> None:
    class Failing(PgStore):
        async def _remove(self, conn: object, gone: ReorgFact) -> None:
            await super()._remove(conn, gone)  # type: ignore[arg-type]
            raise RuntimeError("the process dies here")

    facts = PgFacts(pool, CHAIN)
    await store.commit(A[101:103], after=A[100].ref)
    with pytest.raises(RuntimeError):
        await Failing(pool, CHAIN).rewind(A[102].ref, A[101].ref, reason="never happened")
    assert await store.cursor() == A[102].ref
    assert await seqs(facts) == [1, 2, 3]
    kinds: list[Fact] = [each.fact for each in await facts.after(0, 10)]
    assert not any(isinstance(fact, ReorgFact) for fact in kinds)


def make_at() -> datetime:
    return datetime.now(UTC)


async def test_what_is_stored_before_the_upgrade_is_told_as_filled(
    store: PgStore, pool: Pool, database_url: str
) -> None:
    await store.fill(A[90:95], anchored=False)
    await store.commit(A[101:103], after=A[100].ref)
    _, up, down = re.split(r"-- migrate:\w+", MIGRATION.read_text())
    owner = await asyncpg.connect(database_url)
    try:
        await owner.execute(f"begin; {down}; {up}; commit")
    finally:
        await owner.close()
    facts = PgFacts(pool, CHAIN)
    assert [each.fact for each in await facts.after(0, 10)] == [filled(90, 94), filled(100, 102)]
    await store.commit(A[103:104], after=A[102].ref)
    assert await seqs(facts) == [1, 2, 3]


async def test_who_spends_money_may_read_facts_and_alarms_and_keep_its_own_place(
    store: PgStore, database_url: str
) -> None:
    place = "insert into chain.projection values ($1, 'payments', 1, null, null, now())"
    async with open_pool(database_url, role="chainworkd_worker", size=1) as worker:
        assert await worker.fetchval("select count(*) from chain.fact") == 1
        assert await worker.fetchval("select count(*) from chain.alarm where cleared_at is null") == 0
        await worker.execute(place, CHAIN)
        for sql in ("delete from chain.fact", "update chain.alarm set cleared_at = now()"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await worker.execute(sql)
    async with open_pool(database_url, role="chainworkd_api", size=1) as api:
        assert await api.fetchval("select count(*) from chain.fact") == 1
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await api.execute(place, CHAIN)
