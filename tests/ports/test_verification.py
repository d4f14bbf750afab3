"""Which checks hold is found out of every endpoint, and who serves a block that fails them is not believed."""

import dataclasses
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest

from core.errors import RpcTimedOut, RpcUnavailable, Unverified
from core.rpc.calibrate import NEWEST, calibrate, probes
from core.rpc.client import RpcClient
from core.rpc.limits import TRUST_BACK_S, Trust
from core.rpc.pool import RpcPool
from core.rpc.source import RpcSource
from core.types import Block, BlockRange
from core.verify.checks import ALL, NONE, OF_HEADER, Check, Level
from tests import make
from tests.ports.node import CHAIN_ID, Chain, serving
from tests.truthful import one_of_each, truthful

Twist = Callable[[str, Any], Any]


def chain(length: int, tx_type: int | None = None) -> list[Block]:
    """A chain of truthful blocks; with `tx_type`, each names that type for its last transaction."""
    found: list[Block] = []
    for number in range(length):
        block = truthful(number, found[-1].hash if found else make.NOWHERE)
        if tx_type is not None:
            block = dataclasses.replace(block, txs=(*block.txs[:-1], dataclasses.replace(block.txs[-1], type=tx_type)))
        found.append(block)
    return found


A = chain(24)


def without_last_log(method: str, result: Any) -> Any:
    """Drop the last log of each block, as a node does whose index of logs is behind."""
    if method == "eth_getBlockReceipts" and result:
        with_logs = [receipt for receipt in result if receipt["logs"]]
        with_logs[-1]["logs"].pop()
    return result


@pytest.fixture
async def pool_of() -> AsyncIterator[Callable[..., Any]]:
    async with AsyncExitStack() as stack:

        async def made(*nodes: Chain, sticky: bool = False) -> RpcPool:
            urls = [await stack.enter_async_context(serving(node)) for node in nodes]
            return await stack.enter_async_context(RpcPool([RpcClient(url) for url in urls], sticky=sticky))

        yield made


def twisted(blocks: Sequence[Block], twist: Twist) -> Chain:
    node = Chain(list(blocks))
    node.twist = twist
    return node


# -- calibration -------------------------------------------------------------------------------------------------------


async def found(pool: RpcPool, settled: int = 23) -> Any:
    return await calibrate(pool, RpcSource(pool, CHAIN_ID), CHAIN_ID, settled)


async def test_on_a_chain_that_is_as_we_know_it_everything_holds(pool_of: Callable[..., Any]) -> None:
    calibration = await found(await pool_of(Chain(A)))
    assert (calibration.holds, calibration.fails, calibration.open) == (ALL, {}, NONE)
    assert calibration.blocks == len(probes(23))


async def test_a_chain_with_transactions_of_its_own_gets_the_rest(pool_of: Callable[..., Any]) -> None:
    calibration = await found(await pool_of(Chain(chain(20, tx_type=0x7E))), 19)
    off = Check.RECEIPTS_ROOT | Check.TRANSACTIONS_ROOT | Check.TX_HASH
    assert (calibration.holds, calibration.open) == (ALL & ~off, NONE)
    assert set(calibration.fails) == set(off)
    assert "transaction type 0x7e" in str(calibration.fails[Check.TX_HASH])


async def test_a_transaction_of_its_own_in_each_sixteenth_block_is_seen(pool_of: Callable[..., Any]) -> None:
    strange = chain(40)
    for number in range(3, 40, NEWEST):
        strange[number] = chain(number + 1, tx_type=0x7F)[-1]
    calibration = await found(await pool_of(Chain(strange)), 39)
    assert Check.TX_HASH in calibration.fails


async def test_one_strange_block_of_a_chain_counts_wherever_it_is_once_it_was_seen(
    pool_of: Callable[..., Any],
) -> None:
    strange = chain(60)
    strange[8] = chain(9, tx_type=0x7F)[-1]
    pool = await pool_of(Chain(strange))
    source = RpcSource(pool, CHAIN_ID)
    seen = await calibrate(pool, source, CHAIN_ID, 10)
    assert seen.fails[Check.TX_HASH].at.number == 8
    assert 8 not in probes(59)
    assert Check.TX_HASH in (await calibrate(pool, source, CHAIN_ID, 59)).holds
    assert Check.TX_HASH in (await calibrate(pool, source, CHAIN_ID, 59, also=[8, 1_000])).fails


async def test_a_node_that_lies_cannot_weaken_what_another_shows(pool_of: Callable[..., Any]) -> None:
    for nodes in (
        (twisted(A, without_last_log), Chain(A)),
        (Chain(A), twisted(A, without_last_log)),
        (Chain(A), twisted(A, lambda method, result: None if method == "eth_getBlockReceipts" else result)),
    ):
        calibration = await found(await pool_of(*nodes))
        assert (calibration.holds, calibration.blocks) == (ALL, len(probes(23)))


async def test_a_node_that_lies_cannot_strengthen_it_either(pool_of: Callable[..., Any]) -> None:
    strange = chain(20, tx_type=0x7E)
    empty = [
        dataclasses.replace(truthful(block.number, block.parent_hash, txs=()), hash=block.hash) for block in strange
    ]
    calibration = await found(await pool_of(Chain(empty), Chain(strange)), 19)
    assert Check.TRANSACTIONS_ROOT in calibration.fails


async def test_what_no_block_can_tell_is_left_open(pool_of: Callable[..., Any]) -> None:
    calibration = await found(await pool_of(Chain([truthful(0, txs=())])), 0)
    assert (calibration.holds, calibration.open) == (OF_HEADER, ALL & ~OF_HEADER)
    nothing = twisted(A, lambda method, result: None if method == "eth_getBlockReceipts" else result)
    assert (await found(await pool_of(nothing))).open == ALL


async def test_nodes_that_do_not_answer_are_no_finding(pool_of: Callable[..., Any]) -> None:
    pool = await pool_of(Chain(A))
    [endpoint] = pool.endpoints
    await endpoint.client.__aexit__(None, None, None)
    with pytest.raises(RpcUnavailable):
        await found(pool)


async def test_a_node_that_is_too_slow_to_find_an_old_block_does_not_hold_up_the_rest(
    pool_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    as_told = RpcSource.as_told

    async def slow(self: RpcSource, number: int, seat: Any) -> Block | None:
        if number < 5:
            raise RpcTimedOut("too slow")
        return await as_told(self, number, seat)

    monkeypatch.setattr(RpcSource, "as_told", slow)
    calibration = await found(await pool_of(Chain(A)))
    assert (calibration.holds, calibration.blocks) == (ALL, len([n for n in probes(23) if n >= 5]))


# -- verification ------------------------------------------------------------------------------------------------------


def source_of(pool: RpcPool, told: list[Sequence[Unverified]] | None = None, level: Check = ALL) -> RpcSource:
    async def tell(failed: Sequence[Unverified]) -> None:
        if told is not None:
            told.append(failed)

    return RpcSource(pool, CHAIN_ID, level=Level(level), on_unverified=tell)


async def test_a_block_that_fails_is_taken_from_another_node_and_its_node_is_blamed(
    pool_of: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    liar, honest = twisted(A, without_last_log), Chain(A)
    pool = await pool_of(liar, honest, sticky=True)
    told: list[Sequence[Unverified]] = []
    source = source_of(pool, told)
    blocks = await source.blocks(BlockRange(3, 6))
    assert blocks == tuple(A[3:7])
    assert [block.checks for block in blocks] == [int(ALL)] * 4
    [record] = [each for each in caplog.records if each.message == "block does not pass its checks"]
    assert "fails receipt_bloom: logsBloom of receipt" in vars(record)["why"]
    assert told == []
    await source.blocks(BlockRange(7, 8))
    assert [each.trusted for each in pool.endpoints] == [False, True]
    liar.asked.clear()
    assert await source.blocks(BlockRange(9, 12)) == tuple(A[9:13])
    assert liar.asked == []


async def test_what_no_node_serves_right_is_told_with_what_each_said(pool_of: Callable[..., Any]) -> None:
    def no_last_receipt(method: str, result: Any) -> Any:
        return result[:-1] if method == "eth_getBlockReceipts" and result else result

    pool = await pool_of(twisted(A, without_last_log), twisted(A, no_last_receipt))
    told: list[Sequence[Unverified]] = []
    with pytest.raises(Unverified, match="number of receipts is 5, expected 6"):
        await source_of(pool, told).blocks(BlockRange(3, 3))
    [failed] = told
    assert [(each.check, each.at) for each in failed] == [("receipt_bloom", A[3].ref), ("counts", A[3].ref)]
    assert [each.endpoint for each in failed] == [each.name for each in pool.endpoints]


async def test_a_node_that_is_right_at_the_second_time_is_not_blamed(pool_of: Callable[..., Any]) -> None:
    late = [1]

    def once(method: str, result: Any) -> Any:
        if method == "eth_getBlockReceipts" and late:
            late.pop()
            return without_last_log(method, result)
        return result

    pool = await pool_of(twisted(A, once))
    assert await source_of(pool).blocks(BlockRange(3, 3)) == (A[3],)
    assert late == []
    assert pool.endpoints[0].trusted


async def test_without_a_level_blocks_are_taken_as_they_come(pool_of: Callable[..., Any]) -> None:
    def other_miner(method: str, result: Any) -> Any:
        return {**result, "miner": "0x" + "99" * 20} if method == "eth_getBlockByNumber" else result

    pool = await pool_of(twisted(A, other_miner))
    [block] = await source_of(pool, level=NONE).blocks(BlockRange(3, 3))
    assert block.checks == 0
    [block] = await source_of(pool, level=ALL & ~Check.BLOCK_HASH).blocks(BlockRange(3, 3))
    assert block.checks == int(ALL & ~Check.BLOCK_HASH)
    with pytest.raises(Unverified, match="block_hash"):
        await source_of(pool).blocks(BlockRange(3, 3))


def test_trust_is_halved_by_each_failure_and_comes_back() -> None:
    trust = Trust()
    assert trust.score(1e9) == 1.0
    trust.failed(100.0)
    assert trust.score(100.0) == 0.5
    trust.failed(100.0)
    assert trust.score(100.0) == 0.25
    assert trust.score(100.0 + TRUST_BACK_S) == pytest.approx(0.625)
    assert trust.score(100.0 + 50 * TRUST_BACK_S) == pytest.approx(1.0)


def test_a_block_of_each_type_is_in_the_blocks_of_these_tests() -> None:
    assert {tx.type for tx in A[0].txs} == {tx.type for tx in one_of_each()} == {0, 1, 2, 3, 4}
