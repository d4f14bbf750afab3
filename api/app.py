"""The Starlette applications: the API that faces clients, and the small one that faces operators."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.access import Gate
from api.errors import GROUP, HANDLERS, Group, TooLarge, TooSlow, group_of, refusal
from core.metrics import Metrics

MAX_BODY_BYTES: Final = 65_536
BODY_S: Final = 10.0
TEMPLATE: Final = "chainworkd.template"  # where a group writes which of its paths was asked for
_TOO_LARGE: Final = f"body: at most {MAX_BODY_BYTES} bytes"

# What a page of another origin may send and read.
CORS_SENT: Final = ("authorization", "content-type", "last-event-id", "x-api-key", "x-request-id", "x-trader-address")
CORS_READ: Final = ("retry-after", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "x-request-id")


def application(
    routes: Sequence[BaseRoute],
    metrics: Metrics,
    *,
    gate: Gate,
    cors_origins: Sequence[str] = (),
    groups: Sequence[Group] = (),
) -> Starlette:
    """Return an application of `routes` behind `gate`, with our error envelopes and request metrics.

    Pages from `cors_origins` may ask with a token; cookies are never sent across origins. Errors under a path that one
    of `groups` owns are rendered by it, all others in the explorer's envelope. Raises BadConfig for a route whose scope
    the gate does not know.
    """
    gate.require(routes)
    around = [Middleware(Measured, metrics=metrics)]
    if groups:
        around.append(Middleware(Grouped, groups=groups))
    around.append(Middleware(Bounded))
    if cors_origins:
        around.append(_cors(cors_origins))
    made = Starlette(routes=routes, exception_handlers=dict(HANDLERS), middleware=around)
    # A path with a slash too many is not found: a redirect would send a body, with a password in it, to the address
    # and scheme that the request claims.
    made.router.redirect_slashes = False
    made.state.gate = gate
    made.state.groups = tuple(groups)
    made.state.metrics = metrics
    return made


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
        group = group_of(self._groups, scope.get("path", ""))
        if group is not None:
            scope[GROUP] = group
        await self._app(scope, receive, send)


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
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if announced.isdigit() and int(announced[:12]) > MAX_BODY_BYTES:
            too_large = TooLarge(f"{_TOO_LARGE}, found {announced[:20].decode()}")
            await refusal(scope, too_large)(scope, receive, send)
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
