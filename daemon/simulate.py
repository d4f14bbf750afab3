"""`chainworkd simulate`: storms of faults over a chain that is made up, with the settings that are to be tried."""

import argparse
import os
import sys

import msgspec

from core.errors import BadConfig
from core.settings import Settings
from daemon.terminal import say
from indexer.backfill import SETTLED_BLOCKS
from indexer.retention import MARGIN_BLOCKS
from simulator.campaign import Report, campaign
from simulator.run import Outcome
from simulator.weather import Given


async def run(settings: Settings, arguments: argparse.Namespace) -> int | None:
    """Run the seeds; exit 1 if one of them diverged."""
    seeds = range(arguments.seed_start, arguments.seed_start + arguments.seeds)
    jobs = 1 if arguments.trace else arguments.jobs or os.cpu_count() or 1

    def failed(outcome: Outcome) -> None:
        sys.stderr.write(
            f"seed {outcome.seed}: {outcome.diverged}\n"
            f"  to see what happened, with the same settings: "
            f"chainworkd simulate --seed-start {outcome.seed} --seeds 1 --trace\n"
        )

    given = given_by(settings, arguments.chain)
    report = await campaign(seeds, given, jobs=jobs, trace=arguments.trace, on_failed=failed)
    say(msgspec.json.encode(report).decode() if arguments.json else _text(report, given))
    return 1 if report.diverged else None


def given_by(settings: Settings, name: str) -> Given:
    """Return what the settings of a chain decide: of the named one, or the default or only one; nothing without any."""
    name = name or settings.explorer_chain
    if not name:
        return {}
    if name not in settings.chains:
        raise BadConfig(f"--chain: expected one of {', '.join(settings.chains) or 'none'}, found {name!r}")
    of = settings.chains[name]
    return {
        "max_blocks": of.max_blocks, "jump_blocks": of.jump_blocks, "chunk_blocks": of.chunk_blocks,
        "batch_blocks": of.batch_blocks, "safe_depth": of.safe_depth, "finalized_depth": of.finalized_depth,
        "retain_blocks": of.retain_blocks, "mode": of.mode, "settled_blocks": SETTLED_BLOCKS,
        "margin_blocks": MARGIN_BLOCKS,
    }  # fmt: skip


def _text(report: Report, given: Given) -> str:
    drawn = ", ".join(f"{name} {value}" for name, value in given.items()) or "drawn by each seed"
    lines = [
        f"seeds     {report.seed_start}..{report.seed_start + report.seeds - 1}, {report.diverged} diverged",
        f"settings  {drawn}",
        f"seconds   {report.seconds}",
        *(f"{count:9}  {kind}" for kind, count in report.faults.items()),
    ]
    return "\n".join(lines)
