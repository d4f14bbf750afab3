"""`chainworkd reindex counters`: count sealed segments again, say what was stored otherwise, and mend it."""

import argparse
import time
from typing import Final

import msgspec

from core.hex import to_hex
from core.settings import Settings
from core.store import reader
from core.store.counts import PgCounts, Wrong
from core.store.listing import DIRECTION_ROLES
from core.store.pool import Pool
from daemon.database import open_database
from daemon.terminal import say

MOST_NAMED: Final = 100  # counts that were wrong; the rest is counted


class WrongCount(msgspec.Struct):
    """A count that was wrong: of which blocks and whom, and what it should have been.

    Numbers are all, incoming and outgoing transactions; of `address` null all transactions of the blocks.
    """

    first: int
    last: int
    address: str | None
    expected: list[int]
    found: list[int] | None

    @classmethod
    def of(cls, wrong: Wrong) -> "WrongCount":
        """Make it from what was found."""
        blocks, address = wrong.segment.blocks, wrong.address
        found = None if wrong.found is None else list(wrong.found)
        shown = None if address is None else to_hex(address)
        return cls(blocks.first, blocks.last, shown, list(wrong.expected), found)

    def __str__(self) -> str:
        return f"blocks {self.first}..{self.last} of {self.address or 'all'}: {self.expected}, found {self.found}"


class Report(msgspec.Struct):
    """What was found of one chain. `sealed` segments were sealed by this run, for they were not before."""

    chain: str
    segments: int = 0
    sealed: int = 0
    wrong_count: int = 0
    wrong: list[WrongCount] = []
    seconds: float = 0.0


async def counters(settings: Settings, arguments: argparse.Namespace) -> int | None:
    """Count again; exit 1 if a count was wrong."""
    async with open_database(settings) as pool:
        chains = await reader.chains(pool)
        reports = [await _of_chain(pool, name, chain_id) for name, chain_id in chains.items()]
    if arguments.json:
        say(msgspec.json.encode(reports).decode())
    else:
        _tell(reports)
    return 1 if any(report.wrong_count for report in reports) else 0


async def _of_chain(pool: Pool, name: str, chain_id: int) -> Report:
    started, report, counts = time.monotonic(), Report(chain=name), counts_of(pool, chain_id)
    for segment in await counts.sealed():
        wrong = await counts.reseal(segment)
        report.segments += 1
        report.wrong_count += len(wrong)
        report.wrong += map(WrongCount.of, wrong[: max(0, MOST_NAMED - len(report.wrong))])
    for segment in await counts.unsealed(1_000_000):
        report.sealed += await counts.seal(segment)
    report.seconds = round(time.monotonic() - started, 3)
    return report


def counts_of(pool: Pool, chain_id: int) -> PgCounts:
    """Return what seals a chain's segments."""
    incoming, outgoing = int(DIRECTION_ROLES["in"]), int(DIRECTION_ROLES["out"])
    return PgCounts(pool, chain_id, incoming=incoming, outgoing=outgoing)


def _tell(reports: list[Report]) -> None:
    for report in reports:
        for wrong in report.wrong:
            say(f"{report.chain}: {wrong}")
        say(
            f"{report.chain}: {report.segments} segments counted again in {report.seconds:.1f} s,"
            f" {report.wrong_count} counts were wrong; {report.sealed} segments sealed"
        )
