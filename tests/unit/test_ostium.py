"""The pure builders: exact scales, words as a general encoder writes them, bytes back into words, errors by name."""

from decimal import Decimal
from typing import Any

import pytest
from eth_abi.abi import encode as encode_arguments
from hypothesis import given
from hypothesis import strategies as st

from builders.call import encode, selector, signature
from builders.ostium import calldata, layout, reads
from builders.ostium.actions import (
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
    RemoveDelegate,
    SetDelegate,
    SetTakeProfit,
)  # fmt: skip
from builders.ostium.generations import generation_of
from builders.ostium.reads import OpenTrade, maximum_take_profit
from builders.ostium.reverts import ERRORS, MEANINGS, revert
from builders.ostium.scale import NotANumber, TooManyDecimals, fixed, plain, scaled
from builders.ostium.summary import summary
from contracts import abi, deployments

ON = Deployment(42_161, b"\x01" * 20, b"\x02" * 20, b"\x03" * 20)
TRADER = b"\x0a" * 20
SHORT_PRICE = 1_000 * 10**18

places = st.sampled_from([2, 6, 18])


@given(st.integers(-(10**40), 10**40), places)
def test_a_number_survives_its_text_exactly(value: int, decimals: int) -> None:
    assert scaled(plain(value, decimals), decimals) == value
    assert scaled(Decimal(plain(value, decimals)), decimals) == value
    assert Decimal(fixed(abs(value), decimals)) == Decimal(abs(value)).scaleb(-decimals) or abs(value) >= 10**27


@given(st.integers(1, 10**30).filter(lambda value: value % 10 != 0), places, st.integers(1, 12))
def test_a_number_that_is_too_fine_is_refused_and_never_rounded(value: int, decimals: int, more: int) -> None:
    for number in (plain(value, decimals + more), Decimal(plain(value, decimals + more))):
        with pytest.raises(TooManyDecimals):
            scaled(number, decimals)


NO_NUMBERS = ["", "-", ".5", "5.", "1e3", "0x10", " 1", "1 ", "1,0", "\u0663", "NaN", "inf", "1" * 81, "--1"]


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_what_is_no_plain_number_is_refused(text: str) -> None:
    with pytest.raises(NotANumber):
        scaled(text, 18)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "1E+400", "1E-400", "1" * 81])
def test_json_numbers_without_bounds_are_refused(text: str) -> None:
    with pytest.raises(NotANumber):
        scaled(Decimal(text), 2)


def test_zeros_at_the_end_cost_nothing() -> None:
    assert scaled("42500.0000000000000000000000", 18) == 42_500 * 10**18
    assert scaled(Decimal("0E-999999"), 2) == 0


# The same numbers that the reference names, from sources other than our hashing.
SELECTORS = {
    "openTrade": "1365e4e4", "closeTradeMarket": "efc10755", "cancelOpenLimitOrder": "c444e746",
    "updateOpenLimitOrder": "4f9a9e64", "updateTp": "be9267be", "updateSl": "e2441c04", "topUpCollateral": "0a21b1a1",
    "removeCollateral": "56ac637e", "openTradeMarketTimeout": "876d3abd", "closeTradeMarketTimeout": "3f21ea62",
    "setDelegate": "ca5eb5e1", "removeDelegate": "36fb8b15", "delegatedAction": "9a10cc32", "isPaused": "b187bd26",
    "isDone": "8f062227", "maxAllowedCollateral": "bf815d2e", "getOpenTrade": "4f786488",
    "getOpenLimitOrder": "806f988e", "getOpenTradeInfo": "54307131", "isPairIndexListed": "641bc37a",
    "pairMinLeverage": "5cdfa175", "pairMaxLeverage": "0bdf25df", "pairOvernightMaxLeverage": "0d3cd59f",
    "pairMinLevPos": "d9df69f2", "pairOracleFee": "baceb009", "getContractAddress": "0d2020dd",
    "registry": "7b103999", "maxTradesPerPair": "f65d9dbe", "maxPendingMarketOrders": "8049fde7",
    "marketOrdersTimeout": "410c0b7c", "delegations": "bffe3486",
}  # fmt: skip
FRAGMENTS = [entry for part in ("trading", "storage", "pairs", "registry") for entry in abi(f"ostium_{part}")]


def test_the_fragments_have_the_selectors_of_the_deployed_contracts() -> None:
    found = {entry["name"]: selector(signature(entry)).hex() for entry in FRAGMENTS if entry["type"] == "function"}
    assert found == SELECTORS


def test_the_three_generations_are_told_apart() -> None:
    assert {each.value: layout.OPEN[each].selector.hex() for each in Generation} == {
        "v1": "d119af05", "v2": "742088c0", "v3": "1365e4e4",
    }  # fmt: skip
    for each in Generation:
        assert generation_of(b"\x60\x80" + b"\x63" + layout.OPEN[each].selector + b"\x14") is each
    assert generation_of(layout.OPEN[Generation.V3].selector) is None  # data, not a comparison of the dispatcher
    both = b"".join(b"\x63" + layout.OPEN[each].selector for each in Generation)
    assert generation_of(both) is Generation.V3


def words_of(kind: str) -> st.SearchStrategy[int]:
    bits = {"address": 160, "bool": 1}.get(kind) or int(kind.removeprefix("uint"))
    return st.integers(0, 2**bits - 1)


@given(st.data(), st.sampled_from(layout.LAYOUTS))
def test_words_are_what_a_general_encoder_writes(data: st.DataObject, function: layout.Layout) -> None:
    values = [data.draw(words_of(kind)) for _, kind in function.words]
    kinds = [kind for _, kind in function.words]
    shown: list[Any] = [
        v.to_bytes(20, "big") if k == "address" else bool(v) if k == "bool" else v
        for v, k in zip(values, kinds, strict=True)
    ]
    written = layout.encode(function, values)
    assert written == function.selector + encode_arguments(kinds, shown)
    assert layout.decode(written) == (function, dict(zip([name for name, _ in function.words], values, strict=True)))


@given(st.data(), st.sampled_from([each for each in layout.LAYOUTS if each.words]))
def test_what_does_not_fit_its_type_is_never_encoded(data: st.DataObject, function: layout.Layout) -> None:
    wrong = data.draw(st.integers(0, len(function.words) - 1))
    kind = function.words[wrong][1]
    most = {"address": 2**160, "bool": 2}.get(kind) or 2 ** int(kind.removeprefix("uint"))
    values = [0] * len(function.words)
    values[wrong] = data.draw(st.sampled_from([-1, most, most * 7]))
    with pytest.raises(ValueError, match=function.words[wrong][0]):
        layout.encode(function, values)


def test_calldata_of_the_current_generation_is_what_its_abi_says() -> None:
    order = Open(
        pair=3, long=False, kind=OpenKind.STOP, price=7, collateral=8, leverage=900, take_profit=1, stop_loss=9,
        builder=b"\x0b" * 20, builder_fee=5, day_trade=True, slippage=44,
    )  # fmt: skip
    entry = next(each for each in FRAGMENTS if each["name"] == "openTrade")
    trade = (8, 7, 1, 9, TRADER, 900, 3, 0, False, True)
    assert calldata.call(order, ON, TRADER, Generation.V3).data == encode(entry, (trade, (b"\x0b" * 20, 5), 2, 0))


def test_limit_orders_carry_slippage_only_where_the_contracts_demand_it() -> None:
    order = Open(pair=0, long=True, kind=OpenKind.LIMIT, price=1, collateral=1, leverage=100, slippage=25)
    found = {each: layout.decode(calldata.call(order, ON, TRADER, each).data)[1]["slippageP"] for each in Generation}
    assert found == {Generation.V1: 25, Generation.V2: 0, Generation.V3: 0}


def test_older_generations_refuse_what_they_have_no_field_for() -> None:
    order = Open(
        pair=0, long=True, kind=OpenKind.MARKET, price=1, collateral=1, leverage=100, slippage=25, day_trade=True
    )
    with pytest.raises(ValueError, match="isDayTrade"):
        calldata.call(order, ON, TRADER, Generation.V2)
    fee = Open(pair=0, long=True, kind=OpenKind.MARKET, price=1, collateral=1, leverage=100, slippage=25, builder_fee=1)
    with pytest.raises(ValueError, match="builderFee"):
        calldata.call(fee, ON, TRADER, Generation.V1)
    assert calldata.call(Close(1, 2, 10_000, 5, 6), ON, TRADER, Generation.V1).data[:4].hex() == "0f373369"


def test_everything_goes_to_trading_but_an_approval_for_storage() -> None:
    for action in (CancelLimit(0, 1), CancelOpen(5), SetDelegate(TRADER), RemoveDelegate()):
        call = calldata.call(action, ON, TRADER, Generation.V3)
        assert (call.to, call.value) == (ON.trading, 0)
    approval = calldata.call(Approve(10**12), ON, TRADER, Generation.V3)
    assert (approval.to, approval.data) == (ON.usdc, encode("approve(address,uint256)", [ON.storage, 10**12]))


def test_a_close_that_timed_out_is_not_tried_again() -> None:
    _, words = layout.decode(calldata.call(CancelClose(12), ON, TRADER, Generation.V3).data)
    assert words == {"order": 12, "retry": 0}


def test_an_order_whose_exits_nobody_read_is_not_encoded() -> None:
    with pytest.raises(ValueError, match="tp, sl"):
        calldata.call(EditLimit(0, 1, 10**18, None, 5), ON, TRADER, Generation.V3)


def test_a_delegates_call_says_for_whom_and_what() -> None:
    inner = calldata.call(SetTakeProfit(4, 2, 15 * 10**17), ON, TRADER, Generation.V3)
    outer = calldata.call(Delegated(TRADER, inner.data), ON, b"\x0d" * 20, Generation.V3)
    assert summary(outer.data).text == f"For 0x{TRADER.hex()}: Set take profit of trade 2 of pair 4 to 1.5"
    for broken in (outer.data[:40], b"", b"\x01\x02\x03\x04", inner.data + b"\0", inner.data[:-1]):
        with pytest.raises(ValueError):
            summary(broken)


def test_all_errors_of_trading_are_known_by_the_selectors_of_the_reference() -> None:
    known = {entry["name"]: key.hex() for key, entry in ERRORS.items()}
    for name, key in {
        "WrongParams": "5863f789", "WrongTP": "a41bb918", "WrongSL": "083fbd78", "WrongLeverage": "35fe85c5",
        "BelowMinLevPos": "eca695e1", "BelowFees": "f120e11f", "NotDelegate": "502b946d", "NoTradeFound": "17e08e97",
        "NoLimitFound": "a35ee470", "TriggerPending": "dd9397bb", "WaitTimeout": "3e0b1869", "IsPaused": "1309a563",
        "PairNotListed": "cb87b762", "AboveMaxAllowedCollateral": "80a71fc5", "NoTradeToTimeoutFound": "efa9e5be",
        "DelegateForbidden": "b09e78ce", "NoDelegate": "2a917859",
    }.items():  # fmt: skip
        assert known[name] == key
    assert len([entry for entry in abi("ostium_trading") if entry["type"] == "error"]) == 39
    assert set(MEANINGS) <= set(known)


def test_every_error_is_decoded_with_its_arguments() -> None:
    example: dict[str, Any] = {"address": TRADER, "string": "no", "bytes32": b"\x01" * 32}
    for key, entry in ERRORS.items():
        kinds = [part["type"] for part in entry["inputs"]]
        found = revert(key + encode_arguments(kinds, [example.get(kind, 7) for kind in kinds]))
        assert (found.name, len(found.arguments)) == (entry["name"], len(kinds))
        assert found.meaning


def test_whatever_a_contract_reverts_with_is_an_answer() -> None:
    assert revert(b"").meaning == "no reason was given"
    assert revert(b"\xde\xad\xbe\xef\x01").name is None
    assert "deadbeef" in revert(b"\xde\xad\xbe\xef\x01").meaning
    assert revert(bytes.fromhex("cb87b762") + b"\x01").meaning == "its arguments are malformed"
    text = selector("Error(string)") + encode_arguments(["string"], ["ERC20: transfer amount exceeds allowance"])
    assert revert(text).meaning == "ERC20: transfer amount exceeds allowance"


@given(st.binary(max_size=120))
def test_revert_data_never_raises(data: bytes) -> None:
    assert revert(data).meaning


def test_the_farthest_take_profit_is_the_contracts() -> None:
    long = OpenTrade(collateral=1, price=42_500 * 10**18, take_profit=0, stop_loss=0, leverage=1_000, long=True)
    assert maximum_take_profit(long, 1_000) == 80_750 * 10**18
    assert maximum_take_profit(long, 1_250) == 73_100 * 10**18  # the larger of the two leverages counts
    short = OpenTrade(collateral=1, price=SHORT_PRICE, take_profit=0, stop_loss=0, leverage=1_800, long=False)
    assert maximum_take_profit(short, 0) == 500 * 10**18
    shallow = OpenTrade(collateral=1, price=SHORT_PRICE, take_profit=0, stop_loss=0, leverage=500, long=False)
    assert maximum_take_profit(shallow, 0) == 1  # 180 % of the price lies below zero, and 0 is refused


def test_an_answer_that_is_too_short_is_an_error() -> None:
    with pytest.raises(ValueError, match="words"):
        reads.read_trade(bytes(64))


def test_the_deployments_are_those_of_the_reference() -> None:
    one, sepolia = deployments(42_161), deployments(421_614)
    assert one["ostium_trading"].hex() == "6d0ba1f9996dbd8885827e1b2e8f6593e7702411"
    assert one["ostium_storage"].hex() == "ccd5891083a8acd2074690f65d3024e7d13d66e7"
    assert one["usdc"].hex() == "af88d065e77c8cc2239327c5edb3a432268e5831"
    assert sepolia["ostium_trading"].hex() == "2a9b9c988393f46a2537b0ff11e98c2c15a95afe"
