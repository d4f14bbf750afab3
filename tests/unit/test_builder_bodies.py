"""Bodies to actions: every rule by the field it names, and no calldata from anything that breaks one."""

import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.builder import bodies
from api.builder.bodies import Invalid, read
from api.builder.desk import parsed
from builders.ostium import calldata, layout
from builders.ostium.actions import Deployment, Generation
from builders.ostium.scale import plain
from builders.ostium.summary import summary

ON = Deployment(42_161, b"\x01" * 20, b"\x02" * 20, b"\x03" * 20)
TRADER = b"\x0a" * 20
OPEN = {"a": 0, "b": True, "t": "market", "p": "42500.00", "s": "100", "l": "10"}


def opened(**changes: Any) -> dict[str, Any]:
    """A body of open; `None` takes a field away."""
    terms = {key: value for key, value in (OPEN | changes).items() if value is not None}
    return {"open": terms}


def faults(action: str, body: Any, generation: Generation = Generation.V3) -> dict[str, list[str]]:
    with pytest.raises(Invalid) as caught:
        read(action, parsed(json.dumps(body)), generation)
    return caught.value.faults.messages


OVER = "1" + "0" * 60

# (action, body, the field that is named)
WRONG = [
    ("open", opened(p="0.0000000000000000001"), "open.p"), ("open", opened(p=42500), "open.p"),
    ("open", opened(p=None), "open.p"), ("open", opened(p="-1"), "open.p"), ("open", opened(p=OVER), "open.p"),
    ("open", opened(p="1e3"), "open.p"), ("open", opened(s="5.0000001"), "open.s"), ("open", opened(s="abc"), "open.s"),
    ("open", opened(s=OVER), "open.s"), ("open", opened(l="1.001"), "open.l"), ("open", opened(l="99999999"), "open.l"),
    ("open", opened(tp="42000"), "open.tp"), ("open", opened(tp="42500"), "open.tp"), ("open", opened(tp=5), "open.tp"),
    ("open", opened(b=False, tp="43000"), "open.tp"), ("open", opened(sl="42500"), "open.sl"),
    ("open", opened(b="true"), "open.b"), ("open", opened(b=1), "open.b"), ("open", opened(a=True), "open.a"),
    ("open", opened(a="0"), "open.a"), ("open", opened(d="yes"), "open.d"), ("open", opened(t=0), "open.t"),
    ("open", {}, "open"), ("open", {"open": []}, "open"), ("open", [], "body"), ("open", "x", "body"),
    ("open", opened() | {"sp": "0.25"}, "sp"), ("open", opened() | {"sp": 0}, "sp"),
    ("open", opened() | {"sp": 0.001}, "sp"), ("open", opened() | {"sp": 0.255}, "sp"),
    ("open", opened() | {"sp": True}, "sp"), ("open", opened() | {"sp": 100.01}, "sp"),
    ("open", opened() | {"sp": None}, "sp"), ("open", opened(t="limit") | {"sp": 101}, "sp"),
    ("open", opened() | {"bd": {"b": "0x12", "f": 0}}, "bd.b"), ("open", opened() | {"bd": {"f": 0}}, "bd.b"),
    ("open", opened() | {"bd": {"b": "0x" + "11" * 20, "f": 0.0000001}}, "bd.f"),
    ("open", opened() | {"bd": {"b": "0x" + "11" * 20, "f": "0.1"}}, "bd.f"), ("open", opened() | {"bd": 1}, "bd"),
    ("open", opened() | {"bd": {"b": "0x" + "1_" * 20, "f": 0}}, "bd.b"),
    ("close", {}, "closes"), ("close", {"closes": {}}, "closes"), ("close", {"closes": [1]}, "closes.0"),
    ("close", {"closes": [{"a": 0, "t": 256, "p": "1", "r": 100}]}, "closes.0.t"),
    ("close", {"closes": [{"a": 0, "t": 0, "p": "1", "r": 33.333}]}, "closes.0.r"),
    ("close", {"closes": [{"a": 0, "t": 0, "p": "1", "r": "100"}]}, "closes.0.r"),
    ("cancel", {"cancels": [{"t": "limit", "i": 0}]}, "cancels.0.a"), ("cancel", {"cancels": [{}]}, "cancels.0.t"),
    ("cancel", {"cancels": [{"t": "open", "o": 2**256}]}, "cancels.0.o"),
    ("cancel", {"cancels": [{"t": "open", "o": 1, "a": "x"}]}, "cancels.0.a"),
    ("modify", {"a": 0, "i": 0, "tp": "1", "sl": "1"}, "tp"), ("modify", {"a": 0, "i": 0, "p": "1", "tp": None}, "tp"),
    ("modify", {"a": 0, "p": "1"}, "i"), ("margin", {"a": 0, "i": 0, "amount": "0"}, "amount"),
    ("margin", {"a": 0, "i": 0, "amount": "0.0000001"}, "amount"), ("margin", {"a": 0, "i": 0, "amount": 5}, "amount"),
    ("margin", {"a": 0, "i": 0}, "amount"),
]  # fmt: skip


@pytest.mark.parametrize(("action", "body", "field"), WRONG)
def test_a_wrong_field_is_named(action: str, body: Any, field: str) -> None:
    assert field in faults(action, body)


def test_every_fault_of_a_body_is_told_at_once() -> None:
    found = faults("open", opened(a=-1, b=None, p="x", s="1", l="0") | {"sp": -1, "bd": {"b": 1, "f": 9}})
    assert set(found) == {"open.a", "open.b", "open.p", "open.s", "open.l", "sp", "bd.b", "bd.f"}


def test_a_body_of_many_faults_is_not_answered_with_a_book() -> None:
    assert len(faults("close", {"closes": [{}] * 1_000})) == 50


def test_the_documented_message_is_word_for_word() -> None:
    assert faults("open", opened(p="0")) == {"open.p": ["Price must be a positive number string"]}


def test_a_positive_slippage_never_becomes_zero() -> None:
    assert read("open", parsed(json.dumps(opened() | {"sp": 0.01}))).actions[0].slippage == 1  # type: ignore[union-attr]
    for fine in ("0.009", "0.0001", "1e-7"):
        with pytest.raises(Invalid):
            read("open", parsed(json.dumps(opened())[:-1] + f', "sp": {fine}}}'))


def test_json_numbers_are_exact() -> None:
    """0.57 x 100 is 56.99… in floats; 2**256 - 1 has no float at all."""
    body = parsed(f'{{"cancels": [{{"t": "open", "o": {2**256 - 1}}}], "sp": 0.57}}')
    assert body["sp"] == Decimal("0.57")
    assert read("cancel", body).actions[0].order == 2**256 - 1  # type: ignore[union-attr]
    close = parsed('{"closes": [{"a": 0, "t": 0, "p": "1", "r": 57.01}], "sp": 0.57}')
    (found,) = read("close", close).actions
    assert (found.percent, found.slippage) == (5_701, 57)  # type: ignore[union-attr]


def test_an_integer_may_be_written_with_a_point_as_json_schema_has_it() -> None:
    assert read("open", parsed('{"open": {"a": 1.0, "b": true, "t": "market", "p": "1", "s": "5", "l": "1"}}')).actions


def test_unknown_fields_are_told_and_not_refused() -> None:
    draft = read("open", parsed(json.dumps(opened(tpp="45000") | {"slippage": 1})))
    assert (len(draft.actions), draft.warnings) == (1, ["slippage", "open.tpp"])


def test_limit_and_stop_orders_take_any_slippage_and_ignore_it() -> None:
    for sp in (0, 100, 2.5):
        draft = read("open", parsed(json.dumps(opened(t="limit") | {"sp": sp})))
        _, words = layout.decode(calldata.call(draft.actions[0], ON, TRADER, Generation.V3).data)
        assert words["slippageP"] == 0


def test_older_contracts_name_the_field_they_lack() -> None:
    assert "open.d" in faults("open", opened(d=True), Generation.V2)
    fee = opened() | {"bd": {"b": "0x" + "11" * 20, "f": 0.1}}
    assert "bd.f" in faults("open", fee, Generation.V1)
    assert read("open", parsed(json.dumps(opened(d=False))), Generation.V2).actions


# -- any valid request comes back from its calldata; any invalid one never becomes calldata --

prices = st.integers(1, 2**192 - 1)
cents = st.integers(1, 9_999)


@st.composite
def opens(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, int]]:
    """A valid body of open, and the words it must become."""
    price, long = draw(st.integers(3, 2**192 - 3)), draw(st.booleans())
    kind = draw(st.sampled_from(["market", "limit", "stop"]))
    above, below = draw(st.integers(price + 1, 2**192 - 1)), draw(st.integers(1, price - 1))
    profit, loss = (above, below) if long else (below, above)
    profit, loss = draw(st.sampled_from([0, profit])), draw(st.sampled_from([0, loss]))
    words = {
        "collateral": draw(st.integers(5 * 10**6, 2**100)), "openPrice": price, "tp": profit, "sl": loss,
        "leverage": draw(st.integers(100, 2**32 - 1)), "pairIndex": draw(st.integers(0, 65_535)), "buy": int(long),
        "isDayTrade": int(draw(st.booleans())), "builder": draw(st.integers(0, 2**160 - 1)),
        "builderFee": draw(st.integers(0, 500_000)), "orderType": ["market", "limit", "stop"].index(kind),
        "slippageP": draw(cents) if kind == "market" else 0, "index": 0, "trader": int.from_bytes(TRADER, "big"),
    }  # fmt: skip
    body = {
        "open": {
            "a": words["pairIndex"], "b": long, "t": kind, "p": plain(price, 18), "s": plain(words["collateral"], 6),
            "l": plain(words["leverage"], 2), "tp": plain(profit, 18), "sl": plain(loss, 18),
            "d": bool(words["isDayTrade"]),
        },
        "bd": {"b": f"0x{words['builder']:040x}", "f": msgspec.Raw(plain(words["builderFee"], 6).encode())},
        "sp": msgspec.Raw(plain(words["slippageP"], 2).encode()),
    }  # fmt: skip
    return body, words


@given(opens())
def test_any_valid_open_comes_back_from_its_calldata(case: tuple[dict[str, Any], dict[str, int]]) -> None:
    body, words = case
    (action,) = read("open", parsed(msgspec.json.encode(body))).actions
    data = calldata.call(action, ON, TRADER, Generation.V3).data
    assert layout.decode(data)[1] == words
    told = summary(data).arguments
    assert told["openPrice"] == body["open"]["p"]
    assert told["collateral"] == body["open"]["s"]


@st.composite
def others(draw: st.DrawFn) -> tuple[str, dict[str, Any], dict[str, int]]:
    """A valid body of another route with one action, and the words it must become."""
    pair, index = draw(st.integers(0, 65_535)), draw(st.integers(0, 255))
    place, where = {"a": pair, "i": index}, {"pairIndex": pair, "index": index}
    price, level, amount = draw(prices), draw(st.integers(0, 2**192 - 1)), draw(st.integers(1, 2**100))
    percent, order = draw(st.integers(100, 10_000)), draw(st.integers(0, 2**256 - 1))
    slippage = draw(st.integers(1, 10_000))
    close: dict[str, Any] = {"a": pair, "t": index, "p": plain(price, 18), "r": msgspec.Raw(plain(percent, 2).encode())}
    closed = {**where, "closePercentage": percent, "marketPrice": price, "slippageP": slippage}
    cases: list[tuple[str, dict[str, Any], dict[str, int]]] = [
        ("close", {"closes": [close], "sp": msgspec.Raw(plain(slippage, 2).encode())}, closed),
        ("cancel", {"cancels": [{"t": "limit", **place}]}, where),
        ("cancel", {"cancels": [{"t": "open", "o": order}]}, {"order": order}),
        ("cancel", {"cancels": [{"t": "close", "o": order}]}, {"order": order, "retry": 0}),
        ("modify", {**place, "p": plain(price, 18), "tp": plain(level, 18), "sl": "0"},
         {**where, "price": price, "tp": level, "sl": 0}),
        ("modify", {**place, "tp": plain(price, 18)}, {**where, "newTp": price}),
        ("modify", {**place, "sl": plain(level, 18)}, {**where, "newSl": level}),
        ("margin", {**place, "amount": plain(amount, 6)}, {**where, "topUpAmount": amount}),
        ("margin", {**place, "amount": plain(-amount, 6)}, {**where, "removeAmount": amount}),
    ]  # fmt: skip
    chosen: tuple[str, dict[str, Any], dict[str, int]] = draw(st.sampled_from(cases))
    return chosen


@given(others())
def test_any_other_valid_request_comes_back_from_its_calldata(case: tuple[str, dict[str, Any], dict[str, int]]) -> None:
    action, body, words = case
    (found,) = read(action, parsed(msgspec.json.encode(body))).actions
    assert layout.decode(calldata.call(found, ON, TRADER, Generation.V3).data)[1] == words


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12) | st.decimals(allow_nan=True),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
WORDS = ("open", "bd", "sp", "a", "b", "t", "p", "s", "l", "tp", "sl", "d", "f", "closes", "r", "cancels", "i", "o")
FIELD_NAMES = st.sampled_from(list(WORDS))


@given(st.sampled_from(list(bodies.READERS)), st.dictionaries(FIELD_NAMES, anything, max_size=6) | anything)
def test_whatever_is_sent_is_built_exactly_or_refused_by_name(action: str, body: Any) -> None:
    try:
        draft = read(action, body)
    except Invalid as error:
        assert error.faults.messages
        return
    for each in draft.actions:
        if getattr(each, "take_profit", 0) is not None and getattr(each, "stop_loss", 0) is not None:
            assert summary(calldata.call(each, ON, TRADER, Generation.V3).data).text


SPOILERS = {
    "a": [-1, 65_536, "0", None, 0.5], "b": [0, "true", None], "t": ["MARKET", 0, None], "p": ["0", "-1", 1, "x", None],
    "s": ["4.999999", "5.0000001", 100, None], "l": ["0.99", "1.005", 10, None], "tp": ["-1", 1, "x"], "sl": ["-1", 1],
}  # fmt: skip


@given(opens(), st.data())
def test_a_valid_open_with_one_field_spoilt_never_yields_calldata(
    case: tuple[dict[str, Any], dict[str, int]], data: st.DataObject
) -> None:
    body, _ = case
    name = data.draw(st.sampled_from(list(SPOILERS)))
    body["open"][name] = data.draw(st.sampled_from(SPOILERS[name]))
    with pytest.raises(Invalid) as caught:
        read("open", parsed(msgspec.json.encode(body)))
    assert f"open.{name}" in caught.value.faults.messages
