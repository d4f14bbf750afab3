"""Does memory grow? The demo's load for a while, and a straight line through what every process holds.

`python -m tests.e2e.soak --minutes 60` prints a report as JSON and exits 1 if our processes grow by more than LIMIT.
Memory is PSS: what is shared counts in parts, so that a sum over processes counts nothing twice. Other processes of the
same Python change it as they come and go; `ours anonymous`, what no file is behind, they do not touch.
"""

import argparse
import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import linear_regression

import msgspec

from core.store.schema import scratch_folder
from tests.e2e.daemon import PORTS, Daemon, descendants

SAMPLE_S = 10.0
WARM_MINUTES = 10.0  # not looked at: caches fill, code is loaded
LIMIT = 1.0  # MiB per 10 minutes
OURS = ("head", "api", "backfill", "worker", "sender")  # the demo's traffic is made in the head's process


class Report(msgspec.Struct, kw_only=True):
    """What was seen. MiB; slopes are per 10 minutes, from minute `looked_from` on."""

    minutes: float
    looked_from: float
    samples: int
    slope: dict[str, float]
    first: dict[str, float]
    last: dict[str, float]
    limit: float
    grows: bool


def role_of(pid: int) -> str:
    """What a process of the demo is."""
    command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    if b"child" in command:
        return command[command.index(b"child") + 1].decode()
    name = Path(f"/proc/{pid}/comm").read_text().strip()
    if name.startswith("postgres"):
        return "postgres"
    return "head" if b"demo" in command else name


def pss_mib(pid: int) -> tuple[float, float]:
    """The proportional set size of a process, and the anonymous part of it (proc(5), smaps_rollup)."""
    found = {"Pss:": 0.0, "Pss_Anon:": 0.0}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, *value = line.split()
        if name in found:
            found[name] = int(value[0]) / 1024
    return found["Pss:"], found["Pss_Anon:"]


def sample(root: int) -> dict[str, float]:
    """MiB by role, and of all of ours."""
    found: dict[str, float] = {}
    anonymous = 0.0
    for pid in {root} | descendants(root):
        with contextlib.suppress(OSError):
            role = role_of(pid)
            whole, part = pss_mib(pid)
            found[role] = found.get(role, 0.0) + whole
            anonymous += part if role in OURS else 0.0
    return {**found, "ours": sum(found.get(role, 0.0) for role in OURS), "ours anonymous": anonymous}


def slopes(samples: Sequence[tuple[float, Mapping[str, float]]]) -> dict[str, float]:
    """MiB per 10 minutes, by least squares, of samples (minute, MiB by role)."""
    roles = sorted({role for _, found in samples for role in found})
    points = {role: [(at, found[role]) for at, found in samples if role in found] for role in roles}
    return {role: round(10 * _slope(points[role]), 3) for role in roles}


def _slope(points: Sequence[tuple[float, float]]) -> float:
    return linear_regression(*zip(*points, strict=True)).slope if len(points) > 2 else 0.0


async def soak(minutes: float, kept: Path | None = None) -> Report:
    """Run the demo and look at it; `kept` receives every sample as a line of JSON: [minute, {role: MiB}]."""
    samples: list[tuple[float, dict[str, float]]] = []
    with scratch_folder() as folder:
        env = {"PATH": os.environ["PATH"], "HOME": str(folder), **PORTS}
        env |= {name: value for name, value in os.environ.items() if name.startswith(("XDG_CACHE_HOME", "MALLOC_"))}
        async with Daemon(folder, "demo", "--data-dir", str(folder / "demo"), env=env) as demo:
            await demo.logged("advanced")
            begun = time.monotonic()
            while (at := (time.monotonic() - begun) / 60) < minutes:
                assert demo.running, demo.text()[-3000:]
                samples.append((at, sample(demo.pid)))
                _keep(kept, samples[-1])
                await asyncio.sleep(SAMPLE_S)
    warm = min(WARM_MINUTES, minutes / 4)
    looked = [(at, found) for at, found in samples if at >= warm]
    slope = slopes(looked)
    return Report(
        minutes=minutes, looked_from=warm, samples=len(samples), slope=slope, first=_rounded(looked[0][1]),
        last=_rounded(looked[-1][1]), limit=LIMIT, grows=slope["ours"] > LIMIT,
    )  # fmt: skip


def _keep(kept: Path | None, taken: tuple[float, dict[str, float]]) -> None:
    if kept is not None:
        with kept.open("ab") as file:
            file.write(msgspec.json.encode(taken) + b"\n")


def _rounded(found: Mapping[str, float]) -> dict[str, float]:
    return {role: round(mib, 2) for role, mib in found.items()}


def main() -> None:
    """Soak from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--samples", type=Path, help="a file that receives every sample as it is taken")
    wanted = parser.parse_args()
    report = asyncio.run(soak(wanted.minutes, wanted.samples))
    sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    sys.exit(1 if report.grows else 0)


if __name__ == "__main__":
    main()
