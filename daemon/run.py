"""`chainworkd run`: everything under one supervisor, or one role alone under systemd."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from api.server import url_of
from core.errors import BadConfig, ServiceEnded, StoreUnavailable
from core.metrics import Metrics
from core.service import Service, supervise
from core.settings import Settings
from core.store.cluster import InUse
from core.store.embedded import EmbeddedPostgres
from core.store.migrate import migrate, require_migrated
from daemon.family import Child
from daemon.roles import ROLES, Role, Sockets, announce, bind, require_chains, services_of
from daemon.schema import MIGRATIONS

log = logging.getLogger(__name__)

START_S: Final = 60.0  # how long a command waits for a daemon that is starting the database


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


Extra = Callable[[House], Awaitable[Sequence[Service]]]


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
            async with services_of("indexer", settings, url, sockets["indexer"], metrics) as head:
                children = [Child(role, settings, url, sockets[role]) for role in ("api", "backfill")]
                await supervise([*head, *children, *more], metrics)
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
        await run_services(role, settings, url, sockets)
    finally:
        sockets.close()


async def run_services(role: Role, settings: Settings, url: str, sockets: Sockets, *more: Service) -> None:
    """Run the services of one role, and `more`, until one fails for good."""
    metrics = Metrics()
    async with services_of(role, settings, url, sockets, metrics) as services:
        await supervise([*services, *more], metrics)


@asynccontextmanager
async def database(settings: Settings) -> AsyncIterator[str]:
    """Yield the URL of the configured database, or of an embedded one that runs as long as this context."""
    if settings.database.url:
        yield settings.database.url
        return
    started = asyncio.get_running_loop().time()
    async with EmbeddedPostgres(embedded_folder(settings)) as server:
        ms = round((asyncio.get_running_loop().time() - started) * 1000)
        log.info("database is up", extra={"embedded": str(embedded_folder(settings)), "pid": server.pid, "ms": ms})
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(_watched(server), name="database")
            yield server.url()
            watch.cancel()


@asynccontextmanager
async def existing_database(settings: Settings, *, start: bool = False) -> AsyncIterator[str]:
    """Yield the URL of the configured database or of the embedded one, which another process may be running.

    An embedded server that nobody runs is started for the while; one that does not exist yet is only made if `start`.
    """
    folder = embedded_folder(settings)
    if not settings.database.url and not start and not folder.is_dir():
        raise BadConfig(f"no database: database.url is not set, and there is none in {folder} yet (`chainworkd run`)")
    async with AsyncExitStack() as stack:
        yield await _theirs_or_ours(settings, folder, stack)


async def _theirs_or_ours(settings: Settings, folder: Path, stack: AsyncExitStack) -> str:
    """Return the URL of the server that runs, or start one on `stack`; wait for one that is just being started."""
    clock = asyncio.get_running_loop().time
    until = clock() + START_S
    while True:
        running = None if settings.database.url else await EmbeddedPostgres(folder).running_url()
        if running is not None:
            return running
        try:
            return await stack.enter_async_context(database(settings))
        except InUse:
            if clock() > until:
                raise
            await asyncio.sleep(0.2)


async def _watched(server: EmbeddedPostgres) -> None:
    """End everything when the embedded server ends by itself: whoever starts us starts it too."""
    try:
        await server.watch()
    except StoreUnavailable as error:
        raise ServiceEnded(str(error)) from error


def embedded_folder(settings: Settings) -> Path:
    """Return the embedded server's folder."""
    return settings.data_path / "postgres"
