"""Runs the command line as people do: a process of its own, elsewhere, with nothing inherited but what is given."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

# Free ports, so that tests run beside each other and beside a daemon.
ANY_PORTS = {
    f"CHAINWORKD_{name}": "0"
    for name in (
        "OPS__INDEXER_PORT",
        "OPS__BACKFILL_PORT",
        "OPS__API_PORT",
        "OPS__SENDER_PORT",
        "OPS__WORKER_PORT",
        "API__PORT",
    )
}

DEADLINE_S = 60
PROGRAM = (sys.executable, "-P", "-m", "daemon")


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return self.out + self.err


class Cli:
    """Starts `program` with `base` as its environment."""

    def __init__(self, folder: Path, base: Mapping[str, str], program: Sequence[str] = PROGRAM) -> None:
        self.folder = folder
        self._program = program
        # Compiled code is kept in the cache: a home of its own would compile again, for half a minute or more.
        cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        nothing = {"PATH": os.environ["PATH"], "HOME": str(folder), "XDG_CACHE_HOME": cache, "PYTHONWARNINGS": "error"}
        self._base = {**nothing, **base}

    async def __call__(self, *arguments: str, **environment: str) -> Done:
        async with self.started(*arguments, **environment) as process, asyncio.timeout(DEADLINE_S):
            out, err = await process.communicate()
            assert process.returncode is not None
            return Done(process.returncode, out.decode(), err.decode())

    @asynccontextmanager
    async def started(self, *arguments: str, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
        process = await asyncio.create_subprocess_exec(
            *self._program, *arguments,
            cwd=self.folder, env={**self._base, **environment}, start_new_session=True,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            yield process
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGKILL)
                await process.wait()


async def lines_until(stream: asyncio.StreamReader, sign: str, *, times: int = 1, within_s: float = 30) -> str:
    """Read until `sign` was seen `times` times; return everything read."""
    text = ""
    async with asyncio.timeout(within_s):
        while text.count(sign) < times:
            line = await stream.readline()
            assert line, f"ended without {sign!r}: {text}"
            text += line.decode()
    return text
