"""/stream on a real server: facts in order over SSE and WebSocket, resumed, filtered, and ended for a reason."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest

from accounts import tokens
from api import stream as stream_module
from api.reorgs import id_of
from core.store.facts import PgFacts
from core.store.finality import PgFinality
from core.store.pool import Pool, open_pool
from core.types import Finality
from tests import make
from tests.api.conftest import CHAIN
from tests.api.streams import House, Sse, streaming
from tests.e2e.waiting import until

A = make.chain(60, txs=2)


def numbers(events: list[tuple[str, Any]]) -> list[int]:
    return [data["seq"] for _, data in events]


async def test_a_reader_gets_every_kind_of_fact_in_order_as_it_happens(house: House) -> None:
    await house.store.commit(A[10:12], after=None)
    async with house.sse("?from=0") as reader:
        assert reader.answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert await reader.event() == (
            "hello",
            {"kind": "hello", "seq": 0, "chain": "main", "chain_id": CHAIN, "oldest_from": 0, "newest": 2},
        )
        await reader.events(2)
        await house.store.commit(A[12:13], after=A[11].ref)
        name, block = await reader.event()
        assert (name, reader.last_id) == ("block", "3")
        assert block == {
            "kind": "block", "seq": 3, "told_at": block["told_at"], "block_number": 12,
            "block_hash": "0x" + A[12].hash.hex(), "parent_hash": "0x" + A[11].hash.hex(),
            "block_timestamp": block["block_timestamp"], "transaction_count": 2,
        }  # fmt: skip
        await house.store.fill(A[4:10])
        _, fill = await reader.event()
        assert {name: fill[name] for name in ("kind", "first_block", "last_block", "last_hash", "parent_hash")} == {
            "kind": "fill", "first_block": 4, "last_block": 9, "last_hash": "0x" + A[9].hash.hex(),
            "parent_hash": "0x" + A[3].hash.hex(),
        }  # fmt: skip
        await house.store.saw(A[12].head)
        await PgFinality(house.pool, CHAIN).note(Finality(A[11].ref, A[10].ref))
        _, final = await reader.event()
        assert final["safe"] == {"block_number": 11, "block_hash": "0x" + A[11].hash.hex()}
        assert (final["finalized"]["block_number"], final["by"]) == (10, "tags")
        await house.store.rewind(A[12].ref, A[11].ref, reason="test")
        _, reorg = await reader.event()
        at = await house.pool.fetchval("select detected_at from chain.reorg")
        assert (reorg["first_block"], reorg["last_block"], reorg["reason"]) == (12, 12, "test")
        assert (reorg["last_hash"], reorg["parent_hash"]) == ("0x" + A[12].hash.hex(), "0x" + A[11].hash.hex())
        assert reorg["reorg_id"] == id_of(at, A[12].hash)
        async with house.session.get(f"{house.url}/api/v1/reorgs/{reorg['reorg_id']}") as answer:
            assert (await answer.json())["reason"] == "test"


async def test_the_websocket_says_the_same(house: House) -> None:
    await house.store.commit(A[10:12], after=None)
    async with house.sse("?from=0") as reader, await house.ws("?from=0") as ws:
        await house.store.rewind(A[11].ref, A[10].ref, reason="test")
        events = await reader.events(4)
        texts = [json.loads(await ws.receive_str(timeout=10)) for _ in range(4)]
        assert texts == [data for _, data in events]
        assert [text["kind"] for text in texts] == ["hello", "block", "block", "reorg"]


async def test_both_paths_are_one(house: House) -> None:
    await house.store.commit(A[10:12], after=None)
    async with house.session.get(f"{house.url}/api/v1/stream?from=1") as answer:
        events = await Sse(answer).events(2)
    assert numbers(events) == [1, 2]
    async with house.session.head(f"{house.url}/stream") as answer:
        assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")


async def test_without_a_place_only_what_comes_is_sent(house: House) -> None:
    await house.store.commit(A[10:12], after=None)
    async with house.sse() as reader:
        assert (await reader.event())[1]["seq"] == 2
        assert reader.last_id == "2"
        await house.store.commit(A[12:13], after=A[11].ref)
        assert (await reader.event())[1]["seq"] == 3


async def test_a_reader_that_returns_misses_nothing_and_sees_nothing_twice(house: House) -> None:
    await house.store.commit(A[:5], after=None)
    async with house.sse("?from=0") as reader:
        first = await reader.events(4)
        last = reader.last_id
    await house.store.commit(A[5:9], after=A[4].ref)
    # A browser sends the header beside the URL that it was first given.
    async with house.sse("?from=0", **{"Last-Event-ID": last}) as reader:
        rest = await reader.events(7)
    assert numbers(first[1:] + rest[1:]) == list(range(1, 10))
    async with await house.ws(f"?from={last}") as ws:
        assert json.loads(await ws.receive_str())["seq"] == 3
        assert json.loads(await ws.receive_str())["seq"] == 4


async def test_readers_who_are_behind_and_readers_at_the_end_see_the_same(house: House) -> None:
    """More facts than one query, than memory holds with a small ring; each reader from its own place, all at once."""
    long = make.chain(1_500)
    await house.store.commit(long[:1], after=None)

    async def read(query: str, count: int) -> list[int]:
        async with house.sse(query) as reader:
            await reader.event()
            return numbers(await reader.events(count))

    live = [asyncio.create_task(read("?from=1", 1_499)) for _ in range(3)]
    await asyncio.sleep(0.1)
    for first in range(1, 1_500, 50):
        last = min(first + 50, 1_500)
        await house.store.commit(long[first:last], after=long[first - 1].ref)
    assert await asyncio.gather(*live) == [list(range(2, 1_501))] * 3
    assert await read("?from=3", 1_497) == list(range(4, 1_501))


async def test_kinds_are_filtered_and_numbers_go_on(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "HEARTBEAT_S", 0.3)
    await house.store.commit(A[10:13], after=None)
    async with house.sse("?from=0&kinds=reorg,fill") as reader, await house.ws("?from=0&kinds=reorg") as ws:
        await reader.event()
        await house.store.fill(A[8:10])
        assert (await reader.event())[0] == "fill"
        await house.store.rewind(A[12].ref, A[11].ref, reason="x")
        assert (await reader.event())[0] == "reorg"
        await house.store.commit(A[12:14], after=A[11].ref)
        # Nothing for this reader; a heartbeat lets it come back behind what it did not want.
        reading = asyncio.create_task(reader.event())
        await until(lambda: reader.last_id == "7")
        reading.cancel()
        assert "heartbeat" in reader.comments
        texts = [json.loads(await ws.receive_str(timeout=10)) for _ in range(2)]
        while texts[-1]["kind"] == "heartbeat" and texts[-1]["seq"] < 7:
            texts.append(json.loads(await ws.receive_str(timeout=10)))
        assert [text["kind"] for text in texts if text["kind"] != "heartbeat"] == ["hello", "reorg"]


async def test_pruned_facts_are_gone_and_the_answer_says_where_to_start_over(house: House) -> None:
    await house.store.commit(A[:5], after=None)
    assert await PgFacts(house.pool, CHAIN).prune(datetime.now(UTC) + timedelta(days=1), 3) == 3
    async with house.session.get(f"{house.url}/stream?from=2") as answer:
        assert (answer.status, await answer.json()) == (
            410,
            {
                "error": "no facts after 2: facts up to 3 are not kept any more;"
                " start over: take from=5, then read what is indexed",
                "code": "410",
            },
        )
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await house.ws("?from=2")
    assert refused.value.status == 410
    async with house.session.get(f"{house.url}/stream?from=99") as answer:
        assert answer.status == 410
        assert "the newest fact is 5" in (await answer.json())["error"]
    async with house.sse("?from=3") as reader:
        assert numbers(await reader.events(3)) == [3, 4, 5]


async def test_a_reader_whose_facts_are_pruned_under_it_is_told(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.hub.PAGE", 2)
    await house.store.commit(A[:40], after=None)
    slow = asyncio.Event()
    original = stream_module.Events.facts

    async def held(self: Any, lines: Any) -> None:
        await original(self, lines)
        await slow.wait()

    monkeypatch.setattr(stream_module.Events, "facts", held)
    async with house.sse("?from=0") as reader:
        assert numbers(await reader.events(3)) == [0, 1, 2]
        await PgFacts(house.pool, CHAIN).prune(datetime.now(UTC) + timedelta(days=1), 30)
        slow.set()
        name, end = await reader.event()
        assert (name, end["why"], end["seq"]) == ("end", "gone", 2)
        assert "facts up to 30 are not kept any more" in end["message"]
        assert await reader.event() == ("", None)


@pytest.mark.parametrize(
    ("query", "headers", "status", "says"),
    [
        ("?from=-1", {}, 400, "from: expected the number of a fact, found '-1'"),
        ("?from=x", {}, 400, "from: expected"),
        ("", {"Last-Event-ID": "7z"}, 400, "Last-Event-ID: expected"),
        ("?kinds=", {}, 400, "kinds: expected some of block, reorg, finalize, fill"),
        ("?kinds=block,deposit", {}, 400, "kinds: expected some of"),
        ("?chain=moon", {}, 400, "chain: expected one of main"),
        ("?page=1", {}, 400, "page: unknown parameter; known are chain, from, kinds"),
        ("", {"authorization": "Bearer hc_live_" + "0" * 40}, 401, "authorization: expected Bearer"),
        ("", {"authorization": ""}, 401, "authorization: expected Bearer"),
    ],
)
async def test_a_wrong_request_is_refused_on_both_wires(
    house: House, query: str, headers: dict[str, str], status: int, says: str
) -> None:
    await house.store.commit(A[:1], after=None)
    async with house.session.get(f"{house.url}/stream{query}", headers=headers) as answer:
        body = await answer.json()
        assert (answer.status, body["code"]) == (status, str(status))
        assert body["error"].startswith(says)
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await house.ws(query, **headers)
    assert refused.value.status == status
    assert house.metric('streams{transport="sse"}') == 0


async def test_a_body_that_is_too_large_is_refused_before_the_stream_begins(house: House) -> None:
    await house.store.commit(A[:1], after=None)

    async def body() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * 32_768

    async with house.session.get(f"{house.url}/stream", data=body()) as answer:
        assert (answer.status, answer.content_type) == (413, "application/json")
    async with house.session.get(f"{house.url}/stream", data=b"x") as answer:
        assert answer.status == 200
        assert (await Sse(answer).event())[0] == "hello"


async def test_another_method_is_told_the_right_ones(house: House) -> None:
    async with house.session.post(f"{house.url}/stream") as answer:
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


async def test_websockets_take_half_of_the_connections_and_streams_are_no_exception(pool: Pool, api_pool: Pool) -> None:
    async with streaming(pool, api_pool, most=4) as house, await house.ws(), await house.ws():
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await house.ws()
        assert refused.value.status == 503
        assert house.metric('connections_turned_away_total{server="api"}') == 1
        async with house.sse() as reader:
            assert (await reader.event())[0] == "hello"


async def test_more_streams_than_allowed_are_refused_until_one_ends(house: House) -> None:
    await house.store.commit(A[:1], after=None)
    async with contextlib.AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(await house.ws()) for _ in range(2)]
        for _ in range(2):
            await stack.enter_async_context(house.sse())
        async with house.session.get(f"{house.url}/stream") as answer:
            assert answer.status == 503
            assert (await answer.json())["error"] == "more than 4 streams are open"
            assert answer.headers["retry-after"] == "1"
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await house.ws()
        assert (house.metric('streams{transport="ws"}'), house.metric('streams{transport="sse"}')) == (2, 2)
        await sockets[0].close()
        await until(lambda: house.metric('streams{transport="ws"}') == 1)
        async with await house.ws() as ws:
            assert json.loads(await ws.receive_str())["kind"] == "hello"


class Mute:
    """A client that asks and then does not read; its window is as small as the kernel allows."""

    def __init__(self, url: str, request: str) -> None:
        host, port = url.removeprefix("http://").split(":")
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        self.socket.connect((host, int(port)))
        self.socket.sendall(request.encode())

    async def everything(self, last: bytes) -> bytes:
        """What is in the pipe, up to its end or to these bytes."""
        self.socket.setblocking(False)
        loop = asyncio.get_running_loop()
        found = bytearray()
        async with asyncio.timeout(20):
            with contextlib.suppress(ConnectionResetError):
                while last not in found[-400:] and (part := await loop.sock_recv(self.socket, 65536)):
                    found += part
        self.socket.close()
        return bytes(found)


@pytest.mark.parametrize("transport", ["sse", "ws"])
async def test_a_reader_that_does_not_read_is_dropped_with_a_reason_and_holds_no_one_up(
    house: House, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    monkeypatch.setattr(stream_module, "SEND_S", 0.5)
    monkeypatch.setattr(stream_module, "LAST_WORD_S", 15.0)
    upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    upgrade += "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    extra = upgrade if transport == "ws" else ""
    # Far more than all buffers on the way hold.
    await _flood(house.pool, 60_000)
    request = f"GET /stream?from=0 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {house.key}\r\n{extra}\r\n"
    mute = Mute(house.url, request)
    await until(lambda: house.metric('streams_ended_total{why="slow"}') == 1)
    assert house.metric(f'streams{{transport="{transport}"}}') == 0
    # Somebody else is served meanwhile.
    async with house.sse() as reader:
        assert (await reader.event())[0] == "hello"
    # A close frame holds its code, 1013, and the reason.
    said = {"sse": b'"why":"slow","message":"nothing could be sent for', "ws": b"\x03\xf5nothing could be sent for"}
    heard = await mute.everything(said[transport])
    assert said[transport] in heard[-400:]
    assert len(heard) < 12_000_000


async def _flood(pool: Pool, count: int) -> None:
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("insert into chain.fact_tail (chain_id, last) values ($1, $2)", CHAIN, count)
        await conn.execute(
            """
            insert into chain.fact
                (chain_id, seq, told_at, kind, first_block, last_block, hash, parent_hash, block_time, tx_count)
            select $1, n, now(), 'block', n, n, sha256('this'), sha256('parent'), now(), 1
            from generate_series(1, $2::bigint) as n
            """,
            CHAIN, count,
        )  # fmt: skip


async def test_a_revoked_key_ends_its_streams(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "RECHECK_S", 0.2)
    monkeypatch.setattr(stream_module, "HEARTBEAT_S", 0.1)
    await house.store.commit(A[:1], after=None)
    async with house.sse() as reader, await house.ws() as ws:
        assert (await reader.event())[0] == "hello"
        assert await tokens.revoke(house.pool, house.key)
        name, end = await reader.event()
        assert (name, end["why"]) == ("end", "unauthorized")
        async with asyncio.timeout(10):
            while (message := await ws.receive()).type is aiohttp.WSMsgType.TEXT:
                pass
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 4401)


async def test_when_the_server_stops_every_stream_ends_at_once_and_says_where_to_go_on(house: House) -> None:
    await house.store.commit(A[:3], after=None)
    async with house.sse("?from=0") as reader, await house.ws("?from=0") as ws:
        await reader.events(4)
        for _ in range(4):
            await ws.receive_str(timeout=10)
        started = asyncio.get_running_loop().time()
        house.server.cancel()
        house.hub_task.cancel()
        name, end = await reader.event()
        assert (name, end["why"], end["seq"]) == ("end", "stopping", 3)
        assert await reader.event() == ("", None)
        message = await ws.receive(timeout=10)
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1001)
        assert message.extra == "the server stops; go on from 3"
        await asyncio.gather(house.server, house.hub_task, return_exceptions=True)
        assert asyncio.get_running_loop().time() - started < 3


async def test_when_the_listening_connection_breaks_facts_still_arrive(house: House) -> None:
    await house.store.commit(A[:1], after=None)
    async with house.sse() as reader:
        await reader.event()
        await until(lambda: house.metric("facts_listening"))
        killed = await house.pool.fetch(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and query ilike 'listen%'"
        )
        assert len(killed) == 1
        await house.store.commit(A[1:2], after=A[0].ref)
        assert (await reader.event())[1]["block_number"] == 1
        await until(lambda: house.metric("facts_listening"))
        await house.store.commit(A[2:3], after=A[1].ref)
        assert (await reader.event())[1]["block_number"] == 2


async def test_with_a_single_connection_facts_are_polled_and_the_api_still_answers(
    pool: Pool, database_url: str
) -> None:
    async with open_pool(database_url, role="chainworkd_api", size=1) as single, streaming(pool, single) as house:
        await house.store.commit(A[:1], after=None)
        async with house.sse() as reader:
            await reader.event()
            await house.store.commit(A[1:2], after=A[0].ref)
            assert (await reader.event())[1]["block_number"] == 1
            async with house.session.get(f"{house.url}/api/v1/blocks/1") as answer:
                assert answer.status == 200
        assert house.metric("facts_listening") == 0
