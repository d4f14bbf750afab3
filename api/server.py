"""An HTTP server as a Service: bound before it starts, stopped with its task."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Final

import uvicorn
from starlette.applications import Starlette
from typing_extensions import override

from api.connection import BoundedConnection
from core.errors import BadConfig

GRACE_S: Final = 5


def listen(host: str, port: int, setting: str) -> socket.socket:
    """Bind a TCP socket; port 0 takes a free one. Raises BadConfig naming the setting if it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except (OSError, OverflowError) as error:
        bound.close()
        raise BadConfig(f"{setting}: cannot listen on {host}:{port}: {error}") from error
    bound.listen(1024)
    bound.setblocking(False)
    return bound


def url_of(bound: socket.socket) -> str:
    """Return the http URL of a bound socket."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class HttpServer:
    """Serves `app` on an already bound socket (a Service)."""

    def __init__(self, app: Starlette, bound: socket.socket, *, name: str) -> None:
        self.name = name
        self._socket = bound
        self._config = uvicorn.Config(
            app, http=BoundedConnection, ws="none", lifespan="off", log_config=None, access_log=False,
            server_header=False, timeout_graceful_shutdown=GRACE_S, timeout_keep_alive=30,
        )  # fmt: skip

    async def run(self) -> None:
        """Serve until cancelled, then let running requests end within a few seconds."""
        server = _Server(self._config)
        serving = asyncio.create_task(server.serve(sockets=[self._socket]), name=f"{self.name}.serve")
        try:
            await asyncio.shield(serving)
        finally:
            server.should_exit = True
            with contextlib.suppress(asyncio.CancelledError):
                await serving


class _Server(uvicorn.Server):
    """A server that leaves signals to the supervisor: uvicorn's own handler ends the process under its siblings."""

    @contextlib.contextmanager
    @override
    def capture_signals(self) -> Iterator[None]:
        yield
