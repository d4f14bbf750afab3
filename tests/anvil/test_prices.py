"""Prices of a real chain with Uniswap's own contracts: ours are those of slot0, and what is wrong with one shows."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from fractions import Fraction

import pytest
from eth_abi.abi import decode

from builders import uniswap_v3
from builders.call import invoke
from builders.ticks import mean_tick, price_at
from core.rpc.caller import RpcCaller
from core.rpc.client import RpcClient
from core.rpc.source import RpcSource
from core.store import ticks
from core.store.pg import PgStore
from core.store.pool import Pool, open_pool
from core.store.reader import snapshot
from core.store.tokens import PgTokens
from core.types import Block, BlockRange
from daemon.demo import venue
from daemon.prices import venue_of
from devnet.deploy import FOREVER, POOLS, UNIT
from devnet.node import Draft, Node
from devnet.town import Devnet
from indexer.decode.tables import LogTable, TransferTable
from indexer.tokens import Tokens
from prices.history import History
from prices.judge import Price
from prices.pricer import Pricer

HALF_HOUR = 1_800
RELATIVE = Fraction(1, 10**9)


class Town:
    """The devnet, an index of it, and what prices its tokens."""

    def __init__(self, devnet: Devnet, rpc: RpcClient, pool: Pool) -> None:
        self.at = devnet.contracts
        self.owner, self.trader = devnet.accounts[0], devnet.actors[0]
        self.node, self._rpc, self._pool = Node(rpc), rpc, pool
        self._source = RpcSource(rpc, 31_337)
        self.store = PgStore(pool, 31_337, derived=[TransferTable(lambda *_: None), LogTable("none")])
        self._tokens = Tokens(RpcCaller(rpc), PgTokens(pool, 31_337), name="town")
        self.pricer = self.fresh()

    def fresh(self) -> Pricer:
        """Who prices, with nothing in mind."""
        return Pricer(self._pool, 31_337, replace(venue_of(venue(self.at)), max_age=timedelta(hours=6)))

    async def blocks(self, first: int, last: int) -> list[Block]:
        return list(await self._source.blocks(BlockRange(first, last)))

    async def follow(self) -> int:
        """Store what is new, read new tokens, and return the height."""
        cursor, height = await self.store.cursor(), await self.node.height()
        first = 0 if cursor is None else cursor.number + 1
        if first <= height:
            await self.store.commit(await self.blocks(first, height), after=cursor)
        while await self._tokens.step():
            pass
        return height

    async def later(self, seconds: int = HALF_HOUR) -> None:
        """Let time pass, and a block with nothing in it."""
        await self._rpc.call("evm_increaseTime", hex(seconds))
        await self.node.mine()

    async def swap(self, paid: str, fee: int, received: str, amount: int) -> int:
        """Swap in a block of its own; return its number."""
        path = (self.at[paid], fee, self.at[received])
        call = uniswap_v3.swap(
            self.at["uniswap_v3_swap_router"], path, amount, recipient=self.trader, deadline=FOREVER
        )  # fmt: skip
        (done,) = await self.node.settle([Draft(kind="swap", sender=self.trader, call=call, gas=900_000)])
        assert done.status == 1
        return done.block

    async def price(self, name: str, number: int) -> Price:
        ref = await self.store.ref_at(number)
        assert ref is not None
        return (await self.pricer.prices({ref: [self.at[name]]}))[ref, self.at[name]]

    async def slot0(self, pool: str, number: int) -> tuple[int, int, int]:
        """What the contract itself says at a block: square root, tick and liquidity in range."""
        (first,) = decode(["uint160"], (await self.said(pool, "slot0()", number))[:32])
        (tick,) = decode(["int24"], (await self.said(pool, "slot0()", number))[32:64])
        (liquidity,) = decode(["uint128"], await self.said(pool, "liquidity()", number))
        return first, tick, liquidity

    async def said(self, pool: str, function: str, number: int, *arguments: object) -> bytes:
        call = {"to": "0x" + self.at[pool].hex(), "data": "0x" + invoke(self.at[pool], function, *arguments).data.hex()}
        return bytes.fromhex((await self._rpc.call("eth_call", call, hex(number)))[2:])

    async def spot(self, pool: str, token: str, number: int) -> Fraction:
        """Base units of the other token for one of `token`, by slot0."""
        price = price_at((await self.slot0(pool, number))[0])
        (token0,) = decode(["address"], await self.said(pool, "token0()", number))
        return price if bytes.fromhex(token0[2:]) == self.at[token] else 1 / price


@pytest.fixture
async def town(devnet: Devnet, rpc: RpcClient, database_url: str) -> AsyncIterator[Town]:
    async with open_pool(database_url, role="chainworkd_indexer", size=3) as pool:
        made = Town(devnet, rpc, pool)
        await made.store.register("local", None)
        yield made


def near(found: Fraction | None, expected: Fraction) -> bool:
    return found is not None and abs(found / expected - 1) < RELATIVE


async def test_ticks_and_liquidity_are_those_of_the_contracts(town: Town, devnet: Devnet, database_url: str) -> None:
    for _ in range(40):
        await devnet.step()
    height = await town.follow()
    names = {town.at[pool.name]: pool.name for pool in POOLS}
    async with open_pool(database_url, size=1) as pool, snapshot(pool) as conn:
        for number in range(height - 40, height + 1, 4):
            found = await ticks.newest(conn, 31_337, list(names), 0, number)
            theirs = {address: await town.slot0(name, number) for address, name in names.items()}
            ours = {address: (tick.sqrt_x96, tick.tick, tick.liquidity) for address, tick in found.items()}
            assert ours == theirs, number


async def test_values_are_the_products_of_slot0_at_that_block(town: Town, devnet: Devnet) -> None:
    await town.later()
    for _ in range(12):
        await devnet.step()
    height = await town.follow()
    for number in range(height - 10, height + 1, 3):
        dollar = await town.spot("pool_weth_usdc_500", "weth", number) / 10**6
        via = {
            "usdc": Fraction(1),
            "usdt": await town.spot("pool_usdt_usdc_100", "usdt", number),
            "dai": await town.spot("pool_dai_usdc_100", "dai", number) * 10**12,
        }
        usd_of_wei = sorted(dollar / value for value in via.values())[1]
        native, bitcoin = await town.price("weth", number), await town.price("wbtc", number)
        assert [hop.pool.address for stable in native.stables for hop in stable.route.hops[-1:]] == [
            town.at["pool_weth_usdc_500"]
        ] * 3
        assert near(native.usd, usd_of_wei)
        assert near(bitcoin.usd, usd_of_wei * await town.spot("pool_wbtc_weth_3000", "wbtc", number))
        assert native.confidence is not None


async def test_the_mean_is_what_the_pool_itself_observes(town: Town, database_url: str) -> None:
    grow = invoke(town.at["pool_weth_usdc_500"], "increaseObservationCardinalityNext(uint16)", 50)
    await town.node.settle([Draft(kind="observe", sender=town.trader, call=grow, gas=3_000_000)])
    await town.later(600)
    for amount in (3, 1, 4, 1, 5):
        await town.swap("weth", 500, "usdc", amount * UNIT)
        await town.later(500)
    height = await town.follow()
    ref = await town.store.ref_at(height)
    assert ref is not None
    address = town.at["pool_weth_usdc_500"]
    async with open_pool(database_url, size=1) as pool, snapshot(pool) as conn:
        found = await History(31_337, timedelta(hours=6)).read(conn, {ref: [address]})
    mean = found[ref][1][address].mean
    raw = await town.said("pool_weth_usdc_500", "observe(uint32[])", height, (HALF_HOUR, 0))
    (before, now), _ = decode(["int56[]", "uint160[]"], raw)
    assert (mean.seconds, mean.whole) == (HALF_HOUR, True)
    assert mean_tick(mean.sum, mean.seconds) == (now - before) // HALF_HOUR
    assert mean.sum == now - before


async def test_a_manipulated_block_is_flagged_and_the_next_one_is_not(town: Town) -> None:
    await town.later(2 * HALF_HOUR)
    moved = await town.swap("weth", 3000, "wbtc", 400 * UNIT)
    back = await town.swap("wbtc", 3000, "weth", 12 * 10**8)
    await town.follow()
    flagged, before = await town.price("wbtc", moved), await town.price("wbtc", moved - 1)
    assert (flagged.usd, flagged.reason) == (None, "manipulated")
    assert flagged.spot is not None
    assert before.usd is not None
    assert flagged.spot > before.usd * 11 / 10
    assert near(flagged.mean, before.mean or Fraction(0))
    assert (await town.price("weth", moved)).usd is not None, "other pools are not concerned"
    assert back > moved


async def test_a_depeg_shows_and_moves_nothing_else(town: Town) -> None:
    await town.later(2 * HALF_HOUR)
    before = await town.node.height()
    number = await town.swap("dai", 100, "usdc", 1_040_000 * UNIT)
    await town.later(2 * HALF_HOUR)
    height = await town.follow()
    was, native, dai = (
        await town.price("weth", before), await town.price("weth", height), await town.price("dai", height),
    )  # fmt: skip
    assert number < height
    assert was.usd is not None
    assert near(native.usd, was.usd)
    assert dai.usd is not None
    assert dai.usd * UNIT < Fraction(98, 100)
    (shown,) = [stable.usd for stable in native.stables if stable.token == town.at["dai"]]
    assert near(dai.usd * UNIT, shown)


async def test_a_hole_in_coverage_gives_null_and_heals_and_a_reorg_undoes(town: Town, rpc: RpcClient) -> None:
    await town.later(2 * HALF_HOUR)
    kept = await town.node.height()
    chain = await town.blocks(0, kept)
    await town.store.commit(chain[-1:], after=None)
    assert (await town.price("weth", kept)).reason == "not_covered"
    await town.store.fill(chain[:-1])
    await town.follow()
    healed = await town.price("weth", kept)
    assert healed.usd is not None

    saved = await rpc.call("evm_snapshot")
    number = await town.swap("weth", 500, "usdc", 20 * UNIT)
    await town.follow()
    cursor, ancestor = await town.store.cursor(), await town.store.ref_at(kept)
    assert cursor is not None
    assert ancestor is not None
    lower = await town.price("weth", number)
    assert lower.usd is not None
    assert lower.usd < healed.usd
    await rpc.call("evm_revert", saved)
    await town.later(60)
    await town.store.rewind(cursor, ancestor, reason="test")
    await town.follow()
    again = await town.price("weth", number)
    assert near(again.usd, healed.usd)
    assert again == (await town.fresh().prices({again.block: [town.at["weth"]]}))[again.block, town.at["weth"]]
