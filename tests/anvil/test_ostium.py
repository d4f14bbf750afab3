"""What the builder hands out, sent to the mock on a real node: it does what was asked, and reverts are named."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from builders.call import Call, invoke
from builders.ostium import calldata, reads
from builders.ostium.actions import Approve, Delegated, Deployment, Generation, RemoveDelegate, SetDelegate
from core.rpc.client import RpcClient
from devnet.node import Draft, Node, Receipt
from devnet.town import Devnet
from tests.builder.face import Face, serving

PRICE = "42500"
BASE: dict[str, Any] = {"a": 0, "b": True, "t": "market", "p": PRICE, "s": "100", "l": "10"}
SETTLE = "settle(uint256,uint192)"


@dataclass
class Session:
    """A trader with a frontend: asks the builder, signs, sends, and looks at the chain."""

    face: Face
    node: Node
    rpc: RpcClient
    on: Deployment
    trader: bytes

    async def ask(self, action: str, body: Any, status: int = 200, query: str = "") -> Any:
        path = f"/v1/exchange/{action}{query}"
        answer = await self.face.post(path, body, trader="0x" + self.trader.hex())
        assert answer.status == status, answer.text
        return answer.body

    async def send(self, *calls: Call, sender: bytes | None = None) -> list[Receipt]:
        drafts = [Draft(kind="ostium", sender=sender or self.trader, call=call, gas=2_000_000) for call in calls]
        return await self.node.settle(drafts)

    async def act(self, action: str, body: Any) -> None:
        """Ask for transactions and send them as they come."""
        for unsigned in (await self.ask(action, body))["transactions"]:
            data, to = bytes.fromhex(unsigned["data"][2:]), bytes.fromhex(unsigned["to"][2:])
            assert unsigned["from"].lower() == "0x" + self.trader.hex()
            (receipt,) = await self.send(Call(to, data, int(unsigned["value"])))
            assert receipt.status == 1, unsigned

    async def settled(self, price: str = PRICE) -> None:
        """The oracle answers the newest request."""
        newest = reads.word(await self.node.read(invoke(self.on.storage, "lastId()")), 0)
        (receipt,) = await self.send(invoke(self.on.trading, SETTLE, newest, int(price) * 10**18))
        assert receipt.status == 1

    async def trade(self, index: int = 0, pair: int = 0) -> reads.OpenTrade:
        to, data = reads.trade(self.on, self.trader, pair, index)
        return reads.read_trade(await self.node.read(Call(to, data)))

    async def order(self, index: int = 0) -> reads.LimitOrder:
        to, data = reads.limit_order(self.on, self.trader, 0, index)
        return reads.read_limit_order(await self.node.read(Call(to, data)))

    async def usdc(self) -> int:
        to, data = reads.balance(self.on, self.trader)
        return reads.word(await self.node.read(Call(to, data)), 0)

    async def approved(self, amount: int = 10**12) -> None:
        await self.send(calldata.call(Approve(amount), self.on, self.trader, Generation.V3))

    async def simulated(self, action: str, body: Any) -> Any:
        return (await self.ask(action, body, query="?simulate=true"))["simulation"]

    async def refused(self, action: str, body: Any) -> str:
        """The name of the error that a simulation predicts; sending it is the proof."""
        answer = await self.ask(action, body, query="?simulate=true")
        (told,), (unsigned,) = answer["simulation"]["transactions"], answer["transactions"]
        call = Call(bytes.fromhex(unsigned["to"][2:]), bytes.fromhex(unsigned["data"][2:]))
        (receipt,) = await self.send(call)
        assert (told["ok"], receipt.status) == (False, 0)
        return str(told["error"]["name"])


@pytest.fixture
async def session(devnet: Devnet, node: Node, rpc: RpcClient) -> AsyncIterator[Session]:
    at = devnet.contracts
    on = Deployment(31_337, at["ostium_trading"], at["ostium_storage"], at["usdc"])
    named = {
        "TRADING": "0x" + on.trading.hex(), "TRADING_STORAGE": "0x" + on.storage.hex(), "USDC": "0x" + on.usdc.hex(),
    }  # fmt: skip
    async with serving(CHAIN_ID="31337", RPC_URL=devnet.http_url, **named) as face:
        yield Session(face, node, rpc, on, devnet.actors[0])


async def test_a_session_of_positions_changes_the_state_as_asked(session: Session) -> None:
    await session.approved()
    before = await session.usdc()
    await session.act("open", {"open": BASE | {"tp": "45000", "sl": "40000"}, "sp": 0.5})
    assert await session.usdc() == before - 100 * 10**6
    await session.settled()
    opened = await session.trade()
    assert (opened.collateral, opened.leverage, opened.long) == (100 * 10**6, 1_000, True)
    assert (opened.take_profit, opened.stop_loss) == (45_000 * 10**18, 40_000 * 10**18)

    await session.act("modify", {"a": 0, "i": 0, "tp": "45000.1"})
    await session.act("modify", {"a": 0, "i": 0, "sl": "0"})
    changed = await session.trade()
    assert (changed.take_profit, changed.stop_loss) == (450_001 * 10**17, 0)
    await session.act("modify", {"a": 0, "i": 0, "tp": "0"})
    assert (await session.trade()).take_profit == 80_750 * 10**18  # the farthest, where a plain 0 would revert

    await session.act("margin", {"a": 0, "i": 0, "amount": "100"})
    topped = await session.trade()
    assert (topped.collateral, topped.leverage) == (200 * 10**6, 500)
    await session.act("margin", {"a": 0, "i": 0, "amount": "-100"})
    await session.settled()
    assert (await session.trade()).collateral == 100 * 10**6

    await session.act("close", {"closes": [{"a": 0, "t": 0, "p": "43000", "r": 50}]})
    await session.settled("43000")
    assert (await session.trade()).collateral == 50 * 10**6
    await session.act("close", {"closes": [{"a": 0, "t": 0, "p": "43000", "r": 100}], "sp": 1})
    await session.settled("43000")
    assert (await session.trade()).leverage == 0
    assert await session.usdc() == before - 3 * 100_000  # the oracle's fee of two closes and one removal


async def test_a_session_of_orders_changes_the_state_as_asked(session: Session) -> None:
    await session.approved()
    await session.act("open", {"open": BASE | {"t": "limit", "p": "41000", "tp": "44000", "sl": "38500"}, "sp": 2.5})
    await session.act("open", {"open": BASE | {"t": "stop", "b": False, "p": "39000"}})
    assert (await session.order(0)).price == 41_000 * 10**18

    await session.act("modify", {"a": 0, "i": 0, "p": "41500"})
    moved = await session.order(0)
    assert (moved.price, moved.take_profit, moved.stop_loss) == (41_500 * 10**18, 44_000 * 10**18, 38_500 * 10**18)
    await session.act("modify", {"a": 0, "i": 0, "p": "41600", "sl": "0"})
    assert ((await session.order(0)).take_profit, (await session.order(0)).stop_loss) == (44_000 * 10**18, 0)

    await session.act("cancel", {"cancels": [{"t": "limit", "a": 0, "i": 0}, {"t": "limit", "a": 0, "i": 1}]})
    assert [(await session.order(i)).leverage for i in (0, 1)] == [0, 0]


async def test_orders_that_no_price_comes_for_are_taken_back(session: Session) -> None:
    await session.approved()
    before = await session.usdc()
    await session.act("open", {"open": BASE})
    first = reads.word(await session.node.read(invoke(session.on.storage, "lastId()")), 0)
    assert await session.refused("cancel", {"cancels": [{"t": "open", "o": first}]}) == "WaitTimeout"
    await session.rpc.call("anvil_mine", hex(31))
    await session.act("cancel", {"cancels": [{"t": "open", "o": first}]})
    assert await session.usdc() == before

    await session.act("open", {"open": BASE})
    await session.settled()
    await session.act("close", {"closes": [{"a": 0, "t": 0, "p": PRICE, "r": 100}]})
    close = reads.word(await session.node.read(invoke(session.on.storage, "lastId()")), 0)
    again = {"closes": [{"a": 0, "t": 0, "p": PRICE, "r": 100}]}
    assert await session.refused("close", again) == "TriggerPending"
    assert await session.refused("cancel", {"cancels": [{"t": "open", "o": close}]}) == "NotOpenMarketTimeoutOrder"
    await session.rpc.call("anvil_mine", hex(31))
    await session.act("cancel", {"cancels": [{"t": "close", "o": close}]})
    assert (await session.trade()).collateral == 100 * 10**6


async def test_a_delegate_trades_for_the_trader_until_removed(session: Session, devnet: Devnet) -> None:
    await session.approved()
    delegate, on = devnet.actors[1], session.on
    await session.send(calldata.call(SetDelegate(delegate), on, session.trader, Generation.V3))
    inner = bytes.fromhex((await session.ask("open", {"open": BASE}))["transactions"][0]["data"][2:])
    outer = calldata.call(Delegated(session.trader, inner), on, delegate, Generation.V3)
    assert [receipt.status for receipt in await session.send(outer, sender=delegate)] == [1]
    await session.settled()
    assert (await session.trade()).collateral == 100 * 10**6
    forbidden = calldata.call(RemoveDelegate(), on, delegate, Generation.V3)
    nested = calldata.call(Delegated(session.trader, forbidden.data), on, delegate, Generation.V3)
    assert [receipt.status for receipt in await session.send(nested, sender=delegate)] == [0]
    await session.send(calldata.call(RemoveDelegate(), on, session.trader, Generation.V3))
    assert [receipt.status for receipt in await session.send(outer, sender=delegate)] == [0]


WRONG: list[tuple[str, str, Any]] = [
    ("PairNotListed", "open", {"open": BASE | {"a": 65_535}}),
    ("WrongLeverage", "open", {"open": BASE | {"l": "101"}}),
    ("WrongLeverage", "open", {"open": BASE | {"a": 9, "l": "60"}}),
    ("AboveMaxAllowedCollateral", "open", {"open": BASE | {"s": "100001"}}),
    ("NoTradeFound", "close", {"closes": [{"a": 0, "t": 7, "p": "1", "r": 100}]}),
    ("NoLimitFound", "cancel", {"cancels": [{"t": "limit", "a": 0, "i": 7}]}),
    ("NoTradeToTimeoutFound", "cancel", {"cancels": [{"t": "open", "o": 999}]}),
    ("NoTradeFound", "margin", {"a": 0, "i": 7, "amount": "5"}),
    ("NoTradeFound", "modify", {"a": 0, "i": 7, "sl": "5"}),
]


async def test_a_simulation_names_the_error_that_sending_would_meet(session: Session) -> None:
    await session.approved()
    found = [(await session.refused(action, body), action, body) for _, action, body in WRONG]
    assert found == WRONG
    await session.act("open", {"open": BASE})
    await session.settled()
    body = {"a": 0, "i": 0}
    assert await session.refused("modify", body | {"tp": "81000"}) == "WrongTP"
    assert await session.refused("modify", body | {"sl": "30000"}) == "WrongSL"
    assert await session.refused("margin", body | {"amount": "-100"}) == "WrongParams"
    small = {"closes": [{"a": 0, "t": 0, "p": "1", "r": 99.99}]}
    assert await session.refused("close", small) == "BelowMinLevPos"


async def test_a_day_trade_may_have_the_leverage_of_the_day(session: Session) -> None:
    await session.approved()
    stock = BASE | {"a": 9, "l": "60"}
    night = await session.simulated("open", {"open": stock})
    day = await session.simulated("open", {"open": stock | {"d": True}})
    assert (night["transactions"][0]["error"]["name"], day["transactions"][0]["ok"]) == ("WrongLeverage", True)
    assert night["transactions"][0]["error"]["arguments"] == {"leverage": 6_000}
    (pair,) = day["pairs"]
    assert (pair["maxLeverage"], pair["overnightMaxLeverage"], pair["minPosition"]) == ("100", "10", "4.5")


async def test_a_simulation_says_what_to_approve(session: Session) -> None:
    told = await session.simulated("open", {"open": BASE})
    assert told["transactions"][0]["error"]["name"] == "ERC20InsufficientAllowance"
    hint = told["allowance"]
    assert (hint["current"], hint["required"], hint["sufficient"]) == ("0", "100", False)
    approve = hint["approveTx"]
    await session.send(Call(bytes.fromhex(approve["to"][2:]), bytes.fromhex(approve["data"][2:])))
    told = await session.simulated("open", {"open": BASE})
    assert (told["transactions"][0]["ok"], told["allowance"]["sufficient"]) == (True, True)
    await session.act("open", {"open": BASE})
    await session.settled()
    close = await session.simulated("close", {"closes": [{"a": 0, "t": 0, "p": PRICE, "r": 100}]})
    assert close["allowance"]["required"] == "0.1"  # the oracle's fee comes from the account
    assert close["transactions"][0]["error"]["name"] == "ERC20InsufficientAllowance"


async def test_a_simulation_says_that_trading_is_paused_or_over(session: Session) -> None:
    await session.approved()
    for paused, done, name in ((True, False, "IsPaused"), (True, True, "IsDone")):
        await session.send(invoke(session.on.trading, "setState(bool,bool)", paused, done))
        told = await session.simulated("open", {"open": BASE})
        assert (told["isPaused"], told["isDone"]) == (paused, done)
        assert told["transactions"][0]["error"]["name"] == name


async def test_the_balance_is_the_chains(session: Session) -> None:
    answer = await session.face.get("/v1/balance/usdc?address=0x" + session.trader.hex(), trader=None)
    held = await session.usdc()
    assert answer.body["balance"] == str(held)
    assert answer.body["balanceFormatted"] == f"{held // 10**6}.{held % 10**6:06d}"


async def test_the_mocks_have_the_interface_of_the_real_contracts(session: Session, artifacts: Any) -> None:
    from contracts import abi
    from tests.anvil.test_contracts import compiled, shape

    for ours, theirs in (("registry", "OstiumRegistry"), ("pairs", "OstiumPairs"), ("storage", "OstiumStorage")):
        known = {shape(entry) for entry in compiled(artifacts, theirs)}
        assert [entry["name"] for entry in abi(f"ostium_{ours}") if shape(entry) not in known] == []
    known = {shape(entry) for entry in compiled(artifacts, "OstiumTrading")}
    functions = [entry for entry in abi("ostium_trading") if entry["type"] == "function"]
    assert [entry["name"] for entry in functions if shape(entry) not in known] == []
