"""`chainworkd run worker`: decides what droids do; holds no keys."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Final

from api.app import application
from api.routes.operations import probes
from api.server import HttpServer
from core import systemd
from core.chores import Chore, Chores
from core.clock import SystemClock
from core.errors import BadConfig, Fatal, Transient
from core.metrics import Metrics
from core.pulse import Beat, Pulse
from core.rpc.client import Rpc
from core.sending import WalletSettings
from core.service import Service, supervise
from core.settings import Settings
from core.store.pool import Pool, open_pool, translated
from daemon.chains import addresses, endpoints
from daemon.droid_places import pace_of
from daemon.processes import Sockets
from daemon.readiness import ops_gate
from daemon.sender import rules_of
from droids import records
from droids.guards import Limits
from droids.loop import DroidLoop
from droids.records import DroidRow, PoolRow
from droids.statements import SQL_FORGOTTEN, SQL_NOTE, SQL_WANTED
from droids.watch import Means, Terms

log = logging.getLogger(__name__)

CONNECTIONS: Final = 64  # a droid holds one, for its lease
KEPT: Final = timedelta(days=30)  # decisions to hold; those that led to something stay


class Fleet:
    """Looks after all droids that somebody wants run (a Service)."""

    name = "droids"

    def __init__(self, settings: Settings, pool: Pool, metrics: Metrics, *, beat: Beat) -> None:
        self.faults: list[str] = ["not connected yet"]
        self._settings = settings
        self._pool = pool
        self._metrics = metrics
        self._beat = beat
        self._loops: dict[int, DroidLoop] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Start loops and stop them as rows change, for ever."""
        try:
            async with AsyncExitStack() as stack:
                clients = {
                    chain.chain_id: await stack.enter_async_context(endpoints(name, chain, self._metrics, sticky=True))
                    for name, chain in self._settings.chains.items()
                    if chain.chain_id
                }
                async with asyncio.TaskGroup() as group:
                    while True:
                        await self._match(clients, group)
                        self.faults = []
                        self._beat()
                        await asyncio.sleep(self._settings.droids.poll_s)
        except Transient as error:
            self.faults = [str(error)]
            self._beat()  # an outage, and it is tried again: no hang
            raise
        finally:
            self._loops, self._tasks = {}, {}

    async def snapshots(self) -> None:
        """Have every droid note what it is worth at its next look."""
        for each in self._loops.values():
            each.wants_snapshot = True

    async def forget(self) -> None:
        """Take away old decisions to do nothing."""
        with translated():
            await self._pool.execute(SQL_FORGOTTEN, SystemClock().now() - KEPT)

    async def _match(self, clients: Mapping[int, Rpc], group: asyncio.TaskGroup) -> None:
        with translated():
            wanted = {row["droid_id"]: row["chain_id"] for row in await self._pool.fetch(SQL_WANTED)}
        for droid_id in self._tasks.keys() - wanted.keys():
            self._tasks.pop(droid_id).cancel()
            self._loops.pop(droid_id, None)
        for droid_id in wanted.keys() - self._tasks.keys():
            self._tasks[droid_id] = group.create_task(self._kept(droid_id, clients), name=f"droid.{droid_id}")

    async def _kept(self, droid_id: int, clients: Mapping[int, Rpc]) -> None:
        """Run one droid's loop; what is wrong with it alone is noted at it and stops nobody else."""
        try:
            made = await self._made(droid_id, clients)
            self._loops[droid_id] = made
            await supervise([made], self._metrics)
        except Fatal as error:
            log.error("droid stands still", extra={"droid": droid_id, "why": str(error)})
            with translated():
                await self._pool.execute(SQL_NOTE, droid_id, f"{error}; restart the worker when it is mended")

    async def _made(self, droid_id: int, clients: Mapping[int, Rpc]) -> DroidLoop:
        row = await records.one(self._pool, droid_id)
        pools = {each.pool_id: each for each in await records.pools(self._pool)}
        if row is None or row.pool_id not in pools or row.chain_id not in clients:
            raise BadConfig(f"droid {droid_id}: its chain or its pool is not known here, or chains.<name>.chain_id not")
        terms = terms_of(self._settings, row, pools[row.pool_id])
        return DroidLoop(
            droid_id, self._pool, clients[row.chain_id], terms, clock=SystemClock(), beat=self._beat,
            meter=self._metrics.for_droid(droid_id),
        )  # fmt: skip


class WorkerReadiness:
    """Whether droids are looked after, for /readyz."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    async def report(self) -> dict[str, list[str]]:
        """Return what keeps droids from being looked after."""
        return {self._fleet.name: self._fleet.faults}


@asynccontextmanager
async def worker_services(
    settings: Settings, url: str, sockets: Sockets, metrics: Metrics, *, pulse: Pulse
) -> AsyncIterator[Sequence[Service]]:
    """Build the services of the worker."""
    async with open_pool(url, role="chainworkd_worker", size=CONNECTIONS) as pool:
        fleet = Fleet(settings, pool, metrics, beat=pulse.part("worker.droids"))
        every = timedelta(seconds=settings.droids.snapshot_s)
        chores = [
            Chore("droid snapshots", every, fleet.snapshots),
            Chore("droid decisions", timedelta(days=1), fleet.forget),
        ]
        ops = HttpServer(
            application(probes(metrics, WorkerReadiness(fleet)), metrics, gate=ops_gate()),
            sockets.ops, name="ops.worker",
        )  # fmt: skip
        yield [ops, fleet, Chores(chores, name="droids"), systemd.Announcer()]


def terms_of(settings: Settings, row: DroidRow, pool: PoolRow) -> Terms:
    """Return what holds for a droid by settings: pace, guards, and what its wallet may do."""
    of = settings.droids
    pace = pace_of(of)
    limits = Limits(
        head_age_s=of.head_age_s, twap_s=of.twap_s, twap_ticks=of.twap_ticks, min_native=of.min_native_wei,
        slip_bps=of.slip_bps,
    )  # fmt: skip
    means, complaint = _means(settings, row, pool)
    wrapper = next((c.prices.wrapper for c in settings.chains.values() if c.chain_id == row.chain_id), "")
    return Terms(
        pace=pace, limits=limits, deadline_s=of.deadline_s, poll_s=of.poll_s, means=means, complaint=complaint,
        wrapper=addresses([wrapper])[0] if wrapper else None,
    )  # fmt: skip


def _means(settings: Settings, row: DroidRow, pool: PoolRow) -> tuple[Means | None, str]:
    """Return what the wallet may do, or why it cannot do what its droid needs."""
    chains = {name: chain.chain_id for name, chain in settings.chains.items()}
    found: dict[str, WalletSettings] = {
        name: each
        for name, each in settings.wallets.items()
        if chains.get(each.chain) == row.chain_id and addresses([each.address])[0] == row.wallet
    }
    if not found:
        return None, f"no wallets.<name> in the settings has the address 0x{row.wallet.hex()} on its chain"
    (name, each), *_ = found.items()
    rules = rules_of(each)
    if pool.manager not in rules.position_managers:
        return None, f"wallets.{name}.position_managers: 0x{pool.manager.hex()} is not among them"
    return Means(rules=rules, max_fee=each.max_fee_wei, min_tip=each.min_tip_wei), ""
