"""A pool as a droid sees it: which token is the base, and what prices and amounts are worth. Pure.

The price of people is quote for a whole base; it rises with the pool's ticks if the base is token0, and falls with them
if it is token1. Ticks *of the price* rise with it in both: they are the pool's, or those mirrored.
"""

from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Final, Self

from builders.ticks import sqrt_at

Q192: Final = 1 << 192
LN_TICK: Final = Decimal("1.0001").ln()  # a tick is 1.0001 of the price


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Two ticks, lower and upper; a position lies between them."""

    lower: int
    upper: int

    @property
    def mirrored(self) -> Self:
        """The span as the pool with the tokens in the other order has it."""
        return type(self)(-self.upper, -self.lower)

    def __contains__(self, tick: int) -> bool:
        return self.lower <= tick < self.upper


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """What does not change of a pool: fee in millionths, tick spacing, decimals of tokens, and which is the base."""

    fee: int
    spacing: int
    decimals0: int
    decimals1: int
    base_is_token0: bool

    @property
    def quote_decimals(self) -> int:
        """Decimals of the quote token."""
        return self.decimals1 if self.base_is_token0 else self.decimals0

    @property
    def base_decimals(self) -> int:
        """Decimals of the base token."""
        return self.decimals0 if self.base_is_token0 else self.decimals1

    def price(self, sqrt_x96: int) -> Decimal:
        """Return the quote for a whole base, to 28 digits."""
        square = Decimal(sqrt_x96 * sqrt_x96)
        ratio = square / Q192 if self.base_is_token0 else Q192 / square
        return ratio.scaleb(self.base_decimals - self.quote_decimals)

    def price_at(self, tick: int) -> Decimal:
        """Return the price at a tick of the pool."""
        return _price_at(self, tick)

    def mean_price(self, ticks: int, seconds: int) -> Decimal:
        """Return the geometric mean of the price over `seconds` in which the pool's ticks added up to `ticks`.

        That is what observe() tells: the difference of two tickCumulatives. A tick is taken for its middle, so that the
        mean is the same with the tokens in the other order.
        """
        power = Decimal(2 * ticks + seconds) / (2 * seconds) * LN_TICK
        ratio = (power if self.base_is_token0 else -power).exp()
        return ratio.scaleb(self.base_decimals - self.quote_decimals)

    def prices(self, span: Span) -> tuple[Decimal, Decimal]:
        """Return the lower and the upper price of a span of the pool's ticks."""
        low, high = self.price_at(span.lower), self.price_at(span.upper)
        return (low, high) if self.base_is_token0 else (high, low)

    def turned(self, span: Span) -> Span:
        """Return a span of the pool's ticks in ticks of the price, or the other way round."""
        return span if self.base_is_token0 else span.mirrored

    def split(self, amounts: tuple[int, int]) -> tuple[int, int]:
        """Return amounts of token0 and token1 as amounts of base and quote, or the other way round."""
        return amounts if self.base_is_token0 else (amounts[1], amounts[0])

    def quote_of(self, base: int, sqrt_x96: int) -> int:
        """Return what base units of the base are worth in base units of the quote, rounded down."""
        square = sqrt_x96 * sqrt_x96
        return base * square >> 192 if self.base_is_token0 else (base << 192) // square

    def worth(self, amounts: tuple[int, int], sqrt_x96: int) -> int:
        """Return what amounts of token0 and token1 are worth in base units of the quote, rounded down."""
        base, quote = self.split(amounts)
        return quote + self.quote_of(base, sqrt_x96)

    def in_token1(self, quote: int, sqrt_x96: int) -> int:
        """Return base units of the quote in base units of token1, rounded down: what ladder.sized takes."""
        return quote if self.base_is_token0 else quote * sqrt_x96 * sqrt_x96 >> 192


@lru_cache(maxsize=4_096)
def _price_at(market: Market, tick: int) -> Decimal:
    return market.price(sqrt_at(tick))
