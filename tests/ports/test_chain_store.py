"""ChainStore: one suite for every implementation."""

from typing import Any

import pytest

from core.errors import CursorMoved, SeamBroken, WrongChain
from core.store.port import ChainStore
from core.types import Block
from tests import make

A = make.chain(40)


def fork(at: int, length: int, name: str = "b") -> list[Block]:
    """Return blocks of another fork above A's block `at`."""
    return make.chain(length, onto=A[at], fork=name)


async def jumped(store: ChainStore) -> None:
    """Store 10..12 and, after a hole, 30..31."""
    await store.commit(A[10:13], after=None)
    await store.commit(A[30:32], after=A[12].ref)


async def spans(store: ChainStore) -> list[tuple[int, int]]:
    return [(span.first, span.last) for span in await store.coverage()]


async def state(store: ChainStore) -> object:
    return await store.cursor(), await store.coverage(), [await store.ref_at(number) for number in range(40)]


# -- commit ------------------------------------------------------------------------------------------------------------


async def test_an_empty_store_has_no_cursor_and_covers_nothing(store: ChainStore) -> None:
    assert await store.cursor() is None
    assert await store.coverage() == ()
    assert await store.followed_from() is None
    assert await store.ref_at(0) is None


async def test_a_commit_moves_the_cursor_and_covers_its_blocks(store: ChainStore) -> None:
    await store.commit(A[:3], after=None)
    assert await store.cursor() == A[2].ref
    assert await spans(store) == [(0, 2)]
    assert await store.ref_at(1) == A[1].ref
    assert await store.ref_at(3) is None


async def test_commits_on_top_of_each_other_are_one_range(store: ChainStore) -> None:
    await store.commit(A[5:8], after=None)
    await store.commit(A[8:9], after=A[7].ref)
    assert await spans(store) == [(5, 8)]


async def test_a_jump_leaves_a_hole(store: ChainStore) -> None:
    await jumped(store)
    assert await spans(store) == [(10, 12), (30, 31)]
    assert await store.cursor() == A[31].ref


async def test_a_second_writer_is_harmless(store: ChainStore) -> None:
    await store.commit(A[:3], after=None)
    await store.commit(A[3:5], after=A[2].ref)
    before = await state(store)
    for blocks, after in ((A[3:5], A[2].ref), (A[:3], None), (fork(2, 2), A[2].ref)):
        with pytest.raises(CursorMoved):
            await store.commit(blocks, after=after)
    assert await state(store) == before


async def test_a_cursor_of_the_same_height_and_another_hash_is_another_cursor(store: ChainStore) -> None:
    await store.commit(A[:3], after=None)
    other = fork(1, 2)
    with pytest.raises(CursorMoved):
        await store.commit(other[1:], after=other[0].ref)


async def test_a_commit_after_a_cursor_that_was_never_there_is_refused(store: ChainStore) -> None:
    with pytest.raises(CursorMoved):
        await store.commit(A[3:4], after=A[2].ref)
    assert await store.coverage() == ()


@pytest.mark.parametrize(
    "blocks",
    [
        pytest.param([], id="nothing"),
        pytest.param([A[3], A[5]], id="a gap"),
        pytest.param([A[3], *fork(3, 2)[1:]], id="two forks"),
        pytest.param(fork(1, 3)[1:], id="a child of another block"),
        pytest.param(A[2:4], id="the cursor again"),
        pytest.param(A[1:2], id="a block below the cursor"),
    ],
)
async def test_a_commit_that_does_not_link_changes_nothing(store: ChainStore, blocks: list[Block]) -> None:
    await store.commit(A[:3], after=None)
    before = await state(store)
    with pytest.raises(SeamBroken):
        await store.commit(blocks, after=A[2].ref)
    assert await state(store) == before


async def test_followed_from_is_the_first_block_ever_committed(store: ChainStore) -> None:
    await store.commit(A[10:13], after=None)
    await store.rewind(A[12].ref, None, reason="all of it")
    assert await store.followed_from() == 10
    await store.commit(A[20:21], after=None)
    assert await store.followed_from() == 10


# -- fill --------------------------------------------------------------------------------------------------------------


async def test_a_fill_joins_the_ranges_around_a_hole(store: ChainStore) -> None:
    await jumped(store)
    await store.fill(A[20:30])
    assert await spans(store) == [(10, 12), (20, 31)]
    await store.fill(A[13:20])
    assert await spans(store) == [(10, 31)]
    assert await store.cursor() == A[31].ref


async def test_a_fill_below_all_extends_down_to_genesis(store: ChainStore) -> None:
    await jumped(store)
    await store.fill(A[5:10])
    await store.fill(A[0:5])
    assert await spans(store) == [(0, 12), (30, 31)]


async def test_an_unanchored_fill_may_stand_alone_below_the_cursor(store: ChainStore) -> None:
    await jumped(store)
    await store.fill(A[20:22], anchored=False)
    assert await spans(store) == [(10, 12), (20, 21), (30, 31)]


@pytest.mark.parametrize(
    ("blocks", "anchored"),
    [
        pytest.param(A[20:22], True, id="nothing above"),
        pytest.param(fork(25, 4)[:4], True, id="not the parent of the block above"),
        pytest.param(fork(25, 4)[:4], False, id="not the parent of the block above, unanchored"),
        pytest.param(make.chain(1, onto=A[11], fork="c"), False, id="overlap"),
        pytest.param(make.chain(3, onto=make.chain(1, onto=A[11], fork="c")[0], fork="c"), False, id="not a child"),
        pytest.param(A[28:31], True, id="overlap above"),
        pytest.param(A[10:13], False, id="stored already"),
        pytest.param(A[12:15], False, id="overlap below"),
        pytest.param(A[35:37], False, id="above the cursor"),
        pytest.param([], True, id="nothing"),
        pytest.param([A[28], *fork(28, 1)], True, id="torn"),
    ],
)
async def test_a_fill_that_does_not_join_changes_nothing(
    store: ChainStore, blocks: list[Block], anchored: bool
) -> None:
    await jumped(store)
    before = await state(store)
    with pytest.raises(SeamBroken):
        await store.fill(blocks, anchored=anchored)
    assert await state(store) == before


async def test_a_fill_without_a_cursor_is_refused(store: ChainStore) -> None:
    with pytest.raises(SeamBroken):
        await store.fill(A[:3], anchored=False)
    assert await store.coverage() == ()


async def test_a_fill_that_comes_after_a_rewind_is_refused(store: ChainStore) -> None:
    await jumped(store)
    await store.rewind(A[31].ref, A[12].ref, reason="test")
    for anchored in (True, False):
        with pytest.raises(SeamBroken):
            await store.fill(A[25:30], anchored=anchored)


# -- rewind ------------------------------------------------------------------------------------------------------------


async def test_a_rewind_takes_away_what_is_above_the_ancestor(store: ChainStore) -> None:
    await store.commit(A[:10], after=None)
    await store.rewind(A[9].ref, A[6].ref, reason="test")
    assert await store.cursor() == A[6].ref
    assert await spans(store) == [(0, 6)]
    await store.commit(fork(6, 4), after=A[6].ref)
    assert await spans(store) == [(0, 10)]


async def test_a_rewind_crosses_holes(store: ChainStore) -> None:
    await jumped(store)
    await store.fill(A[20:22], anchored=False)
    await store.rewind(A[31].ref, A[11].ref, reason="test")
    assert await spans(store) == [(10, 11)]
    await store.commit(fork(11, 2), after=A[11].ref)
    assert await spans(store) == [(10, 13)]


async def test_a_rewind_to_nothing_clears_the_cursor(store: ChainStore) -> None:
    await jumped(store)
    await store.rewind(A[31].ref, None, reason="test")
    assert await store.cursor() is None
    assert await store.coverage() == ()
    await store.commit(A[31:32], after=None)
    assert await store.cursor() == A[31].ref


async def test_a_rewind_from_another_cursor_is_refused(store: ChainStore) -> None:
    await store.commit(A[:10], after=None)
    before = await state(store)
    for cursor, ancestor in ((A[8].ref, A[6].ref), (A[8].ref, None), (fork(8, 1)[0].ref, A[6].ref)):
        with pytest.raises(CursorMoved):
            await store.rewind(cursor, ancestor, reason="test")
    assert await state(store) == before


async def test_a_rewind_to_a_block_that_is_not_stored_is_refused(store: ChainStore) -> None:
    await jumped(store)
    before = await state(store)
    for ancestor in (A[20].ref, fork(10, 1)[0].ref):
        with pytest.raises(SeamBroken):
            await store.rewind(A[31].ref, ancestor, reason="test")
    assert await state(store) == before


async def test_a_rewind_goes_down(store: ChainStore) -> None:
    await store.commit(A[:3], after=None)
    for ancestor in (A[2].ref, A[3].ref):
        with pytest.raises(ValueError, match="empty"):
            await store.rewind(A[2].ref, ancestor, reason="test")


# -- discard -----------------------------------------------------------------------------------------------------------


async def test_a_discard_takes_the_top_of_a_lower_range(store: ChainStore) -> None:
    await jumped(store)
    await store.discard(12, A[12].ref, reason="test")
    assert await spans(store) == [(10, 11), (30, 31)]
    await store.discard(10, A[11].ref, reason="test")
    assert await spans(store) == [(30, 31)]
    assert await store.cursor() == A[31].ref


async def test_a_discard_of_anything_but_the_top_of_a_lower_range_is_refused(store: ChainStore) -> None:
    await jumped(store)
    before = await state(store)
    for first, tip in ((10, A[11].ref), (12, fork(11, 1)[0].ref), (31, A[31].ref), (30, A[30].ref), (13, A[14].ref)):
        with pytest.raises(SeamBroken):
            await store.discard(first, tip, reason="test")
    assert await state(store) == before


async def test_a_discard_of_nothing_is_an_error(store: ChainStore) -> None:
    await jumped(store)
    with pytest.raises(ValueError, match="empty"):
        await store.discard(13, A[12].ref, reason="test")


# -- register ----------------------------------------------------------------------------------------------------------


async def test_a_store_belongs_to_one_chain(store: ChainStore) -> None:
    await store.register("one", A[0].hash)
    await store.register("one", A[0].hash)
    await store.register("one", None)
    with pytest.raises(WrongChain):
        await store.register("one", make.digest("another genesis"))
    await store.register("renamed", A[0].hash)


async def test_a_head_is_noted(store: ChainStore) -> None:
    await store.saw(A[3].head)
    await store.saw(A[4].head)
    assert await store.cursor() is None


# -- atomicity ---------------------------------------------------------------------------------------------------------


async def test_blocks_with_everything_and_with_nothing_are_stored(store: ChainStore) -> None:
    created = make.receipt(contract_address=make.address("made"), status=None, root=bytes(32))
    txs = [
        make.tx(0, to=None, receipt=created),
        make.tx(1, signature=None, v=None, gas_price=None, fee_cap=None, tip_cap=None, value=2**256 - 1, type=0x7E),
    ]
    none: dict[str, Any] = {"base_fee": None, "mix_hash": None, "nonce": None}
    most: dict[str, Any] = {"difficulty": 2**256 - 1, "total_difficulty": 2**256 - 1}
    odd = make.block(0, txs=txs, uncles=(bytes(32),), extra='{"a":"\\u0000"}', timestamp=0, **none, **most)
    await store.commit([odd, make.block(1, odd.hash, txs=0)], after=None)
    assert await spans(store) == [(0, 1)]


async def test_what_was_stored_once_can_be_stored_again(store: ChainStore) -> None:
    await store.commit(A[:5], after=None)
    await store.rewind(A[4].ref, A[1].ref, reason="there")
    await store.commit(fork(1, 2), after=A[1].ref)
    await store.rewind(fork(1, 2)[1].ref, A[1].ref, reason="and back")
    await store.commit(A[2:6], after=A[1].ref)
    assert await spans(store) == [(0, 5)]
    assert [await store.ref_at(n) for n in range(6)] == [block.ref for block in A[:6]]
