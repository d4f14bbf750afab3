"""One connection: HTTP/1.1 with keep-alive, or a WebSocket after an upgrade. Answers leave in the order of requests."""

import asyncio
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, cast

import httptools
import msgspec

from core.errors import BadAnswer
from devnet.recorded import frames
from devnet.recorded.answers import Piece
from devnet.recorded.filters import Refused

if TYPE_CHECKING:
    from devnet.recorded.node import RecordedNode

SEND_BUFFER_BYTES: Final = 4 << 20  # measured by the reference: answers of megabytes want more than the kernel's 2.5 MB
MAX_REQUEST_BYTES: Final = 8 << 20
PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
_JSON: Final = b"content-type: application/json\r\n"


class _Call(msgspec.Struct):
    method: str
    params: Any = ()
    id: msgspec.Raw = msgspec.Raw(b"null")


_one = msgspec.json.Decoder(_Call)
_many = msgspec.json.Decoder(list[_Call])


class Connection(asyncio.Protocol):
    """Speaks with one client of a node."""

    def __init__(self, node: "RecordedNode") -> None:
        self._node = node
        self._transport: asyncio.Transport | None = None
        self._parser: Any = httptools.HttpRequestParser(self)
        self._body = bytearray()
        self._key = b""
        self._frames: bytearray | None = None
        self.subscriptions: set[str] = set()

    # -- asyncio -------------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the transport and give the kernel room for large answers."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass
        opened = transport.get_extra_info("socket")
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self._node.connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the client."""
        self._transport = None
        self._node.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        """Read requests, or frames once the connection is a WebSocket."""
        try:
            if self._frames is not None:
                self._read_frames(data)
            else:
                self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._upgrade()
        except httptools.HttpParserCallbackError:
            self.close()
            raise  # a fault of ours: asyncio logs it
        except (httptools.HttpParserError, BadAnswer):
            self.close()

    # -- httptools -----------------------------------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note the one header that matters."""
        if name.lower() == b"sec-websocket-key":
            self._key = value

    def on_body(self, data: bytes) -> None:
        """Collect the request's body."""
        self._body += data
        if len(self._body) > MAX_REQUEST_BYTES:
            self.close()

    def on_message_complete(self) -> None:
        """Answer the request."""
        if self._parser.should_upgrade():
            return  # feed_data raises HttpParserUpgrade
        body, self._body = bytes(self._body), bytearray()
        if not self._node.admit():
            self._send([_head(b"429 Too Many Requests", 0)])
            return
        if self._parser.get_method() != b"POST":
            self._send([_head(b"405 Method Not Allowed", 0)])
            return
        pieces = self._reply(body)
        self._later([_head(b"200 OK", _size(pieces)), *pieces])

    # -- both ----------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()

    def announce(self, header: bytes) -> None:
        """Tell the client of a new head, once for each of its subscriptions."""
        for name in self.subscriptions:
            params = b'{"jsonrpc":"2.0","method":"eth_subscription","params":{"subscription":"%s","result":%s}}'
            said = params % (name.encode(), header)
            self._send([frames.prefix(len(said)), said])

    def _reply(self, body: bytes) -> list[Piece]:
        """Return the JSON-RPC answer to a call or a batch."""
        batch = body.lstrip()[:1] == b"["
        try:
            calls = _many.decode(body) if batch else [_one.decode(body)]
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return [_error(b"null", PARSE_ERROR, str(error))]
        if batch and not calls:
            return [_error(b"null", INVALID_REQUEST, "an empty batch")]
        pieces: list[Piece] = [b"["] if batch else []
        for index, call in enumerate(calls):
            if index:
                pieces.append(b",")
            self._answer(call, pieces)
        if batch:
            pieces.append(b"]")
        return pieces

    def _answer(self, call: _Call, pieces: list[Piece]) -> None:
        try:
            params = call.params if isinstance(call.params, list) else ()
            result = self._node.answer(call.method, params, self)
        except Refused as refused:
            pieces.append(_error(bytes(call.id), refused.code, refused.message))
            return
        pieces.append(b'{"jsonrpc":"2.0","id":%s,"result":' % bytes(call.id))
        pieces.extend(result)
        pieces.append(b"}")

    def _later(self, pieces: Sequence[Piece]) -> None:
        """Send after the latency that was asked for; calls for the same delay fire in the order they were made."""
        if self._node.latency_s:
            asyncio.get_running_loop().call_later(self._node.latency_s, self._send, pieces)
        else:
            self._send(pieces)

    def _send(self, pieces: Sequence[Piece]) -> None:
        if self._transport is not None:
            self._transport.writelines(pieces)

    # -- WebSocket -----------------------------------------------------------------------------------------------------

    def _upgrade(self) -> None:
        if not self._key:
            self._send([_head(b"400 Bad Request", 0)])
            self.close()
            return
        self._frames = bytearray()
        answer = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
        self._send([answer + b"sec-websocket-accept: " + frames.accept(self._key) + b"\r\n\r\n"])

    def _read_frames(self, data: bytes) -> None:
        assert self._frames is not None, "after the upgrade"
        self._frames += data
        for opcode, said in frames.frames(self._frames):
            match opcode:
                case frames.TEXT | frames.BINARY:
                    pieces = self._reply(said)
                    self._later([frames.prefix(_size(pieces)), *pieces])
                case frames.PING:
                    self._send([frames.prefix(len(said), frames.PONG), said])
                case frames.CLOSE:
                    self._send([frames.prefix(len(said), frames.CLOSE), said])
                    self.close()


def _size(pieces: Sequence[Piece]) -> int:
    return sum(map(len, pieces))


def _head(status: bytes, size: int) -> bytes:
    return b"HTTP/1.1 %s\r\n%scontent-length: %d\r\n\r\n" % (status, _JSON, size)


def _error(id_: bytes, code: int, message: str) -> bytes:
    said = msgspec.json.encode({"code": code, "message": message})
    return b'{"jsonrpc":"2.0","id":%s,"error":%s}' % (id_, said)
