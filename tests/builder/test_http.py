"""The HTTP face: who asks, in which envelope, how often; what needs a node and what does not."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from api.app import Bounded
from builders.ostium.actions import Generation
from core.errors import BadConfig
from core.settings import load
from tests.builder.face import OPEN_BODY, TRADER, Contracts, Face, node_of, serving

OPEN = "/v1/exchange/open"
OTHER = "0x" + "ab" * 20
STORAGE = "0xccd5891083a8acd2074690f65d3024e7d13d66e7"
TRADING = "0x6d0ba1f9996dbd8885827e1b2e8f6593e7702411"


async def test_the_header_beats_the_query_and_case_does_not_matter() -> None:
    async with serving() as face:
        header = await face.post(f"{OPEN}?address={OTHER}", OPEN_BODY)
        query = await face.post(f"{OPEN}?address={TRADER.lower()}", OPEN_BODY, trader=None)
        wrong_checksum = await face.post(OPEN, OPEN_BODY, trader=TRADER.swapcase().replace("0X", "0x"))
    for answer in (header, query, wrong_checksum):
        assert answer.status == 200, answer.text
        assert answer.body["transactions"][0]["from"] == TRADER


@pytest.mark.parametrize(
    ("trader", "query", "code"),
    [(None, "", "INVALID_REQUEST"), ("0x12", "", "INVALID_ADDRESS"), (None, "?address=zz", "INVALID_ADDRESS"),
     (TRADER, "?address=0x1", "INVALID_ADDRESS"), ("", "", "INVALID_ADDRESS")],
)  # fmt: skip
async def test_a_missing_or_malformed_trader_is_refused(trader: str | None, query: str, code: str) -> None:
    async with serving() as face:
        answer = await face.post(OPEN + query, OPEN_BODY, trader=trader)
    assert (answer.status, answer.body["errorCode"], answer.body["code"]) == (400, code, 400)


async def test_text_plain_is_read_as_json_and_others_are_refused() -> None:
    body = json.dumps(OPEN_BODY)
    async with serving() as face:
        plain = await face.ask("POST", OPEN, body, content_type="text/plain;charset=UTF-8")
        form = await face.ask("POST", OPEN, body, content_type="application/x-www-form-urlencoded")
    assert plain.status == 200
    assert (form.status, form.body["errorCode"]) == (400, "INVALID_REQUEST")


LONE = '{"open": "\ud800"}'.encode("utf-8", "surrogatepass")  # half of a pair
NO_JSON = ["", "{", "nope", '{"open": NaN}', "[" * 100_000, b"\xff\xfe", LONE]


@pytest.mark.parametrize("body", NO_JSON, ids=range(len(NO_JSON)))
async def test_what_is_no_json_is_refused(body: Any) -> None:
    async with serving() as face:
        answer = await face.ask("POST", OPEN, body)
    assert answer.status in (400, 413)
    assert answer.body["errorCode"] == "INVALID_REQUEST"


async def test_a_body_is_bounded_announced_or_not() -> None:
    async def endless() -> Any:
        for _ in range(40):
            yield b" " * 4_096

    async with serving() as face:
        announced = await face.ask("POST", OPEN, " " * 70_000)
        chunked = await face.ask("POST", OPEN, endless())
    for answer in (announced, chunked):
        assert (answer.status, answer.body["code"]) == (413, 413)


async def test_a_request_has_an_id_its_own_or_a_new_one() -> None:
    own = str(uuid.uuid4())
    async with serving() as face:
        echoed = await face.post(OPEN, OPEN_BODY, X_Request_ID=own)
        named = await face.get("/v1/health", X_Request_ID="trace:12/ab")
        made = [await face.get(path) for path in ("/v1/health", "/v1/exchange/none", "/v1/exchange/ws")]
        unfit = await face.post(OPEN, OPEN_BODY, X_Request_ID="a b<script>")
    assert echoed.headers["X-Request-ID"] == own
    assert named.headers["X-Request-ID"] == "trace:12/ab"
    assert len({uuid.UUID(answer.headers["X-Request-ID"]) for answer in (*made, unfit)}) == 4


async def test_both_health_routes_answer_without_a_trader() -> None:
    async with serving() as face:
        service = (await face.get("/v1/health", trader=None)).body
        exchange = (await face.get("/v1/exchange/health", trader=None)).body
    assert (service["status"], service["service"], service["version"]) == ("healthy", "builder-service", "v1")
    assert (exchange["status"], exchange["endpoint"], exchange["version"]) == ("healthy", "exchange", "v1")


async def test_plain_requests_of_sockets_ask_for_an_upgrade() -> None:
    async with serving() as face:
        for path in ("/v1/exchange/ws", "/v1/market/stream"):
            answer = await face.get(path)
            assert (answer.status, answer.body["errorCode"]) == (426, "UPGRADE_REQUIRED")
            assert answer.headers["Upgrade"] == "websocket"


async def test_unknown_paths_and_methods_keep_the_groups_envelope() -> None:
    async with serving() as face:
        missing = await face.get("/v1/exchange/nope")
        method = await face.get(OPEN)
        elsewhere = await face.get("/nowhere")
    assert (missing.status, missing.body["errorCode"]) == (404, "NOT_FOUND")
    assert (method.status, method.headers["Allow"], method.body["code"]) == (405, "POST", 405)
    assert elsewhere.body == {"error": "no such path: /nowhere", "code": "404"}


async def test_a_defect_is_a_500_in_the_groups_envelope(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("secret inside")

    monkeypatch.setattr("api.builder.desk.unsigned", fail)
    async with serving() as face:
        answer = await face.post(OPEN, OPEN_BODY)
    assert (answer.status, answer.body["errorCode"], answer.body["error"]) == (500, "INTERNAL_ERROR", "internal error")
    assert "X-Request-ID" in answer.headers


# -- the limit --


async def test_the_limit_is_told_in_headers_and_ends_in_429() -> None:
    limits = {"RATE_LIMIT_WHITELIST": "[]", "RATE_LIMIT_MAX_REQUESTS": "3"}
    async with serving(**limits) as face:
        answers = [await face.get("/v1/health") for _ in range(3)]
        refused = await face.post(OPEN, OPEN_BODY)
        text = (await face.get("/v1/health")).body
    assert [answer.headers["X-RateLimit-Remaining"] for answer in answers] == ["2", "1", "0"]
    assert {answer.headers["X-RateLimit-Limit"] for answer in answers} == {"3"}
    assert all(0 < int(answer.headers["X-RateLimit-Reset"]) <= 60 for answer in answers)
    assert (refused.status, refused.body["errorCode"]) == (429, "RATE_LIMIT_EXCEEDED")
    wait = int(refused.headers["Retry-After"])
    assert refused.body["details"] == {"limit": 3, "windowMs": 60_000, "retryAfter": wait}
    assert refused.headers["X-RateLimit-Remaining"] == "0"
    assert text["error"] == "Rate limit exceeded"


async def test_the_default_is_a_hundred_a_minute() -> None:
    settings = load(environ={}).builder
    assert (settings.rate_limit_max_requests, settings.rate_limit_window_ms) == (100, 60_000)
    async with serving(RATE_LIMIT_WHITELIST="[]") as face:
        answers = await asyncio.gather(*(face.get("/v1/health") for _ in range(101)))
    assert sorted(answer.status for answer in answers) == [200] * 100 + [429]


async def test_the_limit_can_be_off_and_its_window_passes() -> None:
    short = {"RATE_LIMIT_WHITELIST": "[]", "RATE_LIMIT_MAX_REQUESTS": "1", "RATE_LIMIT_WINDOW_MS": "1000"}
    async with serving(**short) as face:
        assert [(await face.get("/v1/health")).status for _ in range(2)] == [200, 429]
        await asyncio.sleep(1.1)
        assert (await face.get("/v1/health")).status == 200
    async with serving(**short, RATE_LIMIT_ENABLED="false") as face:
        answers = [await face.get("/v1/health") for _ in range(3)]
    assert {answer.status for answer in answers} == {200}
    assert "X-RateLimit-Limit" not in answers[0].headers


async def statuses(face: Face, *clients: str) -> list[int]:
    return [(await face.get("/v1/health", X_Forwarded_For=client)).status for client in clients]


async def test_a_forwarded_address_is_believed_from_trusted_proxies_only() -> None:
    limits = {"RATE_LIMIT_WHITELIST": "[]", "RATE_LIMIT_MAX_REQUESTS": "1"}
    async with serving(**limits) as face:
        assert await statuses(face, "1.1.1.1", "2.2.2.2") == [200, 429]  # both are 127.0.0.1
    async with serving(**limits, API__TRUSTED_PROXIES='["127.0.0.1"]') as face:
        assert await statuses(face, "1.1.1.1", "2.2.2.2", "1.1.1.1") == [200, 200, 429]
        # What a client writes in front of its own address is not believed.
        assert await statuses(face, "9.9.9.9, 3.3.3.3", "8.8.8.8, 3.3.3.3") == [200, 429]


async def test_addresses_of_one_ipv6_network_share_a_count_and_a_whitelisted_one_has_none() -> None:
    limits = {"RATE_LIMIT_WHITELIST": '["5.5.0.0/16"]', "RATE_LIMIT_MAX_REQUESTS": "1"}
    async with serving(**limits, API__TRUSTED_PROXIES='["127.0.0.1"]') as face:
        assert await statuses(face, "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1") == [200, 429, 200]
        assert await statuses(face, "5.5.5.5", "5.5.5.5", "::ffff:5.5.1.1") == [200, 200, 200]


# -- what needs the chain --

NEEDS_NODE = [
    ("POST", "/v1/exchange/modify", {"a": 0, "i": 1, "p": "41000"}),
    ("POST", "/v1/exchange/modify", {"a": 0, "i": 1, "tp": "0"}),
    ("POST", "/v1/exchange/open?simulate=true", OPEN_BODY),
    ("GET", "/v1/balance/usdc", None),
]


@pytest.mark.parametrize(("method", "path", "body"), NEEDS_NODE)
async def test_without_a_node_what_needs_one_is_503_and_the_rest_goes_on(method: str, path: str, body: Any) -> None:
    async with serving() as face:
        answer = await face.ask(method, path, None if body is None else json.dumps(body))
        pure = await face.post(OPEN, OPEN_BODY)
    assert (answer.status, answer.body["errorCode"]) == (503, "SERVICE_UNAVAILABLE")
    assert "no node is configured (builder.rpc_url)" in answer.body["error"]
    assert pure.status == 200


async def test_a_node_that_is_down_or_of_another_chain_is_503_and_the_rest_goes_on() -> None:
    async with serving(RPC_URL="http://127.0.0.1:1", DEADLINE_S="1") as face:
        down = await face.get("/v1/balance/usdc")
        pure = await face.post(OPEN, OPEN_BODY)
    async with node_of(Contracts(chain_id=1)) as node, serving(RPC_URL=node) as face:
        other = await face.get("/v1/balance/usdc")
    assert (down.status, pure.status) == (503, 200)
    assert "127.0.0.1" not in down.text
    assert (other.status, "chain 1, expected 42161" in other.body["error"]) == (503, True)


async def test_the_generation_is_found_in_the_code() -> None:
    day = {"open": OPEN_BODY["open"] | {"d": True}}
    keys = {Generation.V3: "0x1365e4e4", Generation.V2: "0x742088c0", Generation.V1: "0xd119af05"}
    for generation, key in keys.items():
        async with node_of(Contracts(generation=generation)) as node, serving(RPC_URL=node) as face:
            built = await face.post(OPEN, OPEN_BODY)
            refused = await face.post(OPEN, day)
        assert built.body["transactions"][0]["data"].startswith(key)
        assert refused.status == (200 if generation is Generation.V3 else 400)
    async with node_of(Contracts(generation=None)) as node, serving(RPC_URL=node) as face:
        unknown = await face.post(OPEN, OPEN_BODY)
    assert unknown.body["transactions"][0]["data"].startswith("0x1365e4e4")


async def test_a_generation_that_is_configured_is_not_looked_up() -> None:
    contracts = Contracts(generation=Generation.V3)
    async with node_of(contracts) as node, serving(RPC_URL=node, ABI="v2") as face:
        built = await face.post(OPEN, OPEN_BODY)
    assert built.body["transactions"][0]["data"].startswith("0x742088c0")
    assert contracts.asked == []


async def test_modifying_only_one_exit_keeps_the_other() -> None:
    contracts = Contracts()
    order = [10**8, 42_000 * 10**18, 44_000 * 10**18, 38_500 * 10**18, 0, 1_000, 0, 0, 0, 1, 1, 1, 0]
    contracts.on(STORAGE, "getOpenLimitOrder(address,uint16,uint8)", [int(TRADER, 16), 0, 1], order)
    async with node_of(contracts) as node, serving(RPC_URL=node) as face:
        changed = await face.post("/v1/exchange/modify", {"a": 0, "i": 1, "p": "41000", "sl": "0"})
        missing = await face.post("/v1/exchange/modify", {"a": 0, "i": 2, "p": "41000"})
    told = changed.body["summary"][0]["arguments"]
    assert (told["price"], told["tp"], told["sl"]) == ("41000", "44000", "0")
    assert (missing.status, missing.body["errorCode"]) == (404, "NOT_FOUND")


async def test_a_deployment_nobody_knows_needs_addresses() -> None:
    with pytest.raises(BadConfig, match=r"builder\.trading: no Ostium deployment is known on chain 5"):
        async with serving(CHAIN_ID="5"):
            pass
    with pytest.raises(BadConfig, match=r"rate_limit_whitelist.*address or a network"):
        load(environ={"CHAINWORKD_BUILDER__RATE_LIMIT_WHITELIST": '["nobody"]'})


# -- delegated mode --

SIGNED = {"message": "m", "signature": "0x"}
MODE = {"mode": "cancel", "nonce": "0x1", "expiresAt": "2026-04-01T00:00:00Z", "signature": "0x"}
# Path -> (method, body, a body that is wrong, does it need a key)
ROUTES: dict[str, tuple[str, Any, Any, bool]] = {
    "/v1/auth/create": ("POST", None, None, False), "/v1/auth/verify-auth": ("POST", None, None, True),
    "/v1/auth/cancel": ("POST", None, None, False), "/v1/auth/revoke": ("POST", None, None, False),
    "/v1/auth/verify-cancel": ("POST", SIGNED, {"message": "m"}, False),
    "/v1/auth/verify-revoke": ("POST", SIGNED, {"signature": 1, "message": "m"}, False),
    "/v1/agent": ("POST", None, None, False), "/v1/agent/verify": ("POST", MODE, MODE | {"mode": "x"}, False),
    "/v1/agent/revoke": ("POST", None, None, True), "/v1/agent/remove": ("POST", None, None, False),
    "/v1/agent/pending": ("GET", None, None, False), "/v1/agent/public": ("GET", None, None, False),
}  # fmt: skip


@pytest.mark.parametrize("path", ROUTES)
async def test_delegated_routes_check_their_input_and_are_off(path: str) -> None:
    method, body, wrong, keyed = ROUTES[path]
    async with serving() as face:
        key = {"X_API_Key": "bsvc_1"} if keyed else {}
        answer = await face.ask(method, path, None if body is None else json.dumps(body), **key)
        nobody = await face.ask(method, path, None if body is None else json.dumps(body), trader=None, **key)
        without = await face.ask(method, path)
        refused = await face.ask(method, path, json.dumps(wrong)) if wrong else None
    assert (answer.status, answer.body["errorCode"]) == (503, "SERVICE_UNAVAILABLE")
    assert answer.body["error"] == "delegated mode is off"
    assert "Retry-After" not in answer.headers
    assert (nobody.status, nobody.body["errorCode"]) == (400, "INVALID_REQUEST")
    if keyed:
        assert (without.status, without.body["errorCode"]) == (401, "UNAUTHORIZED")
    if refused is not None:
        assert (refused.status, refused.body["errorCode"]) == (400, "VALIDATION_ERROR")


async def test_a_key_on_an_exchange_route_is_checked_then_off() -> None:
    two = {"cancels": [{"t": "open", "o": 1}, {"t": "open", "o": 2}]}
    async with serving() as face:
        good = await face.post(OPEN, OPEN_BODY, X_API_Key="bsvc_1")
        bad = await face.post(OPEN, {"open": {}}, X_API_Key="bsvc_1")
        many = await face.post("/v1/exchange/cancel", two, X_API_Key="bsvc_1")
    assert (good.status, good.body["error"]) == (503, "delegated mode is off")
    assert (bad.status, many.status) == (400, 400)


# -- pages of other origins --


async def test_a_page_of_a_configured_origin_may_ask_and_read_the_headers() -> None:
    origin = "https://app.example.com"
    async with serving(API__CORS_ORIGINS=json.dumps([origin])) as face:
        preflight = await face.ask(
            "OPTIONS", OPEN, Origin=origin, Access_Control_Request_Method="POST",
            Access_Control_Request_Headers="content-type,x-trader-address",
        )  # fmt: skip
        answer = await face.post(OPEN, OPEN_BODY, Origin=origin)
    assert preflight.status == 200, preflight.text
    assert answer.headers["Access-Control-Allow-Origin"] == origin
    assert "x-request-id" in answer.headers["Access-Control-Expose-Headers"]


async def test_metrics_name_the_builders_paths_and_no_others() -> None:
    async with serving() as face:
        await face.post(OPEN, OPEN_BODY)
        await face.get("/v1/exchange/0xsecret")
        text = face.metrics.render().decode()
    assert 'route="/v1/exchange/open"' in text
    assert "secret" not in text


async def test_a_body_without_a_length_is_bounded_in_bytes_and_refused_in_our_envelope() -> None:
    async def drops() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b" " * 20_000

    async with serving() as face:
        answer = await face.ask("POST", OPEN, drops())
    assert (answer.status, answer.body["code"], answer.body["errorCode"]) == (413, 413, "INVALID_REQUEST")
    assert answer.headers["connection"] == "close"


async def test_a_body_that_never_ends_is_refused_in_our_envelope(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bounded.__init__, "__kwdefaults__", {"body_s": 0.2})
    async with serving() as face:
        host, _, port = face.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        head = f"POST {OPEN}?address={TRADER} HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n"
        writer.write(head.encode() + b"{")
        text, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
    assert text.startswith(b"HTTP/1.1 408 ")
    assert (json.loads(body)["code"], json.loads(body)["errorCode"]) == (408, "INVALID_REQUEST")
