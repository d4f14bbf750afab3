"""What to do next, from what is stored and what the node announced. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.types import BlockRange, BlockRef, Head, joined


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do until another head is announced."""


@dataclass(frozen=True, slots=True)
class Advance:
    """Fetch `wanted` and commit it on top of the cursor."""

    wanted: BlockRange


@dataclass(frozen=True, slots=True)
class Jump:
    """The head is too far away to walk to: go on at `to`, and leave the hole to backfill."""

    to: int


@dataclass(frozen=True, slots=True)
class Recheck:
    """The node's chain contradicts the stored block at `at`: look for the common ancestor."""

    at: int


Plan = Wait | Advance | Jump | Recheck


def plan(cursor: BlockRef | None, head: Head, stored: BlockRef | None, *, max_blocks: int, jump_blocks: int) -> Plan:
    """Decide the follower's next step.

    `stored` is what is stored at the head's height, if anything. At most `max_blocks` are fetched at once; a head more
    than `jump_blocks` above the cursor is jumped to. A head below the cursor is a lagging node, not a reorg, unless its
    hash contradicts what is stored there.
    """
    if cursor is None:
        return Jump(head.ref.number)
    ahead = head.ref.number - cursor.number
    if ahead <= 0:
        return Wait() if stored is None or stored.hash == head.ref.hash else Recheck(head.ref.number)
    if ahead == 1 and head.parent_hash != cursor.hash:
        return Recheck(cursor.number)
    if ahead > jump_blocks:
        return Jump(head.ref.number)
    return Advance(BlockRange(cursor.number + 1, min(cursor.number + max_blocks, head.ref.number)))


def holes(covered: Sequence[BlockRange], wanted: Sequence[BlockRange]) -> tuple[BlockRange, ...]:
    """Return what of `wanted` is not `covered`, newest first. Both may overlap and come in any order."""
    found: list[BlockRange] = []
    for span in joined(wanted):
        first = span.first
        for stored in joined(covered):
            if stored.last < first or stored.first > span.last:
                continue
            if stored.first > first:
                found.append(BlockRange(first, stored.first - 1))
            first = stored.last + 1
        if first <= span.last:
            found.append(BlockRange(first, span.last))
    return tuple(reversed(found))
