"""ChainStore in memory: for simulations and tests. It passes the same suite as PgStore (tests/ports)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from core.alarm import Alarm
from core.clock import Clock, SystemClock
from core.errors import CursorMoved, SeamBroken, WrongChain
from core.facts import Fact, FactsGone, FinalizeFact, ReorgFact, Tail, Told
from core.store.copy import check_linked
from core.store.facts import of_fill, of_head
from core.types import Block, BlockRange, BlockRef, Finality, Head


@dataclass(frozen=True, slots=True)
class Orphan:
    """A block that a rewind or a discard took away, and why."""

    block: Block
    reason: str


class MemoryFacts:
    """Facts in memory (FactLog)."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._told: list[Told] = []
        self._pruned = 0

    def tell(self, facts: Sequence[Fact]) -> None:
        """Add facts."""
        at, last = self._clock.now(), self._pruned + len(self._told)
        self._told += [Told(last + place, at, fact) for place, fact in enumerate(facts, 1)]

    async def tail(self) -> Tail:
        """Return which facts there are."""
        return Tail(self._pruned, self._pruned + len(self._told))

    async def after(self, seq: int, limit: int) -> tuple[Told, ...]:
        """Return the facts after number `seq`, `limit` at most. Raises FactsGone."""
        tail = await self.tail()
        if not tail.pruned <= seq <= tail.last:
            raise FactsGone(seq, tail)
        return tuple(self._told[seq - self._pruned :][:limit])

    async def prune(self, before: datetime, limit: int) -> int:
        """Forget facts told before `before`, the oldest first and `limit` at most; return how many."""
        old = [told.seq for told in self._told[:limit] if told.told_at < before]
        gone = max(old, default=self._pruned) - self._pruned
        del self._told[:gone]
        self._pruned += gone
        return gone


class MemoryAlarms:
    """Alarms in memory (AlarmLog), and who cleared them and why."""

    def __init__(self) -> None:
        self._raised: list[Alarm] = []
        self.cleared: list[tuple[Alarm, str, str]] = []

    def sound(self, alarm: Alarm) -> None:
        """Raise an alarm."""
        self._raised.append(alarm)

    async def raised(self) -> tuple[Alarm, ...]:
        """Return the alarms that nobody has cleared, oldest first."""
        return tuple(self._raised)

    async def clear(self, by: str, because: str) -> int:
        """Clear all of them; return how many there were."""
        count = len(self._raised)
        self.cleared += [(alarm, by, because) for alarm in self._raised]
        self._raised.clear()
        return count


@dataclass(slots=True)
class MemoryStore:
    """Blocks by number, a cursor, what was orphaned, and the facts of all that.

    `keep` leaves out of a block what is not to be stored (indexer/watch.py).
    """

    chain_id: int = 1
    keep: Callable[[Block], Block] = lambda block: block
    facts: MemoryFacts = field(default_factory=MemoryFacts)
    alarms: MemoryAlarms = field(default_factory=MemoryAlarms)
    blocks: dict[int, Block] = field(default_factory=dict)
    orphans: list[Orphan] = field(default_factory=list)
    newest: Head | None = None
    _cursor: BlockRef | None = None
    _genesis: bytes | None = None
    _followed_from: int | None = None
    _safe: int | None = None
    _finalized: int | None = None
    _by_depth: bool = False

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
        spans: list[list[int]] = []
        for number in sorted(self.blocks):
            if spans and spans[-1][1] == number - 1:
                spans[-1][1] = number
            else:
                spans.append([number, number])
        return tuple(BlockRange(first, last) for first, last in spans)

    async def followed_from(self) -> int | None:
        """Return the first block the head writer ever committed."""
        return self._followed_from

    async def ref_at(self, number: int) -> BlockRef | None:
        """Return the stored block at `number`."""
        found = self.blocks.get(number)
        return None if found is None else found.ref

    @property
    def judged(self) -> tuple[int | None, int | None]:
        """The safe and the finalized block's number."""
        return self._safe, self._finalized

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
        self.facts.tell(of_head(blocks))

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
        self.facts.tell([of_fill(blocks)])

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
        self._remove(orphans, ancestor.hash if ancestor else None, cursor.hash, reason)
        self._cursor = ancestor

    async def discard(self, first: int, tip: BlockRef, *, reason: str) -> None:
        """Archive and remove the blocks from `first` to `tip`, and their coverage."""
        orphans = BlockRange(first, tip.number)
        if await self.ref_at(tip.number) != tip or tip.number + 1 in self.blocks:
            raise SeamBroken(f"block {tip} is not the top of a stored range any more")
        self._check_below_cursor(self.blocks[tip.number])
        below = self.blocks.get(first - 1)
        self._remove(orphans, below.hash if below else None, tip.hash, reason)

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
        self.blocks.update({block.number: self.keep(block) for block in blocks})

    def _remove(self, orphans: BlockRange, below: bytes | None, tip: bytes, reason: str) -> None:
        gone = ReorgFact(orphans=orphans, ancestor_hash=below, tip_hash=tip, reason=reason)
        for number in [n for n in self.blocks if n in gone.orphans]:
            self.orphans.append(Orphan(self.blocks.pop(number), gone.reason))
        if self._finalized is not None and self._finalized >= gone.orphans.first:
            self.alarms.sound(
                Alarm(
                    raised_at=datetime.now(UTC), finalized=self._finalized, by_depth=self._by_depth,
                    orphans=gone.orphans, tip_hash=gone.tip_hash, reason=gone.reason,
                )
            )  # fmt: skip
        if self._safe is not None and self._safe in gone.orphans:
            self._safe = gone.orphans.first - 1
            self._finalized = None if self._finalized is None else min(self._finalized, self._safe)
        self.facts.tell([gone])

    # -- retention (Pruner) ------------------------------------------------------------------------------------------

    async def prune(self, below: int, limit: int) -> BlockRange | None:
        """Remove up to `limit` of the oldest blocks below `below` and the cursor; None if there are none."""
        below = min(below, -1 if self._cursor is None else self._cursor.number)
        oldest = next((span for span in await self.coverage() if span.first < below), None)
        if oldest is None:
            return None
        old = BlockRange(oldest.first, min(oldest.last, oldest.first + limit - 1, below - 1))
        for number in range(old.first, old.last + 1):
            del self.blocks[number]
        return old

    async def drop_empty(self, below: int) -> list[str]:
        """Drop nothing: there are no partitions here."""
        del below
        return []

    # -- finality (FinalityStore) ------------------------------------------------------------------------------------

    async def note(self, found: Finality) -> None:
        """Raise what is safe and finalized to those of the blocks that are stored; a lagging node lowers nothing."""
        if self.newest is None:
            return
        before = (self._safe, self._finalized)
        proven = [ref.number for ref in (found.safe, found.finalized) if ref is not None and self._holds(ref)]
        self._safe = max([*proven, *([] if self._safe is None else [self._safe])], default=None)
        if found.finalized is not None and self._holds(found.finalized):
            self._finalized = max(found.finalized.number, -1 if self._finalized is None else self._finalized)
        self._by_depth = found.by_depth
        if (self._safe, self._finalized) != before:
            safe, finalized = self._ref(self._safe), self._ref(self._finalized)
            self.facts.tell([FinalizeFact(safe=safe, finalized=finalized, by_depth=found.by_depth)])

    def _holds(self, ref: BlockRef) -> bool:
        return self._ref(ref.number) == ref

    def _ref(self, number: int | None) -> BlockRef | None:
        found = None if number is None else self.blocks.get(number)
        return None if found is None else found.ref
