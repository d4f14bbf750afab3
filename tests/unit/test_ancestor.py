import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import BadAnswer
from core.store.memory import MemoryStore
from core.types import Block, BlockRange, BlockRef, joined
from indexer.ancestor import common_ancestor
from simulator.node import Node
from tests import make
from tests.sim.still import still_world

LENGTH = 60
A = make.chain(LENGTH)


class Still(Node):
    """A node that always answers with the same chain, and counts."""

    def __init__(self, chain: list[Block]) -> None:
        super().__init__(still_world(), part=3)
        self.chain = chain
        self.asked = 0

    async def ref_at(self, number: int) -> BlockRef | None:
        self.asked += 1
        return self.chain[number].ref if number < len(self.chain) else None


def stored(numbers: set[int]) -> tuple[MemoryStore, tuple[BlockRange, ...]]:
    return MemoryStore(blocks={n: A[n] for n in numbers}), joined(BlockRange(n, n) for n in numbers)


@given(
    numbers=st.sets(st.integers(0, LENGTH - 1)),
    fork_at=st.integers(0, LENGTH - 1),
    head=st.integers(0, LENGTH - 1),
)
def test_the_ancestor_is_what_a_linear_walk_finds(numbers: set[int], fork_at: int, head: int) -> None:
    theirs = (A[: fork_at + 1] + make.chain(LENGTH, onto=A[fork_at], fork="b"))[: head + 1]
    store, spans = stored(numbers)
    node = Still(theirs)
    found = asyncio.run(common_ancestor(node, store, spans, head))
    walked = next((n for n in sorted(numbers, reverse=True) if n <= head and theirs[n] == A[n]), None)
    assert (found and found.number) == walked
    assert found is None or found == A[found.number].ref
    assert node.asked <= 2 * len(numbers).bit_length() + 1


async def test_a_missing_block_below_the_head_causes_no_rewind() -> None:
    store, spans = stored(set(range(20)))
    with pytest.raises(BadAnswer, match="no block"):
        await common_ancestor(Still(A[:10]), store, spans, head=30)


async def test_an_ancestor_discarded_meanwhile_is_not_the_absence_of_any() -> None:
    store, spans = stored({5, 6, 7})
    node = Still(A)

    class Vanishing(MemoryStore):
        async def ref_at(self, number: int) -> BlockRef | None:
            found = await super().ref_at(number)
            self.blocks.pop(number, None)
            return found

    assert await common_ancestor(node, Vanishing(blocks=dict(store.blocks)), spans, head=30) == A[7].ref
