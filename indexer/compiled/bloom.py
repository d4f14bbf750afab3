"""The bloom filter of logs (Yellow Paper, section 4.3.1, M3:2048): compiled."""

from typing import Final

from indexer.compiled.native import compiled
from indexer.compiled.rows import U8
from indexer.compiled.scan import Bytes

SIZE: Final = 256  # bytes


@compiled
def set_bits(bloom: Bytes, digest: Bytes) -> None:
    """Set the bits of a word whose hash is `digest`: the low 11 bits of each of its first three pairs of bytes."""
    for pair in range(0, 6, 2):
        bit = (digest[pair] << 8 | digest[pair + 1]) & 2_047
        bloom[SIZE - 1 - (bit >> 3)] |= 1 << (bit & 7)


@compiled
def is_same(bloom: Bytes, other: Bytes) -> bool:
    """Whether two filters are the same."""
    different = U8(0)  # of a byte, so that many are compared at a time
    for i in range(SIZE):
        different = U8(different | U8(bloom[i] ^ other[i]))
    return not different


@compiled
def unite(union: Bytes, other: Bytes) -> None:
    """Add a filter to `union`."""
    for i in range(SIZE):
        union[i] = U8(union[i] | other[i])
