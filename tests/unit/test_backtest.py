"""The backtest: what positions earn and lose by formula and by the contracts' integers, and figures that add up."""

import math
from collections.abc import Sequence
from decimal import Decimal
from random import Random

import pytest

from builders import liquidity, swaps
from builders.swaps import PoolState
from builders.ticks import sqrt_at, tick_at
from droids import backtest
from droids.backtest import Costs, Outcome
from droids.book import Book, Position
from droids.course import Course, Moment, course
from droids.decide import Reason
from droids.droid import Pace
from droids.ladder import Share
from droids.market import Market, Span
from droids.strategies import Charm, DroidStrategy, FullRange, Holding, Strategy
from tests.droids import BOTH, START, droid, market, sqrt_of

FUNDING = 50_000 * 10**6
FREE = Costs(0)
YEAR_S = 365 * 86_400


def walk(of: Market, *, days: int, seed: int, step_s: int = 600, volatility: float = 0.7) -> list[Moment]:
    """A random walk without drift, from 3200."""
    chance, price, found = Random(seed), 3200.0, []
    for number in range(days * 86_400 // step_s):
        root = sqrt_of(of, f"{price:.6f}")
        found.append(Moment(START + number * step_s, root, tick_at(root), 0))
        sigma = volatility * math.sqrt(step_s / YEAR_S)
        price *= math.exp(sigma * chance.gauss(0, 1) - sigma * sigma / 2)
    return found


def way(of: Market, moments: Sequence[Moment], *, sample_s: int = 600, warm_up_s: int = 0) -> Course:
    return course(of, moments, sample_s=sample_s, warm_up_s=warm_up_s, funding=FUNDING)


def outcome(over: Course, strategy: Strategy, costs: Costs = FREE) -> Outcome:
    steps, done = backtest.run(over, strategy, costs), 0
    while True:
        try:
            done += next(steps)
        except StopIteration as end:
            assert done == len(over.marks)
            result: Outcome = end.value
            return result


def moment(root: int, held: int = 0, at: int = START) -> Moment:
    return Moment(at, root, tick_at(root), held)


# Courses


def test_marks_see_the_last_price_and_the_ticks_of_their_sample() -> None:
    moments = [moment(sqrt_at(tick), at=START + at) for at, tick in ((0, 100), (70, 200), (100, 500), (100, 300))]
    found = course(market(), moments, sample_s=60, warm_up_s=0, funding=1, until=START + 185)
    assert [mark.spot.tick for mark in found.marks] == [100, 100, 300, 300]
    assert [mark.ticks // mark.seconds for mark in found.marks] == [100, 100, 13_000 // 60, 300]
    assert [found.moments[mark.moments] for mark in found.marks] == [[], [], moments[1:], []]


def test_a_course_that_the_warm_up_eats_is_refused() -> None:
    moments = [moment(sqrt_at(0), at=START), moment(sqrt_at(1), at=START + 600)]
    with pytest.raises(ValueError, match="more than 660 s"):
        course(market(), moments, sample_s=60, warm_up_s=600, funding=1)
    with pytest.raises(ValueError, match="order of time"):
        course(market(), moments[::-1], sample_s=60, warm_up_s=0, funding=1)
    with pytest.raises(ValueError, match="found none"):
        course(market(), [], sample_s=60, warm_up_s=0, funding=1)


# What positions earn


@pytest.mark.parametrize("down", [True, False])
def test_fees_are_those_that_a_pool_of_ours_alone_would_pay(down: bool) -> None:
    held, price = 10**21, sqrt_at(30)
    state = PoolState(
        sqrt_x96=price, tick=30, liquidity=held, fee=3000, spacing=60, net={-6000: held, 6000: -held}
    )  # fmt: skip
    swapped = swaps.swap(state, 10**18, down=down)
    book = Book((0, 0))
    book.positions.append(Position(Span(-6000, 6000), sqrt_at(-6000), sqrt_at(6000), held))
    earned = book.earn(price, moment(swapped.sqrt_x96), 3000)
    theirs = liquidity.fees_owed(held, swapped.growth, 0)
    assert earned == book.fees()
    assert earned[down] == 0
    assert 0 <= theirs - earned[not down] <= 2


def test_fees_are_shared_with_those_who_were_there() -> None:
    alone, beside = Book((0, 0)), Book((0, 0))
    for book in (alone, beside):
        book.positions.append(Position(Span(-6000, 6000), sqrt_at(-6000), sqrt_at(6000), 10**21))
    whole = alone.earn(sqrt_at(0), moment(sqrt_at(50)), 3000)[1]
    assert beside.earn(sqrt_at(0), moment(sqrt_at(50), held=3 * 10**21), 3000)[1] == whole * 3 // 4


def test_only_the_way_within_the_range_pays() -> None:
    book = Book((0, 0))
    book.positions.append(Position(Span(0, 60), sqrt_at(0), sqrt_at(60), 10**21))
    inside = book.earn(sqrt_at(0), moment(sqrt_at(60)), 3000)
    assert book.earn(sqrt_at(-500), moment(sqrt_at(700)), 3000) == inside
    assert book.earn(sqrt_at(700), moment(sqrt_at(60)), 3000) == (0, 0)
    assert book.earn(sqrt_at(700), moment(sqrt_at(30)), 3000)[1] == 0


def test_what_is_not_there_cannot_be_opened() -> None:
    with pytest.raises(ValueError, match="1 base units more"):
        Book((5, 4)).open([Share(Span(0, 60), 7, (5, 5))])


def test_closing_gives_back_what_was_opened_but_rounding() -> None:
    root = sqrt_at(30)
    size = 10**20
    taken = liquidity.amounts(root, sqrt_at(0), sqrt_at(60), size, up=True)
    book = Book(taken)
    book.open([Share(Span(0, 60), size, taken)])
    assert book.idle == [0, 0]
    assert book.close(root) == 1
    assert all(0 <= was - now <= 2 for was, now in zip(taken, book.idle, strict=True))


# Figures


@pytest.mark.parametrize("of", BOTH)
def test_the_loss_of_a_full_range_is_that_of_theory(of: Market) -> None:
    """LVR of a full range is sigma^2 / 8 of its value a year (Milionis et al., 2022)."""
    over = way(of, walk(of, days=30, seed=3, step_s=300), sample_s=300)
    figures = outcome(over, FullRange(of)).figures
    theory = 0.7**2 / 8 * 50_000 * over.seconds / YEAR_S
    assert abs(float(figures.lvr) / theory - 1) < 0.1
    first, last = over.first.sqrt_x96, over.last.sqrt_x96
    ratio = float(of.price(last) / of.price(first))
    assert math.isclose(float(figures.il), 50_000 * (math.sqrt(ratio) - (1 + ratio) / 2), rel_tol=1e-4, abs_tol=1)
    assert figures.rebalances == 0 and figures.time_in_range == 1


def test_holding_costs_and_earns_nothing() -> None:
    figures = outcome(way(market(), walk(market(), days=3, seed=1)), Holding()).figures
    assert not any((figures.fees, figures.gas, figures.il, figures.lvr, figures.vs_hold, figures.time_in_range))
    assert figures.idle == 1 and figures.rebalances == 0
    assert figures.funding == 50_000


def strategies(of: Market) -> list[Strategy]:
    return [DroidStrategy(droid(), Pace(), of), Holding(), FullRange(of), Charm(of)]


@pytest.mark.parametrize("number", range(4))
def test_shares_of_the_funding_follow_from_the_money(number: int) -> None:
    of = market()
    over = way(of, walk(of, days=2, seed=5), warm_up_s=10_800)
    costs = Costs(20 * 10**9)
    figures = outcome(over, strategies(of)[number], costs).figures
    assert figures.end == figures.funding * (1 + figures.net_return)
    hold = outcome(over, Holding()).figures
    assert abs(figures.vs_hold - (figures.end - hold.end) / figures.funding) < Decimal("1e-12")
    shares = (figures.fees - figures.lvr - figures.gas) / figures.funding
    assert abs(shares - figures.fees_less_lvr_and_gas) < Decimal("1e-12")


@pytest.mark.parametrize("number", range(4))
def test_both_token_orders_have_the_same_figures(number: int) -> None:
    found = []
    for of in BOTH:
        over = way(of, walk(of, days=6, seed=11), warm_up_s=10_800)
        found.append(outcome(over, strategies(of)[number], Costs(10**9)).figures)
    one, other = found
    assert one.rebalances == other.rebalances
    for name in ("end", "fees", "il", "lvr", "gas", "idle", "time_in_range", "max_drawdown"):
        assert math.isclose(getattr(one, name), getattr(other, name), rel_tol=1e-4, abs_tol=1e-3), name


def test_the_same_run_twice_gives_the_same_outcome() -> None:
    of = market()
    over = way(of, walk(of, days=6, seed=2), warm_up_s=10_800)
    assert outcome(over, strategies(of)[0]) == outcome(over, strategies(of)[0])


def test_a_droid_acts_within_its_limits_and_says_why_at_every_mark() -> None:
    of = market()
    over = way(of, walk(of, days=10, seed=4, volatility=1.5), warm_up_s=10_800)
    strategy = DroidStrategy(droid(), Pace(daily_cap=2), of)
    found = outcome(over, strategy, Costs(10**9))
    times = [at for at, _ in found.ladders]
    assert strategy.reasons.total() == len(over.marks) - over.start
    assert strategy.reasons[Reason.FIRST] == 1 and strategy.reasons[Reason.DAILY_CAP] > 0
    assert len(times) == found.figures.rebalances + 1 > 3
    assert all(later - earlier >= 86_400 for earlier, later in zip(times, times[2:], strict=False))


def test_ratios_of_the_samples_size_rebalance_far_more_than_deviations() -> None:
    """What ADR 60 is about: 0.03 and 0.05 read as places within the centre."""
    of = market()
    over = way(of, walk(of, days=4, seed=8), sample_s=60, warm_up_s=10_800)
    pace = Pace(daily_cap=10_000)
    counts = [
        outcome(over, DroidStrategy(droid(triggerMode=mode), pace, of)).figures.rebalances
        for mode in ("DEVIATION", "RANGE_RATIO")
    ]
    assert counts[1] > 4 * counts[0] > 0


@pytest.mark.parametrize("of", BOTH)
def test_what_is_left_is_what_the_parts_say(of: Market) -> None:
    """Of one position that is never moved: worth at the end = hold + IL + fees at the last price - gas."""
    over = way(of, walk(of, days=5, seed=6))
    found, book = outcome(over, FullRange(of), Costs(10**9)), Book((0, 0))
    shares = FullRange(of).move(over.marks[0], backtest.first_amounts(over))
    assert shares is not None
    book.idle = list(backtest.first_amounts(over))
    book.open(shares)
    was = over.first.sqrt_x96
    for each in over.moments[1:]:
        book.earn(was, each, of.fee)
        was = each.sqrt_x96
    fees = Decimal(of.worth(book.fees(), was)).scaleb(-6)
    hold = outcome(over, Holding()).figures.end
    assert abs(found.figures.end - (hold + found.figures.il + fees - found.figures.gas)) < Decimal("0.0001")


def test_gas_is_that_of_the_measured_transactions() -> None:
    of = market()
    over = way(of, walk(of, days=1, seed=1), warm_up_s=10_800)
    gas = outcome(over, FullRange(of), Costs(10**9, Decimal(3000))).figures.gas
    assert gas == Decimal("1.344")  # 448,000 at 1 gwei and 3000
