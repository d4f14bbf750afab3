import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from core.errors import RpcUnavailable, WrongChain
from core.store.memory import MemoryStore
from core.types import Head
from indexer.head import FIRST_WORD_S, SILENCE_S, STALE_S, HeadWatch, Stream
from simulator.node import Node
from tests import make
from tests.sim.still import still_world
from tests.unit.clocks import FakeClock

A = [block.head for block in make.chain(20)]


class Counting:
    def __init__(self) -> None:
        self.origins: list[str] = []
        self.dropped: list[str] = []

    def announced(self, origin: str) -> None:
        self.origins.append(origin)

    def socket_dropped(self, why: str) -> None:
        self.dropped.append(why)


class Polled(Node):
    """A node whose head the test sets."""

    def __init__(self, head: Head) -> None:
        super().__init__(still_world(), part=3)
        self.now = head

    async def head(self) -> Head:
        return self.now


class Bench:
    """A watch with a socket in the test's hand."""

    def __init__(self, *, socket: bool = True) -> None:
        self.clock, self.metrics, self.store = FakeClock(), Counting(), MemoryStore()
        self.node = Polled(A[0])
        self.opened = 0
        self.heads: asyncio.Queue[Head | Exception | None] = asyncio.Queue()
        self.watch = HeadWatch(
            self.node, self.store, self.metrics, name="t", streams=[self.stream] if socket else [], clock=self.clock
        )

    async def stream(self) -> AsyncGenerator[Head, None]:
        self.opened += 1
        while (said := await self.heads.get()) is not None:
            if isinstance(said, Exception):
                raise said
            yield said

    async def until(self, what: Callable[[], Any]) -> None:
        for _ in range(5_000):
            if what():
                return
            await asyncio.sleep(0)
        pytest.fail("it did not happen")

    async def seconds(self, count: float) -> None:
        end = self.clock.seconds + count
        await self.until(lambda: self.clock.seconds >= end)


@asynccontextmanager
async def running(bench: Bench) -> AsyncGenerator[Bench, None]:
    task = asyncio.create_task(bench.watch.run())
    try:
        yield bench
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_without_a_socket_polling_announces_heads() -> None:
    async with running(Bench(socket=False)) as bench:
        assert await bench.watch.newest() == A[0]
        bench.node.now = A[1]
        await bench.watch.changed(A[0], timeout_s=5)
        assert await bench.watch.newest() == A[1]
        await bench.until(lambda: bench.store.newest == A[1])
        assert bench.metrics.origins == ["poll", "poll"]


async def test_waiting_for_a_change_ends_at_its_time() -> None:
    async with running(Bench(socket=False)) as bench:
        await bench.watch.changed(await bench.watch.newest(), timeout_s=0.01)


async def test_a_head_is_announced_once_whoever_tells_it() -> None:
    async with running(Bench()) as bench:
        await bench.until(lambda: bench.opened)
        bench.node.now = A[3]
        await bench.heads.put(A[3])
        await bench.seconds(10)
        assert len(bench.metrics.origins) == 2


async def test_a_socket_that_falls_silent_is_dropped_and_opened_again() -> None:
    async with running(Bench()) as bench:
        await bench.heads.put(A[1])
        await bench.until(lambda: bench.watch._latest == A[1])
        bench.node.now = A[2]
        behind_at = bench.clock.seconds
        await bench.until(lambda: bench.metrics.dropped == ["silent"])
        assert bench.clock.seconds - behind_at > SILENCE_S
        await bench.until(lambda: bench.opened > 1)


async def test_a_socket_that_never_says_anything_is_dropped() -> None:
    async with running(Bench()) as bench:
        await bench.until(lambda: bench.opened)
        bench.node.now = A[2]
        silent_at = bench.clock.seconds
        await bench.until(lambda: bench.metrics.dropped == ["silent"])
        assert bench.clock.seconds - silent_at > FIRST_WORD_S


async def test_a_healthy_socket_on_a_slow_chain_is_kept() -> None:
    async with running(Bench()) as bench:
        for number in range(1, 8):
            await bench.seconds(12)
            bench.node.now = A[number]  # polling may be first by a moment
            await bench.until(lambda: bench.watch._behind_since is not None)
            await bench.heads.put(A[number])
        assert bench.metrics.dropped == []
        assert bench.opened == 1


@pytest.mark.parametrize("end", [None, RpcUnavailable("hung up")])
async def test_a_socket_that_ends_is_opened_again_and_polling_goes_on(end: Exception | None) -> None:
    async with running(Bench()) as bench:
        await bench.heads.put(A[1])
        await bench.heads.put(end)
        await bench.until(lambda: bench.opened > 1)
        bench.node.now = A[4]
        await bench.until(lambda: bench.watch._latest == A[4])
        assert bench.metrics.dropped == ["hung up" if end else "closed by the node"]


async def test_a_socket_on_another_chain_ends_the_watch() -> None:
    bench = Bench()
    await bench.heads.put(WrongChain("chain id is 5"))
    with pytest.raises(ExceptionGroup) as caught:
        await bench.watch.run()
    assert caught.group_contains(WrongChain)


async def test_a_lower_head_from_another_origin_is_believed_only_when_the_known_one_is_old() -> None:
    bench = Bench()
    watch = bench.watch
    await watch._announce(A[9], "socket")
    await watch._announce(A[7], "poll")
    assert await watch.newest() == A[9]
    await watch._announce(A[8], "socket")
    assert await watch.newest() == A[8], "the same origin may take its word back"
    bench.clock.seconds += STALE_S - 1
    await watch._announce(A[8], "socket")
    bench.clock.seconds += STALE_S - 1
    await watch._announce(A[7], "poll")
    assert await watch.newest() == A[8], "a head that is told again is not old"
    bench.clock.seconds += 2
    await watch._announce(A[7], "poll")
    assert await watch.newest() == A[7]


class Silenced(Polled):
    """A node that does not answer polling."""

    async def head(self) -> Head:
        raise RpcUnavailable("down")


async def test_polling_that_fails_leaves_a_socket_that_speaks_open() -> None:
    bench = Bench()
    async with running(bench):
        await bench.heads.put(A[1])
        await bench.until(lambda: bench.watch._latest == A[1])
        bench.watch._source = Silenced(A[0])
        await bench.seconds(20)
        await bench.heads.put(A[2])
        await bench.until(lambda: bench.watch._latest == A[2])
        assert (bench.opened, bench.metrics.dropped) == (1, [])


async def test_polling_that_fails_without_a_socket_that_speaks_restarts_the_watch() -> None:
    bench = Bench()
    bench.watch._source = Silenced(A[0])
    with pytest.raises(ExceptionGroup) as caught:
        await bench.watch.run()
    assert caught.group_contains(RpcUnavailable)


async def test_a_socket_that_ends_is_followed_by_the_next_one() -> None:
    bench = Bench()
    opened: list[str] = []

    def named(name: str) -> Stream:
        async def stream() -> AsyncGenerator[Head, None]:
            opened.append(name)
            async for head in bench.stream():
                yield head

        return stream

    bench.watch = HeadWatch(
        bench.node, bench.store, bench.metrics, name="t", streams=[named("a"), named("b")], clock=bench.clock
    )
    async with running(bench):
        await bench.heads.put(A[1])
        await bench.heads.put(None)
        await bench.until(lambda: opened == ["a", "b"])
        await bench.heads.put(A[2])
        await bench.until(lambda: bench.watch._latest == A[2])
        await bench.heads.put(RpcUnavailable("hung up"))
        await bench.until(lambda: opened == ["a", "b", "a"])


class Slow:
    """An agreement that takes its time."""

    def __init__(self) -> None:
        self.asked: list[Head] = []
        self.gate = asyncio.Event()

    async def agreed(self, head: Head) -> Head:
        self.asked.append(head)
        await self.gate.wait()
        return head


async def test_while_one_head_is_agreed_on_only_the_newest_after_it_is_kept() -> None:
    bench, slow = Bench(), Slow()
    bench.watch = HeadWatch(
        bench.node, bench.store, bench.metrics, name="t", streams=[bench.stream], agreement=slow, clock=bench.clock
    )
    async with running(bench):
        for head in A[1:6]:
            await bench.heads.put(head)
            await bench.until(lambda: bench.watch._socket_height == head.ref.number)  # noqa: B023 - awaited here
        slow.gate.set()
        await bench.until(lambda: bench.watch._latest == A[5])
    assert [head for head in slow.asked if head != A[0]] == [A[1], A[5]]
