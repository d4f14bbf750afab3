"""History in bulk: fetch, encode and store overlap, bounded by bytes, in one event loop.

Three stages with a queue between each: requests in flight, one encoder in a thread of its own (it runs compiled code
that leaves the interpreter to the other stages), and a few writers with a connection each. What is held at once, from a
request's expected answer to the last row of its chunk, is counted in bytes: `budget` bounds memory whatever the length
of the range and the size of its blocks. Only blocks that a reorg cannot reach come this way: chunks are stored in any
order.
"""

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from core.chain import ChainSource
from core.clock import Clock, SystemClock
from core.errors import BadAnswer, RpcRefused, SeamBroken
from core.store.bulk import Chunk, Piece, RowsRefused, Unusual
from core.store.lease import Lease
from core.store.port import BulkStore
from core.types import Block, BlockRange

log = logging.getLogger(__name__)

MB: Final = 1 << 20
ANSWER_BYTES: Final = 1 * MB  # of one request: larger bodies were slower to read (docs/performance.md)
CHUNK_BYTES: Final = 16 * MB  # of the answers that one transaction stores
FIRST_GUESS: Final = 100_000.0  # bytes a block, until one was seen
FEWEST, MOST = 4, 64  # requests in flight
INFLATED: Final = 2.0  # a request that takes this much longer than the quickest waits in a queue, not on the wire

Limit = Literal["node", "decode", "database"]
# How the encoder is called without holding up the event loop.
Offload = Callable[
    [Callable[[Sequence[bytes], Sequence[bytes]], Piece], Sequence[bytes], Sequence[bytes]], Awaitable[Piece]
]


class Answers(Protocol):
    """What blocks are fetched from."""

    async def answers(self, wanted: BlockRange) -> tuple[Sequence[bytes], Sequence[bytes]]:
        """Return the undecoded blocks of `wanted`, ascending, and the receipts of each, or what the encoder wants."""
        ...


class Encoder(Protocol):
    """What turns answers into rows."""

    def encode(self, raw_blocks: Sequence[bytes], raw_rest: Sequence[bytes]) -> Piece:
        """Return the rows of consecutive blocks. Raises Unusual, BadAnswer. It is called in any thread."""
        ...


@dataclass(slots=True)
class Progress:
    """How far a run is, and what it spent its time on: counters that only grow, seconds of one clock."""

    blocks: int = 0
    txs: int = 0
    rows: int = 0
    answer_bytes: int = 0
    careful_blocks: int = 0
    encoding_s: float = 0.0
    starved_s: float = 0.0  # the encoder waited for the node
    full_s: float = 0.0  # no request was sent because the budget was spent
    in_flight: int = FEWEST

    def careful(self, blocks: int, txs: int) -> None:
        """Count blocks that were stored by way of objects."""
        self.blocks += blocks
        self.careful_blocks += blocks
        self.txs += txs

    def limit(self, since: "Progress") -> Limit:
        """Say what bounded the speed since an earlier look."""
        starved, encoding = self.starved_s - since.starved_s, self.encoding_s - since.encoding_s
        if encoding >= starved:
            return "decode"
        return "database" if self.full_s - since.full_s > starved / 2 else "node"


@dataclass(eq=False, slots=True)
class _Work:
    """One chunk on its way: its parts, and what has become of each."""

    blocks: BlockRange
    parts: Sequence[BlockRange]
    block_bytes: float  # expected of each block
    cost: int  # bytes of the budget: reserved, then as answers have come, then as rows
    pieces: dict[int, Piece] = field(default_factory=dict)
    failed: Exception | None = None
    arrived: int = 0


class Pipeline:
    """Fills ranges of settled history."""

    def __init__(
        self,
        answers: Answers,
        source: ChainSource,
        hot: Encoder,
        store: BulkStore,
        *,
        chunk_blocks: int = 50,
        part_blocks: int = 20,
        writers: int = 3,
        budget: int = 96 * MB,
        clock: Clock | None = None,
        offload: Offload = asyncio.to_thread,
        prepare: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._answers = answers
        self._source = source
        self._hot = hot
        self._store = store
        self._chunk_blocks = chunk_blocks
        self._part_blocks = part_blocks
        self._writers = writers
        self._budget = budget
        self._clock = clock or SystemClock()
        self._offload = offload
        self._prepare = prepare
        self._block_bytes = FIRST_GUESS
        self.progress = Progress()

    def next_chunk(self, hole: BlockRange) -> BlockRange:
        """Return the newest part of `hole` that one transaction should hold."""
        count = min(self._chunk_blocks, max(1, int(CHUNK_BYTES / self._block_bytes)))
        return BlockRange(max(hole.first, hole.last - count + 1), hole.last)

    async def run(self, chunks: AsyncGenerator[BlockRange, None], lease: Lease | None = None) -> None:
        """Fill `chunks`, which do not overlap and lie within `lease`, until there are no more.

        A chunk that the node cannot serve is left out and does not stop the others; the first such error is raised at
        the end. Everything else that fails ends the run at once: what was stored stays.
        """
        await _Run(self, chunks, lease).run()

    def learn(self, size: int, blocks: int) -> None:
        """Note how large blocks are here."""
        self._block_bytes += 0.2 * (size / blocks - self._block_bytes)

    def parts(self, chunk: BlockRange) -> list[BlockRange]:
        """Return `chunk` in requests of about ANSWER_BYTES."""
        step = min(self._part_blocks, max(1, int(ANSWER_BYTES / self._block_bytes)))
        return [
            BlockRange(first, min(first + step - 1, chunk.last)) for first in range(chunk.first, chunk.last + 1, step)
        ]

    @property
    def block_bytes(self) -> float:
        """Bytes that the answers about one block probably take."""
        return self._block_bytes


class _Run:
    """One run: its queues, its budget, and the seams that were seen."""

    def __init__(self, of: Pipeline, chunks: AsyncGenerator[BlockRange, None], lease: Lease | None) -> None:
        self._of = of
        self._lease = lease
        self._chunks = chunks
        self._held = 0
        self._flights = 0
        self._moved = asyncio.Condition()
        self._arrived: asyncio.Queue[tuple[_Work, int, Sequence[bytes], Sequence[bytes]] | None] = asyncio.Queue()
        self._encoded: asyncio.Queue[_Work | None] = asyncio.Queue()
        self._parents: dict[int, bytes] = {}  # block number -> the hash its child says it has
        self._tips: dict[int, bytes] = {}  # block number -> its hash, of the last block of a chunk
        self._quickest = math.inf
        self._skipped: list[Exception] = []
        self._prepared = asyncio.Event()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for n in range(self._of._writers):
                group.create_task(self._write(), name=f"bulk.write {n}")
            group.create_task(self._encode(), name="bulk.encode")
            async with asyncio.TaskGroup() as fetching, aclosing(self._chunks) as chunks:
                async for chunk in chunks:
                    await self._feed(chunk, fetching)
                    # One chunk is enough to begin with; more would hold up what is prepared.
                    await self._prepared.wait()
            self._arrived.put_nowait(None)
        if self._skipped:
            raise self._skipped[0]

    # -- fetch -------------------------------------------------------------------------------------------------------

    async def _feed(self, chunk: BlockRange, fetching: asyncio.TaskGroup) -> None:
        of = self._of
        work = _Work(chunk, of.parts(chunk), of.block_bytes, int(of.block_bytes * len(chunk)))
        started = of._clock.monotonic()
        async with self._moved:
            # A chunk larger than the whole budget goes alone.
            await self._moved.wait_for(lambda: not self._held or self._held + work.cost <= of._budget)
            self._held += work.cost
        of.progress.full_s += of._clock.monotonic() - started
        for index, part in enumerate(work.parts):
            async with self._moved:
                await self._moved.wait_for(lambda: self._flights < of.progress.in_flight)
                self._flights += 1
            fetching.create_task(self._fetch(work, index, part), name=f"bulk.fetch {part}")

    async def _fetch(self, work: _Work, index: int, part: BlockRange) -> None:
        of = self._of
        started = of._clock.monotonic()
        blocks: Sequence[bytes] = ()
        receipts: Sequence[bytes] = ()
        try:
            blocks, receipts = await of._answers.answers(part)
            self._timed(of._clock.monotonic() - started)
            self._weigh(work, part, sum(map(len, blocks)) + sum(map(len, receipts)))
        except (BadAnswer, RpcRefused) as error:
            work.failed = error
        finally:
            self._flights -= 1
            async with self._moved:
                self._moved.notify_all()
        self._arrived.put_nowait((work, index, blocks, receipts))

    def _weigh(self, work: _Work, part: BlockRange, size: int) -> None:
        """Hold what has come instead of what was expected: the next chunk waits for as much as there really is."""
        self._of.learn(size, len(part))
        self._of.progress.answer_bytes += size
        more = size - int(work.block_bytes * len(part))
        work.cost += more
        self._held += more

    def _timed(self, seconds: float) -> None:
        """Send more at once if the encoder has nothing to do and requests do not queue up at the node."""
        self._quickest = min(self._quickest, seconds)
        progress = self._of.progress
        if self._arrived.empty() and seconds < INFLATED * self._quickest and progress.in_flight < MOST:
            progress.in_flight += 1

    # -- encode ------------------------------------------------------------------------------------------------------

    async def _encode(self) -> None:
        of, progress = self._of, self._of.progress
        if of._prepare is not None:
            await of._prepare()
        self._prepared.set()
        while True:
            waiting = of._clock.monotonic()
            item = await self._arrived.get()
            started = of._clock.monotonic()
            progress.starved_s += started - waiting
            if item is None:
                for _ in range(of._writers):
                    self._encoded.put_nowait(None)
                return
            work, index, blocks, receipts = item
            work.arrived += 1
            if work.failed is None:
                await self._encode_part(work, index, blocks, receipts)
                await self._hold(work, index, sum(map(len, blocks)) + sum(map(len, receipts)))
            if work.arrived == len(work.parts):
                self._encoded.put_nowait(work)
            progress.encoding_s += of._clock.monotonic() - started

    async def _encode_part(self, work: _Work, index: int, blocks: Sequence[bytes], receipts: Sequence[bytes]) -> None:
        try:
            work.pieces[index] = await self._of._offload(self._of._hot.encode, blocks, receipts)
        except (Unusual, BadAnswer) as error:
            work.failed = error

    async def _hold(self, work: _Work, index: int, answers: int) -> None:
        """Hold the rows of a part in the place of its answers, which took so many bytes."""
        piece = work.pieces.get(index)
        if piece is None:
            return
        change = piece.size - answers
        async with self._moved:
            work.cost += change
            self._held += change
            self._moved.notify_all()

    # -- store -------------------------------------------------------------------------------------------------------

    async def _write(self) -> None:
        while (work := await self._encoded.get()) is not None:
            try:
                await self._store(work)
            except (BadAnswer, RpcRefused) as error:
                log.warning("left out", extra={"blocks": str(work.blocks), "error": str(error)})
                self._skipped.append(error)
            async with self._moved:
                self._held -= work.cost
                self._moved.notify_all()

    async def _store(self, work: _Work) -> None:
        if isinstance(work.failed, RpcRefused):
            raise work.failed
        if work.failed is not None:
            await self._store_carefully(work.blocks, work.failed)
            return
        chunk = Chunk([work.pieces[index] for index in range(len(work.parts))])
        self._check(work.blocks, chunk.headers)
        try:
            await self._of._store.fill_chunk(chunk, anchored=False, lease=self._lease)
        except RowsRefused as error:
            await self._store_carefully(work.blocks, error)
            return
        progress = self._of.progress
        progress.blocks += len(chunk.headers)
        progress.txs += chunk.rows("transaction")
        progress.rows += chunk.all_rows()

    async def _store_carefully(self, wanted: BlockRange, why: Exception) -> None:
        """Fetch and store what the hot path does not take, by way of objects: slower, and with better errors."""
        log.info("unusual blocks", extra={"blocks": str(wanted), "why": str(why)[:500]})
        blocks = await self._of._source.blocks(wanted)
        self._check(wanted, blocks)
        await self._of._store.fill(blocks, anchored=False)
        self._of.progress.careful(len(blocks), sum(len(block.txs) for block in blocks))

    def _check(self, wanted: BlockRange, headers: Sequence[Block]) -> None:
        found = [header.number for header in headers]
        if found != list(range(wanted.first, wanted.last + 1)):
            raise BadAnswer(f"asked for blocks {wanted}, got {len(found)} of them, from {found[:1]} to {found[-1:]}")
        self._seam(headers)

    def _seam(self, headers: Sequence[Block]) -> None:
        """Hold a chunk against its neighbours before it is stored: two that are written at once cannot see each other.

        Whichever comes second is refused. Nothing is forgotten before the end of the run: a chunk that goes the careful
        way is fetched again, and then looks again.
        """
        first, last = headers[0], headers[-1]
        below, above = self._tips.get(first.number - 1), self._parents.get(last.number)
        if below is not None and below != first.parent_hash:
            raise SeamBroken(f"block {first.ref} is not the child of block {first.number - 1} as fetched")
        if above is not None and above != last.hash:
            raise SeamBroken(f"block {last.ref} is not the parent of block {last.number + 1} as fetched")
        self._parents[first.number - 1] = first.parent_hash
        self._tips[last.number] = last.hash
