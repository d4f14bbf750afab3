"""Backfill's bulk path in a World: answers that are names of blocks, and an encoder that looks them up."""

from collections.abc import Sequence
from datetime import UTC, datetime

from core.store.bulk import Piece, Unusual
from core.types import Block, BlockRange
from indexer.hotpath import HotPath
from tests.sim.world import Node, World

MISSING = b""
UNUSUAL = 0.05  # how often an encoder leaves blocks to the careful path


class Stopped:
    """A clock at which nothing takes time: how many requests are in flight is not left to the machine's speed."""

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        raise AssertionError


class Answers:
    """What one backend, or several, hold of a range: a block's hash as its answer, nothing for one that is missing."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.known: dict[bytes, Block] = {}

    async def answers(self, wanted: BlockRange) -> tuple[Sequence[bytes], Sequence[bytes]]:
        found = await self._node.one_request(wanted.first, wanted.last)
        self.known |= {block.hash: block for block in found}
        raw = [block.hash for block in found] + [MISSING] * (len(wanted) - len(found))
        return raw, [b""] * len(raw)


class Names(HotPath):
    """An encoder that leaves blocks whole: a store of blocks takes them as headers."""

    def __init__(self, world: World, answers: Answers) -> None:
        self._world = world
        self._answers = answers

    def encode(self, raw_blocks: Sequence[bytes], raw_receipts: Sequence[bytes]) -> Piece:
        dice = self._world.fate("encode", *raw_blocks)
        if MISSING in raw_blocks or self._world.strikes(dice, "unusual blocks", UNUSUAL):
            raise Unusual("blocks are missing, or odd")
        return Piece([self._answers.known[raw] for raw in raw_blocks], {}, {}, {})
