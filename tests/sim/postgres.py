"""The simulator over a real PostgreSQL, whose connections fail between any two statements."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, cast

import asyncpg

from core.store.alarm import PgAlarms
from core.store.counts import PgCounts, Scale
from core.store.facts import SQL_AFTER, PgFacts, told_of
from core.store.finality import PgFinality
from core.store.pg import SQL_CURSOR, PgStore
from core.store.pool import Connection, Pool
from core.store.prune import Pruner
from core.types import Block, BlockRange, BlockRef, joined
from indexer.decode.tables import TransferTable
from simulator.clock import LeapingLoop
from simulator.judge import Diverged, Replay, Row, Stored
from simulator.stores import Doors, keep_of
from simulator.world import World

SQL_BLOCKS = """
    select b.number, b.hash, b.parent_hash, count(t.hash) as txs
    from chain.block b
    left join chain.transaction t on t.chain_id = b.chain_id and t.block_number = b.number
    where b.chain_id = $1
    group by b.number, b.hash, b.parent_hash
"""
SQL_COVERAGE = "select lower(blocks) as first, upper(blocks) - 1 as last from chain.coverage where chain_id = $1"
SQL_FINAL = "select safe_number, finalized_number from chain.head where chain_id = $1"
SQL_ALARMS = "select count(*) from chain.alarm where chain_id = $1"
TABLES = ("block", "transaction", "tx_hash", "address_transaction", "token_transfer")
# What a fresh index has and this one has not, or the other way round; the chain's number aside.
SQL_DIFFERENT = """
    (select to_jsonb(t) - 'chain_id' as row from chain.{table} t where chain_id = {left}
    except all
    select to_jsonb(t) - 'chain_id' from chain.{table} t where chain_id = {right})
    limit 1
"""
SQL_WRONG_COUNT = """
    select * from (
        select c.*, (
            select count(*) from chain.address_transaction a
            where a.chain_id = c.chain_id and a.address = c.address
                and a.block_number between c.first_block and c.first_block + c.width - 1
        ) as truly
        from chain.address_count c
        where c.chain_id = $1
    ) as counted
    where total <> truly
    limit 1
"""
FRESH = 1_000_000  # added to a chain's id for its fresh index

FAILURES = (
    lambda: asyncpg.SerializationError("could not serialize access"),
    lambda: asyncpg.DiskFullError("could not extend file: no space left on device"),
    lambda: asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"),
    lambda: asyncpg.DeadlockDetectedError("deadlock detected"),
)


async def look(pool: Pool, chain: int, after: int = 0) -> Stored:
    """Return all that is stored of a chain, in one snapshot."""
    async with pool.acquire() as conn, conn.transaction(isolation="repeatable_read", readonly=True):
        rows = await conn.fetch(SQL_BLOCKS, chain)
        spans = [BlockRange(row["first"], row["last"]) for row in await conn.fetch(SQL_COVERAGE, chain)]
        found = await conn.fetchrow(SQL_CURSOR, chain)
        final = await conn.fetchrow(SQL_FINAL, chain)
        alarms = await conn.fetchval(SQL_ALARMS, chain)
        told = [told_of(row) for row in await conn.fetch(SQL_AFTER, chain, after, 1_000_000)]
    cursor = BlockRef(found["number"], found["hash"]) if found else None
    stored = {row["number"]: Row(row["hash"], row["parent_hash"], (row["txs"],)) for row in rows}
    return Stored(stored, joined(spans), cursor, (final[0], final[1]) if final else (None, None), alarms, told)


async def check_stored(pool: Pool, chain: int = 1) -> None:
    """Raise Diverged unless rows, coverage, links, cursor and facts of a chain agree with one another."""
    stored, replay = await look(pool, chain), Replay()
    stored.check()
    replay.follow(stored.told)
    replay.compare(stored.rows)


class PgDatabase:
    """One chain of a PostgreSQL (Database)."""

    def __init__(self, pool: Pool, chain: int, world: World) -> None:
        self._pool = pool
        self._chain = chain
        self._world = world
        self.keep = keep_of(world.plan.mode)
        self.derived = (TransferTable(lambda *_: None),)
        self._faulty = cast(Pool, FaultyPool(pool, world))
        self._counts = PgCounts(pool, chain, incoming=22, outgoing=9, scale=Scale(wide=8, narrow=2, least=1))

    def doors(self) -> Doors:
        """Return what a process that starts now has of it."""
        pool, chain = self._faulty, self._chain
        return Doors(
            self.store(pool, chain), PgFinality(pool, chain), PgAlarms(pool, chain),
            Pruner(pool, chain, derived=self.derived), PgFacts(pool, chain),
        )  # fmt: skip

    def store(self, pool: Pool, chain: int) -> PgStore:
        """Return what a process writes through; tests make defective ones."""
        return PgStore(pool, chain, derived=self.derived, keep=self.keep)

    async def rehearse(self, write: Callable[[Doors], Awaitable[object]]) -> None:
        """Do nothing: connections fail midway by themselves."""

    async def look(self, after: int) -> Stored:
        """Return all of one moment, with the facts after this number. Counts are looked at, and more are made."""
        with working():
            row = await self._pool.fetchrow(SQL_WRONG_COUNT, self._chain)
            if row is not None:
                raise Diverged(f"count: {dict(row)}")
            for segment in await self._counts.unsealed(4):
                await self._counts.seal(segment)
            return await look(self._pool, self._chain, after)

    def content(self, block: Block) -> object:
        """Return how many of the block's transactions are stored."""
        return (len(self.keep(block).txs),)

    async def compare(self, canonical: Sequence[Block]) -> None:
        """Index these blocks afresh, beside, and compare every table both ways."""
        here, beside = self._chain, self._chain + FRESH
        with working():
            fresh = PgStore(self._pool, beside, derived=self.derived, keep=self.keep)
            await fresh.register("fresh", None)
            tip, *below = reversed(canonical)
            await fresh.commit([tip], after=None)
            for block in below:
                await fresh.fill([block], anchored=False)
            for table in TABLES:
                for left, right in ((here, beside), (beside, here)):
                    row = await self._pool.fetchval(SQL_DIFFERENT.format(table=table, left=left, right=right))
                    if row is not None:
                        raise Diverged(f"{table}: only in {'what is stored' if left == here else 'fresh'}: {row}")


def working() -> Any:
    """Let simulated time stand still: the database works."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, LeapingLoop)
    return loop.working()


class FaultyPool:
    """As much of a Pool as stores use. A statement may fail before it begins, a commit before or after it is done."""

    def __init__(self, pool: Pool, world: World) -> None:
        self._pool = pool
        self._world = world

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Connection]:
        """Yield a connection that fails."""
        with working():
            async with self._pool.acquire() as conn:
                yield cast(Connection, FaultyConnection(conn, self._world))

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def ask(*given: object, **named: object) -> Any:
            async with self.acquire() as conn:
                return await getattr(conn, name)(*given, **named)

        return ask


class FaultyConnection:
    """A connection that fails."""

    def __init__(self, conn: Connection, world: World) -> None:
        self._conn = conn
        self._world = world

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def ask(*given: object, **named: object) -> Any:
            self.fail("store failed midway", name, *given[:1])
            return await getattr(self._conn, name)(*given, **named)

        return ask

    def transaction(self, **options: Any) -> AbstractAsyncContextManager[None]:
        """Return a transaction whose end may be lost."""
        return self._transaction(**options)

    @asynccontextmanager
    async def _transaction(self, **options: Any) -> AsyncIterator[None]:
        async with self._conn.transaction(**options):
            yield
            self.fail("store failed midway", "before commit")
        self.fail("store reply lost", "commit")

    def fail(self, kind: str, *what: object) -> None:
        """Fail, now and then."""
        world = self._world
        dice = world.fate("postgres", kind, *what)
        chance = world.weather.store_midway / 5 if kind == "store failed midway" else world.weather.store_after
        if world.strikes(dice, kind, chance):
            raise dice.choice(FAILURES)()
