import asyncio
import random
import sys
from collections.abc import Awaitable, Callable

import pytest

from core.errors import BadConfig, RpcUnavailable, ServiceEnded, Stalled, Transient
from core.service import CALM_S, PAUSE_S, exit_code, first_of, supervise
from tests.unit.clocks import FakeClock


class Counting:
    def __init__(self) -> None:
        self.restarts: list[tuple[str, str]] = []

    def restarted(self, service: str, error: Exception) -> None:
        self.restarts.append((service, type(error).__name__))


class Does:
    """A service made of a function."""

    def __init__(self, run: Callable[[], Awaitable[None]], name: str = "does") -> None:
        self.name = name
        self._run = run

    async def run(self) -> None:
        await self._run()


async def for_ever() -> None:
    await asyncio.Event().wait()


def failing(errors: list[BaseException], then: BaseException | None = None) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        if errors:
            raise errors.pop(0)
        if then is not None:
            raise then
        await for_ever()

    return run


async def test_a_transient_error_restarts_the_service_after_a_growing_pause() -> None:
    metrics, clock = Counting(), FakeClock()
    errors: list[BaseException] = [RpcUnavailable("x") for _ in range(30)]
    with pytest.raises(BadConfig):
        await supervise([Does(failing(errors, BadConfig("end")))], metrics, clock=clock, dice=random.Random(1))
    assert metrics.restarts == [("does", "RpcUnavailable")] * 30
    assert len(clock.slept) == 30
    assert all(PAUSE_S[0] / 5 <= pause <= PAUSE_S[1] for pause in clock.slept)
    assert max(clock.slept[:2]) <= 2 * 2 * PAUSE_S[0]
    assert max(clock.slept) > 10


async def test_a_calm_service_starts_over_with_the_shortest_pause() -> None:
    clock = FakeClock()
    runs = iter(range(12))

    async def run() -> None:
        if next(runs) == 11:
            raise BadConfig("end")
        clock.seconds += CALM_S + 1
        raise Transient("after a long time")

    with pytest.raises(BadConfig):
        await supervise([Does(run)], Counting(), clock=clock, dice=random.Random(1))
    assert max(clock.slept) <= PAUSE_S[0]


async def test_a_service_that_returns_has_failed() -> None:
    async def returns() -> None:
        return

    with pytest.raises(ServiceEnded, match="returned"):
        await supervise([Does(returns), Does(for_ever)], Counting())


@pytest.mark.parametrize("error", [BadConfig("x"), ValueError("x")])
async def test_any_other_error_ends_all_services(error: Exception) -> None:
    ended = asyncio.Event()

    async def cleans_up() -> None:
        try:
            await for_ever()
        finally:
            ended.set()

    with pytest.raises(type(error)):
        await supervise([Does(cleans_up), Does(failing([error]))], Counting())
    assert ended.is_set()


async def test_a_transient_error_in_a_nested_group_restarts_too() -> None:
    metrics, clock = Counting(), FakeClock()
    nested = ExceptionGroup("outer", [ExceptionGroup("inner", [RpcUnavailable("x")])])
    with pytest.raises(BadConfig):
        await supervise([Does(failing([nested], BadConfig("end")))], metrics, clock=clock)
    assert metrics.restarts == [("does", "RpcUnavailable")]


async def test_a_fatal_error_beside_a_transient_one_ends_all() -> None:
    nested = ExceptionGroup("outer", [RpcUnavailable("x"), ExceptionGroup("inner", [BadConfig("fatal")])])
    assert isinstance(first_of(nested), BadConfig)
    with pytest.raises(BadConfig):
        await supervise([Does(failing([nested]))], Counting())


async def test_a_supervisor_inside_a_supervisor_hands_its_fatal_error_up() -> None:
    async def inner() -> None:
        await supervise([Does(failing([BadConfig("deep")])), Does(for_ever)], Counting())

    with pytest.raises(BadConfig, match="deep"):
        await supervise([Does(inner), Does(for_ever)], Counting())


async def test_cancellation_passes_through() -> None:
    task = asyncio.create_task(supervise([Does(for_ever)], Counting()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_service_that_fails_while_it_is_cancelled_is_not_started_again() -> None:
    async def fails_at_its_end() -> None:
        try:
            await for_ever()
        finally:
            raise RpcUnavailable("while cleaning up")

    metrics = Counting()
    task = asyncio.create_task(supervise([Does(fails_at_its_end)], metrics, clock=FakeClock()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=2)
    assert done, "the supervisor is deaf"
    assert task.cancelled()
    assert metrics.restarts == []


async def test_a_service_whose_own_task_group_failed_is_started_again() -> None:
    """On Python 3.11 such a task counts as cancelled ever after, which must not be taken for a stop."""
    tries = 0
    again = asyncio.Event()

    async def group() -> None:
        nonlocal tries
        tries += 1
        if tries == 3:
            again.set()
            await asyncio.Event().wait()
        async with asyncio.TaskGroup() as inner:
            inner.create_task(fails_later())
            inner.create_task(asyncio.Event().wait())

    async def fails_later() -> None:
        await asyncio.sleep(0.01)
        raise RpcUnavailable("away")

    running = asyncio.create_task(supervise([Does(group)], Counting(), dice=random.Random(1)))
    async with asyncio.timeout(20):
        await again.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_service_that_is_cancelled_by_nobody_has_failed() -> None:
    async def gives_up() -> None:
        raise asyncio.CancelledError

    with pytest.raises(ServiceEnded, match="not by its supervisor"):
        await supervise([Does(gives_up), Does(for_ever)], Counting())


async def test_a_fatal_error_is_told_before_the_others_are_waited_for() -> None:
    told: list[str] = []
    waits = asyncio.Event()

    async def waiting() -> None:
        try:
            waits.set()
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            told.append("cancelled")
            raise

    async def fails() -> None:
        await waits.wait()
        raise BadConfig("end")

    with pytest.raises(BadConfig):
        await supervise([Does(waiting), Does(fails)], Counting(), on_fatal=lambda: told.append("fatal"))
    assert told == ["fatal", "cancelled"]


async def test_a_process_ends_although_a_service_does_not_hear_of_it() -> None:
    program = """
import asyncio
from core.errors import BadConfig
from core.service import end_within, supervise

class Deaf:
    name = "deaf"
    async def run(self):
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                print("not me", flush=True)

class Fails:
    name = "fails"
    async def run(self):
        await asyncio.sleep(0.1)
        raise BadConfig("end")

asyncio.run(supervise([Deaf(), Fails()], None, on_fatal=lambda: end_within(0.5)))
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(30):
        out, _ = await process.communicate()
    assert (out, process.returncode) == (b"not me\n", 1)


def test_what_a_person_must_configure_exits_with_78() -> None:
    found = [exit_code(error) for error in (BadConfig("x"), ServiceEnded("x"), ValueError("x"), RpcUnavailable("x"))]
    assert found == [78, 1, 1, 1]


async def test_an_error_that_ends_all_ends_all_and_is_raised() -> None:
    metrics, stopped = Counting(), []

    async def waits() -> None:
        try:
            await for_ever()
        finally:
            stopped.append("waits")

    with pytest.raises(Stalled):
        await supervise([Does(waits), Does(failing([Stalled("nothing")]))], metrics, ends_all=Stalled)
    assert (stopped, metrics.restarts) == (["waits"], [])
    with pytest.raises(BadConfig):
        await supervise([Does(failing([Stalled("nothing"), BadConfig("end")]))], metrics, clock=FakeClock())
    assert metrics.restarts == [("does", "Stalled")]
