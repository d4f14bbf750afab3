"""Addresses as people read them: EIP-55 checksums. Pure."""

from eth_hash.auto import keccak


def checksum(address: bytes) -> str:
    """Return the mixed-case form of an address (EIP-55)."""
    text = address.hex()
    digest = keccak(text.encode()).hex()
    return "0x" + "".join(c.upper() if d >= "8" else c for c, d in zip(text, digest, strict=False))
