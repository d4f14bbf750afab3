"""How many requests an address may make: a moving window per process, in memory, told in three headers."""

import ipaddress
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from limits import RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter

from api.callers import address_of, caller_key
from api.errors import TooManyRequests

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Rate:
    """So many requests in so many milliseconds; `whitelist` are addresses and networks that it does not bind."""

    max_requests: int = 100
    window_ms: int = 60_000
    enabled: bool = True
    whitelist: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True)
class Left:
    """What is left of a window."""

    limit: int
    remaining: int
    reset_s: int

    def headers(self) -> dict[str, str]:
        """Return the three headers."""
        return {
            "x-ratelimit-limit": str(self.limit),
            "x-ratelimit-remaining": str(self.remaining),
            "x-ratelimit-reset": str(self.reset_s),
        }


class OverLimit(TooManyRequests):
    """The window is full; `left` says so in the headers."""

    def __init__(self, left: Left, rate: Rate) -> None:
        wait = max(1, left.reset_s)
        details = {"limit": rate.max_requests, "windowMs": rate.window_ms, "retryAfter": wait}
        super().__init__("Rate limit exceeded", wait, details)
        self.headers = {**self.headers, **left.headers()}


class Quota:
    """Counts requests by key: an address, or a connection."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._item = RateLimitItemPerSecond(rate.max_requests, max(1, rate.window_ms // 1000))
        self._storage = MemoryStorage()
        self._window = MovingWindowRateLimiter(self._storage)
        self._bound: dict[str, str | None] = {}

    async def spend(self, key: str) -> Left:
        """Count one request. Raises OverLimit when the window of `key` is full."""
        admitted = await self._window.hit(self._item, key)
        stats = await self._window.get_window_stats(self._item, key)
        reset_s = max(0, math.ceil(stats.reset_time - time.time()))
        left = Left(self._rate.max_requests, stats.remaining if admitted else 0, reset_s)
        if not admitted:
            raise OverLimit(left, self._rate)
        return left

    async def spend_of(self, host: str) -> Left | None:
        """Count one request of an address; None for one that the limit does not bind."""
        key = self._key(host)
        return None if key is None else await self.spend(key)

    def exempts(self, host: str) -> bool:
        """Whether the limit does not bind an address."""
        return self._key(host) is None

    def _key(self, host: str) -> str | None:
        if not self._rate.enabled:
            return None
        if host not in self._bound:
            if len(self._bound) > 10_000:
                self._bound.clear()
            self._bound[host] = _key_of(host, self._rate.whitelist)
        return self._bound[host]


def _key_of(host: str, whitelist: Sequence[Network]) -> str | None:
    """Return what an address is counted by; None if it is whitelisted."""
    found = address_of(host)
    if found is not None and any(found in network for network in whitelist):
        return None
    return caller_key(host)
