"""Live prices: one upstream, many readers. Ticks are passed on as they came, byte for byte."""

import asyncio
import contextlib
from collections.abc import Iterable, Iterator
from typing import Final

from starlette.types import Receive, Scope, Send

from api.errors import Unavailable
from core.metrics import BuilderMetrics

MAX_FEEDS: Final = 512  # ten times what there is; an upstream that invents names must not fill the memory
DEPTH: Final = 2 * MAX_FEEDS  # messages a reader may be behind before it is dropped
SEND_S: Final = 20.0  # a message that cannot be handed to the kernel for so long is for a reader that does not read
MAX_READERS: Final = 1_000
TRY_AGAIN_LATER: Final = 1013  # RFC 6455's registry of close codes
LOST: Final = '{"type":"error","message":"Upstream disconnected"}'
NO_FEED: Final = '{"type":"error","message":"No upstream feed is configured"}'


class Reader:
    """One connection's queue. When it is full the reader is too slow, and is let go."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[str] = asyncio.Queue(DEPTH)
        self.slow = asyncio.Event()

    def put(self, text: str) -> None:
        """Queue a message, or find out that the reader is too slow."""
        try:
            self._queue.put_nowait(text)
        except asyncio.QueueFull:
            self.slow.set()

    async def get(self) -> str:
        """Return the next message."""
        return await self._queue.get()


class Market:
    """The newest tick of each feed, and who reads them."""

    def __init__(self, metrics: BuilderMetrics, *, has_feed: bool) -> None:
        self.has_feed = has_feed
        self._metrics = metrics
        self._last: dict[str, str] = {}
        self._readers: set[Reader] = set()
        self._lost = False

    @property
    def readers(self) -> int:
        """How many connections read."""
        return len(self._readers)

    def publish(self, ticks: Iterable[tuple[str, str]]) -> None:
        """Pass on ticks as (feed, JSON text); one that a feed has sent already is no news."""
        self._lost = False
        self._metrics.feed_up(True)
        for feed, text in ticks:
            if self._last.get(feed) == text or (feed not in self._last and len(self._last) >= MAX_FEEDS):
                continue
            self._last[feed] = text
            self._metrics.ticked()
            self._tell(text)

    def lost(self) -> None:
        """Tell every reader, once, that the upstream is gone."""
        self._metrics.feed_up(False)
        if not self._lost:
            self._lost = True
            self._tell(LOST)

    @contextlib.contextmanager
    def reading(self) -> Iterator[Reader]:
        """Read from here on, after the last known tick of each feed. Raises Unavailable when there are too many."""
        if len(self._readers) >= MAX_READERS:
            raise Unavailable(f"more than {MAX_READERS} readers")
        reader = Reader()
        for text in self._last.values():
            reader.put(text)
        if self._lost:
            reader.put(LOST)
        self._readers.add(reader)
        with self._metrics.socket("market"):
            try:
                yield reader
            finally:
                self._readers.discard(reader)

    def dropped(self) -> None:
        """Count a reader that was too slow."""
        self._metrics.dropped()

    def _tell(self, text: str) -> None:
        for reader in self._readers:
            reader.put(text)


class MarketSocket:
    """Serves the WebSocket of ticks. What clients send is not looked at."""

    def __init__(self, market: Market) -> None:
        self._market = market

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send ticks until the client leaves, falls behind, or the server stops."""
        with self._market.reading() as reader:
            await receive()  # websocket.connect
            await send({"type": "websocket.accept"})
            if not self._market.has_feed:
                await send({"type": "websocket.send", "text": NO_FEED})
                await _close(send, "no upstream feed")
            elif await self._until_gone(reader, receive, send):
                self._market.dropped()
                await _close(send, "too slow")

    async def _until_gone(self, reader: Reader, receive: Receive, send: Send) -> bool:
        """Return whether the reader was too slow."""
        # Awaited below, whatever ends first.
        tasks = [
            asyncio.create_task(_gone(receive), name="market.gone"),
            asyncio.create_task(_pass_on(reader, send), name="market.ticks"),
            asyncio.create_task(reader.slow.wait(), name="market.slow"),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result
        return reader.slow.is_set()


async def _close(send: Send, why: str) -> None:
    # Behind what the reader has not read the frame may never get away, and must not hold us up.
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(1.0):
            await send({"type": "websocket.close", "code": TRY_AGAIN_LATER, "reason": why})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] == "websocket.receive":
        pass


async def _pass_on(reader: Reader, send: Send) -> None:
    """Send what is queued; ends when a message cannot be handed over in time, or there is nobody any more."""
    try:
        while True:
            text = await reader.get()
            async with asyncio.timeout(SEND_S):
                await send({"type": "websocket.send", "text": text})
    except TimeoutError:
        reader.slow.set()
    except OSError:
        pass  # the client left
