"""The pool's rules against clients that say what the test wants, on a clock that the test turns."""

import asyncio
import random
from collections.abc import Callable, Sequence

import msgspec
import pytest

from core.errors import BadAnswer, RpcLimited, RpcRefused, RpcTimedOut, RpcUnavailable, WrongChain
from core.rpc.client import Call, RpcClient
from core.rpc.pool import RpcPool, labels, oldest_block
from core.rpc.source import RpcSource
from tests.unit.clocks import FakeClock

Say = Callable[[], object]
CALLS: Sequence[Call] = [("eth_getBlockByNumber", ("0x5", True)), ("eth_getBlockReceipts", ("0x5",))]


def down() -> object:
    raise RpcUnavailable("down")


class Fake(RpcClient):
    """Answers every call with what `say` returns, or raises; chain id 7."""

    def __init__(self, name: str, say: Say = lambda: "fine") -> None:
        super().__init__(f"http://{name}.test")
        self.say = say
        self.asked: list[str] = []
        self.chain_id = "0x7"

    async def raw(self, method: str, *params: object) -> msgspec.Raw:
        self.asked.append(method)
        said = self.say()
        return msgspec.Raw(msgspec.json.encode(self.chain_id if method == "eth_chainId" else said))

    async def batch_each(self, calls: Sequence[Call]) -> list[msgspec.Raw | RpcRefused]:
        self.asked.append("batch")
        said = self.say()
        return [said if isinstance(said, RpcRefused) else msgspec.Raw(msgspec.json.encode(said)) for _ in calls]

    async def call(self, method: str, *params: object) -> object:
        return msgspec.json.decode(await self.raw(method, *params))


def pool_of(*clients: Fake, clock: FakeClock | None = None, sticky: bool = False) -> RpcPool:
    return RpcPool(clients, chain_id=7, sticky=sticky, clock=clock or FakeClock(), dice=random.Random(1))


async def test_an_unavailable_node_is_asked_a_few_times_and_a_refusal_is_an_answer() -> None:
    node = Fake("a")
    pool = pool_of(node)
    await pool.call("eth_a")
    node.say = down
    with pytest.raises(RpcUnavailable, match="down"):
        await pool.call("eth_a")
    assert len(node.asked) - 2 == 4
    refusing = Fake("b")
    pool = pool_of(refusing)
    await pool.call("eth_a")

    def no() -> object:
        raise RpcRefused("b", "eth_a", 3, "execution reverted")

    refusing.say = no
    with pytest.raises(RpcRefused):
        await pool.call("eth_a")
    assert refusing.asked.count("eth_a") == 2


@pytest.mark.parametrize(
    "error",
    [
        RpcUnavailable("x"),
        RpcTimedOut("x"),
        BadAnswer("x"),
        RpcRefused("a", "eth_a", -403, "HTTP 403"),
        RpcRefused("a", "eth_a", -32601, "x"),
    ],
)
async def test_what_one_node_cannot_answer_is_asked_of_the_next_at_once(error: Exception) -> None:
    first, second, clock = Fake("a"), Fake("b"), FakeClock()
    pool = pool_of(first, second, clock=clock)
    await pool.call("eth_a")

    def fail() -> object:
        raise error

    first.say = fail
    assert await pool.call("eth_a") == "fine"
    assert clock.slept == []


async def test_the_wait_that_a_node_asks_for_is_kept() -> None:
    node, clock = Fake("a"), FakeClock()
    pool = pool_of(node, clock=clock)
    await pool.call("eth_a")
    waits = [RpcLimited("slow down", 7.0)]

    def limited() -> object:
        if waits:
            raise waits.pop()
        return "fine"

    node.say = limited
    started = clock.seconds
    assert await pool.call("eth_a") == "fine"
    assert 7.0 <= clock.seconds - started <= 8.0


async def test_a_node_that_wants_a_long_wait_is_passed_over_meanwhile() -> None:
    first, second, clock = Fake("a"), Fake("b"), FakeClock()
    pool = pool_of(first, second, clock=clock)
    await pool.call("eth_a")

    def limited() -> object:
        raise RpcLimited("quota", 30.0)

    first.say = limited
    asked = len(first.asked)
    for _ in range(5):
        assert await pool.call("eth_a") == "fine"
    assert (len(first.asked) - asked, clock.slept) == (1, [])
    first.say = lambda: "fine"
    clock.seconds += 30.0
    await pool.call("eth_a")
    assert len(first.asked) - asked == 2


@pytest.mark.parametrize("code", [-32005, 429, -32022])
async def test_a_limit_within_a_batch_is_one_for_the_whole_batch(code: int) -> None:
    node, clock = Fake("a"), FakeClock()
    pool = pool_of(node, clock=clock)
    refusals = [RpcRefused("a", "eth_getBlockByNumber", code, "over compute unit limit, retry in 2 seconds")]
    await pool.call("eth_a")
    node.say = lambda: refusals.pop() if refusals else "fine"
    assert [bytes(each) for each in await pool.batch(CALLS)] == [b'"fine"'] * 2
    assert node.asked.count("batch") == 2
    assert sum(clock.slept) >= 2.0
    assert pool.width == 4


async def test_of_a_node_that_was_out_one_request_finds_out_if_it_still_is() -> None:
    first, second, clock = Fake("a"), Fake("b"), FakeClock()
    pool = pool_of(first, second, clock=clock)
    await pool.call("eth_a")
    first.say = down
    for _ in range(4):
        await pool.call("eth_a")
    assert first.asked.count("eth_a") == 1 + 3  # three failures, and it is out
    first.asked.clear()
    clock.seconds += 20.0
    answers = await asyncio.gather(*(pool.call("eth_a") for _ in range(10)))
    assert answers == ["fine"] * 10
    assert first.asked == ["eth_chainId"]


async def test_a_node_that_is_out_is_asked_again_when_the_other_serves_another_chain() -> None:
    first, second, clock = Fake("a"), Fake("b"), FakeClock()
    pool = pool_of(first, second, clock=clock)
    first.say = down
    second.chain_id = "0x8"
    with pytest.raises(RpcUnavailable):
        await pool.call("eth_a")
    first.say = lambda: "fine"
    clock.seconds += 20.0
    assert await pool.call("eth_a") == "fine"
    assert "eth_a" not in second.asked


async def test_a_node_found_to_be_of_another_chain_by_its_reader_is_replaced() -> None:
    first, second = Fake("a"), Fake("b")
    pool = pool_of(first, second)
    source = RpcSource(pool, 7)
    await source.verify()
    first.chain_id = "0x8"
    await source.verify()
    assert second.asked == ["eth_chainId", "eth_chainId"]
    second.chain_id = "0x9"
    with pytest.raises(WrongChain, match=r"a\.test.*8.*b\.test.*9"):
        await source.verify()


async def test_those_that_wait_for_a_node_that_goes_out_go_to_the_next() -> None:
    first, second = Fake("a"), Fake("b")
    pool = pool_of(first, second)
    await pool.call("eth_a")
    gate, held = asyncio.Event(), [0]

    async def hang(method: str, *params: object) -> msgspec.Raw:
        held[0] += 1
        await gate.wait()
        raise RpcTimedOut("no answer within 20 s")

    first.raw = hang  # type: ignore[method-assign]
    waiting = [asyncio.create_task(pool.call("eth_a")) for _ in range(40)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert held[0] == 8
    gate.set()
    assert await asyncio.gather(*waiting) == ["fine"] * 40
    assert held[0] < 12
    assert (pool.endpoints[0].under_way, len(pool.endpoints[0].queued)) == (0, 0)


async def test_a_turn_that_comes_together_with_a_cancellation_is_passed_on() -> None:
    endpoint = pool_of(Fake("a")).endpoints[0]
    for _ in range(endpoint.width):
        await endpoint._enter(1)
    given_up, patient = (asyncio.create_task(endpoint._enter(1)) for _ in range(2))
    await asyncio.sleep(0)
    endpoint._leave()
    given_up.cancel()
    async with asyncio.timeout(1):
        await patient
    assert given_up.cancelled()
    assert endpoint.under_way == endpoint.width


async def test_a_block_refused_as_an_archive_request_is_asked_of_the_archive_first_from_then_on() -> None:
    first, second = Fake("a"), Fake("b")
    pool = pool_of(first, second)
    await pool.raw("eth_getBlockByNumber", "0x99", False)
    refusal = RpcRefused("a", "eth_getBlockByNumber", -32701, "Archive requests require a personal token")

    def archive() -> object:
        raise refusal

    first.say = archive
    for _ in range(3):
        await pool.raw("eth_getBlockByNumber", "0x5", False)
    assert first.asked.count("eth_getBlockByNumber") == 2


async def test_an_answer_that_the_asker_cannot_use_is_asked_of_the_next_node() -> None:
    first, second = Fake("a"), Fake("b")
    pool = pool_of(first, second)
    seen: list[str] = []

    async def ask(seat: object) -> str:
        seen.append(seat.host)  # type: ignore[attr-defined]
        if len(seen) == 1:
            raise BadAnswer("contradicts itself")
        return "used"

    assert await pool.answer(ask) == "used"
    assert seen == ["http://a.test", "http://b.test"]


@pytest.mark.parametrize(
    ("calls", "oldest"),
    [
        (CALLS, 5),
        ([("eth_getBlockByNumber", ("latest", False))], None),
        ([("eth_getLogs", ({"fromBlock": "0x10", "toBlock": "0x20"},))], 16),
        ([("eth_call", ({"to": "0x00"}, "0x7")), ("eth_getBlockByNumber", ("0x9", False))], 7),
        ([("eth_getTransactionReceipt", ("0x" + "11" * 32,))], None),
        ([("eth_chainId", ())], None),
    ],
)
def test_the_oldest_block_that_is_asked_about_is_known(calls: Sequence[Call], oldest: int | None) -> None:
    assert oldest_block(calls) == oldest


def test_nodes_are_named_by_host_and_told_apart() -> None:
    urls = ["https://a.test/v3/KEY", "https://b.test:1/KEY", "https://u:KEY@a.test/?k=KEY", "http://[::1]:9"]
    assert labels(urls) == ["a.test", "b.test:1", "a.test#2", "::1:9"]
