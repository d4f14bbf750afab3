"""A connection that is kept from one use to the next while they follow each other closely.

To take one from the driver's pool and to give it back costs the program about what a short question costs it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from core.store.pool import Pool, Pooled

KEPT_S: Final = 0.05  # after a use; then others may have it


class Held:
    """One connection of `pool`, for one user at a time; a second one gets another."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._kept: Pooled | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._returning: set[asyncio.Future[None]] = set()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Pooled]:
        """Lend it. What a user left open, and an error, end the keeping: the pool looks after such a connection."""
        conn = self._take() or await self._pool.acquire()
        try:
            yield conn
        except BaseException:
            await self._pool.release(conn)
            raise
        if self._kept is not None or not _is_fit(conn):
            await self._pool.release(conn)
        else:
            self._kept = conn
            self._timer = asyncio.get_running_loop().call_later(KEPT_S, self._give_back)

    def _take(self) -> Pooled | None:
        conn, self._kept = self._kept, None
        if conn is None:
            return None
        assert self._timer is not None, "what is kept is given back some time"
        self._timer.cancel()
        if _is_fit(conn):
            return conn
        self._return(conn)
        return None

    def _give_back(self) -> None:
        conn, self._kept = self._kept, None
        if conn is not None:
            self._return(conn)

    def _return(self, conn: Pooled) -> None:
        if _is_taken_back(conn):
            return  # a task for it would find nothing to do, or a loop that ends before its turn
        task = asyncio.ensure_future(self._pool.release(conn))
        self._returning.add(task)
        task.add_done_callback(self._returning.discard)


def _is_fit(conn: Pooled) -> bool:
    """Whether somebody else can use it: it lives, and no transaction is open."""
    return not _is_taken_back(conn) and not conn.is_closed() and not conn.is_in_transaction()


def _is_taken_back(conn: Pooled) -> bool:
    """Whether the driver has taken it back by itself, as it does when the server is gone or the pool is ended."""
    try:
        conn.is_closed()
    except asyncpg.InterfaceError:
        return True
    return False
