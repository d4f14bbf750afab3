"""The Starlette applications: the API that faces clients, and the small one that faces operators."""

import time
from collections.abc import Sequence
from typing import Final

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import HANDLERS, envelope
from core.metrics import Metrics

MAX_BODY_BYTES: Final = 65_536


def application(routes: list[Route], metrics: Metrics, *, cors_origins: Sequence[str] = ()) -> Starlette:
    """Return an application of `routes`, with our error envelope and request metrics.

    Pages from `cors_origins` may ask with a token; cookies are never sent across origins.
    """
    around = [Middleware(Measured, metrics=metrics, routes=routes), Middleware(Bounded)]
    if cors_origins:
        around.append(
            Middleware(CORSMiddleware, allow_origins=list(cors_origins), allow_headers=["authorization"], max_age=600)
        )
    return Starlette(routes=routes, exception_handlers=dict(HANDLERS), middleware=around)


class Bounded:
    """Refuses requests that announce a body larger than any path here reads."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse by the announced length; a body without one is never read."""
        announced = Headers(scope=scope).get("content-length", "0") if scope["type"] == "http" else "0"
        if announced.isdecimal() and int(announced[:12]) > MAX_BODY_BYTES:
            refusal = envelope(413, f"body: at most {MAX_BODY_BYTES} bytes, found {announced[:20]}")
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)


class Measured:
    """Counts and times requests by route template: a path would make a metric per address."""

    def __init__(self, app: ASGIApp, metrics: Metrics, routes: list[Route]) -> None:
        self._app = app
        self._metrics = metrics
        self._routes: list[BaseRoute] = list(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer and measure."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            self._metrics.answered(self._template(scope), status, time.perf_counter() - started)

    def _template(self, scope: Scope) -> str:
        for route in self._routes:
            if isinstance(route, Route) and route.matches(scope)[0] is not Match.NONE:
                return route.path
        return "unknown"
