"""The published calldata, sent to our doubles: they do with it what the compiled real contracts did."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from builders.call import Call, invoke
from builders.ostium import calldata
from builders.ostium.actions import (
    Action,
    Approve,
    Close,
    Deployment,
    Generation,
    Open,
    OpenKind,
    SetDelegate,
)  # fmt: skip
from builders.ostium.reverts import revert
from core.rpc.client import RpcClient
from core.rpc.state import RpcState
from devnet.node import Draft, Node
from devnet.town import Devnet
from tests.builder import vectors

pytestmark = vectors.needs_vectors

PRICE = 42_500 * 10**18
MARKET = Open(pair=0, long=True, kind=OpenKind.MARKET, price=PRICE, collateral=10**8, leverage=1_000, slippage=25)
LIMIT = Open(
    pair=0, long=True, kind=OpenKind.LIMIT, price=42_000 * 10**18, collateral=10**8, leverage=1_000,
    take_profit=44_000 * 10**18, stop_loss=38_500 * 10**18,
)  # fmt: skip
LAST_ID_SLOT = "0x1"  # OstiumStorage.lastId: the vectors name orders 12345 and 12346
BEFORE = 12_344


class Stage:
    """The chain as a vector wants it before its calls."""

    def __init__(self, devnet: Devnet, node: Node, rpc: RpcClient, trader: bytes) -> None:
        at = devnet.contracts
        self.on = Deployment(31_337, at["ostium_trading"], at["ostium_storage"], at["usdc"])
        self.node, self.rpc, self.trader = node, rpc, trader
        self.delegate = bytes.fromhex(vectors.load()["meta"]["delegate_example"][2:])
        self.presets: dict[str, Callable[[], Awaitable[None]]] = {
            "clean": self._clean, "trade": self._trade, "limit": self._limit, "pending_open": self._pending,
            "mixed": self._mixed, "delegated": self._delegated, "delegated_trade": self._delegated_trade,
        }  # fmt: skip

    async def do(self, *actions: Action) -> None:
        for action in actions:
            await self.send(calldata.call(action, self.on, self.trader, Generation.V3))

    async def send(self, call: Call, sender: bytes | None = None) -> int:
        draft = Draft(kind="vector", sender=sender or self.trader, call=call, gas=2_000_000)
        (receipt,) = await self.node.settle([draft])
        return receipt.status

    async def _clean(self) -> None:
        await self.do(Approve(10**12))

    async def _trade(self) -> None:
        await self.do(Approve(10**12), MARKET)
        await self.send(invoke(self.on.trading, "settle(uint256,uint192)", 1, PRICE))

    async def _limit(self) -> None:
        await self.do(Approve(10**12), LIMIT, LIMIT)

    async def _pending(self) -> None:
        await self._number()
        await self.do(Approve(10**12), MARKET)
        await self.rpc.call("anvil_mine", hex(31))

    async def _mixed(self) -> None:
        await self._trade()
        await self._number()
        await self.do(LIMIT, MARKET, Close(0, 0, 10_000, PRICE, 25))
        await self.rpc.call("anvil_mine", hex(31))

    async def _delegated(self) -> None:
        await self.do(Approve(10**12), SetDelegate(self.delegate))

    async def _delegated_trade(self) -> None:
        await self._trade()
        await self.do(SetDelegate(self.delegate))

    async def _number(self) -> None:
        where = "0x" + self.on.storage.hex()
        await self.rpc.call("anvil_setStorageAt", where, LAST_ID_SLOT, f"0x{BEFORE:064x}")


@pytest.fixture
async def stage(devnet: Devnet, node: Node, rpc: RpcClient) -> AsyncIterator[Stage]:
    trader = bytes.fromhex(vectors.load()["meta"]["trader"][2:])
    assert trader in devnet.accounts
    yield Stage(devnet, node, rpc, trader)


async def outcome(stage: Stage, meta: Any, unsigned: Any) -> str:
    """`ok`, or the error's name, of a published transaction that is sent to our deployment."""
    ours = {meta["trading"].lower(): stage.on.trading, meta["usdc"].lower(): stage.on.usdc}
    call = Call(ours[unsigned["to"].lower()], bytes.fromhex(unsigned["data"][2:]), int(unsigned["value"]))
    sender, state = bytes.fromhex(unsigned["from"][2:]), RpcState(stage.rpc)
    assert call.to is not None
    told = await state.call_as(sender, call.to, call.data, await state.head())
    status = await stage.send(call, sender)
    assert status == int(told.ok)
    return "ok" if told.ok else str(revert(told.data).name)


async def test_ostium_vectors_do_to_our_doubles_what_they_did_to_the_real_contracts(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    file = vectors.load()
    cases = [case for case in file["vectors"] if case["abi"] == "v3" and case["anvil"]["preset_state"] in stage.presets]
    wrong = {}
    for case in cases:
        snapshot = await stage.rpc.call("evm_snapshot")
        await stage.presets[case["anvil"]["preset_state"]]()
        found = [await outcome(stage, file["meta"], unsigned) for unsigned in case["expected"]["transactions"]]
        if found != case["anvil"]["result"]:
            wrong[case["id"]] = (found, case["anvil"]["result"])
        await stage.rpc.call("evm_revert", snapshot)
    with capsys.disabled():
        print(f"\nostium vectors: {len(cases)} of {len(file['vectors'])} sent to the doubles (generation v3)")
    assert wrong == {}
    assert cases
