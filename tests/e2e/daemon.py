"""The program as its users start it: a process of its own, settings by environment, everything on loopback port 0."""

import asyncio
import contextlib
import json
import os
import pwd
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.e2e.waiting import until

ROOT = Path(__file__).resolve().parents[2]
CHAINWORKD = Path(sys.executable).with_name("chainworkd")
STOP_S = 15.0

# Every port is a free one; the log says which.
PORTS = {
    "CHAINWORKD_API__PORT": "0",
    "CHAINWORKD_OPS__INDEXER_PORT": "0",
    "CHAINWORKD_OPS__BACKFILL_PORT": "0",
    "CHAINWORKD_OPS__API_PORT": "0",
}


def environment(folder: Path, **settings: str) -> dict[str, str]:
    """The environment of a user who has nothing but a home folder and `settings`, whose names lack the prefix."""
    named = {f"CHAINWORKD_{name}": value for name, value in settings.items()}
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        # Compiled code is kept there; a home of its own would compile again.
        "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache"),
        "CHAINWORKD_DATA_DIR": str(folder / "data"),
        **PORTS,
        **named,
    }


class Daemon:
    """One `chainworkd ...` process. Its standard error is kept whole, and read as a log of JSON lines."""

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        env: Mapping[str, str],
        command: Sequence[str | Path] = (CHAINWORKD,),
        user: str | None = None,
        cwd: Path | None = None,
    ) -> None:
        name = "-".join(a for a in arguments if a.isalpha()) or "chainworkd"
        self._log = folder / f"{name}.log"
        self._out = self._log.with_suffix(".out")
        self._argv = [*map(str, command), *arguments]
        self._env = dict(env)
        self._user = user
        self._cwd = cwd or folder
        self._from = 0
        self.process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            sys.stderr.write(f"--- the end of {self._log} ---\n{self.text()[-6000:]}\n")
        if self.running:
            await self.stop(signal.SIGTERM, within_s=45.0)

    async def start(self) -> None:
        """Start the process; what it logs from now on is what `lines` returns."""
        self._from = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as log, self._out.open("wb") as out:
            self.process = await asyncio.create_subprocess_exec(
                *self._argv, stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=log, env=self._env, cwd=self._cwd,
                start_new_session=True, **({} if self._user is None else as_user(self._user)),
            )  # fmt: skip

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.returncode is None

    @property
    def pid(self) -> int:
        assert self.process is not None, "not started"
        return self.process.pid

    def text(self) -> str:
        """Everything this start has written to standard error."""
        if not self._log.exists():
            return ""
        with self._log.open("rb") as log:
            log.seek(self._from)
            return log.read().decode()

    def printed(self) -> str:
        """Everything this start has written to standard output."""
        return self._out.read_text()

    def lines(self, message: str, **fields: object) -> list[dict[str, Any]]:
        """The log lines of this start with this message and these fields."""
        found = []
        for line in self.text().splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                read = json.loads(line)
                if read["message"] == message and all(read.get(key) == value for key, value in fields.items()):
                    found.append(read)
        return found

    async def logged(self, message: str, **fields: object) -> dict[str, Any]:
        """The newest such line, as soon as there is one."""

        def newest() -> dict[str, Any] | None:
            found = self.lines(message, **fields)
            assert found or self.running, f"ended with {self.code} before it said {message!r}:\n{self.text()[-3000:]}"
            return found[-1] if found else None

        line: dict[str, Any] = await until(newest)
        return line

    async def url(self, role: str = "api", face: str = "api") -> str:
        """Where a role listens: `face` is api or ops."""
        line = await self.logged("listening", role=role, face=face)
        return str(line["url"])

    async def child(self, role: str) -> int:
        """The process id of the newest child of this role."""
        return int((await self.logged("started", child=role))["pid"])

    @property
    def code(self) -> int | None:
        return None if self.process is None else self.process.returncode

    def interrupt(self) -> None:
        """Send SIGINT to the process and its group, as a terminal's Ctrl-C does."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGINT)

    async def stop(self, by: signal.Signals = signal.SIGTERM, *, within_s: float = STOP_S) -> int:
        """Send the signal, wait for the end of the process and return its exit code."""
        assert self.process is not None, "not started"
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(by)
        return await self.ended(within_s=within_s)

    async def ended(self, *, within_s: float = STOP_S) -> int:
        """Wait for the end of the process and return its exit code."""
        assert self.process is not None, "not started"
        try:
            async with asyncio.timeout(within_s):
                return await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
            raise AssertionError(f"still running after {within_s:.0f} s:\n{self.text()[-3000:]}") from None


def as_user(name: str) -> dict[str, Any]:
    """What makes a subprocess run as this account alone."""
    account = pwd.getpwnam(name)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": ()}


async def run(folder: Path, *arguments: str, env: Mapping[str, str], within_s: float = 60.0) -> tuple[int, str, str]:
    """Run a short command; return its exit code, what it printed and what it said on standard error."""
    process = await asyncio.create_subprocess_exec(
        str(CHAINWORKD), *arguments, env=env, cwd=folder, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(within_s):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def descendants(pid: int) -> set[int]:
    """The processes below `pid`, the embedded database and its backends included."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                # The name in parentheses may hold anything; state and parent follow the last of them.
                state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
                if state != "Z":
                    parents[int(folder.name)] = int(parent)
    found: set[int] = set()
    grown = {pid}
    while grown:
        grown = {child for child, parent in parents.items() if parent in grown}
        found |= grown
    return found


def alive(pids: set[int]) -> set[int]:
    """Those of the processes that still run."""
    found = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                found.add(pid)
    return found
