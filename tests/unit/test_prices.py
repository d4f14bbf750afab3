"""Ways and judgements: which pools price a token, and when what they say is not believed."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest

from builders.ticks import tick_at
from core.store.ticks import Mean, Tick
from core.types import BlockRef
from prices import judge, routes
from prices.judge import Basis, Price, priced, usd_of_wei
from prices.routes import Pool
from tests.pools import DAI, DECIMALS, ETHER, LINK, USDC, USDT, VENUE, WETH, pool, sqrt_of

BLOCK = BlockRef(100, b"\x07" * 32)
NOW = datetime(2026, 4, 30, 12, tzinfo=UTC)
DEEP = 10**24
WETH_USDC, WETH_USDT, WETH_DAI = (pool(WETH, stable) for stable in (USDC, USDT, DAI))
LINK_WETH, LINK_DAI = pool(LINK, WETH), pool(LINK, DAI)


def tick(of: Pool, token: bytes, price: str, *, liquidity: int = DEEP, age: timedelta = timedelta()) -> Tick:
    sqrt = sqrt_of(of, token, price)
    return Tick(
        pool=of.address, number=90, time=NOW - age, sqrt_x96=sqrt, tick=tick_at(sqrt), liquidity=liquidity
    )  # fmt: skip


# Liquidity is in the geometric mean of both tokens' units: of pools with a token of 6 decimals it is smaller.
THREE = {
    WETH_USDC: tick(WETH_USDC, WETH, "3000", liquidity=10**18),
    WETH_USDT: tick(WETH_USDT, WETH, "3000", liquidity=10**18),
    WETH_DAI: tick(WETH_DAI, WETH, "3000"),
}


def price_of(token: bytes, said: Mapping[Pool, Tick], *, means: Mapping[Pool, Mean] | None = None) -> Price:
    known = routes.pools(VENUE, [token])
    assert {each.address for each in said} <= known.keys()
    ways = routes.routes(VENUE, known, {each.address: found for each, found in said.items()})
    steady = {each.address: Mean([(found.tick, 1_800)], whole=True, young=False) for each, found in said.items()}
    other = {each.address: mean for each, mean in (means or {}).items()}
    basis = Basis(VENUE, BLOCK, NOW, {**steady, **other})
    wei = usd_of_wei(basis, ways, DECIMALS)
    return priced(basis, token, ways.get(token), wei)


def whole(value: Fraction | None, token: bytes) -> float:
    assert value is not None
    return float(value * 10 ** DECIMALS[token])


def test_a_token_is_worth_its_price_in_native_coins_times_the_median_of_the_stables() -> None:
    price = price_of(LINK, {**THREE, LINK_WETH: tick(LINK_WETH, LINK, "0.005")})
    assert whole(price.usd, LINK) == pytest.approx(15, rel=1e-9)
    assert (price.confidence, price.doubts, price.reason) == ("high", (), None)
    assert [hop.pool for hop in price.route] == [LINK_WETH]
    assert {stable.token for stable in price.stables} == {USDC, USDT, DAI}


def test_the_native_coin_needs_no_pool_of_its_own() -> None:
    price = price_of(WETH, THREE)
    assert whole(price.usd, WETH) == pytest.approx(3000, rel=1e-9)
    assert price.route == ()


def test_the_way_is_the_one_whose_shallowest_pool_is_deepest() -> None:
    direct = tick(LINK_WETH, LINK, "0.005", liquidity=10**21)
    detour = tick(LINK_DAI, LINK, "16", liquidity=10**23)
    price = price_of(LINK, {**THREE, LINK_WETH: direct, LINK_DAI: detour})
    assert [hop.pool for hop in price.route] == [LINK_DAI, WETH_DAI]
    deeper = {**THREE, LINK_WETH: replace(direct, liquidity=10**24), LINK_DAI: detour}
    assert [hop.pool for hop in price_of(LINK, deeper).route] == [LINK_WETH]


def test_depth_is_what_a_seller_could_take_within_two_percent() -> None:
    price = price_of(LINK, {**THREE, LINK_WETH: tick(LINK_WETH, LINK, "0.005", liquidity=10**21)})
    # liquidity x sqrt(price) x (1 - sqrt(0.98)), or the same from the other side
    assert price.depth is not None
    assert price.depth / ETHER == pytest.approx(1_000 * 0.005**0.5 * 0.01, rel=0.03)


def test_a_stable_that_lost_its_peg_shows_and_moves_nothing_else() -> None:
    said = {**THREE, WETH_DAI: tick(WETH_DAI, WETH, "3333.333333333333333333")}
    price = price_of(WETH, said)
    assert whole(price.usd, WETH) == pytest.approx(3000, rel=1e-9)
    assert {s.token: round(float(s.usd), 6) for s in price.stables} == {USDC: 1, USDT: 1, DAI: 0.9}
    assert whole(price_of(DAI, said).usd, DAI) == pytest.approx(0.9, rel=1e-9)


def test_a_stable_may_be_reached_through_another_one() -> None:
    of = pool(USDT, USDC)
    said = {p: t for p, t in THREE.items() if p != WETH_USDT}
    price = price_of(WETH, {**said, of: tick(of, USDT, "1", liquidity=10**15)})
    assert {s.token: [hop.pool for hop in s.route.hops] for s in price.stables}[USDT] == [of, WETH_USDC]
    assert price.confidence == "high"


def test_fewer_than_three_stables_are_a_peg() -> None:
    price = price_of(WETH, {WETH_USDC: THREE[WETH_USDC], WETH_DAI: THREE[WETH_DAI]})
    assert (price.confidence, price.doubts) == ("pinned", ("pinned",))
    assert whole(price.usd, WETH) == pytest.approx(3000, rel=1e-9)


@pytest.mark.parametrize(("spot", "expected"), [("0.00505", "high"), ("0.0053", "low"), ("0.006", None)])
def test_a_price_far_from_its_mean_is_doubted_and_then_refused(spot: str, expected: str | None) -> None:
    before = tick(LINK_WETH, LINK, "0.005").tick
    means = {LINK_WETH: Mean([(before, 1_800)], whole=True, young=False)}
    price = price_of(LINK, {**THREE, LINK_WETH: tick(LINK_WETH, LINK, spot)}, means=means)
    assert price.confidence == expected
    assert (price.usd is None) == (expected is None)
    assert price.reason == (None if expected else "manipulated")
    assert ("manipulated" in price.doubts) == (expected != "high")
    assert whole(price.mean, LINK) == pytest.approx(15, rel=2e-4)
    assert whole(price.spot, LINK) == pytest.approx(float(spot) * 3000, rel=1e-9)
    assert price.deviation is not None
    assert float(price.deviation) == pytest.approx(float(spot) / 0.005 - 1, abs=2e-4)


def test_a_stable_whose_pool_was_moved_leaves_the_median() -> None:
    usual = THREE[WETH_DAI].tick
    moved = {**THREE, WETH_DAI: tick(WETH_DAI, WETH, "6000")}
    price = price_of(WETH, moved, means={WETH_DAI: Mean([(usual, 1_800)], whole=True, young=False)})
    assert {s.token for s in price.stables} == {USDC, USDT}
    assert price.confidence == "pinned"
    assert whole(price.usd, WETH) == pytest.approx(3000, rel=1e-9)


def test_shallow_pools_are_doubted_and_then_refused() -> None:
    # min_depth is one native coin: 10**21 x sqrt(0.005) x 0.01 is 0.7 of it.
    for liquidity, expected in ((10**21, None), (10**22, "low"), (10**23, "high")):
        said = {**THREE, LINK_WETH: tick(LINK_WETH, LINK, "0.005", liquidity=liquidity)}
        price = price_of(LINK, said)
        assert price.confidence == expected, liquidity
        assert (price.reason == "thin") == (expected is None)


def test_a_pool_without_liquidity_is_no_way() -> None:
    price = price_of(LINK, {**THREE, LINK_WETH: tick(LINK_WETH, LINK, "0.005", liquidity=0)})
    assert (price.usd, price.reason, price.confidence) == (None, "no_route", None)


def test_a_pool_that_slept_and_woke_is_refused_until_its_mean_is_whole() -> None:
    said = {**THREE, LINK_WETH: tick(LINK_WETH, LINK, "0.005")}
    woke = Mean([(said[LINK_WETH].tick, 60)], whole=False, young=False)
    assert price_of(LINK, said, means={LINK_WETH: woke}).reason == "stale"
    new = replace(woke, young=True)
    price = price_of(LINK, said, means={LINK_WETH: new})
    assert (price.confidence, price.doubts) == ("low", ("young",))


def test_a_pool_of_this_very_second_is_its_own_mean() -> None:
    said = {**THREE, LINK_WETH: tick(LINK_WETH, LINK, "0.005")}
    price = price_of(LINK, said, means={LINK_WETH: Mean([(said[LINK_WETH].tick, 0)], whole=False, young=True)})
    assert price.deviation is not None
    assert price.deviation < Fraction(1, 1000)


def test_an_old_price_is_doubted() -> None:
    old = tick(LINK_WETH, LINK, "0.005", age=timedelta(hours=2))
    assert price_of(LINK, {**THREE, LINK_WETH: old}).doubts == ("stale",)


def test_without_a_stable_nothing_has_a_value() -> None:
    assert price_of(WETH, {}).reason == "no_route"


def test_a_stable_whose_decimals_are_not_read_yet_is_waited_for() -> None:
    ways = routes.routes(VENUE, routes.pools(VENUE, []), {p.address: t for p, t in THREE.items()})
    means = {p.address: Mean([(t.tick, 1_800)], whole=True, young=False) for p, t in THREE.items()}
    assert usd_of_wei(Basis(VENUE, BLOCK, NOW, means), ways, {USDC: 6, USDT: 6}) == "not_covered"


def test_another_setting_is_another_method() -> None:
    assert VENUE.method != replace(VENUE, min_depth=VENUE.min_depth + 1).method
    assert VENUE.method.startswith(f"{routes.ENGINE}/")
    assert judge.STABLES == 3
