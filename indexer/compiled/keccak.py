"""Keccak-256, several messages side by side: compiled.

Sources: the Keccak reference, version 3.0, and FIPS 202 for the permutation; Ethereum pads as the reference does, with
one bit, not as SHA-3. One permutation works on LANES messages at once, the word of each beside that of the others,
so that the compiler keeps them in one vector register: with AVX-512VL 80 to 130 ns a message on a machine where C,
one message at a time, takes 500.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from indexer.compiled.native import compiled
from indexer.compiled.scan import Bytes, Ints

Words = npt.NDArray[np.uint64]
Word = np.uint64

LANES: Final = 4  # 8 and 16 were slower: their states do not stay in registers
STATE: Final = 25 * LANES  # words of 64 bits
RATE: Final = 136  # bytes of a message that go into the state before it is permuted
FREE: Final = -1  # a lane without a message
U64: Final = np.uint64


def _round_constants() -> list[int]:
    """Return the 24 constants: bits of a shift register, at 2^j - 1 (Keccak reference, section 1.2)."""
    register, constants = 1, []
    for _ in range(24):
        constants.append(0)
        for j in range(7):
            constants[-1] |= (register & 1) << ((1 << j) - 1)
            register = register << 1 ^ (0x171 if register & 0x80 else 0)
    return constants


ROUNDS: Final = np.array(_round_constants(), U64)


@compiled
def turned(word: Word, by: int) -> Word:
    """Return a word with its bits moved up in a circle."""
    return word << U64(by) | word >> U64(64 - by)


@compiled
def put_plane(state: Words, at: int, x0: Word, x1: Word, x2: Word, x3: Word, x4: Word) -> None:
    """Write five words of one lane from `at` on, each mixed with the next two (chi)."""
    state[at] = x0 ^ ~x1 & x2
    state[at + LANES] = x1 ^ ~x2 & x3
    state[at + 2 * LANES] = x2 ^ ~x3 & x4
    state[at + 3 * LANES] = x3 ^ ~x4 & x0
    state[at + 4 * LANES] = x4 ^ ~x0 & x1


@compiled
def plane(state: Words, at: int) -> tuple[Word, Word, Word, Word, Word]:
    """Return the five words of one lane from `at` on."""
    return state[at], state[at + LANES], state[at + 2 * LANES], state[at + 3 * LANES], state[at + 4 * LANES]


@compiled
def permute(state: Words) -> None:
    """Permute all lanes: word (x, y) of a lane is at (5 y + x) LANES + lane."""
    for constant in ROUNDS:
        for lane in range(LANES):
            a0, a1, a2, a3, a4 = plane(state, lane)
            b0, b1, b2, b3, b4 = plane(state, lane + 5 * LANES)
            c0, c1, c2, c3, c4 = plane(state, lane + 10 * LANES)
            d0, d1, d2, d3, d4 = plane(state, lane + 15 * LANES)
            e0, e1, e2, e3, e4 = plane(state, lane + 20 * LANES)
            p0, p1, p2, p3, p4 = (
                a0 ^ b0 ^ c0 ^ d0 ^ e0, a1 ^ b1 ^ c1 ^ d1 ^ e1, a2 ^ b2 ^ c2 ^ d2 ^ e2, a3 ^ b3 ^ c3 ^ d3 ^ e3,
                a4 ^ b4 ^ c4 ^ d4 ^ e4,
            )  # fmt: skip
            t0, t1, t2 = p4 ^ turned(p1, 1), p0 ^ turned(p2, 1), p1 ^ turned(p3, 1)
            t3, t4 = p2 ^ turned(p4, 1), p3 ^ turned(p0, 1)
            put_plane(
                state, lane, a0 ^ t0, turned(b1 ^ t1, 44), turned(c2 ^ t2, 43), turned(d3 ^ t3, 21), turned(e4 ^ t4, 14)
            )
            state[lane] ^= constant
            put_plane(
                state, lane + 5 * LANES, turned(a3 ^ t3, 28), turned(b4 ^ t4, 20), turned(c0 ^ t0, 3),
                turned(d1 ^ t1, 45), turned(e2 ^ t2, 61),
            )  # fmt: skip
            put_plane(
                state, lane + 10 * LANES, turned(a1 ^ t1, 1), turned(b2 ^ t2, 6), turned(c3 ^ t3, 25),
                turned(d4 ^ t4, 8), turned(e0 ^ t0, 18),
            )  # fmt: skip
            put_plane(
                state, lane + 15 * LANES, turned(a4 ^ t4, 27), turned(b0 ^ t0, 36), turned(c1 ^ t1, 10),
                turned(d2 ^ t2, 15), turned(e3 ^ t3, 56),
            )  # fmt: skip
            put_plane(
                state, lane + 20 * LANES, turned(a2 ^ t2, 62), turned(b3 ^ t3, 55), turned(c4 ^ t4, 39),
                turned(d0 ^ t0, 41), turned(e1 ^ t1, 2),
            )  # fmt: skip


@compiled
def word_at(buf: Bytes, at: int) -> Word:
    """Return eight bytes as a word, the lowest first; the compiler makes one load of it."""
    return (
        U64(buf[at]) | U64(buf[at + 1]) << U64(8) | U64(buf[at + 2]) << U64(16) | U64(buf[at + 3]) << U64(24)
        | U64(buf[at + 4]) << U64(32) | U64(buf[at + 5]) << U64(40) | U64(buf[at + 6]) << U64(48)
        | U64(buf[at + 7]) << U64(56)
    )  # fmt: skip


@compiled
def absorb(state: Words, lane: int, buf: Bytes, at: int, end: int) -> bool:
    """Put up to RATE bytes into a lane, and the padding if they are the message's last; return whether they are."""
    left = end - at
    if left >= RATE:
        for word in range(RATE // 8):
            state[word * LANES + lane] ^= word_at(buf, at + 8 * word)
        return False
    words = left >> 3
    for word in range(words):
        state[word * LANES + lane] ^= word_at(buf, at + 8 * word)
    last = U64(1)
    for i in range(end - 1, at + 8 * words - 1, -1):
        last = last << U64(8) | U64(buf[i])
    state[words * LANES + lane] ^= last
    state[(RATE // 8 - 1) * LANES + lane] ^= U64(1 << 63)
    return True


@compiled
def put_digest(digest: Bytes, state: Words, lane: int) -> None:
    """Write the 32 bytes that a lane holds after its last permutation."""
    for word in range(4):
        value = state[word * LANES + lane]
        for i in range(8):
            digest[8 * word + i] = value >> U64(8 * i) & U64(255)


@compiled
def hash_all(buf: Bytes, messages: Ints, first: int, end: int, digests: Bytes, state: Words, lanes: Ints) -> None:
    """Hash messages `first` to before `end`, each from and to a place in `buf`, into their rows of `digests`.

    `state` has room for STATE words, `lanes` for LANES rows of (message, place). A lane that has ended its message
    takes the next one, so long ones and short ones cost what they are long.
    """
    following, busy = first, 0
    lanes[:, 0] = FREE
    while following < end or busy:
        for lane in range(LANES):
            if lanes[lane, 0] == FREE and following < end:
                lanes[lane, 0], lanes[lane, 1] = following, messages[following, 0]
                for word in range(25):
                    state[word * LANES + lane] = 0
                following, busy = following + 1, busy + 1
        done = 0  # a bit for each lane
        for lane in range(LANES):
            message, at = lanes[lane, 0], lanes[lane, 1]
            if message != FREE:
                done |= int(absorb(state, lane, buf, at, messages[message, 1])) << lane
                lanes[lane, 1] = at + RATE
        permute(state)
        for lane in range(LANES):
            if done >> lane & 1:
                put_digest(digests[lanes[lane, 0]], state, lane)
                lanes[lane, 0], busy = FREE, busy - 1
