"""What a token is worth in USD, and how sure that is, from its way, the stables' ways and the pools' means. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from fractions import Fraction
from statistics import median
from typing import Final, Literal

from builders import ticks
from core.types import BlockRef
from prices.routes import Hop, Past, Route, Venue, Way

STABLES: Final = 3  # with fewer sound ones, a depeg of one would move every price: `pinned`

# First and second limit of each doubt: beyond the first confidence is low, beyond the second there is no value.
DEVIATION: Final = (Fraction(2, 100), Fraction(10, 100))
DEPTH_FACTOR: Final = 10  # confidence is low below so many times the least depth
AGE: Final = timedelta(hours=1)  # the second limit is the venue's `max_age`

Confidence = Literal["high", "pinned", "low"]
# thin: little in its pools. manipulated: far from the mean of WINDOW. stale: no trade for long. young: the pool is
# younger than WINDOW. not_covered: blocks, or a stable's decimals, are not known yet. no_route: no pool leads to USD.
Word = Literal["thin", "manipulated", "stale", "young", "pinned", "not_covered", "no_route", "not_configured"]


@dataclass(frozen=True, slots=True)
class Stable:
    """A stable's way, and what a whole one is worth by the median of all."""

    token: bytes
    route: Route
    usd: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a base unit of `token` was worth in USD at the end of a block.

    `usd` is None without a value that can be stood for; `reason` says why. `spot` and `mean` (of WINDOW) are what the
    pools say in any case. `deviation` is the largest of the pools', `depth` the wei in the shallowest. `stables` are
    those that the median was taken of.
    """

    token: bytes
    block: BlockRef
    time: datetime | None = None
    usd: Fraction | None = None
    reason: Word | None = None
    confidence: Confidence | None = None
    doubts: tuple[Word, ...] = ()
    spot: Fraction | None = None
    mean: Fraction | None = None
    deviation: Fraction | None = None
    depth: int | None = None
    route: tuple[Hop, ...] = ()
    stables: tuple[Stable, ...] = ()


@dataclass(frozen=True, slots=True)
class Usd:
    """What a wei is worth in USD, now and over the window, and the stables that say so."""

    spot: Fraction
    mean: Fraction
    stables: tuple[Stable, ...]


@dataclass(frozen=True, slots=True)
class Basis:
    """What prices at one block are judged by."""

    venue: Venue
    block: BlockRef
    time: datetime
    pasts: Mapping[bytes, Past]
    _deviations: dict[tuple[bytes, bytes], Fraction] = field(default_factory=dict, repr=False, compare=False)

    def beside(self, more: Mapping[bytes, Past]) -> "Basis":
        """Return it with what other pools said."""
        return replace(self, pasts={**self.pasts, **more})

    def deviation(self, hop: Hop) -> Fraction:
        """Return by which share the pool's price, as seen from the hop's token, is away from its mean."""
        key = hop.pool.address, hop.token
        if key not in self._deviations:
            self._deviations[key] = abs(hop.worth(hop.tick.sqrt_x96) / hop.worth(_mean_sqrt(self, hop)) - 1)
        return self._deviations[key]


def usd_of_wei(on: Basis, ways: Mapping[bytes, Way], decimals: Mapping[bytes, int]) -> Usd | Word:
    """Return what a wei is worth by the median of the sound stables, or why none is sound."""
    sound: dict[bytes, Route] = {}
    why: Word = "no_route"
    for token in (each for each in on.venue.stables if each in ways):
        fatal = [word for hop in ways[token].route.hops for word in _fatal(on, hop)]
        if fatal:
            why = fatal[0]
        elif token not in decimals:
            return "not_covered"  # it moved, so its metadata is about to be read
        else:
            sound[token] = ways[token].route
    if not sound:
        return why
    units = {token: 10 ** decimals[token] for token in sound}
    spot = median(1 / (way.value * units[token]) for token, way in sound.items())
    mean = median(1 / (_mean_value(on, way) * units[token]) for token, way in sound.items())
    stables = tuple(Stable(token, way, way.value * units[token] * spot) for token, way in sound.items())
    return Usd(spot, mean, stables)


def priced(on: Basis, token: bytes, found: Way | None, wei: Usd | Word) -> Price:
    """Return the price of a token that has this way to the native coin."""
    if isinstance(wei, str):
        return Price(token=token, block=on.block, time=on.time, reason=wei)
    if found is None:
        return Price(token=token, block=on.block, time=on.time, reason="no_route", stables=wei.stables)
    way = found.route
    used = [*way.hops, *(hop for stable in wei.stables for hop in stable.route.hops)]
    fatal = [word for hop in way.hops for word in _fatal(on, hop)]
    doubts = {word for hop in used for word in _doubts(on, hop)} | set(fatal)
    if len(wei.stables) < STABLES:
        doubts.add("pinned")
    return Price(
        token=token, block=on.block, time=on.time,
        usd=None if fatal else way.value * wei.spot,
        reason=fatal[0] if fatal else None,
        confidence=None if fatal else _confidence(doubts),
        doubts=tuple(sorted(doubts)),
        spot=way.value * wei.spot,
        mean=_mean_value(on, way) * wei.mean,
        deviation=max((on.deviation(hop) for hop in used), default=Fraction(0)),
        depth=min((hop.depth for hop in used), default=None),
        route=way.hops, stables=wei.stables,
    )  # fmt: skip


def uncovered(token: bytes, block: BlockRef) -> Price:
    """Return the price of a token at a block before which others are missing: none."""
    return Price(token=token, block=block, reason="not_covered")


def _confidence(doubts: set[Word]) -> Confidence:
    return "high" if not doubts else "pinned" if doubts == {"pinned"} else "low"


def _mean_value(on: Basis, way: Route) -> Fraction:
    value = Fraction(1)
    for hop in way.hops:
        value *= hop.worth(_mean_sqrt(on, hop))
    return value


def _mean_sqrt(on: Basis, hop: Hop) -> int:
    """Return the square root of the mean price; of a pool that has its first price in this second, that price."""
    mean = on.pasts[hop.pool.address].mean
    return ticks.sqrt_at(ticks.mean_tick(mean.sum, mean.seconds)) if mean.seconds else hop.tick.sqrt_x96


def _fatal(on: Basis, hop: Hop) -> Iterator[Word]:
    """Yield why no value rests on this pool."""
    mean = on.pasts[hop.pool.address].mean
    if hop.depth < on.venue.min_depth:
        yield "thin"
    if not mean.whole and not mean.young:
        yield "stale"  # it slept, and what it says since cannot be held against anything
    if on.deviation(hop) > DEVIATION[1]:
        yield "manipulated"


def _doubts(on: Basis, hop: Hop) -> Iterator[Word]:
    """Yield why confidence in this pool is low."""
    if hop.depth < DEPTH_FACTOR * on.venue.min_depth:
        yield "thin"
    if on.time - hop.tick.time > AGE:
        yield "stale"
    if on.pasts[hop.pool.address].mean.young:
        yield "young"
    if on.deviation(hop) > DEVIATION[0]:
        yield "manipulated"
