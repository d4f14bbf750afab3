"""What a droid would do now and would have done, from indexed swaps; held against the backtest and the plan."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import httpx
import pytest

from accounts.roles import Role
from builders.ticks import tick_at
from core.store.pool import Pool
from daemon.droid_places import pace_of
from droids import backtest
from droids.backtest import Costs, Figures
from droids.course import Moment, course
from droids.droid import droid_of
from droids.strategies import DroidStrategy
from droids.trend import begun, followed
from tests.api import make
from tests.api.droids import HASTY, OF, PLACE, chains, droid_town, known, made, spoken, stored
from tests.api.people import Town, refused, town
from tests.api.test_droids import SQL_UNREAD
from tests.droids import SEED, market
from tests.pools import USDC, WETH, sqrt_of

# Up by a tenth, a rest, down by a fifth and up again, a price every 12 s: several moves of a hasty droid.
WAY = [*range(3000, 3300, 10), *[3300] * 10, *range(3300, 2700, -15), *range(2700, 3100, 10)]
PRICES = [str(price) for price in WAY]
FEE = 12_345_678_901  # base fee of every block, wei
MARKET = market(base_is_token0=OF.token0 == WETH)


async def indexed(owner: Pool, prices: list[str] = PRICES, *, first: int = 0) -> None:
    await stored(owner, [replace(each, base_fee=FEE) for each in spoken(prices, first=first)])


@pytest.fixture
async def spot(wide_pool: Pool, pool: Pool) -> AsyncIterator[Town]:
    async with droid_town(wide_pool, pool) as one:
        yield one


@pytest.fixture
async def admin(spot: Town) -> httpx.AsyncClient:
    return await spot.signed_in("ann@example.org", Role.ADMIN)


def replayed(price: Decimal) -> tuple[Figures, DroidStrategy]:
    """What the backtest makes of the same prices, not by way of the database."""
    roots = [sqrt_of(OF, WETH, text) for text in PRICES]
    moments = [
        Moment(make.GENESIS_TIME + make.BLOCK_S * n, root, tick_at(root), 10**20 if n else 0)
        for n, root in enumerate(roots)
    ]
    way = course(
        MARKET, moments, sample_s=HASTY.sample_s, warm_up_s=HASTY.warm_up_s, funding=50_000 * 10**6
    )  # fmt: skip
    strategy = DroidStrategy(droid_of(SEED), pace_of(HASTY), MARKET)
    steps = backtest.run(way, strategy, Costs(FEE, price))
    while True:
        try:
            next(steps)
        except StopIteration as done:
            figures: Figures = done.value.figures
            return figures, strategy


# The last days


async def test_an_estimate_is_a_backtest_over_the_indexed_swaps(admin: httpx.AsyncClient, pool: Pool) -> None:
    await indexed(pool)
    answer = await admin.get(f"/api/droids/{await made(admin)}/estimate")
    assert answer.status_code == 200, answer.text
    found = answer.json()
    figures, strategy = replayed(Decimal(WAY[-1]))
    assert found["decisions"] == {str(reason): count for reason, count in strategy.reasons.items()}
    assert found["rebalances"] == figures.rebalances > 2
    assert found["swaps"] == len(WAY)
    assert found["seconds"] == figures.seconds == (len(WAY) - 1) * 12 - HASTY.warm_up_s
    assert [Decimal(str(found[name])) for name in ("fees", "il", "lvr")] == [figures.fees, figures.il, figures.lvr]
    assert found["rebalancesPerDay"] == pytest.approx(figures.rebalances * 86_400 / figures.seconds)
    assert found["timeInRange"] == pytest.approx(float(figures.time_in_range))
    assert found["gasPriceGwei"] == 12.345678901
    assert found["gasUSD"] == pytest.approx(float(figures.gas), rel=1e-4)
    assert found["netReturn"] == pytest.approx(float(figures.net_return), rel=1e-4)
    assert (found["fromBlock"], found["toBlock"]) == (0, len(WAY) - 1)
    assert found["from"] == "2026-04-30T12:01:12.000Z"


async def test_an_index_that_does_not_reach_back_so_far_is_said_not_to(admin: httpx.AsyncClient, pool: Pool) -> None:
    await indexed(pool, PRICES[:60], first=1_000)
    answer = await admin.get(f"/api/droids/{await made(admin)}/estimate?days=1")
    message = refused(answer, 503)
    assert message.startswith("not_covered: blocks before 1000 (2026-04-30T15:20:12.000Z) are not indexed")
    assert "retry-after" not in answer.headers


async def test_a_hole_in_the_index_is_a_reason(admin: httpx.AsyncClient, pool: Pool) -> None:
    await indexed(pool)
    await pool.execute("update chain.coverage set blocks = int8range(50, 120) where blocks @> 0::bigint")
    message = refused(await admin.get(f"/api/droids/{await made(admin)}/estimate?days=1"), 503)
    assert message.startswith("not_covered: blocks before 50 ")


async def test_what_nobody_indexed_cannot_be_estimated(admin: httpx.AsyncClient, pool: Pool) -> None:
    number = await made(admin)
    for path in ("plan", "estimate"):
        assert "not_covered: nothing" in refused(await admin.get(f"/api/droids/{number}/{path}"), 503)
    await stored(pool, [make.block(0), make.block(1)])
    for path in ("plan", "estimate"):
        assert "said nothing of its price" in refused(await admin.get(f"/api/droids/{number}/{path}"), 503)


async def test_a_few_seconds_are_no_history(admin: httpx.AsyncClient, pool: Pool) -> None:
    await indexed(pool, PRICES[:4])
    assert "the warm-up of 60 s included" in refused(
        await admin.get(f"/api/droids/{await made(admin)}/estimate"), 503
    )  # fmt: skip


async def test_more_than_can_be_gone_through_is_refused(
    admin: httpx.AsyncClient, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await indexed(pool)
    number = await made(admin)
    for limit in ("MOST_MOMENTS", "MOST_MARKS"):
        with monkeypatch.context() as patched:
            patched.setattr(f"api.droid_outlook.{limit}", 50)
            message = refused(await admin.get(f"/api/droids/{number}/estimate"), 400)
        assert message.startswith("days: ")
        assert "50" in message


async def test_a_pool_that_is_not_watched_has_only_some_of_its_swaps(admin: httpx.AsyncClient, pool: Pool) -> None:
    await indexed(pool)
    await pool.execute("update chain.chain set watched = $1", [make.BOB])
    number = await made(admin)
    for path in ("plan", "estimate"):
        assert "it is not watched" in refused(await admin.get(f"/api/droids/{number}/{path}"), 503)
    await pool.execute("update chain.chain set watched = $1", [OF.address])
    assert (await admin.get(f"/api/droids/{number}/plan")).status_code == 200


async def test_a_pool_that_the_worker_has_not_read_has_no_outlook(admin: httpx.AsyncClient, pool: Pool) -> None:
    await indexed(pool)
    number = await made(admin)
    await pool.execute(SQL_UNREAD)
    for path in ("plan", "estimate"):
        assert refused(await admin.get(f"/api/droids/{number}/{path}"), 503).startswith("pool_not_read: ")
    assert (await admin.get(f"/api/droids/{number}/history")).status_code == 200


async def test_without_a_price_of_the_native_coin_gas_has_none(wide_pool: Pool, pool: Pool) -> None:
    await known(pool)
    await indexed(pool)
    bare = {name: chain.model_copy(update={"prices": type(chain.prices)()}) for name, chain in chains().items()}
    async with town(wide_pool, chains=bare, droids=HASTY) as one:
        admin = await one.signed_in("ann@example.org", Role.ADMIN)
        number = await made(admin)
        estimate, plan = [(await admin.get(f"/api/droids/{number}/{path}")).json() for path in ("estimate", "plan")]
    assert (estimate["gasUSD"], plan["gasUSD"]) == (None, None)
    assert (estimate["gasPriceGwei"], plan["gas"]) == (12.345678901, 148_000 + 5 * 300_000)


# Now


async def test_a_new_droid_would_open_its_ladder(admin: httpx.AsyncClient, pool: Pool) -> None:
    await indexed(pool)
    found = (await admin.get(f"/api/droids/{await made(admin)}/plan")).json()
    assert (found["decision"], found["reason"], found["active"]) == ("Rebalance", "first", 0)
    assert (found["average"], found["funds"], found["block"]) == ("index", "assumed", len(WAY) - 1)
    assert found["price"] == pytest.approx(WAY[-1])
    assert (found["closes"], len(found["opens"])) == ([], 5)
    centre = found["opens"][0]
    assert centre["minPrice"] < WAY[-1] < centre["maxPrice"]
    base, quote = [sum(each[side] for each in found["opens"]) for side in ("base", "quote")]
    assert base * WAY[-1] + quote <= 50_000
    assert found["valueBefore"] == pytest.approx(50_000, abs=1e-4)
    assert 0 <= found["valueBefore"] - found["valueAfter"] < 0.001
    assert found["gas"] == 148_000 + 5 * 300_000
    assert found["gasUSD"] == pytest.approx(found["gas"] * 12.345678901e-9 * WAY[-1], rel=1e-4)
    # What the daemon would have, had it begun as long ago as the warm-up takes, and two samples.
    trend = begun(MARKET.price(sqrt_of(OF, WETH, PRICES[-9])), 0)
    for number, price in enumerate(PRICES[-8:-1], start=1):
        tick = tick_at(sqrt_of(OF, WETH, price))
        trend = followed(trend, MARKET.mean_price(tick, 1), 12 * number, tau_s=HASTY.tau_s)
    assert found["ema"] == pytest.approx(float(trend.value), rel=1e-4)
    assert found["ema"] != pytest.approx(WAY[-1], rel=1e-3)


SQL_MEMORY = """
    insert into droid.memory (droid_id, ema, slope, sampled_at, since, anchor)
    values ($1, $2, 0.001, $3::bigint, $3::bigint - 100000, $4)
"""
SQL_MOVE = """
    insert into droid.move (intent_id, droid_id, session_id, kind, at, block_number, block_hash, sqrt_x96, spans,
        native_price, state, outcome, mined_number, mined_hash)
    values (gen_random_uuid(), $1, 1, 'rebalance', $2, 1, '', 1, $3, 3000, 'done', 'done', 1, '')
"""
SQL_POSITION = """
    insert into droid.position (chain_id, manager, token_id, droid_id, slot, lower_tick, upper_tick, liquidity,
        opened_by, put0, put1)
    values (31337, $2, $3, $1, $4, $5, $6, $7, gen_random_uuid(), 0, 0)
"""
SQL_LEDGER = """
    insert into droid.ledger (droid_id, block_number, block_hash, entry, asset, kind, amount, at)
    values ($1, $2, '', -2, $3, $4, $5, now())
"""


async def remembered(owner: Pool, number: int, *, ema: str, anchor: str) -> None:
    """The droid ran until now; two positions are around its average, three ether and twelve dollars beside them."""
    at = make.GENESIS_TIME + make.BLOCK_S * (len(WAY) - 1)
    await owner.execute(SQL_MEMORY, number, Decimal(ema), at, Decimal(anchor))
    tick = tick_at(sqrt_of(OF, WETH, ema)) // 60 * 60
    spans = [[lower, lower + 600] for lower in (tick - 300, tick + 300)]
    await owner.execute(SQL_MOVE, number, datetime.fromtimestamp(at - 3_600, UTC), json.dumps(spans))
    for slot, (lower, upper) in enumerate(spans):
        await owner.execute(
            SQL_POSITION, number, PLACE.manager, 700 + slot, slot, lower, upper, 10**15
        )  # fmt: skip
    for block, asset, kind, amount in (
        (1, WETH, "opening", 5 * 10**18), (1, USDC, "opening", 12 * 10**6), (1, b"", "opening", 10**18),
        (2, WETH, "put", -2 * 10**18),
    ):  # fmt: skip
        await owner.execute(SQL_LEDGER, number, block, asset, kind, amount)


async def test_a_droid_that_ran_decides_by_what_it_remembers(admin: httpx.AsyncClient, pool: Pool) -> None:
    await indexed(pool)
    number = await made(admin)
    await remembered(pool, number, ema="3085", anchor="3085")
    found = (await admin.get(f"/api/droids/{number}/plan")).json()
    assert (found["decision"], found["reason"], found["average"]) == ("Hold", "steady", "memory")
    assert (found["opens"], found["closes"], found["gas"], found["gasUSD"]) == ([], [], 0, 0)
    assert (found["funds"], found["ema"], found["slope"]) == ("ledger", 3085, 0.001)
    assert found["valueBefore"] == found["valueAfter"] > 3 * WAY[-1]


async def test_a_droid_whose_price_rose_would_move_what_it_has(admin: httpx.AsyncClient, pool: Pool) -> None:
    await indexed(pool)
    number = await made(admin)
    await remembered(pool, number, ema="3085", anchor="2935")
    found = (await admin.get(f"/api/droids/{number}/plan")).json()
    assert (found["decision"], found["reason"]) == ("Rebalance", "rose")
    assert [each["positionId"] for each in found["closes"]] == ["0x2bc", "0x2bd"]
    assert all(each["positionId"] is None for each in found["opens"])
    assert found["gas"] == 145_600 * (2 + len(found["opens"]))
    assert found["valueAfter"] == pytest.approx(found["valueBefore"], abs=0.001)
    gives = sum(each["base"] * WAY[-1] + each["quote"] for each in found["closes"])
    assert found["valueBefore"] == pytest.approx(gives + 3 * (WAY[-1]) + 12, rel=1e-3)


async def test_a_droid_that_is_closing_would_close(admin: httpx.AsyncClient, pool: Pool) -> None:
    await indexed(pool)
    number = await made(admin)
    await remembered(pool, number, ema="3085", anchor="3085")
    await admin.patch(f"/api/droids/{number}/active", json={"active": 3})
    found = (await admin.get(f"/api/droids/{number}/plan")).json()
    assert (found["decision"], len(found["closes"]), found["opens"]) == ("Close", 2, [])


async def test_a_plan_sends_nothing_and_writes_nothing(admin: httpx.AsyncClient, pool: Pool) -> None:
    await indexed(pool)
    number = await made(admin)
    tables = [
        row["name"]
        for row in await pool.fetch(
            "select schemaname || '.' || tablename as name from pg_tables where schemaname in ('droid', 'wallet')"
        )
    ]
    counts = [await pool.fetchval(f"select count(*) from {name}") for name in tables]
    for path in ("plan", "estimate"):
        assert (await admin.get(f"/api/droids/{number}/{path}")).status_code == 200
    assert [await pool.fetchval(f"select count(*) from {name}") for name in tables] == counts
    assert len(tables) > 10
    assert USDC in (OF.token0, OF.token1)
