"""Ways and judgements: which pools price a token, and when what they say is not believed."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest

from builders.ticks import tick_at
from core.store.ticks import Tick
from core.types import BlockRef
from prices import judge, routes
from prices.judge import Basis, Price, priced, usd_of_wei
from prices.routes import Mean, Past, Pool
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


def steady(tick: int) -> Mean:
    """The mean of a pool that has been there for the whole window."""
    return Mean(tick * 1_800, 1_800, whole=True, young=False)


# Liquidity is in the geometric mean of both tokens' units: of pools with a token of 6 decimals it is smaller.
THREE = {
    WETH_USDC: tick(WETH_USDC, WETH, "3000", liquidity=10**18),
    WETH_USDT: tick(WETH_USDT, WETH, "3000", liquidity=10**18),
    WETH_DAI: tick(WETH_DAI, WETH, "3000"),
}


def price_of(token: bytes, said: Mapping[Pool, Tick], *, means: Mapping[Pool, Mean] | None = None) -> Price:
    found = {**{each: steady(tick.tick) for each, tick in said.items()}, **(means or {})}
    pasts = {each.address: Past(tick, found[each]) for each, tick in said.items()}
    bases = routes.ways_of_bases(VENUE, routes.pools_of_bases(VENUE), pasts)
    basis = Basis(VENUE, BLOCK, NOW, pasts)
    way = routes.way_of(token, bases, routes.pools_of(VENUE, token), pasts)
    return priced(basis, token, way, usd_of_wei(basis, bases, DECIMALS))


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
    means = {LINK_WETH: steady(before)}
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
    price = price_of(WETH, moved, means={WETH_DAI: steady(usual)})
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


def test_of_ways_that_are_equally_deep_the_shortest_is_gone() -> None:
    """All ways to dollars through one shallow pool have its depth; a detour would add the price of another pool."""
    usdt_usdc, link_usdc, link_usdt = pool(USDT, USDC), pool(LINK, USDC), pool(LINK, USDT)
    said = {
        WETH_USDC: tick(WETH_USDC, WETH, "3000", liquidity=10**16),
        usdt_usdc: tick(usdt_usdc, USDT, "1", liquidity=10**19),
        link_usdc: tick(link_usdc, LINK, "15", liquidity=10**18),
        link_usdt: tick(link_usdt, LINK, "15.3", liquidity=10**19),
    }  # fmt: skip
    assert [hop.pool for hop in price_of(LINK, said).route] == [link_usdc, WETH_USDC]


def test_a_new_pool_takes_no_way_over_however_deep_it_says_it_is() -> None:
    usual, new = tick(LINK_WETH, LINK, "0.005", liquidity=10**23), pool(LINK, WETH, 3000)
    said = {**THREE, LINK_WETH: usual, new: tick(new, LINK, "0.05", liquidity=10**27)}
    for young in (True, False):
        price = price_of(LINK, said, means={new: Mean(0, 0, whole=False, young=young)})
        assert ([hop.pool for hop in price.route], price.confidence) == ([LINK_WETH], "high")
    alone = price_of(LINK, {**THREE, new: said[new]}, means={new: Mean(0, 0, whole=False, young=True)})
    assert ([hop.pool for hop in alone.route], alone.doubts) == ([new], ("young",))


def test_liquidity_that_is_not_all_known_is_none() -> None:
    """Of blocks that were stored before Mint logs were kept a Burn may take what nobody brought."""
    price = price_of(LINK, {**THREE, LINK_WETH: tick(LINK_WETH, LINK, "0.005", liquidity=-(10**24))})
    assert price.reason == "no_route"


@pytest.mark.parametrize("decimals", [0, 6, 8, 18, 30])
@pytest.mark.parametrize("address", [b"\0" * 19 + b"\1", b"\xff" * 20])
@pytest.mark.parametrize(("value", "eth"), [("15", "0.005"), ("3e-9", "0.000000000001"), ("3e9", "1000000")])
def test_a_token_of_any_decimals_on_either_side_has_its_price(
    address: bytes, decimals: int, value: str, eth: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DECIMALS, address, decimals)
    of = pool(address, WETH)
    assert (of.token0 == address) == (address[0] == 0)
    sqrt = sqrt_of(of, address, eth)
    said = replace(tick(of, address, "1"), sqrt_x96=sqrt, tick=tick_at(sqrt), liquidity=10**38)
    price = price_of(address, {**THREE, of: said})
    assert whole(price.spot, address) == pytest.approx(float(value), rel=1e-6)
    assert price.confidence == "high"


def test_a_pool_that_slept_and_woke_is_refused_until_its_mean_is_whole() -> None:
    said = {**THREE, LINK_WETH: tick(LINK_WETH, LINK, "0.005")}
    woke = Mean(said[LINK_WETH].tick * 60, 60, whole=False, young=False)
    assert price_of(LINK, said, means={LINK_WETH: woke}).reason == "stale"
    new = replace(woke, young=True)
    price = price_of(LINK, said, means={LINK_WETH: new})
    assert (price.confidence, price.doubts) == ("low", ("young",))


def test_a_pool_of_this_very_second_is_its_own_mean() -> None:
    said = {**THREE, LINK_WETH: tick(LINK_WETH, LINK, "0.005")}
    price = price_of(LINK, said, means={LINK_WETH: Mean(0, 0, whole=False, young=True)})
    assert price.deviation is not None
    assert price.deviation < Fraction(1, 1000)


def test_an_old_price_is_doubted() -> None:
    old = tick(LINK_WETH, LINK, "0.005", age=timedelta(hours=2))
    assert price_of(LINK, {**THREE, LINK_WETH: old}).doubts == ("stale",)


def test_without_a_stable_nothing_has_a_value() -> None:
    assert price_of(WETH, {}).reason == "no_route"


def test_a_stable_whose_decimals_are_not_read_yet_is_waited_for() -> None:
    pasts = {p.address: Past(t, steady(t.tick)) for p, t in THREE.items()}
    ways = routes.ways_of_bases(VENUE, routes.pools_of_bases(VENUE), pasts)
    assert usd_of_wei(Basis(VENUE, BLOCK, NOW, pasts), ways, {USDC: 6, USDT: 6}) == "not_covered"


def test_another_setting_is_another_method() -> None:
    assert VENUE.method != replace(VENUE, min_depth=VENUE.min_depth + 1).method
    assert VENUE.method.startswith(f"{routes.ENGINE}/")
    assert judge.STABLES == 3
