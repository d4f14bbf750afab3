"""Uniswap v3 calls and what their logs say. Source: v3-core 1.0.1, v3-periphery 1.4.4, swap-router-contracts 1.3.1."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Final

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError

from builders.call import Call, invoke, selector, topic
from builders.call import decode as decode_call
from builders.ticks import MAX_TICK
from core.types import Log

NO_LIMIT = 0  # sqrtPriceLimitX96 = 0: the swap runs as far as the amount goes
EVERYTHING: Final = (1 << 128) - 1  # amount0Max and amount1Max of collect

MINT: Final = "mint((address,address,uint24,int24,int24,uint256,uint256,uint256,uint256,address,uint256))"
DECREASE: Final = "decreaseLiquidity((uint256,uint128,uint256,uint256,uint256))"
COLLECT: Final = "collect((uint256,address,uint128,uint128))"
BURN: Final = "burn(uint256)"
MULTICALL: Final = "multicall(bytes[])"
SWAP_02: Final = "exactInputSingle((address,address,uint24,address,uint256,uint256,uint160))"
MULTICALL_02: Final = "multicall(uint256,bytes[])"


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


def mint(
    manager: bytes,
    where: Range,
    amount0: int,
    amount1: int,
    *,
    recipient: bytes,
    deadline: int,
    least: tuple[int, int] = (0, 0),
) -> Call:
    """Return the call that opens a position of at most these amounts, and of at least `least`.

    Without minimums it is fit only for a pool that nobody else trades in: a sandwich may take the difference.
    """
    key = (where.token0, where.token1, where.fee, where.tick_lower, where.tick_upper)
    return invoke(manager, MINT, (*key, amount0, amount1, *least, recipient, deadline))


def decrease(manager: bytes, token_id: int, liquidity: int, *, least: tuple[int, int], deadline: int) -> Call:
    """Return the call that takes liquidity out of a position: the pool then owes it at least `least`."""
    return invoke(manager, DECREASE, (token_id, liquidity, *least, deadline))


def collect(manager: bytes, token_id: int, *, recipient: bytes) -> Call:
    """Return the call that pays out all that a position is owed, principal and fees alike."""
    return invoke(manager, COLLECT, (token_id, recipient, EVERYTHING, EVERYTHING))


def burn(manager: bytes, token_id: int) -> Call:
    """Return the call that ends a position's NFT; it reverts while the position holds or is owed anything."""
    return invoke(manager, BURN, token_id)


def multicall(manager: bytes, calls: Sequence[Call]) -> Call:
    """Return the one transaction that makes `calls` to the position manager, all of them or none.

    Raises ValueError for a call to anybody else, for one with value, and for none at all.
    """
    odd = [call for call in calls if call.to != manager or call.value]
    if odd or not calls:
        raise ValueError(f"calls: expected some to 0x{manager.hex()} without value, found {odd[:1] or 'none'}")
    return invoke(manager, MULTICALL, [call.data for call in calls])


@dataclass(frozen=True, slots=True)
class Minting:
    """A mint as calldata asks for it: ticks of the position, and the most that it may take."""

    tick_lower: int
    tick_upper: int
    amount0: int
    amount1: int


def items(call: Call) -> list[str]:
    """Return which function each item of a multicall calls. Raises ValueError for one that is not written here."""
    return [_named(item) for item in _within(call)]


def mintings(call: Call) -> list[Minting]:
    """Return the mints of a multicall, in its order, which is that of their logs."""
    found = []
    for item in _within(call):
        if item[:4] == selector(MINT):
            ((_, _, _, lower, upper, amount0, amount1, *_),) = decode_call(MINT, item)
            found.append(Minting(lower, upper, amount0, amount1))
    return found


def _within(call: Call) -> Sequence[bytes]:
    if call.data[:4] != selector(MULTICALL):
        raise ValueError(f"expected a multicall, found selector 0x{call.data[:4].hex()}")
    (found,) = decode_call(MULTICALL, call.data)
    return tuple(found)


def _named(item: bytes) -> str:
    for each in (MINT, DECREASE, COLLECT, BURN):
        if selector(each) == item[:4]:
            return each
    raise ValueError(f"selector 0x{item[:4].hex()} is not one of a position's")


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


def swap_02(
    router: bytes,
    path: tuple[bytes, int, bytes],
    amount_in: int,
    *,
    recipient: bytes,
    deadline: int,
    least_out: int,
    limit: int = NO_LIMIT,
) -> Call:
    """Return exactInputSingle of SwapRouter02: all of `amount_in` for at least `least_out`, while the price allows.

    `limit` is the square root of the last price to trade at, times 2**96: never that of the mean price, or the swap
    stops halfway. This router's orders have no deadline, so the order travels in its multicall, which has one.
    """
    paid, fee, received = path
    order = invoke(router, SWAP_02, (paid, received, fee, recipient, amount_in, least_out, limit))
    return invoke(router, MULTICALL_02, deadline, [order.data])


@dataclass(frozen=True, slots=True)
class Increased:
    """A position has got liquidity for these amounts."""

    token_id: int
    liquidity: int
    amount0: int
    amount1: int


@dataclass(frozen=True, slots=True)
class Decreased:
    """A position has lost liquidity; the amounts are owed to it, and not paid yet."""

    token_id: int
    liquidity: int
    amount0: int
    amount1: int


@dataclass(frozen=True, slots=True)
class Collected:
    """A position was paid out, or a few wei less: the manager announces what it asked of the pool (see Paid)."""

    token_id: int
    recipient: bytes
    amount0: int
    amount1: int


@dataclass(frozen=True, slots=True)
class Moved:
    """A position's NFT changed hands; from or to the zero address it was made or burnt."""

    token_id: int
    sender: bytes
    recipient: bytes


@dataclass(frozen=True, slots=True)
class Paid:
    """What a pool really paid out of a range: its own Collect, which ledgers go by."""

    pool: bytes
    recipient: bytes
    tick_lower: int
    tick_upper: int
    amount0: int
    amount1: int


Effect = Increased | Decreased | Collected | Moved | Paid

_INCREASE: Final = topic("IncreaseLiquidity(uint256,uint128,uint256,uint256)")
_DECREASE: Final = topic("DecreaseLiquidity(uint256,uint128,uint256,uint256)")
_COLLECT: Final = topic("Collect(uint256,address,uint256,uint256)")
_TRANSFER: Final = topic("Transfer(address,address,uint256)")
_PAID: Final = topic("Collect(address,address,int24,int24,uint128,uint128)")


def effect(log: Log, manager: bytes) -> Effect | None:
    """Return what a log of the position manager, or of any pool about one of its positions, says; None for others.

    Raises ValueError for one of the manager's own events that does not have its shape. Who acts upon `Paid` has to know
    the pool: the log's address is all that tells a pool from a pretender.
    """
    head = log.topics[0] if log.topics else b""
    try:
        if log.address == manager:
            return _of_manager(head, log)
        if head == _PAID and len(log.topics) == 4 and log.topics[1] == manager.rjust(32, b"\0"):
            recipient, amount0, amount1 = decode(["address", "uint128", "uint128"], log.data)
            lower, upper = (int.from_bytes(each[-3:], signed=True) for each in log.topics[2:])
            return Paid(log.address, bytes.fromhex(recipient[2:]), lower, upper, amount0, amount1)
    except (DecodingError, IndexError) as error:
        raise ValueError(f"log {log.index} of 0x{log.address.hex()}: not an event of positions: {error}") from error
    return None


def _of_manager(head: bytes, log: Log) -> Effect | None:
    if head == _TRANSFER:
        return Moved(int.from_bytes(log.topics[3]), log.topics[1][12:], log.topics[2][12:])
    if head == _COLLECT:
        recipient, amount0, amount1 = decode(["address", "uint256", "uint256"], log.data)
        return Collected(int.from_bytes(log.topics[1]), bytes.fromhex(recipient[2:]), amount0, amount1)
    if head not in (_INCREASE, _DECREASE):
        return None
    kind = Increased if head == _INCREASE else Decreased
    return kind(int.from_bytes(log.topics[1]), *decode(["uint128", "uint256", "uint256"], log.data))
