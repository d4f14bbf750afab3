"""What processes cost, from /proc: CPU seconds and memory of a process and all below it. Linux only."""

import asyncio
import contextlib
import os
import re
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")
SAMPLE_S = 0.2
PSS = re.compile(rb"^Pss: +(\d+) kB", re.M)
RSS = re.compile(rb"^Rss: +(\d+) kB", re.M)


@dataclass(slots=True)
class Peak:
    """The most that a tree of processes had at one time, in bytes; PSS divides shared pages among their users."""

    pss: int = 0
    rss: int = 0


def tree(pid: int) -> set[int]:
    """Return `pid` and every process below it."""
    found, grown = {pid}, {pid}
    while grown:
        grown = {child for each in grown for child in _children(each)} - found
        found |= grown
    return found


def _children(pid: int) -> list[int]:
    # Each thread has its own. Looking through all of /proc took 5 ms, 20 times a second a tenth of a core.
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in (PROC / str(pid) / "task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found


def cpu_s(pid: int) -> float:
    """Return user and system CPU seconds of the tree, those of children that have ended included."""
    return sum(sum(map(int, stat[11:15])) for each in tree(pid) if (stat := _stat(each))) / TICKS


def memory(pid: int) -> tuple[int, int]:
    """Return PSS and RSS of the tree, in bytes."""
    pss = rss = 0
    for each in tree(pid):
        with contextlib.suppress(OSError):
            text = (PROC / str(each) / "smaps_rollup").read_bytes()
            pss += _kilobytes(PSS, text)
            rss += _kilobytes(RSS, text)
    return pss, rss


@asynccontextmanager
async def watched(pid: int) -> AsyncIterator[Peak]:
    """Note the peak of the tree while inside; a peak shorter than SAMPLE_S may be missed."""
    peak = Peak()

    async def look() -> None:
        while True:
            pss, rss = await asyncio.to_thread(memory, pid)
            peak.pss, peak.rss = max(peak.pss, pss), max(peak.rss, rss)
            await asyncio.sleep(SAMPLE_S)

    task = asyncio.get_running_loop().create_task(look(), name="memory")  # awaited below, through its cancellation
    try:
        yield peak
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def ended_cpu_s() -> float:
    """Return the CPU seconds of all children that this process has waited for, and of theirs."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def _stat(pid: int) -> list[str]:
    """Return the fields of stat after the name, which may hold anything; nothing for a process that has ended."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _kilobytes(pattern: re.Pattern[bytes], text: bytes) -> int:
    found = pattern.search(text)
    return int(found[1]) * 1024 if found else 0
