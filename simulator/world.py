"""A chain that changes its mind, and the fate of every request.

Every random choice comes from (seed, request, how many times it was asked before), so that one more request somewhere
does not change the fate of all others.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Final

from core.errors import RpcUnavailable
from core.types import Block, Finality, Head
from simulator.blocks import MAIN, Fork, chain, history
from simulator.lies import LIES
from simulator.weather import EARLY, Plan, weather_of

TURN_S: Final = (0.1, 1.0)  # between two changes of the chain
BLINK_S: Final = 0.15  # within it, whatever takes a moment takes up to this

Tell = Callable[[str], None]

FAULTS: Final = frozenset(LIES) | {
    # of the chain, as its own nodes see it
    "reorg shallow", "reorg deep", "reorg below finalized", "head went down", "head leapt",
    # of heads as they are announced
    "socket broke", "head kept back", "head told twice", "heads out of order",
    # of nodes that answer with objects
    "node error", "null receipts", "missing block",
    # of endpoints
    "HTTP 429", "HTTP 503", "time-out", "truncated JSON", "refusal", "null result", "wrong chain", "endpoint forked",
    "endpoint lags",
    # of both
    "lag", "two minds",
    # of the database
    "store not read", "store failed before", "store failed midway", "store reply lost", "rows refused",
    # of the indexer itself
    "unusual blocks", "death", "death at an await", "two writers",
}  # fmt: skip


class World:
    """The canonical chain, all it ever was, and how things go wrong around it."""

    def __init__(self, seed: int, plan: Plan, *, tell: Tell | None = None) -> None:
        self.seed = seed
        self.plan = plan
        self.weather = weather_of(seed, plan)
        self.faults: Counter[str] = Counter()
        self.writes: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.stormy = True
        self.turns = 0
        self.past: list[list[Block]] = [list(history(plan.history))]
        self.known = {block.hash: block for block in self.canonical}
        self._fork = MAIN
        self._forks = 0
        self._asked: Counter[tuple[object, ...]] = Counter()
        self._tell = tell
        self._turned = asyncio.Condition()

    @property
    def canonical(self) -> list[Block]:
        """The chain as it is now."""
        return self.past[-1]

    @property
    def highest(self) -> int:
        """The greatest height there ever was."""
        return max(len(chain) for chain in self.past) - 1

    # -- chance --------------------------------------------------------------------------------------------------------

    def fate(self, *request: object) -> random.Random:
        """Return the dice of this request, asked this many times."""
        nth = self._asked[request]
        self._asked[request] += 1
        return self.lot(*request, nth)

    def lot(self, *of: object) -> random.Random:
        """Return the dice of something that has one fate, however often it is looked at."""
        return random.Random(f"{self.seed}|{of}")

    def strikes(self, dice: random.Random, kind: str, chance: float) -> bool:
        """Whether a fault happens now; counted if it does."""
        happens = dice.random() < chance and self.stormy
        if happens:
            self.strike(kind)
        return happens

    def strike(self, kind: str, where: str = "") -> None:
        """Count a fault that happens."""
        assert kind in FAULTS, f"a fault without a name: {kind}"
        self.faults[kind] += 1
        self.tell(f"{kind}{where and ': '}{where}")

    async def blink(self, dice: random.Random, most_s: float = BLINK_S) -> None:
        """Let a moment pass, in which anything may happen."""
        await asyncio.sleep(dice.random() * most_s if self.stormy else 0)

    def tell(self, what: str) -> None:
        """Note what happens, for who replays a seed."""
        if self._tell is not None:
            self._tell(what)

    # -- the chain's life ----------------------------------------------------------------------------------------------

    async def live(self, turns: int) -> None:
        """Let the chain change so many times."""
        for _ in range(turns):
            self.turn()
            async with self._turned:
                self._turned.notify_all()
            await asyncio.sleep(self.fate("while").uniform(*TURN_S))

    def turn(self) -> None:
        """Let the chain live on: usually grow, sometimes change its past."""
        self.turns += 1
        dice, weather = self.fate("turn"), self.weather
        deep = max(weather.deep, weather.early) if self.turns <= EARLY else weather.deep
        if self.strikes(dice, "reorg deep", deep):
            self.reorg(dice.randint(4, weather.deep_blocks), dice.randint(1, 5))
        elif self.strikes(dice, "reorg shallow", weather.shallow):
            self.reorg(dice.randint(1, 3), dice.randint(0, 2))
        elif self.strikes(dice, "head went down", weather.down):
            self.reorg(dice.randint(3, 6), -dice.randint(1, 2))
        elif self.strikes(dice, "head leapt", weather.leap):
            self.grow(dice.randint(weather.leap_blocks // 2, weather.leap_blocks))
        else:
            self.grow(dice.randint(0, 2))
        self.tell(f"the head is {self.canonical[-1].ref}")

    def reorg(self, depth: int, longer: int) -> None:
        """Replace the newest `depth` blocks, by at least one."""
        depth = min(depth, len(self.canonical) - 1)
        kept = self.canonical[: len(self.canonical) - depth]
        self._forks += 1
        if 0 < self.plan.finalized_depth < depth:
            self.strike("reorg below finalized")
        late = self.lot("late", self._forks).random() < 0.3
        self._fork = Fork(f"{self.seed}:{self._forks}", kept[-1].number + 1, late)
        self._go_on(kept, max(1, depth + longer))

    def grow(self, length: int) -> None:
        """Add blocks on top."""
        if length:
            self._go_on(self.canonical, length)

    def _go_on(self, kept: list[Block], length: int) -> None:
        more = chain(length, onto=kept[-1], fork=self._fork)
        self.known |= {block.hash: block for block in more}
        self.past.append(kept + more)

    # -- how it is seen ------------------------------------------------------------------------------------------------

    def view(self, dice: random.Random, number: int) -> Sequence[Block]:
        """Return the chain as some backend of a node sees it, of which `number` is asked."""
        changes = self.plan.changes
        settled = changes is not None and number + changes <= len(self.canonical)
        if settled or not self.strikes(dice, "lag", self.weather.lag):
            return self.canonical
        seen = self.past[-dice.randint(1, min(4, len(self.past)))]
        return seen[: max(1, len(seen) - dice.choice((0, 0, 1, 3, 10)))]

    def finality(self, seen: Sequence[Block]) -> Finality:
        """Return what a node that sees this calls safe and finalized."""
        plan = self.plan
        safe, finalized = (
            seen[-1 - depth].ref if 0 < depth < len(seen) else None for depth in (plan.safe_depth, plan.finalized_depth)
        )
        return Finality(safe, finalized, by_depth=not plan.tags)

    async def announcements(self) -> AsyncGenerator[Head, None]:
        """Yield new heads as a WebSocket does: most of them, some twice, some late, until it breaks."""
        while True:
            async with self._turned:
                await self._turned.wait()
            dice = self.fate("announced")
            await self.blink(dice)
            if self.strikes(dice, "socket broke", self.weather.error):
                raise RpcUnavailable("the socket broke")
            head = self.view(dice, len(self.canonical))[-1].head
            if self.strikes(dice, "head kept back", self.weather.missing):
                continue
            yield head
            if self.strikes(dice, "head told twice", self.weather.two_minds):
                yield head
            if self.strikes(dice, "heads out of order", self.weather.two_minds):
                older = self.past[-dice.randint(1, min(3, len(self.past)))]
                yield older[-1].head
