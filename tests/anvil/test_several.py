"""Several nodes at the head: one lags, one is on a fork, one is late. Real nodes, real sockets, short waits."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from core.facts import ReorgFact
from core.metrics import Metrics
from core.rpc import ws
from core.rpc.client import RpcClient
from core.rpc.hedge import Hedges
from core.rpc.panel import HeadPanel
from core.rpc.pool import RpcPool
from core.rpc.source import RpcSource
from core.service import Service, supervise
from core.store.memory import MemoryStore
from core.types import BlockRef
from devnet.anvil import Anvil
from devnet.artifacts import Artifacts
from indexer.follow import Follower
from indexer.head import HeadWatch, Stream
from tests.anvil.mirror import Mirror
from tests.e2e.waiting import until
from tests.ports.provider import provided

CHAIN = 31_337


class Head:
    """What follows the head of several nodes, as daemon/head.py puts it together, into memory."""

    def __init__(self, pool: RpcPool, metrics: Metrics, streams: Sequence[Stream] = ()) -> None:
        self.pool, self.metrics, self.store = pool, metrics, MemoryStore()
        meter = metrics.for_chain("node")
        source = RpcSource(pool, CHAIN)
        panel = HeadPanel(pool, meter, name="node", agree_s=0.5, look_s=0.1)
        watch = HeadWatch(source, self.store, meter, name="node", streams=streams, agreement=panel, poll_s=0.05)
        self.services: list[Service] = [watch, Follower(source, self.store, watch, name="node"), panel]

    def shown(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"chainworkd_{name}", {"chain": "node", **labels}) or 0.0

    async def until(self, what: Callable[[], Any], seconds: float = 15.0) -> None:
        await until(what, within_s=seconds)

    async def stores(self, ref: BlockRef, seconds: float = 15.0) -> None:
        """Wait until this block is the cursor."""

        async def stored() -> bool:
            return await self.store.cursor() == ref

        await until(stored, within_s=seconds)


@asynccontextmanager
async def following(*urls: str, sockets: Sequence[str] = ()) -> AsyncIterator[Head]:
    metrics = Metrics()
    meter = metrics.for_chain("node")
    clients = [RpcClient(url, deadline_s=5.0) for url in urls]
    async with RpcPool(clients, chain_id=CHAIN, sticky=True, hedges=Hedges(meter), meter=meter.endpoint) as pool:
        head = Head(pool, metrics, [partial(ws.new_heads, url, CHAIN) for url in sockets])
        await head.store.register("node", None)
        task = asyncio.create_task(supervise(head.services, metrics))
        try:
            yield head
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def resources() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def mined(rpc: RpcClient, blocks: int = 1) -> BlockRef:
    """Mine and return the newest block."""
    for _ in range(blocks):
        await rpc.call("anvil_mine", "0x1")
    newest = await rpc.call("eth_getBlockByNumber", "latest", False)
    return BlockRef(int(newest["number"], 16), bytes.fromhex(newest["hash"][2:]))


async def test_a_lagging_node_is_passed_over_and_comes_back(anvil: Anvil, resources: AsyncExitStack) -> None:
    rpc = await resources.enter_async_context(RpcClient(anvil.http_url))
    mirror = Mirror(rpc)
    url = await resources.enter_async_context(provided(mirror))
    await mined(rpc, 20)
    async with following(url, anvil.http_url) as head:
        lagging = partial(head.shown, "endpoint_aside", endpoint=head.pool.endpoints[0].name, why="lagging")
        await head.stores(await mined(rpc))
        mirror.behind = 8
        await mined(rpc, 3)
        await head.until(lagging)
        first, second = (each.name for each in head.pool.endpoints)
        assert head.metrics.endpoints() == {"node": {first: "lagging", second: "ok"}}
        await head.stores(await mined(rpc), seconds=3)
        mirror.behind = 0
        await head.until(lambda: not lagging())
        agreed = head.shown("head_votes_total", outcome="agreed")
        await head.stores(await mined(rpc))
        await head.until(lambda: head.shown("head_votes_total", outcome="agreed") > agreed)


async def test_two_nodes_outvote_one_on_a_fork_and_none_of_its_blocks_is_stored(
    artifacts: Artifacts, tmp_path: Path, resources: AsyncExitStack
) -> None:
    async with Anvil(artifacts, state=tmp_path / "a.json") as one, RpcClient(one.http_url) as rpc:
        await mined(rpc, 5)
    for name in "bc":  # a folder each: a state has one node at a time
        (tmp_path / name).mkdir()
        shutil.copy(tmp_path / "a.json", tmp_path / name / "state.json")
    ours, theirs = [
        await resources.enter_async_context(Anvil(artifacts, state=tmp_path / name / "state.json")) for name in "bc"
    ]
    rpc, other = [await resources.enter_async_context(RpcClient(each.http_url)) for each in (ours, theirs)]
    # Two nodes of one chain: the second is a mirror of the first.
    mirror = await resources.enter_async_context(provided(Mirror(rpc)))
    await other.call("anvil_setCoinbase", "0x" + "11" * 20)
    async with following(theirs.http_url, ours.http_url, mirror, sockets=[theirs.ws_url]) as head:
        forked = partial(head.shown, "endpoint_aside", endpoint=head.pool.endpoints[0].name, why="forked")
        same = await mined(rpc, 0)
        assert await mined(other, 0) == same
        await head.stores(same)
        for _ in range(5):
            await mined(rpc)
            await mined(other)
        newest = await mined(rpc)
        await head.stores(newest)
        assert forked()
        for number in range(same.number + 1, newest.number + 1):
            found = await rpc.call("eth_getBlockByNumber", hex(number), False)
            stored = await head.store.ref_at(number)
            assert stored is not None and "0x" + stored.hash.hex() == found["hash"]
        told = await head.store.facts.after(0, 1_000)
        assert not [each.fact for each in told if isinstance(each.fact, ReorgFact)]


async def test_a_node_that_answers_late_costs_no_block_its_time(anvil: Anvil, resources: AsyncExitStack) -> None:
    rpc = await resources.enter_async_context(RpcClient(anvil.http_url))
    mirror = Mirror(rpc)
    url = await resources.enter_async_context(provided(mirror))
    async with following(url, anvil.http_url) as head:
        await head.stores(await mined(rpc))
        mirror.late_s = 4.0
        for _ in range(3):
            await head.stores(await mined(rpc), seconds=3)
        assert head.shown("hedged_reads_total", outcome="won") >= 1


async def test_the_next_socket_is_opened_when_one_is_gone(anvil: Anvil, resources: AsyncExitStack) -> None:
    rpc = await resources.enter_async_context(RpcClient(anvil.http_url))
    sockets = ["ws://127.0.0.1:9", anvil.ws_url]
    async with following(anvil.http_url, sockets=sockets) as head:

        def heard() -> float:
            return head.shown("heads_announced_total", origin="socket")

        async with asyncio.timeout(15):
            while not heard():
                await mined(rpc)
                await asyncio.sleep(0.1)
        await head.stores(await mined(rpc))
