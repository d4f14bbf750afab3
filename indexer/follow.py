"""The head writer: one loop that keeps the stored chain equal to the node's, newest block first."""

import logging
from typing import Final, Protocol, assert_never

from core.chain import ChainSource
from core.clock import Clock, SystemClock
from core.errors import BadAnswer
from core.store.bulk import Chunk, RowsRefused
from core.store.port import ChainStore
from core.types import BlockRange, BlockRef, Head, Step
from indexer.ancestor import common_ancestor
from indexer.link import Forked, Linked, Torn, link
from indexer.plan import Advance, Jump, Recheck, Wait, plan

log = logging.getLogger(__name__)

RETRY_S: Final = 0.1  # a head announced by WebSocket can precede the block's arrival at the HTTP side by some ms


class Heads(Protocol):
    """Announcements of new heads."""

    async def newest(self) -> Head:
        """Return the newest announced head, waiting for the first."""
        ...

    async def changed(self, known: Head, *, timeout_s: float) -> None:
        """Wait until another head than `known` is announced, at most `timeout_s`."""
        ...


class Encoded(Protocol):
    """Blocks at the head as rows, past objects: the quicker way, for what is exactly as expected."""

    async def fetch(self, wanted: BlockRange) -> Chunk | None:
        """Return the rows of all of `wanted`, or None: the careful way decides."""
        ...

    async def commit(self, chunk: Chunk, *, after: BlockRef | None) -> None:
        """Store it as a ChainStore commits. Raises RowsRefused when rows are not what tables hold."""
        ...


class Follower:
    """Follows one chain (a Service). The only writer of its cursor; a second one is harmless.

    What `encoded` does not take goes the careful way, by `source` and `store`.
    """

    def __init__(
        self,
        source: ChainSource,
        store: ChainStore,
        heads: Heads,
        *,
        name: str,
        max_blocks: int = 20,
        jump_blocks: int = 1_000,
        encoded: Encoded | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.name = f"follow.{name}"
        self._source = source
        self._store = store
        self._heads = heads
        self._max_blocks = max_blocks
        self._jump_blocks = jump_blocks
        self._encoded = encoded
        self._clock = clock or SystemClock()

    async def run(self) -> None:
        """Follow for ever."""
        while True:
            head = await self._heads.newest()
            step = await self.step(head)
            if step.kind == "wait":
                behind = step.after is None or step.after.number < head.ref.number
                await self._heads.changed(head, timeout_s=RETRY_S if behind else 60.0)

    async def step(self, head: Head) -> Step:
        """Take one decision and carry it out: one transaction at most."""
        cursor = await self._store.cursor()
        stored = await self._stored_at(head, cursor)
        match plan(cursor, head, stored, max_blocks=self._max_blocks, jump_blocks=self._jump_blocks):
            case Wait():
                return Step("wait", cursor, cursor)
            case Recheck(at):
                return await self._rewind(cursor, f"the node's chain has another block at {at}")
            case Jump(to):
                return await self._jump(cursor, to)
            case Advance(wanted):
                return await self._advance(cursor, cursor, wanted)
            case never:
                assert_never(never)

    async def _stored_at(self, head: Head, cursor: BlockRef | None) -> BlockRef | None:
        if cursor is None or head.ref.number > cursor.number:
            return None
        return cursor if head.ref.number == cursor.number else await self._store.ref_at(head.ref.number)

    async def _jump(self, cursor: BlockRef | None, to: int) -> Step:
        """Go on at `to`, but only from a cursor that is still canonical: below the hole nobody would look again."""
        theirs = None if cursor is None else await self._source.ref_at(cursor.number)
        if cursor is not None and theirs is None:
            # It announced a head far above: another backend answered, one that lags.
            return Step("wait", cursor, cursor)
        if cursor is not None and theirs != cursor:
            return await self._rewind(cursor, f"block {cursor.number} was replaced while nobody followed")
        return await self._advance(cursor, None, BlockRange(to, to))

    async def _advance(self, cursor: BlockRef | None, parent: BlockRef | None, wanted: BlockRange) -> Step:
        started = self._clock.monotonic()
        chunk = await self._encoded.fetch(wanted) if self._encoded else None
        try:
            return await self._store_linked(cursor, parent, wanted, chunk, started)
        except RowsRefused as error:
            log.info("rows refused", extra={"chain": self.name, "blocks": str(wanted), "why": str(error)})
        return await self._store_linked(cursor, parent, wanted, None, started)

    async def _store_linked(
        self, cursor: BlockRef | None, parent: BlockRef | None, wanted: BlockRange, chunk: Chunk | None, started: float
    ) -> Step:
        """Store `chunk`, or what the careful way fetches, if it joins what is stored."""
        blocks = await self._source.blocks(wanted) if chunk is None else chunk.headers
        if not blocks:
            return Step("wait", cursor, cursor)
        match link(parent, blocks):
            case Forked(stored, parent_hash):
                return await self._rewind(cursor, f"block {stored.number + 1} has parent 0x{parent_hash.hex()}")
            case Torn(below, above):
                raise BadAnswer(f"node answered from two chains: {above} is not the child of {below}")
            case Linked(tip):
                if chunk is not None and self._encoded is not None:
                    await self._encoded.commit(chunk, after=cursor)
                else:
                    await self._store.commit(blocks, after=cursor)
                ms = round((self._clock.monotonic() - started) * 1000, 1)
                txs = sum(block.tx_count for block in blocks)
                span = {"first": wanted.first, "last": tip.number, "txs": txs, "ms": ms}
                log.info("advanced", extra={"chain": self.name, **span})
                return Step("advance", cursor, tip)
            case never:
                assert_never(never)

    async def _rewind(self, cursor: BlockRef | None, reason: str) -> Step:
        if cursor is None:
            return Step("wait", None, None)
        await self._source.verify()
        head = await self._source.head()
        # Another writer may have gone on since the cursor was read: what is above it is not ours to look at.
        covered = [
            BlockRange(span.first, min(span.last, cursor.number))
            for span in await self._store.coverage()
            if span.first <= cursor.number
        ]
        common = max((min(span.last, head.ref.number) for span in covered if span.first <= head.ref.number), default=-1)
        ancestor = await common_ancestor(self._source, self._store, covered, head.ref.number)
        if common == (ancestor.number if ancestor else -1):
            # The node lags, or went back to the stored chain: nothing it has contradicts what is stored.
            return Step("wait", cursor, cursor)
        # Again: an endpoint that changed its chain since then would have everything taken away.
        await self._source.verify()
        await self._store.rewind(cursor, ancestor, reason=reason)
        depth = cursor.number - (ancestor.number if ancestor else covered[0].first - 1)
        log.warning("rewound", extra={"chain": self.name, "cursor": str(cursor), "ancestor": str(ancestor),
                                      "depth": depth, "reason": reason})  # fmt: skip
        return Step("rewind", cursor, ancestor)
