"""What a trader can ask of Ostium, in the contracts' integers (see `scale`). Frozen; addresses are 20 bytes."""

from dataclasses import dataclass
from enum import IntEnum, StrEnum

NOBODY = bytes(20)  # the builder of an order without a builder's fee


class Generation(StrEnum):
    """Which openTrade the Trading contract has: with isDayTrade (v3), with a builder's fee (v2), with neither (v1)."""

    V1 = "v1"
    V2 = "v2"
    V3 = "v3"


class OpenKind(IntEnum):
    """The contract's OpenOrderType."""

    MARKET = 0
    LIMIT = 1
    STOP = 2


@dataclass(frozen=True, slots=True)
class Deployment:
    """Where a set of Ostium contracts is. `storage` (TradingStorage), not `trading`, is who spends USDC."""

    chain_id: int
    trading: bytes
    storage: bytes
    usdc: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """Open a position. A zero take profit or stop loss leaves it to the contract at settlement."""

    pair: int
    long: bool
    kind: OpenKind
    price: int
    collateral: int
    leverage: int
    take_profit: int = 0
    stop_loss: int = 0
    slippage: int = 0
    builder: bytes = NOBODY
    builder_fee: int = 0
    day_trade: bool = False


@dataclass(frozen=True, slots=True)
class Close:
    """Close `percent` (10_000 is all) of an open trade at about `price`."""

    pair: int
    index: int
    percent: int
    price: int
    slippage: int


@dataclass(frozen=True, slots=True)
class CancelLimit:
    """Take back a limit or stop order."""

    pair: int
    index: int


@dataclass(frozen=True, slots=True)
class CancelOpen:
    """Take back a market open that no price came for; the collateral returns."""

    order: int


@dataclass(frozen=True, slots=True)
class CancelClose:
    """Take back a market close that no price came for; it is not tried again."""

    order: int


@dataclass(frozen=True, slots=True)
class EditLimit:
    """Give a limit order a new price. The contract overwrites all three; None means: as it is, to be read first."""

    pair: int
    index: int
    price: int
    take_profit: int | None
    stop_loss: int | None


@dataclass(frozen=True, slots=True)
class SetTakeProfit:
    """Move the take profit of an open trade. Current contracts (v3) revert for 0."""

    pair: int
    index: int
    price: int


@dataclass(frozen=True, slots=True)
class SetStopLoss:
    """Move the stop loss of an open trade; 0 leaves it to liquidation."""

    pair: int
    index: int
    price: int


@dataclass(frozen=True, slots=True)
class AddCollateral:
    """Top up an open trade."""

    pair: int
    index: int
    amount: int


@dataclass(frozen=True, slots=True)
class RemoveCollateral:
    """Take collateral out of an open trade; `amount` is positive."""

    pair: int
    index: int
    amount: int


@dataclass(frozen=True, slots=True)
class SetDelegate:
    """Let `delegate` trade for the sender; it replaces an earlier one."""

    delegate: bytes


@dataclass(frozen=True, slots=True)
class RemoveDelegate:
    """Take that right back."""


@dataclass(frozen=True, slots=True)
class Approve:
    """Let TradingStorage move up to `amount` of the sender's USDC: collateral, and the oracle's fee of each close."""

    amount: int


@dataclass(frozen=True, slots=True)
class Delegated:
    """A delegate sends `data`, calldata of Trading, in the name of `trader`."""

    trader: bytes
    data: bytes


Action = (
    Open | Close | CancelLimit | CancelOpen | CancelClose | EditLimit | SetTakeProfit | SetStopLoss | AddCollateral
    | RemoveCollateral | SetDelegate | RemoveDelegate | Approve
    | Delegated
)  # fmt: skip
