"""What several endpoints say of the head, on a clock that the test turns."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import msgspec
import pytest

from core.errors import RpcRefused, RpcUnavailable
from core.rpc.client import Call, RpcClient
from core.rpc.encode import encode_block
from core.rpc.endpoint import Aside
from core.rpc.panel import LAG_BLOCKS, LAG_S, LAST_WORD_S, HeadPanel, judge_lag
from core.rpc.pool import RpcPool
from core.types import Block, Head
from tests import make
from tests.unit.clocks import TurnedClock

A = make.chain(30)
B = A[:20] + make.chain(10, onto=A[19], fork="b")
C = A[:20] + make.chain(10, onto=A[19], fork="c")
AGREE_S = 0.5


class Node(RpcClient):
    """Answers from `blocks`, unless `error` is set or it `hangs`."""

    def __init__(self, name: str, blocks: Sequence[Block]) -> None:
        super().__init__(f"http://{name}.test")
        self.blocks = list(blocks)
        self.error: Exception | None = None
        self.hangs = False
        self.asked = 0

    async def raw(self, method: str, *params: object) -> msgspec.Raw:
        if method == "eth_chainId":
            return msgspec.Raw(b'"0x7"')
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        tag = params[0]
        number = len(self.blocks) - 1 if tag == "latest" else int(str(tag), 16)
        known = number < len(self.blocks)
        return msgspec.Raw(msgspec.json.encode(encode_block(self.blocks[number]) if known else None))

    async def call(self, method: str, *params: object) -> object:
        return msgspec.json.decode(await self.raw(method, *params))

    async def batch_each(self, calls: Sequence[Call]) -> list[msgspec.Raw | RpcRefused]:
        return [await self.raw(method, *params) for method, params in calls]


class Votes:
    def __init__(self) -> None:
        self.outcomes: list[str] = []

    def voted(self, outcome: str) -> None:
        self.outcomes.append(outcome)


class Bench:
    def __init__(self, *chains: Sequence[Block]) -> None:
        self.clock, self.votes = TurnedClock(), Votes()
        self.nodes = [Node("abc"[n], chain) for n, chain in enumerate(chains)]
        self.pool = RpcPool(self.nodes, chain_id=7, sticky=True, clock=self.clock)
        self.panel = HeadPanel(self.pool, self.votes, name="t", agree_s=AGREE_S, clock=self.clock)

    def asked(self, head: Head) -> "asyncio.Task[Head]":
        return asyncio.ensure_future(self.panel.agreed(head))

    async def agreed(self, head: Head, seconds: float = 0.0) -> Head:
        task = self.asked(head)
        await self.clock.turn(seconds)
        assert task.done(), f"not agreed within {seconds} s"
        return task.result()

    async def look(self, seconds: float = 0.0) -> None:
        task = asyncio.ensure_future(self.panel.look())
        await self.clock.turn(seconds)
        await task

    @property
    def aside(self) -> list[str]:
        return [each.aside.value for each in self.pool.endpoints]


async def test_a_head_that_two_have_is_taken_at_once() -> None:
    bench = Bench(A[:26], A[:26])
    assert await bench.agreed(A[25].head) == A[25].head
    assert (bench.votes.outcomes, bench.clock.seconds) == (["agreed"], 1_000.0)


async def test_a_head_that_was_taken_is_not_asked_about_again() -> None:
    bench = Bench(A[:26], A[:26])
    await bench.agreed(A[25].head)
    asked = [node.asked for node in bench.nodes]
    assert await bench.agreed(A[25].head) == A[25].head
    assert [node.asked for node in bench.nodes] == asked


async def test_a_head_waits_for_the_second_node_to_have_it() -> None:
    bench = Bench(A[:26], A[:25])
    task = bench.asked(A[25].head)
    await bench.clock.turn(0.1)
    assert not task.done()
    bench.nodes[1].blocks = A[:26]
    await bench.clock.turn(0.15)
    assert task.result() == A[25].head
    assert bench.votes.outcomes == ["agreed"]


@pytest.mark.parametrize("why", ["behind", "refuses", "hangs", "fails"])
async def test_without_a_second_word_it_is_taken_after_a_bounded_wait(why: str) -> None:
    bench = Bench(A[:26], A[:26])
    await bench.agreed(A[24].head)
    second = bench.nodes[1]
    if why == "behind":
        second.blocks = A[:25]
    elif why == "refuses":  # how some say that they do not have it yet
        second.error = RpcRefused("b", "eth_getBlockByNumber", -32019, "block is out of range")
    elif why == "hangs":
        second.hangs = True
    else:
        second.error = RpcUnavailable("down")
    started = bench.clock.seconds
    task = bench.asked(A[25].head)
    while not task.done():
        await bench.clock.turn(0.05)
    assert task.result() == A[25].head
    assert bench.clock.seconds - started <= AGREE_S + 0.1
    assert bench.votes.outcomes[-1] == "alone"


async def test_two_that_differ_are_no_majority_and_the_one_that_is_read_from_is_believed() -> None:
    bench = Bench(A[:26], B[:26])
    assert await bench.agreed(B[25].head) == A[25].head
    assert (bench.votes.outcomes, bench.aside) == (["split"], ["", ""])


async def test_the_majority_outvotes_the_node_that_is_read_from_which_is_then_passed_over() -> None:
    bench = Bench(B[:26], A[:26], A[:26])
    assert await bench.agreed(B[25].head) == A[25].head
    assert bench.aside == ["forked", "", ""]
    assert bench.pool.preferred.name == "b.test"
    assert bench.votes.outcomes == ["agreed"]


async def test_the_last_word_of_the_node_that_is_read_from_is_waited_for_but_not_for_long() -> None:
    bench = Bench(A[:26], A[:26], A[:26])
    await bench.agreed(A[24].head)
    bench.nodes[0].hangs = True
    started = bench.clock.seconds
    task = bench.asked(A[25].head)
    await bench.clock.turn(LAST_WORD_S * 1.1)
    assert task.result() == A[25].head
    assert bench.clock.seconds - started < AGREE_S


async def test_a_forked_node_comes_back_when_it_has_the_others_block() -> None:
    bench = Bench(A[:26], A[:26], B[:26])
    await bench.agreed(A[25].head)
    await bench.look()
    assert bench.aside == ["", "", "forked"]
    bench.nodes[2].blocks = A[:27]
    await bench.look()
    assert bench.aside == ["", "", ""]


async def test_a_node_that_is_aside_is_not_waited_for() -> None:
    bench = Bench(A[:26], A[: 25 - LAG_BLOCKS])
    await bench.look()
    assert bench.aside == ["", "lagging"]
    assert await bench.agreed(A[25].head) == A[25].head
    assert (bench.votes.outcomes, bench.clock.seconds) == (["alone"], 1_000.0)


async def test_a_lagging_node_is_passed_over_and_comes_back_once_it_keeps_up() -> None:
    bench = Bench(A[:20], A[:26])
    await bench.look()
    assert bench.aside == ["lagging", ""]
    assert bench.pool.preferred.name == "b.test"
    bench.nodes[0].blocks = A[:24]  # two behind: not enough to be put aside, not enough to come back
    await bench.look()
    assert bench.aside == ["lagging", ""]
    bench.nodes[0].blocks = A[:25]
    await bench.look()
    assert bench.aside == ["", ""]
    assert bench.pool.preferred.name == "a.test"


async def test_two_blocks_behind_are_lagging_where_they_are_long() -> None:
    for seconds, aside in ((LAG_S, ["", ""]), (LAG_S + 1, ["", "lagging"])):
        bench = Bench(A, A)
        newest = replace(A[25].head, timestamp=A[23].head.timestamp + int(seconds))
        judge_lag(dict(zip(bench.pool.endpoints, (newest, A[23].head), strict=True)))
        assert bench.aside == aside


async def test_one_node_far_ahead_of_two_puts_nobody_aside() -> None:
    bench = Bench(A[:10], A[:10], A[:30])
    await bench.look()
    assert bench.aside == ["", "", ""]


async def test_one_that_never_answers_is_out_after_a_few_looks() -> None:
    bench = Bench(A[:26], A[:26])
    await bench.look()
    bench.nodes[1].hangs = True
    for _ in range(3):
        await bench.look(6.0)
    assert bench.pool.endpoints[1].out
    assert Aside.NO is bench.pool.endpoints[1].aside
