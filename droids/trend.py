"""The smoothed price and its slope. Pure, in decimals, so that a decision is the same on every machine."""

from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

HOUR_S = 3_600


@dataclass(frozen=True, slots=True)
class Trend:
    """An exponential moving average of the price at `at`, begun at `since` (Unix seconds).

    `slope` is d ln(value)/dt per hour, so it does not depend on what the price is counted in.
    """

    value: Decimal
    slope: Decimal
    at: int
    since: int


def begun(price: Decimal, at: int) -> Trend:
    """Return the trend of a first price."""
    return Trend(price, Decimal(0), at, at)


def followed(trend: Trend, price: Decimal, at: int, *, tau_s: int) -> Trend:
    """Return the trend after the price was `price` since the last sample, however long ago that was.

    `tau_s` is the time constant: after as many seconds a step of the price has gone 63 % of its way into the average.
    Raises ValueError for a sample that is not after the last one.
    """
    seconds = at - trend.at
    if seconds <= 0:
        raise ValueError(f"at: expected a sample after {trend.at}, found {at}")
    value = price + (trend.value - price) * _remains(seconds, tau_s)
    # (v1 - v0) / v0 is ln(v1 / v0) but for its square, which is nothing at the length of a sample.
    slope = (value / trend.value - 1) * HOUR_S / seconds
    return Trend(value, slope, at, trend.since)


@lru_cache(maxsize=4_096)
def _remains(seconds: int, tau_s: int) -> Decimal:
    return (Decimal(-seconds) / tau_s).exp()
