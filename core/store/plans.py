"""When statements that are asked many times are planned: once for each connection, or each time (ADR 42)."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

import asyncpg

from core.store.held import Held
from core.store.pool import Connection

PARTITIONS: Final = 64  # a plan that was made once locks all of a table's, and a server has room for some 4,000 locks

# To plan a look by key took longer than to carry it out. Without its parameters the planner does not know that few rows
# are wanted, so it is told.
_TOLD: Final = ("hashjoin", "mergejoin", "seqscan", "material", "bitmapscan")


def _settings(mode: str, told: str) -> str:
    plans = [f"set local plan_cache_mode = {mode}", *(f"set local enable_{each} = {told}" for each in _TOLD)]
    return "; ".join(plans)


PLAN_ONCE: Final = _settings("force_generic_plan", "off")
PLAN_EACH: Final = _settings("force_custom_plan", "on")
# Each time, and from key to key all the same: what is joined to a page's rows is cut off by its limit, and the planner
# does not know how soon. It would read all transactions of a partition for 10,000 of them.
PLAN_BY_KEY: Final = _settings("force_custom_plan", "off")
SQL_SNAPSHOT: Final = "begin isolation level repeatable read read only"
SQL_PARTITIONS: Final = """
    select count(*) from pg_catalog.pg_inherits where inhparent = 'chain.transaction'::regclass
"""


# A plan for a table that has grown since may be any: a backfill stores thousands of blocks before PostgreSQL itself
# looks at a table again. So nobody uses one for longer.
REPLAN_S: Final = 10.0
SQL_FORGET_PLANS: Final = "discard plans"


class Plans:
    """Says for the rest of a transaction how its statements are planned; each time is how sessions begin."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._few: bool | None = None
        self._until: dict[int, float] = {}  # by the server's process: when its plans are to be made anew

    @asynccontextmanager
    async def snapshot(self, held: Held) -> AsyncIterator[Connection]:
        """One snapshot for several statements that look by key, planned once unless there are more than few partitions.

        It begins with one message to the server: each costs about what a row's reading costs.
        """
        async with held.connection() as conn:
            few = await self._are_few(conn)
            try:
                await conn.execute(f"{SQL_SNAPSHOT}; {PLAN_ONCE}" if few else SQL_SNAPSHOT)
                if few:
                    await self._renew(conn)
                yield conn
            except BaseException:
                # Whatever went wrong is told; that there is nothing to roll back any more is not.
                with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                    await conn.execute("rollback")
                raise
            await conn.execute("commit")

    async def once(self, conn: Connection) -> None:
        """Plan what follows once, unless there are more than few partitions."""
        if await self._are_few(conn):
            await conn.execute(PLAN_ONCE)
            await self._renew(conn)

    @asynccontextmanager
    async def of_whole_tables(self, conn: Connection) -> AsyncIterator[None]:
        """Plan once within, however many partitions other tables have; a `snapshot` of few does so all the time."""
        few = await self._are_few(conn)
        if not few:
            await conn.execute(PLAN_ONCE)
            await self._renew(conn)
        yield
        if not few:
            await conn.execute(PLAN_EACH)

    async def _renew(self, conn: Connection) -> None:
        process, now = conn.get_server_pid(), self._now()
        if self._until.get(process, 0.0) <= now:
            await conn.execute(SQL_FORGET_PLANS)
            self._until = {other: until for other, until in self._until.items() if until > now}
            self._until[process] = now + REPLAN_S

    async def _are_few(self, conn: Connection) -> bool:
        # Looked at once: a chain gets another one in weeks.
        if self._few is None:
            self._few = await conn.fetchval(SQL_PARTITIONS) <= PARTITIONS
        return self._few
