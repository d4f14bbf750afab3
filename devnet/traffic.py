"""Keeps the devnet busy: every second or two a block with a handful of transactions of every kind, for ever."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from builders import signed_vault
from core.errors import Transient
from devnet.deploy import CALL_GAS
from devnet.kinds import WITHDRAWAL, Scene, draft, drafts, shuffled_deck, withdrawal
from devnet.node import Draft, Node

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
        chosen = [each for name in self._draw() for each in await self._drafts(name)]
        hashes = await self._node.send(chosen)
        kinds = [each.kind for each in chosen]
        return Step(await self._node.mine(), dict(zip(hashes, kinds, strict=True)))

    async def _drafts(self, name: str) -> list[Draft]:
        if name != WITHDRAWAL:
            return drafts(name, self._scene)
        scene, order = self._scene, withdrawal(self._scene)
        vault = scene.contracts["vault"]
        signature = await self._node.sign(scene.resolver, signed_vault.typed_data(vault, scene.chain_id, order))
        # The one who is paid relays the order: the resolver needs no ether.
        return [draft(name, scene, order.user, signed_vault.withdraw(vault, order, signature), CALL_GAS)]

    def _draw(self) -> list[str]:
        chance = self._scene.chance
        if chance.random() < QUIET:
            return []
        wanted = chance.randint(*CARDS)
        while len(self._deck) < wanted:
            self._deck = shuffled_deck(chance) + self._deck
        return [self._deck.pop() for _ in range(wanted)]
