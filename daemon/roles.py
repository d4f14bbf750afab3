"""One process each: which services it runs, with which rights in the database, on which sockets."""

import gc
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from api.app import application
from api.routes.operations import probes, status_page
from api.server import HttpServer, allow_files, listen, url_of
from core import systemd
from core.errors import BadConfig
from core.metrics import Metrics
from core.pulse import Pulse
from core.service import Service
from core.settings import Settings
from core.store.pool import open_pool
from core.store.space import GB, free_space
from daemon.chains import Build, ChainServices, Prepare
from daemon.processes import Role, Sockets
from daemon.readiness import ops_gate, readiness_of

log = logging.getLogger(__name__)

# Objects that came and did not go until the API's collector looks. A page makes a thousand that all go with it: at the
# usual 700 the collector took a twentieth of the time and found nothing.
GC_AFTER: Final = 20_000
OTHER_FILES: Final = 512  # beside clients: the database, nodes, the operators' port, libraries


def bind(settings: Settings, role: Role) -> Sockets:
    """Bind what `role` listens on, and log where. Raises BadConfig naming the setting whose port is taken."""
    ops = settings.ops
    ports = {
        "indexer": ops.indexer_port, "backfill": ops.backfill_port, "api": ops.api_port, "sender": ops.sender_port,
        "worker": ops.worker_port,
    }  # fmt: skip
    port = ports[role]
    probing = listen(ops.host, port, f"ops.{role}_port")
    if role != "api":
        return Sockets(probing)
    allow_files(settings.api.max_connections + OTHER_FILES)
    try:
        return Sockets(probing, listen(settings.api.host, settings.api.port, "api.port"))
    except BadConfig:
        probing.close()
        raise


def announce(role: Role, bound: Sockets) -> None:
    """Log where `role` listens: with port 0 the log is the only place that tells."""
    for face, one in (("ops", bound.ops), ("api", bound.api)):
        if one is not None:
            log.info("listening", extra={"role": role, "face": face, "url": url_of(one)})


def require_chains(settings: Settings) -> None:
    """Raise BadConfig if there is nothing to follow: before a server is started for it."""
    if not settings.chains:
        raise BadConfig("chains: none is configured; set CHAINWORKD_RPC_URL or add [chains.<name>] with http")


@asynccontextmanager
async def services_of(
    role: Role, settings: Settings, url: str, sockets: Sockets, metrics: Metrics, *, pulse: Pulse
) -> AsyncIterator[Sequence[Service]]:
    """Build the services of one process on a pool that may do what the role may; `metrics` is what it exports.

    `pulse` gets its parts: one for each chain. The API has none: that its event loop turns is all its progress.
    What only one of the processes needs is loaded there: the API's faces take 0.3 s, eth_abi and apscheduler 0.1 s.
    """
    if role == "api":
        from daemon.faces import api_services  # noqa: PLC0415 - see above

        gc.set_threshold(GC_AFTER)
        async with api_services(settings, url, sockets, metrics) as services:
            yield [*services, *systemd.watchdog(pulse)]
        return
    if role == "sender":
        from daemon.sender import sender_services  # noqa: PLC0415 - see above

        async with sender_services(settings, url, sockets, metrics, pulse=pulse) as services:
            yield [*services, *systemd.watchdog(pulse)]
        return
    if role == "worker":
        from daemon.worker import worker_services  # noqa: PLC0415 - see above

        async with worker_services(settings, url, sockets, metrics, pulse=pulse) as services:
            yield [*services, *systemd.watchdog(pulse)]
        return
    async with open_pool(url, role="chainworkd_indexer", size=settings.database.indexer_connections) as pool:
        require_chains(settings)
        build, prepare = await _builders(role, settings, url)
        chains = [
            ChainServices(
                name,
                chain,
                pool,
                metrics,
                build,
                beat=pulse.part(f"{role}.{name}"),
                prepare=prepare,
                on_start=systemd.ready,
                sticky=role == "indexer",
            )
            for name, chain in settings.chains.items()
        ]
        readiness = readiness_of(settings, pool)
        routes = [*probes(metrics, readiness), *status_page(pool, readiness)]
        ops = HttpServer(application(routes, metrics, gate=ops_gate()), sockets.ops, name=f"ops.{role}")
        yield [ops, *chains, *systemd.watchdog(pulse)]


async def _builders(role: Role, settings: Settings, url: str) -> tuple[Build, Prepare | None]:
    """Return what builds the services of a chain, and what has to be done before."""
    if role == "indexer":
        from daemon import head  # noqa: PLC0415 - see services_of

        return head.head_services, head.watch_vaults
    from daemon import history  # noqa: PLC0415 - see services_of

    disk = history.Disk(await free_space(url), int(settings.database.min_free_gb * GB))
    return partial(history.backfill_services, disk=disk), None
