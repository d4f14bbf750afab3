"""Keccak-256 as Ethereum has it (not NIST's SHA3-256). Pure."""

from typing import Final

from eth_hash.backends import pysha3
from eth_hash.main import Keccak256

# Named, not left to eth_hash.auto: with pycryptodome installed, as eth-account has it, that one is taken, and it takes
# eight times as long.
keccak: Final = Keccak256(pysha3.backend)
