"""When statements that are asked many times are planned: once for each connection, or each time (ADR 42)."""

import time
from collections.abc import Callable
from typing import Final

from core.store.pool import Connection

PARTITIONS: Final = 64  # a plan that was made once locks all of a table's, and a server has room for some 4,000 locks

# To plan a look by key took longer than to carry it out. Without its parameters the planner does not know that few rows
# are wanted, so it is told.
SQL_PLAN_ONCE: Final = """
    select set_config('plan_cache_mode', 'force_generic_plan', true), set_config('enable_hashjoin', 'off', true),
        set_config('enable_mergejoin', 'off', true), set_config('enable_seqscan', 'off', true),
        set_config('enable_material', 'off', true), set_config('enable_bitmapscan', 'off', true)
"""
SQL_PLAN_EACH: Final = """
    select set_config('plan_cache_mode', 'force_custom_plan', true), set_config('enable_hashjoin', 'on', true),
        set_config('enable_mergejoin', 'on', true), set_config('enable_seqscan', 'on', true),
        set_config('enable_material', 'on', true), set_config('enable_bitmapscan', 'on', true)
"""
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

    async def once(self, conn: Connection, *, partitioned: bool = True) -> None:
        """Plan what follows once, unless it is `partitioned` and has more than a few partitions."""
        if partitioned and not await self._are_few(conn):
            return
        await conn.execute(SQL_PLAN_ONCE)
        process, now = conn.get_server_pid(), self._now()
        if self._until.get(process, 0.0) <= now:
            await conn.execute(SQL_FORGET_PLANS)
            self._until = {other: until for other, until in self._until.items() if until > now}
            self._until[process] = now + REPLAN_S

    async def each_unless_few(self, conn: Connection) -> None:
        """Before what is partitioned: plan it each time if there are more than a few partitions."""
        if not await self._are_few(conn):
            await conn.execute(SQL_PLAN_EACH)

    async def _are_few(self, conn: Connection) -> bool:
        # Looked at once: a chain gets another one in weeks.
        if self._few is None:
            self._few = await conn.fetchval(SQL_PARTITIONS) <= PARTITIONS
        return self._few
