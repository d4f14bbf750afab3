"""One process each: which services it runs, with which rights in the database, on which sockets."""

import logging
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final, Literal

from accounts import sessions
from accounts.passwords import Passwords, owasp
from api.access import Gate, Scope, anybody
from api.app import application
from api.readiness import Readiness
from api.routes.builder import Builder
from api.routes.operations import probes, status_page
from api.server import HttpServer, allow_files, listen, url_of
from core import systemd
from core.chores import Chore, Chores
from core.clock import SystemClock
from core.errors import BadConfig
from core.metrics import Metrics
from core.service import Service
from core.settings import Settings
from core.store.pool import Pool, open_pool
from core.store.space import GB, free_space
from daemon.builder import builder_of
from daemon.chains import Build, ChainServices, Disk, backfill_services, head_services, watch_vaults
from daemon.faces import client_face

log = logging.getLogger(__name__)

Role = Literal["indexer", "backfill", "api"]
ROLES: Final[tuple[Role, ...]] = ("indexer", "backfill", "api")
# systemd units and database roles exist for these; the services arrive with droids and payments.
OTHER_FILES: Final = 512  # beside clients: the database, nodes, the operators' port, libraries
NOT_YET: Final = ("worker", "sender")


@dataclass(frozen=True, slots=True)
class Sockets:
    """Bound sockets of one process: `ops` for probes, `api` for clients where it has any."""

    ops: socket.socket
    api: socket.socket | None = None

    def close(self) -> None:
        """Close both."""
        for bound in (self.ops, self.api):
            if bound is not None:
                bound.close()


def bind(settings: Settings, role: Role) -> Sockets:
    """Bind what `role` listens on, and log where. Raises BadConfig naming the setting whose port is taken."""
    ops = settings.ops
    port = {"indexer": ops.indexer_port, "backfill": ops.backfill_port, "api": ops.api_port}[role]
    probing = listen(ops.host, port, f"ops.{role}_port")
    if role != "api":
        return Sockets(probing)
    allow_files(settings.api.max_connections + OTHER_FILES)
    try:
        return Sockets(probing, listen(settings.api.host, settings.api.port, "api.port"))
    except BadConfig:
        probing.close()
        raise


def announce(role: Role, bound: Sockets) -> None:
    """Log where `role` listens: with port 0 the log is the only place that tells."""
    for face, one in (("ops", bound.ops), ("api", bound.api)):
        if one is not None:
            log.info("listening", extra={"role": role, "face": face, "url": url_of(one)})


def require_chains(settings: Settings) -> None:
    """Raise BadConfig if there is nothing to follow: before a server is started for it."""
    if not settings.chains:
        raise BadConfig("chains: none is configured; set CHAINWORKD_RPC_URL or add [chains.<name>] with http")


@asynccontextmanager
async def services_of(
    role: Role, settings: Settings, url: str, sockets: Sockets, metrics: Metrics
) -> AsyncIterator[Sequence[Service]]:
    """Build the services of one process on a pool that may do what the role may; `metrics` is what it exports."""
    if role == "api":
        timeout = settings.database.statement_timeout_s
        size = settings.database.api_connections
        async with (
            open_pool(url, role="chainworkd_api", size=size, statement_timeout_s=timeout) as pool,
            builder_of(settings, metrics) as builder,
        ):
            with closing(Passwords(owasp())) as passwords:
                yield [
                    *_api(settings, pool, metrics, sockets, passwords=passwords, groups=builder.groups),
                    *builder.services,
                ]
        return
    async with open_pool(url, role="chainworkd_indexer", size=settings.database.indexer_connections) as pool:
        prepare = watch_vaults if role == "indexer" else None
        require_chains(settings)
        build: Build = head_services
        if role == "backfill":
            build = partial(
                backfill_services, disk=Disk(await free_space(url), int(settings.database.min_free_gb * GB))
            )
        chains = [
            ChainServices(
                name, chain, pool, metrics, build, prepare=prepare, on_start=systemd.ready, sticky=role == "indexer"
            )
            for name, chain in settings.chains.items()
        ]
        readiness = readiness_of(settings, pool)
        routes = [*probes(metrics, readiness), *status_page(pool, readiness)]
        yield [HttpServer(application(routes, metrics, gate=ops_gate()), sockets.ops, name=f"ops.{role}"), *chains]


def _api(
    settings: Settings,
    pool: Pool,
    metrics: Metrics,
    sockets: Sockets,
    *,
    passwords: Passwords,
    groups: Sequence[Builder],
) -> Sequence[Service]:
    readiness = readiness_of(settings, pool)
    assert sockets.api is not None, "bind gives the api role its socket"
    face = client_face(settings, pool, readiness, passwords, SystemClock(), metrics=metrics, groups=groups)
    public = application(
        face.routes, metrics, gate=face.gate, cors_origins=settings.api.cors_origins, groups=groups
    )  # fmt: skip
    probing = application([*probes(metrics, readiness), *status_page(pool, readiness)], metrics, gate=ops_gate())
    return [
        HttpServer(
            public,
            sockets.api,
            name="api",
            sockets=bool(groups),
            proxies=settings.api.trusted_proxies,
            most=settings.api.max_connections,
        ),
        HttpServer(probing, sockets.ops, name="ops.api"),
        Chores([Chore("sessions", timedelta(hours=6), partial(_forget, pool))], name="accounts"),
        systemd.Announcer(),
    ]


def ops_gate() -> Gate:
    """Return the gate of the operators' port."""
    return Gate({Scope.OPERATIONS: anybody})


async def _forget(pool: Pool) -> None:
    """Remove what is left of sessions a while after they have expired."""
    await sessions.forget(pool, SystemClock().now() - timedelta(days=7))


def readiness_of(settings: Settings, pool: Pool) -> Readiness:
    """Return the judge of the configured chains."""
    ops = settings.ops
    return Readiness(pool, chains=settings.chains, ready_lag_s=ops.ready_lag_s, silence_s=ops.head_silence_s)
