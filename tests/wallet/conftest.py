"""A real node and a real database for a sender; the pool has the sender's rights and a feature's, as one owner has."""

from collections.abc import AsyncIterator

import pytest

from core.store.pool import open_pool
from devnet.anvil import Anvil
from devnet.artifacts import Artifacts
from tests.wallet.bench import Bench, CountingRpc
from tests.wallet.bench import bench as made


@pytest.fixture(scope="session")
def artifacts() -> Artifacts:
    found = Artifacts()
    if not (found.npm / "node_modules").is_dir() or not (found.npm / "build" / ".stamp").is_file():
        pytest.skip("npm/ is not set up: run `make setup`")
    return found


@pytest.fixture
async def bench(artifacts: Artifacts, database_url: str) -> AsyncIterator[Bench]:
    async with (
        Anvil(artifacts) as anvil,
        CountingRpc(anvil.http_url) as rpc,
        open_pool(database_url, size=4) as pool,
    ):
        yield await made(pool, rpc, artifacts)
