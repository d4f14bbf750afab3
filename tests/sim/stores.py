"""A store that fails before and after its transactions, and one look at all that is stored."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from core.errors import StoreUnavailable
from core.store.bulk import Chunk, RowsRefused
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
    """All that is stored at one moment: number -> (hash, parent hash)."""

    blocks: Mapping[int, tuple[bytes, bytes]]
    coverage: tuple[BlockRange, ...]
    cursor: BlockRef | None

    def check(self) -> None:
        """Raise Diverged unless rows, coverage, links and cursor agree with one another."""
        rows = joined(BlockRange(number, number) for number in self.blocks)
        if rows != self.coverage:
            raise Diverged(f"coverage says {self.coverage}, rows are {rows}")
        for number, (_, parent) in self.blocks.items():
            below = self.blocks.get(number - 1)
            if below is not None and below[0] != parent:
                raise Diverged(f"stored block {number} is not the child of stored block {number - 1}")
        self._check_cursor()

    def _check_cursor(self) -> None:
        top = max(self.blocks, default=-1)
        if self.cursor is None:
            if self.blocks:
                raise Diverged(f"no cursor, but blocks up to {top}")
        elif top != self.cursor.number or self.blocks[top][0] != self.cursor.hash:
            raise Diverged(f"cursor is {self.cursor}, the highest stored block is {top}")


class Look(Protocol):
    """Reads everything of one moment."""

    async def __call__(self) -> Stored:
        """Return it."""
        ...


def look_into_memory(store: MemoryStore) -> Look:
    """Return a Look at `store`."""

    async def look() -> Stored:
        blocks = {number: (block.hash, block.parent_hash) for number, block in store.blocks.items()}
        return Stored(blocks, await store.coverage(), await store.cursor())

    return look


def look_into_postgres(pool: Pool, chain: int) -> Look:
    """Return a Look at one chain's rows, in one snapshot."""

    async def look() -> Stored:
        async with pool.acquire() as conn, conn.transaction(isolation="repeatable_read", readonly=True):
            rows = await conn.fetch(SQL_BLOCKS, chain)
            spans = [BlockRange(row["first"], row["last"]) for row in await conn.fetch(SQL_COVERAGE, chain)]
            found = await conn.fetchrow(SQL_CURSOR, chain)
        cursor = BlockRef(found["number"], found["hash"]) if found else None
        return Stored({row["number"]: (row["hash"], row["parent_hash"]) for row in rows}, joined(spans), cursor)

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
