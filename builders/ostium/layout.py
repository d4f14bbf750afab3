"""How Ostium's calldata is laid out: every argument is one word, structs lie flat. Source: contracts/abi/SOURCES.md.

All types here are static, so the ABI's encoding is the words one after another (Solidity ABI specification, "Formal
specification of the encoding"). A general encoder takes 30 times as long; tests hold this one against it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from builders.call import selector
from builders.ostium.actions import Generation

WORD: Final = 32


@dataclass(frozen=True, slots=True)
class Layout:
    """A function: its selector, and its arguments as (name, ABI type) in the order of their words."""

    name: str
    selector: bytes
    words: tuple[tuple[str, str], ...]
    bounds: tuple[int, ...]  # each argument is below this


_LIMITS: Final[Mapping[str, int]] = {
    "address": 2**160, "bool": 2, **{f"uint{bits}": 2**bits for bits in range(8, 257, 8)},
}  # fmt: skip


def _layout(canonical: str, names: str) -> Layout:
    name, _, types = canonical.partition("(")
    flat = [kind for kind in types.replace("(", "").replace(")", "").split(",") if kind]
    words = tuple(zip(names.split(), flat, strict=True))
    return Layout(name, selector(canonical), words, tuple(_LIMITS[kind] for kind in flat))


_TRADE: Final = "uint256,uint192,uint192,uint192,address,uint32,uint16,uint8,bool"
_TRADE_NAMES: Final = "collateral openPrice tp sl trader leverage pairIndex index buy"
_BUILDER: Final = "(address,uint32)"

OPEN: Final[Mapping[Generation, Layout]] = {
    Generation.V1: _layout(f"openTrade(({_TRADE}),uint8,uint256)", f"{_TRADE_NAMES} orderType slippageP"),
    Generation.V2: _layout(
        f"openTrade(({_TRADE}),{_BUILDER},uint8,uint256)", f"{_TRADE_NAMES} builder builderFee orderType slippageP"
    ),
    Generation.V3: _layout(
        f"openTrade(({_TRADE},bool),{_BUILDER},uint8,uint256)",
        f"{_TRADE_NAMES} isDayTrade builder builderFee orderType slippageP",
    ),
}
CLOSE: Final = _layout(
    "closeTradeMarket(uint16,uint8,uint16,uint192,uint32)", "pairIndex index closePercentage marketPrice slippageP"
)
CLOSE_V1: Final = _layout("closeTradeMarket(uint16,uint8,uint16)", "pairIndex index closePercentage")
CANCEL_LIMIT: Final = _layout("cancelOpenLimitOrder(uint16,uint8)", "pairIndex index")
CANCEL_OPEN: Final = _layout("openTradeMarketTimeout(uint256)", "order")
CANCEL_CLOSE: Final = _layout("closeTradeMarketTimeout(uint256,bool)", "order retry")
EDIT_LIMIT: Final = _layout("updateOpenLimitOrder(uint16,uint8,uint192,uint192,uint192)", "pairIndex index price tp sl")
SET_TP: Final = _layout("updateTp(uint16,uint8,uint192)", "pairIndex index newTp")
SET_SL: Final = _layout("updateSl(uint16,uint8,uint192)", "pairIndex index newSl")
TOP_UP: Final = _layout("topUpCollateral(uint16,uint8,uint256)", "pairIndex index topUpAmount")
REMOVE: Final = _layout("removeCollateral(uint16,uint8,uint256)", "pairIndex index removeAmount")
SET_DELEGATE: Final = _layout("setDelegate(address)", "delegate")
REMOVE_DELEGATE: Final = _layout("removeDelegate()", "")
APPROVE: Final = _layout("approve(address,uint256)", "spender amount")
# The one function with an argument of any length; it is encoded by the general encoder.
DELEGATED_ACTION: Final = "delegatedAction(address,bytes)"

LAYOUTS: Final[tuple[Layout, ...]] = (
    *OPEN.values(), CLOSE, CLOSE_V1, CANCEL_LIMIT, CANCEL_OPEN, CANCEL_CLOSE, EDIT_LIMIT, SET_TP, SET_SL, TOP_UP,
    REMOVE, SET_DELEGATE, REMOVE_DELEGATE, APPROVE,
)  # fmt: skip
BY_SELECTOR: Final[Mapping[bytes, Layout]] = {layout.selector: layout for layout in LAYOUTS}


def encode(layout: Layout, values: Sequence[int]) -> bytes:
    """Return selector and words. Raises ValueError naming the argument that does not fit its type."""
    words = [layout.selector]
    for place, (bound, value) in enumerate(zip(layout.bounds, values, strict=True)):
        if not 0 <= value < bound:
            name, kind = layout.words[place]
            raise ValueError(f"{layout.name}.{name}: expected {kind}, found {value}")
        words.append(value.to_bytes(WORD, "big"))
    return b"".join(words)


def decode(data: bytes) -> tuple[Layout, dict[str, int]]:
    """Return the function that `data` calls and its arguments by name. Raises ValueError for anything else."""
    layout = BY_SELECTOR.get(data[:4])
    if layout is None:
        raise ValueError(f"no known function has the selector 0x{data[:4].hex()}")
    if len(data) != 4 + WORD * len(layout.words):
        raise ValueError(f"{layout.name}: expected {len(layout.words)} words, found {len(data) - 4} bytes")
    found = {}
    at = 4
    for (name, kind), bound in zip(layout.words, layout.bounds, strict=True):
        value = int.from_bytes(data[at : at + WORD], "big")
        at += WORD
        if value >= bound:
            raise ValueError(f"{layout.name}.{name}: expected {kind}, found {value}")
        found[name] = value
    return layout, found
