"""Uniswap's own contracts on a local chain with a pool in either token order, and wallets for droids to work with."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from random import Random
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount

from builders import liquidity, uniswap_v3
from builders.call import invoke
from builders.liquidity import Amounts
from builders.ticks import sqrt_at, tick_at
from core.hex import from_hex, to_hex
from core.rpc.client import RpcClient
from devnet.artifacts import Artifacts
from devnet.deploy import FOREVER, UNIT
from devnet.node import Node
from devnet.town import Devnet
from droids.records import PoolRow
from tests.anvil.pools import FEE, Place
from tests.droids import SEED

CHAIN = 31_337
ETHER = 10**18
OWNED: Amounts = (3 * UNIT, 9_000 * 10**6)  # base and quote of a wallet at first
OBSERVATIONS = 400

# Acts often: rungs of 180 ticks, and half a percent of the spot triggers.
BUSY: dict[str, Any] = SEED | {
    "triggerType": "PRICE", "tickBuckets": 3, "maxBots": 5, "minPrice": 500, "maxPrice": 20_000, "fundingUSD": 15_000,
    "fallingRebalanceTrigger": Decimal("0.005"), "risingRebalanceTrigger": Decimal("0.005"),
    "gasBudgetLimit": 100_000, "maxGasPrice": 100,
}  # fmt: skip


class ChainClock:
    """Time as the newest block has it: tests move it by mining."""

    def __init__(self) -> None:
        self.at = datetime.now(UTC)

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0.02)  # only leases wait: for the end of the session before


@dataclass
class Ground:
    """A chain with a pool, and a trader who moves its price."""

    rpc: RpcClient
    node: Node
    pool: Place
    base_is_token0: bool
    clock: ChainClock

    @property
    def base(self) -> bytes:
        return self.pool.tokens[0 if self.base_is_token0 else 1]

    @property
    def quote(self) -> bytes:
        return self.pool.tokens[1 if self.base_is_token0 else 0]

    def pool_row(self, pool_id: int = 42) -> PoolRow:
        at = self.pool.at["pool"]
        return PoolRow(pool_id=pool_id, chain_id=CHAIN, address=at, manager=self.pool.manager, quote=self.quote)

    async def wallet(self) -> LocalAccount:
        """A new account with ether, base and quote."""
        made: LocalAccount = Account.create()
        who = from_hex(made.address)
        await self.rpc.call("anvil_setBalance", to_hex(who), hex(10 * ETHER))
        gifts = zip((self.base, self.quote), OWNED, strict=True)
        await self.pool.send(*(invoke(token, "mint(address,uint256)", who, amount) for token, amount in gifts))
        return made

    async def nudge(self, chance: Random, *, least: int = 20, most: int = 90) -> int:
        """Move the price by some ticks, either way; return by how many."""
        state = await self.pool.state()
        here = tick_at(state.sqrt_x96)
        target = sqrt_at(here + chance.choice((-1, 1)) * chance.randint(least, most))
        down = target < state.sqrt_x96
        delta = liquidity.amount0_delta if down else liquidity.amount1_delta
        await self.pool.swap(delta(target, state.sqrt_x96, state.liquidity, up=True), down=down)
        await self.tell_time()
        return (await self.pool.state()).tick - here

    async def push(self, chance: Random, *, most: int = 60) -> None:
        """Move the price by some ticks, either way, in a block; nothing is held against anything."""
        sqrt_x96, tick = await self.pool.ask("pool", "slot0()", ["uint160", "int24"])
        (in_range,) = await self.pool.ask("pool", "liquidity()", ["uint128"])
        target = sqrt_at(tick + chance.choice((-1, 1)) * chance.randint(10, most))
        down = target < sqrt_x96
        delta = liquidity.amount0_delta if down else liquidity.amount1_delta
        paid, received = self.pool.tokens if down else self.pool.tokens[::-1]
        amount = delta(target, sqrt_x96, in_range, up=True)
        path = (paid, FEE, received)
        await self.pool.settled(
            uniswap_v3.swap(self.pool.router, path, amount, recipient=self.pool.wallet, deadline=FOREVER)
        )

    async def wait(self, seconds: int) -> None:
        """Let time pass, and mine a block."""
        await self.rpc.call("evm_increaseTime", seconds)
        await self.mine()

    async def mine(self, blocks: int = 1) -> None:
        await self.rpc.call("anvil_mine", hex(blocks))
        await self.tell_time()

    async def tell_time(self) -> None:
        found = await self.rpc.call("eth_getBlockByNumber", "latest", False)
        self.clock.at = datetime.fromtimestamp(int(found["timestamp"], 16), UTC)

    # What the node alone says of a wallet.

    async def ether(self, who: bytes) -> int:
        return int(await self.rpc.call("eth_getBalance", to_hex(who), "latest"), 16)

    async def balances(self, who: bytes) -> dict[bytes, int]:
        asked = {token: invoke(token, "balanceOf(address)", who) for token in self.pool.tokens}
        found = {token: int.from_bytes(await self.node.read(call)) for token, call in asked.items()}
        return {**found, b"": await self.ether(who)}

    async def nfts(self, who: bytes) -> dict[int, int]:
        """The positions that an account owns, with their liquidity."""
        manager = "uniswap_v3_position_manager"
        (count,) = await self.pool.ask(manager, "balanceOf(address)", ["uint256"], who)
        words = ["uint96", *["address"] * 3, "uint24", "int24", "int24", "uint128"]
        found = {}
        for at in range(count):
            (token,) = await self.pool.ask(manager, "tokenOfOwnerByIndex(address,uint256)", ["uint256"], who, at)
            found[token] = (await self.pool.ask(manager, "positions(uint256)", words, token))[7]
        return found


@contextlib.asynccontextmanager
async def chain() -> AsyncIterator[tuple[Devnet, RpcClient, Artifacts]]:
    """A fresh chain with Uniswap's contracts."""
    artifacts = Artifacts()
    async with Devnet(npm_dir=artifacts.npm, seed=1) as devnet, RpcClient(devnet.http_url) as rpc:
        yield devnet, rpc, artifacts


async def broken(devnet: Devnet, rpc: RpcClient, artifacts: Artifacts, *, base_is_token0: bool) -> Ground:
    """New ground on a chain: a pool of its own that remembers its prices."""
    pool = Place(devnet, rpc, artifacts)
    await pool.open(base_is_token0=base_is_token0)
    for count in (OBSERVATIONS // 2, OBSERVATIONS):
        await pool.send(invoke(pool.at["pool"], "increaseObservationCardinalityNext(uint16)", count))
    made = Ground(rpc, Node(rpc), pool, base_is_token0, ChainClock())
    # Two swaps, so that there are observations, and time behind them.
    await made.nudge(Random(1), least=1, most=2)
    await made.wait(900)
    await made.nudge(Random(2), least=1, most=2)
    await made.wait(60)
    return made
