"""Every case of the vectors, over HTTP and over WebSocket, byte for byte; each test says how many it checked."""

import contextlib
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from builders.ostium import calldata
from builders.ostium.actions import Generation
from builders.ostium.summary import summary
from tests.builder import vectors
from tests.builder.face import Contracts, Face, node_of, said, serving

pytestmark = vectors.needs_vectors

META = vectors.load()["meta"]
Ask = Callable[[Face, Any], Awaitable[Any]]


async def over_http(face: Face, request: Any) -> Any:
    """The status and the body of an HTTP answer."""
    answer = await face.ask(
        request.get("method", "POST"), request["path"], json.dumps(request["body"]),
        trader=request["headers"]["X-Trader-Address"],
    )  # fmt: skip
    return answer.status, answer.body


async def over_ws(face: Face, request: Any) -> Any:
    """The same of a message; the envelope's error is made comparable."""
    async with await face.socket() as socket:
        action = request["path"].removeprefix(vectors.EXCHANGE)
        message = {"id": 7, "action": action, "headers": request["headers"], "payload": request["body"]}
        reply = await said(socket, message)
    assert reply["id"] == 7
    if reply["ok"]:
        return 200, reply["data"]
    return reply["error"]["code"], {**reply["error"], "error": reply["error"]["message"]}


@pytest.mark.parametrize("ask", [over_http, over_ws])
async def test_ostium_vectors_are_answered_byte_for_byte(ask: Ask, capsys: pytest.CaptureFixture[str]) -> None:
    cases, wrong = vectors.over_the_wire(), {}
    async with contextlib.AsyncExitStack() as stack:
        faces: dict[str, Face] = {}
        for case in cases:
            generation = case["abi"]
            if "requires_chain_state" in case:
                url = await stack.enter_async_context(node_of(vectors.chain_of(case, META)))
                face = await stack.enter_async_context(serving(**vectors.settings_of(META, generation), RPC_URL=url))
            else:  # without a node, and one server for all of them
                if generation not in faces:
                    without = serving(**vectors.settings_of(META, generation))
                    faces[generation] = await stack.enter_async_context(without)
                face = faces[generation]
            status, body = await ask(face, case["request"])
            if status != 200 or body["transactions"] != case["expected"]["transactions"]:
                wrong[case["id"]] = (status, body)
    with capsys.disabled():
        print(f"\nostium vectors: {len(cases)} checked, {ask.__name__}")
    assert wrong == {}
    assert cases


def test_ostium_vectors_without_a_route_are_built_byte_for_byte(capsys: pytest.CaptureFixture[str]) -> None:
    """Delegation and approvals: pure builders, whose routes wait for delegated mode."""
    cases, wrong = vectors.by_hand(), []
    for case in cases:
        for decoded, wanted in zip(case["decoded"], case["expected"]["transactions"], strict=True):
            sender = bytes.fromhex(wanted["from"][2:])
            on, generation = vectors.deployment(META), Generation(case["abi"])
            call = calldata.call(vectors.action_of(decoded), on, sender, generation)
            assert call.to is not None
            if ("0x" + call.data.hex(), call.to, call.value) != (
                wanted["data"], bytes.fromhex(wanted["to"][2:]), int(wanted["value"]),
            ):  # fmt: skip
                wrong.append(case["id"])
            assert summary(call.data).function == decoded["function"]
    with capsys.disabled():
        print(f"\nostium vectors: {len(cases)} checked, pure builders")
    assert wrong == []


# What the vectors call wrong -> the field that must be named.
FIELDS = {
    "p zero": ("open.p", "p"), "p not numeric": ("open.p",), "s below 5": ("open.s",), "l below 1": ("open.l",),
    "bad type": ("open.t",), "a negative": ("open.a",), "a not integer": ("open.a",), "long sl above p": ("open.sl",),
    "short sl below p": ("open.sl",), "tp negative": ("open.tp", "tp"), "sp negative": ("sp",),
    "sp 100 market": ("sp",), "builder fee over 0.5": ("bd.f",), "empty": ("closes", "cancels"),
    "r 0.5 (<1)": ("closes.0.r",), "r 101": ("closes.0.r",), "sp 0": ("sp",), "limit without i": ("cancels.0.i",),
    "open without o": ("cancels.0.o",), "nothing to change": ("p",), "not numeric": ("amount",),
    "index over uint8": ("i",), "pair over uint16": ("open.a",),
}  # fmt: skip


@pytest.mark.parametrize("ask", [over_http, over_ws])
async def test_ostium_vectors_that_are_invalid_name_the_field(ask: Ask, capsys: pytest.CaptureFixture[str]) -> None:
    cases, wrong = vectors.load()["invalid"], {}
    async with serving(ABI="v3") as face:
        for case in cases:
            request = {"path": case["path"], "body": case["body"], "headers": {"X-Trader-Address": META["trader"]}}
            status, body = await ask(face, request)
            named = body.get("details", {}).get("validationErrors", {})
            wanted = FIELDS.get(case["why"].split(":")[0])
            good = (status, body.get("errorCode")) == (400, "VALIDATION_ERROR") and named
            if not good or (wanted is not None and not set(wanted) & set(named)) or "transactions" in body:
                wrong[case["why"]] = (status, body)
    with capsys.disabled():
        print(f"\nostium vectors: {len(cases)} invalid bodies refused, {ask.__name__}")
    assert wrong == {}
    assert cases


async def test_a_take_profit_of_zero_becomes_the_farthest_one() -> None:
    """On current contracts: openPrice + openPrice x 900 / the larger leverage, for a long of 42,500 at 10x."""
    contracts = Contracts()
    place = [int(META["trader"], 16), 0, 3]
    trade = [100_000_000, 42_500 * 10**18, 0, 0, place[0], 1_000, 0, 3, 1, 0]
    contracts.on(META["tradingStorage"], "getOpenTrade(address,uint16,uint8)", place, trade)
    contracts.on(META["tradingStorage"], "getOpenTradeInfo(address,uint16,uint8)", place, [1, 2, 1_250, 0, 0, 0, 0])
    async with node_of(contracts) as node, serving(RPC_URL=node) as face:
        answer = await face.post("/v1/exchange/modify", {"a": 0, "i": 3, "tp": "0"})
        missing = await face.post("/v1/exchange/modify", {"a": 0, "i": 4, "tp": "0"})
    assert answer.body["summary"][0]["arguments"]["newTp"] == "73100"  # 42,500 + 42,500 x 9 / 12.5
    assert (missing.status, missing.body["errorCode"]) == (404, "NOT_FOUND")
