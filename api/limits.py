"""How many requests one token may make: a moving window per process, kept in memory."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from limits import parse
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter

from api.errors import TooManyRequests


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit such as "600/minute"; "" sets none."""

    limit: str


class RateLimiter:
    """Counts requests by key; `on_refusal` hears of each that it refuses."""

    def __init__(self, budget: Budget, on_refusal: Callable[[], None] = lambda: None) -> None:
        self._on_refusal = on_refusal
        self._item = parse(budget.limit) if budget.limit else None
        self._window = MovingWindowRateLimiter(MemoryStorage())

    async def spend(self, key: str) -> None:
        """Count one request of `key`. Raises TooManyRequests when its window is full."""
        if self._item is None or await self._window.hit(self._item, key):
            return
        self._on_refusal()
        stats = await self._window.get_window_stats(self._item, key)
        wait = max(1, math.ceil(stats.reset_time - time.time()))
        raise TooManyRequests(f"more than {self._item}: come back in {wait} s", wait)
