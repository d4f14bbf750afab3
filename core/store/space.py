"""Room on the database's disk: history can wait when it gets short, the head cannot."""

import logging
import shutil
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Final

import asyncpg

from core.store.dsn import parse
from core.store.pool import Pool, open_pool, translated

log = logging.getLogger(__name__)

GB: Final = 10**9
RESUME_PERCENT: Final = 125  # of the least: a WAL segment more or less must not make it stop and go
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})

SQL_DATA_DIRECTORY: Final = "select current_setting('data_directory')"
SQL_PAUSED: Final = """
    update chain.chain set backfill_paused = $2 where chain_id = $1 and backfill_paused is distinct from $2
"""

Free = Callable[[], int | None]  # bytes that are free; None when nobody knows


def unknown() -> int | None:
    """Say that nobody knows how much is free."""
    return None


async def free_space(url: str) -> Free:
    """Return what measures the disk of the database at `url`; `unknown` for one on another machine.

    The server says where its data is to a log-in that is a superuser or a member of pg_read_all_settings; the embedded
    server's is. The folder itself need not be readable.
    """
    dsn = parse(url)
    if not dsn.local and dsn.host not in LOOPBACK:
        return unknown
    async with open_pool(url, size=1) as pool:
        try:
            folder = Path(await pool.fetchval(SQL_DATA_DIRECTORY))
        except asyncpg.InsufficientPrivilegeError:
            return unknown
    measure = partial(_free, folder)
    return unknown if measure() is None else measure


def _free(folder: Path) -> int | None:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


async def note_paused(pool: Pool, chain_id: int, why: str | None) -> None:
    """Let every process know, through the database, why a chain's backfill waits."""
    with translated():
        await pool.execute(SQL_PAUSED, chain_id, why)


class Room:
    """Closed while less than `least` bytes are free, until there are a quarter more again (a Gate of backfill).

    `tell` learns why it is closed, or None, at the first look and whenever that changes. Free space that nobody knows
    is enough.
    """

    def __init__(self, free: Free, least: int, tell: Callable[[str | None], Awaitable[None]], *, name: str) -> None:
        self._free = free
        self._least = least
        self._tell = tell
        self._name = name
        self._closed: bool | None = None

    async def open(self) -> bool:
        """Look, and say whether there is room."""
        free = self._free()
        wanted = self._least * RESUME_PERCENT // 100 if self._closed else self._least
        closed = free is not None and free < wanted
        if closed != self._closed:
            await self._turn(closed, free)
        return not closed

    async def _turn(self, closed: bool, free: int | None) -> None:
        why = f"{_gb(free or 0)} free on the database's disk, database.min_free_gb is {_gb(self._least)}"
        await self._tell(why if closed else None)
        if closed:
            log.warning("backfill pauses", extra={"chain": self._name, "why": why})
        elif self._closed is not None:
            log.info("backfill resumes", extra={"chain": self._name, "free_bytes": free})
        self._closed = closed


def _gb(size: int) -> str:
    return f"{size / GB:.2f} GB"
