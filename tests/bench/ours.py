"""Runs the product's own jobs: the one place that knows which command fills a range."""

import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields
from datetime import datetime
from functools import cache
from pathlib import Path
from subprocess import run
from typing import Any, get_args

from core.hex import to_hex
from core.settings import ChainDefaults
from core.types import BlockRange
from tests.bench.database import Server
from tests.bench.expected import Sums
from tests.bench.node import Served
from tests.bench.places import BENCH, ROOT
from tests.bench.processes import Peak, cpu_s, ended_cpu_s, watched
from tests.e2e.daemon import CHAINWORKD, Daemon, environment

PROGRAM: tuple[Path, ...] = (CHAINWORKD,)
JOB_S = 3_600.0
LOOK_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Work of ours that fills a range. `settings` are variables without their prefix: another mode is another job.

    `stores` names the figures that the job's tables can be asked for, `verified` says that every block has to have
    passed its chain's checks.
    """

    name: str
    settings: Mapping[str, str] = field(default_factory=dict)
    stores: frozenset[str] = frozenset(each.name for each in fields(Sums))
    verified: bool = False


EVENTS = frozenset({"blocks", "erc20", "amount"})

# What ethereum-etl and cryo are compared with: all raw logs are kept, and blocks are believed as the peers do.
# Neither is the default.
NO_CHECKS = {"CHAINS__NODE__VERIFY__MODE": "off"}
FULL = Job(name="full", settings={"CHAINS__NODE__LOGS": "all", **NO_CHECKS})
VERIFIED = Job(name="verified", settings={"CHAINS__NODE__LOGS": "all"}, verified=True)


def events(tokens: Sequence[bytes]) -> Job | None:
    """Return the job that stores headers and the ERC-20 transfers of `tokens`; None if there is no such mode."""
    modes = get_args(ChainDefaults.model_fields["mode"].annotation)
    if "events" not in modes:
        return None
    watched = json.dumps([to_hex(token) for token in tokens])
    settings = {"CHAINS__NODE__MODE": "events", "CHAINS__NODE__WATCHED": watched, **NO_CHECKS}
    return Job(name="events", settings=settings, stores=EVENTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run cost. `wall_s` is from the start of the process, `seconds` what the filling itself took.

    Memory and CPU are of our processes, PostgreSQL's apart. `said` is the command's own summary.
    """

    wall_s: float
    seconds: float
    cpu_s: float
    pg_cpu_s: float
    peak: Peak
    said: Mapping[str, Any] = field(default_factory=dict)


async def backfill(job: Job, node: Served, server: Server, span: BlockRange) -> Outcome:
    """Fill `span` of an empty database by `job`, and return when it is covered."""
    BENCH.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="run-", dir=BENCH) as name:
        settings = {"RPC_URL": node.url, "DATABASE__URL": server.url, **job.settings}
        drive = _command if has_command() else _daemon
        return await drive(Path(name), settings, server, span)


@cache
def has_command() -> bool:
    """Whether this version has `chainworkd backfill`; without it the daemon does the work."""
    return run([*PROGRAM, "backfill", "--help"], check=False, capture_output=True, cwd=ROOT).returncode == 0


async def _command(folder: Path, settings: Mapping[str, str], server: Server, span: BlockRange) -> Outcome:
    env = environment(folder, **settings)
    arguments = ("backfill", "--from", str(span.first), "--to", str(span.last), "--json")
    daemon = Daemon(folder, *arguments, env=env, command=PROGRAM)
    ended, before, started = ended_cpu_s(), server.cpu_s(), time.monotonic()
    async with daemon, watched(daemon.pid) as peak:
        code = await daemon.ended(within_s=JOB_S)
        wall_s, pg_cpu_s = time.monotonic() - started, server.cpu_s() - before
    assert code == 0, f"backfill ended with {code}: {daemon.text()[-2000:]}"
    said = json.loads(daemon.printed().splitlines()[-1])
    return Outcome(
        wall_s=wall_s, seconds=float(said["seconds"]), cpu_s=ended_cpu_s() - ended, pg_cpu_s=pg_cpu_s, peak=peak,
        said=said,
    )  # fmt: skip


async def _daemon(folder: Path, settings: Mapping[str, str], server: Server, span: BlockRange) -> Outcome:
    """`chainworkd run` beside a head that stands still; its API and head writer are counted, too."""
    before, started = server.cpu_s(), time.monotonic()
    async with running(folder, settings, BACKFILL=str(span)) as daemon, watched(daemon.pid) as peak:
        async with asyncio.timeout(JOB_S):
            while await server.covered(span) < len(span):
                assert daemon.running, f"ended with {daemon.code}: {daemon.text()[-2000:]}"
                await asyncio.sleep(LOOK_S)
        wall_s, spent, pg_cpu_s = time.monotonic() - started, cpu_s(daemon.pid), server.cpu_s() - before
    begun, ended = filled_between(daemon)
    return Outcome(wall_s=wall_s, seconds=ended - begun, cpu_s=spent, pg_cpu_s=pg_cpu_s, peak=peak)


@asynccontextmanager
async def running(folder: Path, settings: Mapping[str, str], **more: str) -> AsyncIterator[Daemon]:
    """Run the whole daemon while inside."""
    async with Daemon(folder, "run", env=environment(folder, **settings, **more)) as daemon:
        yield daemon


def filled_between(daemon: Daemon) -> tuple[float, float]:
    """Return when backfill began its first chunk and ended its last, in seconds since 1970."""
    lines = daemon.lines("filled")
    assert lines, "backfill has filled nothing"
    ends = [datetime.fromisoformat(line["time"]).timestamp() for line in lines]
    return ends[0] - lines[0]["ms"] / 1000, ends[-1]
