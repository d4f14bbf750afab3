"""Time that nobody waits for: an event loop whose clock leaps to the next timer as soon as nothing else is to be done.

Pauses, back-offs and time-outs of the real services pass in no time and always in the same order. While the database
works (`working`) time stands still, so that a real one may be stored into: it never looks slow.
"""

import asyncio
import selectors
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from typing_extensions import override

T = TypeVar("T")

BEGIN: Final = datetime(2026, 1, 1, tzinfo=UTC)
LOOK_S: Final = 0.5  # real seconds between two looks at a database that works


class Stuck(RuntimeError):
    """Nothing is left to do and no timer runs: whoever is still waited for will never come."""


class LeapingLoop(asyncio.SelectorEventLoop):
    """An event loop in which waiting takes no time."""

    def __init__(self) -> None:
        self._leapt_s = 0.0
        self._at_work = 0
        super().__init__(_Leap(self))

    @override
    def time(self) -> float:
        return self._leapt_s

    def leap(self, seconds: float) -> None:
        """Let time pass."""
        self._leapt_s += seconds

    @contextmanager
    def working(self) -> Iterator[None]:
        """Let time stand still while something outside of this loop works."""
        self._at_work += 1
        try:
            yield
        finally:
            self._at_work -= 1

    @property
    def at_work(self) -> bool:
        """Whether something outside of this loop works."""
        return self._at_work > 0


class _Leap(selectors.DefaultSelector):
    """Looks whether a socket has news, and leaps over the time in which none would have."""

    def __init__(self, loop: LeapingLoop) -> None:
        super().__init__()
        self._loop = loop

    @override
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        news = super().select(0)
        if news or timeout == 0:
            return news
        if self._loop.at_work:
            return super().select(LOOK_S)
        if timeout is None:
            raise Stuck("nothing is left to do")
        self._loop.leap(timeout)
        return news


class LoopClock:
    """The clock of the running loop (Clock)."""

    def now(self) -> datetime:
        """Return a wall-clock time: the loop's, since one day in 2026."""
        return BEGIN + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        """Return the loop's time in seconds."""
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        """Wait, as the loop counts it."""
        await asyncio.sleep(seconds)


def run_leaping(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` in a LeapingLoop of its own and return what it returns. Raises Stuck."""
    with asyncio.Runner(loop_factory=LeapingLoop) as runner:
        return runner.run(work)
