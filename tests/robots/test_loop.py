"""A droid on Uniswap's own contracts in both token orders: from its first look to its end."""

from collections.abc import AsyncIterator

import pytest

from core.rpc.client import RpcClient
from core.store.pool import open_pool
from devnet.artifacts import Artifacts
from devnet.town import Devnet
from droids import records
from droids.records import BotStatus, Command, Status
from tests.robots.ground import BUSY, Ground, broken
from tests.robots.robot import Robot


@pytest.fixture(scope="module")
def artifacts() -> Artifacts:
    found = Artifacts()
    if not (found.npm / "node_modules").is_dir() or not (found.npm / "build" / ".stamp").is_file():
        pytest.skip("npm/ is not set up: run `make setup`")
    return found


@pytest.fixture(params=[True, False], ids=["base_is_token0", "base_is_token1"])
async def ground(request: pytest.FixtureRequest, artifacts: Artifacts) -> AsyncIterator[Ground]:
    async with Devnet(npm_dir=artifacts.npm, seed=1) as devnet, RpcClient(devnet.http_url) as rpc:
        yield await broken(devnet, rpc, artifacts, base_is_token0=request.param)


@pytest.fixture
async def robot(ground: Ground, database_url: str) -> AsyncIterator[Robot]:
    async with open_pool(database_url, size=6) as store:
        made = Robot(ground, store, await ground.wallet())
        await made.born(BUSY)
        async with made.awake():
            yield made


async def test_from_the_first_ladder_to_the_last_position(robot: Robot) -> None:
    await robot.look()
    assert (await records.sessions(robot.store, robot.number, 9), (await robot.row()).holds) == ((), False)
    await robot.command(Command.RUN)
    await robot.settle()
    assert robot.meter.moves == [("approve", "done"), ("approve", "done"), ("rebalance", "done")]
    assert await robot.differences() == []
    bots = await records.bots(robot.store, robot.number)
    assert [(each.slot, each.status) for each in bots] == [(slot, BotStatus.ACTIVE) for slot in range(5)]
    assert (await robot.session()).status is Status.RUNNING
    shot = (await records.snapshots(robot.store, robot.number, 1))[0]
    first = robot.ground.base_is_token0
    assert shot.aum > 0
    await robot.command(Command.CLOSE)
    await robot.settle()
    await robot.look()
    assert await robot.differences() == []
    assert await robot.ground.nfts(robot.wallet) == {}
    row = await robot.row()
    assert (row.active, row.holds, row.answered) == (Command.PAUSE, False, row.command)
    assert (await robot.session()).status is Status.STOPPED
    assert first in (True, False)
