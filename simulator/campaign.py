"""Many seeds on all cores, and one line of JSON about them."""

import asyncio
import logging
import multiprocessing
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Final

import msgspec
from typing_extensions import override

from simulator.run import Outcome, simulate
from simulator.weather import Given
from simulator.world import FAULTS

SHARE: Final = 10  # seeds that a worker takes at once


class Report(msgspec.Struct, kw_only=True):
    """What a campaign showed. `diverged` is how many seeds failed, `failing` which; counts are by kind."""

    seeds: int
    seed_start: int
    diverged: int
    failing: list[int]
    faults: dict[str, int]
    writes: dict[str, int]
    errors: dict[str, int]
    seconds: float


async def campaign(
    seeds: range, given: Given, *, jobs: int, trace: bool = False, on_failed: Callable[[Outcome], None] = lambda _: None
) -> Report:
    """Run seeds in `jobs` processes; `on_failed` is told of each that diverged as soon as it is known."""
    started = time.monotonic()
    loop = asyncio.get_running_loop()
    outcomes: list[Outcome] = []
    # Not forked: this process has an event loop that its children must not share.
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=spawned, initializer=_leave_signals_to_the_parent) as workers:
        shares = [seeds[at : at + SHARE] for at in range(0, len(seeds), SHARE)]
        try:
            for done in asyncio.as_completed(
                [loop.run_in_executor(workers, _share, share, given, trace) for share in shares]
            ):
                for outcome in await done:
                    outcomes.append(outcome)
                    if outcome.diverged is not None:
                        on_failed(outcome)
        except BaseException:
            workers.shutdown(wait=False, cancel_futures=True)
            raise
    return _report(seeds, outcomes, time.monotonic() - started)


def _leave_signals_to_the_parent() -> None:
    """Let Ctrl-C reach the parent alone, which lets the seeds that run end and begins no others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _share(seeds: Sequence[int], given: Given, trace: bool) -> list[Outcome]:
    """Run some seeds, in a process of their own."""
    if not trace:
        logging.disable(logging.CRITICAL)
        return [simulate(seed, given) for seed in seeds]
    logging.basicConfig(level=logging.INFO, handlers=[_Traced()], force=True)
    return [simulate(seed, given, tell=_say) for seed in seeds]


def _say(what: str) -> None:
    """Print what happens, and when in simulated seconds."""
    sys.stderr.write(f"{asyncio.get_running_loop().time():9.3f}  {what}\n")


class _Traced(logging.Handler):
    """Prints what the indexer logs among what happens to it."""

    _PLAIN: Final = frozenset(vars(logging.makeLogRecord({})))

    @override
    def emit(self, record: logging.LogRecord) -> None:
        fields = " ".join(f"{name}={value}" for name, value in vars(record).items() if name not in self._PLAIN)
        _say(f"    {record.getMessage()} {fields}")


def _report(seeds: range, outcomes: Sequence[Outcome], seconds: float) -> Report:
    faults, writes, errors = Counter[str](), Counter[str](), Counter[str]()
    for outcome in outcomes:
        faults += outcome.faults
        writes += outcome.writes
        errors += outcome.errors
    failing = sorted(outcome.seed for outcome in outcomes if outcome.diverged is not None)
    return Report(
        seeds=len(seeds), seed_start=seeds.start, diverged=len(failing), failing=failing,
        faults={kind: faults[kind] for kind in sorted(FAULTS)}, writes=dict(sorted(writes.items())),
        errors=dict(sorted(errors.items())), seconds=round(seconds, 1),
    )  # fmt: skip
