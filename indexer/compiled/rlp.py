"""Recursive length prefix (Yellow Paper, appendix B) from the text a node sent: compiled.

Everything is written from its end to its beginning: the header of a list is written when its length is known, and
nothing is moved or measured beforehand. Each function writes before `at` in `out` and returns where that begins. Text
that is not what it must be raises ValueError.
"""

from typing import Final

from indexer.compiled.native import compiled
from indexer.compiled.rows import WORTH, digits_start, put_digits
from indexer.compiled.scan import ZERO, Bytes, Ints

STRING, LIST = 0x80, 0xC0
LONG: Final = 56  # from this length on, the length has bytes of its own


@compiled
def head_before(out: Bytes, at: int, base: int, size: int) -> int:
    """Write the header of `size` bytes."""
    if size < LONG:
        out[at - 1] = base + size
        return at - 1
    end = at
    while size:
        at -= 1
        out[at] = size & 255
        size >>= 8
    out[at - 1] = base + LONG - 1 + end - at
    return at - 1


@compiled
def list_before(out: Bytes, at: int, end: int) -> int:
    """Write the header of the list whose items lie from `at` to `end`."""
    return head_before(out, at, LIST, end - at)


@compiled
def string_before(out: Bytes, at: int, end: int) -> int:
    """Write the header of the bytes that lie from `at` to `end`; one byte below 0x80 has none."""
    if end - at == 1 and out[at] < STRING:
        return at
    return head_before(out, at, STRING, end - at)


@compiled
def byte_before(out: Bytes, at: int, value: int) -> int:
    """Write one byte as it is."""
    out[at - 1] = value
    return at - 1


@compiled
def bytes_before(out: Bytes, at: int, buf: Bytes, spans: Ints, key: int, size: int) -> int:
    """Write the `size` bytes of DATA text, without a header."""
    start = digits_start(buf, spans, key)
    if spans[key, 1] - start != 2 * size:
        raise ValueError("hex data of another size")
    put_digits(out, at - size, buf, start, size)
    return at - size


@compiled
def fixed_before(out: Bytes, at: int, buf: Bytes, spans: Ints, key: int, size: int) -> int:
    """Write DATA text of `size` bytes, more than one."""
    return head_before(out, bytes_before(out, at, buf, spans, key, size), STRING, size)


@compiled
def data_before(out: Bytes, at: int, buf: Bytes, spans: Ints, key: int) -> int:
    """Write DATA text of any length."""
    start = digits_start(buf, spans, key)
    length = spans[key, 1] - start
    if length & 1:
        raise ValueError("an odd number of hex digits")
    begin = at - (length >> 1)
    put_digits(out, begin, buf, start, length >> 1)
    return string_before(out, begin, at)


@compiled
def number_before(out: Bytes, at: int, value: int) -> int:
    """Write an integer that is not negative."""
    end = at
    while value:
        at -= 1
        out[at] = value & 255
        value >>= 8
    return string_before(out, at, end)


@compiled
def quantity_before(out: Bytes, at: int, buf: Bytes, spans: Ints, key: int, digits: int) -> int:
    """Write a QUANTITY of at most `digits` hex digits: no zeros in front, 0 as the empty string."""
    start, end = digits_start(buf, spans, key), spans[key, 1]
    if not 0 < end - start <= digits:
        raise ValueError("a quantity of no digits, or of more bits than is possible here")
    while start < end and buf[start] == ZERO:
        start += 1
    size = (end - start) >> 1
    begin = at - size
    put_digits(out, begin, buf, end - 2 * size, size)
    if end - start & 1:
        if WORTH[buf[start]] < 0:
            raise ValueError("a character that is no hex digit")
        begin = byte_before(out, begin, WORTH[buf[start]])
    return string_before(out, begin, at)
