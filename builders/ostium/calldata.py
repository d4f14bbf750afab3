"""Actions to calls. `value` is always 0: Ostium takes USDC, never ether."""

from collections.abc import Mapping
from typing import Final

from builders.call import Call, invoke
from builders.ostium import layout
from builders.ostium.actions import (
    Action,
    AddCollateral,
    Approve,
    CancelClose,
    CancelLimit,
    CancelOpen,
    Close,
    Delegated,
    Deployment,
    EditLimit,
    Generation,
    Open,
    OpenKind,
    RemoveCollateral,
    RemoveDelegate,
    SetDelegate,
    SetStopLoss,
    SetTakeProfit,
)  # fmt: skip
from builders.ostium.layout import Layout, encode

# Actions whose fields are the arguments, in their order, and what follows them.
_FLAT: Final[Mapping[type, tuple[Layout, tuple[int, ...]]]] = {
    CancelLimit: (layout.CANCEL_LIMIT, ()),
    CancelOpen: (layout.CANCEL_OPEN, ()),
    CancelClose: (layout.CANCEL_CLOSE, (0,)),  # retry: false, or the contract would close again at the old price
    EditLimit: (layout.EDIT_LIMIT, ()),
    SetTakeProfit: (layout.SET_TP, ()),
    SetStopLoss: (layout.SET_SL, ()),
    AddCollateral: (layout.TOP_UP, ()),
    RemoveCollateral: (layout.REMOVE, ()),
    SetDelegate: (layout.SET_DELEGATE, ()),
    RemoveDelegate: (layout.REMOVE_DELEGATE, ()),
}
NO_INDEX: Final = 0  # the contract gives a new trade its index


def call(action: Action, on: Deployment, trader: bytes, generation: Generation) -> Call:
    """Return the call that `trader` has to send. Raises ValueError for what the contract's types cannot hold."""
    if isinstance(action, Open):
        return Call(on.trading, _open(action, trader, generation))
    if isinstance(action, Approve):
        return Call(on.usdc, encode(layout.APPROVE, (_number(on.storage), action.amount)))
    if isinstance(action, Delegated):
        return invoke(on.trading, layout.DELEGATED_ACTION, action.trader, action.data)
    return Call(on.trading, _other(action, generation))


def _open(action: Open, trader: bytes, generation: Generation) -> bytes:
    if action.day_trade and generation is not Generation.V3:
        raise ValueError(f"isDayTrade: contracts of generation {generation} have no such field")
    if action.builder_fee and generation is Generation.V1:
        raise ValueError("builderFee: contracts of generation v1 have no such field")
    # Limit and stop orders carry no slippage: current contracts revert for any other value (measured; Builder Service
    # docs, "hardcoded to 0"). Those of generation v1 demanded one.
    market = action.kind is OpenKind.MARKET or generation is Generation.V1
    trade = (
        action.collateral, action.price, action.take_profit, action.stop_loss, _number(trader), action.leverage,
        action.pair, NO_INDEX, int(action.long),
    )  # fmt: skip
    tail = (int(action.kind), action.slippage if market else 0)
    builder = (_number(action.builder), action.builder_fee)
    match generation:
        case Generation.V1:
            return encode(layout.OPEN[generation], (*trade, *tail))
        case Generation.V2:
            return encode(layout.OPEN[generation], (*trade, *builder, *tail))
        case Generation.V3:
            return encode(layout.OPEN[generation], (*trade, int(action.day_trade), *builder, *tail))


def _other(action: Action, generation: Generation) -> bytes:
    if isinstance(action, Close):
        return _close(action, generation)
    if isinstance(action, EditLimit) and (action.take_profit is None or action.stop_loss is None):
        raise ValueError("tp, sl: expected both, since the contract overwrites both")
    function, more = _FLAT[type(action)]
    values = (getattr(action, name) for name in action.__slots__)
    words = [_number(value) if isinstance(value, bytes) else int(value) for value in values]
    return encode(function, (*words, *more))


def _close(action: Close, generation: Generation) -> bytes:
    where = (action.pair, action.index, action.percent)
    if generation is Generation.V1:
        return encode(layout.CLOSE_V1, where)
    return encode(layout.CLOSE, (*where, action.price, action.slippage))


def _number(address: bytes) -> int:
    if len(address) != 20:
        raise ValueError(f"address: expected 20 bytes, found {len(address)}")
    return int.from_bytes(address, "big")
