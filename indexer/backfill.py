"""The holes behind the head, newest first: a chunk is one transaction with its own coverage."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass
from typing import Final, Protocol

from core.chain import ChainSource
from core.clock import Clock, SystemClock
from core.errors import BadAnswer, SeamBroken, Transient, Unverified
from core.pulse import Beat
from core.service import cancelled, first_of
from core.store.lease import TERM, Lease, Leases
from core.store.port import ChainStore
from core.types import Block, BlockRange, BlockRef, joined
from indexer.ancestor import common_ancestor
from indexer.link import Linked, link
from indexer.pipeline import Pipeline
from indexer.plan import holes
from indexer.retention import MARGIN_BLOCKS, wanted_from

log = logging.getLogger(__name__)

IDLE_S: Final = 5.0
# A range that is not joined to the head from above has nothing that proves it canonical but its age; this many blocks
# is more than two Ethereum epochs.
SETTLED_BLOCKS: Final = 128
LEASE_CHUNKS: Final = 400  # of a hole at once: 20,000 blocks, the rest is for other processes
ASIDE_S: Final = 60.0  # how long a block that no endpoint serves right is left alone
REPLAN_S: Final = 60.0  # a long hole is left this often: the head may have left a newer one


@dataclass(frozen=True, slots=True)
class WantedRange:
    """A configured range of history; `last` None means up to the head."""

    first: int
    last: int | None = None


class Gate(Protocol):
    """Whether backfill may go on: what is asked before every chunk."""

    async def open(self) -> bool:
        """Return False while it has to wait."""
        ...


class Backfill:
    """Fills the holes of one chain (a Service). It never touches the cursor.

    Settled history goes through `bulk`, if there is one; what a reorg may reach, and seams with stored ranges below, by
    chunks that look at what they join. `horizon` says where the chain ends, None while that is not known; the cursor's
    height if not given. `beat` is called whenever it gets on, or finds that it need not.
    """

    def __init__(
        self,
        source: ChainSource,
        store: ChainStore,
        wanted: Sequence[WantedRange],
        *,
        name: str,
        chunk_blocks: int = 50,
        settled_blocks: int = SETTLED_BLOCKS,
        retain_blocks: int = 0,
        margin_blocks: int = MARGIN_BLOCKS,
        gate: Gate | None = None,
        bulk: Pipeline | None = None,
        leases: Leases | None = None,
        horizon: Callable[[], Awaitable[int | None]] | None = None,
        jumps: bool = True,
        beat: Beat = lambda: None,
        clock: Clock | None = None,
    ) -> None:
        self.name = f"backfill.{name}"
        self._source = source
        self._store = store
        self._wanted = tuple(wanted)
        self._chunk_blocks = chunk_blocks
        self._settled_blocks = settled_blocks
        self._retain_blocks = retain_blocks
        self._margin_blocks = margin_blocks
        self._gate = gate
        self._bulk = bulk
        self._leases = leases
        self._horizon = horizon or self._cursor_height
        self._jumps = jumps
        self._beat = beat
        self._clock = clock or SystemClock()
        self._aside: dict[int, float] = {}  # block number -> until when

    async def run(self) -> None:
        """Fill for ever; holes come and go with jumps of the head."""
        while True:
            self._beat()
            # In a task of its own: a request to end that meets the failure of a TaskGroup in there is lost to it.
            busy = await asyncio.create_task(self.step(), name=self.name)
            if cancelled():
                raise asyncio.CancelledError
            if not busy:
                await self._clock.sleep(IDLE_S)

    async def step(self) -> bool:
        """Fill a chunk of the newest hole, or much of it in bulk; False when nothing can be done now.

        A block that no endpoint serves so that it passes its checks is set aside for a while: the rest goes on.
        """
        try:
            return await self._step()
        except Unverified as error:
            self._aside[error.at.number] = self._clock.monotonic() + ASIDE_S
            log.warning("set aside", extra={"chain": self.name, "block": error.at.number, "why": str(error)})
            return True

    async def _step(self) -> bool:
        if self._gate is not None and not await self._gate.open():
            return False
        head = await self._horizon()
        if head is None:
            return False
        covered = await self._store.coverage()
        settled = head - self._settled_blocks
        taken = [] if self._leases is None else await self._leases.taken()
        for hole in holes(joined([*covered, *taken, *self._set_aside()]), await self._spans(head, covered)):
            anchored = any(hole.last + 1 == span.first for span in covered)
            if not anchored and hole.last > settled:
                continue
            deep = self._in_bulk(hole, covered, settled)
            if deep is None:
                await self._fill(hole, anchored=anchored)
            elif not await self._fill_leased(deep):
                continue
            return True
        return False

    def _set_aside(self) -> list[BlockRange]:
        """Return the blocks that are left alone now."""
        now = self._clock.monotonic()
        self._aside = {number: until for number, until in self._aside.items() if until > now}
        return [BlockRange(number, number) for number in self._aside]

    async def _cursor_height(self) -> int | None:
        cursor = await self._store.cursor()
        return None if cursor is None else cursor.number

    def _in_bulk(self, hole: BlockRange, covered: Sequence[BlockRange], settled: int) -> BlockRange | None:
        """Return what of `hole` goes in bulk, None if its top does not: a seam below may not hold, and is looked at."""
        joins_below = any(span.last + 1 == hole.first for span in covered)
        first = hole.first + self._chunk_blocks if joins_below else hole.first
        if self._bulk is None or hole.last > settled or hole.last - first < self._chunk_blocks:
            return None
        return BlockRange(first, hole.last)

    async def _fill_leased(self, hole: BlockRange) -> bool:
        """Fill the newest of `hole` in bulk, holding a lease on it; False if another process was quicker to take it."""
        hole = BlockRange(max(hole.first, hole.last - LEASE_CHUNKS * self._chunk_blocks + 1), hole.last)
        if self._leases is None:
            await self._fill_in_bulk(hole, None)
            return True
        lease = await self._leases.claim(hole)
        if lease is None:
            return False
        try:
            async with asyncio.TaskGroup() as group:
                renewing = group.create_task(self._renew(self._leases, lease), name="lease")
                await self._fill_in_bulk(hole, lease)
                renewing.cancel()
        except BaseExceptionGroup as failed:
            raise first_of(failed) from failed
        finally:
            # It ends by itself within TERM: a database that is gone must not stand in for what came first.
            with suppress(Transient):
                await self._leases.release(lease)
        return True

    async def _renew(self, leases: Leases, lease: Lease) -> None:
        while True:
            await self._clock.sleep(TERM.total_seconds() / 4)
            await leases.renew(lease)

    async def _fill_in_bulk(self, hole: BlockRange, lease: Lease | None) -> None:
        assert self._bulk is not None, "asked for by _in_bulk"
        started, before = self._clock.monotonic(), copy(self._bulk.progress)
        error: BaseException | None = None
        try:
            await self._bulk.run(self._chunks(hole, self._bulk), lease)
        except BaseExceptionGroup as failed:
            error = first_of(failed)
        except Transient as skipped:
            error = skipped
        done, s = self._bulk.progress, self._clock.monotonic() - started
        log.info(
            "filled in bulk",
            extra={
                "chain": self.name, "hole": str(hole), "blocks": done.blocks - before.blocks,
                "txs": done.txs - before.txs, "seconds": round(s, 2), "limit": done.limit(before),
            },
        )  # fmt: skip
        # Not when cancelled: whoever fills next joins what is left.
        await self._tidy(hole, error)

    async def _tidy(self, hole: BlockRange, error: BaseException | None) -> None:
        """Join what was filled; raise `error`, which came first whatever else fails."""
        try:
            await self._store.join_coverage()
        except Transient:
            if error is None:
                raise
        if isinstance(error, SeamBroken):
            await self._discard_above(hole.last + 1)
        if error is not None:
            raise error

    async def _chunks(self, hole: BlockRange, bulk: Pipeline) -> AsyncGenerator[BlockRange, None]:
        """Yield `hole` newest first, until something else may be more urgent."""
        until, last = self._clock.monotonic() + REPLAN_S, hole.last
        while last >= hole.first and self._clock.monotonic() < until:
            if self._gate is not None and not await self._gate.open():
                return
            self._beat()  # there is room for more: what came before was written
            chunk = bulk.next_chunk(BlockRange(hole.first, last))
            yield chunk
            last = chunk.first - 1

    async def _spans(self, head: int, covered: Sequence[BlockRange]) -> list[BlockRange]:
        """Return what is wanted as ranges: the configured ones, and whatever a jump of the head left out.

        Nothing that retention takes away, or would.
        """
        spans = [(span.first, head if span.last is None else min(span.last, head)) for span in self._wanted]
        followed = await self._store.followed_from() if self._jumps else None
        if followed is not None:
            spans.append((followed, head))
        lowest = wanted_from(head, self._retain_blocks)
        # What retention has yet to take is joined as well: only the block above a range can tell that it was orphaned.
        joins = [span.last + 1 for span in covered if lowest - self._margin_blocks <= span.last + 1 < lowest]
        lowest = min([lowest, *joins])
        spans = [(max(first, lowest), last) for first, last in spans]
        return [BlockRange(first, last) for first, last in spans if first <= last]

    async def _fill(self, hole: BlockRange, *, anchored: bool) -> None:
        started = self._clock.monotonic()
        chunk = BlockRange(max(hole.first, hole.last - self._chunk_blocks + 1), hole.last)
        blocks = await self._source.blocks(chunk)
        if len(blocks) != len(chunk):
            raise BadAnswer(f"node has {len(blocks)} of blocks {chunk}")
        if not isinstance(link(None, blocks), Linked):
            raise BadAnswer(f"node answered from two chains within blocks {chunk}")
        if await self._below_is_orphaned(blocks[0]):
            return
        try:
            await self._store.fill(blocks, anchored=anchored)
        except SeamBroken:
            await self._discard_above(chunk.last + 1)
            raise
        ms = round((self._clock.monotonic() - started) * 1000, 1)
        txs = sum(len(block.txs) for block in blocks)
        if self._bulk is not None:
            self._bulk.progress.careful(len(blocks), txs)
        log.info("filled", extra={"chain": self.name, "first": chunk.first, "last": chunk.last, "txs": txs, "ms": ms})

    async def _below_is_orphaned(self, first: Block) -> bool:
        """Remove the stored range below `first` as far as the chain has left it; False when it joins.

        The head jumped over blocks that were replaced later: only the block that fills the hole can tell.
        """
        below = await self._store.ref_at(first.number - 1) if first.number else None
        if below is None or below.hash == first.parent_hash:
            return False
        await self._source.verify()
        theirs = await self._source.ref_at(below.number)
        if theirs is None or theirs.hash != first.parent_hash:
            raise SeamBroken(f"block {first.ref} has a parent that the node does not have at {below.number}")
        span = next((span for span in await self._store.coverage() if below.number in span), None)
        if span is None or span.last != below.number:
            raise SeamBroken(f"block {below} is not the top of a stored range any more")
        ancestor = await common_ancestor(self._source, self._store, [span], below.number)
        if ancestor is not None and ancestor.number == below.number:
            raise SeamBroken(f"block {below} is canonical after all: the node changed its mind, or the store did")
        orphan = span.first if ancestor is None else ancestor.number + 1
        await self._discard(orphan, below, f"block {first.number} has parent 0x{first.parent_hash.hex()}")
        return True

    async def _discard_above(self, number: int) -> None:
        """Remove the stored range that starts at `number`, if the node has another block there.

        Such a range was filled on the strength of its age alone; the cursor's own is the head writer's to rewind.
        """
        span = next((span for span in await self._store.coverage() if span.first == number), None)
        cursor = await self._store.cursor()
        if span is None or cursor is None or cursor.number in span:
            return
        first, tip = await self._store.ref_at(number), await self._store.ref_at(span.last)
        await self._source.verify()
        theirs = await self._source.ref_at(number)
        if first is not None and tip is not None and theirs is not None and theirs != first:
            await self._discard(number, tip, f"the node's chain has another block at {number}")

    async def _discard(self, first: int, tip: BlockRef, reason: str) -> None:
        await self._store.discard(first, tip, reason=reason)
        log.warning("discarded", extra={"chain": self.name, "first": first, "last": tip.number, "reason": reason})
