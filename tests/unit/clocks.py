"""A clock that tests turn."""

import asyncio
from datetime import UTC, datetime, timedelta


class FakeClock:
    """Sleeping takes no time, but moves the clock; every sleep is noted."""

    def __init__(self) -> None:
        self.seconds = 1_000.0
        self.slept: list[float] = []

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds
        await asyncio.sleep(0)


class TurnedClock(FakeClock):
    """Sleeping takes until the test has turned the clock on far enough."""

    def __init__(self) -> None:
        super().__init__()
        self.sleepers: list[tuple[float, asyncio.Future[None]]] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sleepers.append((self.seconds + seconds, woken))
        await woken

    async def turn(self, seconds: float) -> None:
        """Turn the clock on, sleeper by sleeper, and let everybody do what there is to do."""
        end = self.seconds + seconds
        await settled()
        while due := sorted((at, n) for n, (at, woken) in enumerate(self.sleepers) if at <= end and not woken.done()):
            at, n = due[0]
            self.seconds = max(self.seconds, at)
            self.sleepers[n][1].set_result(None)
            await settled()
        self.seconds = end


async def settled() -> None:
    """Let everything happen that needs no time."""
    for _ in range(50):
        await asyncio.sleep(0)
