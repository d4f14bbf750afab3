import itertools

from hypothesis import given
from hypothesis import strategies as st

from core.types import BlockRange, BlockRef, Head, joined
from indexer.plan import Advance, Jump, Plan, Recheck, Wait, holes, plan
from tests import make

A = make.chain(12)
B = make.chain(12, fork="b")


def decided(cursor: BlockRef | None, head: Head, stored: BlockRef | None = None) -> Plan:
    return plan(cursor, head, stored, max_blocks=3, jump_blocks=5)


def test_without_a_cursor_it_starts_at_the_head() -> None:
    assert decided(None, A[9].head) == Jump(9)


def test_at_the_head_it_waits() -> None:
    assert decided(A[5].ref, A[5].head, A[5].ref) == Wait()


def test_the_next_block_is_fetched() -> None:
    assert decided(A[5].ref, A[6].head) == Advance(BlockRange(6, 6))


def test_no_more_than_max_blocks_are_fetched_at_once() -> None:
    assert decided(A[2].ref, A[7].head) == Advance(BlockRange(3, 5))


def test_a_head_further_than_jump_blocks_is_jumped_to() -> None:
    assert decided(A[2].ref, A[7].head) == Advance(BlockRange(3, 5))
    assert decided(A[2].ref, A[8].head) == Jump(8)


def test_a_lagging_provider_does_not_cause_a_rewind() -> None:
    assert decided(A[5].ref, A[3].head, A[3].ref) == Wait()


def test_a_lower_head_in_a_hole_proves_nothing() -> None:
    assert decided(A[5].ref, B[3].head, None) == Wait()


def test_a_lower_head_that_contradicts_the_stored_block_is_looked_into() -> None:
    assert decided(A[5].ref, B[3].head, A[3].ref) == Recheck(3)


def test_another_block_at_the_cursor_is_looked_into() -> None:
    assert decided(A[5].ref, B[5].head, A[5].ref) == Recheck(5)


def test_a_next_block_with_another_parent_is_looked_into() -> None:
    assert decided(A[5].ref, B[6].head) == Recheck(5)


ranges = st.builds(lambda first, size: BlockRange(first, first + size), st.integers(0, 60), st.integers(0, 15))


@given(covered=st.lists(ranges, max_size=8), wanted=st.lists(ranges, max_size=5))
def test_holes_are_what_is_wanted_and_not_covered_newest_first(
    covered: list[BlockRange], wanted: list[BlockRange]
) -> None:
    found = holes(covered, wanted)

    def numbers(spans: list[BlockRange]) -> set[int]:
        return {number for span in spans for number in range(span.first, span.last + 1)}

    assert numbers(list(found)) == numbers(wanted) - numbers(covered)
    assert all(upper.first > lower.last for upper, lower in itertools.pairwise(found))


@given(spans=st.lists(ranges, max_size=8))
def test_joined_ranges_neither_touch_nor_overlap(spans: list[BlockRange]) -> None:
    assert all(upper.first > lower.last + 1 for lower, upper in itertools.pairwise(joined(spans)))
