"""Why a call reverts, by name: Ostium's custom errors, ERC-20's, and Solidity's own two."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError

from builders.call import selector, signature
from contracts import abi

Argument = str | int | bool

# Solidity, "Error handling": revert with a text, and failed checks of the compiler's.
_BUILT_IN: Final[tuple[Mapping[str, Any], ...]] = (
    {"type": "error", "name": "Error", "inputs": [{"name": "message", "type": "string"}]},
    {"type": "error", "name": "Panic", "inputs": [{"name": "code", "type": "uint256"}]},
)
ERRORS: Final[Mapping[bytes, Mapping[str, Any]]] = {
    selector(signature(entry)): entry
    for entry in (*abi("ostium_errors"), *abi("ostium_trading"), *_BUILT_IN)
    if entry["type"] == "error"
}

# What the contract means, for those a trader can do something about.
MEANINGS: Final[Mapping[str, str]] = {
    "WrongParams": "a price, amount or slippage is zero or out of range",
    "WrongTP": "the take profit is on the wrong side of the price, zero, or farther away than 900 % of the collateral",
    "WrongSL": "the stop loss is on the wrong side of the price, or beyond the most that may be lost",
    "WrongLeverage": "the leverage is outside of what the pair allows (overnight positions may have a lower maximum)",
    "PairNotListed": "there is no such pair",
    "AboveMaxAllowedCollateral": "more collateral than one trade may have",
    "BelowFees": "the fees would take all of the collateral",
    "BelowMinLevPos": "collateral times leverage is below the pair's smallest position",
    "MaxTradesPerPairReached": "as many trades and orders on this pair as one account may have",
    "MaxPendingMarketOrdersReached": "as many pending market orders as one account may have",
    "ExposureLimits": "the protocol takes no more collateral on this side of the pair's group",
    "NoTradeFound": "no open trade at this pair and index",
    "NoLimitFound": "no limit order at this pair and index",
    "NoOpenLimitOrder": "no limit order at this pair and index",
    "NoTradeToTimeoutFound": "no pending market order with this id",
    "NotYourOrder": "the order belongs to somebody else",
    "NotOpenMarketTimeoutOrder": "the order is not a market open",
    "NotCloseMarketTimeoutOrder": "the order is not a market close",
    "WaitTimeout": "the order may still be executed: wait until its time-out has passed",
    "TriggerPending": "another order on this trade is being executed",
    "AlreadyMarketClosed": "the trade is being closed already",
    "IsPaused": "new trades are paused",
    "IsDone": "the contract takes no calls any more",
    "NoDelegate": "no delegate is set",
    "NotDelegate": "the sender is not the trader's delegate",
    "DelegateForbidden": "a delegate may not do this",
    "NullAddr": "the zero address is not allowed",
    "ERC20InsufficientAllowance": "TradingStorage may not take enough of the trader's USDC: approve it first",
    "ERC20InsufficientBalance": "the trader has not enough USDC",
}


@dataclass(frozen=True, slots=True)
class Revert:
    """Why a call reverted. `name` is None for an error that no known contract has."""

    name: str | None
    selector: bytes
    arguments: dict[str, Argument]
    meaning: str


def revert(data: bytes) -> Revert:
    """Return what revert data says; it never raises, since a contract may revert with anything."""
    entry = ERRORS.get(data[:4])
    if entry is None:
        meaning = f"an unknown error, 0x{data[:68].hex()}" if data else "no reason was given"
        return Revert(None, data[:4], {}, meaning)
    name: str = entry["name"]
    try:
        values = decode([part["type"] for part in entry["inputs"]], data[4:])
    except (DecodingError, UnicodeDecodeError):
        return Revert(name, data[:4], {}, "its arguments are malformed")
    arguments = {part["name"]: _plain(value) for part, value in zip(entry["inputs"], values, strict=True)}
    meaning = str(arguments["message"]) if name == "Error" else MEANINGS.get(name, f"the contract refuses: {name}")
    return Revert(name, data[:4], arguments, meaning)


def _plain(value: Any) -> Argument:
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, int) and not isinstance(value, bool) and value >= 2**53:
        return str(value)  # more than a JSON reader keeps
    return value if isinstance(value, bool | int) else str(value)
