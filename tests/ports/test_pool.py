"""A pool against providers with limits and outages, over real sockets."""

import asyncio
import logging
import time
import traceback
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from core.errors import RpcLimited, RpcRefused, RpcUnavailable, WrongChain
from core.hex import to_quantity
from core.metrics import Metrics
from core.rpc.client import RpcClient
from core.rpc.logs import RpcLogs
from core.rpc.pool import RpcPool
from core.rpc.source import RpcSource
from core.types import BlockRange
from tests import make
from tests.ports.node import CHAIN_ID
from tests.ports.provider import (
    Provider,
    port_of,
    provided,
    refusal,
    too_large_by_geth,
    too_large_by_http,
    too_large_for_each,
)

A = make.chain(60, txs=2)
TOKEN = make.address("token")


async def pool_of(resources: AsyncExitStack, *urls: str, **options: Any) -> RpcPool:
    clients = [RpcClient(url, deadline_s=2.0) for url in urls]
    return await resources.enter_async_context(RpcPool(clients, **{"chain_id": CHAIN_ID, **options}))


async def header(pool: RpcPool, number: int = 1) -> None:
    await pool.raw("eth_getBlockByNumber", to_quantity(number), False)


# -- failover ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sticky", [False, True])
async def test_a_node_that_dies_is_replaced_and_taken_back_only_if_nobody_sticks(sticky: bool) -> None:
    first, second = Provider(list(A)), Provider(list(A))
    async with AsyncExitStack() as resources:
        spare = await resources.enter_async_context(provided(second))
        async with provided(first) as url:
            pool = await pool_of(resources, url, spare, sticky=sticky)
            await header(pool)
        assert (len(first.asked), len(second.asked)) == (2, 0)
        for _ in range(20):
            await header(pool)
        assert second.asked.count("eth_getBlockByNumber") == 20
        await resources.enter_async_context(provided(first, port_of(url)))
        await asyncio.sleep(0.6)
        first.asked.clear()
        for _ in range(5):
            await header(pool)
    assert first.asked == ([] if sticky else ["eth_chainId", *["eth_getBlockByNumber"] * 5])


async def test_a_node_that_comes_back_as_another_chain_is_never_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    first, second = Provider(list(A)), Provider(list(A))
    async with AsyncExitStack() as resources:
        spare = await resources.enter_async_context(provided(second))
        async with provided(first) as url:
            pool = await pool_of(resources, url, spare)
            await header(pool)
        for _ in range(4):
            await header(pool)
        first.chain_id = 8
        await resources.enter_async_context(provided(first, port_of(url)))
        await asyncio.sleep(0.6)
        first.asked.clear()
        for _ in range(5):
            await header(pool)
    assert first.asked == ["eth_chainId"]
    assert "another chain" in caplog.text


async def test_a_single_node_that_comes_back_as_another_chain_ends_it() -> None:
    first = Provider(list(A))
    async with AsyncExitStack() as resources:
        async with provided(first) as url:
            pool = await pool_of(resources, url, attempts=3)
            await header(pool)
        with pytest.raises(RpcUnavailable):
            await header(pool)
        first.chain_id = 8
        await resources.enter_async_context(provided(first, port_of(url)))
        with pytest.raises(WrongChain, match="serves chain 8, expected 7"):
            await header(pool)


async def test_blocks_of_a_node_that_serves_another_chain_from_now_on_are_never_taken() -> None:
    first, second = Provider(make.chain(20, fork="another")), Provider(list(A))
    async with AsyncExitStack() as resources:
        urls = [await resources.enter_async_context(provided(each)) for each in (first, second)]
        pool = await pool_of(resources, *urls)
        await header(pool)
        # Nothing failed meanwhile, so nobody asked it again which chain it serves.
        first.chain_id = 8
        assert await RpcSource(pool, CHAIN_ID).blocks(BlockRange(3, 5)) == tuple(A[3:6])
        first.asked.clear()
        await RpcSource(pool, CHAIN_ID).blocks(BlockRange(3, 5))
        assert first.asked == []


async def test_a_node_with_another_genesis_comes_back_as_another_chain() -> None:
    first = Provider(list(A))
    async with AsyncExitStack() as resources:
        url = await resources.enter_async_context(provided(first))
        pool = await pool_of(resources, url, genesis_hash=A[0].hash)
        await header(pool)
        other = await pool_of(resources, url, genesis_hash=A[1].hash)
        with pytest.raises(WrongChain, match="replaced"):
            await header(other)


async def test_only_nodes_of_another_chain_are_the_wrong_chain_and_each_is_named() -> None:
    first, second = Provider(list(A)), Provider(list(A))
    first.chain_id, second.chain_id = 8, 9
    async with AsyncExitStack() as resources:
        urls = [await resources.enter_async_context(provided(each)) for each in (first, second)]
        pool = await pool_of(resources, *urls)
        with pytest.raises(WrongChain, match=r"chain 8, expected 7.*chain 9, expected 7"):
            await header(pool)


async def test_the_first_node_that_answers_says_which_chain_it_is_if_nobody_knows() -> None:
    first, second = Provider(list(A)), Provider(list(A))
    second.chain_id = 9
    async with AsyncExitStack() as resources:
        urls = [await resources.enter_async_context(provided(each)) for each in (first, second)]
        pool = await pool_of(resources, *urls, chain_id=0)
        assert await pool.call("eth_chainId") == hex(CHAIN_ID)
        first.refuse = lambda method, params: refusal(4444, "pruned history unavailable")
        with pytest.raises(RpcRefused, match="4444"):
            await header(pool)
        assert second.asked == ["eth_chainId"]


async def test_what_one_node_has_pruned_is_asked_of_the_next_and_that_is_remembered() -> None:
    first, second = Provider(list(A)), Provider(list(A))

    def pruned(method: str, params: list[Any]) -> dict[str, Any] | None:
        old = method == "eth_getBlockByNumber" and int(params[0], 16) < 20
        return refusal(4444, "pruned history unavailable") if old else None

    first.refuse = pruned
    async with AsyncExitStack() as resources:
        urls = [await resources.enter_async_context(provided(each)) for each in (first, second)]
        pool = await pool_of(resources, *urls)
        for _ in range(3):
            await header(pool, 10)
        await header(pool, 30)
    assert first.asked == ["eth_chainId", "eth_getBlockByNumber", "eth_getBlockByNumber"]
    assert second.asked.count("eth_getBlockByNumber") == 3


async def test_a_call_that_no_node_can_answer_is_refused_with_the_refusals_in_their_places() -> None:
    first, second = Provider(list(A)), Provider(list(A))
    reverted = refusal(3, "execution reverted")
    missing = refusal(-32000, "missing trie node abc (path )")
    first.refuse = lambda method, params: missing if method == "eth_call" else None
    second.refuse = lambda method, params: reverted if method == "eth_call" else None
    calls = [("eth_call", ({"to": "0x"}, "0x5")), ("eth_chainId", ())]
    async with AsyncExitStack() as resources:
        urls = [await resources.enter_async_context(provided(each)) for each in (first, second)]
        pool = await pool_of(resources, *urls)
        refused, answered = await pool.batch_each(calls)
        assert isinstance(refused, RpcRefused) and refused.code == 3
        assert not isinstance(answered, RpcRefused) and bytes(answered) == b'"0x7"'
        second.refuse = first.refuse
        refused, _ = await pool.batch_each(calls)
        assert isinstance(refused, RpcRefused) and "missing trie node" in refused.message


async def test_a_block_that_stays_null_on_one_node_is_taken_from_the_next() -> None:
    first, second = Provider(list(A)), Provider(list(A))
    first.twist = lambda method, result: None if "Receipt" in method else result
    async with AsyncExitStack() as resources:
        urls = [await resources.enter_async_context(provided(each)) for each in (first, second)]
        source = RpcSource(await pool_of(resources, *urls), CHAIN_ID)
        assert await source.blocks(BlockRange(3, 5)) == tuple(A[3:6])
    assert second.asked.count("eth_getBlockReceipts") == 1 + 3


async def test_which_node_has_block_receipts_is_known_of_each() -> None:
    first, second = Provider(list(A)), Provider(list(A))
    first.block_receipts = False
    async with AsyncExitStack() as resources:
        spare = await resources.enter_async_context(provided(second))
        async with provided(first) as url:
            source = RpcSource(await pool_of(resources, url, spare), CHAIN_ID, batch_blocks=4)
            await asyncio.gather(*(source.blocks(BlockRange(n, n + 3)) for n in range(0, 40, 4)))
            assert first.asked.count("eth_getBlockReceipts") == 1
            assert first.asked.count("eth_getTransactionReceipt") == 80
        assert await source.blocks(BlockRange(0, 3)) == tuple(A[:4])
    assert second.asked.count("eth_getTransactionReceipt") == 0


# -- limits ------------------------------------------------------------------------------------------------------------


async def test_a_node_that_takes_few_requests_at_once_is_asked_as_many_and_all_are_answered() -> None:
    provider = Provider(list(A))
    provider.most_at_once, provider.latency_s = 6, 0.01
    async with AsyncExitStack() as resources:
        url = await resources.enter_async_context(provided(provider))
        pool = await pool_of(resources, url)
        await asyncio.gather(*(header(pool, n % 60) for n in range(300)))
        assert 2 <= pool.width <= 12
        # It minds how many there are, not how fast they follow one another.
        assert pool.learned()[pool.endpoints[0].key].rate is None
    assert provider.limited < 100


async def test_a_node_that_takes_few_requests_a_second_is_asked_no_faster() -> None:
    provider = Provider(list(A))
    provider.most_a_second = 50
    async with AsyncExitStack() as resources:
        url = await resources.enter_async_context(provided(provider))
        pool = await pool_of(resources, url)
        await asyncio.gather(*(header(pool, n % 60) for n in range(150)))
        rate = pool.learned()[pool.endpoints[0].key].rate
        assert rate is not None and 5 <= rate <= 100
        before, started = provider.limited, time.monotonic()
        await asyncio.gather(*(header(pool, n % 60) for n in range(100)))
        assert time.monotonic() - started > 0.9
    assert provider.limited - before < 30


async def test_a_node_that_refuses_for_ever_is_given_up_after_a_while() -> None:
    provider = Provider(list(A))
    async with AsyncExitStack() as resources:
        url = await resources.enter_async_context(provided(provider))
        pool = await pool_of(resources, url, patience_s=0.5)
        await header(pool)
        provider.most_at_once = 0
        with pytest.raises(RpcLimited, match="HTTP 429: too many requests"):
            await header(pool)


async def test_distance_is_made_up_for_by_more_requests_at_once() -> None:
    """At 50 ms, 300 requests one after another take 15 s; loopback's own time is for the machine's other work."""
    near, far = Provider(list(A)), Provider(list(A))
    far.latency_s = 0.05
    took = []
    async with AsyncExitStack() as resources:
        for provider in (near, far):
            url = await resources.enter_async_context(provided(provider))
            pool = await pool_of(resources, url)
            await asyncio.gather(*(header(pool, n % 60) for n in range(200)))
            started = time.monotonic()
            await asyncio.gather(*(header(pool, n % 60) for n in range(300)))
            took.append(time.monotonic() - started)
    assert far.highest > 12
    assert took[1] < 15 / 5 + took[0]


@pytest.mark.parametrize(
    ("refused", "most"),
    [
        (lambda n: refusal(-32614, "eth_getLogs is limited to a 10 range"), 10),
        (
            lambda n: refusal(-32600, "You can make eth_getLogs requests with up to a 10 block range. Based on your "
                              "parameters, this block range should work: [0x0, 0x9]"),
            10,
        ),
        (lambda n: refusal(-32602, f"range {n} exceeds limit of 10"), 10),
        (lambda n: refusal(-32000, "block range is too wide"), 7),
    ],
)  # fmt: skip
async def test_logs_come_whole_from_a_provider_that_limits_the_range(
    refused: Callable[[int], dict[str, Any]], most: int
) -> None:
    provider = Provider(list(A))

    def refuse(method: str, params: list[Any]) -> dict[str, Any] | None:
        if method != "eth_getLogs":
            return None
        blocks = int(params[0]["toBlock"], 16) - int(params[0]["fromBlock"], 16) + 1
        return refused(blocks) if blocks > 10 else None

    provider.refuse = refuse
    everything = [log for block in A for tx in block.txs for log in tx.receipt.logs]
    async with AsyncExitStack() as resources:
        url = await resources.enter_async_context(provided(provider))
        pool = await pool_of(resources, url)
        found, last = await RpcLogs(pool).logs([], BlockRange(0, 59))
        assert [each.log for each in found] == everything
        assert last == A[59].ref
        assert pool.learned()[pool.endpoints[0].key].log_blocks == most
        provider.log_ranges.clear()
        await RpcLogs(pool).logs([], BlockRange(0, 59))
        assert max(b - a + 1 for a, b in provider.log_ranges) == most


async def test_one_block_whose_logs_are_refused_is_named() -> None:
    provider = Provider(list(A))
    provider.refuse = lambda method, params: (
        refusal(-32005, "query returned more than 10000 results")
        if method == "eth_getLogs" and int(params[0]["fromBlock"], 16) <= 5 <= int(params[0]["toBlock"], 16)
        else None
    )
    async with AsyncExitStack() as resources:
        url = await resources.enter_async_context(provided(provider))
        with pytest.raises(RpcRefused, match="block 5 alone: query returned more than 10000 results"):
            await RpcLogs(await pool_of(resources, url)).logs([], BlockRange(0, 59))


@pytest.mark.parametrize(
    ("response", "most"), [(too_large_by_geth, 2), (too_large_for_each, 3), (too_large_by_http, 2)]
)
async def test_batches_shrink_to_what_a_node_takes(response: Callable[[list[Any]], Any], most: int) -> None:
    provider = Provider(list(A))
    provider.batch_most, provider.batch_refusal = 3, response
    async with AsyncExitStack() as resources:
        url = await resources.enter_async_context(provided(provider))
        pool = await pool_of(resources, url)
        source = RpcSource(pool, CHAIN_ID, batch_blocks=5)
        assert await source.blocks(BlockRange(0, 9)) == tuple(A[:10])
        before = provider.requests
        assert await source.blocks(BlockRange(0, 4)) == tuple(A[:5])
        # Five blocks, their receipts, and the chain's id.
        assert provider.requests - before == -(-11 // most)
        assert pool.learned()[pool.endpoints[0].key].batch_calls == most


async def test_what_was_learned_is_where_the_next_pool_starts() -> None:
    provider = Provider(list(A))
    provider.batch_most, provider.block_receipts = 4, False
    async with AsyncExitStack() as resources:
        url = await resources.enter_async_context(provided(provider))
        pool = await pool_of(resources, url)
        await RpcSource(pool, CHAIN_ID, batch_blocks=8).blocks(BlockRange(0, 7))
        again = await pool_of(resources, url)
        again.recall(pool.learned())
        provider.asked.clear()
        before = provider.requests
        assert await RpcSource(again, CHAIN_ID, batch_blocks=8).blocks(BlockRange(0, 3)) == tuple(A[:4])
        assert "eth_getBlockReceipts" not in provider.asked
        # Its chain id, two batches of blocks and the id again, one of receipts for each block: nothing is refused.
        assert provider.requests - before == 1 + 2 + 4


# -- what is shown -----------------------------------------------------------------------------------------------------


async def test_no_key_is_shown_by_errors_logs_or_metrics(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    key, metrics = "0123456789abcdef0123", Metrics()
    first, second = Provider(list(A)), Provider(list(A))
    second.chain_id = 8
    async with AsyncExitStack() as resources:
        urls = [await resources.enter_async_context(provided(each)) for each in (first, second)]
        dead = "http://127.0.0.1:1"
        pool = await pool_of(
            resources, *(f"{url}/v3/{key}?token={key}" for url in (dead, urls[1], urls[0])),
            meter=metrics.for_chain("node").endpoint,
        )  # fmt: skip
        await header(pool)
        first.refuse = lambda method, params: refusal(-32000, f"project {key} is unauthorized")
        with pytest.raises(RpcRefused) as refused:
            await header(pool)
    shown = metrics.render().decode() + caplog.text + "".join(traceback.format_exception(refused.value))
    assert "unauthorized" in shown and "another chain" in shown
    assert key not in shown
    assert 'chainworkd_endpoint_out{chain="node",endpoint="127.0.0.1:1"} 0.0' in shown
    assert 'error="wrong_chain"' in shown


async def test_requests_that_are_given_up_leave_their_places() -> None:
    provider = Provider(list(A))
    provider.latency_s = 0.05
    async with AsyncExitStack() as resources:
        url = await resources.enter_async_context(provided(provider))
        pool = await pool_of(resources, url)
        await header(pool)
        tasks = [asyncio.create_task(header(pool)) for _ in range(40)]
        await asyncio.sleep(0.02)
        for task in tasks[::2]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert sum(isinstance(result, asyncio.CancelledError) for result in results) == 20
        assert sum(result is None for result in results) == 20
        assert (pool.endpoints[0].under_way, len(pool.endpoints[0].queued)) == (0, 0)
        assert pool.endpoints[0].load == 0
