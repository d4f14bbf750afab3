"""Addresses as people read them: EIP-55 checksums. Pure."""

from functools import lru_cache
from typing import Final

from core.keccak import keccak

_ONES: Final = int.from_bytes(b"\x01" * 40)  # the lowest bit of each of 40 characters


@lru_cache(maxsize=65_536)  # 16 MB: a few thousand addresses are in most transactions
def checksum(address: bytes) -> str:
    """Return the mixed-case form of an address (EIP-55).

    All 40 characters at once, for one by one took most of an answer's time: letters have bit 6 set in ASCII, and a
    digit of the hash is 8 or more if it is a letter or has bit 3 set.
    """
    lower = address.hex().encode()
    text, digest = int.from_bytes(lower), int.from_bytes(keccak(lower).hex()[:40].encode())
    upper = (digest >> 3 | digest >> 6) & (text >> 6) & _ONES
    return "0x" + (text - (upper << 5)).to_bytes(40).decode()
