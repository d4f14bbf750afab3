"""Run one outside program to its end, with a deadline, as a chosen operating-system account.

asyncio's own subprocesses are not used: uvloop's do not know `user=`, and root must not run PostgreSQL as root.
"""

import asyncio
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from core.errors import StoreUnavailable

PLAIN_ENV: Final[Mapping[str, str]] = {"PATH": os.defpath, "LC_ALL": "C"}


@dataclass(frozen=True, slots=True)
class Account:
    """An operating-system account by its numbers."""

    uid: int
    gid: int

    @property
    def popen(self) -> dict[str, Any]:
        """Return what makes subprocess.Popen run a program as this account; nothing if we are it already."""
        if os.geteuid() == self.uid:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


@dataclass(frozen=True, slots=True)
class Finished:
    """How a program ended: `code` is its exit status (negative: the signal), the texts are what it wrote."""

    code: int
    stdout: str
    stderr: str


async def run(
    argv: Sequence[str | Path],
    *,
    deadline_s: float,
    account: Account | None = None,
    env: Mapping[str, str] = PLAIN_ENV,
) -> Finished:
    """Run `argv` to its end. Raises StoreUnavailable past the deadline, OSError if it cannot be started.

    The program has its own session, so a terminal's Ctrl-C reaches us alone; it is killed, children included,
    when we are cancelled.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = start(argv, out=out, err=err, account=account, env=env)
        try:
            if not await until(lambda: child.poll() is not None, within_s=deadline_s):
                raise StoreUnavailable(f"{Path(argv[0]).name}: not finished within {deadline_s:g} s")
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        return Finished(child.returncode, _text(out), _text(err))


async def until(holds: Callable[[], bool], *, within_s: float, pause_s: float = 0.01) -> bool:
    """Wait until `holds()`, looking every `pause_s`; return whether it did before `within_s` had passed."""
    try:
        async with asyncio.timeout(within_s):
            while not holds():  # noqa: ASYNC110  (another process gives no event)
                await asyncio.sleep(pause_s)
    except TimeoutError:
        return False
    return True


def start(
    argv: Sequence[str | Path],
    *,
    out: IO[bytes] | int,
    err: IO[bytes] | int,
    account: Account | None,
    env: Mapping[str, str] = PLAIN_ENV,
) -> subprocess.Popen[bytes]:
    """Start `argv` in its own session. Raises OSError."""
    return subprocess.Popen(  # noqa: S603  (no shell; argv is ours)
        [os.fspath(part) for part in argv],
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=err,
        env=dict(env),
        # The account may be unable to enter our working directory.
        cwd="/",
        umask=0o077,
        start_new_session=True,
        **(account.popen if account else {}),
    )


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "replace")
