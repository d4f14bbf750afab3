"""`chainworkd reindex counters`: count sealed segments again, say what was stored otherwise, and mend it."""

import argparse
import time
from typing import Final

import msgspec

from core.hex import to_hex
from core.settings import Settings
from core.store import reader
from core.store.counts import PgCounts, Wrong
from core.store.deposit_counts import PgDepositCounts, WrongDeposits
from core.store.listing import DIRECTION_ROLES
from core.store.pool import Pool
from daemon.database import open_database
from daemon.terminal import say

SOME: Final = 200  # seals between two looks at what there is to seal
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


class WrongDepositCount(msgspec.Struct):
    """A count of deposits that was wrong: of which blocks, vault, resolver (null for none) and token.

    Numbers are all deposits, those that are worth something, and their amount in base units; null for no count.
    """

    first: int
    last: int
    vault: str
    resolver: str | None
    token: str
    expected: list[str] | None
    found: list[str] | None

    @classmethod
    def of(cls, wrong: WrongDeposits) -> "WrongDepositCount":
        """Make it from what was found."""
        numbers = [None if each is None else [str(one) for one in each] for each in (wrong.expected, wrong.found)]
        resolver = to_hex(wrong.resolver) if wrong.resolver else None
        blocks = (wrong.blocks.first, wrong.blocks.last)
        return cls(*blocks, to_hex(wrong.vault), resolver, to_hex(wrong.token), *numbers)

    def __str__(self) -> str:
        what = f"deposits of {self.token} for {self.resolver or 'nobody'} in {self.vault}"
        return f"blocks {self.first}..{self.last}, {what}: {self.expected}, found {self.found}"


class Report(msgspec.Struct):
    """What was found of one chain. `sealed` segments were sealed by this run, for they were not before."""

    chain: str
    segments: int = 0
    sealed: int = 0
    wrong_count: int = 0
    wrong: list[WrongCount] = []
    deposit_segments: int = 0
    deposits_sealed: int = 0
    deposits_wrong_count: int = 0
    deposits_wrong: list[WrongDepositCount] = []
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
    return 1 if any(report.wrong_count or report.deposits_wrong_count for report in reports) else 0


async def _of_chain(pool: Pool, name: str, chain_id: int) -> Report:
    started, report = time.monotonic(), Report(chain=name)
    await _transactions(counts_of(pool, chain_id), report)
    await _deposits(PgDepositCounts(pool, chain_id), report)
    report.seconds = round(time.monotonic() - started, 3)
    return report


async def _transactions(counts: PgCounts, report: Report) -> None:
    for segment in await counts.sealed():
        wrong = await counts.reseal(segment)
        report.segments += 1
        report.wrong_count += len(wrong)
        report.wrong += map(WrongCount.of, wrong[: max(0, MOST_NAMED - len(report.wrong))])
    for segment in await counts.unsealed(1_000_000):
        report.sealed += await counts.seal(segment)


async def _deposits(counts: PgDepositCounts, report: Report) -> None:
    for stretch in await counts.sealed():
        wrong = await counts.reseal(stretch)
        report.deposit_segments += stretch.segments
        report.deposits_wrong_count += len(wrong)
        report.deposits_wrong += map(WrongDepositCount.of, wrong[: max(0, MOST_NAMED - len(report.deposits_wrong))])
    while unsealed := await counts.unsealed(SOME):  # wider segments can be sealed when narrower ones are
        done = [stretch.segments for stretch in unsealed if await counts.seal(stretch)]
        report.deposits_sealed += sum(done)
        if not done:
            return


def counts_of(pool: Pool, chain_id: int) -> PgCounts:
    """Return what seals a chain's segments."""
    incoming, outgoing = int(DIRECTION_ROLES["in"]), int(DIRECTION_ROLES["out"])
    return PgCounts(pool, chain_id, incoming=incoming, outgoing=outgoing)


def _tell(reports: list[Report]) -> None:
    for report in reports:
        for wrong in (*report.wrong, *report.deposits_wrong):
            say(f"{report.chain}: {wrong}")
        say(
            f"{report.chain}: {report.segments} segments counted again in {report.seconds:.1f} s,"
            f" {report.wrong_count} counts were wrong; {report.sealed} segments sealed"
        )
        say(
            f"{report.chain}: {report.deposit_segments} segments of deposits counted again,"
            f" {report.deposits_wrong_count} counts were wrong; {report.deposits_sealed} segments sealed"
        )
