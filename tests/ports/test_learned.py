"""What was learned of endpoints, in the database from one process to the next."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from core.errors import StoreUnavailable
from core.rpc.limits import Learned
from core.rpc.memory import EVERY_S, EndpointMemory
from core.store.endpoints import STALE, PgLearned
from core.store.pool import Pool
from tests.unit.clocks import FakeClock

NOW = datetime(2026, 11, 21, tzinfo=UTC)
ONE, TWO = b"\x01" * 32, b"\x02" * 32
ALL = Learned(window=23.0, rate=41.7, batch_calls=3, log_blocks=500, block_receipts=False)


class Learner:
    def __init__(self) -> None:
        self.found: dict[bytes, Learned] = {}
        self.known: dict[bytes, Learned] = {}

    def recall(self, known: Mapping[bytes, Learned]) -> None:
        self.known = dict(known)

    def learned(self) -> dict[bytes, Learned]:
        return dict(self.found)


async def test_what_is_written_is_read_by_the_same_chain_alone(pool: Pool) -> None:
    await PgLearned(pool, 1).write({ONE: ALL, TWO: Learned(window=4.0)}, NOW)
    assert await PgLearned(pool, 1).read(NOW) == {ONE: ALL, TWO: Learned(window=4.0)}
    assert await PgLearned(pool, 2).read(NOW) == {}


async def test_what_one_process_does_not_know_is_left_as_another_wrote_it(pool: Pool) -> None:
    store = PgLearned(pool, 1)
    await store.write({ONE: ALL}, NOW)
    await store.write({ONE: Learned(log_blocks=100)}, NOW)
    assert await store.read(NOW) == {ONE: Learned(window=23.0, rate=41.7, batch_calls=3, log_blocks=100,
                                                  block_receipts=False)}  # fmt: skip


async def test_after_a_week_nothing_is_known(pool: Pool) -> None:
    store = PgLearned(pool, 1)
    await store.write({ONE: ALL}, NOW)
    assert await store.read(NOW + STALE - timedelta(minutes=1)) == {ONE: ALL}
    assert await store.read(NOW + STALE) == {}
    # Nor does a new word of an old endpoint bring the old ones back.
    await store.write({ONE: Learned(window=9.0)}, NOW + STALE)
    assert await store.read(NOW + STALE) == {ONE: Learned(window=9.0)}


async def test_it_is_written_when_it_changed_and_at_the_end(pool: Pool) -> None:
    clock, learner, store = FakeClock(), Learner(), PgLearned(pool, 1)
    memory = EndpointMemory(learner, store, name="one", clock=clock)
    await memory.recall()
    learner.found = {ONE: ALL}
    running = asyncio.create_task(memory.run())
    for _ in range(500):
        if await store.read(clock.now()):
            break
    else:
        pytest.fail("nothing was written")
    learner.found = {ONE: Learned(window=60.0)}
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (await store.read(clock.now()))[ONE].window == 60.0
    later = Learner()
    await EndpointMemory(later, store, name="one", clock=clock).recall()
    assert later.known[ONE].window == 60.0


async def test_a_database_that_does_not_answer_ends_nothing_and_is_written_to_later() -> None:
    writes: list[dict[bytes, Learned]] = []

    class Store:
        async def read(self, now: datetime) -> dict[bytes, Learned]:
            return {}

        async def write(self, learned: Mapping[bytes, Learned], now: datetime) -> None:
            writes.append(dict(learned))
            if len(writes) < 3:
                raise StoreUnavailable("down")

    clock, learner = FakeClock(), Learner()
    learner.found = {ONE: ALL}
    running = asyncio.create_task(EndpointMemory(learner, Store(), name="one", clock=clock).run())
    for _ in range(200):
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert writes == [{ONE: ALL}] * 3  # twice in vain, once for good, and not again since nothing changed
    assert set(clock.slept) == {EVERY_S}
