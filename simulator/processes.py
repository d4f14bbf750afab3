"""The processes of one indexer, put together as daemon/ does it, and how they live and die."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from core.chain import ChainSource
from core.clock import Clock
from core.errors import WrongChain
from core.rpc.finality import RpcFinality
from core.rpc.hedge import Hedges
from core.rpc.panel import HeadPanel
from core.rpc.pool import RpcPool
from core.rpc.source import RpcSource, finalized
from core.service import Service, supervise
from core.verify.checks import ALL, Level
from indexer.backfill import Backfill
from indexer.encoded import EncodedHead, LoadedEncoder
from indexer.finality import FinalitySource, FinalityWatch
from indexer.follow import Follower
from indexer.head import HeadWatch
from indexer.pipeline import Answers, Pipeline
from indexer.retention import Retention
from simulator.blocks import CHAIN_ID, history
from simulator.bulk import NameEncoder, Names, WireEncoder, inline
from simulator.clock import LoopClock
from simulator.endpoint import SimulatedEndpoint, Truth
from simulator.judge import Judge
from simulator.mortal import Died, Mortal
from simulator.node import Node
from simulator.reader import Reading
from simulator.stores import Database, FaultyFinality, FaultyPruner, FaultyStore
from simulator.world import World

POLL_S: Final = 0.5
PRUNE_S: Final = 5.0
MOST_AWAITS: Final = 60  # a mortal process dies at its first await, then at its second, and so on up to this one
HURRY: Final = 10  # a supervisor's pauses are so much shorter: a storm is over in a minute or two


@dataclass(frozen=True, slots=True)
class _Side:
    """What one process has of the chain; `pool` are its endpoints, where there are any."""

    source: ChainSource
    finality: FinalitySource
    finalized: Callable[[], Awaitable[int | None]]
    answers: Answers
    encoder: LoadedEncoder
    pool: RpcPool | None = None


class Processes:
    """Makes and runs processes over one World and one Database."""

    def __init__(self, world: World, database: Database, judge: Judge) -> None:
        self.refused = 0  # services that were started again
        self._world = world
        self._database = database
        self._judge = judge
        self._clock: Clock = LoopClock()
        self._truth = Truth()

    def store(self) -> FaultyStore:
        """Return the database as a process that starts now has it."""
        return FaultyStore(self._database.doors(), self._database, self._world, self._judge)

    # -- what they are made of -----------------------------------------------------------------------------------------

    def head(self, name: str) -> Sequence[Service]:
        """Build what daemon/head.py builds; the first is the one that death looks for."""
        plan, clock = self._world.plan, self._clock
        side, store, counts = self._side(name, sticky=True), self.store(), _Unwatched()
        panels = [
            HeadPanel(pool, counts, name=name, look_s=4 * POLL_S, clock=clock)
            for pool in [side.pool]
            if pool is not None and plan.endpoints > 1
        ]
        heads = HeadWatch(
            side.source, store, counts, name=name, streams=[self._world.announcements],
            agreement=next(iter(panels), None), poll_s=POLL_S, clock=clock,
        )  # fmt: skip
        encoded = [EncodedHead(side.answers, side.encoder, store, name=name, offload=inline)] * plan.encoded
        follower = Follower(
            side.source, store, heads, name=name, max_blocks=plan.max_blocks, jump_blocks=plan.jump_blocks,
            encoded=next(iter(encoded), None), clock=clock,
        )  # fmt: skip
        finality = FinalityWatch(
            side.finality, FaultyFinality(store), self._database.doors().alarms, name=name, poll_s=4 * POLL_S,
            clock=clock,
        )  # fmt: skip
        return [follower, heads, finality, *panels, *encoded]

    def backfill(self, name: str) -> Sequence[Service]:
        """Build what daemon/history.py builds, and a reader of facts beside it."""
        plan, clock = self._world.plan, self._clock
        side, store = self._side(name, sticky=False), self.store()
        services: list[Service] = [
            Backfill(
                side.source, store, plan.wanted, name=name, chunk_blocks=plan.chunk_blocks,
                settled_blocks=plan.settled_blocks, retain_blocks=plan.retain_blocks, margin_blocks=plan.margin_blocks,
                bulk=self._pipeline(side, store) if plan.encoded else None, clock=clock,
            ),
            Reading(self._judge.reader, self._database.doors().facts, self._world, clock),
        ]  # fmt: skip
        if plan.retain_blocks:
            retention = Retention(
                store, FaultyPruner(store, self._judge), side.finalized, name=name, retain_blocks=plan.retain_blocks,
                margin_blocks=plan.margin_blocks, clock=clock,
            )  # fmt: skip
            services.append(_Chore(retention, clock))
        return services

    def _side(self, name: str, *, sticky: bool) -> _Side:
        return self._objects() if self._world.plan.level == "objects" else self._wire(name, sticky=sticky)

    def _objects(self) -> _Side:
        node = Node(self._world, part=self._world.plan.batch_blocks)
        names = Names(node)

        async def final() -> int | None:
            found = (await node.finality()).finalized
            return None if found is None else found.number

        return _Side(node, node, final, names, NameEncoder(self._world, names))

    def _wire(self, name: str, *, sticky: bool) -> _Side:
        world, plan = self._world, self._world.plan
        genesis = history(plan.history)[0].hash
        pool = RpcPool(
            [SimulatedEndpoint(world, each, self._truth) for each in "abc"[: plan.endpoints]],
            chain_id=CHAIN_ID, genesis_hash=genesis, sticky=sticky, hedges=Hedges(_Unwatched()) if sticky else None,
            clock=self._clock, dice=world.lot("pool", name),
        )  # fmt: skip
        source = RpcSource(
            pool, CHAIN_ID, genesis_hash=genesis, batch_blocks=plan.batch_blocks, level=Level(ALL), clock=self._clock
        )
        tags = RpcFinality(pool, safe_depth=plan.safe_depth, finalized_depth=plan.finalized_depth)
        return _Side(source, tags, lambda: finalized(pool), source, WireEncoder(world), pool)

    def _pipeline(self, side: _Side, store: FaultyStore) -> Pipeline:
        plan = self._world.plan
        return Pipeline(
            side.answers, side.source, side.encoder, store, chunk_blocks=plan.chunk_blocks,
            part_blocks=plan.batch_blocks, clock=self._clock, offload=inline,
        )  # fmt: skip

    # -- how they live -------------------------------------------------------------------------------------------------

    async def keep(self, name: str, build: Callable[[str], Sequence[Service]], over: asyncio.Event) -> None:
        """Run a process, and start it again whenever it dies, until it is `over`."""
        starts = 0
        while not over.is_set():
            starts += 1
            services = list(build(name))
            if self._world.plan.mortal and self._world.stormy:
                services[0] = Mortal(services[0], (starts - 1) % MOST_AWAITS + 1)
            hurried = _Hurried(self._clock)
            life = asyncio.create_task(
                supervise(services, self, clock=hurried, dice=self._world.lot("pauses", name, starts)), name=name
            )
            await self._until_it_ends(name, life, over)

    async def _until_it_ends(self, name: str, life: "asyncio.Task[None]", over: asyncio.Event) -> None:
        world = self._world
        dice = world.fate("life", name)
        ending = asyncio.create_task(over.wait())
        chance = world.weather.death if world.stormy and not world.plan.mortal else 0
        try:
            await asyncio.wait(
                {life, ending}, timeout=dice.expovariate(chance) if chance else None,
                return_when=asyncio.FIRST_COMPLETED,
            )  # fmt: skip
            if not life.done() and not ending.done():
                world.strike("death", name)
        finally:
            for task in (life, ending):
                task.cancel()
        ended, _ = await asyncio.gather(life, ending, return_exceptions=True)
        self._judge_end(name, ended)
        await self._clock.sleep(dice.random())

    def _judge_end(self, name: str, ended: object) -> None:
        """Raise what no process may end with."""
        match ended:
            case Died():
                self._world.strike("death at an await", name)
            case WrongChain() if self._world.stormy:
                # Exit code 78: whoever runs it looks after the endpoint and starts it again.
                self._world.errors["WrongChain"] += 1
            case None | asyncio.CancelledError():
                pass
            case BaseException() as error:
                raise error
        self._world.tell(f"process {name} ended: {ended!r}")

    def restarted(self, service: str, error: Exception) -> None:
        """Count a restart of a service (RestartMetrics)."""
        self.refused += 1
        self._world.errors[type(error).__name__] += 1
        self._world.tell(f"service {service} starts again: {type(error).__name__}: {error}")


class _Unwatched:
    """Counts nothing (HeadMetrics, PanelMeter, HedgeMeter)."""

    def announced(self, origin: str) -> None:
        """Count nothing."""

    def socket_dropped(self, why: str) -> None:
        """Count nothing."""

    def voted(self, outcome: str) -> None:
        """Count nothing."""

    def hedged(self, outcome: str) -> None:
        """Count nothing."""


class _Chore:
    """Prunes now and then (a Service)."""

    name = "retention"

    def __init__(self, retention: Retention, clock: Clock) -> None:
        self._retention = retention
        self._clock = clock

    async def run(self) -> None:
        """Prune for ever."""
        while True:
            await self._retention.prune()
            await self._clock.sleep(PRUNE_S)


class _Hurried:
    """A clock whose pauses are shorter (Clock)."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.now = clock.now
        self.monotonic = clock.monotonic

    async def sleep(self, seconds: float) -> None:
        """Wait a part of it."""
        await self._clock.sleep(seconds / HURRY)
