"""A chain that changes its mind, and a node in front of it that answers from now, from before, or not at all.

Every random choice comes from (seed, request, how many times it was asked before), so that one more request somewhere
does not change the fate of all others.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from core.errors import BadAnswer, RpcUnavailable
from core.types import Block, BlockRange, BlockRef, Head
from tests import make

Pause = Callable[[], Awaitable[None]]


async def yield_once() -> None:
    """Let the other tasks go first."""
    await asyncio.sleep(0)


@dataclass(frozen=True, slots=True)
class Weather:
    """How bad a seed's world is: probabilities, and depths in blocks."""

    error: float
    lag: float
    two_minds: float
    missing: float
    store_before: float
    store_after: float
    restart: float
    shallow: float
    deep: float
    leap: float
    down: float
    deep_blocks: int
    leap_blocks: int


def weather(dice: random.Random, *, settled: int | None) -> Weather:
    """Draw a seed's weather. `settled` bounds how deep blocks change, where nothing could tell that they have."""
    deep = dice.choice((8, 15, 40))
    return Weather(
        error=dice.choice((0, 0.03, 0.1)),
        lag=dice.choice((0, 0.1, 0.3)),
        two_minds=dice.choice((0, 0.05, 0.2)),
        missing=dice.choice((0, 0.03)),
        store_before=dice.choice((0, 0.05)),
        store_after=dice.choice((0, 0.05)),
        restart=dice.choice((0, 0.05, 0.2)),
        shallow=dice.choice((0.05, 0.2)),
        deep=dice.choice((0, 0.05)),
        leap=dice.choice((0, 0.05, 0.1)),
        down=dice.choice((0, 0.05)),
        deep_blocks=deep if settled is None else min(deep, settled // 2),
        leap_blocks=dice.choice((20, 50)),
    )


class World:
    """The canonical chain, all it ever was, and the fate of every request."""

    def __init__(self, seed: int, *, settled: int | None) -> None:
        self.seed = seed
        self.settled = settled
        self.weather = weather(random.Random(f"{seed}|weather"), settled=settled)
        self.faults: Counter[str] = Counter()
        self.stormy = True
        self.past: list[list[Block]] = [make.chain(30, fork=f"{seed}:0", txs=1)]
        self._forks = 0
        self._asked: Counter[tuple[object, ...]] = Counter()

    @property
    def canonical(self) -> list[Block]:
        """The chain as it is now."""
        return self.past[-1]

    @property
    def highest(self) -> int:
        """The greatest height there ever was."""
        return max(len(chain) for chain in self.past) - 1

    def fate(self, *request: object) -> random.Random:
        """Return the dice of this request, asked this many times."""
        nth = self._asked[request]
        self._asked[request] += 1
        return random.Random(f"{self.seed}|{request}|{nth}")

    def strikes(self, dice: random.Random, kind: str, chance: float) -> bool:
        """Whether a fault happens now; counted if it does."""
        happens = dice.random() < chance and self.stormy
        self.faults[kind] += happens
        return happens

    def turn(self) -> None:
        """Let the chain live on: usually grow, sometimes change its past."""
        dice = self.fate("turn")
        if self.strikes(dice, "reorg deep", self.weather.deep):
            self.reorg(dice.randint(4, self.weather.deep_blocks), dice.randint(1, 5))
        elif self.strikes(dice, "reorg shallow", self.weather.shallow):
            self.reorg(dice.randint(1, 3), dice.randint(0, 2))
        elif self.strikes(dice, "head went down", self.weather.down):
            self.reorg(dice.randint(3, 6), -dice.randint(1, 2))
        elif self.strikes(dice, "head leapt", self.weather.leap):
            self.grow(dice.randint(self.weather.leap_blocks // 2, self.weather.leap_blocks))
        else:
            self.grow(dice.randint(0, 2))

    def reorg(self, depth: int, longer: int) -> None:
        """Replace the newest `depth` blocks, by at least one."""
        depth = min(depth, len(self.canonical) - 1)
        self._forks += 1
        kept = self.canonical[: len(self.canonical) - depth]
        self.past.append(kept + make.chain(max(1, depth + longer), onto=kept[-1], fork=f"{self.seed}:{self._forks}"))

    def grow(self, length: int) -> None:
        """Add blocks on top."""
        if length:
            more = make.chain(length, onto=self.canonical[-1], fork=f"{self.seed}:{self._forks}")
            self.past.append(self.canonical + more)

    def view(self, dice: random.Random, number: int) -> Sequence[Block]:
        """Return the chain as some backend of the node sees it."""
        settled = self.settled is not None and number + self.settled <= len(self.canonical)
        if settled or not self.strikes(dice, "lag", self.weather.lag):
            return self.canonical
        seen = self.past[-dice.randint(1, min(4, len(self.past)))]
        return seen[: max(1, len(seen) - dice.choice((0, 0, 1, 3, 10)))]

    def announced(self) -> Head:
        """Return the head as somebody announces it."""
        return self.view(self.fate("announced"), len(self.canonical))[-1].head


class Node:
    """ChainSource over a World. `part` is how many blocks one request holds."""

    def __init__(self, world: World, *, part: int = 3, pause: Pause = yield_once) -> None:
        self._world = world
        self._part = part
        self._pause = pause

    async def verify(self) -> None:
        """Ask, and perhaps get no answer."""
        await self._asked("verify")

    async def head(self) -> Head:
        """Return what one backend holds for the newest block."""
        dice = await self._asked("head")
        return self._world.view(dice, len(self._world.canonical))[-1].head

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
        for _ in range(dice.randint(1, 3) if self._world.stormy else 1):
            await self._pause()
        if self._world.strikes(dice, "node error", self._world.weather.error):
            raise RpcUnavailable(f"no answer to {request}")
        return dice
