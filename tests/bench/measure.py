"""The measurements of the product alone: the full job, its growth, what latency costs it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.types import BlockRange
from devnet.recorded.layout import Meta
from tests.bench import ours
from tests.bench.database import fresh_server
from tests.bench.expected import Sums, counted
from tests.bench.fixture.build import slices
from tests.bench.fixture.recipe import SLICES
from tests.bench.node import SETTLED, recorded_node
from tests.bench.ours import Job, Outcome
from tests.bench.processes import cpu_s
from tests.bench.report import MB, Report, middle

LATENCY_MS = 50
# Each eighth that growth is measured on; not the last: what is not settled yet is not filled without the head.
PARTS = (0, 1, 3, 4, 6)
SHORTEST_S = 0.5  # what a run has to take at least, or its start is what is measured


class Wrong(Exception):
    """What was stored is not what the fixture holds: no figure of such a run means anything."""


@dataclass(frozen=True, slots=True)
class Fixture:
    """A recorded chain to measure on."""

    folder: Path
    meta: Meta

    @property
    def whole(self) -> BlockRange:
        """All its blocks."""
        return BlockRange(0, self.meta.blocks - 1)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a job over a range: what it cost, what it stored."""

    outcome: Outcome
    sums: Sums
    rows: int
    node_cpu_s: float

    @property
    def blocks_per_s(self) -> float:
        """How fast the range was filled, without the start of the process."""
        return (self.sums.blocks or 0) / self.outcome.seconds

    def figures(self) -> dict[str, object]:
        """Return what a JSON line says of the run."""
        of, sums = self.outcome, self.sums
        return {
            "seconds": of.seconds, "wall_s": of.wall_s, "cpu_s": of.cpu_s, "pg_cpu_s": of.pg_cpu_s,
            "node_cpu_s": self.node_cpu_s, "peak_pss_mb": of.peak.pss / MB, "blocks_per_s": self.blocks_per_s,
            "txs_per_s": (sums.txs or 0) / of.seconds, "rows": self.rows, "rows_per_s": self.rows / of.seconds,
        }  # fmt: skip


async def once(fixture: Fixture, job: Job, span: BlockRange, *, expected: Sums, latency_ms: int = 0) -> Run:
    """Run `job` over a range into a fresh database, and hold what it stored against `expected`. Raises Wrong."""
    options = ["--latency-ms", str(latency_ms)] if latency_ms else []
    async with fresh_server() as server, recorded_node(fixture.folder, *SETTLED, *options) as node:
        idle = cpu_s(node.pid)
        outcome = await ours.backfill(job, node, server, span)
        node_cpu_s = cpu_s(node.pid) - idle
        sums, rows = (await server.sums(span)).only(job.stores), await server.rows()
        if job.verified and (passed := await server.verified(span)) != len(span):
            raise Wrong(f"{job.name} {span}: {passed} blocks are verified")
    if different := sums.differences(expected):
        raise Wrong(f"{job.name} {span}: stored and expected differ: {different}")
    return Run(outcome, sums, rows, node_cpu_s)


async def full(fixture: Fixture, report: Report, job: Job = ours.FULL, repeat: int = 3) -> list[Run]:
    """(a) The whole fixture into PostgreSQL, `repeat` times."""
    expected = counted(fixture.folder, fixture.whole)
    runs = []
    for _ in range(repeat):
        runs.append(await once(fixture, job, fixture.whole, expected=expected))
        report.line(job.name, blocks=expected.blocks, **runs[-1].figures(), sums=runs[-1].sums.said())
    best = _median(runs)
    of = best.outcome
    report.row(
        f"{job.name} job, median of {repeat}",
        f"{of.seconds:.2f} s ({of.wall_s:.2f} s from start): {best.blocks_per_s:,.0f} blocks/s,"
        f" {(best.sums.txs or 0) / of.seconds:,.0f} tx/s, {best.rows / of.seconds:,.0f} rows/s;"
        f" CPU {of.cpu_s:.1f} s + PostgreSQL {of.pg_cpu_s:.1f} s; peak PSS {of.peak.pss / MB:.0f} MB",
    )
    return runs


async def growth(fixture: Fixture, report: Report, whole: Sequence[Run], job: Job = ours.FULL) -> float:
    """(b) An eighth of the range against all of it: the ratio of blocks a second, 1 where length costs nothing."""
    parts = []
    for place in PARTS:
        span = slices(fixture.meta, SLICES)[place]
        parts.append(await once(fixture, job, span, expected=counted(fixture.folder, span)))
        report.line("growth-part", first=span.first, last=span.last, **parts[-1].figures())
    short, long = (middle([run.blocks_per_s for run in runs]) for runs in (parts, whole))
    took = middle([run.outcome.seconds for run in parts])
    report.line("growth", short_blocks_per_s=short, long_blocks_per_s=long, short_seconds=took, ratio=long / short)
    text = f"{short:,.0f} and {long:,.0f} blocks/s: {_change(long / short)}"
    if took < SHORTEST_S:
        text += f"; an eighth took only {took:.2f} s, FIXTURE_BLOCKS makes a longer chain"
    report.row("growth, 1/8 and the whole", text)
    return long / short


async def latency(fixture: Fixture, report: Report, near: Sequence[Run], job: Job = ours.FULL) -> float:
    """(c) A node that takes 50 ms for each answer against one beside us: the ratio of blocks a second."""
    expected = counted(fixture.folder, fixture.whole)
    far = await once(fixture, job, fixture.whole, expected=expected, latency_ms=LATENCY_MS)
    beside = middle([run.blocks_per_s for run in near])
    ratio = far.blocks_per_s / beside
    report.line("latency", latency_ms=LATENCY_MS, ratio=ratio, near_blocks_per_s=beside, **far.figures())
    report.row(
        f"latency, {LATENCY_MS} ms and none", f"{far.blocks_per_s:,.0f} and {beside:,.0f} blocks/s: {_change(ratio)}"
    )
    return ratio


def _median(runs: Sequence[Run]) -> Run:
    return sorted(runs, key=lambda run: run.outcome.seconds)[len(runs) // 2]


def _change(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.0f} %"
