"""Waiting for conditions: a shared machine is slow at times, so deadlines are generous and nothing sleeps for luck."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

Found = TypeVar("Found")

PATIENCE_S = 60.0


async def until(
    ask: Callable[[], Awaitable[Found | None] | Found | None], *, within_s: float = PATIENCE_S, pause_s: float = 0.05
) -> Found:
    """Return the first answer of `ask` that is true; fail with the last one when none comes in time."""
    deadline = time.monotonic() + within_s
    while True:
        answer = ask()
        found = await answer if inspect.isawaitable(answer) else answer
        if found:
            return found
        if time.monotonic() > deadline:
            what = getattr(ask, "__qualname__", repr(ask))
            raise AssertionError(f"{what} still answered {found!r} after {within_s:.0f} s")
        await asyncio.sleep(pause_s)
