"""Fields of a row in the binary format of COPY, from the text a node sent: compiled.

A field is its length in four bytes and its bytes; -1 stands for null. Source: PostgreSQL manual, COPY, "Binary Format".
Every function writes at `to` in `out` and returns the place behind what it wrote. Text that is not what it must be
raises ValueError.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from indexer.compiled.native import compiled
from indexer.compiled.scan import Bytes, Ints

Long = npt.NDArray[np.int64]

# What a hex digit is worth, -1 for another character.
WORTH: Final = np.array([int(chr(c), 16) if chr(c) in "0123456789abcdefABCDEF" else -1 for c in range(256)], np.int16)
ZERO, LETTER_X, LETTER_A = ord("0"), ord("x"), ord("a")
U8: Final = np.uint8
GROUP: Final = 10_000  # numeric's digits; source: src/backend/utils/adt/numeric.c, numeric_recv
LIMBS: Final = 8  # of 32 bits: 2^256 - 1 is the largest quantity
WORK: Final = LIMBS + 24  # limbs of a number and its digits; 10,000^20 > 2^256


@compiled
def put_short(out: Bytes, to: int, value: int) -> int:
    """Write two bytes, most significant first."""
    out[to], out[to + 1] = value >> 8 & 255, value & 255
    return to + 2


@compiled
def put_int(out: Bytes, to: int, value: int) -> int:
    """Write four bytes."""
    return put_short(out, put_short(out, to, value >> 16), value)


@compiled
def put_smallint(out: Bytes, to: int, value: int) -> int:
    """Write a field of type smallint."""
    return put_short(out, put_int(out, to, 2), value)


@compiled
def put_integer(out: Bytes, to: int, value: int) -> int:
    """Write a field of type integer."""
    return put_int(out, put_int(out, to, 4), value)


@compiled
def put_bigint(out: Bytes, to: int, value: int) -> int:
    """Write a field of type bigint."""
    return put_int(out, put_int(out, put_int(out, to, 8), value >> 32), value)


@compiled
def put_null(out: Bytes, to: int) -> int:
    """Write a null."""
    return put_int(out, to, -1)


@compiled
def put_copy(out: Bytes, to: int, source: Bytes, start: int, end: int) -> int:
    """Write bytes as they are, no length before them."""
    for i in range(end - start):
        out[to + i] = source[start + i]
    return to + end - start


@compiled
def put_bytes(out: Bytes, to: int, source: Bytes) -> int:
    """Write a field of bytes."""
    return put_copy(out, put_int(out, to, source.size), source, 0, source.size)


@compiled
def digits_start(buf: Bytes, spans: Ints, key: int) -> int:
    """Return where the digits of a hex text begin."""
    start = spans[key, 0]
    if start < 0 or spans[key, 1] - start < 2 or buf[start] != ZERO or buf[start + 1] != LETTER_X:
        raise ValueError("a field is missing, or not hex data")
    return int(start + 2)


@compiled
def put_digits(out: Bytes, to: int, buf: Bytes, start: int, size: int) -> int:
    """Write the `size` bytes whose digits begin at `start`, no length before them."""
    digits, written = buf[start : start + 2 * size], out[to : to + size]
    # Arithmetic on bytes, not a table: several digits at a time then, 2.5 times as fast. A letter's bit 6 is set.
    for i in range(size):
        high, low = digits[2 * i], digits[2 * i + 1]
        high, low = U8((high & U8(15)) + U8(9) * (high >> U8(6))), U8((low & U8(15)) + U8(9) * (low >> U8(6)))
        written[i] = U8(high << U8(4)) | low
    wrong = U8(0)
    for digit in digits:
        wrong |= U8(U8(digit - U8(ZERO)) > U8(9)) & U8(U8((digit | U8(0x20)) - U8(LETTER_A)) > U8(5))
    if wrong:
        raise ValueError("a character that is no hex digit")
    return to + size


@compiled
def put_hex(out: Bytes, to: int, buf: Bytes, spans: Ints, key: int, size: int) -> int:
    """Write a field of `size` bytes from DATA text."""
    start = digits_start(buf, spans, key)
    if spans[key, 1] - start != 2 * size:
        raise ValueError("hex data of another size")
    return put_digits(out, put_int(out, to, size), buf, start, size)


@compiled
def put_hex_or_null(out: Bytes, to: int, buf: Bytes, spans: Ints, key: int, size: int) -> int:
    """Write a field of `size` bytes, or null where there is none."""
    return put_null(out, to) if spans[key, 0] < 0 else put_hex(out, to, buf, spans, key, size)


@compiled
def put_data(out: Bytes, to: int, buf: Bytes, spans: Ints, key: int) -> int:
    """Write a field of bytes of any number."""
    start = digits_start(buf, spans, key)
    length = spans[key, 1] - start
    if length & 1:
        raise ValueError("an odd number of hex digits")
    return put_digits(out, put_int(out, to, length >> 1), buf, start, length >> 1)


@compiled
def put_bloom(out: Bytes, to: int, buf: Bytes, spans: Ints, key: int) -> int:
    """Write a field of 256 bytes, null if all are zero."""
    end = put_hex(out, to, buf, spans, key, 256)
    for i in range(to + 4, end):
        if out[i]:
            return end
    return put_null(out, to)


@compiled
def put_padded(out: Bytes, to: int, buf: Bytes, spans: Ints, key: int) -> int:
    """Write 32 bytes from a QUANTITY, zeros before it, no length."""
    start = digits_start(buf, spans, key)
    length = spans[key, 1] - start
    if not 0 < length <= 64:
        raise ValueError("a quantity of no digits, or of more than 256 bits")
    out[to : to + 32] = 0
    wrong = np.int16(0)
    for i in range(length):
        worth = WORTH[buf[start + length - 1 - i]]
        wrong |= worth
        out[to + 31 - (i >> 1)] |= worth << (4 * (i & 1)) & 255
    if wrong < 0:
        raise ValueError("a character that is no hex digit")
    return to + 32


@compiled
def small(buf: Bytes, spans: Ints, key: int, most: int) -> int:
    """Return a QUANTITY of at most `most`, which has less than 64 bits."""
    start = digits_start(buf, spans, key)
    length = spans[key, 1] - start
    if not 0 < length <= 15:
        raise ValueError("a quantity of no digits, or a larger one than is possible here")
    value = np.int64(0)
    wrong = np.int16(0)
    for i in range(length):
        worth = WORTH[buf[start + i]]
        wrong |= worth
        value = value << 4 | worth
    if wrong < 0 or value > most:
        raise ValueError("not a quantity, or a larger one than is possible here")
    return int(value)


@compiled
def put_quantity(out: Bytes, to: int, buf: Bytes, spans: Ints, key: int, work: Long, digits: int) -> int:
    """Write a field of type numeric from a QUANTITY of at most `digits` hex digits."""
    start = digits_start(buf, spans, key)
    length = spans[key, 1] - start
    if not 0 < length <= digits:
        raise ValueError("a quantity of no digits, or of more bits than is possible here")
    wrong = np.int16(0)
    words = (length + 7) >> 3
    for word in range(words):
        end = start + length - 8 * word
        value = np.int64(0)
        for i in range(max(start, end - 8), end):
            worth = WORTH[buf[i]]
            wrong |= worth
            value = value << 4 | worth
        work[word] = value
    if wrong < 0:
        raise ValueError("a character that is no hex digit")
    return put_numeric(out, to, work, words)


@compiled
def put_quantity_or_null(out: Bytes, to: int, buf: Bytes, spans: Ints, key: int, work: Long) -> int:
    """Write a field of type numeric, or null where there is none."""
    return put_null(out, to) if spans[key, 0] < 0 else put_quantity(out, to, buf, spans, key, work, 64)


@compiled
def put_word(out: Bytes, to: int, source: Bytes, start: int, work: Long) -> int:
    """Write a field of type numeric from 32 bytes, most significant first."""
    for word in range(LIMBS):
        value = np.int64(0)
        for i in range(start + 28 - 4 * word, start + 32 - 4 * word):
            value = value << 8 | source[i]
        work[word] = value
    return put_numeric(out, to, work, LIMBS)


@compiled
def put_numeric(out: Bytes, to: int, work: Long, words: int) -> int:
    """Write a field of type numeric from the first `words` times 32 bits of `work`, the lowest first; it uses them up.

    Layout: numeric_recv in src/backend/utils/adt/numeric.c: count of digits, weight of the first, sign, scale, and the
    digits to base 10,000.
    """
    count = LIMBS  # digits are kept behind the limbs
    while words and not work[words - 1]:
        words -= 1
    while words:
        rest = np.int64(0)
        for i in range(words - 1, -1, -1):
            value = rest << 32 | work[i]
            work[i] = value // (GROUP * GROUP)
            rest = value - work[i] * (GROUP * GROUP)
        work[count + 1] = rest // GROUP
        work[count] = rest - work[count + 1] * GROUP
        count += 2
        while words and not work[words - 1]:
            words -= 1
    while count > LIMBS and not work[count - 1]:
        count -= 1
    count -= LIMBS
    to = put_int(out, to, 8 + 2 * count)
    to = put_int(out, put_short(out, put_short(out, to, count), max(count - 1, 0)), 0)
    for i in range(LIMBS + count - 1, LIMBS - 1, -1):
        to = put_short(out, to, work[i])
    return to


@compiled
def put_json(out: Bytes, to: int, buf: Bytes, spans: Ints, first: int, letters: Bytes, starts: Long) -> int:
    """Write a field of type json: those fields from `first` on that there are, as the node sent them; null if none."""
    begin, empty = to, True
    to += 4
    for key in range(first, starts.size - 1):
        if spans[key, 0] >= 0:
            out[to], out[to + 1] = ord("{") if empty else ord(","), ord('"')
            to = put_copy(out, to + 2, letters, starts[key], starts[key + 1])
            out[to] = ord(":")
            to = put_copy(out, to + 1, buf, spans[key, 0], spans[key, 1])
            empty = False
    if empty:
        return put_null(out, begin)
    out[to] = ord("}")
    put_int(out, begin, to + 1 - begin - 4)
    return to + 1


@compiled
def same_text(buf: Bytes, spans: Ints, key: int, other: Bytes, start: int, end: int) -> bool:
    """Whether a field's text is the same as another text, letter for letter."""
    first = spans[key, 0]
    if first < 0 or spans[key, 1] - first != end - start:
        return False
    different = U8(0)  # no way out of the loop, so that several letters are compared at a time
    for i in range(end - start):
        different |= buf[first + i] ^ other[start + i]
    return not different
