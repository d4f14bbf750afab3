"""The two hex encodings of JSON-RPC, DATA and QUANTITY (execution-apis), both ways. Pure."""

import binascii

from core.errors import BadAnswer
from core.types import U256_MAX


def to_hex(value: bytes) -> str:
    """Return 0x-prefixed lower-case hex (the DATA encoding of the execution-apis)."""
    return "0x" + value.hex()


def to_quantity(value: int) -> str:
    """Return the QUANTITY encoding: 0x-prefixed, no leading zeros."""
    return hex(value)


def from_hex(text: str, size: int | None = None) -> bytes:
    """Return the bytes of DATA `text`; `size` demands that many. Raises BadAnswer."""
    if text[:2] != "0x":
        raise BadAnswer(f"hex data without 0x: {text[:20]!r}")
    try:
        value = binascii.unhexlify(text[2:])
    except (binascii.Error, ValueError) as error:
        raise BadAnswer(f"not hex data: {text[:20]!r}: {error}") from None
    if size is not None and len(value) != size:
        raise BadAnswer(f"expected {size} bytes, found {len(value)}: {text[:20]!r}…")
    return value


def from_quantity(text: str, limit: int = U256_MAX) -> int:
    """Return the integer of QUANTITY `text`, at most `limit`. Raises BadAnswer."""
    if text[:2] != "0x" or len(text) < 3 or not text[2:].isalnum():
        raise BadAnswer(f"not a hex quantity: {text[:20]!r}")
    try:
        value = int(text, 16)
    except ValueError:
        raise BadAnswer(f"not a hex quantity: {text[:20]!r}") from None
    if value > limit:
        raise BadAnswer(f"quantity {text[:80]} exceeds {limit:#x}")
    return value
