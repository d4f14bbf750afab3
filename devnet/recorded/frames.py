"""WebSocket frames (RFC 6455), as much of it as a JSON-RPC server needs: whole text messages, ping and close. Pure."""

import base64
import hashlib
from collections.abc import Iterator
from typing import Final, NamedTuple

from core.errors import BadAnswer

_MAGIC: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
MAX_BYTES: Final = 1 << 20


class Frame(NamedTuple):
    """One message: what it is (TEXT, CLOSE, …) and what it holds, unmasked."""

    opcode: int
    data: bytes


def accept(key: bytes) -> bytes:
    """Return what the server answers to a client's Sec-WebSocket-Key."""
    return base64.b64encode(hashlib.sha1(key + _MAGIC, usedforsecurity=False).digest())


def prefix(size: int, opcode: int = TEXT) -> bytes:
    """Return what stands before `size` bytes of an unfragmented, unmasked message."""
    first = bytes([0x80 | opcode])
    if size < 126:
        return first + bytes([size])
    return first + (b"\x7e" + size.to_bytes(2) if size < 1 << 16 else b"\x7f" + size.to_bytes(8))


def frames(buffer: bytearray) -> Iterator[Frame]:
    """Take the whole frames that `buffer` begins with out of it. Raises BadAnswer for what is not supported."""
    while (head := _head(buffer)) is not None:
        start, size = head
        if len(buffer) < start + size:
            return
        opcode = buffer[0] & 0x0F
        data = _unmasked(bytes(buffer[start : start + size]), bytes(buffer[start - 4 : start]))
        del buffer[: start + size]
        yield Frame(opcode, data)


def _head(buffer: bytearray) -> tuple[int, int] | None:
    """Return where the payload starts and how long it is, None while the head is not there yet."""
    if len(buffer) < 2:
        return None
    if not buffer[0] & 0x80 or not buffer[0] & 0x0F:
        raise BadAnswer("WebSocket: fragmented messages are not supported")
    if not buffer[1] & 0x80:
        raise BadAnswer("WebSocket: a client's frame is not masked")
    wide = {126: 2, 127: 8}.get(buffer[1] & 0x7F, 0)
    start = 2 + wide + 4
    if len(buffer) < start:
        return None
    size = int.from_bytes(buffer[2 : 2 + wide]) if wide else buffer[1] & 0x7F
    if size > MAX_BYTES:
        raise BadAnswer(f"WebSocket: a message of {size} bytes, at most {MAX_BYTES} are taken")
    return start, size


def _unmasked(data: bytes, mask: bytes) -> bytes:
    if not data:
        return data
    stretched = (mask * (len(data) // 4 + 1))[: len(data)]
    return (int.from_bytes(data) ^ int.from_bytes(stretched)).to_bytes(len(data))
