"""Fakes around the pipeline: a node with delays and moods, an encoder that only looks at headers, a store."""

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

from core.errors import StoreUnavailable
from core.store.bulk import Chunk, Piece, RowsRefused, Unusual
from core.store.lease import Lease
from core.store.memory import MemoryStore
from core.types import Block, BlockRange, BlockRef
from indexer.hotpath import HotPath

Wait = Callable[[], Awaitable[None]]


async def at_once() -> None:
    await asyncio.sleep(0)


async def inline(
    encode: Callable[[Sequence[bytes], Sequence[bytes]], Piece], raw: Sequence[bytes], receipts: Sequence[bytes]
) -> Piece:
    """Encode in the event loop: which thread comes first is not left to the machine."""
    await asyncio.sleep(0)
    return encode(raw, receipts)


class FakeNode:
    """Answers are a block's number, padded to `sizes`; `broken` blocks raise what they are mapped to."""

    def __init__(
        self, chain: Sequence[Block], *, size: Callable[[int], int] = lambda _: 50, wait: Wait = at_once
    ) -> None:
        self.chain = chain
        self.broken: dict[int, Exception] = {}
        self.unusual: set[int] = set()
        self.asked: list[BlockRange] = []
        self.carefully: list[BlockRange] = []
        self.flying = 0
        self.most_flying = 0
        self._size = size
        self._wait = wait

    async def answers(self, wanted: BlockRange) -> tuple[Sequence[bytes], Sequence[bytes]]:
        self.asked.append(wanted)
        self.flying += 1
        self.most_flying = max(self.most_flying, self.flying)
        try:
            await self._wait()
            self._fail(wanted)
        finally:
            self.flying -= 1
        numbers = range(wanted.first, wanted.last + 1)
        return [str(n).encode().ljust(self._size(n)) for n in numbers], [b"" for _ in numbers]

    async def blocks(self, wanted: BlockRange) -> tuple[Block, ...]:
        self.carefully.append(wanted)
        await self._wait()
        self._fail(wanted)
        return tuple(self.chain[wanted.first : wanted.last + 1])

    def _fail(self, wanted: BlockRange) -> None:
        for number, error in self.broken.items():
            if number in wanted:
                raise error


class FakeHot(HotPath):
    """An encoder that leaves blocks as they are; its rows are their numbers."""

    def __init__(self, node: FakeNode) -> None:
        self.node = node

    def encode(self, raw_blocks: Sequence[bytes], raw_receipts: Sequence[bytes]) -> Piece:
        numbers = [int(raw) for raw in raw_blocks]
        if odd := self.node.unusual.intersection(numbers):
            raise Unusual(f"blocks {odd}")
        return Piece(
            [self.node.chain[n] for n in numbers],
            {"transaction": b"".join(raw_blocks)},
            {"transaction": len(numbers)},
            {},
        )


class FakeStore(MemoryStore):
    """A MemoryStore for chunks, and for fills without a cursor; it notes how many write at once."""

    def __init__(self, chain: Sequence[Block], *, wait: Wait = at_once) -> None:
        super().__init__()
        self.chain = chain
        self.wait = wait
        self.refuses: set[int] = set()
        self.fails: set[int] = set()
        self.writing = 0
        self.fills: list[BlockRange] = []
        self.order: list[int] = []
        self.joins = 0

    async def fill_chunk(self, chunk: Chunk, *, anchored: bool, lease: Lease | None = None) -> None:
        numbers = [header.number for header in chunk.headers]
        self.writing += 1
        try:
            await self.wait()
            if self.fails.intersection(numbers):
                raise StoreUnavailable("no database")
            if self.refuses.intersection(numbers):
                raise RowsRefused("no table holds this")
            self._put(chunk.headers)  # as PostgreSQL: what is written at the same time is not seen
            self.order.append(numbers[0])
        finally:
            self.writing -= 1

    async def fill(self, blocks: Sequence[Block], *, anchored: bool = True) -> None:
        await self.wait()
        self._put(blocks)
        self.fills.append(BlockRange(blocks[0].number, blocks[-1].number))

    async def begin(self, block: Block, *, after: BlockRef | None = None) -> None:
        """Store a block for history to be filled below."""
        await self.commit([block], after=after)

    async def join_coverage(self) -> None:
        self.joins += 1


async def chunks(hole: BlockRange, size: int) -> AsyncGenerator[BlockRange, None]:
    """Yield `hole` newest first."""
    last = hole.last
    while last >= hole.first:
        yield BlockRange(max(hole.first, last - size + 1), last)
        last -= size


def moody(dice: random.Random) -> Wait:
    """Sometimes at once, sometimes after the others."""

    async def wait() -> None:
        for _ in range(dice.choice((0, 1, 1, 3, 20))):
            await asyncio.sleep(0)

    return wait
