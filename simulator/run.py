"""One seed from storm to quiet, and what it shows."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from core.service import first_of
from simulator.clock import run_leaping
from simulator.judge import Diverged, Judge
from simulator.processes import Processes
from simulator.stores import Database, MemoryDatabase
from simulator.weather import TURNS, Given, Plan, plan_of
from simulator.world import Tell, World

QUIET_S: Final = 900.0  # within which everything that is wanted has to be stored, once nothing fails any more
CALM_S: Final = 10.0  # and so long it then has to stay so
QUIET_FAULTS: Final = 30  # races between the actors of the storm may leave this many refusals behind, not more

MakeDatabase = Callable[[World], Database]
NOTHING: Final[Given] = {}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a seed ended: `diverged` says what went wrong, None if nothing did.

    `faults` are those that struck, `writes` those of the indexer that were carried out, `errors` what its services were
    started again for; all by kind.
    """

    seed: int
    diverged: str | None
    faults: Counter[str]
    writes: Counter[str]
    errors: Counter[str]


def simulate(
    seed: int, given: Given = NOTHING, *, make_database: MakeDatabase = MemoryDatabase, tell: Tell | None = None
) -> Outcome:
    """Run one seed, in no time."""
    plan = plan_of(seed, given)
    return run_leaping(simulated(seed, plan, make_database, tell))


async def simulated(seed: int, plan: Plan, make_database: MakeDatabase, tell: Tell | None = None) -> Outcome:
    """Run one seed in the running loop, which is a LeapingLoop."""
    world = World(seed, plan, tell=tell)
    run = _Run(world, make_database(world))
    diverged = None
    try:
        await run.storm()
        await run.quiet()
    except Exception as error:  # noqa: BLE001 - whatever it is, the seed has failed, and the caller says so
        cause = first_of(error)
        diverged = f"{type(cause).__name__}: {cause}"
    return Outcome(seed, diverged, world.faults, world.writes, world.errors)


class _Run:
    def __init__(self, world: World, database: Database) -> None:
        self._world = world
        self._judge = Judge(world, database)
        self._database = database
        self._processes = Processes(world, database, self._judge)

    async def storm(self) -> None:
        """Let everything happen at once."""
        processes, over = self._processes, asyncio.Event()
        await self._database.doors().store.register("sim", self._world.canonical[0].hash)
        if self._world.plan.writers > 1:
            self._world.strike("two writers")
        async with asyncio.TaskGroup() as group:
            for n in range(self._world.plan.writers):
                group.create_task(processes.keep(f"head {n}", processes.head, over))
                group.create_task(processes.keep(f"backfill {n}", processes.backfill, over))
            await self._world.live(TURNS)
            over.set()

    async def quiet(self) -> None:
        """Hold the chain still until all that is wanted is stored, then judge."""
        world, processes, over = self._world, self._processes, asyncio.Event()
        world.stormy = False
        world.tell("quiet")
        # A chain that only became shorter looks like a node that lags; it is told apart when it grows.
        world.grow(max(1, world.highest + 2 - len(world.canonical)))
        processes.refused = 0
        async with asyncio.TaskGroup() as group:
            group.create_task(processes.keep("head", processes.head, over))
            group.create_task(processes.keep("backfill", processes.backfill, over))
            await self._settle()
            over.set()
        await self._judge.verdict(await self._followed_from())

    async def _settle(self) -> None:
        ends = asyncio.get_running_loop().time() + QUIET_S
        while not self._judge.settled(await self._judge.look(), await self._followed_from()):
            if self._processes.refused > QUIET_FAULTS:
                raise Diverged("does not settle: services are refused again and again")
            if asyncio.get_running_loop().time() > ends:
                raise Diverged(f"not all is stored after {QUIET_S:.0f} quiet seconds")
            await asyncio.sleep(1.0)
        await asyncio.sleep(CALM_S)

    async def _followed_from(self) -> int | None:
        return await self._database.doors().store.followed_from()
