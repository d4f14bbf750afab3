"""Recursive length prefix (Yellow Paper, appendix B): encoding only. Pure."""

from collections.abc import Iterable
from typing import Final

EMPTY_STRING: Final = b"\x80"
EMPTY_LIST: Final = b"\xc0"


def string(data: bytes) -> bytes:
    """Return `data` encoded."""
    size = len(data)
    if size == 1 and data[0] < 0x80:
        return data
    if size < 56:
        return bytes((0x80 + size,)) + data
    return _long(0xB7, size) + data


def integer(value: int) -> bytes:
    """Return `value`, which is not negative, encoded: big-endian without leading zeros, 0 as the empty string."""
    if value < 0x80:
        return bytes((value,)) if value else EMPTY_STRING
    size = (value.bit_length() + 7) >> 3
    if size < 56:
        return bytes((0x80 + size,)) + value.to_bytes(size)
    return string(value.to_bytes(size))


def sequence(items: Iterable[bytes]) -> bytes:
    """Return the list of `items`, which are encoded already."""
    body = b"".join(items)
    size = len(body)
    return (bytes((0xC0 + size,)) if size < 56 else _long(0xF7, size)) + body


def _long(base: int, size: int) -> bytes:
    of_size = (size.bit_length() + 7) >> 3
    return bytes((base + of_size,)) + size.to_bytes(of_size)
