"""How peers are compared, without any of them: a ratio only where both hold the same."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from core.types import BlockRange
from devnet.recorded.layout import Meta
from tests import make
from tests.bench import measure, ours
from tests.bench.expected import Sums, counted
from tests.bench.measure import Fixture, Run
from tests.bench.node import Served
from tests.bench.ours import Job, Outcome
from tests.bench.peers import ponder
from tests.bench.peers.compare import PEERS, compare
from tests.bench.peers.javascript import PROJECTS
from tests.bench.peers.peer import Cost, PeerFailed, Work, installed, step, together
from tests.bench.processes import Peak
from tests.bench.report import Report

PEAK = Peak(pss=1_000_000, rss=2_000_000)


class Fake:
    """A peer that takes four seconds and holds what it is told to hold."""

    name = "fake"
    version = "1"

    def __init__(self, sums: Sums, job: str = "full") -> None:
        self.sums = sums
        self.job = job

    async def install(self, home: Path) -> None:
        assert home.name == "fake"

    async def run(self, home: Path, work: Work) -> tuple[Cost, Sums]:
        assert work.span == BlockRange(0, 4)
        return Cost(wall_s=4.0, cpu_s=3.0, peak=PEAK), self.sums


@pytest.fixture
def fixture(tmp_path: Path) -> Fixture:
    folder = make.record(tmp_path, make.chain(5, txs=2))
    meta = Meta(
        format=1, chain_id=7, client="", blocks=5, txs=10, logs=10, keys=[], calls={}, facts={"plain_tokens": []},
        sha256="ab" * 32,
    )  # fmt: skip
    return Fixture(folder, meta)


@pytest.fixture
def sums(fixture: Fixture) -> Sums:
    return counted(fixture.folder, fixture.whole)


@asynccontextmanager
async def no_node(folder: Path, *options: str) -> AsyncIterator[Served]:
    yield Served("http://nowhere", "ws://nowhere", 0)


@pytest.fixture(autouse=True)
def two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours takes two seconds and is right; nobody asks the node."""
    monkeypatch.setattr("tests.bench.peers.compare.recorded_node", no_node)
    monkeypatch.setattr("tests.bench.peers.compare.BENCH", None)

    async def once(fixture: Fixture, job: Job, span: BlockRange, *, expected: Sums, latency_ms: int = 0) -> Run:
        return Run(Outcome(wall_s=2.0, seconds=1.5, cpu_s=1.0, pg_cpu_s=0.5, peak=PEAK), expected, 10, 0.1)

    monkeypatch.setattr(measure, "once", once)


def told(capsys: pytest.CaptureFixture[str], report: Report) -> tuple[list[dict[str, object]], str]:
    report.table()
    lines = capsys.readouterr().out.splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")], lines[-1]


async def test_equal_results_have_a_ratio(fixture: Fixture, sums: Sums, capsys: pytest.CaptureFixture[str]) -> None:
    report = Report("ab" * 32)
    assert await compare(fixture, report, Fake(replace(sums, created=None)), repeat=3) == 2.0
    lines, row = told(capsys, report)
    assert [line["bench"] for line in lines] == ["fake", "fake", "fake", "beside-fake", "beside-fake"]
    assert [line.get("job") for line in lines[3:]] == ["full", "verified"]
    assert {line["fixture"] for line in lines} == {"ab" * 8}
    assert "2.00 x as fast" in row


async def test_different_results_have_none_and_say_why(
    fixture: Fixture, sums: Sums, capsys: pytest.CaptureFixture[str]
) -> None:
    report = Report("ab" * 32)
    assert await compare(fixture, report, Fake(replace(sums, logs=0, txs=9)), repeat=1) is None
    lines, row = told(capsys, report)
    assert lines[0]["different"] == {"txs": [10, 9], "logs": [10, 0]}
    assert len(lines) == 1
    assert "no ratio" in row
    assert "txs, logs" in row


async def test_a_job_that_this_version_lacks_has_no_ratio(
    fixture: Fixture, sums: Sums, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ours, "events", lambda tokens: None)
    report = Report("ab" * 32)
    none = Sums(blocks=5, erc20=0, amount=0)
    assert await compare(fixture, report, Fake(none, "events"), repeat=1) is None
    assert "no events job" in told(capsys, report)[1]


def test_the_events_job_is_ours_as_soon_as_the_mode_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours, "get_args", lambda _: ("full", "events"))
    job = ours.events([bytes(20)])
    assert job is not None
    assert job.settings["CHAINS__NODE__MODE"] == "events"
    assert job.stores == {"blocks", "erc20", "amount"}
    monkeypatch.setattr(ours, "get_args", lambda _: ("full",))
    assert ours.events([bytes(20)]) is None


def test_ponders_limit_is_lifted_or_its_absence_noticed() -> None:
    lifted = ponder._lifted("const INITIAL_MAX_RPS = 20;\nconst MAX_RPS = 500;\n")
    assert lifted == "const INITIAL_MAX_RPS = 1e6;\nconst MAX_RPS = 1e6;\n"
    assert ponder._lifted(lifted) == lifted
    with pytest.raises(PeerFailed, match="INITIAL_MAX_RPS"):
        ponder._lifted("const MAX_RPS = 500;")


@pytest.mark.parametrize("project", ["squid", "ponder"])
def test_projects_pin_what_they_need(project: str) -> None:
    pinned = json.loads((PROJECTS / project / "package.json").read_text())["dependencies"]
    assert pinned
    assert all(version[0].isdigit() for version in pinned.values())


def test_every_peer_has_a_job_of_ours() -> None:
    assert {peer.job for peer in PEERS.values()} == {"full", "events"}


async def test_a_step_that_fails_shows_its_words(tmp_path: Path) -> None:
    cost = await step(["sh", "-c", "echo fine"], tmp_path)
    assert cost.wall_s > 0
    with pytest.raises(PeerFailed, match=r"ended with 3: .*broken"):
        await step(["sh", "-c", "echo broken; exit 3"], tmp_path)


async def test_what_is_installed_is_not_installed_again(tmp_path: Path) -> None:
    home = tmp_path / "home"
    command: Sequence[str | Path] = ["sh", "-c", "echo x >> count"]
    for stamp in ("1", "1", "2"):
        await installed(home, stamp, command)
    assert (home / "count").read_text() == "x\nx\n"
    with pytest.raises(PeerFailed, match="home: false ended with 1"):
        await installed(home, "3", ["false"])
    await installed(home, "2", ["false"])


def test_steps_add_up_but_for_memory() -> None:
    one, other = (Cost(wall_s=n, cpu_s=n, peak=Peak(rss=int(n))) for n in (1.0, 2.0))
    both = together({"one": one, "other": other})
    assert (both.wall_s, both.cpu_s, both.peak.rss) == (3.0, 3.0, 2)
    assert both.steps == {"one": 1.0, "other": 2.0}
