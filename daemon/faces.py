"""What the API process serves to clients and to operators."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from starlette.routing import BaseRoute

from api.app import application
from api.limits import Budget, RateLimiter
from api.routes.builder import Builder
from api.routes.explorer import Explorer
from api.routes.operations import probes, status_page
from api.server import HttpServer
from core import systemd
from core.metrics import Metrics
from core.service import Service
from core.settings import Settings
from core.store.pool import Pool, open_pool
from daemon.builder import builder_of
from daemon.processes import Sockets
from daemon.readiness import readiness_of

LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


@asynccontextmanager
async def api_services(
    settings: Settings, url: str, sockets: Sockets, metrics: Metrics
) -> AsyncIterator[Sequence[Service]]:
    """Build the services of the API process on a pool that reads chain tables; `metrics` is what it exports."""
    timeout = settings.database.statement_timeout_s
    size = settings.database.api_connections
    async with (
        open_pool(url, role="chainworkd_api", size=size, statement_timeout_s=timeout) as pool,
        builder_of(settings, metrics) as builder,
    ):
        yield [*_api(settings, pool, metrics, sockets, builder.groups), *builder.services]


def _api(
    settings: Settings, pool: Pool, metrics: Metrics, sockets: Sockets, groups: Sequence[Builder]
) -> Sequence[Service]:
    readiness = readiness_of(settings, pool)
    symbols: Mapping[str, str] = {name: chain.native_symbol for name, chain in settings.chains.items()}
    explorer = Explorer(
        pool, readiness, default_chain=settings.explorer_chain, native_symbols=symbols,
        public_url=settings.api.public_url, limiter=RateLimiter(Budget(settings.api.rate_limit)),
    )  # fmt: skip
    public: list[BaseRoute] = [*groups, *explorer.routes()]
    page = status_page(pool, readiness)
    if settings.api.host in LOOPBACK:
        # A newcomer opens the API's address first. Off loopback the page stays on the operators' port.
        public = [*public, *page]
    assert sockets.api is not None, "bind gives the api role its socket"
    face = application(public, metrics, cors_origins=settings.api.cors_origins, groups=groups)
    proxies = settings.api.trusted_proxies
    return [
        HttpServer(face, sockets.api, name="api", sockets=bool(groups), proxies=proxies),
        HttpServer(application([*probes(metrics, readiness), *page], metrics), sockets.ops, name="ops.api"),
        systemd.Announcer(),
    ]
