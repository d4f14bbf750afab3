"""One tree of HTTP errors, one renderer per group of paths.

ApiError
├── BadRequest 400, of which Invalid (fields are named), BadAddress, BadAction
├── Unauthorized 401, of which SignInRequired, KeyRequired · Forbidden 403 · NotFound 404 · Conflict 409
├── TooSlow 408 · Gone 410 · TooLarge 413 · UpgradeRequired 426 · TooManyRequests 429
└── Unavailable 503, of which SwitchedOff, NotCovered
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar, Final, Protocol

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from core.errors import ChainworkdError, Transient

log = logging.getLogger(__name__)

Handler = Callable[[Request, Exception], Awaitable[Response]]

GROUP: Final = "chainworkd.group"  # where a request's scope says which group owns its path


class ApiError(Exception):
    """An answer that is not a success. The message is for the caller: it names the field or the thing.

    `kind` is the same for programs and `details` what they may read; groups whose envelope has no place for these
    leave them out.
    """

    status: int = 500
    kind: ClassVar[str] = "INTERNAL_ERROR"
    headers: Mapping[str, str] = {}
    details: Mapping[str, Any] = {}


class BadRequest(ApiError):
    """The request is malformed; the message says which field, what was expected and what was found."""

    status = 400
    kind = "INVALID_REQUEST"


class Invalid(BadRequest):
    """Fields of the body are wrong; `details` names each by its path."""

    kind = "VALIDATION_ERROR"

    def __init__(self, message: str, details: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.details = details


class BadAddress(BadRequest):
    """What should be an address is none."""

    kind = "INVALID_ADDRESS"


class BadAction(BadRequest):
    """A message asks for something that does not exist."""

    kind = "INVALID_ACTION"


class Unauthorized(ApiError):
    """No valid credentials."""

    status = 401
    kind = "UNAUTHORIZED"
    headers: Mapping[str, str] = {"www-authenticate": "Bearer"}


class SignInRequired(Unauthorized):
    """No session, or no password that is right; HTTP has no scheme to name for cookies."""

    headers: Mapping[str, str] = {}


class KeyRequired(Unauthorized):
    """No API key in its own header, for which HTTP has no scheme to name."""

    headers: Mapping[str, str] = {}


class Forbidden(ApiError):
    """Valid credentials, but not for this."""

    status = 403
    kind = "FORBIDDEN"


class NotFound(ApiError):
    """No such thing, or not indexed (yet)."""

    status = 404
    kind = "NOT_FOUND"


class Conflict(ApiError):
    """The thing has changed since, or exists already."""

    status = 409
    kind = "CONFLICT"


class TooLarge(ApiError):
    """A body that no path here reads; the connection ends, or the rest of it would still arrive."""

    status = 413
    kind = "INVALID_REQUEST"
    headers: Mapping[str, str] = {"connection": "close"}


class TooSlow(ApiError):
    """A body that does not arrive."""

    status = 408
    kind = "INVALID_REQUEST"
    headers: Mapping[str, str] = {"connection": "close"}


class Gone(ApiError):
    """What was asked for was there once and is not kept; the message says where to start over."""

    status = 410
    kind = "GONE"


class UpgradeRequired(ApiError):
    """The path is a WebSocket's."""

    status = 426
    kind = "UPGRADE_REQUIRED"
    headers: Mapping[str, str] = {"upgrade": "websocket", "connection": "Upgrade"}


class TooManyRequests(ApiError):
    """The caller has used up what it may ask in a while; `retry_after_s` says when to come back."""

    status = 429
    kind = "RATE_LIMIT_EXCEEDED"

    def __init__(self, message: str, retry_after_s: int, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.headers = {"retry-after": str(retry_after_s)}
        self.details = details or {}


class Unavailable(ApiError):
    """The service cannot answer now."""

    status = 503
    kind = "SERVICE_UNAVAILABLE"
    headers: Mapping[str, str] = {"retry-after": "1"}


class SwitchedOff(Unavailable):
    """The operator has not set this up: coming back will not help."""

    headers: Mapping[str, str] = {}


class NotCovered(Unavailable):
    """What the answer would be computed from is not stored; the message begins with a word for programs."""

    headers: Mapping[str, str] = {}


class Envelope(msgspec.Struct):
    """What every error answer holds: a text for people, and the status as a string."""

    error: str
    code: str


def envelope(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """Render the seed's envelope: {"error": text, "code": status as a string}."""
    body = msgspec.json.encode(Envelope(message, str(status)))
    return Response(body, status_code=status, headers=headers, media_type="application/json")


class Group(Protocol):
    """Paths with an envelope of their own."""

    def owns(self, path: str) -> bool:
        """Whether an answer under `path` is this group's, be it that there is no such path."""
        ...

    def refusal(self, scope: Scope, error: ApiError) -> Response:
        """Render an error in the group's envelope."""
        ...


class Defect(ApiError):
    """Something of ours is broken; the caller learns nothing about the inside."""

    def __init__(self) -> None:
        super().__init__("internal error")


class Refused(ApiError):
    """What the router or a bound refuses, with the status it has there."""

    kind = "INVALID_REQUEST"

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.headers = headers or {}
        self.status = status


def group_of(groups: Sequence[Group], path: str) -> Group | None:
    """Return which group owns a path, None if none does."""
    return next((group for group in groups if group.owns(path)), None)


def refusal(scope: Scope, error: ApiError) -> Response:
    """Render an error in the envelope of the group that owns the path; the explorer's where none does."""
    group: Group | None = scope.get(GROUP)
    return envelope(error.status, str(error), error.headers) if group is None else group.refusal(scope, error)


async def on_api_error(request: Request, error: Exception) -> Response:
    """Render an ApiError."""
    assert isinstance(error, ApiError)
    return refusal(request.scope, error)


async def on_http_error(request: Request, error: Exception) -> Response:
    """Render what the router refuses: unknown paths and wrong methods."""
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return refusal(request.scope, NotFound(f"no such path: {request.url.path}"))
    if error.status_code == 405:
        allowed = _allowed(request)
        why = f"{request.method[:20]} is not allowed here, {allowed} is"
        return refusal(request.scope, Refused(405, why, {"allow": allowed}))
    return refusal(request.scope, Refused(error.status_code, error.detail))


def _allowed(request: Request) -> str:
    """Return the methods of all routes of a path: each method may be a route of its own."""
    found = [
        each
        for each in request.app.routes
        if isinstance(each, Route) and each.matches(request.scope)[0] is not Match.NONE
    ]
    return ", ".join(sorted({method for each in found for method in each.methods or ()}))


async def on_unavailable(request: Request, error: Exception) -> Response:
    """Render a Transient error: the caller may come back, and learns nothing about the inside."""
    log.warning("request failed", extra={"why": str(error)})
    return refusal(request.scope, Unavailable("temporarily unavailable, try again"))


async def on_defect(request: Request, error: Exception) -> Response:
    """Render anything else: a defect of ours."""
    log.error("request failed", extra={"path": request.url.path}, exc_info=error)
    return refusal(request.scope, Defect())


HANDLERS: dict[type[Exception] | int, Handler] = {
    ApiError: on_api_error,
    HTTPException: on_http_error,
    Transient: on_unavailable,
    ChainworkdError: on_defect,
    Exception: on_defect,
}
