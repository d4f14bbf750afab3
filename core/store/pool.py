"""Connections to PostgreSQL, and the translation of its errors into our verdicts."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import asyncpg

from core.errors import BadConfig, CursorMoved, StoreUnavailable
from core.store.dsn import parse

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Pool = asyncpg.Pool[asyncpg.Record]
    Pooled = PoolConnectionProxy[asyncpg.Record]
    Connection = asyncpg.Connection[asyncpg.Record] | Pooled
else:
    Pool = asyncpg.Pool
    Pooled = asyncpg.pool.PoolConnectionProxy
    Connection = asyncpg.Connection

CONNECT_TIMEOUT_S: Final = 10.0
COMMAND_TIMEOUT_S: Final = 60.0

CHAIN_SCHEMA: Final = "chain"  # of the blocks and what is read from them (core/store/migrations)

# SQLSTATE classes and codes (PostgreSQL manual, appendix A) that pass by themselves.
_PASSING: Final = ("08", "40", "53", "55", "57", "58", "25P03")
_DENIED: Final = "42501"
_SET_UP: Final = ("28", "3D000", "3F000", _DENIED, "42P01", "42703", "42883")


@asynccontextmanager
async def open_pool(
    url: str, *, role: str | None = None, size: int = 8, statement_timeout_s: float | None = None
) -> AsyncIterator[Pool]:
    """Open a pool of at most `size` connections; `role` is what its sessions may do (see the migrations).

    Raises BadConfig for a URL, a password or a database that is wrong, StoreUnavailable when nobody answers.
    """
    settings = {"application_name": f"chainworkd {role or ''}".strip(), "timezone": "UTC", "jit": "off"}
    # Plain PostgreSQL takes the name as a placeholder; Citus commits one block 4x faster with it (ADR 0004).
    settings["citus.multi_shard_modify_mode"] = "sequential"
    # A generic plan cannot prune partitions by `= any($n)`: it would look into every one of them (ADR 0004).
    settings["plan_cache_mode"] = "force_custom_plan"
    if role:
        settings["role"] = role
    if statement_timeout_s:
        settings["statement_timeout"] = str(int(statement_timeout_s * 1000))
    dsn = parse(url)
    with translated():
        try:
            pool = await asyncpg.create_pool(
                url, min_size=1, max_size=size, timeout=CONNECT_TIMEOUT_S, command_timeout=COMMAND_TIMEOUT_S,
                server_settings=settings,
                # Over TCP the server's processes are not this machine's.
                init=_pass_niceness_on if dsn.local else None,
                reset=_as_it_is,
            )  # fmt: skip
        except (ValueError, asyncpg.InterfaceError, asyncpg.ClientConfigurationError) as error:
            raise BadConfig(f"database.url: {dsn}: {dsn.clean(str(error))}") from None
    try:
        yield pool
    finally:
        pool.terminate()


async def _as_it_is(_: Connection) -> None:
    """Hand a connection on without the driver's reset, a round trip more: nothing of ours outlives a transaction.

    Settings and locks are a transaction's own, LISTEN has a connection apart (core/store/listen.py), and a transaction
    that was left open the driver ends by itself. What is a session's own all the same, as a wallet's lease, ends it.
    """


async def _pass_niceness_on(connection: Connection) -> None:
    """Let the server's process of a session yield to others as we do, if we may say so.

    A backfill that steps back behind the head would otherwise come before it again in the database.
    """
    niceness = os.getpriority(os.PRIO_PROCESS, 0)
    if niceness > 0:
        _lower(connection.get_server_pid(), niceness)


def _lower(server: int, niceness: int) -> None:
    # A server in a container has other numbers: ours of that number may be anything.
    with suppress(OSError):  # gone, or another user's
        if Path(f"/proc/{server}/comm").read_text().startswith("postgres"):
            os.setpriority(os.PRIO_PROCESS, server, niceness)


@contextmanager
def translated() -> Iterator[None]:
    """Translate driver errors: what may pass becomes StoreUnavailable, what a person must mend BadConfig."""
    try:
        yield
    except (asyncpg.ExclusionViolationError, asyncpg.UniqueViolationError) as error:
        raise _taken(error) from error
    except asyncpg.PostgresError as error:
        raise _verdict(error) from error
    # InternalClientError: the server ended the connection, and the driver has heard that but not yet closed it.
    except (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError) as error:
        raise StoreUnavailable(f"database: {type(error).__name__}: {error}") from error


def _taken(error: asyncpg.PostgresError) -> Exception:
    """Say who was there first: of blocks another writer, of anything else whoever wrote such a row."""
    if getattr(error, "schema_name", None) == CHAIN_SCHEMA:
        return CursorMoved(f"another writer stored these blocks first: {error}")
    return StoreUnavailable(f"database: somebody else stored such a row first: {error}")


def _verdict(error: asyncpg.PostgresError) -> Exception:
    state: str = getattr(error, "sqlstate", None) or ""
    if state.startswith(_PASSING):
        return StoreUnavailable(f"database: {state} {error}")
    if state.startswith(_SET_UP):
        hint = "log-in roles: docs/runbook.md" if state == _DENIED else "is it migrated? run `chainworkd migrate`"
        return BadConfig(f"database: {state} {error} ({hint})")
    return error
