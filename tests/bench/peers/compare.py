"""Ours and a peer in turn: medians side by side, and a ratio only if both hold the same."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from tests.bench import measure, ours
from tests.bench.expected import Sums, counted
from tests.bench.fixture.build import tokens_of
from tests.bench.measure import Fixture, Run
from tests.bench.node import SETTLED, recorded_node
from tests.bench.ours import EVENTS, FULL, VERIFIED
from tests.bench.peers.cryo import Cryo
from tests.bench.peers.etl import EthereumEtl
from tests.bench.peers.peer import HOMES, Cost, Peer, Work
from tests.bench.peers.ponder import Ponder
from tests.bench.peers.subsquid import Subsquid
from tests.bench.places import BENCH
from tests.bench.report import MB, Report

PEERS: Mapping[str, Peer] = {"etl": EthereumEtl(), "cryo": Cryo(), "subsquid": Subsquid(), "ponder": Ponder()}


@dataclass(slots=True)
class Match:
    """All runs of ours, by job, and theirs; `wrong` is what theirs holds differently from the fixture."""

    ours: "dict[str, list[Side]]" = field(default_factory=dict)
    theirs: "list[Side]" = field(default_factory=list)
    wrong: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Side:
    """One side's run: wall from the start of its process, CPU without and of PostgreSQL, peak memory."""

    wall_s: float
    cpu_s: float
    pg_cpu_s: float
    peak_pss_mb: float
    peak_rss_mb: float


async def compare(fixture: Fixture, report: Report, peer: Peer, repeat: int = 3) -> float | None:
    """Run ours and the peer in turn, `repeat` times; return peer's wall over ours, None if they hold different things.

    The full job is run a second time with every block verified, which no peer does: a ratio of its own. Where this
    version has no job like the peer's, the peer runs alone: its figures stand, and no ratio.
    """
    await peer.install(HOMES / peer.name)
    events = ours.events(tokens_of(fixture.meta))
    jobs = [FULL, VERIFIED] if peer.job == "full" else [events] if events else []
    expected = _expected(fixture, peer)
    match = Match()
    for _ in range(repeat):
        for job in jobs:
            run = await measure.once(fixture, job, fixture.whole, expected=expected)
            match.ours.setdefault(job.name, []).append(_side(run))
        cost, sums = await _theirs(fixture, peer)
        match.theirs.append(_their_side(cost))
        match.wrong |= expected.differences(sums)
        report.line(
            peer.name, version=peer.version, **asdict(match.theirs[-1]), steps=dict(cost.steps), sums=sums.said(),
            compared=expected.shared(sums), different=match.wrong,
        )  # fmt: skip
    return _verdict(report, peer, match)


def _expected(fixture: Fixture, peer: Peer) -> Sums:
    if peer.job == "full":
        return counted(fixture.folder, fixture.whole)
    tokens = ["0x" + token.hex() for token in tokens_of(fixture.meta)]
    return counted(fixture.folder, fixture.whole, tokens).only(EVENTS)


async def _theirs(fixture: Fixture, peer: Peer) -> tuple[Cost, Sums]:
    with tempfile.TemporaryDirectory(prefix=f"{peer.name}-", dir=BENCH) as name:
        async with recorded_node(fixture.folder, *SETTLED) as node:
            work = Work(node=node, span=fixture.whole, folder=Path(name), meta=fixture.meta)
            return await peer.run(HOMES / peer.name, work)


def _side(run: Run) -> Side:
    of = run.outcome
    return Side(of.wall_s, of.cpu_s, of.pg_cpu_s, of.peak.pss / MB, of.peak.rss / MB)


def _their_side(cost: Cost) -> Side:
    return Side(cost.wall_s, cost.cpu_s, cost.pg_cpu_s, cost.peak.pss / MB, cost.peak.rss / MB)


def _verdict(report: Report, peer: Peer, match: Match) -> float | None:
    text = f"{peer.name} {peer.version}: {_said(match.theirs)}"
    if match.wrong:
        report.row(f"beside {peer.name}", f"{text}; no ratio, different from the fixture: {', '.join(match.wrong)}")
        return None
    if not match.ours:
        report.row(f"beside {peer.name}", f"{text}; no ratio, this version has no {peer.job} job")
        return None
    ratios = [_ratio(report, peer, job, sides, match.theirs) for job, sides in match.ours.items()]
    return ratios[0]


def _ratio(report: Report, peer: Peer, job: str, ours_: Sequence[Side], their: Sequence[Side]) -> float:
    mine, theirs = _medians(ours_), _medians(their)
    ratio = theirs["wall_s"] / mine["wall_s"]
    cpu = _cpu(theirs) / _cpu(mine)
    report.line(f"beside-{peer.name}", job=job, ratio=ratio, cpu_ratio=cpu, ours=mine, theirs=theirs)
    report.row(
        f"beside {peer.name}, {job}",
        f"{ratio:.2f} x as fast, their CPU {cpu:.2f} x ours; ours: {_said(ours_)};"
        f" {peer.name} {peer.version}: {_said(their)}",
    )
    return ratio


def _cpu(of: Mapping[str, float]) -> float:
    return of["cpu_s"] + of["pg_cpu_s"]


def _medians(sides: Sequence[Side]) -> dict[str, float]:
    every = [asdict(side) for side in sides]
    return {name: median(each[name] for each in every) for name in every[0]}


def _said(sides: Sequence[Side]) -> str:
    of = _medians(sides)
    return (
        f"{of['wall_s']:.1f} s, CPU {of['cpu_s']:.1f} s + PostgreSQL {of['pg_cpu_s']:.1f} s,"
        f" peak PSS {of['peak_pss_mb']:.0f} MB"
    )
