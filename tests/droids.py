"""Makers of droids, and the same pool with its tokens in either order."""

from decimal import Decimal
from math import isqrt
from typing import Any

from builders.ticks import tick_at
from droids.decide import Memory, Spot
from droids.droid import Droid, Pace, droid_of
from droids.market import Market
from droids.trend import begun

START = 1_767_225_600  # 2026-01-01
PACE = Pace()

# The droid of the API's contract.
SEED: dict[str, Any] = {
    "fundingUSD": 50000, "triggerType": "EMA", "tickBuckets": 10, "bucketOffset": 0, "fundingCurveType": "LINEAR",
    "maxBots": 5, "maxPrice": Decimal("4000.00"), "minPrice": Decimal("2500.00"), "gasBudgetLimit": 100,
    "maxGasPrice": 50, "txPriority": 1, "derivativeThreshold": Decimal("0.01"), "ladderPercMargin": Decimal("0.02"),
    "fallingRebalanceTrigger": Decimal("0.03"), "risingRebalanceTrigger": Decimal("0.05"),
}  # fmt: skip


def droid(**fields: Any) -> Droid:
    return droid_of(SEED | fields)


def market(*, base_is_token0: bool = True, fee: int = 3000, spacing: int = 60) -> Market:
    """Ether of 18 decimals against dollars of 6."""
    decimals = (18, 6) if base_is_token0 else (6, 18)
    return Market(
        fee=fee, spacing=spacing, decimals0=decimals[0], decimals1=decimals[1], base_is_token0=base_is_token0
    )  # fmt: skip


BOTH = (market(), market(base_is_token0=False))


def sqrt_of(of: Market, price: Decimal | int | str) -> int:
    """The pool's square root at which a whole base is worth `price`."""
    over, under = int(Decimal(price) * 10**9) * 10**of.quote_decimals, 10**9 * 10**of.base_decimals
    if not of.base_is_token0:
        over, under = under, over
    return isqrt((over << 192) // under)


def spot(of: Market, price: Decimal | int | str, at: int = START) -> Spot:
    sqrt = sqrt_of(of, price)
    return Spot(at, sqrt, tick_at(sqrt))


def memory(of: Market, price: Decimal | int | str, at: int = START, **fields: Any) -> Memory:
    """A trend that is warm and has no slope."""
    trend = begun(Decimal(price), at - PACE.warm_up_s)
    given: dict[str, Any] = {"trend": type(trend)(trend.value, Decimal(0), at, trend.since)}
    return Memory(**given | fields)
