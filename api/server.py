"""An HTTP server as a Service: bound before it starts, stopped with its task."""

import asyncio
import contextlib
import logging
import resource
import socket
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

import uvicorn
from starlette.applications import Starlette
from typing_extensions import override

from api.connection import MAX_CONNECTIONS, bounded
from core.errors import BadConfig
from core.metrics import Metrics

log = logging.getLogger(__name__)

GRACE_S: Final = 5
MAX_MESSAGE_BYTES: Final = 65_536  # of a WebSocket; a longer one ends the connection with code 1009
PING_S: Final = 20.0  # between pings; a peer that does not answer for as long is gone
UNREAD_S: Final = 60  # after this long a connection whose peer does not read is reset by the kernel


def listen(host: str, port: int, setting: str) -> socket.socket:
    """Bind a TCP socket; port 0 takes a free one. Raises BadConfig naming the setting if it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol by name: for a socket of protocol 0 asyncio leaves out TCP_NODELAY, and answers wait 40 ms.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Accepted connections inherit it. Without, what a peer never reads would keep its connection for ever.
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_S * 1000)
    try:
        bound.bind((host, port))
    except (OSError, OverflowError) as error:
        bound.close()
        raise BadConfig(f"{setting}: cannot listen on {host}:{port}: {error}") from error
    bound.listen(1024)
    bound.setblocking(False)
    return bound


def allow_files(wanted: int) -> None:
    """Let this process open so many files, as far as it may: a server that cannot accept keeps everybody waiting."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < wanted:
        log.warning("few open files are allowed (ulimit -Hn)", extra={"allowed": allowed, "wanted": wanted})


def url_of(bound: socket.socket) -> str:
    """Return the http URL of a bound socket."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class HttpServer:
    """Serves `app` on an already bound socket (a Service).

    `app` is one of api.app's. `sockets`: WebSockets, too. `proxies` are addresses or networks whose X-Forwarded-For and
    -Proto are believed; anybody else could claim to be anybody. `most` connections at once: one more ends one that
    waits, or is refused.
    """

    def __init__(
        self,
        app: Starlette,
        bound: socket.socket,
        *,
        name: str,
        sockets: bool = False,
        proxies: Sequence[str] = (),
        most: int = MAX_CONNECTIONS,
    ) -> None:
        self.name = name
        self._socket = bound
        metrics: Metrics = app.state.metrics
        self._config = uvicorn.Config(
            app, http=bounded(most, partial(metrics.turned_away, name)),
            lifespan="off", log_config=None, access_log=False, server_header=False,
            timeout_graceful_shutdown=GRACE_S, timeout_keep_alive=30,
            proxy_headers=bool(proxies), forwarded_allow_ips=list(proxies),
            ws="websockets-sansio" if sockets else "none", ws_max_size=MAX_MESSAGE_BYTES, ws_ping_interval=PING_S,
            ws_ping_timeout=PING_S,
            # Messages are small and answers urgent; deflating costs more than the bytes it saves.
            ws_per_message_deflate=False,
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
