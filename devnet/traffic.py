"""Keeps the devnet busy: every second or two a block with a handful of transactions of every kind, for ever."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from core.errors import Transient
from devnet.kinds import Scene, drafts, shuffled_deck
from devnet.node import Node

log = logging.getLogger(__name__)

CARDS = (5, 15)  # events in a block, least and most
QUIET = 0.03  # share of blocks with nothing in them


@dataclass(frozen=True, slots=True)
class Step:
    """One block: its number and the kind of each transaction sent into it, by hash."""

    number: int
    sent: Mapping[bytes, str]


class Traffic:
    """Sends and mines. What happens is decided by the scene's chance alone, so a seed repeats it."""

    def __init__(self, node: Node, scene: Scene, *, pause_s: tuple[float, float] = (1.0, 2.0)) -> None:
        self._node = node
        self._scene = scene
        self._pause_s = pause_s
        self._deck: list[str] = []

    async def run(self) -> None:
        """Take turns until cancelled."""
        while True:
            await self.turn()

    async def turn(self) -> None:
        """Make one block and pause. A node that does not answer, or has lost blocks, costs a turn and no more."""
        try:
            step = await self.step()
            log.debug("block made", extra={"number": step.number, "transactions": len(step.sent)})
        except Transient as error:
            log.warning("devnet turn lost", extra={"error": str(error)})
        await asyncio.sleep(self._scene.chance.uniform(*self._pause_s))

    async def step(self) -> Step:
        """Make one block and return what was sent into it. Raises Transient if the node does not take it."""
        chosen = [draft for name in self._draw() for draft in drafts(name, self._scene)]
        hashes = await self._node.send(chosen)
        kinds = [draft.kind for draft in chosen]
        return Step(await self._node.mine(), dict(zip(hashes, kinds, strict=True)))

    def _draw(self) -> list[str]:
        chance = self._scene.chance
        if chance.random() < QUIET:
            return []
        wanted = chance.randint(*CARDS)
        while len(self._deck) < wanted:
            self._deck = shuffled_deck(chance) + self._deck
        return [self._deck.pop() for _ in range(wanted)]
