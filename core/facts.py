"""Facts: what happened to the stored chain, in one order per chain, written in the transaction of what they tell.

Replayed from the first one they give the stored blocks: `BlockFact` and `FillFact` add, `ReorgFact` takes away. What
retention prunes stays canonical and is not told; fetched again, it is told as filled again.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from core.errors import ChainworkdError
from core.types import BlockRange, BlockRef


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockFact:
    """The head writer stored a block. `timestamp` is its own, `tx_count` its own count, stored or not."""

    block: BlockRef
    parent_hash: bytes
    timestamp: int
    tx_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FillFact:
    """Backfill stored a range; each of its blocks is the parent of the next, the last one has `tip_hash`."""

    blocks: BlockRange
    parent_hash: bytes
    tip_hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ReorgFact:
    """Stored blocks of `orphans` are not part of the chain; of these numbers none is stored now.

    Not every number of the range was stored. `ancestor_hash` is that of the block below them, None if that is not
    stored; `tip_hash` that of the last one.
    `told_at` and `tip_hash` name the row of `chain.reorg` and what was archived with it.
    """

    orphans: BlockRange
    ancestor_hash: bytes | None
    tip_hash: bytes
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalizeFact:
    """What is safe and finalized has risen to these blocks; a reorg lowers both to its ancestor.

    None where nothing is. `by_depth`: the node has no such tags.
    """

    safe: BlockRef | None
    finalized: BlockRef | None
    by_depth: bool


Fact = BlockFact | FillFact | ReorgFact | FinalizeFact


@dataclass(frozen=True, slots=True)
class Told:
    """A fact with its number, from 1 without gaps, and when it was written."""

    seq: int
    told_at: datetime
    fact: Fact


@dataclass(frozen=True, slots=True)
class Tail:
    """Which facts there are: those above `pruned` up to `last`."""

    pruned: int
    last: int


class FactsGone(ChainworkdError):
    """Facts that were asked for are not kept any more, or were never told: the reader has to start over."""

    def __init__(self, after: int, tail: Tail) -> None:
        found = (
            f"facts up to {tail.pruned} are not kept any more" if after < tail.pruned
            else f"the newest fact is {tail.last}: this number is of another database, or of one before a restore"
        )  # fmt: skip
        super().__init__(f"no facts after {after}: {found}")
        self.tail = tail


class FactLog(Protocol):
    """The facts of one chain. Every method may raise StoreUnavailable."""

    async def tail(self) -> Tail:
        """Return which facts there are."""
        ...

    async def after(self, seq: int, limit: int) -> tuple[Told, ...]:
        """Return the facts after number `seq`, `limit` at most, none left out. Raises FactsGone."""
        ...

    async def prune(self, before: datetime, limit: int) -> int:
        """Forget facts told before `before`, the oldest first and `limit` at most; return how many."""
        ...
