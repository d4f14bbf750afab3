"""Whether fetched blocks join the stored chain and one another, every seam of them. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from core.types import Block, BlockRef


@dataclass(frozen=True, slots=True)
class Linked:
    """All blocks join; `tip` is the last of them."""

    tip: BlockRef


@dataclass(frozen=True, slots=True)
class Forked:
    """The first block's parent is not the stored one: `stored` has been orphaned."""

    stored: BlockRef
    parent_hash: bytes


@dataclass(frozen=True, slots=True)
class Torn:
    """Two fetched blocks do not join: the node changed its mind between two requests. Nothing stored is in doubt."""

    below: BlockRef
    above: BlockRef


def link(cursor: BlockRef | None, blocks: Sequence[Block]) -> Linked | Forked | Torn:
    """Check every parent link of `blocks` (at least one), and the first one against `cursor`.

    Seams between requests count too: checking only the first parent of a batch leaves wrong rows behind whenever the
    chain reorganises while the batch is fetched.
    """
    first = blocks[0]
    if cursor is not None and first.parent_hash != cursor.hash:
        return Forked(cursor, first.parent_hash)
    for below, above in pairwise(blocks):
        if above.number != below.number + 1 or above.parent_hash != below.hash:
            return Torn(below.ref, above.ref)
    return Linked(blocks[-1].ref)
