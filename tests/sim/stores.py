"""A store that fails before and after its transactions, and one look at all that is stored."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from core.errors import StoreUnavailable
from core.facts import BlockFact, FillFact, FinalizeFact, ReorgFact, Told
from core.store.bulk import Chunk, RowsRefused
from core.store.facts import SQL_AFTER, told_of
from core.store.lease import Lease
from core.store.memory import MemoryStore
from core.store.pool import Pool
from core.store.port import ChainStore
from core.types import Block, BlockRange, BlockRef, Head, joined
from tests.sim.world import Pause, World, yield_once

REFUSED = 0.03  # how often a database refuses encoded rows
SQL_BLOCKS = "select number, hash, parent_hash from chain.block where chain_id = $1"
SQL_COVERAGE = "select lower(blocks) as first, upper(blocks) - 1 as last from chain.coverage where chain_id = $1"
SQL_CURSOR = "select number, hash from chain.cursor where chain_id = $1"


class Diverged(AssertionError):
    """What is stored is not what it should be."""


@dataclass(frozen=True, slots=True)
class Stored:
    """All that is stored at one moment, blocks by number -> (hash, parent hash), and all that was ever told of it."""

    blocks: Mapping[int, tuple[bytes, bytes]]
    coverage: tuple[BlockRange, ...]
    cursor: BlockRef | None
    facts: Sequence[Told]

    def check(self) -> None:
        """Raise Diverged unless rows, coverage, links, cursor and the replayed facts agree with one another."""
        rows = joined(BlockRange(number, number) for number in self.blocks)
        if rows != self.coverage:
            raise Diverged(f"coverage says {self.coverage}, rows are {rows}")
        for number, (_, parent) in self.blocks.items():
            below = self.blocks.get(number - 1)
            if below is not None and below[0] != parent:
                raise Diverged(f"stored block {number} is not the child of stored block {number - 1}")
        self._check_cursor()
        self._check_facts()

    def _check_cursor(self) -> None:
        top = max(self.blocks, default=-1)
        if self.cursor is None:
            if self.blocks:
                raise Diverged(f"no cursor, but blocks up to {top}")
        elif top != self.cursor.number or self.blocks[top][0] != self.cursor.hash:
            raise Diverged(f"cursor is {self.cursor}, the highest stored block is {top}")

    def _check_facts(self) -> None:
        told = replayed(self.facts)
        if told.keys() != self.blocks.keys():
            odd = sorted(told.keys() ^ self.blocks.keys())
            raise Diverged(f"facts and rows differ in blocks {odd}")
        for number, hash_ in told.items():
            if hash_ is not None and hash_ != self.blocks[number][0]:
                raise Diverged(f"facts tell of another block {number} than is stored")


class Look(Protocol):
    """Reads everything of one moment."""

    async def __call__(self) -> Stored:
        """Return it."""
        ...


def replayed(facts: Sequence[Told]) -> dict[int, bytes | None]:
    """Return the blocks that the facts leave: number -> hash, None within a filled range, which only tells its last.

    Raises Diverged where a fact does not fit what was told before it.
    """
    blocks: dict[int, bytes | None] = {}
    for place, told in enumerate(facts, 1):
        if told.seq != place:
            raise Diverged(f"fact {place} has number {told.seq}")
        match told.fact:
            case BlockFact(block=ref, parent_hash=parent):
                _put(blocks, BlockRange(ref.number, ref.number), parent, ref.hash)
            case FillFact(blocks=span, parent_hash=parent, tip_hash=tip):
                _put(blocks, span, parent, tip)
            case ReorgFact(orphans=span, tip_hash=tip):
                if blocks.get(span.last) not in (tip, None):
                    raise Diverged(f"fact {place} orphans a block {span.last} that was never told")
                for number in [n for n in blocks if n in span]:
                    del blocks[number]
            case FinalizeFact():
                pass
    return blocks


def _put(blocks: dict[int, bytes | None], span: BlockRange, parent: bytes, tip: bytes) -> None:
    below = blocks.get(span.first - 1)
    if below is not None and below != parent:
        raise Diverged(f"a fact tells of block {span.first}, which does not join the one that was told below it")
    for number in range(span.first, span.last + 1):
        if number in blocks:
            raise Diverged(f"block {number} is told twice")
        blocks[number] = None
    blocks[span.last] = tip


def look_into_memory(store: MemoryStore) -> Look:
    """Return a Look at `store`."""

    async def look() -> Stored:
        blocks = {number: (block.hash, block.parent_hash) for number, block in store.blocks.items()}
        return Stored(blocks, await store.coverage(), await store.cursor(), await store.facts.after(0, 1_000_000))

    return look


def look_into_postgres(pool: Pool, chain: int) -> Look:
    """Return a Look at one chain's rows, in one snapshot."""

    async def look() -> Stored:
        async with pool.acquire() as conn, conn.transaction(isolation="repeatable_read", readonly=True):
            rows = await conn.fetch(SQL_BLOCKS, chain)
            spans = [BlockRange(row["first"], row["last"]) for row in await conn.fetch(SQL_COVERAGE, chain)]
            found = await conn.fetchrow(SQL_CURSOR, chain)
            facts = [told_of(row) for row in await conn.fetch(SQL_AFTER, chain, 0, 1_000_000)]
        cursor = BlockRef(found["number"], found["hash"]) if found else None
        return Stored({row["number"]: (row["hash"], row["parent_hash"]) for row in rows}, joined(spans), cursor, facts)

    return look


class FaultyStore:
    """A ChainStore whose writes fail before they begin, or after they are done: the lost reply."""

    def __init__(self, store: ChainStore, world: World, look: Look, *, pause: Pause = yield_once) -> None:
        self._store = store
        self._world = world
        self._look = look
        self._pause = pause

    async def register(self, name: str, genesis_hash: bytes | None) -> None:
        """Make the chain known."""
        await self._store.register(name, genesis_hash)

    async def cursor(self) -> BlockRef | None:
        """Return the cursor."""
        await self._pause()
        return await self._store.cursor()

    async def coverage(self) -> tuple[BlockRange, ...]:
        """Return the stored ranges."""
        await self._pause()
        return await self._store.coverage()

    async def followed_from(self) -> int | None:
        """Return the first followed block."""
        await self._pause()
        return await self._store.followed_from()

    async def ref_at(self, number: int) -> BlockRef | None:
        """Return a stored block."""
        await self._pause()
        return await self._store.ref_at(number)

    async def saw(self, head: Head) -> None:
        """Note a head."""
        await self._store.saw(head)

    async def commit(self, blocks: Sequence[Block], *, after: BlockRef | None) -> None:
        """Commit, or not, or without an answer."""
        await self._write("commit", lambda: self._store.commit(blocks, after=after))

    async def fill(self, blocks: Sequence[Block], *, anchored: bool = True) -> None:
        """Fill, or not, or without an answer."""
        await self._write("fill", lambda: self._store.fill(blocks, anchored=anchored))

    async def fill_chunk(self, chunk: Chunk, *, anchored: bool, lease: Lease | None = None) -> None:
        """Fill with blocks that an encoder left whole (tests/sim/bulk.py), or refuse them."""
        if self._world.strikes(self._world.fate("rows", chunk.headers[0].hash), "rows refused", REFUSED):
            raise RowsRefused("no table holds this")
        await self._write("fill_chunk", lambda: self._store.fill(chunk.headers, anchored=anchored))

    async def begin(self, block: Block, *, after: BlockRef | None = None) -> None:
        """Store a block for history to be filled below."""
        await self.commit([block], after=after)

    async def join_coverage(self) -> None:
        """Join ranges, or not, or without an answer."""
        await self._write("join_coverage", self._store.join_coverage)

    async def rewind(self, cursor: BlockRef, ancestor: BlockRef | None, *, reason: str) -> None:
        """Rewind, or not, or without an answer."""
        await self._write("rewind", lambda: self._store.rewind(cursor, ancestor, reason=reason))

    async def discard(self, first: int, tip: BlockRef, *, reason: str) -> None:
        """Discard, or not, or without an answer."""
        await self._write("discard", lambda: self._store.discard(first, tip, reason=reason))

    async def _write(self, what: str, write: Callable[[], Awaitable[None]]) -> None:
        world = self._world
        dice = world.fate("store", what)
        await self._pause()
        if world.strikes(dice, "store failed before", world.weather.store_before):
            raise StoreUnavailable(f"{what}: not done")
        await write()
        world.faults[f"({what})"] += 1
        (await self._look()).check()
        await self._pause()
        if world.strikes(dice, "store reply lost", world.weather.store_after):
            raise StoreUnavailable(f"{what}: done, but the reply was lost")
