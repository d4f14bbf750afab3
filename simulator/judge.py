"""What must be true of what is stored: after every write, and when all is quiet.

After every write: rows, coverage, links, cursor, facts and alarms agree with one another, and every stored block is one
that the chain had at some time, whole. When all is quiet: what is stored is the canonical chain, compared both ways.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from core.facts import BlockFact, Fact, FillFact, FinalizeFact, ReorgFact, Told
from core.types import Block, BlockRange, BlockRef
from indexer.plan import holes
from indexer.retention import wanted_from
from simulator.world import World


class Diverged(AssertionError):
    """What is stored is not what it should be."""


@dataclass(frozen=True, slots=True)
class Row:
    """What is stored of one block. `content` is whatever a database shows of the rest of it."""

    hash: bytes
    parent_hash: bytes
    content: object


@dataclass(frozen=True, slots=True)
class Stored:
    """All that is stored at one moment, and what was told since an earlier one.

    Coverage has its ranges joined; `final` are the numbers of the safe and the finalized block.
    """

    rows: Mapping[int, Row]
    coverage: tuple[BlockRange, ...]
    cursor: BlockRef | None
    final: tuple[int | None, int | None]
    alarms: int
    told: Sequence[Told]

    def check(self) -> None:
        """Raise Diverged unless rows, coverage, links and cursor agree with one another."""
        spans: list[list[int]] = []
        for number in sorted(self.rows):
            below = self.rows.get(number - 1)
            if below is None:
                spans.append([number, number])
                continue
            spans[-1][1] = number
            if below.hash != self.rows[number].parent_hash:
                raise Diverged(f"stored block {number} is not the child of stored block {number - 1}")
        if [(span.first, span.last) for span in self.coverage] != [(first, last) for first, last in spans]:
            raise Diverged(f"coverage says {', '.join(map(str, self.coverage))}; rows are {spans}")
        self._check_cursor(spans[-1][1] if spans else -1)

    def _check_cursor(self, top: int) -> None:
        if self.cursor is None:
            if self.rows:
                raise Diverged(f"no cursor, but blocks up to {top}")
        elif top != self.cursor.number or self.rows[top].hash != self.cursor.hash:
            raise Diverged(f"cursor is {self.cursor}, the highest stored block is {top}")


class Evidence(Protocol):
    """What the judge sees of a database."""

    async def look(self, after: int) -> Stored:
        """Return all of one moment, with the facts after this number."""
        ...

    def content(self, block: Block) -> object:
        """Return what a row's content is if it is this block's."""
        ...

    async def compare(self, canonical: Sequence[Block]) -> None:
        """Raise Diverged unless every table holds what a fresh index of these blocks would, where they are stored."""
        ...


class Replay:
    """The blocks that facts leave behind: number -> hash, None within a filled range, which only tells its last.

    `floor`: below it, retention may have taken blocks away, of which no fact tells, and backfill may tell them again.
    """

    def __init__(self) -> None:
        self.seq = 0
        self.blocks: dict[int, bytes | None] = {}
        self.safe: int | None = None
        self.finalized: int | None = None
        self.alarms = 0
        self.floor = 0

    def follow(self, told: Sequence[Told]) -> None:
        """Carry out facts. Raises Diverged where one does not fit what was told before it."""
        for each in told:
            self.seq += 1
            if each.seq != self.seq:
                raise Diverged(f"fact {self.seq} has number {each.seq}")
            self._carry_out(each.fact)

    def _carry_out(self, fact: Fact) -> None:
        match fact:
            case BlockFact(block=ref, parent_hash=parent):
                self._put(BlockRange(ref.number, ref.number), parent, ref.hash)
            case FillFact(blocks=span, parent_hash=parent, tip_hash=tip):
                self._put(span, parent, tip)
            case ReorgFact(orphans=span, tip_hash=tip):
                self._take(span, tip)
            case FinalizeFact(safe=safe, finalized=finalized):
                self.safe = self.safe if safe is None else safe.number
                self.finalized = self.finalized if finalized is None else finalized.number

    def _put(self, span: BlockRange, parent: bytes, tip: bytes) -> None:
        below = self.blocks.get(span.first - 1)
        if below is not None and below != parent and span.first - 1 >= self.floor:
            raise Diverged(f"fact {self.seq} tells of block {span.first}, which does not join the one told below it")
        for number in range(span.first, span.last + 1):
            if number in self.blocks and number >= self.floor:
                raise Diverged(f"fact {self.seq}: block {number} is told twice")
            self.blocks[number] = None
        self.blocks[span.last] = tip

    def _take(self, span: BlockRange, tip: bytes) -> None:
        if self.blocks.get(span.last) not in (tip, None):
            raise Diverged(f"fact {self.seq} orphans a block {span.last} that was never told")
        for number in range(span.first, span.last + 1):
            self.blocks.pop(number, None)
        self.alarms += self.finalized is not None and self.finalized >= span.first
        if self.safe is not None and self.safe in span:
            self.safe = span.first - 1
            self.finalized = None if self.finalized is None else min(self.finalized, self.safe)

    def compare(self, rows: Mapping[int, Row]) -> None:
        """Raise Diverged unless these rows are what was told."""
        odd = [n for n in self.blocks.keys() ^ rows.keys() if n in rows or n >= self.floor]
        if odd:
            raise Diverged(f"facts and rows differ in blocks {sorted(odd)}")
        for number, row in rows.items():
            if self.blocks[number] not in (row.hash, None):
                raise Diverged(f"facts tell of another block {number} than is stored")


class Judge:
    """Looks at a database and compares it with the world; `reader` is what somebody knows who only reads the facts."""

    def __init__(self, world: World, evidence: Evidence) -> None:
        self.replay = Replay()
        self.reader = Replay()
        self._world = world
        self._evidence = evidence
        self._looking = asyncio.Lock()
        self._sound: dict[int, Row] = {}

    def may_go(self, below: int) -> None:
        """Let retention take what is below this height."""
        if below > wanted_from(self._world.highest, self._world.plan.retain_blocks):
            raise Diverged(f"retention takes blocks below {below}, of which some are wanted")
        for replay in (self.replay, self.reader):
            replay.floor = max(replay.floor, below)

    async def look(self) -> Stored:
        """Return what is stored. Raises Diverged unless it could be true at any moment."""
        async with self._looking:
            stored = await self._evidence.look(self.replay.seq)
            stored.check()
            self._check_content(stored)
            self.replay.follow(stored.told)
        self.replay.compare(stored.rows)
        if stored.alarms != self.replay.alarms:
            raise Diverged(f"{stored.alarms} alarms raised, {self.replay.alarms} times finalized blocks were orphaned")
        if stored.final != (self.replay.safe, self.replay.finalized):
            raise Diverged(f"safe, finalized: {stored.final}; told: {self.replay.safe}, {self.replay.finalized}")
        return stored

    def _check_content(self, stored: Stored) -> None:
        """What a node has made up, or left out, is in no block of the chain's."""
        for number, row in stored.rows.items():
            sound = self._sound.get(number)
            if sound is not None and sound.content is row.content and sound.hash == row.hash:
                continue
            true = self._world.known.get(row.hash)
            if true is None or true.number != number:
                raise Diverged(f"block {number} (0x{row.hash[:4].hex()}…) is stored, and no chain ever had it")
            if self._evidence.content(true) != row.content:
                raise Diverged(f"block {true.ref} is stored with other content than it has")
            self._sound[number] = row

    def settled(self, stored: Stored, followed_from: int | None) -> bool:
        """Whether all that is wanted is stored."""
        return stored.cursor == self._world.canonical[-1].ref and not self._missing(stored, followed_from)

    def _missing(self, stored: Stored, followed_from: int | None) -> tuple[BlockRange, ...]:
        plan, head = self._world.plan, len(self._world.canonical) - 1
        lowest = wanted_from(head, plan.retain_blocks)
        spans = [(span.first, span.last) for span in plan.wanted] + [(followed_from or 0, None)]
        bounds = [(max(first, lowest), head if last is None else min(last, head)) for first, last in spans]
        return holes(stored.coverage, [BlockRange(first, last) for first, last in bounds if first <= last])

    async def verdict(self, followed_from: int | None) -> None:
        """Raise Diverged unless exactly the canonical chain is stored, all of it that is wanted."""
        stored, canonical = await self.look(), self._world.canonical
        if stored.cursor != canonical[-1].ref:
            raise Diverged(f"cursor is {stored.cursor}, head is {canonical[-1].ref}")
        for number, row in stored.rows.items():
            if canonical[number].hash != row.hash:
                raise Diverged(f"stored block {number} is not canonical")
        missing = self._missing(stored, followed_from)
        if missing:
            raise Diverged(f"blocks {', '.join(map(str, missing))} are wanted and not stored")
        self.reader.compare(stored.rows)
        self._check_finality(stored)
        await self._evidence.compare([canonical[number] for number in sorted(stored.rows)])

    def _check_finality(self, stored: Stored) -> None:
        final = self._world.finality(self._world.canonical)
        found = {"safe": self.replay.safe, "finalized": self.replay.finalized}
        for name, ref in (("safe", final.safe), ("finalized", final.finalized)):
            if ref is not None and ref.number in stored.rows and found[name] != ref.number:
                raise Diverged(f"{name} is {found[name]}, the chain's is {ref.number}")
