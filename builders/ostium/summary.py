"""Calldata back into words: what a person is about to sign, read from the bytes and not from the request."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError

from builders.call import selector
from builders.ostium import layout
from builders.ostium.actions import OpenKind
from builders.ostium.scale import FEE, LEVERAGE, PERCENT, PRICE, USD, plain

Value = str | int | bool
Shown = Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Summary:
    """A call of `function`: its arguments in human units (decimals as text), and all of it as one line."""

    function: str
    text: str
    arguments: dict[str, Value]


# Argument -> decimals; what is not listed is an index, an id, a flag or an address.
_SCALES: Final[Mapping[str, int]] = {
    "collateral": USD, "topUpAmount": USD, "removeAmount": USD, "amount": USD, "openPrice": PRICE, "marketPrice": PRICE,
    "price": PRICE, "tp": PRICE, "sl": PRICE, "newTp": PRICE, "newSl": PRICE, "leverage": LEVERAGE,
    "slippageP": PERCENT, "closePercentage": PERCENT, "builderFee": FEE,
}  # fmt: skip


def summary(data: bytes) -> Summary:
    """Return what `data` asks Ostium (or USDC, for an approval) to do. Raises ValueError for any other calldata."""
    if data[:4] == selector(layout.DELEGATED_ACTION):
        return _delegated(data)
    function, raw = layout.decode(data)
    showers = _SHOWERS[function.selector]
    shown = {name: show(value) for (name, value), show in zip(raw.items(), showers, strict=True)}
    return Summary(function.name, _TEXTS[function.name](shown), shown)


def _delegated(data: bytes) -> Summary:
    try:
        trader, inner = decode(["address", "bytes"], data[4:])
    except DecodingError as error:
        raise ValueError(f"delegatedAction: {error}") from None
    of = summary(inner)
    return Summary("delegatedAction", f"For {trader}: {of.text}", {"trader": trader, **of.arguments})


def _shower(name: str, kind: str) -> Callable[[int], Value]:
    """Return what turns an argument of this name and type into what people read."""
    places = _SCALES.get(name)
    if places is not None:
        return partial(_decimal, places)
    if kind == "address":
        return "0x{:040x}".format
    if kind == "bool":
        return bool
    if name == "orderType":
        return _order_type
    return str if kind == "uint256" else int


def _decimal(places: int, value: int) -> str:
    return plain(value, places)


def _order_type(value: int) -> str:
    return OpenKind(value).name.lower() if value < len(OpenKind) else str(value)


_SHOWERS: Final[Mapping[bytes, tuple[Callable[[int], Value], ...]]] = {
    each.selector: tuple(_shower(name, kind) for name, kind in each.words) for each in layout.LAYOUTS
}


def _open(of: Shown) -> str:
    side = "long" if of["buy"] else "short"
    parts = [
        f"Open {side} ({of['orderType']}): pair {of['pairIndex']}, {of['collateral']} USDC at {of['leverage']}x",
        f"price {of['openPrice']}",
    ]
    parts += [f"{name} {of[key]}" for key, name in (("tp", "take profit"), ("sl", "stop loss")) if of[key] != "0"]
    if of["slippageP"] != "0":
        parts.append(f"slippage {of['slippageP']} %")
    if of.get("isDayTrade"):
        parts.append("day trade")
    if of.get("builderFee", "0") != "0":
        parts.append(f"fee of {of['builderFee']} % to {of['builder']}")
    return ", ".join(parts)


def _close(of: Shown) -> str:
    text = f"Close {of['closePercentage']} % of trade {of['index']} of pair {of['pairIndex']}"
    return f"{text} at {of['marketPrice']}, slippage {of['slippageP']} %" if "marketPrice" in of else text


def _edit(of: Shown) -> str:
    ends = [
        f"{name} {of[key] if of[key] != '0' else 'none'}" for key, name in (("tp", "take profit"), ("sl", "stop loss"))
    ]
    return f"Change limit order {_where(of)}: price {of['price']}, {', '.join(ends)}"


def _where(of: Shown) -> str:
    return f"{of['index']} of pair {of['pairIndex']}"


_TEXTS: Final[Mapping[str, Callable[[Shown], str]]] = {
    "openTrade": _open,
    "closeTradeMarket": _close,
    "cancelOpenLimitOrder": lambda of: f"Cancel limit order {_where(of)}",
    "openTradeMarketTimeout": lambda of: f"Cancel market open {of['order']}, which timed out",
    "closeTradeMarketTimeout": lambda of: f"Cancel market close {of['order']}, which timed out",
    "updateOpenLimitOrder": _edit,
    "updateTp": lambda of: f"Set take profit of trade {_where(of)} to {of['newTp']}",
    "updateSl": lambda of: f"Set stop loss of trade {_where(of)} to {of['newSl']}",
    "topUpCollateral": lambda of: f"Add {of['topUpAmount']} USDC to trade {_where(of)}",
    "removeCollateral": lambda of: f"Remove {of['removeAmount']} USDC from trade {_where(of)}",
    "setDelegate": lambda of: f"Let {of['delegate']} trade for you",
    "removeDelegate": lambda _: "End your delegate's right to trade for you",
    "approve": lambda of: f"Let {of['spender']} take up to {of['amount']} USDC",
}
