"""The port that the indexer writes a chain through. `PgStore` and `MemoryStore` pass one suite (tests/ports)."""

from collections.abc import Sequence
from typing import Protocol

from core.store.bulk import Chunk
from core.store.lease import Lease
from core.types import Block, BlockRange, BlockRef, Head


class ChainStore(Protocol):
    """What is stored of one chain. Every method may raise StoreUnavailable.

    Two writers share it: the head writer owns the cursor (`commit`, `rewind`), backfill owns the holes (`fill`,
    `discard`). Each call is one transaction; a call that raises has changed nothing, unless the connection was lost
    while committing, in which case `cursor` and `coverage` tell.
    """

    async def register(self, name: str, genesis_hash: bytes | None) -> None:
        """Make the chain known. Raises WrongChain if the database holds another chain under this id."""
        ...

    async def cursor(self) -> BlockRef | None:
        """Return the last block the head writer committed."""
        ...

    async def coverage(self) -> tuple[BlockRange, ...]:
        """Return the stored ranges in ascending order, adjacent ones joined."""
        ...

    async def followed_from(self) -> int | None:
        """Return the first block the head writer ever committed."""
        ...

    async def ref_at(self, number: int) -> BlockRef | None:
        """Return the stored block at `number`."""
        ...

    async def saw(self, head: Head) -> None:
        """Note the newest head a node announced, for lag."""
        ...

    async def commit(self, blocks: Sequence[Block], *, after: BlockRef | None) -> None:
        """Store linked `blocks` and move the cursor from `after` to the last of them.

        The first block either is the child of `after` or leaves a hole above it. Raises CursorMoved when the cursor is
        not `after`, SeamBroken when the blocks do not link.
        """
        ...

    async def fill(self, blocks: Sequence[Block], *, anchored: bool = True) -> None:
        """Store linked `blocks` into a hole.

        Raises SeamBroken when they do not link to a stored neighbour, when blocks of them are stored already, when they
        are not below the cursor, or when `anchored` and the block above them is not stored: a rewind took away what the
        fetched blocks were to join.
        """
        ...

    async def join_coverage(self) -> None:
        """Make one of ranges that lie side by side, other than the cursor's: chunks that were stored in any order."""
        ...

    async def rewind(self, cursor: BlockRef, ancestor: BlockRef | None, *, reason: str) -> None:
        """Archive and remove every block above `ancestor`, holes or not, and move the cursor from `cursor` to it.

        With no ancestor everything goes and the cursor is cleared. Raises CursorMoved when the cursor is not `cursor`,
        SeamBroken when `ancestor` is not stored (any more), ValueError when it is not below `cursor`.
        """
        ...

    async def discard(self, first: int, tip: BlockRef, *, reason: str) -> None:
        """Archive and remove the blocks from `first` to `tip`, and their coverage.

        `tip` is the top of a covered range other than the cursor's; raises SeamBroken when it is not (any more),
        ValueError when `first` is above it.
        """
        ...


class BulkStore(ChainStore, Protocol):
    """A ChainStore that takes encoded rows as well, and history before there is a head."""

    async def begin(self, block: Block, *, after: BlockRef | None = None) -> None:
        """Store a block and point the cursor at it, before a head is followed. Raises CursorMoved."""
        ...

    async def fill_chunk(self, chunk: Chunk, *, anchored: bool, lease: Lease | None = None) -> None:
        """Store encoded blocks into a hole, as `fill` does, but not after losing a `lease` on them.

        Raises RowsRefused when rows are not what tables hold.
        """
        ...


class EncodedStore(BulkStore, Protocol):
    """A BulkStore that takes encoded rows at the head, too."""

    async def commit_chunk(self, chunk: Chunk, *, after: BlockRef | None) -> None:
        """Store encoded blocks at the head, as `commit` does. Raises RowsRefused when rows are not what tables hold."""
        ...
