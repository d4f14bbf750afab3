"""Fixtures of the end-to-end tests: a folder, a node, a database and the program itself."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from core.rpc.client import RpcClient
from core.store.schema import scratch_folder
from devnet.artifacts import Artifacts
from devnet.town import Devnet


@pytest.fixture(scope="session")
def artifacts() -> Artifacts:
    found = Artifacts()
    if not (found.npm / "node_modules").is_dir() or not (found.npm / "build" / ".stamp").is_file():
        pytest.skip("npm/ is not set up: run `make setup`")
    return found


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the embedded server's account can pass through: pytest's own are closed to it when we are root."""
    with scratch_folder() as folder:
        yield folder


@pytest.fixture
async def town(artifacts: Artifacts) -> AsyncIterator[Devnet]:
    """A chain with contracts and seeded traffic, which only moves when a test steps it."""
    async with Devnet(npm_dir=artifacts.npm, seed=7) as town:
        yield town


@pytest.fixture
async def rpc(town: Devnet) -> AsyncIterator[RpcClient]:
    async with RpcClient(town.http_url) as rpc:
        yield rpc
