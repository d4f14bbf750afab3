"""Which pools can price a token, and the way through them whose shallowest pool is deepest. Pure.

Amounts are base units, values are wei (base units of the native coin) for one base unit, as exact fractions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from functools import lru_cache
from itertools import combinations
from typing import Final

from builders import ticks
from core.keccak import keccak
from core.store.ticks import Tick

WINDOW: Final = timedelta(minutes=30)  # of the mean that a price is held against
ENGINE: Final = "uniswap_v3/1"  # another number for another result from the same logs


@dataclass(frozen=True, slots=True, kw_only=True)
class Venue:
    """The Uniswap v3 of a chain, and what prices are reckoned through.

    `fees` are millionths; a pool counts from `min_depth` wei on; `max_age` is how old a pool's newest log may be.
    """

    factory: bytes
    init_code_hash: bytes
    wrapper: bytes
    stables: tuple[bytes, ...]
    fees: tuple[int, ...]
    min_depth: int
    max_age: timedelta

    @property
    def bases(self) -> tuple[bytes, ...]:
        """The tokens that a way may lead through."""
        return (self.wrapper, *self.stables)

    @property
    def method(self) -> str:
        """The engine, and a digest of what it was set to: the same for prices that can be compared."""
        settings = repr((self.factory, self.init_code_hash, self.bases, self.fees, self.min_depth, self.max_age))
        return f"{ENGINE}/{keccak(settings.encode())[:4].hex()}"


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool's key and where that puts it; token0 < token1, the fee in millionths."""

    address: bytes
    token0: bytes
    token1: bytes
    fee: int


@dataclass(frozen=True, slots=True)
class Mean:
    """A pool's tick over the window before a block, or over what is known of it: `sum` of ticks times `seconds`.

    `whole`: the price at the window's start is known. If it is not, `young` says that the pool had none yet.
    """

    sum: int
    seconds: int
    whole: bool
    young: bool


@dataclass(frozen=True, slots=True)
class Past:
    """What a pool said up to the end of a block: its newest price, and its mean."""

    tick: Tick
    mean: Mean


@dataclass(frozen=True, slots=True)
class Hop:
    """One pool of a way, from `token` nearer to the native coin; `depth` is wei within 2 % of its price."""

    pool: Pool
    tick: Tick
    token: bytes
    depth: int

    def worth(self, sqrt_x96: int) -> Fraction:
        """Return what a base unit of `token` is worth in base units of the other one, at this price."""
        price = ticks.price_at(sqrt_x96)
        return price if self.token == self.pool.token0 else 1 / price


@dataclass(frozen=True, slots=True)
class Route:
    """The way from a token to the native coin, and what one of its base units is worth there in wei."""

    hops: tuple[Hop, ...]
    value: Fraction


@dataclass(frozen=True, slots=True)
class Way:
    """A route with what it is chosen by: one of pools whose mean is `whole` before others, then by depth.

    A pool that is new or was asleep takes nobody's way over: what it says cannot be held against anything.
    """

    route: Route
    whole: bool
    depth: int | None


def pools_of_bases(venue: Venue) -> dict[bytes, Pool]:
    """Return the pools, deployed or not, of the bases among one another, by address."""
    found = (pool(venue, one, other, fee) for one, other in combinations(venue.bases, 2) for fee in venue.fees)
    return {each.address: each for each in found}


@lru_cache(maxsize=4_096)
def pools_of(venue: Venue, token: bytes) -> Mapping[bytes, Pool]:
    """Return the pools, deployed or not, that `token` has with a base; none if it is one itself."""
    if token in venue.bases:
        return {}
    found = (pool(venue, token, base, fee) for base in venue.bases for fee in venue.fees)
    return {each.address: each for each in found}


def pool(venue: Venue, one: bytes, other: bytes, fee: int) -> Pool:
    """Return the pool of two different tokens and a fee, deployed or not."""
    token0, token1 = sorted((one, other))
    address = ticks.pool_address(venue.factory, venue.init_code_hash, token0, token1, fee)
    return Pool(address, token0, token1, fee)


def ways_of_bases(venue: Venue, known: Mapping[bytes, Pool], said: Mapping[bytes, Past]) -> dict[bytes, Way]:
    """Return the way of each base that has one, through bases alone: whose shallowest pool is deepest."""
    steps = _steps(known, said)
    found = {venue.wrapper: Way(Route((), Fraction(1)), whole=True, depth=None)}
    while True:
        open_ = [(step, found[step.other]) for step in steps if step.token not in found and step.other in found]
        if not open_:
            return found
        best = max(open_, key=_rank)
        found[best[0].token] = _way(*best)


def way_of(
    token: bytes, bases: Mapping[bytes, Way], known: Mapping[bytes, Pool], said: Mapping[bytes, Past]
) -> Way | None:
    """Return a token's way: through the base by which the shallowest pool is deepest; None if none leads to it."""
    if token in bases:
        return bases[token]
    open_ = [
        (step, bases[step.other]) for step in _steps(known, said) if step.token == token and step.other in bases
    ]  # fmt: skip
    return _way(*max(open_, key=_rank)) if open_ else None


@dataclass(frozen=True, slots=True)
class _Step:
    """A pool seen from one of its tokens; `reserve` is what of the other one lies within 2 % of the price."""

    pool: Pool
    past: Past
    token: bytes
    other: bytes
    reserve: int

    def depth(self, onward: Way) -> int:
        """Return the reserve in wei."""
        return self.reserve * onward.route.value.numerator // onward.route.value.denominator


def _steps(known: Mapping[bytes, Pool], said: Mapping[bytes, Past]) -> list[_Step]:
    """Return the pools that hold something, from both sides."""
    found: list[_Step] = []
    for address, past in said.items():
        of = known.get(address)
        if of is None or past.tick.liquidity <= 0:
            continue
        reserve0, reserve1 = ticks.virtual_reserves(past.tick.sqrt_x96, past.tick.liquidity)
        found.append(_Step(of, past, of.token0, of.token1, reserve1))
        found.append(_Step(of, past, of.token1, of.token0, reserve0))
    return found


def _rank(way: tuple[_Step, Way]) -> tuple[bool, int, int, int, bytes]:
    """Return by what ways are chosen. Many are equally deep: those that go on through one pool; then the shortest."""
    step, onward = way
    depth = step.depth(onward)
    shallowest = depth if onward.depth is None else min(depth, onward.depth)
    whole = onward.whole and step.past.mean.whole
    return whole, shallowest, -len(onward.route.hops), depth, step.pool.address


def _way(step: _Step, onward: Way) -> Way:
    whole, shallowest, _, depth, _ = _rank((step, onward))
    hop = Hop(step.pool, step.past.tick, step.token, depth)
    route = Route((hop, *onward.route.hops), hop.worth(hop.tick.sqrt_x96) * onward.route.value)
    return Way(route, whole, shallowest)
