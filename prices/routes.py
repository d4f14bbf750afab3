"""Which pools can price a token, and the way through them whose shallowest pool is deepest. Pure.

Amounts are base units, values are wei (base units of the native coin) for one base unit, as exact fractions.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from itertools import combinations
from typing import Final

from eth_hash.auto import keccak

from builders import ticks
from core.store.ticks import Tick

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

    @property
    def depth(self) -> int | None:
        """Wei in its shallowest pool; None for the native coin, which needs none."""
        return min((hop.depth for hop in self.hops), default=None)


def pools(venue: Venue, tokens: Collection[bytes]) -> dict[bytes, Pool]:
    """Return the pools, deployed or not, that can price `tokens` and the bases themselves, by address."""
    bases = venue.bases
    pairs = [*combinations(bases, 2), *((token, base) for token in tokens for base in bases if token not in bases)]
    found = (pool(venue, one, other, fee) for one, other in pairs for fee in venue.fees)
    return {each.address: each for each in found}


def pool(venue: Venue, one: bytes, other: bytes, fee: int) -> Pool:
    """Return the pool of two different tokens and a fee, deployed or not."""
    token0, token1 = sorted((one, other))
    address = ticks.pool_address(venue.factory, venue.init_code_hash, token0, token1, fee)
    return Pool(address, token0, token1, fee)


def routes(venue: Venue, known: Mapping[bytes, Pool], prices: Mapping[bytes, Tick]) -> dict[bytes, Route]:
    """Return the way of each token that has one: whose shallowest pool is deepest, through bases alone."""
    found = {venue.wrapper: Route((), Fraction(1))}
    waiting = [(known[address], tick) for address, tick in prices.items() if tick.liquidity and tick.sqrt_x96]
    while True:
        ways = [way for each, tick in waiting for way in _ways(venue, found, each, tick)]
        if not ways:
            return found
        # By address where two are equally deep: the same logs always give the same way.
        token, best = max(ways, key=lambda way: (way[1].depth or 0, way[1].hops[0].pool.address))
        found[token] = best


def _ways(venue: Venue, found: Mapping[bytes, Route], of: Pool, tick: Tick) -> Iterator[tuple[bytes, Route]]:
    for token, other in ((of.token0, of.token1), (of.token1, of.token0)):
        if token in found or other not in found or other not in venue.bases:
            continue
        onward = found[other]
        reserves = ticks.virtual_reserves(tick.sqrt_x96, tick.liquidity)
        reserve = reserves[0] if other == of.token0 else reserves[1]
        hop = Hop(of, tick, token, int(reserve * onward.value))
        yield token, Route((hop, *onward.hops), hop.worth(tick.sqrt_x96) * onward.value)
