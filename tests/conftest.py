"""Shared fixtures: one real PostgreSQL per session, one database per test."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator

import pytest

from core.store.embedded import EmbeddedPostgres
from core.store.migrate import migrate
from core.store.schema import THROW_AWAY, scratch_folder
from daemon.schema import MIGRATIONS

TEMPLATE = "migrated"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """An empty server; durability is off, the rest is what users get."""
    with scratch_folder() as folder:
        server = EmbeddedPostgres(folder / "data", settings=THROW_AWAY)
        asyncio.run(server.start())
        try:
            yield server
        finally:
            asyncio.run(server.stop())


@pytest.fixture(scope="session")
def template(postgres: EmbeddedPostgres) -> str:
    """The name of a migrated database that tests copy."""

    async def make() -> None:
        await postgres.create_database(TEMPLATE)
        await migrate(postgres.url(TEMPLATE), MIGRATIONS)

    asyncio.run(make())
    return TEMPLATE


@pytest.fixture
async def database_url(postgres: EmbeddedPostgres, template: str) -> AsyncIterator[str]:
    """The URL of a migrated database of the test's own."""
    async for url in _database(postgres, template):
        yield url


@pytest.fixture
async def empty_database_url(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """The URL of an empty database of the test's own."""
    async for url in _database(postgres, "template1"):
        yield url


async def _database(postgres: EmbeddedPostgres, template: str) -> AsyncIterator[str]:
    name = f"test_{next(_numbers)}"
    await postgres.create_database(name, template=template)
    try:
        yield postgres.url(name)
    finally:
        await postgres.drop_database(name)
