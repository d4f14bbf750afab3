"""(d) How long a new block takes to be readable: from its announcement to the API's answer, during a backfill."""

import asyncio
import math
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from core.rpc.client import RpcClient
from core.types import BlockRange
from tests.bench import ours
from tests.bench.database import Server, fresh_server
from tests.bench.measure import Fixture
from tests.bench.node import recorded_node
from tests.bench.ours import VERIFIED, Job
from tests.bench.places import BENCH
from tests.bench.report import Report, percentile
from tests.e2e.daemon import Daemon, environment, run

PACE = 10.0  # blocks a second
PACED_SHARE = 0.25  # of the fixture; the rest is history to fill
ENOUGH = 100  # blocks announced while backfill was at work
MOST_ROUNDS = 5
LOOK_S = 0.005  # resolution of a latency: the API is asked this often for the next block
COVERED_S = 0.1  # pause between two looks at how far backfill is
WALK_S = 600.0


@dataclass(frozen=True, slots=True)
class Seen:
    """A block: when the node announced it and when the API first served it, monotonic seconds."""

    number: int
    announced: float
    served: float

    @property
    def ms(self) -> float:
        """How long it took."""
        return 1000 * (self.served - self.announced)


async def latency(
    fixture: Fixture, report: Report, job: Job = VERIFIED, *, enough: int = ENOUGH, most: int = MOST_ROUNDS
) -> list[float]:
    """Pace the head until `enough` blocks were announced during a backfill, in `most` rounds; each starts anew."""
    during: list[float] = []
    alone: list[float] = []
    rounds = 0
    while len(during) < enough and rounds < most:
        seen, ended = await _round(fixture, job)
        during += [each.ms for each in seen if each.announced < ended]
        alone += [each.ms for each in seen if each.announced >= ended]
        rounds += 1
    figures = {"during": _figures(during), "alone": _figures(alone)}
    report.line("head", pace=PACE, rounds=rounds, **figures)
    for name, values in (("during backfill", during), ("alone", alone)):
        if values:
            report.row(f"head latency, {name}", _said(values))
    return during


async def _round(fixture: Fixture, job: Job) -> tuple[list[Seen], float]:
    """Return what was seen, and when backfill was done (monotonic)."""
    head = fixture.meta.blocks - 1 - int(fixture.meta.blocks * PACED_SHARE)
    with tempfile.TemporaryDirectory(prefix="head-", dir=BENCH) as name:
        async with fresh_server() as server, recorded_node(fixture.folder, "--head", str(head)) as node:
            settings = {"RPC_URL": node.url, "WS_URL": node.ws, "DATABASE__URL": server.url, "API__RATE_LIMIT": ""}
            settings |= job.settings
            token = await _token(Path(name), settings)
            history = BlockRange(0, head - 1)
            async with _following(Path(name), settings, server, history) as daemon, asyncio.TaskGroup() as group:
                api = await daemon.url()
                filled = group.create_task(_filled(server, history), name="filled")
                async with RpcClient(node.url) as rpc:
                    await rpc.call("recorded_setPace", PACE)
                    served = await _served(api, token, range(head + 1, fixture.meta.blocks), daemon)
                    announced = await rpc.call("recorded_announced")
                # Where history is longer than the measurement, all of it was during the backfill.
                ended = filled.result() if filled.done() else math.inf
                filled.cancel()
    return [Seen(number, at / 1e9, served[number]) for number, at in announced if number in served], ended


@asynccontextmanager
async def _following(
    folder: Path, settings: dict[str, str], server: Server, history: BlockRange
) -> AsyncIterator[Daemon]:
    """Run the daemon, and go on once its backfill has begun: the head is then followed."""
    async with ours.running(folder, settings, BACKFILL="0..") as daemon:
        async with asyncio.timeout(WALK_S):
            while not await server.covered(history):
                assert daemon.running, f"ended with {daemon.code}: {daemon.text()[-2000:]}"
                await asyncio.sleep(COVERED_S)
        yield daemon


async def _filled(server: Server, history: BlockRange) -> float:
    """Wait until history is covered and return when that was, monotonic seconds."""
    while True:
        if await server.covered(history) == len(history):
            return time.monotonic()
        await asyncio.sleep(COVERED_S)


async def _token(folder: Path, settings: dict[str, str]) -> str:
    code, printed, said = await run(folder, "token", "create", "--label", "bench", env=environment(folder, **settings))
    assert code == 0, f"token create ended with {code}: {said}"
    return next(word for word in printed.split() if word.startswith("hc_live_"))


async def _served(api: str, token: str, numbers: Sequence[int], daemon: Daemon) -> dict[int, float]:
    """Ask for one block after the other until each is served; return when that was."""
    found: dict[int, float] = {}
    headers = {"authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(headers=headers) as session, asyncio.timeout(WALK_S):
        for number in numbers:
            while not await _has(session, f"{api}/api/v1/blocks/{number}"):
                assert daemon.running, f"ended with {daemon.code}: {daemon.text()[-2000:]}"
                await asyncio.sleep(LOOK_S)
            found[number] = time.monotonic()
    return found


async def _has(session: aiohttp.ClientSession, url: str) -> bool:
    async with session.get(url) as response:
        await response.read()
        assert response.status in (200, 404, 503), f"{url}: {response.status}"
        return response.status == 200


def _figures(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {"blocks": 0}
    p50, p99 = percentile(values, 50), percentile(values, 99)
    return {"blocks": len(values), "p50_ms": p50, "p99_ms": p99, "max_ms": max(values)}


def _said(values: Sequence[float]) -> str:
    p50, p99 = percentile(values, 50), percentile(values, 99)
    return (
        f"p50 {p50:.0f} ms, p99 {p99:.0f} ms, at most {max(values):.0f} ms; {len(values)} blocks at {PACE:g} a second"
    )
