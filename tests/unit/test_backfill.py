import pytest

from core.errors import BadAnswer, SeamBroken, Unverified
from core.store.memory import MemoryStore
from core.types import Block, BlockRange, BlockRef
from indexer.backfill import ASIDE_S, Backfill, WantedRange
from simulator.node import Node
from tests import make
from tests.sim.still import still_world
from tests.unit.clocks import FakeClock

A = make.chain(60)
B = A[:20] + make.chain(40, onto=A[19], fork="b")


class Still(Node):
    """A node that holds one chain, and notes what it was asked for."""

    def __init__(self, chain: list[Block]) -> None:
        super().__init__(still_world(), part=3)
        self.chain = chain
        self.wanted: list[BlockRange] = []

    async def verify(self) -> None:
        return

    async def ref_at(self, number: int) -> BlockRef | None:
        return self.chain[number].ref if number < len(self.chain) else None

    async def blocks(self, wanted: BlockRange) -> tuple[Block, ...]:
        self.wanted.append(wanted)
        return tuple(self.chain[wanted.first : wanted.last + 1])


async def store(*spans: tuple[int, int], chain: list[Block] = A) -> MemoryStore:
    made = MemoryStore()
    after = None
    for first, last in spans:
        await made.commit(chain[first : last + 1], after=after)
        after = chain[last].ref
    return made


def backfill(node: Node, into: MemoryStore, *wanted: WantedRange) -> Backfill:
    return Backfill(node, into, wanted, name="t", chunk_blocks=5, settled_blocks=10)


async def spans(of: MemoryStore) -> list[tuple[int, int]]:
    return [(span.first, span.last) for span in await of.coverage()]


async def test_before_the_first_commit_there_is_nothing_to_do() -> None:
    node = Still(A)
    assert not await backfill(node, MemoryStore(), WantedRange(0)).step()
    assert node.wanted == []


async def test_holes_are_filled_newest_first_a_chunk_at_a_time() -> None:
    into = await store((10, 12), (30, 31))
    node = Still(A)
    filling = backfill(node, into, WantedRange(0))
    while await filling.step():
        pass
    assert [(span.first, span.last) for span in node.wanted] == [
        (25, 29), (20, 24), (15, 19), (13, 14), (5, 9), (0, 4),
    ]  # fmt: skip
    assert await spans(into) == [(0, 31)]


async def test_what_a_jump_left_out_is_filled_though_nobody_configured_it() -> None:
    into = await store((10, 12), (30, 31))
    filling = backfill(Still(A), into)
    while await filling.step():
        pass
    assert await spans(into) == [(10, 31)]


async def test_orphans_just_below_what_is_retained_are_found_out() -> None:
    into = await store((18, 22))
    await into.commit(B[55:56], after=A[22].ref)
    filling = Backfill(Still(B), into, [], name="t", chunk_blocks=5, settled_blocks=10, retain_blocks=30)
    while await filling.step():
        pass
    assert await spans(into) == [(18, 55)]
    assert [into.blocks[number].hash for number in range(18, 56)] == [block.hash for block in B[18:56]]


async def test_a_range_apart_from_the_head_waits_until_it_is_settled() -> None:
    node = Still(A)
    young, old = await store((27, 28)), await store((29, 30))
    assert not await backfill(node, young, WantedRange(15, 19)).step()
    assert await backfill(node, old, WantedRange(15, 19)).step()
    assert await spans(old) == [(15, 19), (29, 30)]


async def test_a_range_that_ends_above_the_head_ends_at_the_head() -> None:
    into = await store((29, 30))
    assert await backfill(Still(A), into, WantedRange(27, 1_000)).step()
    assert await spans(into) == [(27, 30)]


@pytest.mark.parametrize("answer", [A[25:28], [], [*A[25:28], *B[28:30]]], ids=["short", "none", "two chains"])
async def test_an_answer_that_is_not_the_whole_chunk_is_refused(answer: list[Block]) -> None:
    class Odd(Still):
        async def blocks(self, wanted: BlockRange) -> tuple[Block, ...]:
            return tuple(answer)

    into = await store((10, 12), (30, 31))
    with pytest.raises(BadAnswer):
        await backfill(Odd(A), into).step()
    assert await spans(into) == [(10, 12), (30, 31)]


async def test_a_block_that_nobody_serves_right_is_set_aside_and_the_rest_goes_on() -> None:
    class Lying(Still):
        lies = True

        async def blocks(self, wanted: BlockRange) -> tuple[Block, ...]:
            if self.lies and 7 in wanted:
                raise Unverified(A[7].ref, "receipts_root", "receiptsRoot", "0x01", "0x02")
            return await super().blocks(wanted)

    into, node, clock = await store((30, 31)), Lying(A), FakeClock()
    filling = Backfill(node, into, [WantedRange(0)], name="t", chunk_blocks=5, settled_blocks=10, clock=clock)
    while await filling.step():
        pass
    assert await spans(into) == [(0, 6), (8, 31)]
    clock.seconds += ASIDE_S - 1
    assert not await filling.step()
    node.lies = False
    clock.seconds += 1
    assert await filling.step()
    assert await spans(into) == [(0, 31)]


async def test_blocks_below_a_jump_that_were_replaced_meanwhile_are_discarded() -> None:
    into = await store((10, 25))  # of A, of which 20..25 are orphaned by B
    await into.commit(B[28:30], after=A[25].ref)
    filling = backfill(Still(B), into)
    while await filling.step():
        pass
    assert await spans(into) == [(10, 29)]
    assert [block.ref for block in into.blocks.values() if block.number >= 20] != []
    assert all(into.blocks[number] == B[number] for number in range(10, 30))


async def test_a_range_filled_by_age_alone_is_discarded_when_the_block_below_does_not_join() -> None:
    into = await store((50, 51), chain=B)
    await into.fill(A[24:28], anchored=False)  # it was canonical once
    filling = backfill(Still(B), into, WantedRange(22, 27))
    with pytest.raises(SeamBroken):
        await filling.step()
    while await filling.step():
        pass
    assert all(into.blocks[number] == B[number] for number in range(22, 28))


async def test_a_seam_that_the_head_writer_has_to_mend_discards_nothing() -> None:
    into = await store((30, 31))  # of A; the node is on B
    with pytest.raises(SeamBroken):
        await backfill(Still(B), into, WantedRange(0)).step()
    assert await spans(into) == [(30, 31)]


async def test_another_backfill_in_the_same_hole_ends_no_process() -> None:
    into = await store((10, 12), (30, 31))

    class Racing(Still):
        async def blocks(self, wanted: BlockRange) -> tuple[Block, ...]:
            for number in range(29, 12, -1):
                if number not in into.blocks:
                    await into.fill([A[number]])
            return await super().blocks(wanted)

    with pytest.raises(SeamBroken):
        await backfill(Racing(A), into).step()


async def test_a_node_that_goes_back_to_the_stored_chain_discards_nothing() -> None:
    into = await store((10, 25))
    await into.commit(B[28:30], after=A[25].ref)

    class Returning(Still):
        async def ref_at(self, number: int) -> BlockRef | None:
            chain, self.chain = self.chain, A
            return chain[number].ref

    with pytest.raises(SeamBroken, match="after all"):
        await backfill(Returning(B), into).step()
    assert await spans(into) == [(10, 25), (28, 29)]


async def test_a_parent_that_the_node_itself_does_not_have_proves_nothing() -> None:
    into = await store((10, 25))
    await into.commit(B[28:30], after=A[25].ref)

    class Wavering(Still):
        async def ref_at(self, number: int) -> BlockRef | None:
            return A[number].ref

    with pytest.raises(SeamBroken, match="does not have"):
        await backfill(Wavering(B), into).step()
    assert await spans(into) == [(10, 25), (28, 29)]
