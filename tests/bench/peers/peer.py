"""A peer: how it is installed, started and asked what it stored."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from core.types import BlockRange
from devnet.recorded.layout import Meta
from tests.bench.expected import Sums
from tests.bench.node import Served
from tests.bench.places import BENCH
from tests.bench.processes import Peak, ended_cpu_s, watched

HOMES = BENCH / "peers"
INSTALL_S = 900.0
STEP_S = 1_800.0


class PeerFailed(Exception):
    """A peer could not be installed, or ended with an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a peer is to do: read `span` from `node`, leave its files in `folder`."""

    node: Served
    span: BlockRange
    folder: Path
    meta: Meta


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a peer's run took; `pg_cpu_s` is 0 for one without a database."""

    wall_s: float
    cpu_s: float
    peak: Peak
    pg_cpu_s: float = 0.0
    steps: Mapping[str, float] = field(default_factory=dict)


class Peer(Protocol):
    """Another indexer. `job` is which of ours does the same: "full" or "events"."""

    name: str
    version: str
    job: str

    async def install(self, home: Path) -> None:
        """Put it into an environment of its own; harmless when it is there."""
        ...

    async def run(self, home: Path, work: Work) -> tuple[Cost, Sums]:
        """Do the work, and count what is there afterwards. Raises PeerFailed."""
        ...


def clean_environment(folder: Path, **more: str) -> dict[str, str]:
    """Return the environment of a user who has nothing but a home folder; package managers find their settings."""
    kept = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "npm_config_", "NODE_EXTRA"))}
    return {**kept, "PATH": os.environ["PATH"], "HOME": str(folder), "LANG": "C.UTF-8", **more}


async def installed(home: Path, stamp: str, *commands: Sequence[str | Path]) -> None:
    """Run `commands` in `home` once; `stamp` says what they install, and is kept beside it."""
    mark = home / ".installed"
    if await asyncio.to_thread(lambda: mark.is_file() and mark.read_text() == stamp):
        return
    await asyncio.to_thread(lambda: home.mkdir(parents=True, exist_ok=True))
    for command in commands:
        # The user's own home: where pip and npm keep what they know of registries and proxies.
        code, said = await _ended(command, home, dict(os.environ), INSTALL_S)
        if code != 0:
            raise PeerFailed(f"{home.name}: {command[0]} ended with {code}: {said[-1500:]}")
    await asyncio.to_thread(mark.write_text, stamp)


async def step(
    command: Sequence[str | Path], folder: Path, env: Mapping[str, str] | None = None, *, cwd: Path | None = None
) -> Cost:
    """Run one command of a peer to its end and return what it took. Raises PeerFailed."""
    begun, before = time.monotonic(), ended_cpu_s()
    async with (
        started(command, folder, env or clean_environment(folder), cwd=cwd) as (process, log),
        watched(process.pid) as peak,
        asyncio.timeout(STEP_S),
    ):
        code = await process.wait()
    if code != 0:
        raise PeerFailed(f"{command[0]} ended with {code}: {log.read_text(errors='replace')[-2000:]}")
    return Cost(wall_s=time.monotonic() - begun, cpu_s=ended_cpu_s() - before, peak=peak)


def together(steps: Mapping[str, Cost]) -> Cost:
    """Return the cost of steps that ran one after the other."""
    peak = Peak(max(s.peak.pss for s in steps.values()), max(s.peak.rss for s in steps.values()))
    walls = {name: each.wall_s for name, each in steps.items()}
    return Cost(wall_s=sum(walls.values()), cpu_s=sum(s.cpu_s for s in steps.values()), peak=peak, steps=walls)


async def python_environment(home: Path, stamp: str, *packages: Sequence[str]) -> None:
    """Make a virtual environment in `home` and install each list of packages into it, one list after the other."""
    python = str(home / "bin" / "python")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    await installed(home, stamp, [sys.executable, "-m", "venv", home], *([*pip, *each] for each in packages))


@asynccontextmanager
async def started(
    command: Sequence[str | Path], folder: Path, env: Mapping[str, str], *, cwd: Path | None = None
) -> AsyncIterator[tuple[asyncio.subprocess.Process, Path]]:
    """Run a command in `cwd` while inside, its output in a file of `folder`; killed at the end if it still runs."""
    log = folder / "output.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *map(str, command), cwd=cwd or folder, env=dict(env), stdin=asyncio.subprocess.DEVNULL, stdout=output,
            stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        yield process, log
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _ended(
    command: Sequence[str | Path], folder: Path, env: Mapping[str, str], within_s: float
) -> tuple[int, str]:
    async with started(command, folder, env) as (process, log):
        async with asyncio.timeout(within_s):
            code = await process.wait()
        return code, log.read_text(errors="replace")
