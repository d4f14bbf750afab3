"""What a strategy holds in a backtest: positions with their fees, and what lies idle. Integers, rounded against it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from builders.liquidity import Amounts, amount0_delta, amount1_delta, amounts
from builders.ticks import sqrt_at
from droids.course import Moment
from droids.ladder import Share
from droids.market import Span

MILLION: Final = 1_000_000


@dataclass(slots=True)
class Position:
    """Liquidity between two square roots of prices, and the fees it has earned since it was opened."""

    span: Span
    lower: int
    upper: int
    liquidity: int
    fees: list[int] = field(default_factory=lambda: [0, 0])


class Book:
    """Positions and idle amounts of token0 and token1. `close` and `open` are the only ways between the two."""

    def __init__(self, idle: Amounts) -> None:
        self.idle = list(idle)
        self.positions: list[Position] = []

    def principal(self, sqrt_x96: int) -> Amounts:
        """Return what all positions would give back, without fees."""
        each = [amounts(sqrt_x96, p.lower, p.upper, p.liquidity, up=False) for p in self.positions]
        return sum(one for one, _ in each), sum(other for _, other in each)

    def fees(self) -> Amounts:
        """Return the fees that are not collected yet."""
        return sum(p.fees[0] for p in self.positions), sum(p.fees[1] for p in self.positions)

    def available(self, sqrt_x96: int) -> Amounts:
        """Return what there is once all positions are closed."""
        principal, fees = self.principal(sqrt_x96), self.fees()
        return self.idle[0] + principal[0] + fees[0], self.idle[1] + principal[1] + fees[1]

    def close(self, sqrt_x96: int) -> int:
        """Close all positions; return how many."""
        self.idle = list(self.available(sqrt_x96))
        closed, self.positions = len(self.positions), []
        return closed

    def open(self, shares: Sequence[Share]) -> None:
        """Open positions from what is idle. Raises ValueError for more than that."""
        for share in shares:
            self.idle = [have - take for have, take in zip(self.idle, share.amounts, strict=True)]
            if min(self.idle) < 0:
                raise ValueError(f"shares: expected no more than is idle, found {-min(self.idle)} base units more")
            edges = sqrt_at(share.span.lower), sqrt_at(share.span.upper)
            self.positions.append(Position(share.span, *edges, share.liquidity))

    def earn(self, sqrt_x96: int, moment: Moment, fee: int) -> Amounts:
        """Add the fees of the price's way from `sqrt_x96` to a moment's; return them.

        A stretch of price pays f / (1 - f) of what moves the liquidity along it: token1 upwards, token0 downwards. The
        swaps were made in a pool without us, so what they paid is shared with those who were there.
        """
        up = moment.sqrt_x96 > sqrt_x96
        moved = []
        for position in self.positions:
            begin = max(position.lower, min(position.upper, sqrt_x96))
            end = max(position.lower, min(position.upper, moment.sqrt_x96))
            if begin != end:
                moved.append((position, begin, end))
        ours = sum(position.liquidity for position, _, _ in moved)
        earned = [0, 0]
        for position, begin, end in moved:
            delta = (amount1_delta if up else amount0_delta)(begin, end, position.liquidity, up=False)
            got = delta * fee // (MILLION - fee)
            if moment.liquidity:
                got = got * moment.liquidity // (moment.liquidity + ours)
            position.fees[up] += got
            earned[up] += got
        return earned[0], earned[1]
