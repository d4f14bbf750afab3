"""Services and their supervisor: every task has a parent, a name and a verdict.

A service runs for ever. When it raises Transient it is started again after a pause; when it raises anything else, or
returns, all others are cancelled and the error reaches whoever started the supervisor.
"""

import asyncio
import logging
import os
import random
import signal
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

from core.clock import Clock, SystemClock
from core.errors import ChainworkdError, ServiceEnded, Transient

log = logging.getLogger(__name__)

PAUSE_S: Final = (0.5, 30.0)
CALM_S: Final = 60.0  # a service that ran this long starts over with the shortest pause


class Service(Protocol):
    """Something that runs until it is cancelled."""

    name: str

    async def run(self) -> None:
        """Run for ever; clean up on cancellation."""
        ...


class RestartMetrics(Protocol):
    """What is counted of restarts."""

    def restarted(self, service: str, error: Exception) -> None:
        """Count a restart."""
        ...


async def supervise(
    services: Sequence[Service],
    metrics: RestartMetrics,
    *,
    ends_all: type[Transient] | tuple[()] = (),
    on_fatal: Callable[[], None] = lambda: None,
    clock: Clock | None = None,
    dice: random.Random | None = None,
) -> None:
    """Run `services` until one fails for good or this task is cancelled. Raises the first fatal error.

    `ends_all` is a kind of error that a restart of the one service would not mend: it ends them all and is raised.
    `on_fatal` is called before the others are ended.
    """
    wait = _Pause(clock or SystemClock(), dice or random.Random())  # noqa: S311 - spreads restarts, guards nothing
    try:
        async with asyncio.TaskGroup() as group:
            for service in services:
                kept = _keep(service, metrics, wait, ends_all)
                group.create_task(_or_told(kept, on_fatal), name=service.name)
    except BaseExceptionGroup as failed:
        raise first_of(failed) from failed


async def _or_told(kept: Coroutine[Any, Any, None], on_fatal: Callable[[], None]) -> None:
    try:
        await kept
    except Exception:
        on_fatal()
        raise


async def _keep(
    service: Service, metrics: RestartMetrics, pause: "_Pause", ends_all: type[Transient] | tuple[()]
) -> None:
    attempt = 0
    while True:
        started = pause.clock.monotonic()
        try:
            await _run(service)
        except (Transient, BaseExceptionGroup) as error:
            verdict = first_of(error)
            if not isinstance(verdict, Transient) or isinstance(verdict, ends_all):
                raise
            if cancelled():
                # It failed while cleaning up: starting it again would lose the cancellation.
                raise asyncio.CancelledError from error
            attempt = 0 if pause.clock.monotonic() - started > CALM_S else attempt + 1
            metrics.restarted(service.name, verdict)
            log.warning("service restarts", extra={"service": service.name, "attempt": attempt, "why": str(verdict)})
            await pause.full_jitter(attempt)
        else:
            raise ServiceEnded(f"service {service.name} returned; it should run for ever")


async def _run(service: Service) -> None:
    """Run a service in a task of its own, awaited here, so that its caller's count of cancellations stays true.

    On Python 3.11 a TaskGroup that failed leaves the task that held it counted as cancelled for ever.
    """
    try:
        await asyncio.create_task(service.run(), name=service.name)
    except asyncio.CancelledError:
        if not cancelled():
            # A task group takes a cancelled child for one that is done: nobody would ever notice.
            raise ServiceEnded(f"service {service.name} was cancelled, but not by its supervisor") from None
        raise


def cancelled() -> bool:
    """Return whether the running task was asked to end. Not to be trusted where it held a TaskGroup (see _run)."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class _Pause:
    """Full-jitter exponential back-off."""

    def __init__(self, clock: Clock, dice: random.Random) -> None:
        self.clock = clock
        self._dice = dice

    async def full_jitter(self, attempt: int) -> None:
        ceiling = min(PAUSE_S[0] * 2 ** min(attempt, 16), PAUSE_S[1])
        await self.clock.sleep(self._dice.uniform(PAUSE_S[0] / 5, ceiling))


def first_of(error: BaseException) -> BaseException:
    """Return the error that matters most inside nested groups: a fatal one before a transient one."""
    leaves = list(_leaves(error))
    for leaf in leaves:
        if not isinstance(leaf, Transient):
            return leaf
    return leaves[0]


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


@dataclass(slots=True)
class Stop:
    """Which signal asked for the stop, if one did."""

    asked_by: signal.Signals | None = None


@contextmanager
def stopping_on_signals(task: "asyncio.Future[Any]", *, within_s: float) -> Iterator[Stop]:
    """Cancel `task` on SIGTERM, SIGINT or SIGHUP; end the process if it has not ended `within_s` later."""
    loop = asyncio.get_running_loop()
    stop = Stop()

    def ask(number: int) -> None:
        if stop.asked_by is not None:
            return
        stop.asked_by = signal.Signals(number)
        log.info("stopping", extra={"signal": stop.asked_by.name})
        # asyncio.run waits for a task that swallows its cancellation for ever; an operator does not.
        end_within(within_s)
        task.cancel()

    signals = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    for number in signals:
        loop.add_signal_handler(number, ask, number)
    try:
        yield stop
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


def end_within(seconds: float) -> None:
    """End the process if it has not ended by itself by then: an orderly end waits for everybody, also for ever."""
    asyncio.get_running_loop().call_later(seconds, _end_now)


def _end_now() -> None:
    log.error("stopping took too long: ending at once")
    logging.shutdown()
    os._exit(1)


def exit_code(error: BaseException) -> int:
    """Return the process's exit code for `error`: 78 for what a person must configure, 1 for the rest."""
    return int(getattr(error, "exit_code", 1)) if isinstance(error, ChainworkdError) else 1
