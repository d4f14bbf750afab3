"""/v1/exchange/ws: the envelope, one bad message after another, bounds, and an orderly end."""

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest

from api.connection import BoundedConnection
from tests.builder.face import OPEN_BODY, TRADER, Contracts, node_of, said, serving

HEADERS = {"x-trader-address": TRADER}


def message(**changes: Any) -> dict[str, Any]:
    """A good message; `None` takes a field away."""
    whole = {"id": 1, "action": "open", "headers": HEADERS, "payload": OPEN_BODY} | changes
    return {key: value for key, value in whole.items() if value is not None}


async def test_a_message_is_answered_as_over_http() -> None:
    async with serving() as face:
        over_http = (await face.post("/v1/exchange/open", OPEN_BODY)).body
        async with await face.socket() as socket:
            reply = await said(socket, message())
    assert reply == {"id": 1, "ok": True, "data": over_http}


async def test_health_needs_neither_headers_nor_payload() -> None:
    async with serving() as face, await face.socket() as socket:
        reply = await said(socket, {"action": "health"})
    assert (reply["ok"], reply["data"]["endpoint"], "id" in reply) == (True, "exchange", False)


@pytest.mark.parametrize("name", ["a-1", 7, 1.5, 2**63])
async def test_the_id_comes_back_as_it_was(name: Any) -> None:
    async with serving() as face, await face.socket() as socket:
        assert (await said(socket, message(id=name)))["id"] == name
        assert (await said(socket, message(id=name, action="nope")))["id"] == name


BAD = [
    ("nope", "INVALID_REQUEST"), ("", "INVALID_REQUEST"), ("[]", "INVALID_REQUEST"), ('"x"', "INVALID_REQUEST"),
    (json.dumps(message(action="steal")), "INVALID_ACTION"), (json.dumps(message(action=[])), "INVALID_ACTION"),
    (json.dumps(message(headers=None)), "INVALID_REQUEST"), (json.dumps(message(payload=None)), "INVALID_REQUEST"),
    (json.dumps(message(headers={})), "INVALID_REQUEST"), (json.dumps(message(headers={"a": 1})), "INVALID_REQUEST"),
    (json.dumps(message(headers={"X-Trader-Address": "0x1"})), "INVALID_ADDRESS"),
    (json.dumps(message(id={})), "INVALID_REQUEST"), (json.dumps(message(id="x" * 200)), "INVALID_REQUEST"),
    (json.dumps(message(payload={"open": {}})), "VALIDATION_ERROR"),
    (json.dumps(message(simulate=1)), "INVALID_REQUEST"),
    (json.dumps(message(simulate=True)), "SERVICE_UNAVAILABLE"),
    (json.dumps(message(headers=HEADERS | {"X-API-Key": "k"})), "SERVICE_UNAVAILABLE"),
]  # fmt: skip


async def test_one_bad_message_after_another_does_not_close_the_socket() -> None:
    async with serving() as face, await face.socket() as socket:
        for text, code in BAD:
            reply = await said(socket, text)
            assert (reply["ok"], reply["error"]["errorCode"]) == (False, code), text
            assert set(reply["error"]) <= {"message", "code", "errorCode", "details"}
            assert (await said(socket, message()))["ok"]
        await socket.send_bytes(json.dumps(message()).encode())  # bytes are read like text
        assert json.loads(await socket.receive_str(timeout=10))["ok"]
    assert 'chainworkd_builder_messages_total{outcome="error"} 17.0' in face.metrics.render().decode()


async def test_the_documented_error_is_word_for_word() -> None:
    async with serving() as face, await face.socket() as socket:
        reply = await said(socket, "{")
    wanted = {"message": "Invalid JSON payload", "code": 400, "errorCode": "INVALID_REQUEST"}
    assert reply == {"ok": False, "error": wanted}


async def test_a_simulation_is_asked_for_beside_the_payload() -> None:
    async with node_of(Contracts()) as node, serving(RPC_URL=node) as face, await face.socket() as socket:
        reply = await said(socket, message(simulate=True))
    assert reply["error"]["errorCode"] == "SERVICE_UNAVAILABLE"  # this node has no contracts to ask
    assert "did not answer as expected" in reply["error"]["message"]


async def test_a_connection_has_so_many_messages_a_minute_and_stays_open() -> None:
    async with serving(RATE_LIMIT_WHITELIST="[]") as face:  # noqa: SIM117
        async with await face.socket() as socket, await face.socket() as other:
            replies = [await said(socket, {"action": "health"}) for _ in range(101)]
            assert [reply["ok"] for reply in replies] == [True] * 100 + [False]
            error = replies[-1]["error"]
            assert (error["code"], error["errorCode"]) == (429, "RATE_LIMIT_EXCEEDED")
            assert set(error["details"]) == {"limit", "windowMs", "retryAfter"}
            assert (await said(other, {"action": "health"}))["ok"]  # a connection's count is its own


async def test_opening_sockets_counts_as_requests_do() -> None:
    async with serving(RATE_LIMIT_WHITELIST="[]", RATE_LIMIT_MAX_REQUESTS="1") as face, await face.socket():
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await face.socket()
    assert refused.value.status == 429


async def test_a_message_that_is_too_long_ends_the_connection_with_its_code() -> None:
    async with serving() as face, await face.socket() as socket:
        await socket.send_str("x" * 70_000)
        end = await socket.receive(timeout=10)
    assert (end.type, end.data) == (aiohttp.WSMsgType.CLOSE, 1009)


async def test_pings_are_answered() -> None:
    async with serving() as face, face.session.ws_connect(f"{face.url}/v1/exchange/ws", autoping=False) as socket:
        await socket.ping(b"there?")
        pong = await socket.receive(timeout=10)
    assert (pong.type, pong.data) == (aiohttp.WSMsgType.PONG, b"there?")


async def test_the_server_pings_and_lets_go_of_who_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.server.PING_S", 0.2)
    async with serving() as face, face.session.ws_connect(f"{face.url}/v1/exchange/ws", autoping=False) as socket:
        kinds = [(await socket.receive(timeout=10)).type for _ in range(2)]
    assert kinds == [aiohttp.WSMsgType.PING, aiohttp.WSMsgType.CLOSE]


async def test_a_stop_of_the_server_closes_the_connection_in_order() -> None:
    async with serving() as face, await face.socket() as socket:
        assert (await said(socket, message()))["ok"]
        face.server.cancel()
        end = await socket.receive(timeout=10)
        await asyncio.wait_for(face.server, 10)
    assert (end.type, end.data) == (aiohttp.WSMsgType.CLOSE, 1012)


async def test_open_sockets_are_counted() -> None:
    async with serving() as face:
        async with await face.socket() as socket:
            await said(socket, {"action": "health"})
            assert 'chainworkd_builder_sockets{socket="exchange"} 1.0' in face.metrics.render().decode()
        for _ in range(100):
            if 'chainworkd_builder_sockets{socket="exchange"} 0.0' in face.metrics.render().decode():
                break
            await asyncio.sleep(0.02)
        else:
            pytest.fail("the socket is still counted")


async def test_an_unknown_socket_is_refused_in_the_groups_envelope() -> None:
    async with serving() as face:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await face.socket("/v1/exchange/nope")
    assert refused.value.status == 404


async def test_bounds_on_heads_and_readers_do_not_cut_an_open_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoundedConnection, "head_s", 0.2)
    monkeypatch.setattr(BoundedConnection, "write_s", 0.2)
    async with serving() as face, await face.socket() as socket:
        for _ in range(3):
            await asyncio.sleep(0.3)  # says nothing, and reads nothing, for longer than either bound
            assert (await said(socket, message()))["ok"]


async def test_sockets_take_half_of_the_places_and_leave_the_rest_to_requests() -> None:
    async with serving(API__MAX_CONNECTIONS="6") as face, AsyncExitStack() as stack:
        for _ in range(3):
            held = await stack.enter_async_context(await face.socket())
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await face.socket()
        assert refused.value.status == 503
        assert (await face.get("/v1/health")).status == 200
        await held.close()
        await asyncio.sleep(0.1)
        async with await face.socket() as socket:
            assert (await said(socket, message()))["ok"]


async def test_an_upgrade_passes_on_a_connection_that_has_asked_before() -> None:
    upgrade = (
        b"GET /v1/exchange/ws HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
        b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    )
    async with serving() as face:
        host, _, port = face.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /v1/health HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
        await reader.readuntil(b"}")
        for part in (upgrade, b"\r\n"):  # a head that comes in two parts
            writer.write(part)
            await asyncio.sleep(0.05)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        writer.close()


@pytest.mark.parametrize("path", ["/v1/exchange/ws", "/v1/exchange/open"])
async def test_a_head_that_is_too_long_or_never_ends_is_refused_in_our_envelope(
    monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(BoundedConnection, "head_s", 0.2)
    start = b"GET %s HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n" % path.encode()
    async with serving() as face:
        host, _, port = face.url.removeprefix("http://").partition(":")
        for rest, status in ((b"x: " + b"y" * 40_000 + b"\r\n\r\n", 431), (b"x: y", 408)):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(start + rest)
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 %d " % status)
            assert (json.loads(body)["errorCode"], json.loads(body)["code"]) == ("INVALID_REQUEST", status)
            writer.close()
