"""Keccak-256 as Ethereum has it (not NIST's SHA3-256). Pure."""

from collections.abc import Callable
from typing import Final

from eth_hash.backends import pysha3

# Named, not left to eth_hash.auto: with pycryptodome installed, as eth-account has it, that one is taken, and it takes
# eight times as long. The backend itself: what eth_hash puts around it takes as long as the hash of an address.
keccak: Final[Callable[[bytes], bytes]] = pysha3.backend.keccak256
