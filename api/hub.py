"""Facts for many readers: each new one is read from its table once, kept for a while, and shown to all.

A reader is nothing but a number, the last fact it has: what is not in memory any more it gets from the table. So
nothing is queued for anybody, and a reader that is slow costs no memory.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

from api.errors import Unavailable
from api.facts import Line, line_of
from core.errors import Transient
from core.facts import FactLog, FactsGone, Tail
from core.metrics import StreamMetrics
from core.store.facts import PgFacts
from core.store.listen import Ear
from core.store.pool import Pool

log = logging.getLogger(__name__)

POLL_S: Final = 1.0  # how late a fact may be when NOTIFY is not heard
PAGE: Final = 500  # facts of one query
KEPT: Final = 2_000  # newest facts of a chain in memory, some 400 bytes each
CATCHING_UP: Final = 2  # queries for readers who are behind that may run at once: the pool serves others, too


class Feed:
    """The newest facts of one chain, as far as somebody reads them."""

    def __init__(self, facts: FactLog, catching_up: asyncio.Semaphore) -> None:
        self.readers = 0
        self._facts = facts
        self._catching_up = catching_up
        self._kept: deque[Line] = deque(maxlen=KEPT)
        self._last: int | None = None
        self._news = asyncio.Event()

    async def tail(self) -> Tail:
        """Return which facts there are."""
        return await self._facts.tail()

    async def after(self, seq: int) -> Sequence[Line]:
        """Return facts after `seq`, none left out; nothing while there is none. Raises FactsGone."""
        if self._last == seq:
            return ()
        if self._kept and self._kept[0].seq <= seq + 1 <= self._kept[-1].seq:
            start = seq + 1 - self._kept[0].seq
            return tuple(islice(self._kept, start, start + PAGE))
        async with self._catching_up:
            return tuple(line_of(told) for told in await self._facts.after(seq, PAGE))

    @property
    def news(self) -> asyncio.Event:
        """What is set at the next news, or at the end. Take it before `after`: news may come while that looks."""
        return self._news

    async def pull(self) -> None:
        """Read what is new from the table. Raises Transient."""
        if self._last is None:
            self._last = (await self._facts.tail()).last
            self.tell()
        while True:
            try:
                found = await self._facts.after(self._last, PAGE)
            except FactsGone as error:
                # The database is another one, or all that is new was pruned at once: readers find out by themselves.
                log.warning("facts start over", extra={"why": str(error)})
                self._kept.clear()
                self._last = error.tail.last
                self.tell()
                return
            if not found:
                return
            self._kept.extend(map(line_of, found))
            self._last = found[-1].seq
            self.tell()

    def forget(self) -> None:
        """Keep nothing while nobody reads."""
        self._kept.clear()
        self._last = None

    def tell(self) -> None:
        """Wake every reader."""
        self._news.set()
        self._news = asyncio.Event()


class FactHub:
    """Reads new facts for all streams of this process (a Service)."""

    def __init__(self, pool: Pool, metrics: StreamMetrics, *, max_streams: int, poll_s: float = POLL_S) -> None:
        self.name = "facts"
        self.stopping = False
        self._pool = pool
        self._metrics = metrics
        self._max_streams = max_streams
        self._poll_s = poll_s
        self._feeds: dict[int, Feed] = {}
        self._catching_up = asyncio.Semaphore(CATCHING_UP)
        self._wake = asyncio.Event()
        self._ear = Ear(pool, self._wake.set, on_state=metrics.listening)

    @contextlib.contextmanager
    def reading(self, chain_id: int, transport: str) -> Iterator[Feed]:
        """Read a chain's facts. Raises Unavailable when there are too many readers, or the server stops."""
        if self.stopping:
            raise Unavailable("the server stops")
        if sum(feed.readers for feed in self._feeds.values()) >= self._max_streams:
            raise Unavailable(f"more than {self._max_streams} streams are open")
        feed = self._feeds.setdefault(chain_id, Feed(PgFacts(self._pool, chain_id), self._catching_up))
        feed.readers += 1
        self._ear.listen_to({chain_id})
        self._wake.set()
        with self._metrics.open(transport):
            try:
                yield feed
            finally:
                feed.readers -= 1

    async def run(self) -> None:
        """Read for ever; when it is stopped, every stream ends in good order."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._ear.run(), name="facts.listen")
                group.create_task(self._pump(), name="facts.pump")
        except asyncio.CancelledError:
            self.stopping = True
            for feed in self._feeds.values():
                feed.tell()
            raise

    async def _pump(self) -> None:
        while True:
            read = [feed for feed in self._feeds.values() if feed.readers]
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._poll_s if read else None):
                    await self._wake.wait()
            self._wake.clear()
            for feed in self._feeds.values():
                if not feed.readers:
                    feed.forget()
                    continue
                try:
                    await feed.pull()
                except Transient as error:
                    log.warning("facts cannot be read", extra={"why": str(error)})
