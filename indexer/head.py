"""The newest head: WebSocket announcements, with polling as fallback and as cross-check.

A socket that is open but silent is not trusted: polling goes on, slower, and when it sees a newer head than the socket
told of, the socket is closed and the next one opened (a stall that looks healthy is the field's most reported failure).
Polling that fails does not end a socket that speaks.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from itertools import cycle
from typing import Final, Protocol

from core.chain import ChainSource
from core.clock import Clock, SystemClock
from core.errors import Transient
from core.store.port import ChainStore
from core.types import Head

log = logging.getLogger(__name__)

STALE_S: Final = 30.0  # a head this old no longer outranks a lower one from another origin
SILENCE_S: Final = 3.0  # how long the socket may be behind polling
FIRST_WORD_S: Final = 15.0  # the same for one that has yet to announce anything: it may still be connecting
RECONNECT_S: Final = (0.5, 30.0)

Stream = Callable[[], AsyncGenerator[Head, None]]


class HeadMetrics(Protocol):
    """What is counted of announcements."""

    def announced(self, origin: str) -> None:
        """Count a new head."""
        ...

    def socket_dropped(self, why: str) -> None:
        """Count a WebSocket that was closed, and why."""
        ...


class Agreement(Protocol):
    """Several nodes, asked whether they have the same block."""

    async def agreed(self, head: Head) -> Head:
        """Return the block at this height that two nodes name, or after a bounded wait what there is of it."""
        ...


class HeadWatch:
    """Watches one chain's head (a Service), and hands out the newest one (Heads).

    `streams` are sockets, of which one is open at a time: the next when that one ends or is silent. With `agreement`, a
    head is handed out once that has been asked.
    """

    def __init__(
        self,
        source: ChainSource,
        store: ChainStore,
        metrics: HeadMetrics,
        *,
        name: str,
        streams: Sequence[Stream] = (),
        agreement: Agreement | None = None,
        poll_s: float = 1.0,
        clock: Clock | None = None,
    ) -> None:
        self.name = f"head.{name}"
        self._source = source
        self._store = store
        self._metrics = metrics
        self._streams = streams
        self._agreement = agreement
        self._poll_s = poll_s
        self._clock = clock or SystemClock()
        self._latest: Head | None = None
        self._origin = ""
        self._at = 0.0
        self._socket_open = False
        self._socket_spoke = False  # whether this connection has announced anything
        self._socket_height = -1
        self._behind_since: float | None = None  # when polling first saw a head that the open socket has not told of
        self._drop_socket = asyncio.Event()
        self._heard: Head | None = None  # the newest that a socket told of, until the agreement is asked about it
        self._news = asyncio.Event()
        self._changed = asyncio.Condition()

    @property
    def latest(self) -> Head | None:
        """The newest head that was announced; None before the first."""
        return self._latest

    async def newest(self) -> Head:
        """Return the newest announced head, waiting for the first."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._latest is not None)
        assert self._latest is not None
        return self._latest

    async def changed(self, known: Head, *, timeout_s: float) -> None:
        """Wait until another head than `known` is announced, at most `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s), self._changed:
                await self._changed.wait_for(lambda: self._latest != known)
        except TimeoutError:
            return

    async def run(self) -> None:
        """Watch for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._poll(), name=f"{self.name}.poll")
            if self._streams:
                group.create_task(self._listen(), name=f"{self.name}.socket")
                group.create_task(self._weigh(), name=f"{self.name}.weigh")

    async def _poll(self) -> None:
        while True:
            try:
                head = await self._source.head()
            except Transient as error:
                if not self._speaks:
                    raise
                log.warning("polling failed, the socket goes on", extra={"chain": self.name, "why": str(error)})
            else:
                self._judge_socket(head)
                await self._announce(await self._agreed(head), "poll")
            await self._clock.sleep(self._poll_s * 3 if self._speaks else self._poll_s)

    @property
    def _speaks(self) -> bool:
        return self._socket_open and self._socket_spoke

    async def _weigh(self) -> None:
        """Announce what sockets tell of; while one head is asked about, only the newest of those after it is kept."""
        while True:
            await self._news.wait()
            self._news.clear()
            if self._heard is not None:
                await self._announce(await self._agreed(self._heard), "socket")

    async def _agreed(self, head: Head) -> Head:
        if self._agreement is None or head == self._latest:
            return head
        return await self._agreement.agreed(head)

    def _judge_socket(self, polled: Head) -> None:
        if not self._socket_open or polled.ref.number <= self._socket_height:
            self._behind_since = None
            return
        # Since it fell behind, not since it spoke: on a chain with 12 s blocks a healthy socket is silent for 12 s.
        now = self._clock.monotonic()
        self._behind_since = now if self._behind_since is None else self._behind_since
        if now - self._behind_since > (SILENCE_S if self._socket_spoke else FIRST_WORD_S):
            self._drop_socket.set()

    async def _listen(self) -> None:
        pause = RECONNECT_S[0]
        for stream in cycle(self._streams):
            why = await self._listen_once(stream)
            if self._socket_spoke:
                pause = RECONNECT_S[0]
            # Another one need not wait for this one to recover; a pause is for those that never spoke.
            wait = 0.0 if self._socket_spoke and len(self._streams) > 1 else pause
            self._metrics.socket_dropped(why)
            log.warning("head socket closed", extra={"chain": self.name, "why": why, "pause_s": wait})
            await self._clock.sleep(wait)
            pause = pause if wait == 0.0 else min(pause * 2, RECONNECT_S[1])

    async def _listen_once(self, stream: Stream) -> str:
        """Pass on what one connection announces, until it ends; return why it ended."""
        self._drop_socket.clear()
        self._socket_open, self._socket_spoke, self._behind_since = True, False, None
        # Nodes announce what is new; what was known before, a new connection need not tell.
        self._socket_height = -1 if self._latest is None else self._latest.ref.number
        listener = asyncio.create_task(self._pass_on(stream), name=f"{self.name}.stream")  # awaited below
        dropped = asyncio.create_task(self._drop_socket.wait(), name=f"{self.name}.drop")
        try:
            await asyncio.wait({listener, dropped}, return_when=asyncio.FIRST_COMPLETED)
            return listener.result() if listener.done() else "silent"
        finally:
            self._socket_open = False
            for task in (listener, dropped):
                task.cancel()
            await asyncio.gather(listener, dropped, return_exceptions=True)

    async def _pass_on(self, stream: Stream) -> str:
        try:
            async with aclosing(stream()) as heads:
                async for head in heads:
                    self._socket_spoke, self._behind_since = True, None
                    self._socket_height = head.ref.number
                    self._heard = head
                    self._news.set()
        except Transient as error:
            return str(error)
        return "closed by the node"

    async def _announce(self, head: Head, origin: str) -> None:
        if head == self._latest:
            self._at = self._clock.monotonic()
            return
        if not self._outranks(head, origin):
            return
        self._latest, self._origin, self._at = head, origin, self._clock.monotonic()
        self._metrics.announced(origin)
        async with self._changed:
            self._changed.notify_all()
        await self._store.saw(head)

    def _outranks(self, head: Head, origin: str) -> bool:
        """Tell news from lag: another origin's lower head is believed only when the known one is old."""
        if self._latest is None or head.ref.number >= self._latest.ref.number or origin == self._origin:
            return True
        return self._clock.monotonic() - self._at > STALE_S
