"""Whoever follows the facts from outside: page by page, with a place of its own that outlives its process."""

from typing import Final

from core.clock import Clock
from core.errors import StoreUnavailable
from core.facts import FactLog
from simulator.judge import Replay
from simulator.world import World

PAGE: Final = 7
POLL_S: Final = 0.5


class Reading:
    """Follows the facts (a Service); `known` is what it has stored, its place and what followed from the facts."""

    name = "reader"

    def __init__(self, known: Replay, facts: FactLog, world: World, clock: Clock) -> None:
        self._known = known
        self._facts = facts
        self._world = world
        self._clock = clock

    async def run(self) -> None:
        """Read for ever."""
        while True:
            dice = self._world.fate("facts")
            await self._world.blink(dice)
            if self._world.strikes(dice, "store not read", self._world.weather.store_read):
                raise StoreUnavailable("facts: 57P01 terminating connection")
            told = await self._facts.after(self._known.seq, PAGE)
            self._known.follow(told)
            if not told:
                await self._clock.sleep(POLL_S)
