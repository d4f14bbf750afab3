import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.types import Block
from indexer.link import Forked, Linked, Torn, link
from tests import make

A = make.chain(10)
B = make.chain(10, fork="b")


def test_linked_blocks_have_the_last_as_tip() -> None:
    assert link(A[2].ref, A[3:6]) == Linked(A[5].ref)
    assert link(None, A[3:6]) == Linked(A[5].ref)
    assert link(None, A[:1]) == Linked(A[0].ref)


def test_another_parent_means_the_stored_block_is_orphaned() -> None:
    assert link(A[2].ref, B[3:6]) == Forked(A[2].ref, B[2].hash)


@given(seam=st.integers(1, 6))
def test_every_seam_counts(seam: int) -> None:
    torn = [*A[1 : 1 + seam], *B[1 + seam : 9]]
    assert link(A[0].ref, torn) == Torn(A[seam].ref, B[1 + seam].ref)


@pytest.mark.parametrize("blocks", [[A[1], A[3]], [A[1], A[1]], [A[2], A[1]]])
def test_numbers_count_as_much_as_hashes(blocks: list[Block]) -> None:
    assert isinstance(link(None, blocks), Torn)


def test_a_right_hash_at_a_wrong_number_is_torn() -> None:
    assert isinstance(link(None, [A[1], make.block(5, A[1].hash)]), Torn)
