"""Path and query parameters to values; every refusal names the parameter, what was expected and what was found."""

import re
from typing import Final

from starlette.requests import Request

from api.errors import BadRequest

MAX_BLOCK_NUMBER: Final = 2**63 - 2
MAX_PAGE: Final = 1_000_000


def refuse_unknown(request: Request, known: frozenset[str]) -> None:
    """Raise BadRequest for a query parameter that is not `known`, or given twice."""
    for name in request.query_params:
        if name not in known:
            raise BadRequest(f"{name[:40]}: unknown parameter; known are {', '.join(sorted(known)) or 'none'}")
        if len(request.query_params.getlist(name)) > 1:
            raise BadRequest(f"{name}: given more than once")


def integer(request: Request, name: str, *, default: int, low: int, high: int) -> int:
    """Return a query parameter as an integer within `low`..`high`."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,19}", text, re.ASCII) or not low <= int(text) <= high:
        raise BadRequest(f"{name}: expected an integer from {low} to {high}, found {text[:40]!r}")
    return int(text)


def address(text: str, name: str) -> bytes:
    """Return a 20-byte address given in any case."""
    if not re.fullmatch(r"0[xX][0-9a-fA-F]{40}", text):
        raise BadRequest(f"{name}: expected 0x and 40 hex digits, found {text[:80]!r}")
    return bytes.fromhex(text[2:])


def tx_hash(text: str) -> bytes:
    """Return a 32-byte transaction hash given in any case."""
    if not re.fullmatch(r"0[xX][0-9a-fA-F]{64}", text):
        raise BadRequest(f"hash: expected 0x and 64 hex digits, found {text[:80]!r}")
    return bytes.fromhex(text[2:])


def block_number(text: str) -> int | None:
    """Return a block number, or None for `latest`."""
    if text == "latest":
        return None
    if not re.fullmatch(r"[0-9]{1,19}", text, re.ASCII) or int(text) > MAX_BLOCK_NUMBER:
        raise BadRequest(f"block_number: expected a decimal number or latest, found {text[:40]!r}")
    return int(text)
