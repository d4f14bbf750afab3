"""The recorded node over its sockets: heads by WebSocket, latency, limits, bad requests."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import aiohttp
import pytest

from core.errors import RpcRefused, RpcUnavailable
from core.rpc.client import RpcClient
from core.rpc.source import RpcSource
from core.rpc.ws import new_heads
from core.types import BlockRange
from devnet.recorded.folder import Recording
from devnet.recorded.node import Behaviour, RecordedNode, serving
from tests import make
from tests.e2e.waiting import until

CHAIN_ID = 7
A = make.chain(30, txs=2)


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    return Recording(make.record(tmp_path, A))


@pytest.fixture
async def node(recording: Recording) -> RecordedNode:
    return RecordedNode(recording, Behaviour(head=10))


@pytest.fixture
async def port(node: RecordedNode) -> AsyncIterator[int]:
    async with serving(node) as port:
        yield port


async def test_new_heads_are_announced_as_they_become_visible(node: RecordedNode, port: int) -> None:
    async with RpcClient(f"http://127.0.0.1:{port}") as client, asyncio.timeout(10):
        source = RpcSource(client, CHAIN_ID)
        assert await source.head() == A[10].head
        async with aclosing(new_heads(f"ws://127.0.0.1:{port}", CHAIN_ID)) as heads:
            first = asyncio.ensure_future(anext(heads))
            await until(lambda: any(connection.subscriptions for connection in node.connections))
            node.advance()
            assert await first == A[11].head
            assert await source.head() == A[11].head
            await client.call("recorded_setPace", 200)
            assert [await anext(heads) for _ in range(18)] == [block.head for block in A[12:]]
        announced = await client.call("recorded_announced")
    assert [number for number, _ in announced] == list(range(11, 30))
    assert [at for _, at in announced] == sorted(at for _, at in announced)


async def test_the_pace_is_kept_and_ends_with_the_recording(recording: Recording) -> None:
    node = RecordedNode(recording, Behaviour(head=9, pace=100))
    started = time.monotonic()
    async with serving(node) as port, RpcClient(f"http://127.0.0.1:{port}") as client, asyncio.timeout(10):

        async def arrived() -> bool:
            return bool(await client.call("eth_blockNumber") == "0x1d")

        await until(arrived, pause_s=0.01)
        assert time.monotonic() - started >= 0.19


async def test_latency_is_waited_for_by_all_at_once(recording: Recording) -> None:
    node = RecordedNode(recording, Behaviour(latency_s=0.5))
    async with serving(node) as port, RpcClient(f"http://127.0.0.1:{port}") as client:
        source = RpcSource(client, CHAIN_ID)
        started = time.monotonic()
        parts = await asyncio.gather(*(source.blocks(BlockRange(n, n)) for n in range(8)))
        took = time.monotonic() - started
    assert [block for part in parts for block in part] == A[:8]
    assert 0.5 <= took < 3.5  # one after the other would take 4 s; the machine may be busy


async def test_beyond_the_limit_is_429(recording: Recording) -> None:
    node = RecordedNode(recording, Behaviour(limit_rps=2))
    async with serving(node) as port, RpcClient(f"http://127.0.0.1:{port}") as client:
        with pytest.raises(RpcUnavailable, match="HTTP 429"):
            for _ in range(10):
                await client.call("eth_chainId")


async def test_what_is_no_request_is_answered_as_such(port: int) -> None:
    url = f"http://127.0.0.1:{port}"
    async with aiohttp.ClientSession() as session:
        for body, code in ((b"x", -32700), (b"[]", -32600), (b'{"id":1}', -32700)):
            async with session.post(url, data=body) as response:
                assert (await response.json())["error"]["code"] == code
        async with session.get(url) as response:
            assert response.status == 405
        async with session.ws_connect(url) as socket:
            await socket.send_str('{"jsonrpc":"2.0","id":"a","method":"eth_subscribe","params":["logs"]}')
            answer = await socket.receive_json()
            assert (answer["id"], answer["error"]["code"]) == ("a", -32602)
            await socket.ping()
            await socket.send_str('{"jsonrpc":"2.0","id":2,"method":"eth_unsubscribe","params":["0x9"]}')
            assert (await socket.receive_json())["result"] is False


async def test_a_refusal_in_a_batch_leaves_the_others(port: int) -> None:
    async with RpcClient(f"http://127.0.0.1:{port}") as client:
        answers = await client.batch_each([("eth_chainId", ()), ("eth_nonsense", ()), ("net_version", ())])
    assert isinstance(answers[1], RpcRefused)
    assert [bytes(a) for a in (answers[0], answers[2]) if not isinstance(a, RpcRefused)] == [b'"0x7"', b'"7"']
