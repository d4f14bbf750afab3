"""Addresses as people read them: EIP-55 checksums. Pure."""

from functools import lru_cache

from eth_hash.auto import keccak


@lru_cache(maxsize=20_000)  # an answer has many, most of them often: a hash takes longer than all else
def checksum(address: bytes) -> str:
    """Return the mixed-case form of an address (EIP-55)."""
    text = address.hex()
    digest = keccak(text.encode()).hex()
    return "0x" + "".join(c.upper() if d >= "8" else c for c, d in zip(text, digest, strict=False))
