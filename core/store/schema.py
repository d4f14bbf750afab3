"""The schema as text: what the migrations add up to, for readers and for the test that compares the two."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from core.errors import StoreUnavailable
from core.store import binaries
from core.store.command import PLAIN_ENV, run
from core.store.dsn import parse
from core.store.embedded import EmbeddedPostgres
from core.store.migrate import TABLE, migrate

SCHEMA: Final = Path(__file__).parent / "schema.sql"
HEADER: Final = "-- Written by `make schema` from the migrations; do not edit.\n\n"

# Nothing in a throw-away server has to survive a power cut.
THROW_AWAY: Final = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off"}

MEMORY: Final = Path("/dev/shm")  # noqa: S108  (the folder in it has a random name and is ours alone)

_DUMP_S: Final = 60.0
# A cluster takes 40 MB, a database 8 MB, WAL up to a gigabyte.
_ROOM_BYTES: Final = 2 << 30
# pg_dump's session settings, its random \restrict keys, versions and rules; never a line of our own lower-case SQL.
_NOISE: Final = re.compile(
    r"^(?:SET .*|SELECT pg_catalog\.set_config.*|\\(?:un)?restrict .*|--|-- (?:Name|Dumped|PostgreSQL).*)\n", re.M
)


async def dump_schema(url: str) -> str:
    """Return the schema of the database at `url`, without owners, data and what differs from run to run.

    Raises BadConfig or StoreUnavailable. The server may not be newer than the wheel's pg_dump (18).
    """
    dsn = parse(url)
    argv: list[str | Path] = [
        binaries.postgres_root() / "bin" / "pg_dump",
        "--schema-only",
        "--no-owner",
        f"--exclude-table={TABLE}",
    ]
    done = await run(argv, deadline_s=_DUMP_S, env={**PLAIN_ENV, **dsn.libpq(), "PGCLIENTENCODING": "UTF8"})
    if done.code != 0:
        raise StoreUnavailable(f"{dsn}: pg_dump: {dsn.clean(done.stderr.strip())[-500:]}")
    return normalised(done.stdout)


def normalised(dump: str) -> str:
    """Return pg_dump's text without its noise, with one empty line between statements."""
    return re.sub(r"\n{3,}", "\n\n", _NOISE.sub("", dump)).strip() + "\n"


@contextmanager
def scratch_folder(*, in_memory: bool = True) -> Iterator[Path]:
    """Yield a temporary folder for a server's data directory, and remove it at the end.

    In memory if there is room (a new database there takes 20 ms; on a disk slow at making files it took 290 ms).
    Memory may be mounted noexec.
    """
    parent = MEMORY if in_memory and _roomy(MEMORY) else None
    with tempfile.TemporaryDirectory(prefix="chainworkd-", dir=parent) as name:
        folder = Path(name)
        # Nobody else may look into it, but when we are root the server's account has to pass through.
        folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
        yield folder


def _roomy(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK) and shutil.disk_usage(folder).free >= _ROOM_BYTES


async def migrated_schema(directories: Sequence[Path]) -> str:
    """Return the text that schema.sql should have: the migrations applied to an empty database."""
    with scratch_folder() as folder:
        async with EmbeddedPostgres(folder / "data", settings=THROW_AWAY) as server:
            await migrate(server.url(), directories)
            return HEADER + await dump_schema(server.url())
