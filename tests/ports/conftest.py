"""The stores that have to behave alike."""

from collections.abc import AsyncIterator

import pytest

from core.alarm import AlarmLog
from core.facts import FactLog
from core.store.alarm import PgAlarms
from core.store.embedded import EmbeddedPostgres
from core.store.facts import PgFacts
from core.store.finality import PgFinality
from core.store.memory import MemoryStore
from core.store.pg import PgStore
from core.store.pool import Pool, open_pool
from core.store.port import ChainStore
from indexer.finality import FinalityStore


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """Connections with the indexer's rights to a database of the test's own."""
    async with open_pool(database_url, role="chainworkd_indexer", size=8) as opened:
        yield opened


@pytest.fixture
async def memory_store() -> ChainStore:
    store = MemoryStore()
    await store.register("one", None)
    return store


@pytest.fixture
async def pg_store(pool: Pool) -> ChainStore:
    store = PgStore(pool, 1)
    await store.register("one", None)
    return store


@pytest.fixture(params=["memory_store", "pg_store"])
def store(request: pytest.FixtureRequest) -> ChainStore:
    """An empty store of a known chain, of every kind in turn."""
    made: ChainStore = request.getfixturevalue(request.param)
    return made


@pytest.fixture
def facts(store: ChainStore, request: pytest.FixtureRequest) -> FactLog:
    """The facts that `store` tells."""
    if isinstance(store, MemoryStore):
        return store.facts
    return PgFacts(request.getfixturevalue("pool"), 1)


@pytest.fixture
def finality(store: ChainStore, request: pytest.FixtureRequest) -> FinalityStore:
    """What notes which of `store`'s blocks are final."""
    return store if isinstance(store, MemoryStore) else PgFinality(request.getfixturevalue("pool"), 1)


@pytest.fixture
def alarms(store: ChainStore, request: pytest.FixtureRequest) -> AlarmLog:
    """The alarms that `store` raises."""
    return store.alarms if isinstance(store, MemoryStore) else PgAlarms(request.getfixturevalue("pool"), 1)


@pytest.fixture
def shared_connection_url(postgres: EmbeddedPostgres, template: str) -> str:
    """The URL of the migrated database itself, for tests that only look."""
    return postgres.url(template)
