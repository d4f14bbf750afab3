"""A connection that is kept from one use to the next while they follow each other closely.

To take one from the driver's pool and to give it back costs the program about what a short question costs it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from core.store.pool import Connection, Pool

KEPT_S: Final = 0.05  # after a use; then others may have it


class Held:
    """One connection of `pool`, for one user at a time; a second one gets another."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._kept: Connection | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._returning: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend it. What a user left open, and an error, end the keeping: the pool looks after such a connection."""
        conn = self._take() or await self._pool.acquire()
        try:
            yield conn
        except BaseException:
            await self._pool.release(conn)
            raise
        if self._kept is not None or conn.is_in_transaction():
            await self._pool.release(conn)
        else:
            self._kept = conn
            self._timer = asyncio.get_running_loop().call_later(KEPT_S, self._give_back)

    def _take(self) -> Connection | None:
        conn, self._kept = self._kept, None
        if conn is None:
            return None
        assert self._timer is not None, "what is kept is given back some time"
        self._timer.cancel()
        if not conn.is_closed():
            return conn
        self._return(conn)
        return None

    def _give_back(self) -> None:
        conn, self._kept = self._kept, None
        if conn is not None:
            self._return(conn)

    def _return(self, conn: Connection) -> None:
        task = asyncio.create_task(self._released(conn), name="held.release")
        self._returning.add(task)
        task.add_done_callback(self._returning.discard)

    async def _released(self, conn: Connection) -> None:
        await self._pool.release(conn)
