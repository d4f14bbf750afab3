"""A call to a contract, and its encoding from a signature or an ABI entry.

Sources: Solidity contract ABI specification (selectors, argument encoding).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from eth_abi.abi import decode as decode_arguments
from eth_abi.abi import encode as encode_arguments
from eth_abi.grammar import TupleType, parse

from core.keccak import keccak


@dataclass(frozen=True, slots=True)
class Call:
    """What a transaction does: `to` is None for a contract creation, `value` is wei."""

    to: bytes | None
    data: bytes = b""
    value: int = 0


def encode(function: str | Mapping[str, Any], arguments: Sequence[object]) -> bytes:
    """Return selector and arguments, for `transfer(address,uint256)` or the ABI entry of a function.

    Addresses are 20 bytes, structs are tuples. Raises eth_abi.exceptions.EncodingError for arguments that do not fit.
    """
    canonical = function if isinstance(function, str) else signature(function)
    return selector(canonical) + encode_arguments(_types(canonical), arguments)


def decode(canonical: str, data: bytes) -> tuple[Any, ...]:
    """Return the arguments in the calldata of `canonical`, whose selector it has; addresses are 0x-prefixed hex.

    Raises eth_abi.exceptions.DecodingError. What comes after the arguments, and other encodings of them, go unnoticed.
    """
    return tuple(decode_arguments(_types(canonical), data[4:]))


def invoke(to: bytes, function: str | Mapping[str, Any], *arguments: object, value: int = 0) -> Call:
    """Return the call of `function` on the contract at `to`."""
    return Call(to, encode(function, arguments), value)


def create(bytecode: bytes, types: Sequence[str] = (), arguments: Sequence[object] = ()) -> Call:
    """Return the creation of a contract whose constructor takes `arguments` of `types`."""
    return Call(None, bytecode + encode_arguments(types, arguments))


def signature(entry: Mapping[str, Any]) -> str:
    """Return the canonical signature of an ABI entry (function, event or error)."""
    return f"{entry['name']}({','.join(_type(part) for part in entry['inputs'])})"


@cache
def selector(canonical: str) -> bytes:
    """Return the four bytes that name a function or an error."""
    return keccak(canonical.encode())[:4]


@cache
def topic(canonical: str) -> bytes:
    """Return the 32 bytes that name an event in a log's first topic."""
    return keccak(canonical.encode())


def _type(part: Mapping[str, Any]) -> str:
    kind: str = part["type"]
    if not kind.startswith("tuple"):
        return kind
    # "tuple[2][]" keeps its array suffix behind the written-out struct.
    return f"({','.join(_type(inner) for inner in part['components'])}){kind.removeprefix('tuple')}"


@cache
def _types(canonical: str) -> tuple[str, ...]:
    listed = canonical[canonical.index("(") :]
    if listed == "()":  # eth-abi's grammar has no empty tuple
        return ()
    parsed = parse(listed)
    if not isinstance(parsed, TupleType):
        raise ValueError(f"not a function signature: {canonical}")
    return tuple(part.to_type_str() for part in parsed.components)
