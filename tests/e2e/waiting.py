"""Waiting for conditions: a shared machine is slow at times, so deadlines are generous and nothing sleeps for luck."""

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any

PATIENCE_S = 60.0


async def until(ask: Callable[[], Any], *, within_s: float = PATIENCE_S, pause_s: float = 0.05) -> Any:
    """Return the first answer of `ask`, plain or awaited, that is true; fail when none comes in time."""
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
