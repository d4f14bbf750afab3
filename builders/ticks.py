"""Ticks, prices and liquidity of Uniswap v3, in exact integers. Pure.

A pool's price is token1/token0 in base units; contracts hold its square root times 2**96 (`sqrt_x96`). Source: Uniswap
v3 core 1.0.1, TickMath and SqrtPriceMath; v3-periphery 1.4.4, PoolAddress.
"""

from bisect import bisect_right
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from functools import cache
from math import isqrt
from typing import Final

from core.keccak import keccak

MAX_TICK: Final = 887_272  # TickMath.MAX_TICK
Q96: Final = 1 << 96
Q128: Final = 1 << 128
# keccak-256 of the creation code of UniswapV3Pool as Uniswap deployed it. Source: PoolAddress.POOL_INIT_CODE_HASH.
INIT_CODE_HASH: Final = bytes.fromhex("e34f199b19b2b4f47f68442619d555527d244f78a3297ea89325f843f87b8b54")
REACH_PERCENT: Final = 2  # how far from the price depth is counted

_PRECISE: Final = Context(prec=120, rounding=ROUND_HALF_EVEN)


@cache
def _steps() -> tuple[int, ...]:
    """Return 2**128 / sqrt(1.0001)**(2**i) for each bit i of a tick, as TickMath has them: rounded to the nearest."""
    root = _PRECISE.sqrt(Decimal("1.0001"))
    powers = (_PRECISE.power(root, 1 << bit) for bit in range(MAX_TICK.bit_length()))
    return tuple(int(_PRECISE.divide(Decimal(Q128), power).to_integral_value()) for power in powers)


def sqrt_at(tick: int) -> int:
    """Return sqrt(1.0001**tick) x 2**96 as TickMath.getSqrtRatioAtTick does. Raises ValueError outside of its ticks."""
    if abs(tick) > MAX_TICK:
        raise ValueError(f"tick: expected {-MAX_TICK} to {MAX_TICK}, found {tick}")
    ratio = Q128
    for bit, step in enumerate(_steps()):
        if abs(tick) >> bit & 1:
            ratio = ratio * step >> 128
    if tick > 0:
        ratio = ((1 << 256) - 1) // ratio
    return -(-ratio >> 32)  # from 128 bits behind the point to 96, rounded up


MIN_SQRT: Final = sqrt_at(-MAX_TICK)
MAX_SQRT: Final = sqrt_at(MAX_TICK)


def tick_at(sqrt_x96: int) -> int:
    """Return the greatest tick whose price is at most `sqrt_x96`, as TickMath.getTickAtSqrtRatio does.

    Raises ValueError outside of MIN_SQRT (included) to MAX_SQRT (excluded).
    """
    if not MIN_SQRT <= sqrt_x96 < MAX_SQRT:
        raise ValueError(f"sqrt_x96: expected {MIN_SQRT} to {MAX_SQRT - 1}, found {sqrt_x96}")
    return bisect_right(range(-MAX_TICK, MAX_TICK + 1), sqrt_x96, key=sqrt_at) - MAX_TICK - 1


def tick_near(sqrt_x96: int, guess: int) -> int:
    """Return tick_at(sqrt_x96), faster the nearer `guess` is: for prices that follow one another."""
    if not MIN_SQRT <= sqrt_x96 < MAX_SQRT:
        raise ValueError(f"sqrt_x96: expected {MIN_SQRT} to {MAX_SQRT - 1}, found {sqrt_x96}")
    lower = upper = max(-MAX_TICK, min(MAX_TICK - 1, guess))
    step = 1
    while sqrt_at(lower) > sqrt_x96:
        lower, upper, step = max(-MAX_TICK, lower - step), lower, 2 * step
    while sqrt_at(upper) <= sqrt_x96:
        lower, upper, step = upper, min(MAX_TICK, upper + step), 2 * step
    return bisect_right(range(lower, upper), sqrt_x96, key=sqrt_at) + lower - 1


def floored(tick: int, spacing: int) -> int:
    """Return the greatest multiple of `spacing` that is at most `tick`: where the bucket around it begins."""
    return tick // spacing * spacing


def nearest_usable(tick: int, spacing: int) -> int:
    """Return the usable tick next to `tick`, the upper one of two; never one beyond the ends of TickMath.

    Source: nearestUsableTick of Uniswap's v3-sdk. Raises ValueError outside of TickMath's ticks.
    """
    if abs(tick) > MAX_TICK:
        raise ValueError(f"tick: expected {-MAX_TICK} to {MAX_TICK}, found {tick}")
    edge = floored(MAX_TICK, spacing)
    return max(-edge, min(edge, floored(2 * tick + spacing, 2 * spacing) // 2))


def mean_tick(total: int, seconds: int) -> int:
    """Return the mean of ticks, of which `total` is the sum of each times the seconds that it held, in all `seconds`.

    Rounded down as Uniswap's OracleLibrary does. Raises ValueError when there are no seconds to weigh by.
    """
    if seconds <= 0:
        raise ValueError(f"seconds: expected some to weigh by, found {seconds}")
    return total // seconds


def price_at(sqrt_x96: int) -> Fraction:
    """Return what a base unit of token0 is worth in base units of token1, exactly."""
    return Fraction(sqrt_x96 * sqrt_x96, Q96 * Q96)


def tick_of(price: Fraction) -> int:
    """Return the greatest tick whose price is at most `price`, base units of token1 for one of token0.

    Raises ValueError for a price that no pool can have. Source: priceToClosestTick of Uniswap's v3-sdk.
    """
    tick = tick_at(isqrt((price.numerator << 192) // price.denominator))
    return tick + 1 if tick < MAX_TICK and price >= price_at(sqrt_at(tick + 1)) else tick


def amounts_between(sqrt_x96: int, lower: int, upper: int, liquidity: int) -> tuple[int, int]:
    """Return the base units of both tokens that `liquidity` between two square roots of prices holds, rounded down.

    Source: SqrtPriceMath.getAmount0Delta and getAmount1Delta with roundUp false, which is what a burn pays out.
    """
    low, high = max(sqrt_x96, lower), min(sqrt_x96, upper)
    amount0 = ((liquidity << 96) * (upper - low) // upper) // low if low < upper else 0
    amount1 = liquidity * (high - lower) >> 96 if high > lower else 0
    return amount0, amount1


def virtual_reserves(sqrt_x96: int, liquidity: int) -> tuple[int, int]:
    """Return the base units of both tokens within REACH_PERCENT of the price, as if `liquidity` reached as far.

    Of token1 what a seller of token0 can take until token0's price has fallen so far; of token0 what a buyer can.
    """
    square = sqrt_x96 * sqrt_x96
    lower = isqrt(square * (100 - REACH_PERCENT) // 100)
    upper = isqrt(square * (100 + REACH_PERCENT) // 100)
    return amounts_between(sqrt_x96, lower, upper, liquidity)


def pool_address(factory: bytes, init_code_hash: bytes, token0: bytes, token1: bytes, fee: int) -> bytes:
    """Return where `factory` puts the pool of two tokens (token0 < token1) and a fee in millionths, by CREATE2."""
    if token0 >= token1:
        raise ValueError(f"token0: expected less than token1, found 0x{token0.hex()} and 0x{token1.hex()}")
    salt = keccak(token0.rjust(32, b"\0") + token1.rjust(32, b"\0") + fee.to_bytes(32))
    return keccak(b"\xff" + factory + salt + init_code_hash)[12:]
