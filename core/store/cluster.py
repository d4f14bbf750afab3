"""The directories and files of an embedded PostgreSQL: who owns them, what they must look like, how they are made.

home/                 the data directory given by the operator (or root's stand-in for it, see `settle`)
  lock                flock'ed by the one process that owns the server
  password            of the superuser; mode 0600, the operator's
  cluster/            PGDATA; mode 0700, of the account the server runs as
  initdb-*/           an unfinished initdb; never used, removed at the next start
  postgres.log        what the server says; the start before is kept as postgres.log.1
  cluster.path        only in a data directory the server's account cannot enter: where home really is
"""

import asyncio
import contextlib
import fcntl
import hashlib
import os
import pwd
import secrets
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from core.errors import BadConfig, StoreUnavailable
from core.store.binaries import MAJOR, can_enter, make_passable, make_state_dir, only_root_writes
from core.store.command import Account, run
from core.store.dsn import PORT

USER: Final = "chainworkd"
# initdb's own fsync is most of its time on a slow disk; a minute of that has been seen on network volumes.
INITDB_S: Final = 300.0
# sockaddr_un.sun_path holds 108 bytes with the closing zero (unix(7)).
SOCKET_PATH_MAX: Final = 107
SERVICE_ACCOUNTS: Final = ("postgres", "nobody")


class InUse(BadConfig):
    """Another process owns the data directory."""


@dataclass(frozen=True, slots=True)
class Home:
    """Where everything of one embedded server lives, and the account that runs it."""

    folder: Path
    account: Account

    @property
    def cluster(self) -> Path:
        """Return PGDATA."""
        return self.folder / "cluster"

    @property
    def log(self) -> Path:
        """Return the file that the server's standard error goes to."""
        return self.folder / "postgres.log"


@dataclass(frozen=True, slots=True)
class PidFile:
    """What postmaster.pid says (PostgreSQL's miscadmin.h, LOCK_FILE_LINE_*)."""

    pid: int
    socket_dir: Path | None
    status: str


async def settle(data_dir: Path, *, state_dir: Path) -> Home:
    """Return the home of `data_dir`'s server; make the directories that are missing. Raises BadConfig.

    PostgreSQL refuses to run as root. For root it therefore runs as another account, and where that account cannot
    enter `data_dir`, home is a folder below `state_dir` instead: nobody's existing directory is ever opened up.
    """
    data_dir = _made(data_dir)
    pointer = data_dir / "cluster.path"
    if os.geteuid() != 0:
        if pointer.exists():
            raise BadConfig(f"{data_dir}: its database was made by root and lives elsewhere ({pointer}); run as root")
        return Home(data_dir, _account(data_dir / "cluster"))
    if pointer.exists():
        return _pointed(pointer, state_dir)
    account = _account(data_dir / "cluster")
    if await can_enter(data_dir, account):
        return Home(data_dir, account)
    if (data_dir / "cluster").exists():
        raise BadConfig(f"{data_dir}: uid {account.uid} owns the database in it but can no longer enter the folder")
    return _stand_in(data_dir, pointer, state_dir)


def acquire(home: Home) -> int:
    """Return the open, locked lock file. Raises BadConfig if another process holds it.

    flock ends with its process, so kill -9 leaves no stale lock. Python opens files close-on-exec: the server does
    not inherit it.
    """
    try:
        handle = os.open(home.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise BadConfig(f"{home.folder}: cannot open its lock file: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.read(handle, 20).decode("ascii", "replace").strip() or "?"
        os.close(handle)
        raise InUse(f"{home.folder} is in use by pid {pid}; expected to be its only user") from None
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
    return handle


def password(home: Home) -> str:
    """Return the superuser's password; choose one if there is no database yet. Raises BadConfig."""
    path = home.folder / "password"
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        if home.cluster.exists():
            raise BadConfig(f"{path}: expected the password of the database beside it, found none") from None
        return _chosen_password(path)
    except OSError as error:
        raise BadConfig(f"{path}: {error.strerror}") from error
    with os.fdopen(handle) as file:
        if os.fstat(handle).st_mode & 0o077:
            raise BadConfig(f"{path}: expected mode 600, found {os.fstat(handle).st_mode & 0o777:o}")
        return file.read().strip()


async def ensure_cluster(home: Home, root: Path, secret: str, *, sync: bool) -> bool:
    """Make the cluster if there is none; return whether it was made. Raises BadConfig or StoreUnavailable.

    initdb works in a folder of its own, which becomes the cluster by one rename: whatever stands at `home.cluster`
    was finished. The caller holds the lock.
    """
    for leftover in home.folder.glob("initdb-*"):
        await asyncio.to_thread(_removed, leftover)
    if home.cluster.exists():
        _check_major(home.cluster)
        return False
    scratch = Path(tempfile.mkdtemp(prefix="initdb-", dir=home.folder))
    try:
        await _initdb(scratch, home.account, root, secret, sync=sync)
        (scratch / "cluster").rename(home.cluster)
        _sync_folder(home.folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return True


async def socket_folder(home: Home, parents: Sequence[Path]) -> Path:
    """Return the folder for the server's socket: short, 0700, of the server's account. Raises BadConfig.

    Not in XDG_RUNTIME_DIR: logind removes that at the last logout, under the feet of a server left in tmux.
    """
    name = f"cw-{home.account.uid}-{_digest(home.cluster)}"
    for parent in parents or _socket_parents():
        folder = parent / name
        if len(os.fsencode(folder / f".s.PGSQL.{PORT}")) > SOCKET_PATH_MAX or not _safe_parent(parent):
            continue
        if await can_enter(parent, home.account):
            _own_folder(folder, home.account)
            return folder
    raise BadConfig(f"no folder for the database's socket: tried {[str(p) for p in parents or _socket_parents()]}")


def read_pid_file(cluster: Path) -> PidFile | None:
    """Return what postmaster.pid says so far (the server writes it line by line), or None."""
    try:
        lines = (cluster / "postmaster.pid").read_text().splitlines()
        pid = abs(int(lines[0]))
    except (FileNotFoundError, IndexError, ValueError):
        return None
    socket_dir = Path(lines[4]) if len(lines) > 4 and lines[4] else None
    return PidFile(pid, socket_dir, lines[7].strip() if len(lines) > 7 else "")


def serves(pid: int, cluster: Path) -> bool:
    """Whether process `pid` is a PostgreSQL server working in `cluster`; a zombie is not."""
    process = Path("/proc") / str(pid)
    try:
        # After an upgrade of the wheel the link reads "…/postgres (deleted)".
        program = (process / "exe").readlink().name
        return program.startswith("postgres") and (process / "cwd").samefile(cluster)
    except OSError:
        return False


def disown_stale_pid_file(cluster: Path) -> None:
    """Make a stale postmaster.pid harmless whose pid now belongs to another program (reboot, new container).

    The server refuses to start while that pid lives, but ignores its parent's. Removing the file instead would also
    remove the key by which the server sees orphaned backends of its predecessor.
    """
    path = cluster / "postmaster.pid"
    found = read_pid_file(cluster)
    if found is None or serves(found.pid, cluster):
        return
    try:
        os.kill(found.pid, 0)
    except ProcessLookupError:
        return
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([f"{os.getpid()}\n", *lines[1:]]))


def disown_stale_socket(folder: Path, cluster: Path) -> None:
    """Remove the lock of a socket whose server is gone, although its pid lives: a zombie, or another program by now.

    The server refuses to start then. The caller holds the data directory's lock, and only its servers use `folder`.
    """
    path = folder / f".s.PGSQL.{PORT}.lock"
    try:
        pid = abs(int(path.read_text().split(maxsplit=1)[0]))
    except FileNotFoundError:
        return
    except (OSError, IndexError, ValueError):
        pid = 0
    if not pid or not serves(pid, cluster):
        path.unlink(missing_ok=True)


def open_log(home: Home) -> int:
    """Return a new log file, open for appending; the one before is kept once, which bounds what logs take."""
    if home.log.exists():
        home.log.replace(home.log.with_suffix(".log.1"))
    return os.open(home.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def log_tail(home: Home, lines: int = 8) -> str:
    """Return the end of the server's log on one line."""
    try:
        text = home.log.read_text(errors="replace")
    except OSError:
        return "no log"
    return " | ".join(text.splitlines()[-lines:]) or "empty log"


def _made(folder: Path) -> Path:
    """Return `folder`, resolved, made if missing: closed to others, but for root open to pass through."""
    try:
        folder.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
        return folder.resolve(strict=True)
    except OSError as error:
        raise BadConfig(f"data directory {folder}: {error.strerror}") from error


def _account(cluster: Path) -> Account:
    """Return the account the server of `cluster` runs as: ours, or for root the cluster's owner, or a service's."""
    owner = cluster.lstat().st_uid if cluster.exists() else None
    if os.geteuid() != 0:
        if owner not in (None, os.geteuid()):
            raise BadConfig(f"{cluster}: expected owner uid {os.geteuid()}, found {owner}")
        return Account(os.geteuid(), os.getegid())
    if owner == 0:
        raise BadConfig(f"{cluster}: expected an owner other than root (PostgreSQL refuses to run as root), found root")
    if owner is not None:
        return Account(owner, cluster.lstat().st_gid)
    for name in SERVICE_ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Account(entry.pw_uid, entry.pw_gid)
    raise BadConfig(f"PostgreSQL refuses to run as root: expected one of the accounts {SERVICE_ACCOUNTS}, found none")


def _pointed(pointer: Path, state_dir: Path) -> Home:
    folder = Path(pointer.read_text().strip())
    # The pointer may lie in somebody else's folder; root must not follow it anywhere.
    if folder.parent != state_dir.resolve() or not folder.name.startswith("embedded-"):
        raise BadConfig(f"{pointer}: expected a folder {state_dir}/embedded-…, found {folder}")
    try:
        only_root_writes(folder)
    except FileNotFoundError:
        raise BadConfig(f"{pointer}: expected the folder of the database at {folder}, found none") from None
    return Home(folder, _account(folder / "cluster"))


def _stand_in(data_dir: Path, pointer: Path, state_dir: Path) -> Home:
    make_state_dir(state_dir)
    folder = state_dir.resolve() / f"embedded-{_digest(data_dir)}"
    make_passable(folder, 0o711)
    fresh = pointer.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    fresh.write_text(f"{folder}\n")
    fresh.replace(pointer)
    return Home(folder, _account(folder / "cluster"))


def _chosen_password(path: Path) -> str:
    """Write a new password to `path`, whole or not at all, and return it."""
    secret = secrets.token_urlsafe(24)
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
        file.write(f"{secret}\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    _sync_folder(path.parent)
    return secret


def _removed(leftover: Path) -> None:
    """Remove what a killed owner left. Its initdb may still be writing: that ends when its files disappear."""
    for _ in range(100):
        shutil.rmtree(leftover, ignore_errors=True)
        if not leftover.exists():
            return
        time.sleep(0.1)
    raise BadConfig(f"{leftover}: cannot be removed; expected no unfinished initdb")


async def _initdb(scratch: Path, account: Account, root: Path, secret: str, *, sync: bool) -> None:
    pwfile = scratch / "pwfile"
    with os.fdopen(os.open(pwfile, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
        file.write(f"{secret}\n")
    os.chown(pwfile, account.uid, account.gid)
    os.chown(scratch, account.uid, account.gid)
    argv: list[str | Path] = [root / "bin" / "initdb", "--pgdata", scratch / "cluster", "--username", USER]
    argv += ["--auth=scram-sha-256", "--pwfile", pwfile, "--encoding=UTF8", "--data-checksums"]
    # The builtin provider orders text the same on every host; libc's C.UTF-8 does not exist everywhere.
    argv += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    # An initdb that is killed must not leave segments in /dev/shm behind.
    argv += ["--set", "dynamic_shared_memory_type=mmap"]
    argv += [] if sync else ["--no-sync"]
    done = await run(argv, deadline_s=INITDB_S, account=account)
    if done.code != 0:
        raise StoreUnavailable(f"initdb in {scratch.parent}: exit {done.code}: {done.stderr.strip()[-500:]}")


def _check_major(cluster: Path) -> None:
    try:
        found = (cluster / "PG_VERSION").read_text().strip()
    except OSError as error:
        raise BadConfig(f"{cluster}: expected a PostgreSQL cluster, found no PG_VERSION: {error.strerror}") from error
    if found != MAJOR:
        raise BadConfig(f"{cluster}: expected PostgreSQL {MAJOR}, found {found}; dump it with that version first")


def _socket_parents() -> tuple[Path, ...]:
    here = (Path(tempfile.gettempdir()), Path("/tmp"))  # noqa: S108  (the folder in it is ours alone, and verified)
    return (Path("/run"), *here) if os.geteuid() == 0 else here


def _safe_parent(parent: Path) -> bool:
    """Whether nobody but us, root and the parent's owner could swap a folder in `parent` for another."""
    try:
        found = parent.stat()
    except OSError:
        return False
    sticky = bool(found.st_mode & 0o1000)
    return (
        os.access(parent, os.W_OK | os.X_OK)
        and found.st_uid in (0, os.geteuid())
        and (sticky or not found.st_mode & 0o022)
    )


def _own_folder(folder: Path, account: Account) -> None:
    """Make `folder`, or verify the one that is there: somebody may have planted it to catch our connections."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if found.st_uid == os.geteuid() != account.uid and not folder.is_symlink():
        os.chown(folder, account.uid, account.gid, follow_symlinks=False)
        found = folder.lstat()
    if folder.is_symlink() or not folder.is_dir() or found.st_uid != account.uid or found.st_mode & 0o077:
        raise BadConfig(
            f"socket folder {folder}: expected a directory of uid {account.uid} with mode 700,"
            f" found uid {found.st_uid} mode {found.st_mode:o}; remove it"
        )


def _digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:12]


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
