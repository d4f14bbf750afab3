"""Migrations: numbered SQL files applied by dbmate, one process at a time.

The url's own sslmode (or PGSSLMODE) holds for dbmate too. Where neither names one, dbmate is told to do what
asyncpg's default `prefer` arrived at with this server: TLS if it offers TLS, plain otherwise. dbmate's own default,
`require`, would refuse a plain server that everything else here talks to.
"""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import asyncpg

from core.errors import BadConfig, StoreUnavailable
from core.store import binaries
from core.store.command import PLAIN_ENV, run
from core.store.dsn import Dsn, parse

TABLE: Final = "public.chainworkd_migration"

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

# Any number that nothing else in the database locks: the first eight bytes of "chainworkd".
_LOCK: Final = int.from_bytes(b"chainwor")
_CONNECT_S: Final = 10.0
_QUERY_S: Final = 30.0
_PAUSE_S: Final = 0.2
_NOT_YET: Final = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
)
_NAME: Final = re.compile(r"(\d+)_\w+\.sql")
_KEPT_ENV: Final = ("HOME", "PGPASSFILE", "PGPASSWORD", "PGSSLMODE", "PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY")

_SQL_TABLE: Final = "select to_regclass($1::text)::text"
_SQL_APPLIED: Final = "select version from public.chainworkd_migration order by version"
_SQL_LOCK: Final = "select pg_try_advisory_lock($1::bigint)"
_SQL_TLS: Final = "select ssl from pg_stat_ssl where pid = pg_backend_pid()"


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """Which migrations a database has: file names in order; `unknown` are versions this program has no file for."""

    applied: tuple[str, ...]
    pending: tuple[str, ...]
    unknown: tuple[str, ...]


async def status(url: str, directories: Sequence[Path], *, wait_s: float = 10.0) -> MigrationStatus:
    """Return what is applied and what is pending; changes nothing. Raises BadConfig or StoreUnavailable."""
    async with _connected(parse(url), wait_s) as connection:
        return await _compare(connection, files(directories))


async def require_migrated(url: str, directories: Sequence[Path]) -> None:
    """Raise BadConfig unless the database has exactly the migrations of `directories`."""
    found = await status(url, directories)
    if found.pending:
        raise BadConfig(f"{parse(url)}: {len(found.pending)} migrations are pending; run `chainworkd migrate`")
    if found.unknown:
        raise BadConfig(f"{parse(url)}: the database is ahead of this program: {', '.join(found.unknown)}")


async def migrate(url: str, directories: Sequence[Path], *, wait_s: float = 60.0, apply_s: float = 3600.0) -> list[str]:
    """Apply the pending migrations of all `directories` in the order of their numbers; return their file names.

    Waits up to `wait_s` each for the database and for another process that is migrating it; `apply_s` bounds the
    work itself. Raises BadConfig (wrong url, a migration fails, the database is ahead of this program) or
    StoreUnavailable. Each migration is one transaction: those before a failing one stay applied.
    """
    dsn = parse(url)
    directories = [_absolute(directory) for directory in directories]
    known = files(directories)
    async with _connected(dsn, wait_s) as connection:
        await _locked(connection, dsn, wait_s)
        before = await _compare(connection, known)
        if before.unknown:
            raise BadConfig(
                f"{dsn}: the database is ahead of this program: it has migrations {', '.join(before.unknown)},"
                f" this program knows up to {max(known)}"
            )
        _refuse_late(dsn, directories, before)
        if before.pending:
            await _apply(connection, dsn, directories, apply_s)
        return list(before.pending)


def _refuse_late(dsn: Dsn, directories: Sequence[Path], found: MigrationStatus) -> None:
    """Raise BadConfig if a pending migration is older than an applied one of its folder.

    Between folders the order of numbers is that of a fresh database alone: features come to be at the same time.
    """
    for directory in directories:
        own = files([directory]).values()
        applied = max((name for name in own if name in found.applied), default="")
        late = [name for name in own if name in found.pending and name < applied]
        if late:
            raise BadConfig(
                f"{dsn}: {directory}: {late[0]} is not applied, and {applied} is: expected it in their order"
            )


def _absolute(directory: Path) -> Path:
    """Return `directory` as dbmate needs it: programs are started elsewhere."""
    return directory.absolute()


def files(directories: Sequence[Path]) -> dict[str, str]:
    """Return version -> file name. Raises BadConfig for two files of one version or a name dbmate would misread."""
    found: dict[str, str] = {}
    for path in sorted(path for directory in directories for path in directory.glob("*.sql")):
        match = _NAME.fullmatch(path.name)
        if match is None:
            raise BadConfig(f"{path}: expected a name like 0001_name.sql")
        if (other := found.setdefault(match[1], path.name)) != path.name:
            raise BadConfig(f"{path.parent}: {other} and {path.name} have the same version")
    if not found:
        raise BadConfig(f"{', '.join(map(str, directories))}: expected migrations (0001_name.sql …), found none")
    return dict(sorted(found.items()))


async def _compare(connection: Connection, known: dict[str, str]) -> MigrationStatus:
    try:
        exists = await connection.fetchval(_SQL_TABLE, TABLE, timeout=_QUERY_S)
        rows = await connection.fetch(_SQL_APPLIED, timeout=_QUERY_S) if exists else []
    except asyncpg.InsufficientPrivilegeError as error:
        raise BadConfig(f"reading the migrations: {error} (which roles a log-in needs: docs/runbook.md)") from error
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise StoreUnavailable(f"reading the migrations: {error or type(error).__name__}") from error
    versions = [str(row["version"]) for row in rows]
    return MigrationStatus(
        applied=tuple(known[version] for version in versions if version in known),
        pending=tuple(name for version, name in known.items() if version not in versions),
        unknown=tuple(version for version in versions if version not in known),
    )


@asynccontextmanager
async def _connected(dsn: Dsn, wait_s: float) -> AsyncIterator[Connection]:
    """Connect, waiting for a database that is still starting; close at the end."""
    connection = await _connection(dsn, wait_s)
    try:
        yield connection
    finally:
        try:
            await connection.close(timeout=_CONNECT_S)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            connection.terminate()


async def _connection(dsn: Dsn, wait_s: float) -> Connection:
    last: BaseException | None = None
    try:
        async with asyncio.timeout(wait_s):
            while True:
                try:
                    return await asyncpg.connect(dsn.url(), timeout=_CONNECT_S)
                except _NOT_YET as error:
                    last = error
                await asyncio.sleep(_PAUSE_S)
    except TimeoutError:
        why = dsn.clean(str(last or "")) or "no answer"
        raise StoreUnavailable(f"{dsn}: not reachable within {wait_s:g} s: {why}") from last
    except asyncpg.PostgresError as error:
        # Wrong password, no such database, no right to connect: waiting does not help.
        raise BadConfig(f"{dsn}: {dsn.clean(str(error))}") from error
    except (asyncpg.InterfaceError, ValueError) as error:
        raise BadConfig(f"{dsn}: {dsn.clean(str(error))}") from None


async def _locked(connection: Connection, dsn: Dsn, wait_s: float) -> None:
    """Take the lock that one migrating process holds; it ends with the connection.

    Asked for again and again rather than waited for: a waiting query holds a snapshot, and a migration that builds
    an index concurrently would wait for that snapshot in turn.
    """
    try:
        async with asyncio.timeout(wait_s):
            while not await connection.fetchval(_SQL_LOCK, _LOCK, timeout=_QUERY_S):  # noqa: ASYNC110
                await asyncio.sleep(_PAUSE_S)
    except TimeoutError:
        raise StoreUnavailable(f"{dsn}: another process is still migrating after {wait_s:g} s") from None
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise StoreUnavailable(f"{dsn}: {error or type(error).__name__}") from error


async def _apply(connection: Connection, dsn: Dsn, directories: Sequence[Path], apply_s: float) -> None:
    """Let dbmate work while `connection` holds the lock."""
    argv: list[str | Path] = [binaries.dbmate(), "--env-file", os.devnull, "--no-dump-schema"]
    for directory in directories:
        argv += ["--migrations-dir", directory]
    argv += ["--migrations-table", TABLE]
    # Ours ends with this process; a dbmate that outlives a killed one holds dbmate's own lock.
    argv += ["--migration-lock", "--migration-lock-timeout", f"{apply_s:g}s", "migrate"]
    url = dsn.url(sslmode=await _sslmode(connection, dsn))
    kept = {name: os.environ[name] for name in _KEPT_ENV if name in os.environ}
    # By environment: everybody can read a command line.
    done = await run(argv, deadline_s=apply_s, env={**PLAIN_ENV, **kept, "DATABASE_URL": url})
    if done.code == 0:
        return
    said = dsn.clean(f"{done.stdout}\n{done.stderr}".replace(url, str(dsn))).strip()[-1000:]
    if await _lives(connection):
        raise BadConfig(f"{dsn}: migrating failed: {said}")
    raise StoreUnavailable(f"{dsn}: the connection was lost while migrating: {said}")


async def _sslmode(connection: Connection, dsn: Dsn) -> str:
    """Return the sslmode for dbmate; see the module's first lines."""
    if dsn.local:
        return "disable"
    named = dsn.sslmode or os.environ.get("PGSSLMODE") or "prefer"
    if named not in ("prefer", "allow"):
        return named
    try:
        return "require" if await connection.fetchval(_SQL_TLS, timeout=_QUERY_S) else "disable"
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise StoreUnavailable(f"{dsn}: {error or type(error).__name__}") from error


async def _lives(connection: Connection) -> bool:
    try:
        return bool(await connection.fetchval("select true", timeout=_QUERY_S))
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
