"""What tokens say of themselves, made safe to store and to show. Pure.

ERC-20 asks for strings; tokens from before it (MKR, SAI) answer bytes32, some spell the getters in capitals, and any
contract may answer anything: NUL, invalid UTF-8, megabytes, decimals that no amount can have.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from indexer.decode.words import WORD, Malformed, word

MAX_CHARACTERS: Final = 256
MAX_DECIMALS: Final = 77  # 10**78 exceeds uint256: no amount has more decimals

# First four bytes of keccak-256 of the signature in the comment
GETTERS: Final = (
    bytes.fromhex("95d89b41"),  # symbol()
    bytes.fromhex("06fdde03"),  # name()
    bytes.fromhex("313ce567"),  # decimals()
    bytes.fromhex("f76f8d78"),  # SYMBOL()
    bytes.fromhex("a3f4df7e"),  # NAME()
    bytes.fromhex("2e0f2625"),  # DECIMALS()
)


@dataclass(frozen=True, slots=True)
class Metadata:
    """Symbol, name and decimals; None where the contract does not say, or nothing usable."""

    symbol: str | None
    name: str | None
    decimals: int | None


def metadata(answers: Sequence[bytes | None]) -> Metadata:
    """Read the answers to GETTERS, in their order; None stands for a revert."""
    symbol, name, decimals, upper_symbol, upper_name, upper_decimals = answers
    return Metadata(
        text(symbol) or text(upper_symbol),
        text(name) or text(upper_name),
        _first(whole(decimals), whole(upper_decimals)),
    )


def text(answer: bytes | None) -> str | None:
    """Return a string or bytes32 answer as printable text of at most MAX_CHARACTERS, None if nothing is left."""
    if not answer:
        return None
    raw = answer.rstrip(b"\0") if len(answer) == WORD else _string(answer)
    shown = "".join(c if _printable(c) else " " for c in raw[: 4 * MAX_CHARACTERS].decode("utf-8", "replace"))
    return " ".join(shown.split())[:MAX_CHARACTERS].strip() or None


def whole(answer: bytes | None) -> int | None:
    """Return a uint answer that can be a token's decimals, else None."""
    if answer is None or len(answer) != WORD:
        return None
    value = word(answer, 0)
    return value if value <= MAX_DECIMALS else None


def _string(answer: bytes) -> bytes:
    try:
        offset = word(answer, 0)
        if offset % WORD or offset > len(answer):
            return b""
        length = word(answer, offset // WORD)
    except Malformed:
        return b""
    start = offset + WORD
    return answer[start : start + length] if length <= len(answer) - start else b""


def _printable(character: str) -> bool:
    # Categories C*: control, format (bidirectional overrides that dress one symbol as another), surrogate, unassigned.
    return not unicodedata.category(character).startswith("C")


def _first(one: int | None, other: int | None) -> int | None:
    return one if one is not None else other
