"""A droid on Uniswap's own contracts in both token orders: what it does, what it leaves, and what it knows of it."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from builders import uniswap_v3
from builders.call import invoke
from core.hex import to_hex
from core.rpc.client import RpcClient
from core.store.pool import open_pool
from devnet.artifacts import Artifacts
from devnet.deploy import FOREVER
from devnet.town import Devnet
from droids import records
from droids.guards import Word
from droids.records import BotStatus, Command, Status
from tests.robots.ground import BUSY, ETHER, OWNED, Ground, broken
from tests.robots.robot import LIMITS, PACE, Robot
from wallet import activation
from wallet import records as intents
from wallet.types import State


@pytest.fixture(scope="module")
def artifacts() -> Artifacts:
    found = Artifacts()
    if not (found.npm / "node_modules").is_dir() or not (found.npm / "build" / ".stamp").is_file():
        pytest.skip("npm/ is not set up: run `make setup`")
    return found


class CountingRpc(RpcClient):
    """A node that counts what is sent to it."""

    sends = 0

    async def post(self, body: bytes) -> bytes:
        self.sends += b"eth_sendRawTransaction" in body
        return await super().post(body)


@pytest.fixture(params=[True, False], ids=["base_is_token0", "base_is_token1"])
async def ground(request: pytest.FixtureRequest, artifacts: Artifacts) -> AsyncIterator[Ground]:
    async with Devnet(npm_dir=artifacts.npm, seed=1) as devnet, CountingRpc(devnet.http_url) as rpc:
        yield await broken(devnet, rpc, artifacts, base_is_token0=request.param)


@pytest.fixture
async def robot(ground: Ground, database_url: str) -> AsyncIterator[Robot]:
    async with open_pool(database_url, size=6) as store:
        made = Robot(ground, store, await ground.wallet())
        await made.born(BUSY)
        async with made.awake():
            yield made


async def laid(robot: Robot) -> Robot:
    """A droid with its first ladder."""
    await robot.command(Command.RUN)
    await robot.settle()
    assert robot.meter.moves[-1] == ("rebalance", "done")
    return robot


async def configured(robot: Robot, **fields: Any) -> None:
    row = await robot.row()
    assert await records.configure(robot.store, row, {**row.config, **fields})


async def stepped(robot: Robot, ticks: int = 90) -> None:
    """The price has moved, and the mean has followed."""
    await robot.ground.nudge(Random(1), least=ticks, most=ticks)
    await robot.ground.wait(400)


async def test_from_the_first_ladder_to_the_last_position(robot: Robot) -> None:
    await robot.look()
    assert (await records.sessions(robot.store, robot.number, 9), (await robot.row()).holds) == ((), False)
    await robot.command(Command.RUN)
    await robot.settle()
    assert robot.meter.moves == [("approve", "done"), ("approve", "done"), ("rebalance", "done")]
    assert await robot.differences() == []
    bots = await records.bots(robot.store, robot.number)
    assert [(each.slot, each.status) for each in bots] == [(slot, BotStatus.ACTIVE) for slot in range(5)]
    assert {each.position_id for each in bots} == set(await robot.ground.nfts(robot.wallet))
    assert (await robot.session()).status is Status.RUNNING
    await robot.command(Command.CLOSE)
    await robot.settle()
    assert await robot.differences() == []
    assert await robot.ground.nfts(robot.wallet) == {}
    row = await robot.row()
    assert (row.active, row.holds, row.answered) == (Command.PAUSE, False, row.command)
    assert (await robot.session()).status is Status.STOPPED
    assert {each.status for each in await records.bots(robot.store, robot.number)} == {BotStatus.CLOSED}


async def test_what_it_is_worth_adds_up(robot: Robot) -> None:
    await laid(robot)
    for _ in range(3):
        await stepped(robot)
        await robot.settle()
    await robot.ground.wait(60)
    await robot.look()
    shot = (await records.snapshots(robot.store, robot.number, 1))[0]
    base, quote = shot.base + shot.idle_base + shot.fees_base, shot.quote + shot.idle_quote + shot.fees_quote
    price = shot.price.scaleb(6 - 18)
    assert abs(shot.aum - (quote + int(base * price))) <= 5
    assert abs(shot.hold - (OWNED[1] + int(OWNED[0] * price))) <= 5
    assert shot.fees_earned > 0 and shot.il < 0 and shot.gas_usd > 0
    assert shot.eth_wallet == 10 * ETHER - shot.gas_wei == await robot.ground.ether(robot.wallet)
    lines = await records.ledger(robot.store, robot.number)
    assert sum(each.amount for each in lines if each.asset == b"") == shot.eth_wallet


async def test_in_dry_run_nothing_is_sent_and_nothing_is_taken_to_have_happened(robot: Robot) -> None:
    robot.live, robot.pace = False, PACE.model_copy(update={"cooldown_s": 600})
    counting = robot.ground.rpc
    assert isinstance(counting, CountingRpc)
    # What was approved before it went dry, so that it gets as far as a ladder.
    gift = [uniswap_v3_approval(robot, token) for token in robot.ground.pool.tokens]
    await robot.ground.rpc.call("anvil_impersonateAccount", to_hex(robot.wallet))
    for call in gift:
        await robot.ground.rpc.call("eth_sendTransaction", {"from": to_hex(robot.wallet), **call})
        await robot.ground.mine()
    await robot.command(Command.RUN)
    await robot.look()
    await robot.send()
    await robot.look()
    assert (robot.meter.moves, counting.sends) == ([("rebalance", "rehearsed")], 0)
    assert await robot.ground.nfts(robot.wallet) == {}
    assert await records.ledger(robot.store, robot.number) != ()
    assert {each.kind for each in await records.ledger(robot.store, robot.number)} == {"opening"}
    assert (await robot.journal.known()).positions == ()
    assert {each.status for each in await records.bots(robot.store, robot.number)} == {BotStatus.FAILED}


def uniswap_v3_approval(robot: Robot, token: bytes) -> dict[str, str]:
    call = invoke(token, "approve(address,uint256)", robot.ground.pool.manager, 10**30)
    return {"to": to_hex(token), "data": to_hex(call.data)}


async def test_a_spot_off_its_mean_is_not_acted_upon_until_the_mean_follows(robot: Robot) -> None:
    await laid(robot)
    await robot.ground.nudge(Random(1), least=250, most=250)
    await robot.look()
    assert await robot.word() == Word.TWAP
    await robot.ground.wait(400)
    await robot.look()
    assert (await robot.word(), await robot.differences()) == ("left", [])


async def test_a_pool_that_does_not_know_its_mean_keeps_it_from_entering_and_not_from_leaving(robot: Robot) -> None:
    robot.limits = replace(LIMITS, twap_s=3_600 * 24)
    await robot.command(Command.RUN)
    await robot.look()
    assert await robot.word() == Word.TWAP
    robot.limits = LIMITS
    await robot.ground.wait(60)
    await robot.settle()
    robot.limits = replace(LIMITS, twap_s=3_600 * 24)
    await robot.command(Command.CLOSE)
    await robot.settle()
    assert await robot.ground.nfts(robot.wallet) == {}
    assert (await robot.session()).status is Status.STOPPED


async def test_a_halt_a_budget_and_dear_gas_hold_it_back(robot: Robot) -> None:
    await laid(robot)
    now = robot.ground.clock.now()
    await stepped(robot)
    await activation.halt(robot.store, now, by="ann", because="a drill")
    await robot.look()
    assert (await robot.word(), "a drill" in (await records.decisions(robot.store, robot.number, 1))[0].sentence) == (
        Word.HALTED, True,
    )  # fmt: skip
    await activation.resume(robot.store, now, by="ann")
    for fields, word in (
        ({"gasBudgetLimit": (await robot.session()).gas_usd + 1}, Word.GAS_BUDGET),
        ({"maxGasPrice": Decimal("0.000001"), "gasBudgetLimit": 10_000}, Word.GAS_PRICE),
    ):
        await configured(robot, **fields)
        await robot.ground.wait(60)
        await robot.look()
        assert await robot.word() == word
    await configured(robot, maxGasPrice=100)
    await robot.ground.wait(60)
    await robot.settle()
    assert robot.meter.moves[-1] == ("rebalance", "done")


async def test_nothing_is_acted_upon_that_is_old_or_that_the_wallet_may_not_do(robot: Robot) -> None:
    await robot.command(Command.RUN)
    await robot.ground.tell_time()  # blocks were mined since: the clock may be a second behind them
    robot.ground.clock.at += timedelta(seconds=61)
    await robot.look()
    assert await robot.word() == Word.HEAD_STALE
    robot.each = 5
    await robot.ground.wait(120)
    await robot.look()
    assert await robot.word() == Word.NO_WALLET
    await robot.ground.rpc.call("anvil_setBalance", to_hex(robot.wallet), hex(5))
    await robot.ground.wait(60)
    await robot.look()
    assert await robot.word() == Word.NATIVE_LOW


async def test_no_more_than_the_funding_is_deployed(robot: Robot) -> None:
    await configured(robot, fundingUSD=1_000)
    await laid(robot)
    await robot.ground.wait(60)
    await robot.look()
    shot = (await records.snapshots(robot.store, robot.number, 1))[0]
    placed = shot.quote + int(shot.base * shot.price.scaleb(6 - 18))
    assert 900 * 10**6 < placed <= 1_000 * 10**6


async def test_what_a_pause_finds_queued_is_not_sent(robot: Robot) -> None:
    await laid(robot)
    await stepped(robot)
    await robot.look()
    (open_one,) = await intents.listed(robot.store, [State.QUEUED], 9)
    await robot.command(Command.PAUSE)
    await robot.look()
    await robot.look()
    await robot.send()
    await robot.look()
    found = await intents.status(robot.store, open_one.intent.id)
    assert found is not None
    assert (found.state, robot.meter.moves[-1]) == ("dropped", ("rebalance", "dropped"))
    assert {each.status for each in await records.bots(robot.store, robot.number)} == {BotStatus.ACTIVE}


async def test_what_was_sent_when_a_pause_comes_is_followed_to_its_end(robot: Robot) -> None:
    await laid(robot)
    await stepped(robot)
    await robot.look()
    await robot.sender().step(robot.box)
    await robot.command(Command.PAUSE)
    await robot.look()
    assert {each.status for each in await records.bots(robot.store, robot.number)} == {BotStatus.CLOSING}
    await robot.send()
    await robot.look()
    assert robot.meter.moves[-1] == ("rebalance", "done")
    assert (await robot.session()).status is Status.PAUSED
    assert await robot.differences() == []


async def test_a_position_that_is_gone_halts_and_a_stranger_is_shown(robot: Robot) -> None:
    await laid(robot)
    (first, *_) = (await robot.journal.known()).positions
    send = "transferFrom(address,address,uint256)"
    call = invoke(robot.ground.pool.manager, send, robot.wallet, robot.ground.pool.wallet, first.token_id)
    await robot.ground.rpc.call("anvil_impersonateAccount", to_hex(robot.wallet))
    asked = {"from": to_hex(robot.wallet), "to": to_hex(robot.ground.pool.manager), "data": to_hex(call.data)}
    await robot.ground.rpc.call("eth_sendTransaction", asked)
    await robot.ground.wait(60)
    await robot.look()
    session = await robot.session()
    assert (session.status, str(first.token_id) in session.note) == (Status.HALTED, True)
    await robot.command(Command.RUN)
    await robot.look()
    assert (await robot.session()).status is Status.HALTED
    # A person has looked: the rest is what it has, and what comes from elsewhere is shown and left alone.
    other = await robot.ground.nfts(robot.ground.pool.wallet)
    stranger = next(each for each in other if each != first.token_id)
    back = invoke(robot.ground.pool.manager, send, robot.ground.pool.wallet, robot.wallet, stranger)
    await robot.ground.pool.send(back)
    await robot.command(Command.RESET)
    await robot.ground.wait(60)
    await robot.settle()
    orphans = [each for each in await records.bots(robot.store, robot.number) if each.slot is None]
    assert [(each.status, each.position_id) for each in orphans] == [(BotStatus.ORPHAN, stranger)]
    await robot.command(Command.CLOSE)
    await robot.ground.wait(60)
    await robot.settle()
    assert stranger in await robot.ground.nfts(robot.wallet)
    assert (await robot.session()).status is Status.STOPPED


async def test_a_stranger_who_adds_to_a_position_does_not_keep_it_from_closing(robot: Robot) -> None:
    await laid(robot)
    (first, *_) = (await robot.journal.known()).positions
    increase = "increaseLiquidity((uint256,uint256,uint256,uint256,uint256,uint256))"
    more = (first.token_id, 10**12, 10**12, 0, 0, FOREVER)
    if robot.ground.base_is_token0:
        more = (first.token_id, 10**15, 10**7, 0, 0, FOREVER)
    else:
        more = (first.token_id, 10**7, 10**15, 0, 0, FOREVER)
    await robot.ground.pool.send(invoke(robot.ground.pool.manager, increase, more))
    await robot.command(Command.CLOSE)
    await robot.ground.wait(60)
    await robot.settle()
    assert (await robot.ground.nfts(robot.wallet), await robot.differences()) == ({}, [])


async def test_what_a_reorg_takes_has_never_counted(robot: Robot) -> None:
    await laid(robot)
    before = (await robot.journal.known()).positions
    await stepped(robot)
    await robot.look()
    sender = robot.sender()
    await sender.step(robot.box)
    await robot.ground.mine()
    await sender.step(robot.box)
    await robot.look()
    (mined,) = await intents.listed(robot.store, [State.MINED], 9)
    assert set(await robot.ground.nfts(robot.wallet)) != {each.token_id for each in before}
    assert (await robot.journal.known()).positions == before
    await robot.ground.rpc.call("anvil_reorg", 1, [])
    await robot.ground.rpc.call("anvil_dropAllTransactions")
    await sender.step(robot.box)
    await robot.look()
    await robot.send()
    await robot.look()
    found = await intents.status(robot.store, mined.intent.id)
    assert found is not None
    assert (found.state, found.reopened, robot.meter.moves[-1]) == (State.SETTLED, 1, ("rebalance", "done"))
    assert (await robot.journal.known()).positions != before
    assert await robot.differences() == []


async def test_a_transaction_that_somebody_else_overtook_halts_it(robot: Robot) -> None:
    await laid(robot)
    await stepped(robot)
    await robot.look()
    sender, who = robot.sender(), to_hex(robot.wallet)
    await sender.step(robot.box)
    await robot.ground.rpc.call("anvil_dropAllTransactions")
    await robot.ground.rpc.call("anvil_impersonateAccount", who)
    await robot.ground.rpc.call("eth_sendTransaction", {"from": who, "to": who, "value": "0x0"})
    await robot.ground.mine(6)
    await sender.step(robot.box)
    await robot.look()
    session = await robot.session()
    assert (session.status, "who else has this key?" in session.note) == (Status.HALTED, True)
    assert robot.meter.moves[-1] == ("rebalance", "lost")
    await stepped(robot)
    await robot.look()
    assert (await robot.journal.known()).move is None
    # What the other one paid for gas is in the books, as somebody else's.
    assert await robot.differences() == []
    lines = await records.ledger(robot.store, robot.number)
    assert [(each.asset, each.amount < 0) for each in lines if each.kind == "external"] == [(b"", True)]


async def test_gas_of_a_session_is_that_of_its_receipts(robot: Robot) -> None:
    await laid(robot)
    lines = await records.ledger(robot.store, robot.number)
    paid = [-each.amount for each in lines if each.kind == "gas"]
    assert (len(paid), sum(paid)) == (3, 10 * ETHER - await robot.ground.ether(robot.wallet))
    session = await robot.session()
    assert session.gas_wei == sum(paid)
    assert 0 < session.gas_usd < 50
    await robot.command(Command.RESET)
    await robot.look()
    assert ((await robot.session()).gas_wei, len(await records.sessions(robot.store, robot.number, 9))) == (0, 2)


async def test_a_restart_in_the_middle_changes_nothing(robot: Robot) -> None:
    """Each look is by a new loop already; here the leases change hands, and two never look after one droid."""
    await laid(robot)
    before = (await robot.journal.known()).positions
    assert robot.pace is PACE
    assert (
        await robot.store.fetchval("select pg_try_advisory_lock(hashtextextended('droid', $1))", robot.number) is False
    )
    await robot.look()
    assert (await robot.journal.known()).positions == before


def test_uniswap_calls_are_read_back() -> None:
    with pytest.raises(ValueError, match="expected a multicall"):
        uniswap_v3.items(invoke(bytes(20), "burn(uint256)", 1))
