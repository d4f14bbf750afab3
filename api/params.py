"""Path and query parameters to values; every refusal names the parameter, what was expected and what was found."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, TypeVar

from starlette.datastructures import QueryParams
from starlette.requests import HTTPConnection

from api.errors import BadRequest
from core.types import U256_MAX

MAX_BLOCK_NUMBER: Final = 2**63 - 2
MAX_PAGE: Final = 1_000_000
SHORT: Final = 512  # bytes of a query that is worth remembering; a client may send 32 kB

Query = Mapping[str, str]  # the parameters of a query string

T = TypeVar("T")


def given(request: HTTPConnection) -> Query:
    """Return the query's parameters; of one that is given twice, the last."""
    return parsed(request.scope["query_string"])


def parsed(query: bytes) -> Query:
    """Return a query string's parameters; of one that is given twice, the last."""
    return _taken_apart(query)[0]


def _taken_apart(query: bytes) -> tuple[Query, Sequence[str]]:
    """Return a query string's parameters, and the names that are given more than once."""
    return _remembered(query) if len(query) <= SHORT else _remembered.__wrapped__(query)


@lru_cache(maxsize=1_024)  # the same few, with page after page
def _remembered(query: bytes) -> tuple[Query, Sequence[str]]:
    found = QueryParams(query)
    times = Counter(name for name, _ in found.multi_items())
    # A dict: Starlette's own mapping raises and catches an error for each name that is not there, and a listing
    # asks for seventeen.
    return dict(found), [name for name, count in times.items() if count > 1]


def refuse_unknown(request: HTTPConnection, known: frozenset[str]) -> None:
    """Raise BadRequest for a query parameter that is not `known`, or given twice."""
    names, repeated = _taken_apart(request.scope["query_string"])
    for name in names:
        if name not in known:
            raise BadRequest(f"{name[:40]}: unknown parameter; known are {', '.join(sorted(known)) or 'none'}")
    for name in repeated:
        raise BadRequest(f"{name}: given more than once")


def integer(query: Query, name: str, *, default: int, low: int, high: int) -> int:
    """Return a query parameter as an integer within `low`..`high`."""
    text = query.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,19}", text, re.ASCII) or not low <= int(text) <= high:
        raise BadRequest(f"{name}: expected an integer from {low} to {high}, found {text[:40]!r}")
    return int(text)


def choice(query: Query, name: str, choices: Mapping[str, T]) -> T | None:
    """Return what a query parameter stands for, None if it is not given."""
    text = query.get(name)
    if text is None:
        return None
    if text not in choices:
        raise BadRequest(f"{name}: expected one of {', '.join(choices)}, found {text[:40]!r}")
    return choices[text]


def optional_address(query: Query, name: str) -> bytes | None:
    """Return a query parameter as an address, None if it is not given."""
    text = query.get(name)
    return None if text is None else address(text, name)


def optional_block(query: Query, name: str) -> int | None:
    """Return a query parameter as a block number, None if it is not given."""
    text = query.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,19}", text, re.ASCII) or int(text) > MAX_BLOCK_NUMBER:
        raise BadRequest(f"{name}: expected a block number, found {text[:40]!r}")
    return int(text)


def moment(query: Query, name: str) -> datetime | None:
    """Return a query parameter as a time; one without a zone is UTC, a date alone its midnight."""
    text = query.get(name)
    if text is None:
        return None
    try:
        # A plus sign in a query string is a space: +02:00 arrives as " 02:00".
        found = datetime.fromisoformat(text.replace(" ", "+") if text.count(":") > 2 else text)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadRequest(f"{name}: expected a time like 2026-04-01T00:00:00Z, found {text[:40]!r}") from None


def ether(query: Query, name: str) -> int | None:
    """Return a query parameter in the native currency as wei, exactly."""
    text = query.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,60}(\.[0-9]{1,18})?", text, re.ASCII):
        raise BadRequest(f"{name}: expected a decimal amount with at most 18 places, found {text[:40]!r}")
    whole, _, fraction = text.partition(".")
    return int(whole) * 10**18 + int(fraction.ljust(18, "0") or "0")


def selector(query: Query, name: str) -> bytes | None:
    """Return a query parameter as the four bytes of a method selector."""
    text = query.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"0[xX][0-9a-fA-F]{8}", text):
        raise BadRequest(f"{name}: expected 0x and 8 hex digits, found {text[:40]!r}")
    return bytes.fromhex(text[2:])


def place(query: Query, name: str) -> tuple[int, int] | None:
    """Return a listing's cursor: block number and transaction index, as answers give them."""
    text = query.get(name)
    if text is None:
        return None
    found = re.fullmatch(r"([0-9]{1,18})-([0-9]{1,9})", text, re.ASCII)
    if found is None:
        raise BadRequest(f"{name}: expected a cursor from an earlier answer, found {text[:40]!r}")
    return int(found[1]), int(found[2])


def block_hash(query: Query, name: str) -> bytes | None:
    """Return a query parameter as a 32-byte hash, None if it is not given."""
    text = query.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"0[xX][0-9a-fA-F]{64}", text):
        raise BadRequest(f"{name}: expected 0x and 64 hex digits, found {text[:80]!r}")
    return bytes.fromhex(text[2:])


def uint256(query: Query, name: str) -> int | None:
    """Return a query parameter as a decimal integer of at most 256 bits, None if it is not given."""
    text = query.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,78}", text, re.ASCII) or int(text) > U256_MAX:
        raise BadRequest(f"{name}: expected a decimal integer below 2**256, found {text[:80]!r}")
    return int(text)


def log_place(text: str, name: str) -> tuple[int, int, bytes]:
    """Return what an id of a log names: block number, log index, first 8 bytes of the block's hash."""
    found = re.fullmatch(r"([0-9]{1,18})-([0-9a-fA-F]{16})-([0-9]{1,9})", text, re.ASCII)
    if found is None:
        raise BadRequest(f"{name}: expected <block>-<16 hex digits>-<log>, found {text[:60]!r}")
    return int(found[1]), int(found[3]), bytes.fromhex(found[2])


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
