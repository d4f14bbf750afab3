"""Authorisation, in one place: every route names its scope, and a gate lets in who the scope is for.

A route is made by `route(path, endpoint, scope=...)`. An application refuses to be made of any other kind of route,
and of a scope that its gate has no check for. A group that
dispatches by itself is a `ScopedGroup`. A check gets the request and returns who asks (`caller_of`) or raises
an ApiError. Another group adds its scope here and its check where the gate is made (daemon/roles.py).
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Mapping
from enum import Enum
from typing import Any, Final, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Connection
from typing_extensions import override

from accounts.roles import Role
from api.errors import ApiError, NotFound, Refused
from core.errors import BadConfig


class Scope(Enum):
    """Who may ask."""

    PUBLIC = "anybody"
    OPERATIONS = "whoever reaches the port of operations, which is loopback by default"
    API_KEY = "Bearer hc_live_…"
    BUILDER = "anybody, as often as builder.rate_limit_… lets an address: the builder holds nothing of anybody"
    SESSION = "a cookie of a session: auth_token, or the refresh_token for the next one"
    PENDING = "the cookie auth_token"
    OPERATOR = "the cookie auth_token of an OPERATOR or ADMIN"
    ADMIN = "the cookie auth_token of an ADMIN"


SOCKET: Final = "WEBSOCKET"

Endpoint = Callable[[Request], Awaitable[Response]]
Check = Callable[[Request], Awaitable[object]]
T = TypeVar("T")

# The scopes of people, with the role each asks for.
ROLES: Final[Mapping[Scope, Role]] = {
    Scope.PENDING: Role.PENDING,
    Scope.OPERATOR: Role.OPERATOR,
    Scope.ADMIN: Role.ADMIN,
}


class Gate:
    """Knows how each scope is checked."""

    def __init__(self, checks: Mapping[Scope, Check]) -> None:
        self._checks = dict(checks)

    async def admit(self, request: Request, scope: Scope) -> None:
        """Note who asks, or raise an ApiError."""
        request.state.caller = await self._checks[scope](request)

    def require(self, routes: Collection[BaseRoute]) -> None:
        """Raise BadConfig for a route that names no scope, or one that this gate does not open for anybody."""
        for one in routes:
            for (method, path), scope in scopes_of(one).items():
                if scope not in self._checks:
                    raise BadConfig(f"route {method} {path}: scope {scope.name} is not served here")


class ScopedGroup(ABC, BaseRoute):
    """One route of many fixed paths, which dispatches by itself; first it counts the caller and calls `admitted`."""

    @abstractmethod
    def scopes(self) -> Mapping[tuple[str, str], Scope]:
        """Return the scope of each (method, path); SOCKET is the method of WebSockets."""

    async def admitted(self, scope: Connection, receive: Receive) -> None:
        """Let the gate decide; a path that names no scope is nobody's. Raises an ApiError."""
        method, path = scope["method"] if scope["type"] == "http" else SOCKET, scope["path"]
        named = self.scopes().get(("GET" if method == "HEAD" else method, path))
        if named is None:
            raise self._nobodys(method, path)
        gate: Gate = scope["app"].state.gate
        # A socket is opened by a request, which a foreign page can send, too: no safe method.
        asked = scope if scope["type"] == "http" else {**scope, "type": "http", "method": method}
        await gate.admit(Request(asked, receive), named)

    def _nobodys(self, method: str, path: str) -> ApiError:
        allowed = {known for known, where in self.scopes() if where == path and known != SOCKET}
        if method == SOCKET or not allowed:
            return NotFound(f"no such {'WebSocket' if method == SOCKET else 'path'}: {path[:200]}")
        shown = ", ".join(sorted({*allowed, *(["HEAD"] if "GET" in allowed else [])}))
        return Refused(405, f"{method[:20]} is not allowed here, {shown} is", {"allow": shown})


class ScopedRoute(Route):
    """A route that nobody passes but through the application's gate."""

    scope: Scope

    @override
    async def handle(self, scope: Connection, receive: Receive, send: Send) -> None:
        if scope["method"] in (self.methods or ()):
            gate: Gate = scope["app"].state.gate
            await gate.admit(Request(scope, receive), self.scope)
        await super().handle(scope, receive, send)


def route(path: str, endpoint: Endpoint, *, scope: Scope, methods: Collection[str] = ("GET",)) -> Route:
    """Return a route for those that `scope` names."""
    made = ScopedRoute(path, endpoint, methods=methods)
    made.scope = scope
    made.app = _application(endpoint)
    return made


def _application(endpoint: Endpoint) -> ASGIApp:
    """Return what answers by `endpoint`. Errors are rendered around all routes; Starlette's own does so twice."""

    async def app(scope: Connection, receive: Receive, send: Send) -> None:
        response = await endpoint(Request(scope, receive, send))
        await response(scope, receive, send)

    return app


def scopes_of(one: BaseRoute) -> Mapping[tuple[str, str], Scope]:
    """Return the scope of each (method, path) of a route. Raises BadConfig for one that names none."""
    if isinstance(one, ScopedGroup) and one.scopes():
        return one.scopes()
    if isinstance(one, ScopedRoute):
        return {(method, one.path): one.scope for method in one.methods or ()}
    raise BadConfig(f"route {getattr(one, 'path', one)}: names no scope (api/access.py)")


async def anybody(_: Request) -> None:
    """Let everybody in: the check of OPERATIONS, and of PUBLIC where there are no cookies."""


def caller_of(request: Request, kind: type[T]) -> T:
    """Return whom the gate has let in."""
    caller: Any = request.state.caller
    assert isinstance(caller, kind), "the route's scope decides what its endpoint gets"
    return caller
