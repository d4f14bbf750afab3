import asyncio
import os
import stat
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

import asyncpg
import pytest

from core.errors import BadConfig, StoreUnavailable
from core.store import binaries
from core.store.dsn import parse
from core.store.embedded import EmbeddedPostgres
from core.store.migrate import MigrationStatus, migrate, status
from core.store.schema import HEADER, SCHEMA, dump_schema
from daemon.schema import MIGRATIONS

REPOSITORY = Path(__file__).parents[2]
FIRST = "-- migrate:up\ncreate table one (n int);\n-- migrate:down\ndrop table one;\n"
SECOND = "-- migrate:up\ncreate table two (n int);\n-- migrate:down\ndrop table two;\n"
SLOW = "-- migrate:up\nselect pg_sleep(0.7); create table slow (n int);\n-- migrate:down\ndrop table slow;\n"
BROKEN = "-- migrate:up\ncreate table three (n int); select nonsense;\n-- migrate:down\n"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return write(tmp_path / "migrations", {"0001_one.sql": FIRST, "0002_two.sql": SECOND})


def write(directory: Path, files: dict[str, str]) -> Path:
    directory.mkdir(exist_ok=True)
    for name, text in files.items():
        (directory / name).write_text(text)
    return directory


async def tables(url: str) -> set[str]:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        rows = await connection.fetch("select tablename from pg_tables where schemaname = 'public'", timeout=10)
        return {row["tablename"] for row in rows} - {"chainworkd_migration"}
    finally:
        await connection.close(timeout=10)


async def test_migrate_applies_what_is_pending_once(empty_database_url: str, directory: Path) -> None:
    assert await migrate(empty_database_url, [directory]) == ["0001_one.sql", "0002_two.sql"]
    assert await migrate(empty_database_url, [directory]) == []
    assert await tables(empty_database_url) == {"one", "two"}


async def test_status_tells_applied_from_pending_and_changes_nothing(empty_database_url: str, directory: Path) -> None:
    names = ("0001_one.sql", "0002_two.sql")
    assert await status(empty_database_url, [directory]) == MigrationStatus((), names, ())
    await migrate(empty_database_url, [directory])
    write(directory, {"0003_slow.sql": SLOW})
    assert await status(empty_database_url, [directory]) == MigrationStatus(names, ("0003_slow.sql",), ())


async def test_a_database_ahead_of_the_program_is_refused(empty_database_url: str, directory: Path) -> None:
    await migrate(empty_database_url, [directory])
    (directory / "0002_two.sql").unlink()
    assert (await status(empty_database_url, [directory])).unknown == ("0002",)
    with pytest.raises(BadConfig, match=r"ahead of this program.*0002.*up to 0001"):
        await migrate(empty_database_url, [directory])


async def test_a_failing_migration_leaves_those_before_it_and_nothing_of_itself(
    empty_database_url: str, directory: Path
) -> None:
    write(directory, {"0003_broken.sql": BROKEN})
    with pytest.raises(BadConfig, match="nonsense"):
        await migrate(empty_database_url, [directory])
    assert await tables(empty_database_url) == {"one", "two"}
    assert (await status(empty_database_url, [directory])).pending == ("0003_broken.sql",)


async def test_a_migration_older_than_an_applied_one_is_refused(empty_database_url: str, directory: Path) -> None:
    await migrate(empty_database_url, [write(directory, {"0004_slow.sql": SLOW})])
    with pytest.raises(BadConfig, match="0003"):
        await migrate(empty_database_url, [write(directory, {"0003_late.sql": BROKEN})])


async def test_a_folder_may_be_behind_another_one(empty_database_url: str, directory: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other", {"0004_slow.sql": SLOW})
    await migrate(empty_database_url, [directory, other])
    write(directory, {"0003_late.sql": "-- migrate:up\ncreate table late (n int);\n-- migrate:down\n"})
    assert await migrate(empty_database_url, [directory, other]) == ["0003_late.sql"]
    assert await tables(empty_database_url) == {"one", "two", "slow", "late"}


async def test_a_database_of_before_takes_what_came_since_in_every_folder(empty_database_url: str) -> None:
    core, accounts, *_ = MIGRATIONS
    early = [each for each in sorted(core.glob("*.sql")) if each.name < "0012"]
    with TemporaryDirectory() as name:
        folder = write(Path(name), {each.name: each.read_text() for each in early})
        await migrate(empty_database_url, [folder, accounts])
    await migrate(empty_database_url, MIGRATIONS)
    assert HEADER + await dump_schema(empty_database_url) == SCHEMA.read_text()


CHILD = """
import asyncio, os, sys
from pathlib import Path
from core.store.migrate import migrate
print(len(asyncio.run(migrate(os.environ["TEST_URL"], [Path(sys.argv[1])]))))
"""


async def test_two_processes_migrating_at_once_share_the_work(empty_database_url: str, directory: Path) -> None:
    write(directory, {"0003_slow.sql": SLOW})
    done = await asyncio.gather(*(asyncio.to_thread(child, empty_database_url, directory) for _ in range(2)))
    assert sorted(done) == ["0", "3"]


def child(url: str, directory: Path) -> str:
    argv = [sys.executable, "-c", CHILD, str(directory)]
    env = {"TEST_URL": url, "PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path[1:]])}
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=True).stdout.strip()


async def test_migrate_does_not_wait_for_ever_for_another_one(empty_database_url: str, directory: Path) -> None:
    other = await asyncpg.connect(empty_database_url, timeout=10)
    try:
        await other.execute("select pg_advisory_lock($1::bigint)", int.from_bytes(b"chainwor"), timeout=10)
        with pytest.raises(StoreUnavailable, match="another process is still migrating"):
            await migrate(empty_database_url, [directory], wait_s=0.5)
    finally:
        await other.close(timeout=10)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, "found none"),
        ({"0001_a.sql": FIRST, "0001_b.sql": SECOND}, "same version"),
        ({"one.sql": FIRST}, "expected a name like"),
    ],
)
async def test_a_migration_directory_that_makes_no_sense_is_refused(
    tmp_path: Path, files: dict[str, str], expected: str
) -> None:
    url = "postgresql://user:pw@/db?host=/nonexistent"
    with pytest.raises(BadConfig, match=expected):
        await migrate(url, [write(tmp_path / "migrations", files)])


@pytest.mark.parametrize(
    "url",
    [
        "mysql://user:s3cret@host/db",
        "postgresql://user:s3cret@host",
        "postgresql://user:s3cret@/db",
        "postgresql://user:s3/cret@host/db",
        "postgresql://user:s3cret@host:port/db",
        "postgresql://user:s3cret@[::1/db",
        "s3cret",
        "",
    ],
)
async def test_a_bad_url_is_refused_without_repeating_it(directory: Path, url: str) -> None:
    with pytest.raises(BadConfig, match="database url") as caught:
        await migrate(url, [directory])
    assert "s3" not in told(caught.value)


def told(error: BaseException) -> str:
    """Everything a log would show of `error` and its causes, without source lines (a test's own name its data)."""
    told = traceback.TracebackException.from_exception(error)
    texts = []
    while told is not None:
        texts += list(told.format_exception_only())
        told = told.__cause__ or (None if told.__suppress_context__ else told.__context__)  # type: ignore[assignment]
    return "".join(texts)


async def test_no_error_tells_the_password(postgres: EmbeddedPostgres, directory: Path) -> None:
    secret = parse(postgres.url()).password
    write(directory, {"0003_broken.sql": BROKEN})
    for url in (postgres.url("absent"), postgres.url().replace(secret, "s3cret"), postgres.url()):
        with pytest.raises(BadConfig) as caught:
            await migrate(url, [directory])
        assert secret not in told(caught.value)
        assert "s3cret" not in told(caught.value)


async def test_an_absent_server_is_unavailable_not_misconfigured(directory: Path) -> None:
    with pytest.raises(StoreUnavailable, match=r"not reachable within 0\.3 s") as caught:
        await migrate("postgresql://user:s3cret@/db?host=/nonexistent", [directory], wait_s=0.3)
    assert "s3cret" not in told(caught.value)


async def test_dbmate_gets_the_url_by_environment_only(
    empty_database_url: str, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = program(tmp_path / "dbmate", '#!/bin/sh\necho "argv: $*"; echo "url: $DATABASE_URL"; exit 3\n')
    monkeypatch.setattr(binaries, "dbmate", lambda: spy)
    with pytest.raises(BadConfig) as caught:
        await migrate(empty_database_url, [directory])
    said = str(caught.value)
    assert "postgres://" not in said[said.index("argv:") : said.index("url:")]
    assert parse(empty_database_url).password not in said


def program(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@asynccontextmanager
async def over_tcp(url: str) -> AsyncIterator[str]:
    """Yield a TCP url, with no sslmode, of the database behind a unix socket."""
    dsn = parse(url)

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back_reader, back_writer = await asyncio.open_unix_connection(f"{dsn.host}/.s.PGSQL.{dsn.port}")
        await asyncio.gather(copy(reader, back_writer), copy(back_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"postgresql://{dsn.user}:{quote(dsn.password)}@127.0.0.1:{port}/{dsn.database}"
    finally:
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0.05)


async def test_a_tcp_url_without_sslmode_works_with_a_server_without_tls(
    empty_database_url: str, directory: Path
) -> None:
    async with over_tcp(empty_database_url) as url:
        assert len(await migrate(url, [directory])) == 2


async def test_an_sslmode_in_the_url_is_not_weakened(empty_database_url: str, directory: Path) -> None:
    async with over_tcp(empty_database_url) as url:
        with pytest.raises(StoreUnavailable):
            await migrate(f"{url}?sslmode=require", [directory], wait_s=1)


@pytest.mark.parametrize("password", ["plain", "p@ss/w:rd?#%&+ =é"])
@pytest.mark.parametrize("where", ["host.example:6543", "[::1]:5432", "", "%2Fvar%2FRun"])
def test_a_url_survives_being_read_and_written(password: str, where: str) -> None:
    suffix = "" if where else "?host=/var/Run"
    dsn = parse(f"postgresql://user:{quote(password, safe='')}@{where}/data%20base{suffix}")
    again = parse(dsn.url())
    assert again == dsn
    assert (again.password, again.database) == (password, "data base")
    assert again.host == {"host.example:6543": "host.example", "[::1]:5432": "::1"}.get(where, "/var/Run")
    assert password not in f"{dsn} {dsn!r}"


async def test_a_schema_dump_holds_the_tables_and_nothing_that_changes(
    empty_database_url: str, directory: Path
) -> None:
    await migrate(empty_database_url, [directory])
    text = await dump_schema(empty_database_url)
    assert text == await dump_schema(empty_database_url)
    assert text == "CREATE TABLE public.one (\n    n integer\n);\n\nCREATE TABLE public.two (\n    n integer\n);\n"


async def test_a_database_per_test_is_cheap(database_url: str) -> None:
    assert database_url.startswith("postgresql://")
