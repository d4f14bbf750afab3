"""`python -m tests.bench`: build the fixture, measure the product, measure its peers. docs/performance.md explains."""

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence

from core.errors import BadConfig, ChainworkdError
from devnet.recorded.layout import read_meta
from tests.bench import ceiling, heads, measure
from tests.bench.fixture.cache import prepared, recipe_of
from tests.bench.measure import Fixture, Wrong
from tests.bench.ours import VERIFIED
from tests.bench.peers.compare import PEERS, compare
from tests.bench.peers.peer import PeerFailed
from tests.bench.report import Report

PARTS = ("node", "full", "verified", "growth", "latency", "head")


def main() -> int:
    """Do what the command line asks; 1 if what was stored is wrong or nothing could be measured, 130 if stopped."""
    asked = _grammar().parse_args()
    logging.basicConfig(level="INFO", format="%(message)s", stream=sys.stderr)
    logging.getLogger("core").setLevel("WARNING")
    # What was started is stopped, and its folders are removed, however we are asked to end.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        asyncio.run(_do(asked))
    except (ChainworkdError, Wrong, PeerFailed) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _grammar() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    what = top.add_subparsers(dest="what", required=True)
    what.add_parser("fixture", help="build the recorded chain, unless it is there; FIXTURE_BLOCKS says how long")
    own = what.add_parser("run", help="measure the product")
    own.add_argument("--only", default=",".join(PARTS), help=f"some of {','.join(PARTS)}")
    own.add_argument("--repeat", type=int, default=3, help="runs of the full job, of which the median counts")
    others = what.add_parser("peers", help="measure other indexers beside it; installs them under var/bench/peers")
    others.add_argument("--only", default=",".join(PEERS), help=f"some of {','.join(PEERS)}")
    others.add_argument("--repeat", type=int, default=3, help="runs of each, ours and theirs in turn")
    return top


async def _do(asked: argparse.Namespace) -> None:
    if unknown := _unknown(asked):
        raise BadConfig(f"--only: no such part: {', '.join(unknown)}")
    folder = await prepared(recipe_of(os.environ))
    fixture = Fixture(folder, read_meta(folder))
    report = Report(fixture.meta.sha256)
    report.line("fixture", blocks=fixture.meta.blocks, txs=fixture.meta.txs, logs=fixture.meta.logs)
    if asked.what == "run":
        await _run(fixture, report, asked.only.split(","), asked.repeat)
    if asked.what == "peers":
        for name in asked.only.split(","):
            await compare(fixture, report, PEERS[name], asked.repeat)
    report.table()


def _unknown(asked: argparse.Namespace) -> list[str]:
    known = {"run": PARTS, "peers": tuple(PEERS)}.get(asked.what, ())
    return [name for name in getattr(asked, "only", "").split(",") if name and name not in known]


async def _run(fixture: Fixture, report: Report, only: Sequence[str], repeat: int) -> None:
    if "node" in only:
        await ceiling.ceiling(fixture, report)
    if {"full", "growth", "latency"} & set(only):
        runs = await measure.full(fixture, report, repeat=repeat)
        if "growth" in only:
            await measure.growth(fixture, report, runs)
        if "latency" in only:
            await measure.latency(fixture, report, runs)
    if "verified" in only:
        await measure.full(fixture, report, VERIFIED, repeat=repeat)
    if "head" in only:
        await heads.latency(fixture, report)


if __name__ == "__main__":
    sys.exit(main())
