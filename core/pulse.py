"""Whether a process gets on with its work: who must show progress, and whether all of them did lately.

A beat is progress, or proof that none is possible now: nothing to do, or an outage that somebody handles. That the
event loop turns is shown by the feed itself, which runs in it. See docs/adr/0018-endpoints-at-the-head.md.
"""

import logging
from collections.abc import Callable
from functools import partial
from typing import Final

from core.clock import Clock, SystemClock

log = logging.getLogger(__name__)

# A chain without progress is restarted within 10 minutes (indexer/watchdog.py); this is for when that does not help.
STILL_S: Final = 900.0

Beat = Callable[[], None]


class Pulse:
    """The parts of one process that must show progress."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._due: dict[str, float] = {}

    def part(self, name: str, *, within_s: float = STILL_S) -> Beat:
        """Return what `name` has to call from now on, at least every `within_s`."""
        beat = partial(self._beat, name, within_s)
        beat()
        return beat

    def _beat(self, name: str, within_s: float) -> None:
        self._due[name] = self._clock.monotonic() + within_s

    def still(self) -> list[str]:
        """Return the parts that are overdue."""
        now = self._clock.monotonic()
        return [name for name, due in self._due.items() if due < now]


class Feed:
    """Tells whoever watches this process that it gets on, as long as it does (a Service).

    `feed` is called every `every_s` while no part is overdue.
    """

    def __init__(
        self, pulse: Pulse, feed: Callable[[], None], *, every_s: float, name: str, clock: Clock | None = None
    ) -> None:
        self.name = name
        self._pulse = pulse
        self._feed = feed
        self._every_s = every_s
        self._clock = clock or SystemClock()

    async def run(self) -> None:
        """Feed for ever."""
        while True:
            still = self._pulse.still()
            if still:
                log.error("no progress", extra={"parts": still})
            else:
                self._feed()
            await self._clock.sleep(self._every_s)
