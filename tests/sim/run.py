"""One seed from storm to quiet: followers and backfill over a World, then what is stored against the chain."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from core.errors import Transient
from core.service import first_of
from core.store.memory import MemoryStore
from core.store.port import ChainStore
from core.types import Head
from indexer.backfill import Backfill, WantedRange
from indexer.follow import Follower
from indexer.pipeline import Pipeline
from tests.sim.bulk import Answers, Names, Stopped
from tests.sim.stores import Diverged, FaultyStore, Look, Stored, look_into_memory, replayed
from tests.sim.world import Node, Pause, World, yield_once
from tests.unit.bulk import inline

TURNS = 60
SETTLED = 16
QUIET_STEPS = 3_000
QUIET_FAULTS = 30  # races between the actors of the storm may leave this many refusals behind, not more

Wanted = tuple[WantedRange, ...]
MakeStore = Callable[[], tuple[ChainStore, Look]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a seed ended. `diverged` says how stored and canonical chain differ, None if they are equal."""

    seed: int
    diverged: str | None
    faults: Counter[str]


@dataclass(frozen=True, slots=True)
class Plan:
    """How a seed's indexer is set up."""

    wanted: Wanted
    followers: int
    max_blocks: int
    jump_blocks: int
    chunk_blocks: int
    part: int

    @property
    def settled(self) -> int | None:
        """How deep blocks may change: a range that never joins the head cannot know of more."""
        return SETTLED if any(span.last is not None for span in self.wanted) else None


def plan_of(seed: int) -> Plan:
    """Draw a seed's set-up."""
    dice = random.Random(f"{seed}|plan")
    everything, some = (WantedRange(0),), (WantedRange(3, 9), WantedRange(14, 17))
    return Plan(
        wanted=dice.choice((everything, everything, (), (WantedRange(7),), some)),
        followers=dice.choice((1, 1, 2)),
        max_blocks=dice.randint(1, 8),
        jump_blocks=dice.choice((1, 4, 10, 30)),
        chunk_blocks=dice.randint(1, 9),
        part=dice.randint(1, 4),
    )


def in_memory() -> tuple[ChainStore, Look]:
    """Make an empty MemoryStore."""
    store = MemoryStore()
    return store, look_into_memory(store)


async def simulate(
    seed: int, make_store: MakeStore = in_memory, *, pause: Pause = yield_once, bulk: bool = False
) -> Outcome:
    """Run one seed. With `bulk`, settled history is filled in bulk, though some worlds change deeper than that."""
    run = _Run(seed, make_store, pause, bulk)
    try:
        await run.storm()
        await run.quiet()
    except Exception as error:  # noqa: BLE001 - whatever it is, the seed has failed, and the caller says so
        cause = first_of(error)
        return Outcome(seed, f"{type(cause).__name__}: {cause}", run.world.faults)
    return Outcome(seed, None, run.world.faults)


class _NoHeads:
    """Steps are given their heads here."""

    async def newest(self) -> Head:
        raise AssertionError

    async def changed(self, known: Head, *, timeout_s: float) -> None:
        raise AssertionError


class _Run:
    def __init__(self, seed: int, make_store: MakeStore, pause: Pause, bulk: bool) -> None:
        self.plan = plan_of(seed)
        self.world = World(seed, settled=self.plan.settled)
        self._bulk = bulk
        store, self._look = make_store()
        self._pause = pause
        self._store = FaultyStore(store, self.world, self._look, pause=pause)
        self._node = Node(self.world, part=self.plan.part, pause=pause)
        self._over = False

    async def storm(self) -> None:
        """Let everything happen at once."""
        await self._store.register("sim", None)
        async with asyncio.TaskGroup() as group:
            for i in range(self.plan.followers):
                group.create_task(self._followed(f"follower {i}"))
            for i in range(self.plan.followers):
                group.create_task(self._backfilled(f"backfill {i}"))
            for _ in range(TURNS):
                self.world.turn()
                for _ in range(self.world.fate("wait").randint(2, 25)):
                    await self._pause()
            self._over = True

    async def quiet(self) -> None:
        """Hold the chain still until there is nothing left to do, then compare."""
        world = self.world
        world.stormy = False
        # A chain that only became shorter looks like a node that lags; it is told apart when it grows.
        world.grow(max(1, world.highest + 2 - len(world.canonical)))
        follower, backfill = self._follower(), self._backfill()
        refused = 0
        for _ in range(QUIET_STEPS):
            try:
                step = await follower.step(world.canonical[-1].head)
                filled = await backfill.step()
            except Transient as error:
                refused += 1
                if refused > QUIET_FAULTS:
                    raise Diverged(f"does not settle: {error}") from error
                continue
            if step.kind == "wait" and not filled:
                break
        else:
            raise Diverged(f"still busy after {QUIET_STEPS} quiet steps")
        await self._compare()

    async def _compare(self) -> None:
        stored = await self._look()
        stored.check()
        canonical = self.world.canonical
        if stored.cursor != canonical[-1].ref:
            raise Diverged(f"cursor is {stored.cursor}, head is {canonical[-1].ref}")
        for number, (hash_, _) in stored.blocks.items():
            if canonical[number].hash != hash_:
                raise Diverged(f"stored block {number} is not canonical")
        self._compare_facts(stored)
        followed = await self._store.followed_from()
        spans = [(span.first, span.last) for span in self.plan.wanted] + [(followed or 0, None)]
        for first, last in spans:
            missing = set(range(first, (len(canonical) - 1 if last is None else last) + 1)) - set(stored.blocks)
            if missing:
                raise Diverged(f"blocks {sorted(missing)} are wanted and not stored")

    def _compare_facts(self, stored: Stored) -> None:
        """Whoever replays the facts from the first one has exactly the canonical blocks, of those that are stored."""
        canonical = self.world.canonical
        told = replayed(stored.facts)
        if told.keys() != stored.blocks.keys():
            raise Diverged("facts tell of other blocks than are stored")
        for number, hash_ in told.items():
            if hash_ is not None and canonical[number].hash != hash_:
                raise Diverged(f"facts leave block {number}, which is not canonical")

    def _follower(self) -> Follower:
        plan = self.plan
        heads = _NoHeads()
        return Follower(
            self._node, self._store, heads, name="sim", max_blocks=plan.max_blocks, jump_blocks=plan.jump_blocks
        )

    def _backfill(self) -> Backfill:
        return Backfill(
            self._node, self._store, self.plan.wanted, name="sim", chunk_blocks=self.plan.chunk_blocks,
            settled_blocks=SETTLED, bulk=self._pipeline() if self._bulk else None, clock=Stopped(),
        )  # fmt: skip

    def _pipeline(self) -> Pipeline:
        answers = Answers(self._node)
        return Pipeline(
            answers, self._node, Names(self.world, answers), self._store, chunk_blocks=self.plan.chunk_blocks,
            writers=self.plan.part, clock=Stopped(), offload=inline,
        )  # fmt: skip

    async def _followed(self, name: str) -> None:
        follower = self._follower()
        while not self._over:
            if await self._attempt(name, follower.step(self.world.announced())):
                follower = self._follower()

    async def _backfilled(self, name: str) -> None:
        backfill = self._backfill()
        while not self._over:
            if await self._attempt(name, backfill.step()):
                backfill = self._backfill()

    async def _attempt(self, name: str, step: Awaitable[object]) -> bool:
        """Take a step; return whether the process was restarted in its midst."""
        world = self.world
        task = asyncio.ensure_future(step)
        dice = world.fate(name)
        restarted = world.strikes(dice, "restart", world.weather.restart)
        if restarted:
            for _ in range(dice.randint(0, 20)):
                await self._pause()
            task.cancel()
        try:
            await task
        except Transient as error:
            world.faults[f"[{type(error).__name__}]"] += 1
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if not restarted or (current is not None and current.cancelling()):
                raise
        await self._pause()
        return restarted
