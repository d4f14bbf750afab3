"""ChainStore in memory: for simulations and tests. It passes the same suite as PgStore (tests/ports)."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from core.errors import CursorMoved, SeamBroken, WrongChain
from core.store.copy import check_linked
from core.types import Block, BlockRange, BlockRef, Head, joined


@dataclass(frozen=True, slots=True)
class Orphan:
    """A block that a rewind or a discard took away, and why."""

    block: Block
    reason: str


@dataclass(slots=True)
class MemoryStore:
    """Blocks by number, a cursor, and what was orphaned."""

    chain_id: int = 1
    blocks: dict[int, Block] = field(default_factory=dict)
    orphans: list[Orphan] = field(default_factory=list)
    newest: Head | None = None
    _cursor: BlockRef | None = None
    _genesis: bytes | None = None
    _followed_from: int | None = None

    async def register(self, name: str, genesis_hash: bytes | None) -> None:
        """Make the chain known. Raises WrongChain if another chain is held under this id."""
        if self._genesis is not None and genesis_hash is not None and genesis_hash != self._genesis:
            raise WrongChain(f"chain {self.chain_id} ({name}): filled from another genesis")
        self._genesis = self._genesis or genesis_hash

    async def cursor(self) -> BlockRef | None:
        """Return the last block the head writer committed."""
        return self._cursor

    async def coverage(self) -> tuple[BlockRange, ...]:
        """Return the stored ranges in ascending order, adjacent ones joined."""
        return joined(BlockRange(number, number) for number in self.blocks)

    async def followed_from(self) -> int | None:
        """Return the first block the head writer ever committed."""
        return self._followed_from

    async def ref_at(self, number: int) -> BlockRef | None:
        """Return the stored block at `number`."""
        found = self.blocks.get(number)
        return None if found is None else found.ref

    async def saw(self, head: Head) -> None:
        """Note the newest head a node announced, for lag."""
        self.newest = head

    async def commit(self, blocks: Sequence[Block], *, after: BlockRef | None) -> None:
        """Store linked `blocks` and move the cursor from `after` to the last of them."""
        check_linked(blocks)
        if self._cursor != after:
            raise CursorMoved(f"cursor is {self._cursor}, expected {after}")
        first = blocks[0]
        if after is not None and first.number <= after.number:
            raise SeamBroken(f"block {first.ref} is not above cursor {after}")
        self._check_below(first)
        self._put(blocks)
        self._cursor = blocks[-1].ref
        if after is None and self._followed_from is None:
            self._followed_from = first.number

    async def fill(self, blocks: Sequence[Block], *, anchored: bool = True) -> None:
        """Store linked `blocks` into a hole."""
        check_linked(blocks)
        first, last = blocks[0], blocks[-1]
        above = self.blocks.get(last.number + 1)
        if above is None and anchored:
            raise SeamBroken(f"block {last.number + 1} is not stored any more")
        if above is not None and above.parent_hash != last.hash:
            raise SeamBroken(f"block {last.ref} is not the parent of {above.ref}")
        self._check_below_cursor(last)
        self._check_below(first)
        taken = [block.number for block in blocks if block.number in self.blocks]
        if taken:
            raise SeamBroken(f"blocks {taken} are stored already")
        self._put(blocks)

    async def join_coverage(self) -> None:
        """Do nothing: ranges are always joined here."""

    async def rewind(self, cursor: BlockRef, ancestor: BlockRef | None, *, reason: str) -> None:
        """Archive and remove every block above `ancestor` and move the cursor from `cursor` to it."""
        above = -1 if ancestor is None else ancestor.number
        if self._cursor != cursor:
            raise CursorMoved(f"cursor is {self._cursor}, expected {cursor}")
        orphans = BlockRange(above + 1, cursor.number)
        if ancestor is not None and await self.ref_at(ancestor.number) != ancestor:
            raise SeamBroken(f"block {ancestor} is not stored any more")
        self._remove(above, orphans.last, reason)
        self._cursor = ancestor

    async def discard(self, first: int, tip: BlockRef, *, reason: str) -> None:
        """Archive and remove the blocks from `first` to `tip`, and their coverage."""
        orphans = BlockRange(first, tip.number)
        if await self.ref_at(tip.number) != tip or tip.number + 1 in self.blocks:
            raise SeamBroken(f"block {tip} is not the top of a stored range any more")
        self._check_below_cursor(self.blocks[tip.number])
        self._remove(orphans.first - 1, orphans.last, reason)

    def _check_below_cursor(self, last: Block) -> None:
        if self._cursor is None or last.number >= self._cursor.number:
            raise SeamBroken(f"block {last.ref} is not below cursor {self._cursor}")

    def _check_below(self, first: Block) -> None:
        below = self.blocks.get(first.number - 1)
        if below is not None and below.hash != first.parent_hash:
            raise SeamBroken(f"block {first.ref} is not the child of {below.ref}")

    def _put(self, blocks: Sequence[Block]) -> None:
        taken = [block.number for block in blocks if block.number in self.blocks]
        if taken:
            raise CursorMoved(f"blocks {taken} are stored already")
        self.blocks.update({block.number: block for block in blocks})

    def _remove(self, above: int, last: int, reason: str) -> None:
        for number in [n for n in self.blocks if above < n <= last]:
            self.orphans.append(Orphan(self.blocks.pop(number), reason))
