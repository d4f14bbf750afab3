"""A droid's plans on Uniswap's own contracts, in both token orders: what is sent does what was planned, to the wei."""

from dataclasses import replace
from decimal import Decimal
from random import Random

import pytest
from eth_abi.abi import decode

from builders import liquidity
from builders.call import Call, invoke
from builders.liquidity import Amounts
from builders.ticks import sqrt_at, tick_at
from builders.uniswap_v3 import Collected, Decreased, Increased, Moved
from devnet.deploy import FOREVER, UNIT
from droids import plan
from droids.decide import Memory, Rebalance, Spot, decide
from droids.droid import Droid, Pace
from droids.market import Market, Span
from droids.plan import Held, Plan, Terms
from droids.trend import begun
from tests.anvil.pools import FEE, SPACING, Place
from tests.droids import droid, market

TERMS = Terms(deadline=FOREVER)
PACE = Pace(warm_up_s=0, cooldown_s=0, daily_cap=1_000)
OWNED: Amounts = (3 * UNIT, 9_000 * 10**6)  # base and quote that are the droid's own


class Robot:
    """A droid that looks at the spot alone, and keeps its ledger from what logs say."""

    def __init__(self, spot: Place, of: Droid, *, base_is_token0: bool) -> None:
        self.pool, self.droid = spot, of
        self.market: Market = market(base_is_token0=base_is_token0, fee=FEE, spacing=SPACING)
        self.place = plan.Place(
            manager=spot.manager, token0=spot.tokens[0], token1=spot.tokens[1], wallet=spot.wallet
        )  # fmt: skip
        self.idle = self.market.split(OWNED)
        self.held: list[Held] = []
        self.memory: Memory | None = None

    async def look(self) -> Spot:
        state = await self.pool.state()
        fees = [await self.pool.fees(each.token_id, each.span.lower, each.span.upper) for each in self.held]
        self.held = [replace(each, fees=(of[0], of[1])) for each, of in zip(self.held, fees, strict=True)]
        return Spot(0, state.sqrt_x96, state.tick)

    async def step(self) -> Plan | None:
        """Look, decide, plan and send; check that what happened is what was planned."""
        spot = await self.look()
        price = self.market.price(spot.sqrt_x96)
        self.memory = self.memory or Memory(trend=begun(price, 0))
        decision = decide(self.droid, PACE, self.market, self.memory, spot)
        if not isinstance(decision, Rebalance):
            return None
        self.memory = replace(self.memory, anchor=price, spans=decision.spans)
        made = plan.moved(
            self.market, self.place, self.held, decision.spans, sqrt_x96=spot.sqrt_x96,
            funding=self.market.in_token1(int(self.droid.funding_usd * 10**6), spot.sqrt_x96), idle=self.idle,
            terms=TERMS,
        )  # fmt: skip
        if made is not None:
            await self.send(made)
        return made

    async def end(self) -> Plan:
        spot = await self.look()
        made = plan.ended(self.market, self.place, self.held, sqrt_x96=spot.sqrt_x96, idle=self.idle, terms=TERMS)
        assert made is not None
        await self.send(made)
        return made

    async def send(self, made: Plan) -> None:
        before = await self.pool.held()
        effects = self.pool.effects(await self.pool.send(made.call))
        after = await self.pool.held()
        principals = [each for each in effects if isinstance(each, Decreased)]
        paid = [each for each in effects if isinstance(each, Collected)]
        opened = [each for each in effects if isinstance(each, Increased)]
        burnt = [each.token_id for each in effects if isinstance(each, Moved) and each.recipient == bytes(20)]
        closings = made.closings
        assert [each.token_id for each in paid] == burnt == [each.held.token_id for each in closings]
        assert [(each.amount0, each.amount1) for each in paid] == [each.gives for each in closings]
        for principal, closing in zip(principals, closings, strict=True):
            assert principal.liquidity == closing.held.liquidity
            assert principal.amount0 >= closing.least[0] and principal.amount1 >= closing.least[1]
        takes = [(each.liquidity, (each.amount0, each.amount1)) for each in opened]
        assert takes == [(each.liquidity, each.takes) for each in made.openings]
        change = [now - was for was, now in zip(before, after, strict=True)]
        assert change == [new - old for old, new in zip(self.idle, made.idle, strict=True)]
        self.idle = made.idle
        self.held = [
            Held(log.token_id, opening.span, log.liquidity, (0, 0))
            for log, opening in zip(opened, made.openings, strict=True)
        ]

    async def owned(self) -> set[int]:
        """The NFTs that the wallet has, as the chain says."""
        manager = "uniswap_v3_position_manager"
        (count,) = await self.pool.ask(manager, "balanceOf(address)", ["uint256"], self.place.wallet)
        asked = "tokenOfOwnerByIndex(address,uint256)"
        return {(await self.pool.ask(manager, asked, ["uint256"], self.place.wallet, at))[0] for at in range(count)}


@pytest.fixture
def robot(spot: Place, request: pytest.FixtureRequest) -> Robot:
    ordered = request.node.callspec.params["spot"]
    of = droid(
        triggerType="PRICE", tickBuckets=3, maxBots=5, minPrice=1000, maxPrice=9000, fundingUSD=20_000,
        fallingRebalanceTrigger=Decimal("0.005"), risingRebalanceTrigger=Decimal("0.005"),
    )  # fmt: skip
    return Robot(spot, of, base_is_token0=ordered)


async def test_every_rebalance_does_what_was_planned_whichever_way_the_price_goes(robot: Robot) -> None:
    others = await robot.owned()
    chance, plans = Random(60), list[Plan]()
    for _ in range(14):
        if (made := await robot.step()) is not None:
            plans.append(made)
        assert await robot.owned() == others | {each.token_id for each in robot.held}
        await nudge(robot, chance)
    end = await robot.end()
    assert await robot.owned() == others
    assert len(plans) > 8
    assert {len(made.openings) for made in plans} >= {5}
    for made in [*plans, end]:
        assert 0 <= made.before - made.after <= 4 * (len(made.openings) + 1)
    assert robot.market.worth(robot.idle, (await robot.pool.state()).sqrt_x96) > 10_000 * 10**6


async def nudge(robot: Robot, chance: Random) -> None:
    """Move the price up to some 2 %, either way."""
    state = await robot.pool.state()
    target = sqrt_at(tick_at(state.sqrt_x96) + chance.choice((-1, 1)) * chance.randint(20, 200))
    down = target < state.sqrt_x96
    delta = liquidity.amount0_delta if down else liquidity.amount1_delta
    await robot.pool.swap(delta(target, state.sqrt_x96, state.liquidity, up=True), down=down)


async def test_the_same_ladder_is_no_plan(robot: Robot) -> None:
    assert await robot.step() is not None
    spot = await robot.look()
    spans = [each.span for each in robot.held]
    again = plan.moved(
        robot.market, robot.place, robot.held, spans, sqrt_x96=spot.sqrt_x96, funding=10**30, idle=robot.idle,
        terms=TERMS,
    )  # fmt: skip
    assert again is None
    assert await robot.step() is None


async def test_a_plan_that_comes_too_late_for_its_price_changes_nothing(robot: Robot) -> None:
    """A price that has slipped beyond the minimums reverts the whole transaction: there is no half of it."""
    assert await robot.step() is not None
    spot = await robot.look()
    spans = [Span(each.span.lower + 60, each.span.upper + 60) for each in robot.held]
    made = plan.moved(
        robot.market, robot.place, robot.held, spans, sqrt_x96=spot.sqrt_x96, funding=10**30, idle=robot.idle,
        terms=TERMS,
    )  # fmt: skip
    assert made is not None
    owned = await robot.owned()
    state = await robot.pool.state()
    amount = liquidity.amount1_delta(state.sqrt_x96, sqrt_at(state.tick + 150), state.liquidity, up=True)
    await robot.pool.swap(amount, down=False)
    assert [each.status for each in await robot.pool.settled(made.call)] == [0]
    assert await robot.owned() == owned


def decoded(call: Call) -> list[bytes]:
    (calls,) = decode(["bytes[]"], call.data[4:])
    return list(calls)


async def test_nothing_but_the_managers_calls_is_in_a_plan(robot: Robot) -> None:
    await robot.step()
    made = await robot.end()
    assert made.call.to == robot.place.manager and made.call.value == 0
    selectors = [call[:4].hex() for call in decoded(made.call)]
    assert selectors == ["0c49ccbe", "fc6f7865", "42966c68"] * len(made.closings)
    assert invoke(robot.place.manager, "burn(uint256)", made.closings[0].held.token_id).data == decoded(made.call)[2]
