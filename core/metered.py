"""Wrappers that measure at the seams, so that what they wrap need not know of metrics."""

from collections.abc import Sequence
from typing import Protocol

from core.chain import ChainSource
from core.clock import Clock, SystemClock
from core.errors import Transient
from core.metrics import ChainMetrics
from core.store.bulk import Chunk
from core.store.lease import Lease
from core.store.port import EncodedStore
from core.types import Block, BlockRange, BlockRef, Head


class MeteredSource:
    """A ChainSource that reports to `metrics`."""

    def __init__(self, source: ChainSource, metrics: ChainMetrics, clock: Clock | None = None) -> None:
        self._source = source
        self._metrics = metrics
        self._clock = clock or SystemClock()

    async def verify(self) -> None:
        """Raise WrongChain unless the node still serves the configured chain."""
        await self._source.verify()

    async def head(self) -> Head:
        """Return the newest block the node has."""
        return await self._source.head()

    async def ref_at(self, number: int) -> BlockRef | None:
        """Return the canonical block at `number`, or None if the node has none there."""
        return await self._source.ref_at(number)

    async def blocks(self, wanted: BlockRange) -> tuple[Block, ...]:
        """Return the blocks of `wanted`, timed."""
        started = self._clock.monotonic()
        try:
            found = await self._source.blocks(wanted)
        except Transient as error:
            self._metrics.fetch_failed(error)
            raise
        self._metrics.fetched(self._clock.monotonic() - started)
        return found


class Answers(Protocol):
    """What gives undecoded blocks and their receipts."""

    async def answers(self, wanted: BlockRange) -> tuple[Sequence[bytes], Sequence[bytes]]:
        """Return those of `wanted`, ascending."""
        ...


class MeteredAnswers:
    """Undecoded blocks, reported to `metrics` as fetched ones."""

    def __init__(self, answers: Answers, metrics: ChainMetrics, clock: Clock | None = None) -> None:
        self._answers = answers
        self._metrics = metrics
        self._clock = clock or SystemClock()

    async def answers(self, wanted: BlockRange) -> tuple[Sequence[bytes], Sequence[bytes]]:
        """Return those of `wanted`, timed."""
        started = self._clock.monotonic()
        try:
            found = await self._answers.answers(wanted)
        except Transient as error:
            self._metrics.fetch_failed(error)
            raise
        self._metrics.fetched(self._clock.monotonic() - started)
        return found


class MeteredStore:
    """A ChainStore that reports to `metrics`."""

    def __init__(self, store: EncodedStore, metrics: ChainMetrics, clock: Clock | None = None) -> None:
        self._store = store
        self._metrics = metrics
        self._clock = clock or SystemClock()

    async def register(self, name: str, genesis_hash: bytes | None) -> None:
        """Make the chain known."""
        await self._store.register(name, genesis_hash)

    async def cursor(self) -> BlockRef | None:
        """Return the last block the head writer committed."""
        return await self._store.cursor()

    async def coverage(self) -> tuple[BlockRange, ...]:
        """Return the stored ranges."""
        return await self._store.coverage()

    async def followed_from(self) -> int | None:
        """Return the first block the head writer ever committed."""
        return await self._store.followed_from()

    async def ref_at(self, number: int) -> BlockRef | None:
        """Return the stored block at `number`."""
        return await self._store.ref_at(number)

    async def saw(self, head: Head) -> None:
        """Note the newest head."""
        self._metrics.saw(head)
        await self._store.saw(head)

    async def commit(self, blocks: Sequence[Block], *, after: BlockRef | None) -> None:
        """Store blocks at the head, timed."""
        started = self._clock.monotonic()
        await self._store.commit(blocks, after=after)
        self._metrics.committed(blocks, "head", self._clock.monotonic() - started)

    async def commit_chunk(self, chunk: Chunk, *, after: BlockRef | None) -> None:
        """Store encoded blocks at the head, timed."""
        started = self._clock.monotonic()
        await self._store.commit_chunk(chunk, after=after)
        self._metrics.committed_rows(chunk.headers, chunk.rows("transaction"), self._clock.monotonic() - started)

    async def begin(self, block: Block, *, after: BlockRef | None = None) -> None:
        """Store a block for history to be filled below."""
        await self._store.begin(block, after=after)

    async def fill(self, blocks: Sequence[Block], *, anchored: bool = True) -> None:
        """Store blocks of a hole, timed."""
        started = self._clock.monotonic()
        await self._store.fill(blocks, anchored=anchored)
        self._metrics.committed(blocks, "backfill", self._clock.monotonic() - started)

    async def fill_chunk(self, chunk: Chunk, *, anchored: bool, lease: Lease | None = None) -> None:
        """Store encoded blocks of a hole, timed."""
        started = self._clock.monotonic()
        await self._store.fill_chunk(chunk, anchored=anchored, lease=lease)
        seconds = self._clock.monotonic() - started
        self._metrics.filled(len(chunk.headers), chunk.rows("transaction"), seconds)

    async def join_coverage(self) -> None:
        """Make one of ranges that lie side by side."""
        await self._store.join_coverage()

    async def rewind(self, cursor: BlockRef, ancestor: BlockRef | None, *, reason: str) -> None:
        """Rewind, counted."""
        await self._store.rewind(cursor, ancestor, reason=reason)
        number = -1 if ancestor is None else ancestor.number
        self._metrics.rewound(cursor.number - number, number)

    async def discard(self, first: int, tip: BlockRef, *, reason: str) -> None:
        """Discard, counted."""
        await self._store.discard(first, tip, reason=reason)
        self._metrics.discarded(tip.number - first + 1)
