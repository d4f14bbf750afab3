"""/stream: facts in order over Server-Sent Events or WebSocket, from where the reader was (docs/api.md)."""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Message, Receive, Scope, Send
from typing_extensions import override

from api.access import SOCKET, ScopedGroup
from api.access import Scope as Access
from api.app import TEMPLATE
from api.errors import ApiError, BadRequest, Gone, Unavailable, refusal
from api.facts import KINDS, EndEvent, HeartbeatEvent, HelloEvent, Line, encode
from api.hub import FactHub, Feed
from core.errors import Transient
from core.facts import FactsGone, Tail
from core.metrics import StreamMetrics

PATHS: Final = ("/stream", "/api/v1/stream")
PARAMETERS: Final = ("from", "kinds")
HEARTBEAT_S: Final = 15.0
SEND_S: Final = 10.0  # a reader to whom nothing can be handed over for so long is too slow
LAST_WORD_S: Final = 2.0
RECHECK_S: Final = 60.0  # how long a stream may outlive its key
CHUNK_BYTES: Final = 32_768  # of one SSE body part: below what the server buffers before it waits for the reader
RETRY_MS: Final = 2_000  # after which an EventSource connects again

# RFC 6455, 7.4: 1001 going away, 1013 try again later; 4000 and above are ours, the HTTP status behind it.
CODES: Final = {"stopping": 1001, "slow": 1013, "gone": 4410, "unauthorized": 4401}

ChainOf = Callable[[HTTPConnection, Sequence[str]], Awaitable[tuple[str, int]]]


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a stream ends."""

    why: str
    message: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a reader wants: facts of these kinds after this one."""

    kinds: frozenset[str]
    after: int


class TooSlow(Exception):
    """The reader does not take what it is sent."""


class Wire(Protocol):
    """How messages get to one reader; `part_bytes` is how much may be sent at once, one fact at least."""

    part_bytes: int

    async def open(self, hello: HelloEvent) -> None:
        """Accept the reader and greet it."""
        ...

    async def facts(self, lines: Sequence[Line]) -> None:
        """Send facts."""
        ...

    async def heartbeat(self, seq: int) -> None:
        """Say that nothing has happened up to fact `seq`."""
        ...

    async def end(self, end: EndEvent) -> None:
        """Say the last word and end."""
        ...


class Stream(ScopedGroup):
    """Both paths on both wires. `chain_of` checks the names of parameters and returns the chain's name and id."""

    def __init__(self, hub: FactHub, metrics: StreamMetrics, chain_of: ChainOf) -> None:
        self._hub = hub
        self._metrics = metrics
        self._chain_of = chain_of

    @override
    def scopes(self) -> Mapping[tuple[str, str], Access]:
        return dict.fromkeys(((method, path) for path in PATHS for method in ("GET", SOCKET)), Access.API_KEY)

    @override
    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        mine = scope["type"] in ("http", "websocket") and scope["path"] in PATHS
        return (Match.FULL if mine else Match.NONE), {}

    @override
    def url_path_for(self, name: str, /, **path_params: Any) -> Any:
        raise NotImplementedError("paths of this group are fixed and not looked up by name")

    @override
    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one reader."""
        scope[TEMPLATE] = scope["path"]
        try:
            await self.admitted(scope, receive)
            await self._serve(scope, receive, send)
        except ApiError as error:
            await refusal(scope, error)(scope, receive, send)
        except Transient:
            await refusal(scope, Unavailable("temporarily unavailable, try again"))(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection = HTTPConnection(scope)
        name, chain_id = await self._chain_of(connection, PARAMETERS)
        kinds, after = _kinds(connection), _after(connection)
        transport = "ws" if scope["type"] == "websocket" else "sse"
        if transport == "sse":
            # What is wrong with a body (api/app.py) has to be said before there is an answer.
            try:
                await Request(scope, receive).body()
            except ClientDisconnect:
                return
            if scope["method"] == "HEAD":
                await Response(media_type="text/event-stream")(scope, receive, send)
                return
        with self._hub.reading(chain_id, transport) as feed:
            tail = await feed.tail()
            wanted = Wanted(kinds, _checked(after, tail))
            wire: Wire = Socket(send) if transport == "ws" else Events(send)
            reader = Reader(self._hub, feed, wire, wanted, self._recheck(scope, receive))
            hello = HelloEvent(
                seq=wanted.after, chain=name, chain_id=chain_id, oldest_from=tail.pruned, newest=tail.last
            )
            ending = await reader.serve(hello, receive)
        self._metrics.ended("left" if ending is None else ending.why)
        if ending is not None:
            await _say_goodbye(wire, reader.seq, ending, receive)

    def _recheck(self, scope: Scope, receive: Receive) -> Callable[[], Awaitable[bool]]:
        async def admitted() -> bool:
            try:
                await self.admitted(scope, receive)
            except ApiError as error:
                return error.status not in (401, 403)
            except Transient:
                return True
            return True

        return admitted


class Reader:
    """One open stream: the number of the last fact it has, and nothing queued."""

    def __init__(
        self,
        hub: FactHub,
        feed: Feed,
        wire: Wire,
        wanted: Wanted,
        admitted: Callable[[], Awaitable[bool]],
    ) -> None:
        self.seq = wanted.after
        self._hub = hub
        self._feed = feed
        self._wire = wire
        self._wanted = wanted
        self._admitted = admitted
        self._said_at = time.monotonic()

    async def serve(self, hello: HelloEvent, receive: Receive) -> Ending | None:
        """Send facts until something ends it; return what, None if the reader left."""
        # Awaited below, whatever ends first.
        tasks = [
            asyncio.create_task(self._sent(hello), name="stream.send"),
            asyncio.create_task(_left(receive), name="stream.left"),
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
        return results[0] if isinstance(results[0], Ending) else None

    async def _sent(self, hello: HelloEvent) -> Ending | None:
        try:
            async with _patience():
                await self._wire.open(hello)
            return await self._send_facts()
        except TooSlow:
            return Ending("slow", f"nothing could be sent for {SEND_S:.0f} s; go on from {self.seq}")
        except FactsGone as error:
            return Ending("gone", str(error)[:100])
        except OSError:
            return None  # the reader left

    async def _send_facts(self) -> Ending:
        self._said_at = checked_at = time.monotonic()
        while not self._hub.stopping:
            if time.monotonic() - checked_at > RECHECK_S:
                checked_at = time.monotonic()
                if not await self._admitted():
                    return Ending("unauthorized", "the API token is not valid any more")
            news = self._feed.news
            lines = await self._next()
            await self._pass_on(lines)
            if not lines:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._said_at + HEARTBEAT_S - time.monotonic()):
                        await news.wait()
        return Ending("stopping", f"the server stops; go on from {self.seq}")

    async def _pass_on(self, lines: Sequence[Line]) -> None:
        """Send what is wanted of `lines`, or a heartbeat when there was nothing for long."""
        for part in _parts([line for line in lines if line.kind in self._wanted.kinds], self._wire.part_bytes):
            async with _patience():
                await self._wire.facts(part)
            self._said_at, self.seq = time.monotonic(), part[-1].seq
        if lines:
            self.seq = lines[-1].seq
        if time.monotonic() - self._said_at >= HEARTBEAT_S:
            async with _patience():
                await self._wire.heartbeat(self.seq)
            self._said_at = time.monotonic()

    async def _next(self) -> Sequence[Line]:
        try:
            return await self._feed.after(self.seq)
        except Transient:
            # The database is away for a moment; what is told meanwhile is in it when it is back.
            await asyncio.sleep(1.0)
            return ()


class Events:
    """Server-Sent Events (WHATWG HTML, 9.2). `id` is the fact's number, which browsers send back when they return."""

    part_bytes = CHUNK_BYTES

    def __init__(self, send: Send) -> None:
        self._send = send

    async def open(self, hello: HelloEvent) -> None:
        """Send headers and the greeting."""
        headers = [
            (b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"), (b"connection", b"close"),
        ]  # fmt: skip
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._part(b"retry: %d\n" % RETRY_MS + _event(hello.seq, b"hello", encode(hello)))

    async def facts(self, lines: Sequence[Line]) -> None:
        """Send facts in one part of the body."""
        await self._part(b"".join(_event(line.seq, line.kind.encode(), line.json) for line in lines))

    async def heartbeat(self, seq: int) -> None:
        """Send a comment; the id alone lets a reader with a filter come back where it was."""
        await self._part(b": heartbeat\nid: %d\n\n" % seq)

    async def end(self, end: EndEvent) -> None:
        """Send the last event and end the body."""
        body = _event(end.seq, b"end", encode(end))
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def _part(self, body: bytes) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": True})


class Socket:
    """WebSocket: a JSON text per message; the last word is the code and the reason of the close frame."""

    part_bytes = 0

    def __init__(self, send: Send) -> None:
        self._send = send

    async def open(self, hello: HelloEvent) -> None:
        """Accept and greet."""
        await self._send({"type": "websocket.accept"})
        await self._text(encode(hello))

    async def facts(self, lines: Sequence[Line]) -> None:
        """Send facts, a message each."""
        for line in lines:
            await self._text(line.json)

    async def heartbeat(self, seq: int) -> None:
        """Send a heartbeat."""
        await self._text(encode(HeartbeatEvent(seq=seq)))

    async def end(self, end: EndEvent) -> None:
        """Send the close frame."""
        await self._send({"type": "websocket.close", "code": CODES[end.why], "reason": end.message[:120]})

    async def _text(self, json: bytes) -> None:
        await self._send({"type": "websocket.send", "text": json.decode()})


def _parts(lines: Sequence[Line], most: int) -> Iterator[Sequence[Line]]:
    """Cut `lines` into parts of about `most` bytes."""
    part: list[Line] = []
    size = 0
    for line in lines:
        part.append(line)
        size += len(line.json)
        if size >= most:
            yield part
            part, size = [], 0
    if part:
        yield part


def _event(seq: int, kind: bytes, json: bytes) -> bytes:
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (seq, kind, json)


@contextlib.asynccontextmanager
async def _patience() -> AsyncIterator[None]:
    """Raise TooSlow when what is inside takes too long.

    The server waits for the reader before it writes: what is broken off was not begun, and the last word can follow.
    """
    try:
        async with asyncio.timeout(SEND_S):
            yield
    except TimeoutError as error:
        raise TooSlow from error


async def _say_goodbye(wire: Wire, seq: int, ending: Ending, receive: Receive) -> None:
    try:
        async with asyncio.timeout(LAST_WORD_S):
            await wire.end(EndEvent(seq=seq, why=ending.why, message=ending.message))
    except TimeoutError:
        # It does not even take the last word: the kernel resets the connection (api/server.py), or it leaves.
        await _left(receive)
    except OSError:
        pass  # it left


async def _left(receive: Receive) -> None:
    """Wait until the reader has left; what it sends is not looked at."""
    while True:
        message: Message = await receive()
        if message["type"] in ("http.disconnect", "websocket.disconnect"):
            return


def _kinds(connection: HTTPConnection) -> frozenset[str]:
    text = connection.query_params.get("kinds")
    if text is None:
        return frozenset(KINDS)
    asked = text.split(",")
    unknown = [kind for kind in asked if kind not in KINDS]
    if unknown:
        raise BadRequest(f"kinds: expected some of {', '.join(KINDS)}, separated by commas; found {unknown[0][:40]!r}")
    return frozenset(asked)


def _after(connection: HTTPConnection) -> int | None:
    """Return the last fact the reader has, None for one that wants only what comes.

    A browser that returns sends the header beside the URL it was first given: the header is newer.
    """
    asked = {
        "from": connection.query_params.get("from"),
        "Last-Event-ID": connection.headers.get("last-event-id") or None,
    }
    for name, text in asked.items():
        if text is not None and not re.fullmatch(r"[0-9]{1,18}", text, re.ASCII):
            raise BadRequest(f"{name}: expected the number of a fact, found {text[:40]!r}")
    found = asked["Last-Event-ID"] or asked["from"]
    return None if found is None else int(found)


def _checked(after: int | None, tail: Tail) -> int:
    if after is None:
        return tail.last
    if not tail.pruned <= after <= tail.last:
        raise Gone(f"{FactsGone(after, tail)}; start over: take from={tail.last}, then read what is indexed")
    return after
