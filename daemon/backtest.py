"""`chainworkd backtest`: what a droid would have done over indexed prices or a CSV, beside three simpler strategies."""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from tqdm import tqdm

from core.errors import BadConfig
from core.settings import Settings
from daemon.backtest_index import Found, indexed
from daemon.droid_file import DroidFile, market_of_csv, moments_of_csv, read
from daemon.terminal import say
from droids import backtest
from droids.backtest import Costs, Figures, Outcome
from droids.course import Course, course
from droids.droid import BadDroid, require_fit
from droids.strategies import Charm, DroidStrategy, FullRange, Holding, Strategy

GWEI: Final = 10**9
# Name of the row, the figure, and how it is shown: a share as percents, money, or a number.
ROWS: Final = (
    ("net return %", "net_return", "share"), ("against hold %", "vs_hold", "share"), ("fees", "fees", "money"),
    ("fee APR %", "fee_apr", "share"), ("IL", "il", "money"), ("LVR", "lvr", "money"),
    ("fees - LVR - gas %", "fees_less_lvr_and_gas", "share"), ("rebalances", "rebalances", "number"),
    ("gas", "gas", "money"), ("swap cost", "swap_cost", "money"), ("time in range %", "time_in_range", "share"),
    ("max drawdown %", "max_drawdown", "share"), ("idle %", "idle", "share"), ("worth at the end", "end", "money"),
)  # fmt: skip


async def run(settings: Settings, arguments: argparse.Namespace) -> int | None:
    """Run the strategies, print their figures, and write files if --out names a folder."""
    if (arguments.pool is None) == (arguments.csv is None):
        raise BadConfig("backtest: expected --pool or --csv, and not both")
    file = read(arguments.droid)
    picture = _picture() if arguments.out else None
    found = await indexed(settings, arguments, file.pool) if arguments.pool else _of_csv(arguments, file)
    try:
        require_fit(file.droid, found.market)
    except BadDroid as error:
        raise BadConfig(f"--droid: {arguments.droid}: {error}") from error
    way = _course(found, file)
    droid = DroidStrategy(file.droid, file.pace, way.market)
    strategies = (droid, Holding(), FullRange(way.market), Charm(way.market))
    outcomes = await _run_all(way, strategies, _costs(arguments, found))
    report = _report(found.title, way, outcomes, droid)
    say(json.dumps(report) if arguments.json else _table(found.title, way, outcomes, droid))
    if picture is not None:
        _write(arguments.out, report, picture, _drawn(found.title, way, outcomes))
    return None


def _of_csv(arguments: argparse.Namespace, file: DroidFile) -> Found:
    if arguments.first or arguments.last or arguments.chain:
        raise BadConfig("--csv: --chain, --from and --to are for --pool; a CSV is run over as a whole")
    market = market_of_csv(file.pool)
    moments = tuple(moments_of_csv(arguments.csv, market))
    return Found(arguments.csv.name, market, market.base_decimals == 18, moments, None)


def _course(found: Found, file: DroidFile) -> Course:
    funding = int(file.droid.funding_usd.scaleb(found.market.quote_decimals))
    try:
        return course(
            found.market, found.moments, sample_s=file.pace.sample_s, warm_up_s=file.pace.warm_up_s,
            funding=funding, until=found.until,
        )  # fmt: skip
    except ValueError as error:
        raise BadConfig(f"{found.title}: {error}") from error


def _costs(arguments: argparse.Namespace, found: Found) -> Costs:
    if arguments.gas_gwei and arguments.native_usd is None and not found.base_is_native:
        raise BadConfig("--native-usd: expected what a native coin is worth in quote, since the base is not one")
    return Costs(int(arguments.gas_gwei * GWEI), arguments.native_usd)


async def _run_all(way: Course, strategies: Sequence[Strategy], costs: Costs) -> list[Outcome]:
    outcomes = []
    whole = len(way.marks) * len(strategies)
    with tqdm(total=whole, unit=" marks", disable=not sys.stderr.isatty(), dynamic_ncols=True, leave=False) as bar:
        for strategy in strategies:
            bar.set_description(strategy.name)
            steps = backtest.run(way, strategy, costs)
            while True:
                try:
                    bar.update(next(steps))
                except StopIteration as done:
                    outcomes.append(done.value)
                    break
                await asyncio.sleep(0)  # Ctrl-C is heard here
    return outcomes


def _report(title: str, way: Course, outcomes: Sequence[Outcome], droid: DroidStrategy) -> dict[str, Any]:
    return {
        "of": title, "from": _iso(way.first.at), "to": _iso(way.last.at), "moments": len(way.moments),
        "marks": len(way.marks), "base_is_token0": way.market.base_is_token0,
        "strategies": {outcome.name: _plain(outcome.figures) for outcome in outcomes},
        "decisions": dict(sorted(droid.reasons.items())),
    }  # fmt: skip


def _plain(figures: Figures) -> dict[str, Any]:
    found = asdict(figures)
    return {name: f"{value:f}" if isinstance(value, Decimal) else value for name, value in found.items()}


def _table(title: str, way: Course, outcomes: Sequence[Outcome], droid: DroidStrategy) -> str:
    names = [outcome.name for outcome in outcomes]
    lines = [
        f"{title}: {_iso(way.first.at)} to {_iso(way.last.at)}, {len(way.moments)} prices, "
        f"{outcomes[0].figures.funding:f} of funding in quote, half of it in each token",
        "", f"{'':20}" + "".join(f"{name:>14}" for name in names),
    ]  # fmt: skip
    for row, name, kind in ROWS:
        cells = (_shown(getattr(outcome.figures, name), kind) for outcome in outcomes)
        lines.append(f"{row:20}" + "".join(f"{cell:>14}" for cell in cells))
    decided = ", ".join(f"{reason} {count}" for reason, count in sorted(droid.reasons.items()))
    return "\n".join([*lines, "", f"decisions of the droid: {decided}"])


def _shown(value: Decimal | int, kind: str) -> str:
    if kind == "share":
        return f"{100 * value:.3f}"
    return f"{value:.2f}" if kind == "money" else str(value)


def _iso(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _picture() -> Any:
    try:
        from daemon import plot  # noqa: PLC0415 - matplotlib is in the extra `plot` only, and takes a second to load
    except ImportError as error:
        raise BadConfig(f"--out: plots need matplotlib ({error}): pip install 'chainworkd[plot]'") from error
    return plot


def _drawn(title: str, way: Course, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    market = way.market
    step = max(1, len(way.marks) // backtest.CURVE_POINTS)
    return {
        "title": title,
        "prices": [(mark.spot.at, market.price(mark.spot.sqrt_x96)) for mark in way.marks[::step]],
        "ladders": [
            (at, [market.prices(span) for span in spans]) for at, spans in outcomes[0].ladders
        ],
        "until": way.last.at,
        "curves": {outcome.name: outcome.curve for outcome in outcomes},
    }  # fmt: skip


def _write(folder: Path, report: dict[str, Any], plot: Any, drawn: dict[str, Any]) -> None:
    rows = [["", *report["strategies"]]]
    for row, name, kind in ROWS:
        found = [figures[name] for figures in report["strategies"].values()]
        rows.append([row, *(_shown(Decimal(value), kind) for value in found)])
    png, page = plot.drawn(**drawn, rows=rows)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in {
            "backtest.json": json.dumps(report, indent=2).encode() + b"\n", "backtest.png": png,
            "backtest.html": page.encode(),
        }.items():  # fmt: skip
            (folder / name).write_bytes(content)
            sys.stderr.write(f"{folder / name}\n")
    except OSError as error:
        raise BadConfig(f"--out: {folder}: {error.strerror}") from error
