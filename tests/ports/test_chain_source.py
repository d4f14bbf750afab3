"""ChainSource: one suite for RpcSource, against a scripted node and a recorded one, and for the simulation's node."""

import asyncio
import traceback
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web

from core.chain import ChainSource
from core.errors import BadAnswer, RpcRefused, RpcUnavailable, WrongChain
from core.rpc.client import RpcClient
from core.rpc.pool import RpcPool
from core.rpc.source import RpcSource, chain_id
from core.types import BlockRange
from devnet.recorded.folder import Recording
from devnet.recorded.node import RecordedNode
from devnet.recorded.node import serving as recorded_serving
from simulator.node import Node
from tests import make
from tests.make import record
from tests.ports.node import CHAIN_ID, Chain, serving
from tests.sim.still import still_world

A = make.chain(30, txs=3)


@pytest.fixture
async def chain() -> Chain:
    return Chain(list(A))


@pytest.fixture
async def url(chain: Chain) -> AsyncIterator[str]:
    async with serving(chain) as served:
        yield served


@pytest.fixture
async def rpc(url: str) -> AsyncIterator[RpcSource]:
    async with RpcPool([RpcClient(url, deadline_s=5)], attempts=2) as client:
        yield RpcSource(client, CHAIN_ID, genesis_hash=A[0].hash, batch_blocks=4)


@pytest.fixture
async def single(url: str, chain: Chain) -> AsyncIterator[RpcSource]:
    chain.block_receipts = False
    async with RpcPool([RpcClient(url, deadline_s=5)], attempts=2) as client:
        yield RpcSource(client, CHAIN_ID, batch_blocks=4)


@pytest.fixture
async def recorded(tmp_path: Path) -> AsyncIterator[RpcSource]:
    recording = Recording(record(tmp_path, A))
    async with (
        recorded_serving(RecordedNode(recording)) as port,
        RpcClient(f"http://127.0.0.1:{port}", deadline_s=5) as client,
    ):
        yield RpcSource(client, CHAIN_ID, genesis_hash=A[0].hash, batch_blocks=4)


@pytest.fixture
async def simulated() -> ChainSource:
    return Node(still_world(A), part=4)


@pytest.fixture(params=["rpc", "single", "recorded", "simulated"])
def source(request: pytest.FixtureRequest) -> ChainSource:
    """A source of chain A, of every kind in turn."""
    made: ChainSource = request.getfixturevalue(request.param)
    return made


# -- every source ------------------------------------------------------------------------------------------------------


async def test_the_head_is_the_newest_block(source: ChainSource) -> None:
    assert await source.head() == A[-1].head


async def test_a_block_is_named_by_number_and_hash(source: ChainSource) -> None:
    assert await source.ref_at(0) == A[0].ref
    assert await source.ref_at(17) == A[17].ref
    assert await source.ref_at(30) is None


@pytest.mark.parametrize(("first", "last"), [(0, 0), (0, 29), (3, 6), (5, 17), (29, 29)])
async def test_blocks_come_whole_and_in_order(source: ChainSource, first: int, last: int) -> None:
    assert await source.blocks(BlockRange(first, last)) == tuple(A[first : last + 1])


async def test_blocks_end_where_the_chain_ends(source: ChainSource) -> None:
    assert await source.blocks(BlockRange(26, 40)) == tuple(A[26:])
    assert await source.blocks(BlockRange(30, 31)) == ()


async def test_a_node_of_the_right_chain_is_verified(source: ChainSource) -> None:
    await source.verify()


# -- RpcSource alone ---------------------------------------------------------------------------------------------------


async def test_nothing_a_node_said_is_lost(chain: Chain, rpc: RpcSource) -> None:
    odd = make.tx(0, to=None, signature=bytes(64), extra='{"accessList":[]}', type=1, fee_cap=None, tip_cap=None,
                  receipt=make.receipt(contract_address=make.address("new"), extra='{"l1Fee":"0x1"}'))  # fmt: skip
    old = make.tx(1, v=None, signature=None, gas_price=None, receipt=make.receipt(status=None, root=bytes(32)))
    chain.blocks[29] = make.block(29, A[28].hash, txs=[odd, old], extra='{"withdrawals":[]}', total_difficulty=9)
    assert await rpc.blocks(BlockRange(29, 29)) == (chain.blocks[29],)


async def test_another_chain_id_is_another_chain(chain: Chain, rpc: RpcSource) -> None:
    chain.chain_id = 8
    with pytest.raises(WrongChain, match="chain id is 8, expected 7"):
        await rpc.verify()


async def test_another_genesis_is_another_chain(chain: Chain, rpc: RpcSource) -> None:
    chain.blocks = make.chain(5, fork="replaced")
    with pytest.raises(WrongChain, match="replaced"):
        await rpc.verify()


async def test_a_node_without_block_receipts_is_asked_for_each_and_only_once_found_out(
    chain: Chain, single: RpcSource
) -> None:
    for _ in range(2):
        await single.blocks(BlockRange(0, 3))
    assert chain.asked.count("eth_getBlockReceipts") == 1
    assert chain.asked.count("eth_getTransactionReceipt") == 24


def null_receipts(method: str, result: object) -> object:
    return None if "Receipt" in method else result


def empty_receipts(method: str, result: object) -> object:
    return [] if "Receipt" in method else result


def of_another_fork(method: str, result: object) -> object:
    return [r | {"blockHash": "0x" + "11" * 32} for r in result] if isinstance(result, list) else result


def one_log_less(method: str, result: object) -> object:
    if not isinstance(result, list):
        return result
    return [result[0] | {"logs": []}, *result[1:]]


def null_head(method: str, result: object) -> object:
    return result if method == "eth_chainId" else None


def pending(method: str, result: object) -> object:
    return result | {"hash": None, "number": None} if isinstance(result, dict) else result


@pytest.mark.parametrize("twist", [null_receipts, empty_receipts, of_another_fork, one_log_less, pending])
async def test_an_answer_that_contradicts_itself_is_refused(
    chain: Chain, rpc: RpcSource, twist: Callable[[str, object], object]
) -> None:
    chain.twist = twist
    with pytest.raises(BadAnswer):
        await rpc.blocks(BlockRange(3, 5))


async def test_a_block_with_another_number_is_refused(chain: Chain, rpc: RpcSource) -> None:
    chain.blocks[3] = A[4]
    with pytest.raises(BadAnswer, match="asked for block 3, got 4"):
        await rpc.blocks(BlockRange(3, 3))
    with pytest.raises(BadAnswer, match="asked for block 3, got 4"):
        await rpc.ref_at(3)


async def test_no_latest_block_is_a_bad_answer(chain: Chain, rpc: RpcSource) -> None:
    chain.twist = null_head
    with pytest.raises(BadAnswer, match="null"):
        await rpc.head()


def null_for_the_first(times: int, asked_for: Callable[[str, object], bool]) -> Callable[[str, object], object]:
    """A twist: the first `times` answers that `asked_for` picks are null."""
    left = [times]

    def twist(method: str, result: object) -> object:
        if asked_for(method, result) and left[0]:
            left[0] -= 1
            return None
        return result

    return twist


def block_five(method: str, result: object) -> bool:
    return isinstance(result, dict) and result.get("number") == "0x5"


def receipts_of_five(method: str, result: object) -> bool:
    return "Receipt" in method and isinstance(result, list) and bool(result) and result[0]["blockNumber"] == "0x5"


def a_receipt_of_five(method: str, result: object) -> bool:
    return method == "eth_getTransactionReceipt" and isinstance(result, dict) and result["blockNumber"] == "0x5"


@pytest.mark.parametrize("missing", [block_five, receipts_of_five])
async def test_what_is_null_twice_is_asked_for_again(
    chain: Chain, rpc: RpcSource, missing: Callable[[str, object], bool]
) -> None:
    chain.twist = null_for_the_first(2, missing)
    assert await rpc.blocks(BlockRange(3, 12)) == tuple(A[3:13])


async def test_a_receipt_that_is_null_twice_is_asked_for_again(chain: Chain, single: RpcSource) -> None:
    chain.twist = null_for_the_first(2, a_receipt_of_five)
    assert await single.blocks(BlockRange(3, 12)) == tuple(A[3:13])


@pytest.mark.parametrize("missing", [block_five, receipts_of_five])
async def test_what_stays_null_below_the_head_is_a_bad_answer(
    chain: Chain, rpc: RpcSource, missing: Callable[[str, object], bool]
) -> None:
    chain.twist = null_for_the_first(1000, missing)
    with pytest.raises(BadAnswer, match=r"block 5.*null"):
        await rpc.blocks(BlockRange(3, 12))


# -- transport ---------------------------------------------------------------------------------------------------------


def response(status: int, text: str = "slow down") -> web.Response:
    return web.Response(status=status, text=text)


@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_a_busy_node_is_asked_again(chain: Chain, rpc: RpcSource, status: int) -> None:
    chain.responses = [response(status)]
    assert await rpc.ref_at(0) == A[0].ref


async def test_a_node_that_stays_busy_is_unavailable(chain: Chain, rpc: RpcSource) -> None:
    chain.responses = [response(503), response(503)]
    with pytest.raises(RpcUnavailable, match="HTTP 503: slow down"):
        await rpc.ref_at(0)
    assert chain.responses == []


async def test_a_page_instead_of_a_node_is_a_refusal_that_shows_no_key(chain: Chain, url: str) -> None:
    key = "0123456789abcdef0123"
    chain.responses = [response(404, f"Cannot POST /v3/{key}"), response(200, "<html>")]
    async with RpcClient(f"{url}/v3/{key}?token={key}") as client:
        with pytest.raises(RpcRefused) as refused:
            await chain_id(client)
        with pytest.raises(BadAnswer) as bad:
            await chain_id(client)
    assert key not in whole_text(refused.value) + whole_text(bad.value)


@pytest.mark.parametrize("path", ["/v3/{key}", "/?token={key}", "/{key}/{key}"])
@pytest.mark.parametrize("address", ["127.0.0.1:1", "name.invalid", "user:{key}@127.0.0.1:1"])
async def test_an_unreachable_node_shows_no_key(path: str, address: str) -> None:
    key = "0123456789abcdef0123"
    async with RpcClient(f"http://{address}{path}".replace("{key}", key), deadline_s=3) as client:
        with pytest.raises(RpcUnavailable) as caught:
            await client.call("eth_chainId")
    assert key not in whole_text(caught.value)


async def test_a_silent_node_is_unavailable_after_its_deadline(chain: Chain, url: str) -> None:
    def never(method: str, result: object) -> object:
        raise asyncio.CancelledError

    chain.twist = never
    async with RpcClient(url, deadline_s=0.2) as client:
        with pytest.raises(RpcUnavailable):
            await client.call("eth_chainId")


async def test_a_closed_client_is_unavailable(url: str) -> None:
    client = RpcClient(url)
    with pytest.raises(RpcUnavailable, match="closed"):
        await client.call("eth_chainId")


def whole_text(error: BaseException) -> str:
    """Return what a log would show of an error, its causes included."""
    return "".join(traceback.format_exception(error)) + str(error)
