"""The highest stored block that the node's chain still has."""

from collections.abc import Sequence

from core.chain import ChainSource
from core.errors import BadAnswer
from core.store.port import ChainStore
from core.types import BlockRange, BlockRef


async def common_ancestor(
    source: ChainSource, store: ChainStore, stored: Sequence[BlockRange], head: int
) -> BlockRef | None:
    """Return the newest block of the `stored` ranges (ascending) that is canonical at the node, or None.

    A canonical block's ancestors are canonical, so a gallop from the top and a bisection find it in O(log n) questions.
    `head` is the node's own height: above it the node has no block; below it a missing one is a contradiction and
    raises BadAnswer, since a lagging node behind a balancer must not cause a rewind.
    """
    heights = _Heights(stored)
    step, good = 1, len(heights)
    bad = -1
    while good > bad + step and not await _canonical(source, store, heights[bad + step], head):
        bad, step = bad + step, step * 2
    good = min(bad + step, good)
    while good - bad > 1:
        middle = (good + bad) // 2
        if await _canonical(source, store, heights[middle], head):
            good = middle
        else:
            bad = middle
    return None if good >= len(heights) else await store.ref_at(heights[good])


class _Heights:
    """The stored block numbers from the top down, as a sequence that is never spelled out."""

    def __init__(self, stored: Sequence[BlockRange]) -> None:
        self._ranges = list(reversed(stored))

    def __len__(self) -> int:
        return sum(len(span) for span in self._ranges)

    def __getitem__(self, position: int) -> int:
        for span in self._ranges:
            if position < len(span):
                return span.last - position
            position -= len(span)
        raise IndexError(position)


async def _canonical(source: ChainSource, store: ChainStore, number: int, head: int) -> bool:
    if number > head:
        return False
    theirs = await source.ref_at(number)
    if theirs is None:
        raise BadAnswer(f"node at height {head} has no block {number}")
    return theirs == await store.ref_at(number)
