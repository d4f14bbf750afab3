"""Bodies of the exchange routes to actions: every rule of the contract, every fault by its path. Pure.

Rules beyond the schema are the Builder Service's documented ones, and what the contracts always revert for.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from api.builder.fields import Faults, Fields
from builders.ostium.actions import (
    NOBODY,
    Action,
    AddCollateral,
    CancelClose,
    CancelLimit,
    CancelOpen,
    Close,
    EditLimit,
    Generation,
    Open,
    OpenKind,
    RemoveCollateral,
    SetStopLoss,
    SetTakeProfit,
)  # fmt: skip
from builders.ostium.scale import FEE, LEVERAGE, PERCENT, PRICE, USD

MAX_PAIR: Final = 2**16 - 1
MAX_INDEX: Final = 2**8 - 1
MAX_ORDER: Final = 2**256 - 1
MAX_PRICE: Final = 2**192 - 1
MAX_USD: Final = 2**128 - 1  # far above all USDC there is, far below an overflow in the contract
MAX_LEVERAGE: Final = 2**32 - 1
MIN_OPEN: Final = 5 * 10**USD  # MIN_OPEN_SIZE_USD of the Builder Service; the contracts' own minimum is lower
MIN_LEVERAGE: Final = 10**LEVERAGE
ALL: Final = 100 * 10**PERCENT  # 100 %
MAX_FEE: Final = 5 * 10 ** (FEE - 1)  # 0.5 %, MAX_BUILDER_FEE_PERCENT of OstiumTrading
DEFAULT_SLIPPAGE: Final = 25  # 0.25 %

POSITIVE: Final = "a positive number string"
NOT_NEGATIVE: Final = "a non-negative number string"
KINDS: Final[Mapping[str, OpenKind]] = {"market": OpenKind.MARKET, "limit": OpenKind.LIMIT, "stop": OpenKind.STOP}


@dataclass(slots=True)
class Draft:
    """What a body asks for, in order, and what of it nobody reads."""

    actions: list[Action] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class Invalid(Exception):
    """A body that is none; `faults` says why."""

    def __init__(self, faults: Faults) -> None:
        super().__init__(next(iter(faults.messages.values()))[0])
        self.faults = faults


Reader = Callable[[Fields, Draft, Generation], None]


def read(action: str, body: Any, generation: Generation = Generation.V3) -> Draft:
    """Return what `body` asks for. Raises Invalid with every fault in it; `action` is a key of READERS."""
    faults, draft = Faults(), Draft()
    if isinstance(body, Mapping):
        READERS[action](Fields(body, "", faults), draft, generation)
    else:
        faults.add("body", "The request must be a JSON object", body)
    if faults:
        raise Invalid(faults)
    return draft


def _open(body: Fields, draft: Draft, generation: Generation) -> None:
    draft.warnings += body.unknown(("open", "bd", "sp"))
    of = _inner(body, "open")
    terms = _terms(of, draft) if of is not None else None
    builder, fee = _builder(body, draft, generation)
    kind = terms["kind"] if terms else None
    slippage = _slippage(body, kind is OpenKind.MARKET, most=ALL - 1 if kind is OpenKind.MARKET else ALL)
    if of is not None and terms and terms["day_trade"] and generation is not Generation.V3:
        of.fault("d", f"Day trade is not known to these contracts (generation {generation})")
    if terms and None not in terms.values() and slippage is not None and not body.faults:
        draft.actions.append(Open(**terms, slippage=slippage, builder=builder, builder_fee=fee))


def _terms(of: Fields, draft: Draft) -> dict[str, Any]:
    draft.warnings += of.unknown(("a", "b", "t", "p", "s", "l", "tp", "sl", "d"))
    kind = of.choice("t", "Open type", KINDS)
    terms = {
        "pair": of.index("a", "Pair index", MAX_PAIR),
        "long": of.flag("b", "Direction"),
        "kind": None if kind is None else KINDS[kind],
        "price": _price(of, "p", "Price"),
        "collateral": _bounded(
            of, "s", "Collateral", expected="a number string of at least 5", places=USD, ends=(MIN_OPEN, MAX_USD)
        ),
        "leverage": _bounded(
            of,
            "l",
            "Leverage",
            expected="a number string of at least 1",
            places=LEVERAGE,
            ends=(MIN_LEVERAGE, MAX_LEVERAGE),
        ),
        "take_profit": _level(of, "tp", "Take profit") if of.has("tp") else 0,
        "stop_loss": _level(of, "sl", "Stop loss") if of.has("sl") else 0,
        "day_trade": of.flag("d", "Day trade") if of.has("d") else False,
    }
    _sides(of, terms)
    return terms


def _sides(of: Fields, terms: Mapping[str, Any]) -> None:
    """A take profit lies where the price is to go, a stop loss where it is not."""
    price, long = terms["price"], terms["long"]
    if price is None or long is None:
        return
    for name, label, level, above in (
        ("tp", "Take profit", terms["take_profit"], long), ("sl", "Stop loss", terms["stop_loss"], not long)
    ):  # fmt: skip
        if level and (level <= price if above else level >= price):
            side, word = ("long" if long else "short"), ("above" if above else "below")
            of.fault(name, f"{label} of a {side} must be {word} the price")


def _builder(body: Fields, draft: Draft, generation: Generation) -> tuple[bytes, int]:
    if not body.has("bd"):
        return NOBODY, 0
    of = _inner(body, "bd")
    if of is None:
        return NOBODY, 0
    draft.warnings += of.unknown(("b", "f"))
    expected = "a number from 0 to 0.5"
    builder, fee = of.address("b", "Builder address"), of.number("f", "Builder fee", expected, FEE)
    if fee is not None and not 0 <= fee <= MAX_FEE:
        of.fault("f", f"Builder fee must be {expected}")
    if fee and generation is Generation.V1:
        of.fault("f", "Builder fee is not known to these contracts (generation v1)")
    return builder or NOBODY, fee or 0


def _slippage(body: Fields, used: bool, *, most: int) -> int | None:
    """Read `sp`. Where it is `used` zero would revert; a positive one is never rounded down to it."""
    if not body.has("sp"):
        return DEFAULT_SLIPPAGE
    value = body.number("sp", "Slippage", "a number from 0 to 100", PERCENT)
    if value is None:
        return None
    if not 0 <= value <= ALL:
        body.fault("sp", "Slippage must be a number from 0 to 100")
    elif used and value == 0:
        body.fault("sp", "Slippage must be above 0: the contract reverts for 0")
    elif value > most:
        body.fault("sp", "Slippage must be below 100: the contract reverts for 100")
    return value


def _close(body: Fields, draft: Draft, _: Generation) -> None:
    draft.warnings += body.unknown(("closes", "sp"))
    slippage = _slippage(body, True, most=ALL)
    for of in _items(body, "closes"):
        draft.warnings += of.unknown(("a", "t", "p", "r"))
        pair, index = of.index("a", "Pair index", MAX_PAIR), of.index("t", "Trade index", MAX_INDEX)
        price = _price(of, "p", "Price")
        expected = "a number from 1 to 100"
        percent = of.number("r", "Close percentage", expected, PERCENT)
        if percent is not None and not 10**PERCENT <= percent <= ALL:
            of.fault("r", f"Close percentage must be {expected}")
        if None not in (pair, index, price, percent, slippage):
            draft.actions.append(Close(pair, index, percent, price, slippage))  # type: ignore[arg-type]


def _cancel(body: Fields, draft: Draft, _: Generation) -> None:
    draft.warnings += body.unknown(("cancels",))
    for of in _items(body, "cancels"):
        draft.warnings += of.unknown(("t", "a", "i", "o"))
        kind = of.choice("t", "Cancel type", ("limit", "close", "open"))
        wanted = ("a", "i") if kind == "limit" else ("o",) if kind else ()
        found = {name: _place(of, name) for name in ("a", "i", "o") if name in wanted or of.has(name)}
        if None in found.values() or kind is None:
            continue
        if kind == "limit":
            draft.actions.append(CancelLimit(found["a"], found["i"]))  # type: ignore[arg-type]
        else:
            draft.actions.append((CancelOpen if kind == "open" else CancelClose)(found["o"]))  # type: ignore[arg-type]


def _place(of: Fields, name: str) -> int | None:
    labels = {"a": ("Pair index", MAX_PAIR), "i": ("Order index", MAX_INDEX), "o": ("Order ID", MAX_ORDER)}
    label, most = labels[name]
    return of.index(name, label, most)


def _modify(body: Fields, draft: Draft, _: Generation) -> None:
    draft.warnings += body.unknown(("a", "i", "p", "tp", "sl"))
    pair, index = body.index("a", "Pair index", MAX_PAIR), body.index("i", "Index", MAX_INDEX)
    price = _price(body, "p", "Price") if body.has("p") else None
    profit = _level(body, "tp", "Take profit") if body.has("tp") else None
    loss = _level(body, "sl", "Stop loss") if body.has("sl") else None
    given = [name for name in ("p", "tp", "sl") if body.has(name)]
    if not given:
        for name in ("p", "tp", "sl"):
            body.fault(name, "At least one of p, tp and sl is required")
    elif given == ["tp", "sl"]:
        for name in given:
            body.fault(name, "Only one of tp and sl can be updated per call without p")
    if body.faults or pair is None or index is None:
        return
    if price is not None:
        draft.actions.append(EditLimit(pair, index, price, profit, loss))
    elif profit is not None:
        draft.actions.append(SetTakeProfit(pair, index, profit))
    elif loss is not None:
        draft.actions.append(SetStopLoss(pair, index, loss))


def _margin(body: Fields, draft: Draft, _: Generation) -> None:
    draft.warnings += body.unknown(("a", "i", "amount"))
    pair, index = body.index("a", "Pair index", MAX_PAIR), body.index("i", "Trade index", MAX_INDEX)
    expected = "a number string other than zero"
    amount = body.text("amount", "Amount", expected, USD)
    if amount is not None and not 0 < abs(amount) <= MAX_USD:
        body.fault("amount", f"Amount must be {expected}")
    if pair is not None and index is not None and amount:
        draft.actions.append((AddCollateral if amount > 0 else RemoveCollateral)(pair, index, abs(amount)))


def _price(of: Fields, name: str, label: str) -> int | None:
    return _bounded(of, name, label, expected=POSITIVE, places=PRICE, ends=(1, MAX_PRICE))


def _level(of: Fields, name: str, label: str) -> int | None:
    return _bounded(of, name, label, expected=NOT_NEGATIVE, places=PRICE, ends=(0, MAX_PRICE))


def _bounded(of: Fields, name: str, label: str, *, expected: str, places: int, ends: tuple[int, int]) -> int | None:
    value = of.text(name, label, expected, places)
    if value is None or ends[0] <= value <= ends[1]:
        return value
    of.fault(name, f"{label} must be {expected}" if value < ends[0] else f"{label} is more than the contract can hold")
    return None


def _inner(body: Fields, name: str) -> Fields | None:
    value = body.value(name)
    if isinstance(value, Mapping):
        return Fields(value, f"{body.path(name)}.", body.faults)
    body.fault(name, f"{name} must be an object" if body.has(name) else f"{name} is required")
    return None


def _items(body: Fields, name: str) -> list[Fields]:
    """Return the objects of an array that must not be empty."""
    value = body.value(name)
    if not isinstance(value, list) or not value:
        body.fault(name, f"{name} must be an array of at least one item" if body.has(name) else f"{name} is required")
        return []
    found = []
    for place, item in enumerate(value):
        if isinstance(item, Mapping):
            found.append(Fields(item, f"{body.path(name)}.{place}.", body.faults))
        else:
            body.faults.add(f"{body.path(name)}.{place}", "Each item must be an object", item)
    return found


READERS: Final[Mapping[str, Reader]] = {
    "open": _open, "close": _close, "cancel": _cancel, "modify": _modify, "margin": _margin,
}  # fmt: skip
