"""A pool of two fresh tokens on the devnet, in either order, and one wallet that provides and trades in it."""

from collections import Counter

from eth_abi.abi import decode

from builders import erc20, liquidity, swaps, uniswap_v3
from builders.call import Call, create, invoke, topic
from builders.swaps import PoolState
from builders.ticks import sqrt_at
from builders.uniswap_v3 import Effect, Increased, Range
from core.rpc.client import RpcClient
from core.rpc.source import RpcSource
from core.types import BlockRange, Log
from devnet.artifacts import Artifacts
from devnet.deploy import ALL, FOREVER, UNIT
from devnet.node import Draft, Node, Receipt
from devnet.town import Devnet

MINTED = topic("Mint(address,address,int24,int24,uint128,uint256,uint256)")
BURNT = topic("Burn(address,int24,int24,uint128,uint256,uint256)")
SWAPPED = topic("Swap(address,address,int256,int256,uint160,uint128,int24)")
GAS = 5_000_000
OUTCOME = ["int256", "int256", "uint160", "uint128", "int24"]
FEE, SPACING = 3000, 60


class Place:
    """A pool of two fresh tokens, ether at 3,200 dollars, and one wallet that provides and trades in it."""

    def __init__(self, devnet: Devnet, rpc: RpcClient, artifacts: Artifacts) -> None:
        self.at = dict(devnet.contracts)
        self.wallet = devnet.actors[0]
        self.manager, self.router = self.at["uniswap_v3_position_manager"], self.at["uniswap_v3_swap_router"]
        self.tokens: list[bytes] = []
        self._node, self._source = Node(rpc), RpcSource(rpc, 31_337)
        self._net, self._gross, self._read = Counter[int](), Counter[int](), 0
        self._code = artifacts.bytecode("DemoToken")

    async def open(self, *, base_is_token0: bool) -> None:
        """Make the tokens in this order, and their pool with liquidity over the full range."""
        ether, dollar = await self._token(18), await self._token(6)
        while (ether < dollar) != base_is_token0:
            dollar = await self._token(6)
        self.tokens = sorted((ether, dollar))
        whole = (100 * UNIT, 320_000 * 10**6) if base_is_token0 else (320_000 * 10**6, 100 * UNIT)
        price = uniswap_v3.sqrt_price_x96(*whole)
        await self.send(
            *(erc20.approve(token, spender, ALL) for token in self.tokens for spender in (self.manager, self.router)),
            *(invoke(token, "mint(address,uint256)", self.wallet, 10**30) for token in self.tokens),
            uniswap_v3.create_pool(self.manager, self.tokens[0], self.tokens[1], FEE, price),
        )
        asked = invoke(self.at["uniswap_v3_factory"], "getPool(address,address,uint24)", *self.tokens, FEE)
        self.at["pool"] = (await self._node.read(asked))[-20:]
        await self.mint(*uniswap_v3.full_range(SPACING), whole)

    async def _token(self, decimals: int) -> bytes:
        call = create(self._code, ("string", "string", "uint8"), ("Test", "TEST", decimals))
        (made,) = await self._node.settle([Draft(kind="token", sender=self.wallet, call=call, gas=GAS)])
        assert made.contract is not None
        return made.contract

    async def send(self, *calls: Call) -> list[Log]:
        """Send the calls in a block, and return what they logged."""
        done = await self.settled(*calls)
        assert [each.status for each in done] == [1] * len(calls)
        blocks = await self._source.blocks(BlockRange(done[0].block, done[-1].block))
        return [log for block in blocks for tx in block.txs for log in tx.receipt.logs]

    async def settled(self, *calls: Call) -> list[Receipt]:
        """Send the calls and return what became of them, reverted ones too."""
        return await self._node.settle([Draft(kind="test", sender=self.wallet, call=call, gas=GAS) for call in calls])

    async def ask(self, to: str, function: str, kinds: list[str], *arguments: object) -> tuple[int, ...]:
        answer = await self._node.read(invoke(self.at[to], function, *arguments))
        return tuple(decode(kinds, answer[: 32 * len(kinds)]))

    async def state(self) -> PoolState:
        sqrt_x96, tick = await self.ask("pool", "slot0()", ["uint160", "int24"])
        (in_range,) = await self.ask("pool", "liquidity()", ["uint128"])
        first, last = self._read, await self._node.height()
        blocks = await self._source.blocks(BlockRange(first, last)) if first <= last else []
        self._read = last + 1
        for log in (log for block in blocks for tx in block.txs for log in tx.receipt.logs):
            if log.address == self.at["pool"] and log.topics[0] in (MINTED, BURNT):
                lower, upper = (int.from_bytes(each[-3:], signed=True) for each in log.topics[2:])
                minted = log.topics[0] == MINTED
                amount = int.from_bytes(log.data[32:64]) if minted else -int.from_bytes(log.data[:32])
                self._net.update({lower: amount})
                self._net.subtract({upper: amount})
                self._gross.update({lower: amount, upper: amount})
        net = {tick: self._net[tick] for tick, amount in self._gross.items() if amount}
        return PoolState(sqrt_x96=sqrt_x96, tick=tick, liquidity=in_range, fee=FEE, spacing=SPACING, net=net)

    async def growth(self) -> tuple[int, int]:
        names = ("feeGrowthGlobal0X128()", "feeGrowthGlobal1X128()")
        first, second = [(await self.ask("pool", name, ["uint256"]))[0] for name in names]
        return first, second

    async def held(self) -> list[int]:
        asked = [invoke(token, "balanceOf(address)", self.wallet) for token in self.tokens]
        return [int.from_bytes(await self._node.read(call)) for call in asked]

    async def mint(self, lower: int, upper: int, of: tuple[int, int]) -> Increased:
        where = Range(
            token0=self.tokens[0], token1=self.tokens[1], fee=FEE, tick_lower=lower, tick_upper=upper
        )  # fmt: skip
        price = (await self.state()).sqrt_x96
        edges = sqrt_at(lower), sqrt_at(upper)
        least = liquidity.least_minted(price, *edges, of, 50)
        before = await self.held()
        logs = await self.send(
            uniswap_v3.mint(self.manager, where, *of, recipient=self.wallet, deadline=FOREVER, least=least)
        )
        (made,) = (e for e in self.effects(logs) if isinstance(e, Increased))
        ours = liquidity.liquidity_of(price, *edges, of)
        assert (made.liquidity, (made.amount0, made.amount1)) == (
            ours, liquidity.amounts(price, *edges, ours, up=True),
        )  # fmt: skip
        after = await self.held()
        assert [was - now for was, now in zip(before, after, strict=True)] == [made.amount0, made.amount1]
        return made

    async def swap(self, amount: int, *, down: bool) -> swaps.Swapped:
        """Swap exactly `amount` in, or out if it is negative, and hold the contract against our integers."""
        state, growth = await self.state(), await self.growth()
        paid, received = self.tokens if down else self.tokens[::-1]
        if amount > 0:
            call = uniswap_v3.swap(self.router, (paid, FEE, received), amount, recipient=self.wallet, deadline=FOREVER)
        else:
            function = "exactOutputSingle((address,address,uint24,address,uint256,uint256,uint256,uint160))"
            order = (paid, received, FEE, self.wallet, FOREVER, -amount, ALL, 0)
            call = invoke(self.router, function, order)
        (log,) = (log for log in await self.send(call) if log.topics[0] == SWAPPED)
        ours = swaps.swap(state, amount, down=down)
        found = (ours.amount0, ours.amount1, ours.sqrt_x96, ours.liquidity, ours.tick)
        assert found == decode(OUTCOME, log.data)
        now = await self.growth()
        grown = [(after - before) % 2**256 for after, before in zip(now, growth, strict=True)]
        assert grown == ([ours.growth, 0] if down else [0, ours.growth])
        return ours

    def effects(self, logs: list[Log]) -> list[Effect]:
        found = [uniswap_v3.effect(log, self.manager) for log in logs]
        return [each for each in found if each is not None]

    async def fees(self, token_id: int, lower: int, upper: int) -> list[int]:
        """What the position has earned, by fee growth as the chain has it now."""
        kinds = ["uint128", "int128", "uint256", "uint256"]
        sides = [(await self.ask("pool", "ticks(int24)", kinds, tick))[2:] for tick in (lower, upper)]
        words = ["uint96", *["address"] * 3, "uint24", "int24", "int24", "uint128", "uint256", "uint256"]
        position = await self.ask("uniswap_v3_position_manager", "positions(uint256)", words, token_id)
        tick = (await self.state()).tick
        return [
            liquidity.fees_owed(
                position[7],
                liquidity.growth_inside(tick, (lower, sides[0][side]), (upper, sides[1][side]), growth),
                position[8 + side],
            )
            for side, growth in enumerate(await self.growth())
        ]
