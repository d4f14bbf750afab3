"""What is derived from facts inside the daemon: a service of its own, with its own place, that nobody waits for.

A projection keeps tables that follow from the stored chain: payments, prices, robots. It applies each fact and undoes
each reorg in one transaction with its place, so that after a crash it goes on with the next fact, none twice and none
left out. A fault in it stops itself alone: the supervisor tries again, at the same fact, for ever.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import asyncpg

from core.clock import Clock, SystemClock
from core.errors import CursorMoved, ProjectionFailed, Transient
from core.facts import BlockFact, FactsGone, FillFact, FinalizeFact, ReorgFact, Told
from core.store.facts import SQL_TAIL, PgFacts
from core.store.finality import SQL_REFS
from core.store.pool import Connection, Pool, translated
from core.types import BlockRange, BlockRef

log = logging.getLogger(__name__)

BATCH: Final = 100  # facts of one transaction
BATCH_S: Final = 60.0  # after which it is given up
POLL_S: Final = 0.5

SQL_PLACE: Final = "select seq, number, hash from chain.projection where chain_id = $1 and name = $2"
SQL_FIRST_PLACE: Final = """
    insert into chain.projection (chain_id, name, seq, number, hash, updated_at)
    values ($1, $2, $3, $4, $5, $6)
    on conflict (chain_id, name) do update
    set seq = excluded.seq, number = excluded.number, hash = excluded.hash, updated_at = excluded.updated_at
"""
SQL_MOVE_PLACE: Final = """
    update chain.projection
    set seq = $3, number = $4, hash = $5, updated_at = $6
    where chain_id = $1 and name = $2 and seq = $7
"""
SQL_STORED: Final = """
    select lower(c.blocks) as first, upper(c.blocks) - 1 as last, top.hash, bottom.parent_hash
    from chain.coverage c
    join chain.block top on top.chain_id = c.chain_id and top.number = upper(c.blocks) - 1
    join chain.block bottom on bottom.chain_id = c.chain_id and bottom.number = lower(c.blocks)
    where c.chain_id = $1
    order by lower(c.blocks)
"""
SQL_CURSOR_REF: Final = "select number, hash from chain.cursor where chain_id = $1"
SQL_JUDGED: Final = """
    select safe_number, finalized_number, finality_by_depth from chain.head where chain_id = $1
"""


class Projection(Protocol):
    """Something that follows from the stored chain. Each method runs inside the transaction that moves its place.

    Tables of the chain may be ahead of the fact: whoever looks at a block's rows there compares its hash, and leaves
    alone what is not there any more. A later fact takes it back.
    """

    name: str

    async def apply(self, conn: Connection, fact: BlockFact | FillFact | FinalizeFact) -> None:
        """Take note of blocks that are stored now, or of what has become final."""
        ...

    async def undo(self, conn: Connection, fact: ReorgFact) -> None:
        """Take back what followed from blocks that are stored no more."""
        ...

    async def reset(self, conn: Connection) -> None:
        """Forget everything: what is stored now is applied next, as filled ranges."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """How far a projection has come: the last fact, and the newest block it knows."""

    seq: int
    block: BlockRef | None


class Projector:
    """Feeds the facts of one chain to one projection (a Service). A second one for the same is harmless."""

    def __init__(
        self, projection: Projection, pool: Pool, chain_id: int, *, chain: str, clock: Clock | None = None
    ) -> None:
        self.name = f"{projection.name}.{chain}"
        self._projection = projection
        self._pool = pool
        self._chain = chain_id
        self._facts = PgFacts(pool, chain_id)
        self._clock = clock or SystemClock()

    async def run(self) -> None:
        """Follow the facts for ever."""
        while True:
            if not await self.step():
                await self._clock.sleep(POLL_S)

    async def step(self) -> bool:
        """Carry out the next facts in one transaction; False if there are none. Raises ProjectionFailed, Transient."""
        place = await self.place()
        if place is None:
            await self._carried_out("start", None, ())
            return True
        try:
            told = await self._facts.after(place.seq, BATCH)
        except FactsGone as error:
            log.warning("projection starts over", extra={"projection": self.name, "why": str(error)})
            await self._carried_out("start over", None, ())
            return True
        if told:
            await self._carried_out(f"facts {told[0].seq} to {told[-1].seq}", place, told)
        return bool(told)

    async def place(self) -> Place | None:
        """Return how far it has come, None if it has not begun."""
        with translated():
            row = await self._pool.fetchrow(SQL_PLACE, self._chain, self._projection.name)
        return None if row is None else Place(row["seq"], _ref(row["number"], row["hash"]))

    async def _carried_out(self, what: str, place: Place | None, told: Sequence[Told]) -> None:
        try:
            async with asyncio.timeout(BATCH_S):
                await (self._start() if place is None else self._follow(place, told))
        except Transient:
            raise
        except TimeoutError as error:
            raise ProjectionFailed(f"{self.name}: {what}: not done within {BATCH_S:.0f} s") from error
        except Exception as error:
            log.error("projection failed", extra={"projection": self.name, "at": what}, exc_info=error)
            raise ProjectionFailed(f"{self.name}: {what}: {type(error).__name__}: {error}") from error

    async def _follow(self, place: Place, told: Sequence[Told]) -> None:
        with translated():
            async with self._pool.acquire() as conn, conn.transaction():
                block, now = place.block, self._clock.now()
                for each in told:
                    block = after(block, each)
                # First: whoever else feeds the same projection waits here, and then finds that it was moved.
                moved = (*_columns(block), now, place.seq)
                done = await conn.execute(
                    SQL_MOVE_PLACE, self._chain, self._projection.name, told[-1].seq, *moved
                )  # fmt: skip
                if done != "UPDATE 1":
                    raise CursorMoved(f"{self.name}: another process moved it from fact {place.seq}")
                for each in told:
                    if isinstance(each.fact, ReorgFact):
                        await self._projection.undo(conn, each.fact)
                    else:
                        await self._projection.apply(conn, each.fact)

    async def _start(self) -> None:
        """Begin with what is stored now; one snapshot holds the rows and the number of the fact that told them last."""
        with translated():
            async with self._pool.acquire() as conn, conn.transaction(isolation="repeatable_read"):
                tail = await conn.fetchrow(SQL_TAIL, self._chain)
                cursor = await conn.fetchrow(SQL_CURSOR_REF, self._chain)
                seq, block = 0 if tail is None else tail["last"], None if cursor is None else _ref(*cursor)
                place = (seq, *_columns(block), self._clock.now())
                await conn.execute(SQL_FIRST_PLACE, self._chain, self._projection.name, *place)
                await self._projection.reset(conn)
                for row in await conn.fetch(SQL_STORED, self._chain):
                    await self._projection.apply(conn, _filled(row))
                final = await self._final(conn)
                if final is not None:
                    await self._projection.apply(conn, final)

    async def _final(self, conn: Connection) -> FinalizeFact | None:
        marks = await conn.fetchrow(SQL_JUDGED, self._chain)
        if marks is None:
            return None
        numbers = (marks["safe_number"], marks["finalized_number"])
        rows = await conn.fetch(SQL_REFS, self._chain, [number for number in numbers if number is not None])
        refs = {row["number"]: BlockRef(row["number"], row["hash"]) for row in rows}
        safe, finalized = (refs.get(number) for number in numbers)
        return FinalizeFact(safe=safe, finalized=finalized, by_depth=marks["finality_by_depth"]) if safe else None


def after(block: BlockRef | None, told: Told) -> BlockRef | None:
    """Return the newest block known after a fact. Raises ValueError when a block does not join the one before it."""
    match told.fact:
        case BlockFact(block=ref, parent_hash=parent):
            if block is not None and block.number == ref.number - 1 and block.hash != parent:
                raise ValueError(f"fact {told.seq}: block {ref} is not the child of {block}")
            return ref
        case ReorgFact(orphans=span, ancestor_hash=ancestor) if block is not None and block.number in span:
            return None if ancestor is None else BlockRef(span.first - 1, ancestor)
        case _:
            return block


def _filled(row: asyncpg.Record) -> FillFact:
    return FillFact(blocks=BlockRange(row["first"], row["last"]), parent_hash=row["parent_hash"], tip_hash=row["hash"])


def _ref(number: int | None, hash_: bytes | None) -> BlockRef | None:
    return None if number is None or hash_ is None else BlockRef(number, hash_)


def _columns(block: BlockRef | None) -> tuple[int | None, bytes | None]:
    return (None, None) if block is None else (block.number, block.hash)
