"""Droids: what they are told, where their ladders lie, what each rung gets, and what they decide."""

import math
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import liquidity
from builders.ticks import sqrt_at, tick_at
from droids import ladder
from droids.decide import Hold, Reason, Rebalance, decide
from droids.droid import BadDroid, Pace, droid_of, fields_of, require_fit
from droids.market import Market, Span
from droids.trend import Trend, begun, followed
from tests.droids import BOTH, PACE, SEED, START, droid, market, memory, spot, sqrt_of

FLAT = Decimal(0)
SLOPES = [Decimal("-0.5"), Decimal("-0.005"), FLAT, Decimal("0.005"), Decimal("0.5")]
D = Decimal


# What a droid is told


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"maxPrice": 2500}, "maxPrice"),
        ({"maxPrice": 2000}, "maxPrice"),
        ({"fallingRebalanceTrigger": D("0.25"), "risingRebalanceTrigger": D("0.75")}, "risingRebalanceTrigger"),
        ({"fallingRebalanceTrigger": D("0.5")}, "fallingRebalanceTrigger"),
        ({"fallingRebalanceTrigger": 0}, "fallingRebalanceTrigger"),
        ({"risingRebalanceTrigger": -1}, "risingRebalanceTrigger"),
        ({"triggerMode": "RANGE_RATIO", "fallingRebalanceTrigger": D("0.8"), "risingRebalanceTrigger": D("0.2")},
         "risingRebalanceTrigger"),
        ({"triggerMode": "RANGE_RATIO", "risingRebalanceTrigger": D("1.0")}, "risingRebalanceTrigger"),
        ({"bucketOffset": 11}, "bucketOffset"),
        ({"ladderPercMargin": D("0.5")}, "ladderPercMargin"),
        ({"txPriority": 0}, "txPriority"),
        ({"maxBots": 0}, "maxBots"),
        ({"fundingUSD": 0}, "fundingUSD"),
        ({"triggerType": "SMA"}, "triggerType"),
        ({"fundingCurveType": "GAUSSIAN"}, "fundingCurveType"),
        ({"gasBudgetLimit": -1}, "gasBudgetLimit"),
        ({"tick_buckets": 5}, "tick_buckets"),
        ({"poolid": 5}, "poolid"),
    ],
)  # fmt: skip
def test_a_contradiction_names_its_field(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(BadDroid) as caught:
        droid_of(SEED | fields)
    assert any(fault.startswith(f"{field}: ") for fault in caught.value.faults)


def test_all_contradictions_are_told_at_once() -> None:
    with pytest.raises(BadDroid) as caught:
        droid_of(SEED | {"maxPrice": 1, "fallingRebalanceTrigger": 3, "risingRebalanceTrigger": 4})
    assert [fault.split(":")[0] for fault in caught.value.faults] == [
        "maxPrice", "fallingRebalanceTrigger", "risingRebalanceTrigger",
    ]  # fmt: skip


def test_a_missing_field_is_named() -> None:
    with pytest.raises(BadDroid, match="tickBuckets: field required"):
        droid_of({name: value for name, value in SEED.items() if name != "tickBuckets"})


def test_a_ladder_that_no_pool_holds_is_refused() -> None:
    with pytest.raises(BadDroid, match="tickBuckets"):
        require_fit(droid(tickBuckets=5_000, maxBots=5), market(spacing=200))
    with pytest.raises(BadDroid, match="maxPrice: expected room"):
        require_fit(droid(minPrice=2500, maxPrice=2600), market())
    require_fit(droid(), market())


def test_a_negative_ratio_is_the_automatic_one() -> None:
    legacy = droid(triggerMode="RANGE_RATIO", fallingRebalanceTrigger=-1, risingRebalanceTrigger=D("0.9"))
    assert legacy.ratios == (D("0.25"), D("0.9"))


def test_unknown_paces_are_refused() -> None:
    assert fields_of(Pace, {"tauS": 60}).tau_s == 60
    with pytest.raises(BadDroid, match="tau_s"):
        fields_of(Pace, {"tau_s": 60})


# The trend


def test_the_average_of_a_step_goes_63_percent_in_its_time_constant() -> None:
    trend = begun(D(100), START)
    for minute in range(1, 61):
        trend = followed(trend, D(200), START + 60 * minute, tau_s=3_600)
    assert abs(trend.value - D(200) + D(100) * D(-1).exp()) < D("1e-20")
    once = followed(begun(D(100), START), D(200), START + 3_600, tau_s=3_600)
    assert abs(once.value - trend.value) < D("1e-20")


def test_the_slope_is_that_of_the_logarithm_an_hour() -> None:
    trend, growth = begun(D(1), START), D("0.02")  # 2 % an hour
    for minute in range(1, 60 * 40):
        trend = followed(trend, (growth * minute / 60).exp(), START + 60 * minute, tau_s=3_600)
    assert abs(trend.slope - growth) < D("0.00001")


def test_a_sample_has_to_be_later() -> None:
    with pytest.raises(ValueError, match="after"):
        followed(begun(D(1), START), D(1), START, tau_s=60)


def test_the_mean_price_is_the_geometric_one_in_both_token_orders() -> None:
    at = [spot(market(), price).tick for price in (3000, 3300)]
    ticks = 40 * at[0] + 20 * at[1]
    plain, other = market().mean_price(ticks, 60), market(base_is_token0=False).mean_price(-ticks - 60, 60)
    assert abs(plain / (3000 ** D(2) * 3300) ** (D(1) / 3) - 1) < D("0.0001")
    assert abs(plain - other) < D("1e-18")


# Where rungs lie


def widths(spans: tuple[Span, ...]) -> set[int]:
    return {span.upper - span.lower for span in spans}


@pytest.mark.parametrize("slope", SLOPES)
@pytest.mark.parametrize("of", BOTH)
def test_all_rungs_are_as_wide_and_touch(of: Market, slope: Decimal) -> None:
    spans = ladder.rungs(droid(), of, spot(of, 3200).tick, slope)
    assert len(spans) == 5
    assert widths(spans) == {600}
    ordered = sorted(spans)
    assert all(one.upper == other.lower for one, other in pairwise(ordered))
    assert all(span.lower % 60 == 0 for span in spans)


@pytest.mark.parametrize(("offset", "step"), [(0, 600), (10, 600), (3, 180)])
def test_rungs_lie_a_step_apart(offset: int, step: int) -> None:
    of = market()
    spans = sorted(ladder.rungs(droid(bucketOffset=offset), of, spot(of, 3200).tick, FLAT))
    assert {other.lower - one.lower for one, other in pairwise(spans)} == {step}


def test_the_centre_leans_as_the_slope_says() -> None:
    of, tick = market(), spot(market(), 3200).tick
    bucket = tick // 60 * 60
    places = [ladder.rungs(droid(), of, tick, slope)[0].lower - bucket for slope in SLOPES]
    # Falling beyond the threshold: ends at the bucket. Leaning down, leaning up: around it. Rising: begins there.
    assert places == [60 - 600, -5 * 60, -4 * 60, -4 * 60, 0]


def test_rungs_go_outwards_leaning_side_first() -> None:
    of, tick = market(), spot(market(), 3200).tick
    for slope, signs in ((D("0.005"), [0, 1, -1, 2, -2]), (D("-0.005"), [0, -1, 1, -2, 2])):
        spans = ladder.rungs(droid(), of, tick, slope)
        assert [(span.lower - spans[0].lower) // 600 for span in spans] == signs


@given(
    st.decimals(2600, 3900, places=4), st.sampled_from(SLOPES), st.integers(1, 30), st.integers(0, 30),
    st.integers(1, 9),
)  # fmt: skip
def test_ladders_of_both_token_orders_mirror_each_other(
    price: Decimal, slope: Decimal, buckets: int, offset: int, bots: int
) -> None:
    of = droid(tickBuckets=buckets, bucketOffset=min(offset, buckets), maxBots=bots, minPrice=1, maxPrice=10**6)
    plain, other = (market(), market(base_is_token0=False))
    tick = spot(plain, price).tick
    # The mirror image of a tick's inside is the inside of -tick - 1.
    mirrored = ladder.rungs(of, other, -tick - 1, slope)
    assert tuple(span.mirrored for span in mirrored) == ladder.rungs(of, plain, tick, slope)


@given(st.decimals(2500, 4000, places=3), st.sampled_from(SLOPES), st.sampled_from(BOTH))
def test_no_rung_reaches_out_of_the_band(price: Decimal, slope: Decimal, of: Market) -> None:
    for span in ladder.rungs(droid(), of, spot(of, price).tick, slope):
        low, high = of.prices(span)
        assert 2500 <= low < high <= 4000


def test_the_curve_of_five_is_that_of_the_reference() -> None:
    assert ladder.linear(5) == (5, 4, 3, 2, 1)


# What each rung gets

AVAILABLE = st.integers(0, 10**24)
FUNDING = st.integers(1, 10**13)


def sized(
    of: Market, price: Decimal, *, funding: int, available: tuple[int, int], bots: int = 5, slope: Decimal = FLAT
) -> tuple[ladder.Share, ...]:
    at = spot(of, price)
    spans = ladder.rungs(droid(maxBots=bots, minPrice=1, maxPrice=10**6), of, at.tick, slope)
    return ladder.sized(
        spans, ladder.linear(len(spans)), sqrt_x96=at.sqrt_x96, funding=funding, available=available
    )  # fmt: skip


@given(
    st.sampled_from(BOTH), st.decimals(1000, 9000, places=4), st.tuples(st.integers(1, 9), st.sampled_from(SLOPES)),
    st.tuples(AVAILABLE, AVAILABLE), FUNDING,
)  # fmt: skip
def test_shares_never_exceed_what_there_is_nor_the_funding(
    of: Market, price: Decimal, shape: tuple[int, Decimal], available: tuple[int, int], dollars: int
) -> None:
    bots, slope = shape
    root = sqrt_of(of, price)
    funding = of.in_token1(dollars, root)
    shares = sized(of, price, bots=bots, slope=slope, funding=funding, available=available)
    for side in (0, 1):
        assert sum(share.amounts[side] for share in shares) <= available[side]
    worth = sum(share.amounts[0] * root * root // 2**192 + share.amounts[1] for share in shares)
    # Amounts are rounded up: by as much as a wei of each token a rung may be worth.
    assert worth <= funding + len(shares) * (2 + 2 * (root * root >> 192))
    for share in shares:
        taken = liquidity.amounts(root, sqrt_at(share.span.lower), sqrt_at(share.span.upper), share.liquidity, up=True)
        assert taken == share.amounts


@pytest.mark.parametrize("of", BOTH)
def test_with_plenty_of_both_the_curve_is_kept_and_the_funding_used(of: Market) -> None:
    root = sqrt_of(of, 3200)
    funding = of.in_token1(50_000 * 10**6, root)
    shares = sized(of, D(3200), funding=funding, available=of.split((10**24, 10**15)))
    worth = [of.worth(share.amounts, root) for share in shares]
    assert abs(sum(worth) - 50_000 * 10**6) < 100
    assert [round(15 * each / sum(worth), 6) for each in worth] == [5, 4, 3, 2, 1]


@pytest.mark.parametrize("of", BOTH)
def test_what_one_side_has_left_over_joins_its_own_rungs(of: Market) -> None:
    """With quote alone, only rungs below the price can be had, and they get nearly all of it."""
    root = sqrt_of(of, 3200)
    shares = sized(of, D(3200), funding=10**40, available=of.split((0, 10**10)))
    assert [of.turned(share.span).upper <= of.turned(ladder.rungs(droid(), of, tick_at(root), FLAT)[0]).lower
            for share in shares] == [True, True]  # fmt: skip
    quote = [of.split(share.amounts)[1] for share in shares]
    assert 10**10 * 0.998 < sum(quote) <= 10**10
    # The ladder leans up: the rungs below are the third and the fifth, with weights 3 and 1.
    assert abs(quote[0] / quote[1] - 3) < 0.001


@pytest.mark.parametrize("slope", SLOPES)
def test_both_token_orders_get_the_same_amounts(slope: Decimal) -> None:
    found = []
    for of in BOTH:
        root = sqrt_of(of, "3211.77")
        funding = of.in_token1(50_000 * 10**6, root)
        shares = sized(of, D("3211.77"), slope=slope, funding=funding, available=of.split((7 * 10**18, 24_000 * 10**6)))
        found.append([of.split(share.amounts) for share in shares])
    for one, other in zip(*found, strict=True):
        assert all(math.isclose(a, b, rel_tol=1e-6, abs_tol=2) for a, b in zip(one, other, strict=True))


# Decisions


def moved(of: Market, share: str, **fields: Any) -> Any:
    """What the droid of the contract does when trigger and spot moved by `share` since it centred at 3200."""
    made = droid(**{"tickBuckets": 60, "minPrice": 1, "maxPrice": 10**6} | fields)
    spans = ladder.rungs(made, of, spot(of, 3200).tick, FLAT)
    price = 3200 * (1 + D(share))
    return decide(made, PACE, of, memory(of, price, anchor=D(3200), spans=spans), spot(of, price))


@pytest.mark.parametrize("of", BOTH)
@pytest.mark.parametrize(
    ("share", "reason"),
    [("-0.031", Reason.FELL), ("-0.03", Reason.FELL), ("-0.029", Reason.STEADY), ("0.049", Reason.STEADY),
     ("0.051", Reason.ROSE), ("-0.2", Reason.LEFT), ("0.3", Reason.LEFT)],
)  # fmt: skip
def test_a_deviation_from_the_anchor_triggers_in_both_token_orders(of: Market, share: str, reason: Reason) -> None:
    decision = moved(of, share)
    assert decision.reason is reason and decision.why
    assert isinstance(decision, Hold if reason is Reason.STEADY else Rebalance)


@pytest.mark.parametrize("of", BOTH)
def test_a_centre_that_the_average_has_not_reached_yet_is_not_left(of: Market) -> None:
    """Behind a fast rise the centre begins at the spot's bucket, and the average lags below it."""
    spans = ladder.rungs(droid(), of, spot(of, 3200).tick, D("0.5"))
    low, high = of.prices(spans[0])
    behind = low * D("0.99")
    for average, anchor, reason in (
        (behind, behind, Reason.STEADY), (behind, low, Reason.LEFT), (behind * D("0.96"), behind, Reason.FELL),
        (high * D("1.01"), high, Reason.LEFT), (high * D("1.01"), high * D("1.02"), Reason.STEADY),
    ):  # fmt: skip
        known = memory(of, average, anchor=anchor, spans=spans)
        assert decide(droid(), PACE, of, known, spot(of, 3000)).reason is reason


@pytest.mark.parametrize("of", BOTH)
def test_a_ratio_is_a_place_within_the_centre_and_no_deviation(of: Market) -> None:
    fields = {"triggerMode": "RANGE_RATIO", "fallingRebalanceTrigger": D("0.25"), "risingRebalanceTrigger": D("0.75")}
    # The centre reaches 18 % to both sides: a move of 3 % is far from its quarters, one of 12 % is beyond them.
    reasons = [moved(of, share, **fields).reason for share in ("-0.031", "0.051", "-0.12", "0.12", "-0.5")]
    assert reasons == [Reason.STEADY, Reason.STEADY, Reason.FELL, Reason.ROSE, Reason.LEFT]


@pytest.mark.parametrize("of", BOTH)
def test_the_breaker_holds_outside_of_the_band(of: Market) -> None:
    for price in ("2499.9", "4000.1"):
        decision = decide(droid(), PACE, of, memory(of, price), spot(of, price))
        assert isinstance(decision, Hold) and decision.reason is Reason.PRICE_BAND
    assert decide(droid(), PACE, of, memory(of, 3200), spot(of, 3200)).reason is Reason.FIRST


def test_nothing_happens_before_the_average_is_warm() -> None:
    of = market()
    cold = replace(memory(of, 3200), trend=begun(D(3200), START))
    assert decide(droid(), PACE, of, cold, spot(of, 3200)).reason is Reason.WARMING


def test_the_same_ladder_sends_nothing_and_anchors_anew() -> None:
    of, price = market(), D("3200")
    spans = ladder.rungs(droid(), of, spot(of, price).tick, FLAT)
    decision = decide(droid(), PACE, of, memory(of, price, anchor=D(3000), spans=spans), spot(of, price))
    assert decision == Hold(Reason.SAME_LADDER, decision.why, reanchor=True)


@pytest.mark.parametrize(("since", "reason"), [(599, Reason.COOLDOWN), (600, Reason.FELL)])
def test_a_droid_waits_after_it_acted(since: int, reason: Reason) -> None:
    of = market()
    spans = ladder.rungs(droid(), of, spot(of, 3200).tick, FLAT)
    of_then = memory(of, 3000, anchor=D(3200), spans=spans, acted=(START - since,))
    found = decide(droid(), PACE, of, of_then, spot(of, 3000)).reason
    assert found is (Reason.LEFT if reason is Reason.FELL else reason)


def test_a_droid_acts_no_more_often_a_day_than_allowed() -> None:
    of = market()
    spans = ladder.rungs(droid(), of, spot(of, 3200).tick, FLAT)
    acted = tuple(START - 86_399 + 3_600 * hour for hour in range(12))
    for times, reason in ((acted, Reason.DAILY_CAP), ((START - 86_400, *acted[1:]), Reason.LEFT)):
        known = memory(of, 3000, anchor=D(3200), spans=spans, acted=times)
        assert decide(droid(), PACE, of, known, spot(of, 3000)).reason is reason


@pytest.mark.parametrize("of", BOTH)
@pytest.mark.parametrize(("margin", "reason"), [("0.45", Reason.HYSTERESIS), ("0.02", Reason.FELL)])
def test_a_full_ladder_moves_only_for_a_rung_that_is_nearer_by_the_margin(
    of: Market, margin: str, reason: Reason
) -> None:
    assert moved(of, "-0.031", maxBots=1, ladderPercMargin=D(margin)).reason is reason


def test_a_spot_trigger_ignores_the_average() -> None:
    of = market()
    spans = ladder.rungs(droid(tickBuckets=60, minPrice=1, maxPrice=10**6), of, spot(of, 3200).tick, FLAT)
    known = memory(of, 3200, anchor=D(3200), spans=spans)
    reasons = [
        decide(
            droid(tickBuckets=60, minPrice=1, maxPrice=10**6, triggerType=kind), PACE, of, known, spot(of, 3050)
        ).reason
        for kind in ("EMA", "PRICE")
    ]
    assert reasons == [Reason.STEADY, Reason.FELL]


@given(
    st.decimals(2000, 5000, places=3), st.decimals(2000, 5000, places=3), st.decimals(2000, 5000, places=3),
    st.sampled_from(SLOPES), st.integers(0, 2000),
)  # fmt: skip
def test_decisions_of_both_token_orders_are_the_same(
    price: Decimal, average: Decimal, anchor: Decimal, slope: Decimal, since: int
) -> None:
    found = []
    tick = spot(market(), price).tick
    inside = (sqrt_at(tick) + sqrt_at(tick + 1)) // 2  # not on an edge, which belongs to one side only
    for of in BOTH:
        root = inside if of.base_is_token0 else 2**192 // inside
        at = replace(spot(of, 3200), sqrt_x96=root, tick=tick_at(root))
        trend = Trend(average, slope, START, START - PACE.warm_up_s)
        spans = ladder.rungs(droid(), of, spot(of, 3200).tick, FLAT)
        known = memory(of, 3200, trend=trend, anchor=anchor, spans=spans, acted=(START - since,))
        found.append((decide(droid(), PACE, of, known, at), of))
    (one, plain), (other, mirror) = found
    assert one.reason is other.reason and one.why
    if isinstance(one, Rebalance) and isinstance(other, Rebalance):
        assert [plain.turned(s) for s in one.spans] == [mirror.turned(s) for s in other.spans]
