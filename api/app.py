"""The Starlette applications: the API that faces clients, and the small one that faces operators."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.access import Gate
from api.errors import HANDLERS, TooLarge, TooSlow, envelope
from core.metrics import Metrics

MAX_BODY_BYTES: Final = 65_536
BODY_S: Final = 10.0
_TOO_LARGE: Final = f"body: at most {MAX_BODY_BYTES} bytes"


def application(routes: list[Route], metrics: Metrics, *, gate: Gate, cors_origins: Sequence[str] = ()) -> Starlette:
    """Return an application of `routes` behind `gate`, with our error envelope and request metrics.

    Pages from `cors_origins` may ask with a token; cookies are never sent across origins. Raises BadConfig for a route
    whose scope the gate does not know.
    """
    gate.require(routes)
    around = [Middleware(Measured, metrics=metrics, routes=routes), Middleware(Bounded)]
    if cors_origins:
        around.append(
            Middleware(CORSMiddleware, allow_origins=list(cors_origins), allow_headers=["authorization"], max_age=600)
        )
    made = Starlette(routes=routes, exception_handlers=dict(HANDLERS), middleware=around)
    made.state.gate = gate
    return made


class Bounded:
    """Bounds what a request's body may take: bytes, announced or not, and time."""

    def __init__(self, app: ASGIApp, *, body_s: float = BODY_S) -> None:
        self._app = app
        self._body_s = body_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse by the announced length."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        if announced.isdecimal() and int(announced[:12]) > MAX_BODY_BYTES:
            refusal = envelope(413, f"{_TOO_LARGE}, found {announced[:20]}", TooLarge.headers)
            await refusal(scope, receive, send)
            return
        await self._app(scope, self._counted(receive), send)

    def _counted(self, receive: Receive) -> Receive:
        """Return a `receive` that raises TooLarge or TooSlow into whoever reads the body."""
        clock = asyncio.get_running_loop().time
        until = clock() + self._body_s
        count, more = 0, True

        async def counted() -> Message:
            nonlocal count, more
            if not more:  # what is left is the wait for the caller to hang up
                return await receive()
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError:
                raise TooSlow(f"body: not here within {self._body_s:g} s") from None
            count += len(message.get("body", b""))
            more = message["type"] == "http.request" and message.get("more_body", False)
            if count > MAX_BODY_BYTES:
                raise TooLarge(_TOO_LARGE)
            return message

        return counted


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
