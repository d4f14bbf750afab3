"""`chainworkd run`: everything under one supervisor, or one role alone under systemd."""

import argparse
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from api.server import url_of
from core.errors import BadConfig
from core.metrics import Metrics
from core.pulse import Pulse
from core.service import Service, end_within, supervise
from core.settings import Settings
from core.store.migrate import migrate, require_migrated
from daemon.database import database
from daemon.family import Child
from daemon.processes import ROLES, STOP_S, Role, Sockets
from daemon.roles import announce, bind, require_chains, services_of
from daemon.schema import MIGRATIONS


@dataclass(frozen=True, slots=True)
class House:
    """What is up before the services start: the database's URL and where each process listens."""

    settings: Settings
    url: str
    sockets: dict[Role, Sockets]

    @property
    def api_url(self) -> str:
        """Where clients reach the API."""
        bound = self.sockets["api"].api
        assert bound is not None, "bind gives the api role its socket"
        return url_of(bound)

    def ops_url(self, role: Role) -> str:
        """Where `role` answers probes."""
        return url_of(self.sockets[role].ops)


# Whoever ends for good must not wait for ever for a service that does not hear of it.
_end_soon = partial(end_within, STOP_S)

Extra = Callable[[House], Awaitable[Sequence[Service]]]


async def run(settings: Settings, arguments: argparse.Namespace) -> int | None:
    """Run everything, or one role."""
    if arguments.role is None:
        await run_all(settings)
    else:
        await run_role(arguments.role, settings)
    return None


async def run_all(settings: Settings, extra: Extra | None = None) -> None:
    """Run every role: the head here, backfill and API in children. `extra` adds services once the database is up."""
    require_chains(settings)
    sockets: dict[Role, Sockets] = {}
    try:
        for role in ROLES:
            sockets[role] = bind(settings, role)
        for role, bound in sockets.items():
            announce(role, bound)
        async with database(settings) as url:
            await migrate(url, MIGRATIONS)
            house = House(settings, url, sockets)
            more = await extra(house) if extra is not None else ()
            metrics = Metrics()
            async with services_of("indexer", settings, url, sockets["indexer"], metrics, pulse=Pulse()) as head:
                children = [Child(role, settings, url, sockets[role]) for role in ("api", "backfill")]
                await supervise([*head, *children, *more], metrics, on_fatal=_end_soon)
    finally:
        for bound in sockets.values():
            bound.close()


async def run_role(role: Role, settings: Settings) -> None:
    """Run one role alone, on a server that it shares with the others and that somebody else has migrated."""
    url = settings.database.url
    if not url:
        # Each process would start a server of its own, and the second one would fail on the first one's lock.
        raise BadConfig(
            f"database.url: not set, and `run {role}` never starts a server;"
            " set CHAINWORKD_DATABASE__URL or the credential chainworkd_database__url (docs/runbook.md)"
        )
    await require_migrated(url, MIGRATIONS)
    sockets = bind(settings, role)
    announce(role, sockets)
    try:
        await run_services(role, settings, url, sockets, Pulse())
    finally:
        sockets.close()


async def run_services(
    role: Role, settings: Settings, url: str, sockets: Sockets, pulse: Pulse, *more: Service
) -> None:
    """Run the services of one role, and `more`, until one fails for good."""
    metrics = Metrics()
    async with services_of(role, settings, url, sockets, metrics, pulse=pulse) as services:
        await supervise([*services, *more], metrics, on_fatal=_end_soon)
