"""JSON bodies to values. How large and how slow a body may be is bounded below the routes (api/app.py)."""

from typing import Final, TypeVar

import msgspec
from starlette.requests import Request

from api.errors import BadRequest

MAX_DEPTH: Final = 32

T = TypeVar("T", bound=msgspec.Struct)


async def json_of(request: Request, kind: type[T]) -> T:
    """Return the body as a `kind`; unknown fields of it are refused if it says so. Raises BadRequest."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        # Also what a foreign page cannot send without asking first (Fetch, CORS-safelisted request headers).
        raise BadRequest(f"content-type: expected application/json, found {media[:60]!r}")
    body = await request.body()
    # Counting is free, looking at each byte is not: 10 ms for the largest body.
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and depth(body) > MAX_DEPTH:
        raise BadRequest(f"body: nested deeper than {MAX_DEPTH}")
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise BadRequest(f"body: {error}") from None


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
