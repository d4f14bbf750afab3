"""Run a strategy over a course of prices, and say what became of its funding. Pure.

Figures and their formulas: docs/droids.md. What a swap of ours would have changed of the prices is not modelled.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from builders.liquidity import Amounts
from droids.book import Book
from droids.course import Course, Mark
from droids.ladder import Share
from droids.market import Market, Span
from droids.strategies import Strategy

# Gas, measured on anvil with Uniswap's contracts: one mint 448,000, five in one multicall 1,648,000; five positions
# closed and five opened in one multicall 1,456,000.
GAS_FIRST: Final = 148_000
GAS_MINT: Final = 300_000
GAS_CHANGE: Final = 145_600
YEAR_S: Final = 365 * 86_400
CURVE_POINTS: Final = 1_000
REPORT_EVERY: Final = 500  # marks


@dataclass(frozen=True, slots=True)
class Costs:
    """What gas costs: wei for a unit of it, and what a native coin is worth in quote; None if it is the base itself."""

    gas_price: int
    native: Decimal | None = None

    def quote(self, gas: int, market: Market, sqrt_x96: int) -> int:
        """Return the base units of the quote that `gas` costs."""
        wei = gas * self.gas_price
        if self.native is None:
            return market.quote_of(wei, sqrt_x96)
        return int((self.native * wei).scaleb(market.quote_decimals - 18))


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What became of a funding. Money is quote; shares are of the funding, 0.01 is a percent; `seconds` is how long.

    `il` is what positions lost, before fees, against holding what was put into them; `lvr` against holding what they
    held of the base from mark to mark.
    """

    seconds: int
    funding: Decimal
    end: Decimal
    net_return: Decimal
    vs_hold: Decimal
    fees: Decimal
    fee_apr: Decimal
    il: Decimal
    lvr: Decimal
    fees_less_lvr_and_gas: Decimal
    rebalances: int
    gas: Decimal
    swap_cost: Decimal
    time_in_range: Decimal
    max_drawdown: Decimal
    idle: Decimal


@dataclass(frozen=True, slots=True)
class Outcome:
    """A strategy's figures, what it was worth over time (at most some thousand points), and the spans it held since."""

    name: str
    figures: Figures
    curve: tuple[tuple[int, Decimal], ...]
    ladders: tuple[tuple[int, tuple[Span, ...]], ...]


@dataclass(slots=True)
class _Tally:
    """Sums while a strategy runs, in base units of the quote and in seconds."""

    fees: int = 0
    lvr: int = 0
    il: int = 0
    gas: int = 0
    moves: int = 0
    in_range_s: int = 0
    idle: Decimal = Decimal(0)  # share times seconds
    peak: int = 0
    drawdown: Decimal = Decimal(0)
    curve: list[tuple[int, int]] = field(default_factory=list)
    ladders: list[tuple[int, tuple[Span, ...]]] = field(default_factory=list)


def gas_of(closed: int, opened: int) -> int:
    """Return about how much gas one transaction takes that closes and opens so many positions."""
    if not closed and not opened:
        return 0
    return (closed + opened) * GAS_CHANGE if closed else GAS_FIRST + opened * GAS_MINT


def first_amounts(course: Course) -> Amounts:
    """Return the funding as every strategy gets it: half of it in each token, at the first price."""
    return halves(course.market, course.funding, course.first.sqrt_x96)


def halves(market: Market, funding: int, sqrt_x96: int) -> Amounts:
    """Return base units of the quote as amounts of token0 and token1, half of the worth in each."""
    square, half = sqrt_x96**2, funding // 2
    base = (half << 192) // square if market.base_is_token0 else half * square >> 192
    return market.split((base, funding - market.quote_of(base, sqrt_x96)))


def run(course: Course, strategy: Strategy, costs: Costs) -> Generator[int, None, Outcome]:
    """Run one strategy: yield now and then how many more marks are done, and return what became of it."""
    started = first_amounts(course)
    runner = _Runner(course, costs, Book(started))
    before: Mark | None = None
    told = 0
    for number, mark in enumerate(course.marks):
        strategy.watch(mark)
        if number - told >= REPORT_EVERY:
            yield number - told
            told = number
        if number < course.start:
            continue
        if before is not None:
            runner.advance(before, mark)
        shares = strategy.move(mark, runner.book.available(mark.spot.sqrt_x96))
        if shares is not None:
            runner.apply(shares, mark)
        runner.note(mark, number)
        before = mark
    yield len(course.marks) - told
    return runner.outcome(strategy.name, started)


class _Runner:
    def __init__(self, course: Course, costs: Costs, book: Book) -> None:
        self.book = book
        self._course, self._market, self._costs = course, course.market, costs
        self._tally = _Tally()
        self._put_in: Amounts = (0, 0)
        self._every = max(1, (len(course.marks) - course.start) // CURVE_POINTS)

    def advance(self, before: Mark, mark: Mark) -> None:
        """Go from one mark to the next: what positions earn and lose on the way, and how long they were in range."""
        market, tally, book = self._market, self._tally, self.book
        was, now = before.spot.sqrt_x96, mark.spot.sqrt_x96
        seconds = mark.spot.at - before.spot.at
        tally.in_range_s += seconds * any(before.spot.tick in position.span for position in book.positions)
        whole = market.worth(book.available(was), was)
        idle = market.worth((book.idle[0], book.idle[1]), was)
        tally.idle += Decimal(idle * seconds) / whole if whole else 0
        held = book.principal(was)
        base, _ = market.split(held)
        for moment in self._course.moments[mark.moments]:
            tally.fees += market.worth(book.earn(was, moment, market.fee), moment.sqrt_x96)
            was = moment.sqrt_x96
        # Against who held the same base all the way, and gave what the curve gave: sum of x (P' - P) - (V' - V).
        lost = market.worth(held, before.spot.sqrt_x96) - market.worth(book.principal(now), now)
        tally.lvr += market.quote_of(base, now) - market.quote_of(base, before.spot.sqrt_x96) + lost

    def apply(self, shares: Sequence[Share], mark: Mark) -> None:
        """Close everything and open `shares`, in one transaction."""
        self._tally.il += self._loss(mark.spot.sqrt_x96)
        closed = self.book.close(mark.spot.sqrt_x96)
        self.book.open(shares)
        self._put_in = sum(share.amounts[0] for share in shares), sum(share.amounts[1] for share in shares)
        opened = len(shares)
        gas = gas_of(closed, opened)
        if closed or opened:
            self._tally.gas += self._costs.quote(gas, self._market, mark.spot.sqrt_x96)
            self._tally.moves += 1
        self._tally.ladders.append((mark.spot.at, tuple(share.span for share in shares)))

    def note(self, mark: Mark, number: int) -> None:
        """Note what everything is worth, gas paid."""
        tally, worth = self._tally, self._worth(mark.spot.sqrt_x96)
        tally.peak = max(tally.peak, worth)
        tally.drawdown = max(tally.drawdown, Decimal(tally.peak - worth) / tally.peak if tally.peak > 0 else Decimal(0))
        last = number == len(self._course.marks) - 1
        if (number - self._course.start) % self._every == 0 or last:
            tally.curve.append((mark.spot.at, worth))

    def _worth(self, sqrt_x96: int) -> int:
        return self._market.worth(self.book.available(sqrt_x96), sqrt_x96) - self._tally.gas

    def _loss(self, sqrt_x96: int) -> int:
        """Return by what the positions are worth more than what was put into them; it is negative, or rounding."""
        return self._market.worth(self.book.principal(sqrt_x96), sqrt_x96) - self._market.worth(self._put_in, sqrt_x96)

    def outcome(self, name: str, started: Amounts) -> Outcome:
        """Return the figures."""
        course, tally, market = self._course, self._tally, self._market
        price = course.last.sqrt_x96
        end, hold = self._worth(price), market.worth(started, price)
        funding = Decimal(course.funding)
        figures = Figures(
            seconds=course.seconds, funding=self._money(course.funding), end=self._money(end),
            net_return=(end - funding) / funding, vs_hold=(end - hold) / funding, fees=self._money(tally.fees),
            fee_apr=tally.fees / funding * YEAR_S / course.seconds,
            il=self._money(tally.il + self._loss(price)), lvr=self._money(tally.lvr),
            fees_less_lvr_and_gas=(tally.fees - tally.lvr - tally.gas) / funding, rebalances=max(0, tally.moves - 1),
            gas=self._money(tally.gas), swap_cost=Decimal(0),
            time_in_range=Decimal(tally.in_range_s) / course.seconds, max_drawdown=tally.drawdown,
            idle=tally.idle / course.seconds,
        )  # fmt: skip
        curve = tuple((at, self._money(worth)) for at, worth in tally.curve)
        return Outcome(name, figures, curve, tuple(tally.ladders))

    def _money(self, units: int) -> Decimal:
        return Decimal(units).scaleb(-self._market.quote_decimals)
