"""Notices that nothing is committed although there is something to commit, whatever the reason looks like from inside.

It trusts neither the watch nor the follower: it asks the node itself, beside what sockets told, and reads the cursor.
"""

import asyncio
import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal, Protocol

from core.chain import ChainSource
from core.clock import Clock, SystemClock
from core.errors import Stalled, StoreUnavailable, Transient
from core.pulse import Beat
from core.store.port import ChainStore
from core.types import BlockRef, Head

log = logging.getLogger(__name__)

LOOK_S: Final = 5.0
PROBE_S: Final = 30.0  # for the database; requests to nodes have their own deadlines
STALL_BLOCKS: Final = 10  # blocks that the chain makes meanwhile
STALL_S: Final = (60.0, 600.0)  # but at least and at most so long
FIRST_STALL_S: Final = 120.0  # until a block's time is known
# A block that fails its checks is asked for again after 30 s at most (core/service.py).
REFUSED_WITHIN: Final = timedelta(seconds=60)

Verdict = Literal["still", "unreachable", "polled", "socket"]


class Heard(Protocol):
    """Whoever hears of heads."""

    @property
    def latest(self) -> Head | None:
        """The newest head that was announced, by whomever."""
        ...


class Refusals(Protocol):
    """Whoever knows which blocks were not taken."""

    async def refused(self, number: int, within: timedelta) -> bool:
        """Return whether somebody was served block `number` so that it failed its checks, `within` that time."""
        ...


class StallMetrics(Protocol):
    """What is counted of stalls."""

    def stalled(self, why: str) -> None:
        """Count a restart of the source; `why` is who knew of newer blocks: `polled` or `socket`."""
        ...


def judge(cursor: BlockRef | None, polled: Head | None, heard: Head | None) -> Verdict:
    """Say why nothing more is committed than `cursor`.

    `polled` is what the node answers now, None if it does not; `heard` the newest announcement. `still`: both agree
    that there is nothing newer. `unreachable`: without the node there is nothing to commit, and others see to it.
    `polled`, `socket`: who knows of newer blocks.
    """
    number = -1 if cursor is None else cursor.number
    if polled is None:
        return "unreachable"
    if polled.ref.number > number:
        return "polled"
    return "socket" if heard is not None and heard.ref.number > number else "still"


def _next(cursor: BlockRef | None) -> int:
    return 0 if cursor is None else cursor.number + 1


@dataclass(slots=True)
class BlockTime:
    """How long the chain's blocks take, smoothed, from the headers of its heads."""

    seconds: float | None = None
    _before: Head | None = None

    def saw(self, head: Head) -> None:
        """Note a head."""
        before, self._before = self._before, head
        if before is None or head.ref.number <= before.ref.number:
            return
        took = max(head.timestamp - before.timestamp, 0) / (head.ref.number - before.ref.number)
        self.seconds = took if self.seconds is None else self.seconds + (took - self.seconds) / 8

    @property
    def stall_s(self) -> float:
        """After how many seconds without a commit something is wrong, if there is something to commit."""
        if self.seconds is None:
            return FIRST_STALL_S
        return min(max(self.seconds * STALL_BLOCKS, STALL_S[0]), STALL_S[1])


class Watchdog:
    """Watches the progress of one chain's head (a Service).

    `beat` is called for each sign of life: a commit, or proof that none is possible, as where the next block is served
    so that it fails its checks: new connections to the same nodes would not mend that, and the quarantine tells of it.
    Raises Stalled, which is to end the source and all that uses it, so that new connections take their place.
    """

    def __init__(
        self,
        source: ChainSource,
        store: ChainStore,
        heads: Heard,
        refusals: Refusals,
        metrics: StallMetrics,
        *,
        name: str,
        beat: Beat,
        clock: Clock | None = None,
    ) -> None:
        self.name = f"watchdog.{name}"
        self._source = source
        self._store = store
        self._heads = heads
        self._refusals = refusals
        self._metrics = metrics
        self._beat = beat
        self._clock = clock or SystemClock()
        self._block_time = BlockTime()
        self._cursor: BlockRef | None = None
        self._behind_since: float | None = None

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await self._clock.sleep(LOOK_S)
            await self.look()

    async def look(self) -> None:
        """Look once; raise Stalled if nothing was committed for too long although there are newer blocks."""
        try:
            async with asyncio.timeout(PROBE_S):
                cursor = await self._store.cursor()
                refused = await self._refusals.refused(_next(cursor), REFUSED_WITHIN)
        except StoreUnavailable:
            return self._alive()  # whoever writes fails as well, and tries again
        except TimeoutError:
            # No error ends this wait for anybody: no sign of life, and no proof of a stall of the source either.
            log.warning("database does not answer", extra={"chain": self.name, "seconds": PROBE_S})
            return None
        if self._heads.latest is not None:
            self._block_time.saw(self._heads.latest)
        if cursor != self._cursor:
            self._cursor = cursor
            return self._alive()
        polled = await self._polled()
        verdict = judge(cursor, polled, self._heads.latest)
        if refused or verdict in ("still", "unreachable"):
            return self._alive()
        return self._behind(verdict, polled)

    async def _polled(self) -> Head | None:
        try:
            return await self._source.head()
        except Transient:
            return None

    def _alive(self) -> None:
        self._behind_since = None
        self._beat()

    def _behind(self, verdict: Verdict, polled: Head | None) -> None:
        now = self._clock.monotonic()
        self._behind_since = now if self._behind_since is None else self._behind_since
        stalled_s, most_s = now - self._behind_since, self._block_time.stall_s
        if stalled_s <= most_s:
            return
        self._metrics.stalled(verdict)
        newest = polled if verdict == "polled" else self._heads.latest
        raise Stalled(
            f"nothing was committed after {self._cursor} for {stalled_s:.0f} s, more than {most_s:.0f},"
            f" although {verdict} heads have come to {newest.ref if newest else '?'}"
        )
