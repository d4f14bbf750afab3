"""`python -m tests.sim --seeds N --start S`: many seeds in memory; one JSON line, exit 1 if any diverged."""

import argparse
import asyncio
import json
import logging
import sys
import time
from collections import Counter

from tests.sim.run import simulate


def main() -> int:
    """Run the seeds."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--bulk", action="store_true", help="fill settled history in bulk")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    started = time.monotonic()
    faults: Counter[str] = Counter()
    diverged = []
    for seed in range(arguments.start, arguments.start + arguments.seeds):
        outcome = asyncio.run(simulate(seed, bulk=arguments.bulk))
        faults += outcome.faults
        if outcome.diverged is not None:
            diverged.append(seed)
            print(f"seed {seed}: {outcome.diverged}", file=sys.stderr)
    seconds = round(time.monotonic() - started, 1)
    line = {"seeds": arguments.seeds, "diverged": diverged, "faults": dict(sorted(faults.items())), "seconds": seconds}
    print(json.dumps(line))
    return 1 if diverged else 0


if __name__ == "__main__":
    sys.exit(main())
