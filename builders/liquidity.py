"""Liquidity of Uniswap v3 positions: what it holds, what it takes, what it earns, to the wei. Pure.

`lower` and `upper` are square roots of prices times 2**96 (builders/ticks.py), amounts are base units. Sources: v3-core
1.0.1, SqrtPriceMath, Tick and Position; v3-periphery 1.4.4, LiquidityAmounts and NonfungiblePositionManager.
"""

from math import isqrt
from typing import Final

from builders.ticks import MAX_SQRT, MIN_SQRT, Q96, Q128

WORD: Final = 1 << 256  # fee growth is counted modulo this
MAX_LIQUIDITY: Final = (1 << 128) - 1
BPS: Final = 10_000
MILLION: Final = 1_000_000

Amounts = tuple[int, int]


def amount0_delta(one: int, other: int, liquidity: int, *, up: bool) -> int:
    """Return the token0 between two prices, rounded up (what a pool takes) or down (what it gives)."""
    lower, upper = sorted((one, other))
    product = (liquidity << 96) * (upper - lower)
    if not up:
        return product // upper // lower
    over = -(-product // upper)
    return -(-over // lower)


def amount1_delta(one: int, other: int, liquidity: int, *, up: bool) -> int:
    """Return the token1 between two prices, rounded up (what a pool takes) or down (what it gives)."""
    product = liquidity * abs(one - other)
    return -(-product >> 96) if up else product >> 96


def amounts(price: int, lower: int, upper: int, liquidity: int, *, up: bool) -> Amounts:
    """Return both tokens of a position: rounded up what a mint takes, rounded down what a burn gives.

    Source: UniswapV3Pool._modifyPosition.
    """
    within = max(lower, min(upper, price))
    return amount0_delta(within, upper, liquidity, up=up), amount1_delta(lower, within, liquidity, up=up)


def liquidity_of_amount0(lower: int, upper: int, amount0: int, *, precise: bool = False) -> int:
    """Return the liquidity that `amount0` makes over a range above the price.

    The contract rounds once more than it needs to; `precise` does not (the SDK's useFullPrecision).
    """
    if precise:
        return amount0 * lower * upper // (Q96 * (upper - lower))
    return amount0 * (lower * upper // Q96) // (upper - lower)


def liquidity_of_amount1(lower: int, upper: int, amount1: int) -> int:
    """Return the liquidity that `amount1` makes over a range below the price."""
    return amount1 * Q96 // (upper - lower)


def liquidity_of(price: int, lower: int, upper: int, of: Amounts, *, precise: bool = False) -> int:
    """Return the most liquidity that both amounts allow, as the position manager finds it for a mint."""
    amount0, amount1 = of
    if price <= lower:
        return liquidity_of_amount0(lower, upper, amount0, precise=precise)
    if price >= upper:
        return liquidity_of_amount1(lower, upper, amount1)
    return min(
        liquidity_of_amount0(price, upper, amount0, precise=precise), liquidity_of_amount1(lower, price, amount1)
    )


def growth_inside(tick: int, lower: tuple[int, int], upper: tuple[int, int], growth: int) -> int:
    """Return what a unit of liquidity within two ticks has earned of one token, times 2**128, modulo 2**256.

    `lower` and `upper` are (tick, its feeGrowthOutside), `growth` is the pool's feeGrowthGlobal of the same token; only
    differences of what comes out mean something. Source: Tick.getFeeGrowthInside.
    """
    below = lower[1] if tick >= lower[0] else growth - lower[1]
    above = upper[1] if tick < upper[0] else growth - upper[1]
    return (growth - below - above) % WORD


def fees_owed(liquidity: int, inside: int, inside_last: int) -> int:
    """Return the fees of one token since growth inside was `inside_last`; the growth may have wrapped."""
    return (inside - inside_last) % WORD * liquidity // Q128


def slipped(price: int, bps: int) -> tuple[int, int]:
    """Return the square roots of the prices `bps` hundredths of a percent below and above `price`.

    Raises ValueError for `bps` outside of 0 to 10000. Source: Position.ratiosAfterSlippage of the v3-sdk.
    """
    if not 0 <= bps <= BPS:
        raise ValueError(f"bps: expected 0 to {BPS}, found {bps}")
    low, high = (isqrt(price * price * (BPS + change) // BPS) for change in (-bps, bps))
    return max(low, MIN_SQRT + 1), min(high, MAX_SQRT - 1)


def least_burned(price: int, lower: int, upper: int, liquidity: int, bps: int) -> Amounts:
    """Return the least that a burn gives while the price stays within `bps`: the minimums of decreaseLiquidity."""
    low, high = slipped(price, bps)
    return amounts(high, lower, upper, liquidity, up=False)[0], amounts(low, lower, upper, liquidity, up=False)[1]


def least_minted(price: int, lower: int, upper: int, of: Amounts, bps: int) -> Amounts:
    """Return the least that a mint of the desired amounts takes while the price stays within `bps`.

    The position manager computes the liquidity anew from the desired amounts at the price it finds. The SDK keeps the
    liquidity of the first price, so its minimums revert before the price has slipped as far as was allowed.

    Liquidity is a whole number, so even the amount that binds is taken to a unit of liquidity only: as much is given
    way, and a millionth for what the manager rounds where prices are tiny.
    """
    low, high = slipped(price, bps)
    taken = [amounts(at, lower, upper, liquidity_of(at, lower, upper, of), up=True) for at in (low, high)]
    unit = amounts(low, lower, upper, 1, up=True)[0], amounts(high, lower, upper, 1, up=True)[1]
    least = [min(each[side] for each in taken) for side in (0, 1)]
    first, second = [max(0, each - each // MILLION - loss) for each, loss in zip(least, unit, strict=True)]
    return first, second
