"""A real node with real contracts. Each test has its own: it starts in a third of a second."""

from collections.abc import AsyncIterator

import pytest

from core.rpc.client import RpcClient
from devnet.anvil import Anvil
from devnet.artifacts import Artifacts
from devnet.node import Node
from devnet.town import Devnet
from tests.anvil.pools import Place


@pytest.fixture(scope="session")
def artifacts() -> Artifacts:
    found = Artifacts()
    if not (found.npm / "node_modules").is_dir() or not (found.npm / "build" / ".stamp").is_file():
        pytest.skip("npm/ is not set up: run `make setup`")
    return found


@pytest.fixture
async def anvil(artifacts: Artifacts) -> AsyncIterator[Anvil]:
    """An empty chain."""
    async with Anvil(artifacts) as anvil:
        yield anvil


@pytest.fixture
async def devnet(artifacts: Artifacts) -> AsyncIterator[Devnet]:
    """A chain with all contracts and a seeded traffic, which only moves when a test steps it."""
    async with Devnet(npm_dir=artifacts.npm, seed=1) as devnet:
        yield devnet


@pytest.fixture
async def rpc(devnet: Devnet) -> AsyncIterator[RpcClient]:
    async with RpcClient(devnet.http_url) as rpc:
        yield rpc


@pytest.fixture
def node(rpc: RpcClient) -> Node:
    return Node(rpc)


@pytest.fixture(params=[True, False], ids=["base_is_token0", "base_is_token1"])
async def spot(request: pytest.FixtureRequest, devnet: Devnet, rpc: RpcClient, artifacts: Artifacts) -> Place:
    """A pool with its tokens in either order."""
    made = Place(devnet, rpc, artifacts)
    await made.open(base_is_token0=request.param)
    return made
