"""The watchdog of the head: what is a stall and what is not, on a clock that the test turns."""

from dataclasses import replace
from datetime import timedelta

import pytest

from core.errors import RpcUnavailable, Stalled, StoreUnavailable
from core.store.memory import MemoryStore
from core.types import BlockRef, Head
from indexer.watchdog import FIRST_STALL_S, LOOK_S, STALL_S, BlockTime, Watchdog, judge
from simulator.node import Node
from tests import make
from tests.sim.still import still_world
from tests.unit.clocks import FakeClock

A = make.chain(60)


class Answers(Node):
    """A node whose head the test sets; None is no answer."""

    def __init__(self, head: Head | None) -> None:
        super().__init__(still_world(), part=3)
        self.now = head

    async def head(self) -> Head:
        if self.now is None:
            raise RpcUnavailable("down")
        return self.now


class Store(MemoryStore):
    """A store that may be away."""

    away = False

    async def cursor(self) -> BlockRef | None:
        if self.away:
            raise StoreUnavailable("away")
        return await super().cursor()


class Bench:
    """A watchdog over a store of blocks up to 20, a node at the same block and a socket that told of it."""

    def __init__(self) -> None:
        self.clock, self.store, self.node = FakeClock(), Store(), Answers(A[20].head)
        self.latest: Head | None = A[20].head
        self.beats = 0
        self.stalls: list[str] = []
        self.bad: int | None = None
        self.dog = Watchdog(self.node, self.store, self, self, self, name="t", beat=self.beat, clock=self.clock)

    def beat(self) -> None:
        self.beats += 1

    async def refused(self, number: int, within: timedelta) -> bool:
        return number == self.bad and within >= timedelta(seconds=30)

    def stalled(self, why: str) -> None:
        self.stalls.append(why)

    async def look_for(self, seconds: float) -> None:
        end = self.clock.seconds + seconds
        while self.clock.seconds < end:
            self.clock.seconds += LOOK_S
            await self.dog.look()


@pytest.fixture
async def bench() -> Bench:
    made = Bench()
    await made.store.commit(A[:21], after=None)
    await made.dog.look()
    return made


async def test_a_chain_that_stands_still_is_left_alone_for_ever(bench: Bench) -> None:
    await bench.look_for(10_000)
    assert (bench.stalls, bench.beats) == ([], 1 + 10_000 / LOOK_S)


async def test_a_node_that_does_not_answer_is_an_outage_and_no_hang(bench: Bench) -> None:
    bench.node.now, bench.latest = None, A[25].head
    await bench.look_for(10_000)
    assert bench.stalls == []
    assert bench.beats > 1_000


async def test_a_database_that_is_away_is_an_outage_and_no_hang(bench: Bench) -> None:
    bench.node.now = A[25].head
    bench.store.away = True
    await bench.look_for(10_000)
    assert bench.stalls == []
    assert bench.beats > 1_000


async def test_newer_blocks_that_nobody_commits_are_a_stall(bench: Bench) -> None:
    bench.node.now = A[21].head
    before = bench.beats
    with pytest.raises(Stalled, match="although polled heads have come to 21"):
        await bench.look_for(10_000)
    assert bench.stalls == ["polled"]
    assert bench.beats == before, "a stall is no progress"


async def test_a_block_that_fails_its_checks_is_waited_for_and_no_stall(bench: Bench) -> None:
    bench.node.now, bench.bad = A[25].head, 21
    await bench.look_for(10_000)
    assert bench.stalls == []
    assert bench.beats > 1_000
    bench.bad = 22
    with pytest.raises(Stalled):
        await bench.look_for(10_000)


async def test_a_socket_that_tells_of_newer_blocks_than_polling_is_a_stall_too(bench: Bench) -> None:
    bench.latest = A[22].head
    with pytest.raises(Stalled, match="although socket heads have come to 22"):
        await bench.look_for(10_000)
    assert bench.stalls == ["socket"]


async def test_the_first_block_after_a_long_silence_is_no_stall(bench: Bench) -> None:
    await bench.look_for(5_000)
    bench.node.now = bench.latest = A[21].head
    await bench.dog.look()
    await bench.look_for(STALL_S[0] - LOOK_S)
    await bench.store.commit(A[21:22], after=A[20].ref)
    await bench.look_for(1_000)
    assert bench.stalls == []


async def test_whoever_catches_up_slowly_is_not_stalled(bench: Bench) -> None:
    bench.node.now = bench.latest = A[59].head
    for number in range(21, 60):
        await bench.look_for(STALL_S[0] * 0.9)
        await bench.store.commit([A[number]], after=A[number - 1].ref)
    assert bench.stalls == []


async def test_how_long_is_too_long_follows_from_the_chain_s_blocks() -> None:
    known = BlockTime()
    assert known.stall_s == FIRST_STALL_S
    known.saw(A[0].head)
    known.saw(A[0].head)
    known.saw(A[10].head)
    assert known.seconds == 12
    assert known.stall_s == 120
    quick = BlockTime()
    quick.saw(A[0].head)
    quick.saw(replace(A[40].head, timestamp=A[0].head.timestamp + 10))
    assert (quick.seconds, quick.stall_s) == (0.25, STALL_S[0])
    slow = BlockTime()
    slow.saw(A[0].head)
    slow.saw(replace(A[1].head, timestamp=A[0].head.timestamp + 86_400))
    assert slow.stall_s == STALL_S[1]


@pytest.mark.parametrize(
    ("cursor", "polled", "heard", "verdict"),
    [
        (20, 20, 20, "still"),
        (20, 19, 20, "still"),  # a node that lags is another's matter
        (20, 20, None, "still"),
        (20, None, 25, "unreachable"),
        (20, None, None, "unreachable"),
        (20, 21, 20, "polled"),
        (20, 20, 21, "socket"),
        (None, 0, None, "polled"),
    ],
)
def test_what_is_a_stall(cursor: int | None, polled: int | None, heard: int | None, verdict: str) -> None:
    heads = [None if number is None else A[number].head for number in (polled, heard)]
    assert judge(None if cursor is None else A[cursor].ref, *heads) == verdict
