"""Projections: what follows from facts equals what is stored, whatever happens; a fault in one stops itself alone."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from core.errors import CursorMoved, ProjectionFailed, SeamBroken, StoreUnavailable
from core.facts import BlockFact, FillFact, FinalizeFact, ReorgFact
from core.metrics import Metrics
from core.projection import BATCH, Projection, Projector
from core.service import supervise
from core.store.facts import PgFacts
from core.store.finality import PgFinality
from core.store.pg import PgStore
from core.store.pool import Connection, Pool, open_pool
from core.types import Block, BlockRange, BlockRef, Finality
from tests import make
from tests.e2e.waiting import until

CHAIN = 5
A = make.chain(400)
SQL_TABLES = """
    set role chainworkd_indexer;
    create table chain.mirror (number bigint primary key, hash bytea not null);
    create table chain.judged (n bigint);
    reset role
"""
SQL_MIRROR_RANGE = """
    insert into chain.mirror
    select number, hash from chain.block where chain_id = $1 and number between $2 and $3
"""


class Mirror:
    """Copies the stored blocks: each key once, so that a fact that is applied twice is an error."""

    name = "mirror"

    def __init__(self) -> None:
        self.faults: list[Exception] = []
        self.resets = 0

    async def apply(self, conn: Connection, fact: BlockFact | FillFact | FinalizeFact) -> None:
        match fact:
            case BlockFact(block=block):
                await conn.execute("insert into chain.mirror values ($1, $2)", block.number, block.hash)
            case FillFact(blocks=span):
                await conn.execute(SQL_MIRROR_RANGE, CHAIN, span.first, span.last)
            case FinalizeFact(finalized=final):
                await conn.execute("insert into chain.judged values ($1)", None if final is None else final.number)
        if self.faults:
            # After the rows: they must not stay.
            raise self.faults.pop()

    async def undo(self, conn: Connection, fact: ReorgFact) -> None:
        span = fact.orphans
        await conn.execute("delete from chain.mirror where number between $1 and $2", span.first, span.last)

    async def reset(self, conn: Connection) -> None:
        self.resets += 1
        await conn.execute("delete from chain.mirror")


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url) as owner:
        await owner.execute(SQL_TABLES)
    async with open_pool(database_url, role="chainworkd_indexer", size=6) as pool:
        yield pool


@pytest.fixture
async def store(pool: Pool) -> PgStore:
    store = PgStore(pool, CHAIN)
    await store.register("facts", None)
    return store


def projector(pool: Pool, mirror: Projection) -> Projector:
    return Projector(mirror, pool, CHAIN, chain="test")


async def drained(projector: Projector) -> None:
    while await projector.step():
        pass


async def equal(pool: Pool) -> bool:
    mirrored = await pool.fetch("select number, hash from chain.mirror order by number")
    stored = await pool.fetch("select number, hash from chain.block where chain_id = $1 order by number", CHAIN)
    return [tuple(row) for row in mirrored] == [tuple(row) for row in stored]


async def test_a_projection_begins_with_what_is_stored_and_follows(pool: Pool, store: PgStore) -> None:
    await store.commit(A[10:13], after=None)
    await store.commit(A[30:31], after=A[12].ref)
    await store.saw(A[30].head)
    await PgFinality(pool, CHAIN).note(Finality(A[12].ref, A[11].ref))
    mirror = Mirror()
    reading = projector(pool, mirror)
    assert await reading.place() is None
    await drained(reading)
    assert await equal(pool)
    assert mirror.resets == 1
    assert [row["n"] for row in await pool.fetch("select n from chain.judged")] == [11]
    await store.commit(A[31:35], after=A[30].ref)
    await store.fill(A[20:30])
    await store.rewind(A[34].ref, A[31].ref, reason="test")
    await drained(reading)
    assert await equal(pool)
    place = await reading.place()
    assert place is not None
    assert (place.seq, place.block) == ((await PgFacts(pool, CHAIN).tail()).last, A[31].ref)
    # Another process goes on where this one was.
    again = Mirror()
    await store.commit(A[32:33], after=A[31].ref)
    await drained(projector(pool, again))
    assert (await equal(pool), again.resets) == (True, 0)


async def test_a_fault_leaves_nothing_behind_and_is_tried_again_at_the_same_fact(pool: Pool, store: PgStore) -> None:
    await store.commit(A[:3], after=None)
    mirror = Mirror()
    reading = projector(pool, mirror)
    await drained(reading)
    before = await reading.place()
    mirror.faults = [ZeroDivisionError("a defect"), KeyError("another")]
    await store.commit(A[3:6], after=A[2].ref)
    for says in ("facts 4 to 6: KeyError: 'another'", "facts 4 to 6: ZeroDivisionError: a defect"):
        with pytest.raises(ProjectionFailed, match=says):
            await reading.step()
        assert await reading.place() == before
        assert await pool.fetchval("select count(*) from chain.mirror") == 3
    await drained(reading)
    assert await equal(pool)


async def test_a_projection_that_always_fails_stops_neither_the_head_nor_its_siblings(
    pool: Pool, store: PgStore
) -> None:
    class Broken(Mirror):
        name = "broken"

        async def apply(self, conn: Connection, fact: BlockFact | FillFact | FinalizeFact) -> None:
            raise RuntimeError("a defect that does not go away")

    class Head:
        name = "head"

        async def run(self) -> None:
            await store.commit(A[:1], after=None)
            for number in range(1, 120):
                await store.commit(A[number : number + 1], after=A[number - 1].ref)
                await asyncio.sleep(0.01)
            over.set()
            await asyncio.Event().wait()

    over = asyncio.Event()
    metrics = Metrics()
    healthy = projector(pool, Mirror())
    running = asyncio.create_task(supervise([Head(), projector(pool, Broken()), healthy], metrics))
    async with asyncio.timeout(30):
        await over.wait()
        await until(lambda: equal(pool))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await store.cursor() == A[119].ref
    assert b'service_restarts_total{error="ProjectionFailed",service="broken.test"}' in metrics.render()


async def test_when_its_facts_were_pruned_it_starts_over(pool: Pool, store: PgStore) -> None:
    await store.commit(A[:3], after=None)
    mirror = Mirror()
    reading = projector(pool, mirror)
    await drained(reading)
    await store.rewind(A[2].ref, A[0].ref, reason="test")
    other = make.chain(5, onto=A[0], fork="b")
    await store.commit(other, after=A[0].ref)
    assert await PgFacts(pool, CHAIN).prune(datetime.now(UTC) + timedelta(days=1), 6) == 6
    await drained(reading)
    assert (await equal(pool), mirror.resets) == (True, 2)


async def test_two_processes_with_one_projection_apply_every_fact_once(pool: Pool, store: PgStore) -> None:
    await store.commit(A[:1], after=None)
    readers = [projector(pool, Mirror()) for _ in range(3)]
    over = asyncio.Event()

    async def read(reading: Projector) -> None:
        while True:
            last = over.is_set()
            try:
                moved = await reading.step()
            except (CursorMoved, StoreUnavailable):
                continue  # another one was first, or began at the same time
            if last and not moved:
                return

    reading = [asyncio.create_task(read(each)) for each in readers]
    for number in range(1, 80):
        await store.commit(A[number : number + 1], after=A[number - 1].ref)
    over.set()
    await asyncio.gather(*reading)
    assert await equal(pool)


async def test_more_facts_than_one_batch(pool: Pool, store: PgStore) -> None:
    reading = projector(pool, Mirror())
    await drained(reading)
    await store.commit(A[: 2 * BATCH + 50], after=None)
    assert [await reading.step() for _ in range(4)] == [True, True, True, False]
    assert await equal(pool)


class Story:
    """What a dice lets happen to a store; its chain is the canonical one, which grows and changes."""

    def __init__(self, store: PgStore, seed: int) -> None:
        self.dice = random.Random(f"projection {seed}")
        self.chain: list[Block] = A[:60]
        self._store = store
        self._forks = 0

    async def turn(self) -> None:
        await self.dice.choice((self._commit, self._commit, self._fill, self._rewind, self._discard))()

    async def _commit(self) -> None:
        cursor = await self._cursor()
        top = cursor.number + self.dice.choice((1, 1, 4))
        if top >= len(self.chain):
            self._grow(self.chain)
        await self._store.commit(self.chain[cursor.number + 1 : top + 1], after=cursor)

    async def _fill(self) -> None:
        first = self.dice.randrange(0, 39)
        with contextlib.suppress(SeamBroken):
            await self._store.fill(self.chain[first : first + self.dice.randint(1, 5)], anchored=False)

    async def _rewind(self) -> None:
        cursor = await self._cursor()
        if cursor.number > 41:
            ancestor = self.chain[self.dice.randint(41, cursor.number - 1)]
            await self._store.rewind(cursor, ancestor.ref, reason="test")
            self._grow(self.chain[: ancestor.number + 1])

    async def _discard(self) -> None:
        lower = [span for span in await self._store.coverage() if span.last < 40]
        if lower:
            span: BlockRange = self.dice.choice(lower)
            first = self.dice.randint(span.first, span.last)
            with contextlib.suppress(SeamBroken):
                await self._store.discard(first, self.chain[span.last].ref, reason="test")

    async def _cursor(self) -> BlockRef:
        found = await self._store.cursor()
        assert found is not None
        return found

    def _grow(self, kept: list[Block]) -> None:
        self._forks += 1
        self.chain = kept + make.chain(20, onto=kept[-1], fork=f"fork {self._forks}")


@pytest.mark.parametrize("seed", range(8))
async def test_after_any_sequence_it_equals_what_is_stored(pool: Pool, store: PgStore, seed: int) -> None:
    mirror, story = Mirror(), Story(store, seed)
    reading = projector(pool, mirror)
    await store.commit(story.chain[40:42], after=None)
    for _ in range(60):
        match story.dice.choice(("turn", "turn", "turn", "step", "step", "prune", "fault")):
            case "turn":
                await story.turn()
            case "prune":
                await PgFacts(pool, CHAIN).prune(datetime.now(UTC) + timedelta(days=1), story.dice.randint(1, 10))
            case "fault":
                mirror.faults = [ValueError("now and then")]
            case _:
                with contextlib.suppress(ProjectionFailed):
                    await reading.step()
    mirror.faults = []
    await drained(reading)
    assert await equal(pool)
