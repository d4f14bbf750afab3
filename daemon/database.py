"""The database that a command works on: the configured one, or the embedded one, running or not."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from core.errors import BadConfig, ServiceEnded, StoreUnavailable
from core.service import end_within
from core.settings import Settings
from core.store.cluster import InUse
from core.store.embedded import EmbeddedPostgres
from core.store.migrate import require_migrated
from core.store.pool import Pool, open_pool
from daemon.processes import STOP_S
from daemon.schema import MIGRATIONS

log = logging.getLogger(__name__)

START_S: Final = 60.0  # how long a command waits for a daemon that is starting the database


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
        end_within(STOP_S)
        raise ServiceEnded(str(error)) from error


def embedded_folder(settings: Settings) -> Path:
    """Return the embedded server's folder."""
    return settings.data_path / "postgres"


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[Pool]:
    """Open a small pool on a migrated database, the running embedded one included."""
    async with existing_database(settings) as url:
        try:
            await require_migrated(url, MIGRATIONS)
        except StoreUnavailable as error:
            raise BadConfig(str(error)) from error
        async with open_pool(url, size=2) as pool:
            yield pool
