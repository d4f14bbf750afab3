"""JSON bodies to values. How large and how slow a body may be is bounded below the routes (api/app.py)."""

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final, NoReturn, TypeVar

import msgspec
from starlette.requests import Request

from api.errors import BadRequest

MAX_DEPTH: Final = 32

T = TypeVar("T", bound=msgspec.Struct)


async def json_of(request: Request, kind: type[T]) -> T:
    """Return the body as a `kind`; unknown fields of it are refused if it says so. Raises BadRequest."""
    try:
        return msgspec.json.decode(await _json(request), type=kind)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise BadRequest(f"body: {error}") from None


async def object_of(request: Request) -> dict[str, Any]:
    """Return the body's fields; a number is an int, or a Decimal of the digits that were sent.

    Raises BadRequest for what is no object, and for a field that is given twice.
    """
    body = await _json(request)
    try:
        found = json.loads(
            body.decode(), object_pairs_hook=_once, parse_float=Decimal, parse_constant=_no_number
        )  # fmt: skip
    except (ValueError, ArithmeticError) as error:
        raise BadRequest(f"body: {error if isinstance(error, ValueError) else 'a number beyond all bounds'}") from None
    if not isinstance(found, dict):
        raise BadRequest(f"body: expected an object, found {type(found).__name__}")
    return found


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        shown = ascii(name)[1:-1][:60]
        if not name.isascii():  # half of a surrogate pair would be in no answer
            raise BadRequest(f"{shown}: no such field")
        if name in found:
            raise BadRequest(f"{shown}: given more than once")
        found[name] = value
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


async def _json(request: Request) -> bytes:
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        # Also what a foreign page cannot send without asking first (Fetch, CORS-safelisted request headers).
        raise BadRequest(f"content-type: expected application/json, found {media[:60]!r}")
    body = await request.body()
    # Counting is free, looking at each byte is not: 10 ms for the largest body.
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and depth(body) > MAX_DEPTH:
        raise BadRequest(f"body: nested deeper than {MAX_DEPTH}")
    return body


async def nothing(request: Request) -> None:
    """Accept no body, or an empty object. Raises BadRequest."""
    if (await request.body()).strip() not in (b"", b"{}"):
        raise BadRequest("body: expected none")


def depth(body: bytes) -> int:
    """Return how deep brackets outside of strings are nested; a bound for what is no JSON. Pure."""
    deepest = level = 0
    quoted = escaped = False
    for byte in body:
        if quoted:
            quoted, escaped = escaped or byte != 0x22, not escaped and byte == 0x5C
        elif byte == 0x22:
            quoted = True
        elif byte in b"[{":
            level += 1
            deepest = max(deepest, level)
        elif byte in b"]}":
            level -= 1
    return deepest
