"""One HTTP connection, bounded before there is a request: how long and how slow its head may be, how slow its reader.

uvicorn bounds none of these for httptools: a header without an end would grow in memory, and a client that says
nothing would keep its socket for ever (tests/api/test_clients.py). Bodies are bounded in api/app.py.
"""

import asyncio
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Final

from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from api.callers import caller_key
from api.errors import GROUP, Group, Refused, group_of, refusal

MAX_HEAD_BYTES: Final = 32_768
HEAD_S: Final = 10.0  # from connecting, or from a request's first byte, to the end of its head
MAX_CONNECTIONS: Final = 2_000  # of one server; each takes a file descriptor and some 50 kB
WRITE_S: Final = 30.0  # without the client taking anything of what is ready for it


class BoundedConnection(HttpToolsProtocol):
    """uvicorn's protocol with these bounds."""

    head_s = HEAD_S
    write_s = WRITE_S
    most = MAX_CONNECTIONS
    on_turned_away: Callable[[], None] = staticmethod(lambda: None)

    _in_head = True
    _head_bytes = 0
    _refused = False
    _waits_since = 0.0
    _caller = ""
    url = b""  # uvicorn sets both with a request's first byte; a client may be refused before
    headers: list[tuple[bytes, bytes]] = []  # noqa: RUF012 - replaced, never changed
    _head_timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._waits_since = self.loop.time()
        self._caller = caller_key(self.client[0]) if self.client else ""
        self._expect_head()
        if len(self.connections) > self.most:
            self._make_room()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timers()
        super().connection_lost(exc)

    @override
    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        waiting = self._in_head
        super().data_received(data)
        if self._in_head and not self._refused and self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_s, self._late)  # most heads are here at once
        if waiting and self._in_head:  # all of it was head, and there is more to come
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(431, f"head: at most {MAX_HEAD_BYTES} bytes")

    @override
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0

    @override
    def on_headers_complete(self) -> None:
        self._in_head = False
        _cancel(self._head_timer)
        self._head_timer = None
        if len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > MAX_HEAD_BYTES:
            self._refuse(431, f"head: at most {MAX_HEAD_BYTES} bytes")
        if self._refused:
            return
        last = self.cycle
        super().on_headers_complete()
        if self.cycle is not last:  # of an upgrade there is none
            self.cycle.transport = _Whole(self.cycle)  # type: ignore[assignment] # has all of it that a cycle uses

    @override
    def on_body(self, body: bytes) -> None:
        if not self._refused:
            super().on_body(body)

    @override
    def on_message_complete(self) -> None:
        if not self._refused:
            super().on_message_complete()

    @override
    def on_response_complete(self) -> None:
        self._waits_since = self.loop.time()
        super().on_response_complete()

    @override
    def handle_websocket_upgrade(self) -> None:
        if self._refused:
            return
        sockets = sum(not isinstance(other, BoundedConnection) for other in self.connections)
        if sockets >= max(1, self.most // 2):
            # Held for as long as a client likes; requests, which end, keep the other half.
            self.on_turned_away()
            self._refuse(503, f"connections: at most {max(1, self.most // 2)} of them WebSockets, try again")
            return
        # The socket is another protocol's from here on; no timer of ours may cut it.
        self._stop_timers()
        super().handle_websocket_upgrade()

    @override
    def send_400_response(self, msg: str) -> None:
        self._refuse(400, msg.rstrip("."))

    @override
    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_timer = self._write_timer or self.loop.call_later(self.write_s, self.transport.abort)

    @override
    def resume_writing(self) -> None:
        _cancel(self._write_timer)
        self._write_timer = None
        super().resume_writing()

    def _make_room(self) -> None:
        """End connections that have nothing to do, of the caller who has the most; if there are none, this one.

        Some at a time: looking at all of them for each that comes would be the flood's work done for it.
        """
        waiting: dict[str, list[BoundedConnection]] = {}
        for other in self.connections:
            if isinstance(other, BoundedConnection) and other is not self and other._is_waiting():
                waiting.setdefault(other._caller, []).append(other)
        if not waiting:
            self.on_turned_away()
            self._refuse(503, f"connections: at most {self.most}, try again")
            return
        theirs = max(waiting.values(), key=lambda each: (len(each), -min(other._waits_since for other in each)))
        theirs.sort(key=lambda other: other._waits_since)
        for other in theirs[: min(1 + self.most // 20, 1 + len(theirs) // 2)]:
            self.on_turned_away()
            self.connections.discard(other)  # it counts no more, though its end comes with the loop's next turn
            other.transport.close()

    def _is_waiting(self) -> bool:
        return not self.transport.is_closing() and (self.cycle is None or self.cycle.response_complete)

    def _stop_timers(self) -> None:
        _cancel(self._head_timer)
        _cancel(self._write_timer)
        self._head_timer = self._write_timer = None

    def _expect_head(self) -> None:
        self._in_head, self._head_bytes = True, 0
        self._head_timer = self.loop.call_later(self.head_s, self._late)

    def _late(self) -> None:
        self._head_timer = None
        self._refuse(408, f"head: not here within {self.head_s:g} s")

    def _refuse(self, status: int, why: str) -> None:
        """Answer in the envelope of whoever owns the path, as far as it came, and close; the rest is not looked at."""
        self._refused = True
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.close()  # another answer is on its way, and this one must not get into it
            return
        path = self.url.partition(b"?")[0].decode("latin-1")
        groups: Sequence[Group] = self.config.app.state.groups  # type: ignore[union-attr] # api.app.application sets it
        scope = {"type": "http", "headers": self.headers, GROUP: group_of(groups, path)}
        answer = refusal(scope, Refused(status, why, {"connection": "close"}))
        head = b"".join(b"%s: %s\r\n" % header for header in answer.raw_headers)
        phrase = HTTPStatus(status).phrase.encode()
        self.transport.write(b"HTTP/1.1 %d %s\r\n%s\r\n%s" % (status, phrase, head, answer.body))
        self.transport.close()


class _Whole:
    """The transport of one answer: the head of an answer of known length waits for its body, and both are one write.

    uvicorn writes them one after the other: two system calls, two segments, and a client that is woken twice.
    """

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._transport = cycle.transport
        self._head = b""

    def write(self, data: bytes) -> None:
        """Write, or keep it for the body that is to follow."""
        cycle = self._cycle
        if self._head:
            self._transport.writelines((self._head, data))
            self._head = b""
        elif cycle.response_started and cycle.expected_content_length and cycle.scope["method"] != "HEAD":
            self._head = data
        else:
            self._transport.write(data)

    def close(self) -> None:
        """Close the connection; a head without its body is not worth sending."""
        self._transport.close()

    def is_closing(self) -> bool:
        """Whether the connection is being closed."""
        return self._transport.is_closing()


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


def bounded(most: int, on_turned_away: Callable[[], None]) -> type[BoundedConnection]:
    """Return the protocol for at most so many connections of one server, WebSockets included."""

    class Bounded(BoundedConnection):
        """With the server's own bound."""

    Bounded.most = most
    Bounded.on_turned_away = staticmethod(on_turned_away)
    return Bounded
