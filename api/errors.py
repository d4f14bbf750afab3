"""One tree of HTTP errors, one renderer per group of paths.

ApiError
├── BadRequest 400 · Unauthorized 401 · Forbidden 403 · NotFound 404 · Conflict 409 · TooLarge 413 · TooSlow 408
├── TooManyRequests 429
└── Unavailable 503
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import ClassVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from core.errors import ChainworkdError, Transient

log = logging.getLogger(__name__)

Handler = Callable[[Request, Exception], Awaitable[Response]]


class ApiError(Exception):
    """An answer that is not a success. The message is for the caller: it names the field or the thing."""

    status: ClassVar[int] = 500
    headers: Mapping[str, str] = {}


class BadRequest(ApiError):
    """The request is malformed; the message says which field, what was expected and what was found."""

    status = 400


class Unauthorized(ApiError):
    """No valid credentials."""

    status = 401

    def __init__(self, message: str, scheme: str = "Bearer") -> None:
        super().__init__(message)
        self.headers = {"www-authenticate": scheme} if scheme else {}


class Forbidden(ApiError):
    """Valid credentials, but not for this."""

    status = 403


class NotFound(ApiError):
    """No such thing, or not indexed (yet)."""

    status = 404


class Conflict(ApiError):
    """The thing has changed since."""

    status = 409


class TooLarge(ApiError):
    """A body that no path here reads; the connection ends, or the rest of it would still arrive."""

    status = 413
    headers: Mapping[str, str] = {"connection": "close"}


class TooSlow(ApiError):
    """A body that does not arrive."""

    status = 408
    headers: Mapping[str, str] = {"connection": "close"}


class TooManyRequests(ApiError):
    """The caller has used up what it may ask in a while; `retry_after_s` says when to come back."""

    status = 429

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.headers = {"retry-after": str(retry_after_s)}


class Unavailable(ApiError):
    """The service cannot answer now."""

    status = 503
    headers: Mapping[str, str] = {"retry-after": "1"}


class Envelope(msgspec.Struct):
    """What every error answer holds: a text for people, and the status as a string."""

    error: str
    code: str


def envelope(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """Render the seed's envelope: {"error": text, "code": status as a string}."""
    body = msgspec.json.encode(Envelope(message, str(status)))
    return Response(body, status_code=status, headers=headers, media_type="application/json")


async def on_api_error(_: Request, error: Exception) -> Response:
    """Render an ApiError."""
    assert isinstance(error, ApiError)
    return envelope(error.status, str(error), error.headers)


async def on_http_error(request: Request, error: Exception) -> Response:
    """Render what the router refuses: unknown paths and wrong methods."""
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return envelope(404, f"no such path: {request.url.path}")
    if error.status_code == 405:
        allowed = _allowed(request)
        return envelope(405, f"{request.method} is not allowed here, {allowed} is", {"allow": allowed})
    return envelope(error.status_code, error.detail)


def _allowed(request: Request) -> str:
    """Return the methods of all routes of a path: each method may be a route of its own."""
    found = [route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE]
    return ", ".join(sorted({method for route in found for method in route.methods}))


async def on_unavailable(_: Request, error: Exception) -> Response:
    """Render a Transient error: the caller may come back, and learns nothing about the inside."""
    log.warning("request failed", extra={"why": str(error)})
    return envelope(503, "temporarily unavailable, try again", {"retry-after": "1"})


async def on_defect(request: Request, error: Exception) -> Response:
    """Render anything else: a defect of ours."""
    log.error("request failed", extra={"path": request.url.path}, exc_info=error)
    return envelope(500, "internal error")


HANDLERS: dict[type[Exception] | int, Handler] = {
    ApiError: on_api_error,
    HTTPException: on_http_error,
    Transient: on_unavailable,
    ChainworkdError: on_defect,
    Exception: on_defect,
}
