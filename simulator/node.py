"""A node that answers with objects, from now, from before, or not at all (ChainSource, FinalitySource)."""

import random

from core.errors import BadAnswer, RpcUnavailable
from core.types import Block, BlockRange, BlockRef, Finality, Head
from simulator.world import World


class Node:
    """ChainSource over a World. `part` is how many blocks one request holds."""

    def __init__(self, world: World, *, part: int) -> None:
        self._world = world
        self._part = part

    async def verify(self) -> None:
        """Ask, and perhaps get no answer."""
        await self._asked("verify")

    async def head(self) -> Head:
        """Return what one backend holds for the newest block."""
        dice = await self._asked("head")
        return self._world.view(dice, len(self._world.canonical))[-1].head

    async def finality(self) -> Finality:
        """Return what one backend calls safe and finalized."""
        dice = await self._asked("finality")
        return self._world.finality(self._world.view(dice, len(self._world.canonical)))

    async def ref_at(self, number: int) -> BlockRef | None:
        """Return one backend's block."""
        dice = await self._asked("ref_at", number)
        seen = self._world.view(dice, number)
        return seen[number].ref if number < len(seen) else None

    async def blocks(self, wanted: BlockRange) -> tuple[Block, ...]:
        """Return blocks, several requests if need be: each may reach another backend."""
        found: list[Block] = []
        for first in range(wanted.first, wanted.last + 1, self._part):
            last = min(first + self._part - 1, wanted.last)
            part = await self.one_request(first, last)
            found += part
            if len(part) < last - first + 1:
                break
        return tuple(found)

    async def one_request(self, first: int, last: int) -> list[Block]:
        """Return blocks of one request, fewer than asked for where a backend does not have them."""
        dice = await self._asked("blocks", first, last)
        world = self._world
        if world.strikes(dice, "null receipts", world.weather.missing):
            raise BadAnswer("receipts are null")
        seen = world.view(dice, first)
        found: list[Block] = []
        for number in range(first, last + 1):
            if world.strikes(dice, "two minds", world.weather.two_minds):
                seen = world.view(dice, number)
            if number >= len(seen) or world.strikes(dice, "missing block", world.weather.missing):
                break
            found.append(seen[number])
        return found

    async def _asked(self, *request: object) -> random.Random:
        dice = self._world.fate(*request)
        await self._world.blink(dice)
        if self._world.strikes(dice, "node error", self._world.weather.error):
            raise RpcUnavailable(f"no answer to {request}")
        return dice
