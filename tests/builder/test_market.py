"""/v1/market/stream: raw ticks, the last known first, slow readers dropped, a lost upstream told and found again."""

import asyncio
import json
import socket as sockets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import msgspec
import pytest
from aiohttp import web

from api.builder import market as market_module
from api.builder.feed import ticks
from api.builder.market import LOST, Market, Reader
from core.metrics import Metrics
from tests.builder.face import Face, running, serving

BTC = '{"feed_id":"BTC-USD","bid":64999.5,"mid":65000.10,"ask":65000.70,"isMarketOpen":true,"timestampSeconds":1}'
EUR = '{"feed_id": "EUR-USD", "mid": 1.0876500000000000001}'  # spaces and digits a float would lose


class Upstream:
    """An upstream that a test can take away; it polls and streams."""

    def __init__(self) -> None:
        self.body = f"[{BTC}, {EUR}]"
        self.status = 200
        self.sockets: list[web.WebSocketResponse] = []
        self.heard: list[str] = []

    async def poll(self, _: web.Request) -> web.Response:
        return web.Response(text=self.body, status=self.status, content_type="application/json")

    async def stream(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        async for heard in socket:
            self.heard.append(heard.data)
        return socket

    async def send(self, text: str) -> None:
        await self.sockets[-1].send_str(text)


@asynccontextmanager
async def upstream() -> AsyncIterator[tuple[Upstream, str]]:
    found = Upstream()
    app = web.Application()
    app.router.add_get("/poll", found.poll)
    app.router.add_get("/stream", found.stream)
    async with running(app) as url:
        yield found, url


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(750):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise TimeoutError


def metric(face: Face, name: str) -> float:
    lines = face.metrics.render().decode().splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(f"chainworkd_{name} "))


async def received(socket: aiohttp.ClientWebSocketResponse, count: int) -> list[str]:
    return [await socket.receive_str(timeout=10) for _ in range(count)]


async def test_polled_prices_are_passed_on_byte_for_byte_and_only_when_they_change() -> None:
    async with upstream() as (source, url), serving(FEED_URL=f"{url}/poll", FEED_POLL_S="0.05") as face:
        async with await face.socket("/v1/market/stream") as socket:
            assert sorted(await received(socket, 2)) == sorted([BTC, EUR])
            changed = BTC.replace('"timestampSeconds":1', '"timestampSeconds":2')
            source.body = f"[{changed},{EUR}]"
            assert await received(socket, 1) == [changed]
        async with await face.socket("/v1/market/stream") as late:
            assert sorted(await received(late, 2)) == sorted([changed, EUR])  # the last known, at once
        assert metric(face, "market_ticks_total") == 3.0


async def test_a_followed_upstream_may_wrap_its_ticks_and_want_a_word_first() -> None:
    async with upstream() as (source, url):
        ws = url.replace("http", "ws") + "/stream"
        async with serving(FEED_URL=ws, FEED_SUBSCRIBE='{"type":"subscribe"}') as face:
            await until(lambda: source.heard == ['{"type":"subscribe"}'])
            async with await face.socket("/v1/market/stream") as one, await face.socket("/v1/market/stream") as two:
                await source.send('{"type":"snapshot","data":[' + BTC + "]}")
                await source.send('{"type":"tick","data":' + EUR + "}")
                await source.send('{"type":"heartbeat"}')
                await source.send(BTC.replace("65000.10", "65000.11"))
                wanted = [BTC, EUR, BTC.replace("65000.10", "65000.11")]
                assert (await received(one, 3), await received(two, 3)) == (wanted, wanted)


async def test_a_lost_upstream_is_told_once_and_connected_again() -> None:
    async with upstream() as (source, url), serving(FEED_URL=f"{url}/poll", FEED_POLL_S="0.05") as face:  # noqa: SIM117
        async with await face.socket("/v1/market/stream") as socket:
            await received(socket, 2)
            source.status = 500
            assert await received(socket, 1) == [LOST]
            assert metric(face, 'market_feed_up{feed="ostium"}') == 0.0
            async with await face.socket("/v1/market/stream") as late:
                assert (await received(late, 3))[2] == LOST  # told with the last known ticks
            source.status, source.body = 200, f"[{BTC.replace('65000.10', '1')}]"
            assert json.loads((await received(socket, 1))[0])["mid"] == 1
            assert metric(face, 'market_feed_up{feed="ostium"}') == 1.0


async def test_without_a_feed_the_stream_says_so_and_ends() -> None:
    async with serving() as face, await face.socket("/v1/market/stream") as socket:
        assert json.loads((await received(socket, 1))[0]) == {
            "type": "error", "message": "No upstream feed is configured",
        }  # fmt: skip
        end = await socket.receive(timeout=10)
    assert end.data == 1013


async def test_a_slow_reader_is_dropped_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(market_module, "DEPTH", 64)
    async with upstream() as (source, url), serving(FEED_URL=url.replace("http", "ws") + "/stream") as face:
        await until(lambda: bool(source.sockets))
        host, port = face.url.removeprefix("http://").split(":")
        slow = sockets.socket()
        slow.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4_096)
        slow.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(slow, (host, int(port)))
        ask = "GET /v1/market/stream HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
        ask += "sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        await loop.sock_sendall(slow, ask.encode())
        async with await face.socket("/v1/market/stream") as quick:
            await until(lambda: metric_of_sockets(face) == 2.0)
            filler = "x" * 20_000
            for number in range(600):
                await source.send(json.dumps({"feed_id": "A", "n": number, "filler": filler}))
                if number == 0 or number % 10 == 9:
                    got = await received(quick, 1 if number == 0 else 9 if number == 9 else 10)
                    assert json.loads(got[-1])["n"] == number
                if metric(face, "market_readers_dropped_total"):
                    break
            assert metric(face, "market_readers_dropped_total") == 1.0
        slow.close()


def metric_of_sockets(face: Face) -> float:
    lines = face.metrics.render().decode().splitlines()
    return next((float(line.split()[-1]) for line in lines if 'builder_sockets{socket="market"}' in line), 0.0)


async def test_a_stop_of_the_server_closes_the_stream_in_order() -> None:
    async with upstream() as (_, url), serving(FEED_URL=f"{url}/poll") as face:  # noqa: SIM117
        async with await face.socket("/v1/market/stream") as socket:
            await received(socket, 2)
            face.server.cancel()
            end = await socket.receive(timeout=10)
            await asyncio.wait_for(face.server, 10)
    assert (end.type, end.data) == (aiohttp.WSMsgType.CLOSE, 1012)


@pytest.mark.parametrize("text", ["[{}]", "nope", '{"type":"tick","data":1}', '{"a":1}', "[1]"])
def test_what_is_no_tick_is_an_error_and_not_passed_on(text: str) -> None:
    with pytest.raises((msgspec.DecodeError, msgspec.ValidationError)):
        ticks(text)


def test_an_upstream_that_invents_feeds_does_not_fill_the_memory() -> None:
    hub = Market(Metrics().for_builder(), has_feed=True)
    hub.publish((str(number), "{}") for number in range(10_000))
    assert len(hub._last) == market_module.MAX_FEEDS


def test_a_reader_that_is_full_is_slow() -> None:
    reader = Reader()
    for _ in range(market_module.DEPTH):
        reader.put("x")
    assert not reader.slow.is_set()
    reader.put("x")
    assert reader.slow.is_set()
