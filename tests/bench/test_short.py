"""The benches themselves, on a chain of a few blocks: what measures must not rot until the day it is needed."""

import asyncio
import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import BadConfig
from core.types import BlockRange
from devnet.artifacts import Artifacts
from devnet.recorded.folder import Recording
from devnet.recorded.layout import BLOCKS, read_meta
from tests.bench import ceiling, heads, measure, ours
from tests.bench.database import Server
from tests.bench.expected import Sums, counted
from tests.bench.fixture.build import slices, tokens_of
from tests.bench.fixture.cache import prepared, recipe_of
from tests.bench.fixture.recipe import SLICES, Recipe, sizes
from tests.bench.measure import Fixture, Run, Wrong
from tests.bench.node import Served
from tests.bench.ours import Outcome
from tests.bench.processes import Peak
from tests.bench.report import Report, percentile

TINY = Recipe(blocks=24, mean_txs=10, accounts=4, tokens=7)


@pytest.fixture(scope="module")
def fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fixture]:
    if not (Artifacts().npm / "build" / ".stamp").is_file():
        pytest.skip("npm/ is not set up: run `make setup`")
    root = tmp_path_factory.mktemp("bench")
    folder = asyncio.run(prepared(TINY, root))
    yield Fixture(folder, read_meta(folder))


@pytest.fixture
def report(fixture: Fixture) -> Report:
    return Report(fixture.meta.sha256)


def printed(capsys: pytest.CaptureFixture[str], bench: str) -> dict[str, object]:
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    (found,) = [line for line in lines if line["bench"] == bench]
    return dict(found)


# -- the fixture -------------------------------------------------------------------------------------------------------


def test_the_fixture_holds_what_the_recipe_says(fixture: Fixture) -> None:
    first = int(fixture.meta.facts["first_traffic"])
    assert fixture.meta.blocks == first + TINY.blocks
    traffic = counted(fixture.folder, BlockRange(first, fixture.meta.blocks - 1))
    assert (traffic.blocks, traffic.txs) == (TINY.blocks, sum(sizes(TINY)))
    for figure in (traffic.failed, traffic.created, traffic.erc20, traffic.value):
        assert figure
    assert (traffic.transfers or 0) > (traffic.erc20 or 0)
    assert len(tokens_of(fixture.meta)) == TINY.tokens


async def test_a_fixture_is_made_once_and_checked_when_it_is_used(fixture: Fixture) -> None:
    assert await prepared(TINY, fixture.folder.parent) == fixture.folder
    text = fixture.folder / BLOCKS
    whole = text.read_bytes()
    text.write_bytes(whole.replace(b"0x1", b"0x2", 1))
    try:
        with pytest.raises(BadConfig, match="SHA-256"):
            await prepared(TINY, fixture.folder.parent)
    finally:
        text.write_bytes(whole)


def test_every_eighth_of_the_traffic_has_the_same_blocks() -> None:
    recipe = Recipe(blocks=80)
    made = sizes(recipe)
    eighths = [made[start : start + 10] for start in range(0, 80, 10)]
    assert all(sorted(part) == sorted(eighths[0]) for part in eighths)
    assert any(part != eighths[0] for part in eighths)


def test_slices_cover_the_traffic_and_nothing_else(fixture: Fixture) -> None:
    parts = slices(fixture.meta, SLICES)
    assert len(parts) == SLICES
    assert parts[0].first == fixture.meta.facts["first_traffic"]
    assert parts[-1].last == fixture.meta.blocks - 1
    assert all(one.last + 1 == other.first for one, other in itertools.pairwise(parts))


def test_another_number_of_blocks_is_another_fixture() -> None:
    assert recipe_of({"FIXTURE_BLOCKS": "64"}).key("a") != recipe_of({}).key("a") != Recipe().key("b")
    with pytest.raises(BadConfig, match="FIXTURE_BLOCKS"):
        recipe_of({"FIXTURE_BLOCKS": "many"})


# -- the measurements --------------------------------------------------------------------------------------------------


async def test_the_node_is_measured(fixture: Fixture, report: Report, capsys: pytest.CaptureFixture[str]) -> None:
    assert await ceiling.ceiling(fixture, report) > 0
    assert Recording(fixture.folder).tip == fixture.meta.blocks - 1
    assert printed(capsys, "node")["fixture"] == fixture.meta.sha256[:16]


async def test_the_full_job_and_latency_are_measured(
    fixture: Fixture, report: Report, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = await measure.full(fixture, report, repeat=1)
    said = printed(capsys, "full")
    expected = counted(fixture.folder, fixture.whole)
    assert said["sums"] == expected.said()
    for name in ("seconds", "wall_s", "cpu_s", "pg_cpu_s", "peak_pss_mb", "rows"):
        assert isinstance(said[name], int | float)
        assert said[name] > 0, name  # type: ignore[operator]
    assert 0 < await measure.latency(fixture, report, runs) < 2
    report.table()
    assert fixture.meta.sha256 in capsys.readouterr().out


async def test_a_run_that_stored_something_else_has_no_figures(
    fixture: Fixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def idle(*_: object) -> Outcome:
        return Outcome(wall_s=1, seconds=1, cpu_s=1, pg_cpu_s=1, peak=Peak())

    monkeypatch.setattr(ours, "backfill", idle)
    with pytest.raises(Wrong, match=r"'gas_used': \(0, [1-9]"):
        await measure.once(fixture, ours.FULL, fixture.whole, expected=counted(fixture.folder, fixture.whole))


async def test_growth_is_the_ratio_of_medians_and_short_runs_are_told(
    fixture: Fixture, report: Report, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spans: list[BlockRange] = []

    async def once(_: Fixture, __: ours.Job, span: BlockRange, *, expected: Sums) -> Run:
        spans.append(span)
        seconds = 0.001 if len(spans) == 1 else 0.03  # the first stands out, and does not count
        return Run(Outcome(wall_s=1, seconds=seconds, cpu_s=1, pg_cpu_s=1, peak=Peak()), expected, 1, 0.0)

    monkeypatch.setattr(measure, "once", once)
    whole = Run(Outcome(wall_s=1, seconds=0.5, cpu_s=1, pg_cpu_s=1, peak=Peak()), Sums(blocks=40, txs=1), 1, 0.0)
    assert await measure.growth(fixture, report, [whole]) == pytest.approx(80 / 100)
    assert len(set(spans)) == len(measure.PARTS)
    report.table()
    said = capsys.readouterr().out
    assert "-20 %" in said
    assert "FIXTURE_BLOCKS" in said


async def test_the_backfill_command_is_run_and_its_summary_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "program"
    said = 'echo filling; echo "{\\"seconds\\": 1.5, \\"args\\": \\"$*\\", \\"url\\": \\"$CHAINWORKD_RPC_URL\\"}"'
    program.write_text(f"#!/bin/sh\n{said}\n")
    program.chmod(0o755)
    monkeypatch.setattr(ours, "PROGRAM", (program,))
    monkeypatch.setattr(ours, "has_command", lambda: True)
    node, server = Served("http://node", "ws://node", 1), Server("postgresql://u:p@h/d", os.getpid())
    outcome = await ours.backfill(ours.FULL, node, server, BlockRange(3, 9))
    assert outcome.seconds == 1.5
    assert outcome.wall_s > 0
    assert outcome.said["args"] == "backfill --from 3 --to 9 --json"
    assert outcome.said["url"] == "http://node"
    program.write_text("#!/bin/sh\necho no database >&2\nexit 1\n")
    with pytest.raises(AssertionError, match="ended with 1: no database"):
        await ours.backfill(ours.FULL, node, server, BlockRange(3, 9))


async def test_the_head_is_measured(fixture: Fixture, report: Report, capsys: pytest.CaptureFixture[str]) -> None:
    await heads.latency(fixture, report, most=1)
    said = printed(capsys, "head")
    figures: list[dict[str, float]] = [said["during"], said["alone"]]  # type: ignore[list-item]
    assert sum(part["blocks"] for part in figures) >= int(fixture.meta.blocks * heads.PACED_SHARE)
    assert all(0 < part["p50_ms"] <= part["p99_ms"] for part in figures if part["blocks"])


# -- pure --------------------------------------------------------------------------------------------------------------


def test_sums_differ_only_in_what_both_say() -> None:
    ours_, theirs = Sums(blocks=2, txs=5, logs=7), Sums(blocks=2, txs=6)
    assert ours_.differences(theirs) == {"txs": (5, 6)}
    assert ours_.shared(theirs) == 2
    assert ours_.said() == {"blocks": "2", "txs": "5", "logs": "7"}


@pytest.mark.parametrize(("percent", "found"), [(50, 5), (99, 10), (100, 10), (10, 1)])
def test_percentiles_are_values_that_occurred(percent: int, found: float) -> None:
    assert percentile([10, 9, 8, 7, 6, 5, 4, 3, 2, 1], percent) == found
