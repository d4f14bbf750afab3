"""The course of a pool that a backtest runs over: what it said, and the marks at which strategies look at it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from droids.decide import Spot
from droids.market import Market


@dataclass(frozen=True, slots=True)
class Moment:
    """A pool's state after one log, at Unix seconds. `liquidity` is what was in range; 0 if nobody knows."""

    at: int
    sqrt_x96: int
    tick: int
    liquidity: int


@dataclass(frozen=True, slots=True)
class Mark:
    """A time at which strategies look: the spot, and the seconds since the last mark with the sum of their ticks.

    `ticks` and `seconds` are what observe() would tell. `moments` are those since then, as a slice of the course's.
    """

    spot: Spot
    ticks: int
    seconds: int
    moments: slice


@dataclass(frozen=True, slots=True)
class Course:
    """What is run over; strategies act from `marks[start]` on, with the same funding (base units of the quote)."""

    market: Market
    moments: Sequence[Moment]
    marks: Sequence[Mark]
    start: int
    funding: int

    @property
    def first(self) -> Spot:
        """What strategies begin with."""
        return self.marks[self.start].spot

    @property
    def last(self) -> Spot:
        """What they end with."""
        return self.marks[-1].spot

    @property
    def seconds(self) -> int:
        """How long they run."""
        return self.last.at - self.first.at


def course(
    market: Market, moments: Sequence[Moment], *, sample_s: int, warm_up_s: int, funding: int, until: int | None = None
) -> Course:
    """Return a course with a mark every `sample_s`, up to the last moment, or up to `until`, without price beyond it.

    Raises ValueError for moments out of order, and if the warm-up leaves nothing to run over.
    """
    if not moments:
        raise ValueError("expected at least one price, found none")
    for one, other in pairwise(moments):
        if other.at < one.at:
            raise ValueError(f"expected prices in the order of time, found {other.at} after {one.at}")
    last = moments[-1].at if until is None else until
    made = _marks(moments, sample_s, last)
    start = -(-warm_up_s // sample_s)
    if start + 2 > len(made):
        raise ValueError(
            f"expected more than {(start + 1) * sample_s} s of prices, the warm-up of {warm_up_s} s included, "
            f"found {last - moments[0].at} s"
        )
    return Course(market, moments, made, start, funding)


def _marks(moments: Sequence[Moment], sample_s: int, last: int) -> list[Mark]:
    first = moments[0]
    made = [Mark(Spot(first.at, first.sqrt_x96, first.tick), first.tick, 1, slice(0, 0))]
    current, place = first, 1
    for at in range(first.at + sample_s, last + 1, sample_s):
        begin, since, ticks = place, at - sample_s, 0
        while place < len(moments) and moments[place].at <= at:
            ticks += current.tick * (moments[place].at - since)
            current, since = moments[place], moments[place].at
            place += 1
        ticks += current.tick * (at - since)
        spot = Spot(at, current.sqrt_x96, current.tick)
        made.append(Mark(spot, ticks, sample_s, slice(begin, place)))
    return made
