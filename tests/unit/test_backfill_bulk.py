"""Backfill with a pipeline: what goes in bulk, what is looked at, and what is left after a failure."""

import asyncio
from collections.abc import Sequence

import pytest

from core.errors import RpcUnavailable, SeamBroken, StoreUnavailable, Unverified, WrongChain
from core.store.bulk import Chunk
from core.store.lease import Lease
from core.store.memory import MemoryStore
from core.types import Block, BlockRange, BlockRef
from indexer.backfill import Backfill, WantedRange
from indexer.pipeline import Pipeline
from tests import make
from tests.unit.bulk import FakeHot, FakeNode
from tests.unit.test_backfill import Still

A = make.chain(100)
B = A[:40] + make.chain(60, onto=A[39], fork="b")


class Store(MemoryStore):
    """A MemoryStore that takes chunks, with all its checks, and can fail."""

    def __init__(self, *, headless: bool = False) -> None:
        super().__init__()
        self.headless = headless
        self.in_bulk: list[BlockRange] = []
        self.joins = 0
        self.broken: Exception | None = None

    async def fill_chunk(self, chunk: Chunk, *, anchored: bool, lease: Lease | None = None) -> None:
        await self.fill(chunk.headers, anchored=anchored)
        self.in_bulk.append(BlockRange(chunk.headers[0].number, chunk.headers[-1].number))

    async def begin(self, block: Block, *, after: BlockRef | None = None) -> None:
        """Store a block for history to be filled below."""
        await self.commit([block], after=after)

    async def join_coverage(self) -> None:
        self.joins += 1
        if self.broken is not None:
            raise self.broken

    def _check_below_cursor(self, last: Block) -> None:
        if not self.headless:
            super()._check_below_cursor(last)


class Both(Still):
    """A node for both ways."""

    def __init__(self, chain: list[Block]) -> None:
        super().__init__(chain)
        self.raw = FakeNode(chain)


async def store_of(*spans: tuple[int, int], chain: Sequence[Block] = A) -> Store:
    made, after = Store(), None
    for first, last in spans:
        await made.commit(chain[first : last + 1], after=after)
        after = chain[last].ref
    return made


def backfill(node: Both, into: Store, *wanted: WantedRange, headless: bool = False) -> Backfill:
    bulk = Pipeline(node.raw, node, FakeHot(node.raw), into, chunk_blocks=5)

    async def horizon() -> int:
        return 99

    given = {"horizon": horizon, "jumps": False} if headless else {}
    return Backfill(
        node,
        into,
        wanted,
        name="t",
        chunk_blocks=5,
        settled_blocks=0 if headless else 10,
        bulk=bulk,
        **given,  # type: ignore[arg-type]
    )


async def until_done(filling: Backfill) -> None:
    async with asyncio.timeout(10):
        while await filling.step():
            pass


async def test_settled_history_goes_in_bulk_and_what_a_reorg_may_reach_does_not() -> None:
    into, node = await store_of((90, 91)), Both(A)
    await until_done(backfill(node, into, WantedRange(0)))
    assert await into.coverage() == (BlockRange(0, 91),)
    assert {span.last for span in into.in_bulk} == set(range(4, 80, 5))
    assert node.wanted == [BlockRange(85, 89), BlockRange(80, 84)]
    assert into.joins == 1


async def test_whoever_is_told_to_stop_while_a_block_is_set_aside_stops() -> None:
    class Late(Still):
        """A node that tells of a bad block to whoever hangs up."""

        asked = asyncio.Event()

        async def blocks(self, wanted: BlockRange) -> tuple[Block, ...]:
            self.asked.set()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                raise Unverified(A[wanted.first].ref, "counts", "receipts", "1", "0") from None
            return ()

    node = Late(A)
    filling = Backfill(node, await store_of((90, 91)), [WantedRange(0)], name="t", chunk_blocks=5, settled_blocks=10)
    running = asyncio.create_task(filling.run())
    await node.asked.wait()
    running.cancel()
    await asyncio.wait([running], timeout=5)
    assert running.cancelled()


async def test_the_chunk_above_a_stored_range_looks_at_what_it_joins() -> None:
    into, node = await store_of((20, 22), (90, 91)), Both(A)
    await until_done(backfill(node, into))
    assert await into.coverage() == (BlockRange(20, 91),)
    assert min(span.first for span in into.in_bulk) == 28
    assert BlockRange(23, 27) in node.wanted


async def test_a_lower_range_that_was_orphaned_meanwhile_is_discarded_after_the_bulk() -> None:
    into = await store_of((30, 45))
    await into.commit(B[95:97], after=A[45].ref)
    node = Both(B)
    await until_done(backfill(node, into))
    assert into.in_bulk
    assert {n: block.hash for n, block in into.blocks.items()} == {n: B[n].hash for n in range(30, 97)}
    assert [orphan.block.number for orphan in into.orphans] == list(range(40, 46))


async def test_a_hole_of_a_chunk_or_less_does_not_go_in_bulk() -> None:
    into, node = await store_of((20, 22), (33, 34), (90, 91)), Both(A)
    filling = backfill(node, into, WantedRange(20, 32))
    filling._jumps = False
    await until_done(filling)
    assert into.in_bulk == []
    assert await into.coverage() == (BlockRange(20, 34), BlockRange(90, 91))


async def test_a_range_is_filled_before_there_is_a_cursor() -> None:
    into, node = Store(headless=True), Both(A)
    await until_done(backfill(node, into, WantedRange(0, 49), headless=True))
    assert await into.coverage() == (BlockRange(0, 49),)
    assert node.wanted == []


async def test_a_range_above_that_the_node_has_left_is_discarded_and_filled_again() -> None:
    into = await store_of((90, 91), chain=B)
    await into.fill(A[60:65], anchored=False)
    node = Both(B)
    filling = backfill(node, into, WantedRange(0, 64))
    with pytest.raises(SeamBroken):
        await until_done(filling)
    assert 60 not in into.blocks
    await until_done(filling)
    assert {n: into.blocks[n].hash for n in range(65)} == {n: B[n].hash for n in range(65)}


async def test_a_seam_that_the_head_writer_has_to_mend_discards_nothing() -> None:
    into = await store_of((60, 91))
    with pytest.raises(SeamBroken):
        await until_done(backfill(Both(B), into, WantedRange(0)))
    assert set(range(60, 92)) <= set(into.blocks)


@pytest.mark.parametrize("error", [RpcUnavailable("gone"), WrongChain("another")])
async def test_the_first_error_is_told_though_joining_fails_as_well(error: Exception) -> None:
    into, node = await store_of((90, 91)), Both(A)
    filling = backfill(node, into, WantedRange(0, 79))
    node.raw.broken = {40: error}
    into.broken = StoreUnavailable("gone too")
    with pytest.raises(type(error)):
        await filling.step()
    assert into.joins == 1


async def test_cancellation_passes_through_though_the_database_is_gone() -> None:
    into, node = await store_of((90, 91)), Both(A)
    into.broken = StoreUnavailable("gone")

    async def for_ever() -> None:
        await asyncio.Event().wait()

    node.raw = FakeNode(A, wait=for_ever)
    step = asyncio.ensure_future(backfill(node, into, WantedRange(0, 79)).step())
    for _ in range(20):
        await asyncio.sleep(0)
    step.cancel()
    with pytest.raises(asyncio.CancelledError):
        await step
