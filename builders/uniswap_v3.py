"""Uniswap v3 calls and the integer arithmetic they need. Source: v3-core 1.0.1, v3-periphery 1.4.4."""

from dataclasses import dataclass
from math import isqrt

from builders.call import Call, invoke
from builders.ticks import MAX_TICK

NO_LIMIT = 0  # sqrtPriceLimitX96 = 0: the swap runs as far as the amount goes


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """A pool's key and two ticks, both multiples of its spacing. token0 < token1."""

    token0: bytes
    token1: bytes
    fee: int  # millionths
    tick_lower: int
    tick_upper: int


def sqrt_price_x96(amount0: int, amount1: int) -> int:
    """Return sqrt(amount1/amount0) x 2**96, rounded down: the price at which these base units are worth the same."""
    return isqrt((amount1 << 192) // amount0)


def full_range(spacing: int) -> tuple[int, int]:
    """Return the lowest and highest usable tick of a pool."""
    edge = MAX_TICK // spacing * spacing
    return -edge, edge


def enable_fee(factory: bytes, fee: int, spacing: int) -> Call:
    """Return the call by which the factory's owner allows pools of `fee`."""
    return invoke(factory, "enableFeeAmount(uint24,int24)", fee, spacing)


def create_pool(manager: bytes, token0: bytes, token1: bytes, fee: int, price_x96: int) -> Call:
    """Return the call that creates a pool and sets its price, through the position manager."""
    function = "createAndInitializePoolIfNecessary(address,address,uint24,uint160)"
    return invoke(manager, function, token0, token1, fee, price_x96)


def mint(manager: bytes, where: Range, amount0: int, amount1: int, *, recipient: bytes, deadline: int) -> Call:
    """Return the call that opens a position of at most these amounts, without a minimum.

    Fit for a pool that nobody else trades in: without minimums a sandwich may take the difference.
    """
    key = (where.token0, where.token1, where.fee, where.tick_lower, where.tick_upper)
    function = "mint((address,address,uint24,int24,int24,uint256,uint256,uint256,uint256,address,uint256))"
    return invoke(manager, function, (*key, amount0, amount1, 0, 0, recipient, deadline))


def swap(
    router: bytes,
    path: tuple[bytes, int, bytes],
    amount_in: int,
    *,
    recipient: bytes,
    deadline: int,
    least_out: int = 0,
) -> Call:
    """Return exactInputSingle of the first SwapRouter: all of `amount_in` for at least `least_out`.

    `path` is the token paid, the pool's fee, the token received.
    """
    paid, fee, received = path
    function = "exactInputSingle((address,address,uint24,address,uint256,uint256,uint256,uint160))"
    order = (paid, received, fee, recipient, deadline, amount_in, least_out, NO_LIMIT)
    return invoke(router, function, order)
