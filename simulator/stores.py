"""A database that fails: while it is read, before a write, in its midst, or after it."""

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol, TypeVar

from core.alarm import AlarmLog
from core.errors import StoreUnavailable
from core.facts import FactLog
from core.store.bulk import Chunk, RowsRefused
from core.store.lease import Lease
from core.store.memory import MemoryAlarms, MemoryFacts, MemoryStore
from core.store.port import ChainStore
from core.types import Block, BlockRange, BlockRef, Finality, Head
from indexer.finality import FinalityStore
from indexer.retention import Pruner
from indexer.watch import only_events, watching
from simulator.blocks import WATCHED
from simulator.clock import LoopClock
from simulator.judge import Diverged, Evidence, Judge, Row, Stored
from simulator.weather import Mode
from simulator.world import World

REFUSED: Final = 0.03  # how often a database refuses encoded rows
MIDWAY: Final = ("40001 could not serialize access", "53100 could not extend file: no space left on device")

T = TypeVar("T")
Keep = Callable[[Block], Block]


@dataclass(frozen=True, slots=True)
class Doors:
    """What one process has of a database."""

    store: ChainStore
    finality: FinalityStore
    alarms: AlarmLog
    pruner: Pruner
    facts: FactLog


class Database(Evidence, Protocol):
    """A database of one chain, which processes share."""

    def doors(self) -> Doors:
        """Return what a process that starts now has of it."""
        ...

    async def rehearse(self, write: Callable[[Doors], Awaitable[object]]) -> None:
        """Carry out a write, and roll it back. Raises what the write raises."""
        ...


def keep_of(mode: Mode) -> Keep:
    """Return what of a block is stored."""
    match mode:
        case "full":
            return lambda block: block
        case "watch":
            return watching(WATCHED)
        case "events":
            return only_events(WATCHED)


class MemoryDatabase:
    """A database in memory (Database)."""

    def __init__(self, world: World) -> None:
        self._keep = keep_of(world.plan.mode)
        self.store = self.made(MemoryFacts(LoopClock()), self._keep)

    def made(self, facts: MemoryFacts, keep: Keep) -> MemoryStore:
        """Return an empty store; tests make defective ones."""
        return MemoryStore(facts=facts, keep=keep)

    def doors(self) -> Doors:
        """Return what a process that starts now has of it."""
        return _doors(self.store)

    async def rehearse(self, write: Callable[[Doors], Awaitable[object]]) -> None:
        """Carry out a write in a copy."""
        store = self.store
        facts, alarms = MemoryFacts(LoopClock()), MemoryAlarms()
        await write(_doors(replace(store, facts=facts, alarms=alarms, blocks=dict(store.blocks), orphans=[])))

    async def look(self, after: int) -> Stored:
        """Return all of one moment, with the facts after this number."""
        store = self.store
        rows = {number: Row(block.hash, block.parent_hash, block) for number, block in store.blocks.items()}
        alarms, told = len(await store.alarms.raised()), await store.facts.after(after, 1_000_000)
        return Stored(rows, await store.coverage(), await store.cursor(), store.judged, alarms, told)

    def content(self, block: Block) -> object:
        """Return the block as it is stored."""
        return self._keep(block)

    async def compare(self, canonical: Sequence[Block]) -> None:
        """Compare what is stored with what is kept of these blocks."""
        if {block.number: self._keep(block) for block in canonical} != self.store.blocks:
            raise Diverged("stored blocks are not those of the chain")


def _doors(store: MemoryStore) -> Doors:
    return Doors(store, store, store.alarms, store, store.facts)


class FaultyStore:
    """An EncodedStore in front of a Database whose calls fail now and then; after every write the judge looks."""

    def __init__(self, doors: Doors, database: Database, world: World, judge: Judge) -> None:
        self._doors = doors
        self._store = doors.store
        self._database = database
        self._world = world
        self._judge = judge

    async def register(self, name: str, genesis_hash: bytes | None) -> None:
        """Make the chain known."""
        await self._store.register(name, genesis_hash)

    async def cursor(self) -> BlockRef | None:
        """Return the cursor."""
        return await self._read("cursor", self._store.cursor)

    async def coverage(self) -> tuple[BlockRange, ...]:
        """Return the stored ranges."""
        return await self._read("coverage", self._store.coverage)

    async def followed_from(self) -> int | None:
        """Return the first followed block."""
        return await self._read("followed_from", self._store.followed_from)

    async def ref_at(self, number: int) -> BlockRef | None:
        """Return a stored block."""
        return await self._read("ref_at", lambda: self._store.ref_at(number))

    async def saw(self, head: Head) -> None:
        """Note a head."""
        await self._read("saw", lambda: self._store.saw(head))

    async def commit(self, blocks: Sequence[Block], *, after: BlockRef | None) -> None:
        """Commit, or not, or without an answer."""
        await self.write("commit", lambda doors: doors.store.commit(blocks, after=after))

    async def fill(self, blocks: Sequence[Block], *, anchored: bool = True) -> None:
        """Fill, or not, or without an answer."""
        await self.write("fill", lambda doors: doors.store.fill(blocks, anchored=anchored))

    async def fill_chunk(self, chunk: Chunk, *, anchored: bool, lease: Lease | None = None) -> None:
        """Fill with blocks that an encoder left whole (simulator/bulk.py), or refuse them."""
        del lease
        self._refuse(chunk)
        await self.write("fill_chunk", lambda doors: doors.store.fill(chunk.headers, anchored=anchored))

    async def commit_chunk(self, chunk: Chunk, *, after: BlockRef | None) -> None:
        """Commit blocks that an encoder left whole, or refuse them."""
        self._refuse(chunk)
        await self.write("commit_chunk", lambda doors: doors.store.commit(chunk.headers, after=after))

    def _refuse(self, chunk: Chunk) -> None:
        if self._world.strikes(self._world.fate("rows", chunk.headers[0].hash), "rows refused", REFUSED):
            raise RowsRefused("no table holds this")

    async def begin(self, block: Block, *, after: BlockRef | None = None) -> None:
        """Store a block for history to be filled below."""
        await self.commit([block], after=after)

    async def join_coverage(self) -> None:
        """Join ranges, or not, or without an answer."""
        await self.write("join_coverage", lambda doors: doors.store.join_coverage())

    async def rewind(self, cursor: BlockRef, ancestor: BlockRef | None, *, reason: str) -> None:
        """Rewind, or not, or without an answer."""
        await self.write("rewind", lambda doors: doors.store.rewind(cursor, ancestor, reason=reason))

    async def discard(self, first: int, tip: BlockRef, *, reason: str) -> None:
        """Discard, or not, or without an answer."""
        await self.write("discard", lambda doors: doors.store.discard(first, tip, reason=reason))

    async def write(self, what: str, write: Callable[[Doors], Awaitable[T]]) -> T:
        """Carry out a write, or not, or without an answer, and let the judge look."""
        world, weather = self._world, self._world.weather
        dice = world.fate("store", what)
        await world.blink(dice, weather.write_s)
        if world.strikes(dice, "store failed before", weather.store_before):
            raise StoreUnavailable(f"{what}: 08006 connection failure")
        if world.strikes(dice, "store failed midway", weather.store_midway):
            await self._database.rehearse(write)
            raise StoreUnavailable(f"{what}: {dice.choice(MIDWAY)}")
        done = await write(self._doors)
        await self._judge.look()
        world.writes[what] += 1
        await world.blink(dice)
        if world.strikes(dice, "store reply lost", weather.store_after):
            raise StoreUnavailable(f"{what}: done, but the reply was lost")
        return done

    async def _read(self, what: str, read: Callable[[], Awaitable[T]]) -> T:
        dice: random.Random = self._world.fate("read", what)
        await self._world.blink(dice)
        if self._world.strikes(dice, "store not read", self._world.weather.store_read):
            raise StoreUnavailable(f"{what}: 57P01 terminating connection")
        return await read()


class FaultyFinality:
    """A FinalityStore whose writes fail as a FaultyStore's do."""

    def __init__(self, store: FaultyStore) -> None:
        self._store = store

    async def note(self, found: Finality) -> None:
        """Note, or not, or without an answer."""
        await self._store.write("note", lambda doors: doors.finality.note(found))


class FaultyPruner:
    """A Pruner whose writes fail as a FaultyStore's do; the judge is told how far it may go."""

    def __init__(self, store: FaultyStore, judge: Judge) -> None:
        self._store = store
        self._judge = judge

    async def prune(self, below: int, limit: int) -> BlockRange | None:
        """Prune, or not, or without an answer."""
        self._judge.may_go(below)
        return await self._store.write("prune", lambda doors: doors.pruner.prune(below, limit))

    async def drop_empty(self, below: int) -> list[str]:
        """Give back the space of what is empty."""
        return await self._store.write("drop_empty", lambda doors: doors.pruner.drop_empty(below))
