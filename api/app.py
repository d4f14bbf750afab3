"""The Starlette applications: the API that faces clients, and the small one that faces operators."""

import time
from collections.abc import Sequence
from typing import Final

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import GROUP, HANDLERS, Group, Refused, refusal
from core.metrics import Metrics

MAX_BODY_BYTES: Final = 65_536
TEMPLATE: Final = "chainworkd.template"  # where a group writes which of its paths was asked for


# What a page of another origin may send and read.
CORS_SENT: Final = ("authorization", "content-type", "last-event-id", "x-api-key", "x-request-id", "x-trader-address")
CORS_READ: Final = ("retry-after", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "x-request-id")


def application(
    routes: Sequence[BaseRoute], metrics: Metrics, *, cors_origins: Sequence[str] = (), groups: Sequence[Group] = ()
) -> Starlette:
    """Return an application of `routes`, with our error envelopes and request metrics.

    Pages from `cors_origins` may ask with a token; cookies are never sent across origins. Errors under a path that one
    of `groups` owns are rendered by it, all others in the explorer's envelope.
    """
    around = [Middleware(Measured, metrics=metrics)]
    if groups:
        around.append(Middleware(Grouped, groups=groups))
    around.append(Middleware(Bounded))
    if cors_origins:
        around.append(_cors(cors_origins))
    return Starlette(routes=routes, exception_handlers=dict(HANDLERS), middleware=around)


def _cors(origins: Sequence[str]) -> Middleware:
    return Middleware(
        CORSMiddleware, allow_origins=list(origins), allow_methods=["GET", "POST"], allow_headers=list(CORS_SENT),
        expose_headers=list(CORS_READ), max_age=600,
    )  # fmt: skip


class Grouped:
    """Notes which group owns a request's path, so that every refusal on the way has that group's envelope."""

    def __init__(self, app: ASGIApp, groups: Sequence[Group]) -> None:
        self._app = app
        self._groups = tuple(groups)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Note, and answer."""
        for group in self._groups:
            if group.owns(scope.get("path", "")):
                scope[GROUP] = group
                break
        await self._app(scope, receive, send)


class Bounded:
    """Refuses requests that announce a body larger than any path here reads."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse by the announced length; a body without one is never read."""
        announced = Headers(scope=scope).get("content-length", "0") if scope["type"] == "http" else "0"
        if announced.isdecimal() and int(announced[:12]) > MAX_BODY_BYTES:
            too_large = Refused(413, f"body: at most {MAX_BODY_BYTES} bytes, found {announced[:20]}")
            await refusal(scope, too_large)(scope, receive, send)
            return
        await self._app(scope, receive, send)


class Measured:
    """Counts and times requests by route template: a path would make a metric per address."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer and measure."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        streamed = False

        def measure() -> None:
            self._metrics.answered(_template(scope), status, time.perf_counter() - started)

        async def noting(message: Message) -> None:
            nonlocal status, streamed
            if message["type"] == "http.response.start":
                status = message["status"]
                if streamed := _is_stream(message):
                    # How long a stream stays open says nothing of how long it takes to answer.
                    measure()
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            if not streamed:
                measure()


def _is_stream(start: Message) -> bool:
    return any(name == b"content-type" and value.startswith(b"text/event-stream") for name, value in start["headers"])


def _template(scope: Scope) -> str:
    """Return the pattern of the route that the router chose, "unknown" if it chose none."""
    # A group of fixed paths is one route; it says itself which of them was asked for.
    found = scope.get(TEMPLATE) or getattr(scope.get("route"), "path", "")
    return str(found) or "unknown"
