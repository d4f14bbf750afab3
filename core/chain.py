"""The port to a chain: what the indexer asks of a node, whoever answers."""

from typing import Protocol

from core.types import Block, BlockRange, BlockRef, Head


class ChainSource(Protocol):
    """A chain as one node tells it. Every method may raise Transient errors; none answers from a cache."""

    async def verify(self) -> None:
        """Raise WrongChain unless the node still serves the configured chain; asked before anything is taken away."""
        ...

    async def head(self) -> Head:
        """Return the newest block the node has."""
        ...

    async def ref_at(self, number: int) -> BlockRef | None:
        """Return the canonical block at `number`, or None if the node has none there."""
        ...

    async def blocks(self, wanted: BlockRange) -> tuple[Block, ...]:
        """Return the blocks of `wanted`, in order, each checked to be whole.

        The result is shorter than `wanted` where the node's chain ends, and empty when it has none of them. That the
        blocks link to one another is for the caller to check: a node may change its mind between two requests.
        """
        ...
