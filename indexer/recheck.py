"""The second look at stored blocks: asked for again, verified, compared row by row; nothing is mended silently."""

import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from core.chain import ChainSource
from core.clock import Clock, SystemClock
from core.errors import BadAnswer, Unverified
from core.store.audit import Comparison, Difference
from core.types import Block, BlockRange
from core.verify.checks import Check, Level
from indexer.plan import holes

log = logging.getLogger(__name__)

CHUNK_BLOCKS: Final = 10  # one request for blocks and receipts
LOGGED: Final = 5  # differences of one block
AGAIN_S: Final = 6 * 3_600.0  # until a block that differs, or that nobody serves right, is looked at again
IDLE_S: Final = 60.0


class Audit(Protocol):
    """What compares. Every method may raise StoreUnavailable."""

    async def compare(self, blocks: Sequence[Block], *, every_log: bool) -> Comparison:
        """Return what of linked `blocks`, all of them covered, is stored otherwise."""
        ...

    async def count_lookups(self, span: BlockRange, expected: Mapping[str, int]) -> list[Difference]:
        """Return which look-up tables hold more or less rows of the blocks of `span` than expected."""
        ...

    async def found_equal(self, blocks: Sequence[Block]) -> bool:
        """Note that what is stored equals `blocks`; False if they are not stored any more."""
        ...

    async def found_different(self, number: int) -> None:
        """Take the level back of a stored block that differs."""
        ...


class RecheckStore(Protocol):
    """What is to be looked at. Every method may raise StoreUnavailable."""

    async def below_level(self, wanted: Check) -> list[BlockRange]:
        """Return the stored blocks that have not passed `wanted`, the newest first."""
        ...

    async def stored_final(self) -> tuple[list[BlockRange], int | None]:
        """Return what is stored and final, the newest first, and how far down a recheck has come."""
        ...

    async def rechecked(self, down_to: int) -> None:
        """Remember how far down a recheck has come."""
        ...


@dataclass(slots=True)
class Found:
    """What a second look at blocks has found so far."""

    blocks: int = 0
    rows: int = 0
    lookups: Counter[str] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)
    unverified: list[Unverified] = field(default_factory=list)


class SecondLook:
    """Looks at stored blocks of one chain again. `quarantine` keeps what differs; `coverage` says what is stored."""

    def __init__(
        self,
        source: ChainSource,
        audit: Audit,
        coverage: Callable[[], Awaitable[Sequence[BlockRange]]],
        quarantine: Callable[[Sequence[Unverified]], Awaitable[None]],
    ) -> None:
        self._source = source
        self._audit = audit
        self._coverage = coverage
        self._quarantine = quarantine

    async def look(self, span: BlockRange, *, every_log: bool) -> AsyncIterator[Found]:
        """Look at the stored blocks of `span`, newest first, and yield what was found in each part of it.

        Raises Transient when no node answers; a block that none serves so that it passes is among what is found.
        """
        for part in _parts(span):
            yield await self._part(part, every_log=every_log)

    async def missing(self, span: BlockRange) -> int:
        """Return how many blocks of `span` are not stored."""
        return sum(map(len, holes(await self._coverage(), [span])))

    async def count_lookups(self, span: BlockRange, expected: Mapping[str, int]) -> list[Difference]:
        """Return which look-up tables hold more or less rows of `span` than expected. It reads all of them."""
        return await self._audit.count_lookups(span, expected)

    async def _part(self, part: BlockRange, *, every_log: bool) -> Found:
        found = Found()
        for stored in await self._stored(part):
            try:
                await self._compare(stored, found, every_log=every_log)
            except Unverified as error:
                if len(stored) == 1:
                    found.unverified.append(error)
                    continue
                for number in range(stored.first, stored.last + 1):
                    alone = await self._part(BlockRange(number, number), every_log=every_log)
                    _add(found, alone)
        return found

    async def _stored(self, part: BlockRange) -> list[BlockRange]:
        spans = [(max(part.first, each.first), min(part.last, each.last)) for each in await self._coverage()]
        return [BlockRange(first, last) for first, last in spans if first <= last]

    async def _compare(self, stored: BlockRange, found: Found, *, every_log: bool) -> None:
        blocks, seen = await self._seen(stored, every_log=every_log)
        # A difference is looked at twice: blocks may have been replaced between the node's answer and ours.
        if seen.differences:
            if await self._stored(stored) != [stored]:
                return
            blocks, seen = await self._seen(stored, every_log=every_log)
        found.blocks += len(blocks)
        found.rows += seen.rows
        found.lookups.update(seen.lookups)
        found.differences += seen.differences
        different = {each.block for each in seen.differences}
        for run in _runs(blocks, different):
            await self._audit.found_equal(run)
        for block in blocks:
            if block.number in different:
                await self._report(block, [each for each in seen.differences if each.block == block.number])

    async def _seen(self, stored: BlockRange, *, every_log: bool) -> tuple[Sequence[Block], Comparison]:
        blocks = await self._source.blocks(stored)
        if len(blocks) != len(stored):
            raise BadAnswer(f"node has {len(blocks)} of blocks {stored}, which are stored")
        return blocks, await self._audit.compare(blocks, every_log=every_log)

    async def _report(self, block: Block, differences: Sequence[Difference]) -> None:
        for each in differences[:LOGGED]:
            log.error("stored otherwise", extra={"block": str(block.ref), "difference": str(each)})
        first, more = differences[0], len(differences) - 1
        which = f"{first.table} ({first.key}) {first.what}{f', and {more} more' if more else ''}"
        await self._audit.found_different(block.number)
        await self._quarantine([Unverified(block.ref, "stored", which, first.expected, first.found)])


class Recheck:
    """Looks at final, stored blocks again, for ever and slowly (a Service): first those below the chain's level."""

    def __init__(
        self,
        look: SecondLook,
        store: RecheckStore,
        level: Level,
        *,
        name: str,
        blocks_per_hour: int,
        on_rechecked: Callable[[int, int], None] = lambda blocks, differences: None,
        clock: Clock | None = None,
    ) -> None:
        self.name = f"recheck.{name}"
        self._look = look
        self._store = store
        self._level = level
        self._pause_s = 3_600.0 / blocks_per_hour
        self._on_rechecked = on_rechecked
        self._clock = clock or SystemClock()
        self._aside: dict[int, float] = {}  # block number -> until when

    async def run(self) -> None:
        """Look for ever."""
        while True:
            blocks = await self.step()
            await self._clock.sleep(self._pause_s * blocks if blocks else IDLE_S)

    async def step(self) -> int:
        """Look at a few blocks; return how many."""
        part = await self._next()
        if part is None:
            return 0
        async for found in self._look.look(part, every_log=False):
            bad = {each.block for each in found.differences} | {each.at.number for each in found.unverified}
            self._aside |= dict.fromkeys(bad, self._clock.monotonic() + AGAIN_S)
            self._on_rechecked(found.blocks, len(found.differences))
        return len(part)

    async def _next(self) -> BlockRange | None:
        """Return what to look at: blocks that have not passed what the chain's blocks have to, else round and round."""
        now = self._clock.monotonic()
        self._aside = {number: until for number, until in self._aside.items() if until > now}
        aside = [BlockRange(number, number) for number in self._aside]
        final, down_to = await self._store.stored_final()
        if not final:
            return None
        wanted = self._level.checks
        weak = [each for each in await self._store.below_level(wanted) if wanted and each.first <= final[0].last]
        for span in holes(aside, [BlockRange(each.first, min(each.last, final[0].last)) for each in weak]):
            return _top(span)
        below = [each for each in final if down_to is not None and each.first < down_to]
        span = final[0]
        if below and down_to is not None:
            span = BlockRange(below[0].first, min(below[0].last, down_to - 1))
        part = _top(span)
        await self._store.rechecked(part.first)
        return part


def _top(span: BlockRange) -> BlockRange:
    return BlockRange(max(span.first, span.last - CHUNK_BLOCKS + 1), span.last)


def _parts(span: BlockRange) -> Iterator[BlockRange]:
    last = span.last
    while last >= span.first:
        part = _top(BlockRange(span.first, last))
        yield part
        last = part.first - 1


def _runs(blocks: Sequence[Block], without: set[int]) -> Iterator[list[Block]]:
    """Yield the blocks that follow one another, those of `without` left out."""
    run: list[Block] = []
    for block in blocks:
        if block.number not in without:
            run.append(block)
        elif run:
            yield run
            run = []
    if run:
        yield run


def _add(into: Found, more: Found) -> None:
    into.blocks += more.blocks
    into.rows += more.rows
    into.lookups.update(more.lookups)
    into.differences += more.differences
    into.unverified += more.unverified
