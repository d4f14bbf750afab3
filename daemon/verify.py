"""`chainworkd verify`: hold stored blocks against the node again, row by row, and say what differs."""

import argparse
import asyncio
import logging
import sys
import time
from collections import Counter
from typing import Final, Self

import msgspec
from tqdm import tqdm

from core.errors import BadConfig, Unverified
from core.metrics import Metrics
from core.settings import Settings
from core.store.audit import Difference
from core.store.migrate import migrate
from core.store.pool import open_pool
from core.types import BlockRange
from core.verify.checks import names
from daemon.backfill import chosen
from daemon.chains import Chain, endpoints, introduced, second_look
from daemon.database import existing_database
from daemon.schema import MIGRATIONS
from daemon.terminal import say
from indexer.recheck import Found

log = logging.getLogger(__name__)

LINE_S: Final = 5.0  # between two lines of progress, where there is no terminal
MOST_NAMED: Final = 100  # differences; the rest is counted
WORTH_COUNTING: Final = 10  # a range of at least a tenth of what is stored: reading all of the look-up tables pays


class Named(msgspec.Struct):
    """One difference: in which table, at which key, which column or row, what is right and what is stored."""

    table: str
    key: str
    what: str
    expected: str
    found: str

    @classmethod
    def of(cls, found: Difference) -> "Named":
        """Make it from what the comparison found."""
        return cls(found.table, found.key, found.what, found.expected, found.found)


class Failed(msgspec.Struct):
    """One block that no node serves so that it passes its checks."""

    block: int
    hash: str
    endpoint: str
    check: str
    expected: str
    found: str

    @classmethod
    def of(cls, error: Unverified) -> "Failed":
        """Make it from the error."""
        at = error.at
        return cls(
            at.number, f"0x{at.hash.hex()}", error.endpoint, error.check, error.expected[:200], error.found[:200]
        )


class Report(msgspec.Struct):
    """What `chainworkd verify --json` prints: whether all blocks of the range are stored as the node has them.

    `checks` are what the node's blocks had to pass. Of `differences` and `unverified` the first hundred are named.
    """

    chain: str
    chain_id: int
    first: int
    last: int
    checks: list[str]
    missing_blocks: int
    clean: bool = False
    blocks: int = 0
    rows: int = 0
    difference_count: int = 0
    unverified_count: int = 0
    differences: list[Named] = []
    unverified: list[Failed] = []
    lookups_counted: bool = False
    seconds: float = 0.0
    blocks_per_s: float = 0.0

    def add(self, seen: Found) -> None:
        """Add what was found in a part of the range."""
        self.blocks += seen.blocks
        self.rows += seen.rows
        self.difference_count += len(seen.differences)
        self.unverified_count += len(seen.unverified)
        self.differences += map(Named.of, seen.differences[: MOST_NAMED - len(self.differences)])
        self.unverified += map(Failed.of, seen.unverified[: MOST_NAMED - len(self.unverified)])


async def run(settings: Settings, arguments: argparse.Namespace) -> int | None:
    """Compare the range; exit 1 if something differs, is missing, or could not be verified."""
    name, of = chosen(settings, arguments.chain)
    metrics = Metrics()
    nodes = endpoints(name, of, metrics)
    async with existing_database(settings, start=True) as url:
        await migrate(url, MIGRATIONS)
        size = settings.database.indexer_connections
        async with open_pool(url, role="chainworkd_indexer", size=size) as pool, nodes as client:
            chain = await introduced(name, of, client, pool, metrics)
            report = await _compared(chain, await _span(chain, arguments.first, arguments.last))
    if arguments.json:
        say(msgspec.json.encode(report).decode())
    else:
        _tell(report)
    return 0 if report.clean else 1


async def _span(chain: Chain, first: int, last: int | None) -> BlockRange:
    cursor = await chain.store.cursor()
    if cursor is None:
        raise BadConfig(f"chains.{chain.name}: nothing is stored")
    top = cursor.number if last is None else last
    if first > top or top > cursor.number:
        raise BadConfig(f"--from {first} --to {top}: expected a range up to the last stored block, {cursor.number}")
    return BlockRange(first, top)


async def _compared(chain: Chain, span: BlockRange) -> Report:
    look, clock = second_look(chain), asyncio.get_running_loop().time
    started, lookups = clock(), Counter[str]()
    report = Report(
        chain=chain.name, chain_id=chain.id, first=span.first, last=span.last,
        checks=names(chain.level.checks), missing_blocks=await look.missing(span),
    )  # fmt: skip
    with _Progress(f"{chain.name} {span}", len(span)) as progress:
        async for seen in look.look(span, every_log=True):
            report.add(seen)
            lookups.update(seen.lookups)
            progress.at(report)
    stored = sum(map(len, await chain.store.coverage()))
    if report.blocks == len(span) and len(span) * WORTH_COUNTING >= stored:
        report.lookups_counted = True
        report.add(Found(differences=await look.count_lookups(span, lookups)))
    report.clean = not (report.missing_blocks or report.difference_count or report.unverified_count)
    report.seconds = round(clock() - started, 3)
    report.blocks_per_s = round(report.blocks / max(report.seconds, 0.001), 1)
    return report


class _Progress:
    """A bar on a terminal, lines of the log elsewhere."""

    def __init__(self, what: str, blocks: int) -> None:
        self._bar = tqdm(
            total=blocks, unit=" blocks", desc=what, disable=not sys.stderr.isatty(), dynamic_ncols=True, leave=False
        )
        self._blocks = blocks
        self._said_at = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def at(self, report: Report) -> None:
        """Show how far it is."""
        self._bar.update(report.blocks - self._bar.n)
        if self._bar.disable and time.monotonic() - self._said_at > LINE_S:
            self._said_at = time.monotonic()
            left = self._blocks - report.blocks - report.missing_blocks
            log.info("verifying", extra={"blocks": report.blocks, "left": left, "differences": report.difference_count})


def _tell(report: Report) -> None:
    for each in report.differences:
        say(f"{each.table} ({each.key}) {each.what}: expected {each.expected}, found {each.found}")
    for failed in report.unverified:
        say(
            f"block {failed.block} ({failed.hash}) from {failed.endpoint} fails {failed.check}: "
            f"expected {failed.expected}, found {failed.found}"
        )
    named = len(report.differences) + len(report.unverified)
    if more := report.difference_count + report.unverified_count - named:
        say(f"and {more} more")
    counted = (
        "" if report.lookups_counted else "; look-up tables by their keys alone, the range is too small to count them"
    )
    state = "all as the node has it" if report.clean else (
        f"{report.difference_count} differences, {report.missing_blocks} blocks not stored, "
        f"{report.unverified_count} not served so that they pass"
    )  # fmt: skip
    say(
        f"{report.chain} {report.first}..{report.last}: {report.blocks} blocks, {report.rows} rows compared in "
        f"{report.seconds:.1f} s, by {', '.join(report.checks) or 'no check at all'}{counted}: {state}"
    )
