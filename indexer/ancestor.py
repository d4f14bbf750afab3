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
    bad, good = -1, len(heights)
    step, found = 1, None
    while good - bad > 1:
        galloping = found is None and bad + step < good
        position = bad + step if galloping else (good + bad) // 2
        step *= 2
        canonical = await _canonical(source, store, heights[position], head)
        if canonical is None:
            bad = position
        else:
            good, found = position, canonical
    # What was found, not what is stored there by now: a discard meanwhile must not look like "no ancestor at all".
    return found


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


async def _canonical(source: ChainSource, store: ChainStore, number: int, head: int) -> BlockRef | None:
    if number > head:
        return None
    theirs = await source.ref_at(number)
    if theirs is None:
        raise BadAnswer(f"node at height {head} has no block {number}")
    return theirs if theirs == await store.ref_at(number) else None
