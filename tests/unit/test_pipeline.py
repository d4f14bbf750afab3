"""The pipeline between a node that fails, stalls and lies, and a store that refuses."""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from core.chain import ChainSource
from core.errors import BadAnswer, RpcRefused, RpcUnavailable, SeamBroken, StoreUnavailable
from core.service import first_of
from core.types import Block, BlockRange
from indexer.pipeline import FEWEST, Pipeline
from tests import make
from tests.unit.bulk import FakeHot, FakeNode, FakeStore, Wait, at_once, chunks, inline, moody

A = make.chain(120)
B = A[:50] + make.chain(70, onto=A[49], fork="b")
ALL = BlockRange(0, 119)
REFUSED = RpcRefused("node", "eth_getBlockReceipts", -32000, "pruned")


def pipeline(node: FakeNode, store: FakeStore, *, hot: FakeHot | None = None, **given: Any) -> Pipeline:
    source: ChainSource = node  # type: ignore[assignment]  # the careful path asks it for blocks only
    return Pipeline(node, source, hot or FakeHot(node), store, chunk_blocks=10, offload=inline, **given)


async def filled(node: FakeNode, store: FakeStore, hole: BlockRange = ALL, **given: Any) -> Pipeline:
    made = pipeline(node, store, **given)
    async with asyncio.timeout(20):
        await made.run(chunks(hole, 10))
    return made


def nothing_left(held: int = 0) -> None:
    left = [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert left == []
    assert held == 0


async def test_everything_is_stored_once_whatever_comes_first() -> None:
    dice = random.Random("order")
    node, store = FakeNode(A, wait=moody(dice)), FakeStore(A, wait=moody(dice))
    done = await filled(node, store)
    assert list(store.blocks) != sorted(store.blocks)
    assert store.order != sorted(store.order, reverse=True), "nothing was out of order"
    assert store.blocks == dict(enumerate(A))
    assert (done.progress.blocks, done.progress.rows, done.progress.careful_blocks) == (120, 120, 0)
    nothing_left()


@pytest.mark.parametrize("error", [REFUSED, BadAnswer("odd")])
async def test_chunks_that_the_node_cannot_serve_are_left_out_and_named_at_the_end(error: Exception) -> None:
    node, store = FakeNode(A), FakeStore(A)
    node.broken = {33: error, 77: error}
    with pytest.raises(type(error)):
        await filled(node, store)
    assert sorted(store.blocks) == [n for n in range(120) if n // 10 not in (3, 7)]
    assert bool(node.carefully) == isinstance(error, BadAnswer), "what a node refuses it refuses again"
    nothing_left()


@pytest.mark.parametrize("where", ["node", "store"])
async def test_an_outage_ends_the_run_at_once_and_what_was_stored_stays(where: str) -> None:
    node, store = FakeNode(A), FakeStore(A)
    if where == "node":
        node.broken = {33: RpcUnavailable("gone")}
    else:
        store.fails = {33}
    with pytest.raises(ExceptionGroup) as caught:
        await filled(node, store)
    assert isinstance(first_of(caught.value), RpcUnavailable if where == "node" else StoreUnavailable)
    assert 0 < len(store.blocks) < 120
    assert all(set(range(n // 10 * 10, n // 10 * 10 + 10)) <= set(store.blocks) for n in store.blocks)
    nothing_left()


@pytest.mark.parametrize("why", ["unusual", "refused"])
async def test_a_chunk_that_the_hot_path_or_the_database_refuses_goes_the_careful_way(why: str) -> None:
    node, store = FakeNode(A), FakeStore(A)
    (node.unusual if why == "unusual" else store.refuses).add(33)
    done = await filled(node, store)
    assert store.fills == node.carefully == [BlockRange(30, 39)]
    assert store.blocks == dict(enumerate(A))
    assert (done.progress.blocks, done.progress.careful_blocks, done.progress.txs) == (120, 10, 120)


class Fork(FakeNode):
    """Answers from another chain where it is asked the `nth` time, or carefully."""

    def __init__(self, other: Sequence[Block], at: int, *, carefully: bool) -> None:
        super().__init__(A)
        self.other, self.at, self._careful = other, at, carefully

    async def blocks(self, wanted: BlockRange) -> tuple[Block, ...]:
        found = await super().blocks(wanted)
        return tuple(self.other[wanted.first : wanted.last + 1]) if self._careful and self.at in wanted else found


@pytest.mark.parametrize("why", ["hot", "refused"])
@pytest.mark.parametrize("order", [1, 2, 3, 4, 5, 6])
async def test_a_seam_between_two_chunks_that_are_written_at_once_is_refused(why: str, order: int) -> None:
    dice = random.Random(order)
    forked = [*A[:60], *B[60:70], *A[70:]]
    if why == "hot":
        node, store = FakeNode(forked, wait=moody(dice)), FakeStore(forked, wait=moody(dice))
    else:
        node, store = Fork(B, 63, carefully=True), FakeStore(A, wait=moody(dice))
        store.refuses = {63}
    with pytest.raises(ExceptionGroup) as caught:
        await filled(node, store, BlockRange(40, 89))
    assert isinstance(first_of(caught.value), SeamBroken)
    stored = sorted(store.blocks)
    assert all(store.blocks[n].parent_hash == store.blocks[n - 1].hash for n in stored if n - 1 in store.blocks)


async def test_an_answer_about_other_blocks_is_left_out() -> None:
    class Elsewhere(FakeNode):
        async def answers(self, wanted: BlockRange) -> tuple[Sequence[bytes], Sequence[bytes]]:
            return await super().answers(BlockRange(wanted.first + 1, wanted.last + 1) if 33 in wanted else wanted)

    node, store = Elsewhere(A), FakeStore(A)
    with pytest.raises(BadAnswer, match=r"asked for blocks 30\.\.39"):
        await filled(node, store)
    assert sorted(store.blocks) == [n for n in range(120) if n // 10 != 3]


# -- budget ------------------------------------------------------------------------------------------------------------


class Scales:
    """Weighs what was answered and is not stored yet."""

    def __init__(self, size: Callable[[int], int], wait: Wait = at_once) -> None:
        self.chain = make.chain(600)
        self.size, self.wait = size, wait
        self.held = self.most = 0
        self.alone = True

    def node(self) -> FakeNode:
        scales = self

        class Weighed(FakeNode):
            async def answers(self, wanted: BlockRange) -> tuple[Sequence[bytes], Sequence[bytes]]:
                found = await super().answers(wanted)
                scales.held += sum(map(len, found[0]))
                scales.most = max(scales.most, scales.held)
                return found

        return Weighed(self.chain, size=self.size, wait=self.wait)

    def store(self) -> FakeStore:
        scales = self

        class Weighed(FakeStore):
            async def fill_chunk(self, chunk: Any, *, anchored: bool, lease: Any = None) -> None:
                await super().fill_chunk(chunk, anchored=anchored)
                scales.held -= sum(len(data) for piece in chunk.pieces for data in piece.copies.values())

        return Weighed(self.chain, wait=self.wait)


async def slow() -> None:
    for _ in range(40):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("size", "most"),
    [
        (lambda _: 1_000, 1.0),
        (lambda n: 800 + 37 * (n % 11), 1.1),
        (lambda n: 1_000 if n > 300 else 8_000, 2.5),  # history becomes heavier all at once
        (lambda n: 30_000 if n % 100 == 0 else 500, 2.0),
    ],
    ids=["even", "uneven", "step", "peaks"],
)
async def test_what_is_held_stays_within_the_budget(size: Callable[[int], int], most: float) -> None:
    scales = Scales(size)
    node, store = scales.node(), scales.store()
    store.wait = slow
    budget = 100_000
    made = pipeline(node, store, budget=budget)
    made.learn(1_000, 1)
    for _ in range(60):
        made.learn(1_000, 1)
    async with asyncio.timeout(60):
        await made.run(chunks(BlockRange(0, 599), 10))
    assert len(store.blocks) == 600
    assert scales.held == 0
    assert scales.most <= most * budget
    assert scales.most >= budget / 4, "the budget is there to be used"


async def test_a_chunk_larger_than_the_whole_budget_goes_alone() -> None:
    scales = Scales(lambda _: 2_000)
    made = pipeline(scales.node(), scales.store(), budget=1)
    async with asyncio.timeout(20):
        await made.run(chunks(BlockRange(0, 99), 10))
    assert scales.most == 20_000


# -- cancellation, deadlocks -------------------------------------------------------------------------------------------


async def test_a_run_that_is_cancelled_anywhere_leaves_no_task_and_no_half_chunk() -> None:
    for after in range(0, 100):
        dice = random.Random(after)
        node, store = FakeNode(A, wait=moody(dice)), FakeStore(A, wait=moody(dice))
        store.refuses = {55}
        run = asyncio.ensure_future(pipeline(node, store, budget=3_000_000).run(chunks(BlockRange(0, 119), 10)))
        for _ in range(after):
            await asyncio.sleep(0)
        if run.done():
            assert after > 20
            break
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert (node.flying, store.writing) == (0, 0)
        nothing_left()
        assert len(store.blocks) % 10 == 0


async def test_no_order_of_delays_and_failures_stops_it_for_ever() -> None:
    for seed in range(400):
        dice = random.Random(seed)
        node, store = FakeNode(A, wait=moody(dice)), FakeStore(A, wait=moody(dice))
        odd = dice.sample(range(120), dice.choice((0, 1, 3)))
        node.unusual, store.refuses = set(odd[:1]), set(odd[1:2])
        node.broken = {n: dice.choice((REFUSED, BadAnswer("odd"), RpcUnavailable("gone"))) for n in odd[2:]}
        store.fails = set(dice.sample(range(120), dice.choice((0, 0, 0, 1))))
        settings = {"writers": dice.choice((1, 2, 3, 7)), "budget": dice.choice((1, 10_000, 3_000_000, 10**9))}
        try:
            await filled(node, store, ALL, **settings)
        except* (BadAnswer, RpcRefused, RpcUnavailable, StoreUnavailable):
            assert node.broken or store.fails
        else:
            assert store.blocks == dict(enumerate(A)), seed
        left = {n // 10 for n in range(120) if n not in store.blocks}
        assert (
            not store.fails <= set(store.blocks) or left <= {n // 10 for n in node.broken} or node.broken or store.fails
        )
        nothing_left()


# -- requests in flight ------------------------------------------------------------------------------------------------


class Virtual(asyncio.SelectorEventLoop):
    """Time passes only while everybody sleeps."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0
        select = self._selector.select  # type: ignore[attr-defined]

        def skip(timeout: float | None = None) -> Any:
            self.seconds += timeout or 0.0
            return select(0)

        self._selector.select = skip  # type: ignore[attr-defined]

    def time(self) -> float:
        return self.seconds


class LoopClock:
    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()

    def monotonic(self) -> float:
        return self.loop.time()


def most_in_flight(slots: int, *, encode_s: float = 0.0) -> int:
    """Run against a node that serves `slots` requests at once, 0.1 s each; return how many were sent at once."""

    async def run(loop: Virtual) -> int:
        chain = make.chain(2_000)
        free = asyncio.Semaphore(slots)

        async def wait() -> None:
            async with free:
                await asyncio.sleep(0.1)

        class Slow(FakeHot):
            def encode(self, raw_blocks: Sequence[bytes], raw_receipts: Sequence[bytes]) -> Any:
                loop.seconds += encode_s
                return super().encode(raw_blocks, raw_receipts)

        node, store = FakeNode(chain, size=lambda _: 400_000, wait=wait), FakeStore(chain)
        made = pipeline(node, store, hot=Slow(node), budget=10**9, clock=LoopClock())
        await made.run(chunks(BlockRange(0, 1_999), 10))
        assert len(store.blocks) == 2_000
        return node.most_flying

    with asyncio.Runner(loop_factory=Virtual) as runner:
        return runner.run(run(runner.get_loop()))  # type: ignore[arg-type]


def test_more_requests_are_sent_while_the_node_takes_them_and_the_encoder_waits() -> None:
    assert most_in_flight(1_000) > 8 * FEWEST


def test_no_more_requests_are_sent_when_they_queue_up_at_the_node() -> None:
    assert FEWEST <= most_in_flight(4) <= 3 * FEWEST


def test_no_more_requests_are_sent_than_keep_the_encoder_busy() -> None:
    assert most_in_flight(1_000, encode_s=0.05) < 4 * FEWEST
