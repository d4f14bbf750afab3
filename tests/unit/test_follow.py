import pytest

from core.errors import BadAnswer
from core.store.memory import MemoryStore
from core.types import Block, BlockRange, BlockRef, Head
from indexer.follow import Follower
from simulator.node import Node
from tests import make
from tests.sim.still import still_world

A = make.chain(40)
B = A[:20] + make.chain(20, onto=A[19], fork="b")


class Several(Node):
    """A balancer: each kind of question reaches a backend of its own."""

    def __init__(self, blocks: list[Block], refs: list[Block] | None = None, head: list[Block] | None = None) -> None:
        super().__init__(still_world(), part=3)
        self.of_blocks = blocks
        self.of_refs = blocks if refs is None else refs
        self.of_head = self.of_refs if head is None else head

    async def verify(self) -> None:
        return

    async def head(self) -> Head:
        return self.of_head[-1].head

    async def ref_at(self, number: int) -> BlockRef | None:
        return self.of_refs[number].ref if number < len(self.of_refs) else None

    async def blocks(self, wanted: BlockRange) -> tuple[Block, ...]:
        return tuple(self.of_blocks[wanted.first : wanted.last + 1])


class Unheard:
    async def newest(self) -> Head:
        raise AssertionError

    async def changed(self, known: Head, *, timeout_s: float) -> None:
        raise AssertionError


def follower(node: Node, store: MemoryStore) -> Follower:
    return Follower(node, store, Unheard(), name="t", max_blocks=4, jump_blocks=10)


async def stored(first: int, last: int) -> MemoryStore:
    store = MemoryStore()
    await store.commit(A[first : last + 1], after=None)
    return store


async def test_a_fork_is_followed_down_and_up_again() -> None:
    store = await stored(0, 25)
    following = follower(Several(B), store)
    kinds = []
    while (step := await following.step(B[-1].head)).kind != "wait":
        kinds.append(step.kind)
    assert kinds[:1] in (["rewind"], ["advance"])
    assert await store.cursor() == B[-1].ref


async def test_a_lagging_node_behind_a_fork_does_not_cause_a_rewind() -> None:
    """The announcement is of B, but the backend that is asked has not even seen the end of what is stored."""
    store = await stored(0, 25)
    step = await follower(Several(B, refs=A[:19]), store).step(B[26].head)
    assert step.kind == "wait"
    assert await store.cursor() == A[25].ref


async def test_a_lagging_node_does_not_take_everything_away() -> None:
    store = await stored(25, 25)
    step = await follower(Several(B, refs=A[:20]), store).step(B[26].head)
    assert step.kind == "wait"
    assert await store.cursor() == A[25].ref


async def test_a_lagging_node_does_not_cause_a_rewind_before_a_jump() -> None:
    store = await stored(0, 10)
    step = await follower(Several(A, refs=A[:8]), store).step(A[39].head)
    assert step.kind == "wait"
    assert await store.cursor() == A[10].ref


async def test_no_jump_leaves_from_an_orphaned_cursor() -> None:
    store = await stored(0, 22)
    step = await follower(Several(B), store).step(B[39].head)
    assert (step.kind, step.after) == ("rewind", B[19].ref)


async def test_a_head_that_is_not_there_yet_is_waited_for() -> None:
    store = await stored(0, 10)
    step = await follower(Several(A[:11]), store).step(A[12].head)
    assert step.kind == "wait"


async def test_an_answer_from_two_chains_is_refused() -> None:
    store = await stored(0, 17)
    with pytest.raises(BadAnswer, match="two chains"):
        await follower(Several([*A[:20], *B[20:21], *A[21:]]), store).step(A[25].head)
    assert await store.cursor() == A[17].ref
