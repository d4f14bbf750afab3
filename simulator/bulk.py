"""The encoded paths of history and head in a World: encoders that leave blocks whole, for a store of blocks."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from core.rpc import wire
from core.store.bulk import Piece, Unusual
from core.types import Block, BlockRange
from core.verify.checks import ALL, verify
from simulator.blocks import CHAIN_ID
from simulator.node import Node
from simulator.world import World

MISSING: Final = b""
UNUSUAL: Final = 0.05  # how often an encoder leaves blocks to the careful path


async def inline(
    encode: Callable[[Sequence[bytes], Sequence[bytes]], Piece], raw: Sequence[bytes], receipts: Sequence[bytes]
) -> Piece:
    """Encode in the event loop (Offload): which thread comes first is not left to the machine."""
    return encode(raw, receipts)


class Names:
    """What one backend, or several, hold of a range (Answers): the hash of each block, nothing for a missing one."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.known: dict[bytes, Block] = {}

    async def answers(self, wanted: BlockRange) -> tuple[Sequence[bytes], Sequence[bytes]]:
        """Return the hashes of the blocks of a range."""
        found = await self._node.one_request(wanted.first, wanted.last)
        self.known |= {block.hash: block for block in found}
        raw = [block.hash for block in found] + [MISSING] * (len(wanted) - len(found))
        return raw, [b""] * len(raw)


class NameEncoder:
    """Looks blocks up by their hashes (Encoder)."""

    def __init__(self, world: World, names: Names) -> None:
        self._world = world
        self._names = names

    async def load(self) -> None:
        """Have nothing to load."""

    def encode(self, raw_blocks: Sequence[bytes], raw_rest: Sequence[bytes]) -> Piece:
        """Return the blocks as headers."""
        del raw_rest
        if MISSING in raw_blocks:
            raise Unusual("blocks are missing")
        return whole(self._world, [self._names.known[raw] for raw in raw_blocks])


class WireEncoder:
    """Reads and verifies blocks as the careful path does (Encoder)."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def load(self) -> None:
        """Have nothing to load."""

    def encode(self, raw_blocks: Sequence[bytes], raw_rest: Sequence[bytes]) -> Piece:
        """Return the blocks as headers."""
        found = []
        for raw, receipts in zip(raw_blocks, raw_rest, strict=True):
            block = wire.block(raw, receipts)
            if block is None:
                raise Unusual("blocks are missing")
            verify(block, ALL, CHAIN_ID)
            found.append(replace(block, checks=int(ALL)))
        return whole(self._world, found)


def whole(world: World, blocks: Sequence[Block]) -> Piece:
    """Return blocks as a Piece of headers, or leave them to the careful path."""
    if world.strikes(world.fate("encode", blocks[0].hash), "unusual blocks", UNUSUAL):
        raise Unusual("something is odd")
    return Piece(blocks, {}, {}, {})
