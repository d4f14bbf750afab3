"""One HTTP connection, bounded before there is a request: how long and how slow its head may be, how slow its reader.

uvicorn bounds none of these for httptools: a header without an end would grow in memory, and a client that says
nothing would keep its socket for ever (tests/api/test_clients.py). Bodies are bounded in api/app.py.
"""

import asyncio
from http import HTTPStatus
from typing import Final

import msgspec
from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.errors import Envelope

MAX_HEAD_BYTES: Final = 32_768
HEAD_S: Final = 10.0  # from connecting, or from a request's first byte, to the end of its head
WRITE_S: Final = 30.0  # without the client taking anything of what is ready for it


class BoundedConnection(HttpToolsProtocol):
    """uvicorn's protocol with these bounds."""

    head_s = HEAD_S
    write_s = WRITE_S

    _in_head = True
    _head_bytes = 0
    _refused = False
    _head_timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_head()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        _cancel(self._head_timer)
        self._head_timer = None
        _cancel(self._write_timer)
        self._write_timer = None
        super().connection_lost(exc)

    @override
    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        waiting = self._in_head
        super().data_received(data)
        if waiting and self._in_head:  # all of it was head, and there is more to come
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(431, f"head: at most {MAX_HEAD_BYTES} bytes")

    @override
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._expect_head()

    @override
    def on_headers_complete(self) -> None:
        self._in_head = False
        _cancel(self._head_timer)
        self._head_timer = None
        if len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > MAX_HEAD_BYTES:
            self._refuse(431, f"head: at most {MAX_HEAD_BYTES} bytes")
        if not self._refused:
            super().on_headers_complete()

    @override
    def on_body(self, body: bytes) -> None:
        if not self._refused:
            super().on_body(body)

    @override
    def on_message_complete(self) -> None:
        if not self._refused:
            super().on_message_complete()

    @override
    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_timer = self._write_timer or self.loop.call_later(self.write_s, self.transport.abort)

    @override
    def resume_writing(self) -> None:
        _cancel(self._write_timer)
        self._write_timer = None
        super().resume_writing()

    def _expect_head(self) -> None:
        self._in_head, self._head_bytes = True, 0
        self._head_timer = self._head_timer or self.loop.call_later(self.head_s, self._late)

    def _late(self) -> None:
        self._head_timer = None
        self._refuse(408, f"head: not here within {self.head_s:g} s")

    def _refuse(self, status: int, why: str) -> None:
        """Answer with our envelope and close; nothing that still arrives is looked at."""
        self._refused = True
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.close()  # another answer is on its way, and this one must not get into it
            return
        body = msgspec.json.encode(Envelope(why, str(status)))
        self.transport.write(
            b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s"
            % (status, HTTPStatus(status).phrase.encode(), len(body), body)
        )
        self.transport.close()


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
