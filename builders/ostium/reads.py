"""What is asked of Ostium's contracts before building or simulating: calls, and their answers by word.

The structs are static and begin alike in every generation, so a word's place is enough (contracts/abi/SOURCES.md).
"""

from dataclasses import dataclass
from typing import Final

from builders.call import selector
from builders.ostium.actions import Deployment

WORD: Final = 32
MAX_GAIN_PERCENT: Final = 900  # MAX_GAIN_P of OstiumTrading: a take profit may be this much of the collateral away

Target = tuple[bytes, bytes]  # contract, calldata


@dataclass(frozen=True, slots=True)
class OpenTrade:
    """An open trade as TradingStorage has it; `leverage` is 0 where there is none."""

    collateral: int
    price: int
    take_profit: int
    stop_loss: int
    leverage: int
    long: bool


@dataclass(frozen=True, slots=True)
class LimitOrder:
    """A limit or stop order; `leverage` is 0 where there is none."""

    price: int
    take_profit: int
    stop_loss: int
    leverage: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PairLimits:
    """What the contracts allow for a pair: leverages x 100, amounts in USDC base units.

    `overnight_max_leverage` 0 means that it has none of its own.
    """

    listed: bool
    min_leverage: int
    max_leverage: int
    overnight_max_leverage: int
    min_position: int
    oracle_fee: int


def trade(on: Deployment, trader: bytes, pair: int, index: int) -> Target:
    """Return the question for an open trade."""
    return on.storage, _place("getOpenTrade(address,uint16,uint8)", trader, pair, index)


def trade_info(on: Deployment, trader: bytes, pair: int, index: int) -> Target:
    """Return the question for a trade's history, of which the leverage it was opened with matters here."""
    return on.storage, _place("getOpenTradeInfo(address,uint16,uint8)", trader, pair, index)


def limit_order(on: Deployment, trader: bytes, pair: int, index: int) -> Target:
    """Return the question for a limit order."""
    return on.storage, _place("getOpenLimitOrder(address,uint16,uint8)", trader, pair, index)


def balance(on: Deployment, owner: bytes) -> Target:
    """Return the question for an account's USDC."""
    return on.usdc, selector("balanceOf(address)") + owner.rjust(WORD, b"\0")


def allowance(on: Deployment, owner: bytes) -> Target:
    """Return the question for what TradingStorage may take of an account's USDC."""
    return on.usdc, selector("allowance(address,address)") + owner.rjust(WORD, b"\0") + on.storage.rjust(WORD, b"\0")


def state(on: Deployment) -> tuple[Target, Target, Target]:
    """Return the questions whether Trading is paused, whether it is done, and for the most collateral of a trade."""
    names = ("isPaused()", "isDone()", "maxAllowedCollateral()")
    paused, done, most = ((on.trading, selector(name)) for name in names)
    return paused, done, most


def registry(on: Deployment) -> Target:
    """Return the question for the registry, which knows the other contracts."""
    return on.trading, selector("registry()")


def registered(at: bytes, name: str) -> Target:
    """Return the question for a contract's address by its name; the registry reverts for one that it does not know."""
    return at, selector("getContractAddress(bytes32)") + name.encode().ljust(WORD, b"\0")


def pair_limits(pairs: bytes, pair: int) -> tuple[Target, ...]:
    """Return the questions whose answers `read_pair_limits` takes."""
    names = (
        "isPairIndexListed", "pairMinLeverage", "pairMaxLeverage", "pairOvernightMaxLeverage", "pairMinLevPos",
        "pairOracleFee",
    )  # fmt: skip
    return tuple((pairs, selector(f"{name}(uint16)") + pair.to_bytes(WORD, "big")) for name in names)


def read_pair_limits(answers: tuple[bytes | None, ...]) -> PairLimits:
    """Return the limits from the answers in the order of `pair_limits`; a contract that lacks one counts as 0."""
    listed, least, most, overnight, position, fee = (word(answer, 0) if answer else 0 for answer in answers)
    return PairLimits(
        listed=bool(listed), min_leverage=least, max_leverage=most, overnight_max_leverage=overnight,
        min_position=position, oracle_fee=fee,
    )  # fmt: skip


def read_trade(answer: bytes) -> OpenTrade:
    """Return the trade in an answer of getOpenTrade. Raises ValueError if it is too short for one."""
    return OpenTrade(
        collateral=word(answer, 0), price=word(answer, 1), take_profit=word(answer, 2), stop_loss=word(answer, 3),
        leverage=word(answer, 5), long=bool(word(answer, 8)),
    )  # fmt: skip


def read_initial_leverage(answer: bytes) -> int:
    """Return the leverage a trade was opened with, from an answer of getOpenTradeInfo."""
    return word(answer, 2)


def read_limit_order(answer: bytes) -> LimitOrder:
    """Return the order in an answer of getOpenLimitOrder. Raises ValueError if it is too short for one."""
    return LimitOrder(
        price=word(answer, 1), take_profit=word(answer, 2), stop_loss=word(answer, 3), leverage=word(answer, 5)
    )


def read_address(answer: bytes) -> bytes:
    """Return the address in an answer of one word."""
    return word(answer, 0).to_bytes(WORD, "big")[-20:]


def word(answer: bytes, place: int) -> int:
    """Return the word at `place` of an answer. Raises ValueError if the answer is too short."""
    part = answer[place * WORD : (place + 1) * WORD]
    if len(part) != WORD:
        raise ValueError(f"expected at least {place + 1} words, found {len(answer)} bytes")
    return int.from_bytes(part, "big")


def maximum_take_profit(of: OpenTrade, initial_leverage: int) -> int:
    """Return the farthest take profit that updateTp accepts: 900 % of the collateral from the opening price.

    A short whose 900 % lie below zero gets the smallest price there is, 1: current contracts refuse 0.
    Source: OstiumTrading.updateTp (integer division, the larger of the two leverages).
    """
    away = of.price * MAX_GAIN_PERCENT // max(of.leverage, initial_leverage)
    return of.price + away if of.long else max(of.price - away, 1)


def _place(function: str, trader: bytes, pair: int, index: int) -> bytes:
    return selector(function) + trader.rjust(WORD, b"\0") + pair.to_bytes(WORD, "big") + index.to_bytes(WORD, "big")
