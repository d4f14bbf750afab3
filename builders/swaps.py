"""Swaps of Uniswap v3, step by step as the pool takes them, to the wei. Pure.

Source: v3-core 1.0.1, SqrtPriceMath, SwapMath.computeSwapStep, TickBitmap and UniswapV3Pool.swap.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from builders.liquidity import WORD, amount0_delta, amount1_delta
from builders.ticks import MAX_SQRT, MAX_TICK, MIN_SQRT, Q96, Q128, sqrt_at, tick_near

MILLION: Final = 1_000_000  # fees are millionths


@dataclass(frozen=True, slots=True)
class SwapStep:
    """How far one stretch of constant liquidity took a swap: the new price, and what was paid, given and kept."""

    sqrt_x96: int
    amount_in: int
    amount_out: int
    fee: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolState:
    """A pool between two transactions. `net` is liquidityNet of each initialized tick; the fee is in millionths."""

    sqrt_x96: int
    tick: int
    liquidity: int
    fee: int
    spacing: int
    net: Mapping[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Swapped:
    """A swap's outcome: what the pool received (negative: paid), its state, and what it means for fees.

    `growth` is by how much feeGrowthGlobal of the token paid in has grown; `crossed` are the initialized ticks on
    the way, each with that growth so far.
    """

    amount0: int
    amount1: int
    sqrt_x96: int
    tick: int
    liquidity: int
    growth: int
    crossed: tuple[tuple[int, int], ...]


def next_sqrt_in(price: int, liquidity: int, amount: int, *, down: bool) -> int:
    """Return the price after `amount` was paid in, of token0 if it goes `down`. Rounded so that the pool gains."""
    if not down:
        return price + amount * Q96 // liquidity
    return _price_of_amount0(price, liquidity, amount, paid=True)


def next_sqrt_out(price: int, liquidity: int, amount: int, *, down: bool) -> int:
    """Return the price after `amount` was paid out, of token1 if it goes `down`.

    Raises ValueError if the liquidity does not hold as much.
    """
    if not down:
        return _price_of_amount0(price, liquidity, amount, paid=False)
    after = price - -(-amount * Q96 // liquidity)
    if after <= 0:
        raise ValueError(f"amount: expected less than the token1 of the liquidity, found {amount}")
    return after


def _price_of_amount0(price: int, liquidity: int, amount: int, *, paid: bool) -> int:
    if amount == 0:
        return price
    numerator = liquidity << 96
    product = amount * price
    if paid and product < WORD and numerator + product < WORD:
        return -(-numerator * price // (numerator + product))
    if paid:  # where 256 bits overflow, the contract takes a way with another rounding
        return -(-numerator // (numerator // price + amount))
    if product >= WORD or numerator <= product:
        raise ValueError(f"amount: expected less than the token0 of the liquidity, found {amount}")
    return -(-numerator * price // (numerator - product))


def swap_step(price: int, target: int, liquidity: int, remaining: int, fee: int) -> SwapStep:
    """Swap within one stretch of liquidity, up to `target`; `remaining` is paid in, or if negative to be paid out."""
    down = price >= target
    exact_in = remaining >= 0
    after = _reached(price, target, liquidity, remaining, fee)
    whole = after == target
    paid_in, paid_out = (amount0_delta, amount1_delta) if down else (amount1_delta, amount0_delta)
    amount_in = paid_in(after, price, liquidity, up=True)
    amount_out = paid_out(after, price, liquidity, up=False)
    if not exact_in:
        amount_out = min(amount_out, -remaining)
    if exact_in and not whole:
        return SwapStep(after, amount_in, amount_out, remaining - amount_in)
    return SwapStep(after, amount_in, amount_out, -(-amount_in * fee // (MILLION - fee)))


def _reached(price: int, target: int, liquidity: int, remaining: int, fee: int) -> int:
    down = price >= target
    if remaining >= 0:
        after_fee = remaining * (MILLION - fee) // MILLION
        reach = (amount0_delta if down else amount1_delta)(target, price, liquidity, up=True)
        return target if after_fee >= reach else next_sqrt_in(price, liquidity, after_fee, down=down)
    reach = (amount1_delta if down else amount0_delta)(target, price, liquidity, up=False)
    return target if -remaining >= reach else next_sqrt_out(price, liquidity, -remaining, down=down)


def swap(pool: PoolState, amount: int, *, down: bool, limit: int = 0) -> Swapped:
    """Swap `amount` in (negative: for so much out), token0 for token1 if `down`, until the price is at `limit`.

    No limit is the end of TickMath. A fee that the protocol keeps for itself is not taken off the growth. Raises
    ValueError for a limit on the wrong side of the price.
    """
    limit = limit or (MIN_SQRT + 1 if down else MAX_SQRT - 1)
    if not (MIN_SQRT < limit < pool.sqrt_x96 if down else pool.sqrt_x96 < limit < MAX_SQRT):
        raise ValueError(f"limit: expected one that the price {pool.sqrt_x96} moves towards, found {limit}")
    ticks = sorted(pool.net)
    price, tick, liquidity = pool.sqrt_x96, pool.tick, pool.liquidity
    remaining, other, growth = amount, 0, 0
    crossed: list[tuple[int, int]] = []
    while remaining and price != limit:
        following = _next_tick(ticks, tick, pool.spacing, down=down)
        edge = sqrt_at(following)
        target = max(edge, limit) if down else min(edge, limit)
        step = swap_step(price, target, liquidity, remaining, pool.fee)
        paid, given = step.amount_in + step.fee, step.amount_out
        remaining, other = (remaining - paid, other - given) if amount > 0 else (remaining + given, other + paid)
        growth += step.fee * Q128 // liquidity if liquidity else 0
        if step.sqrt_x96 == edge:
            if following in pool.net:
                crossed.append((following, growth))
                liquidity += -pool.net[following] if down else pool.net[following]
            tick = following - 1 if down else following
        elif step.sqrt_x96 != price:
            tick = tick_near(step.sqrt_x96, tick)
        price = step.sqrt_x96
    done = amount - remaining
    amount0, amount1 = (done, other) if down == (amount > 0) else (other, done)
    return Swapped(
        amount0=amount0, amount1=amount1, sqrt_x96=price, tick=tick, liquidity=liquidity, growth=growth,
        crossed=tuple(crossed),
    )  # fmt: skip


def _next_tick(ticks: Sequence[int], tick: int, spacing: int, *, down: bool) -> int:
    """Return the next initialized tick, or where the bitmap's word ends: there the pool stops, too, and rounds."""
    at = tick // spacing
    if down:
        end = (at >> 8 << 8) * spacing
        place = bisect_right(ticks, at * spacing)
        found = max(end, ticks[place - 1]) if place else end
    else:
        end = ((at + 1) >> 8 << 8 | 255) * spacing
        place = bisect_left(ticks, (at + 1) * spacing)
        found = min(end, ticks[place]) if place < len(ticks) else end
    return max(-MAX_TICK, min(MAX_TICK, found))
