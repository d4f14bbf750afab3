"""Services of one chain: built once its node has said which chain it is."""

import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final

from core.chores import Chore, Chores
from core.errors import BadConfig, WrongChain
from core.metered import MeteredSource, MeteredStore
from core.metrics import ChainMetrics, Metrics
from core.rpc import ws
from core.rpc.caller import RpcCaller
from core.rpc.client import RpcClient
from core.rpc.finality import RpcFinality
from core.rpc.logs import EventAnswers, RpcLogs
from core.rpc.memory import EndpointMemory
from core.rpc.pool import RpcPool
from core.rpc.source import RpcSource, chain_id, finalized
from core.service import Service, supervise
from core.settings import ChainSettings, token_overrides
from core.store.derived import Derived
from core.store.endpoints import PgLearned
from core.store.finality import PgFinality
from core.store.lease import PgLeases
from core.store.pg import PgStore
from core.store.pool import Pool
from core.store.prune import Pruner
from core.store.space import Free, Room, note_paused
from core.store.tokens import PgTokens
from core.store.vaults import PgVaults
from core.store.watch import declare
from core.types import Block, Log
from indexer.backfill import Backfill, WantedRange
from indexer.decode.tables import EventTransactionTable, LogTable, TransferTable, VaultTable
from indexer.finality import FinalityWatch
from indexer.follow import Follower
from indexer.head import HeadWatch
from indexer.pipeline import Pipeline
from indexer.retention import Retention
from indexer.tokens import Override, Tokens
from indexer.vaults import VaultScan
from indexer.watch import only_events, watching

log = logging.getLogger(__name__)

EXPIRE_EVERY: Final = timedelta(minutes=10)
PRUNE_EVERY: Final = timedelta(minutes=1)
EVENT_CHUNK: Final = 4  # times the blocks of a whole chunk in one transaction: headers and events are small
EVENT_PART: Final = 50  # blocks of one request in events mode; eth_getLogs and as many headers
EXPIRE_AT_ONCE: Final = 500  # tokens read again per chore: a few Multicall3 requests a minute


@dataclass(frozen=True, slots=True)
class Chain:
    """What the services of one chain are made of, once its node has said which chain it is."""

    name: str
    id: int
    settings: ChainSettings
    client: RpcPool
    source: MeteredSource
    answers: RpcSource
    store: MeteredStore
    pool: Pool
    meter: ChainMetrics
    derived: Sequence[Derived]


Build = Callable[[Chain], Sequence[Service]]
Prepare = Callable[[Chain], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Disk:
    """What measures the room on the database's disk, and the bytes that backfill leaves free."""

    free: Free
    least: int


class ChainServices:
    """Connects to one chain's nodes, checks their identity, then supervises what `build` makes (a Service).

    `sticky`: stay with the node that answers until it fails; for what follows the head.
    """

    def __init__(
        self,
        name: str,
        chain: ChainSettings,
        pool: Pool,
        metrics: Metrics,
        build: Build,
        *,
        prepare: Prepare | None = None,
        on_start: Callable[[], Awaitable[None]] | None = None,
        sticky: bool = False,
    ) -> None:
        self.name = f"chain.{name}"
        self._chain_name = name
        self._settings = chain
        self._metrics = metrics
        self._pool = pool
        self._build = build
        self._prepare = prepare
        self._on_start = on_start
        self._sticky = sticky

    async def run(self) -> None:
        """Run for ever; raises WrongChain when node, settings and database disagree about the chain."""
        async with endpoints(self._chain_name, self._settings, self._metrics, sticky=self._sticky) as client:
            chain = await introduced(self._chain_name, self._settings, client, self._pool, self._metrics)
            log.info("following", extra={"chain": chain.name, "chain_id": chain.id, "node": client.host})
            if self._prepare is not None:
                await self._prepare(chain)
            memory = EndpointMemory(client, PgLearned(self._pool, chain.id), name=chain.name)
            await memory.recall()
            services = [*self._build(chain), memory]
            if self._on_start is not None:
                await self._on_start()
            await supervise(services, self._metrics)


def endpoints(name: str, of: ChainSettings, metrics: Metrics, *, sticky: bool = False) -> RpcPool:
    """Return a chain's nodes, not yet connected. Raises BadConfig if there is none.

    `sticky`: stay with the node that answers until it fails; for what follows the head.
    """
    if not of.endpoints:
        raise BadConfig(f"chains.{name}.http: no URL of a node; set it, or CHAINWORKD_RPC_URL")
    clients = [RpcClient(url, deadline_s=of.deadline_s) for url in of.endpoints]
    return RpcPool(clients, chain_id=of.chain_id, sticky=sticky, meter=metrics.for_chain(name).endpoint)


async def introduced(name: str, of: ChainSettings, client: RpcPool, pool: Pool, metrics: Metrics) -> Chain:
    """Ask the nodes which chain they serve, and hold it against settings and database. Raises WrongChain, BadConfig."""
    try:
        found = await chain_id(client)
    except WrongChain as error:
        raise WrongChain(f"chains.{name}: {error}") from None
    meter, watched = metrics.for_chain(name), watched_of(of)
    derived = _tables(of, meter)
    events = of.mode == "events"
    keep = None if watched is None else only_events(watched) if events else watching(watched)
    store = PgStore(pool, found, derived=derived, keep=keep, transactions=not events)
    genesis = await RpcSource(client, found).ref_at(0)
    genesis_hash = None if genesis is None else genesis.hash
    await store.register(name, genesis_hash)
    client.expect(found, genesis_hash)
    await declare(pool, found, name, watched, events_only=events)
    source = RpcSource(client, found, genesis_hash=genesis_hash, batch_blocks=of.batch_blocks)
    return Chain(
        name=name, id=found, settings=of, client=client, source=MeteredSource(source, meter), answers=source,
        store=MeteredStore(store, meter), pool=pool, meter=meter, derived=derived,
    )  # fmt: skip


def _tables(of: ChainSettings, meter: ChainMetrics) -> Sequence[Derived]:
    """Return the tables that a chain's blocks imply. A malformed log is counted and named, once, at debug."""

    def malformed(block: Block, event: Log, why: str) -> None:
        meter.malformed()
        log.debug("malformed log", extra={"block": block.number, "log": event.index, "why": why})

    tables: list[Derived] = [
        TransferTable(malformed), VaultTable(_addresses(of.vaults), malformed),
        LogTable(of.logs, _addresses(of.watched)),
    ]  # fmt: skip
    return [*tables, EventTransactionTable()] if of.mode == "events" else tables


async def watch_vaults(chain: Chain) -> None:
    """Note which vaults are watched from here on: for the head writer, before it commits a block."""
    await PgVaults(chain.pool, chain.id).watch(_addresses(chain.settings.vaults))


def _addresses(texts: Sequence[str]) -> list[bytes]:
    return [bytes.fromhex(text[2:]) for text in texts]


def head_services(chain: Chain) -> Sequence[Service]:
    """Build the watch and the follower: what keeps the stored chain at the head."""
    of, name = chain.settings, chain.name
    stream = partial(ws.new_heads, of.ws, chain.id) if of.ws else None
    heads = HeadWatch(chain.source, chain.store, chain.meter, name=name, stream=stream, poll_s=of.poll_s)
    follower = Follower(
        chain.source, chain.store, heads, name=name, max_blocks=of.max_blocks, jump_blocks=of.jump_blocks
    )
    tags = RpcFinality(chain.client, safe_depth=of.safe_depth, finalized_depth=of.finalized_depth)
    finality = FinalityWatch(tags, PgFinality(chain.pool, chain.id), name=name, poll_s=of.poll_s * 2)
    return [heads, follower, finality]


def backfill_services(chain: Chain, *, disk: Disk) -> Sequence[Service]:
    """Build what fills the holes behind the head, and what reads tokens and vaults: it hurries nobody."""
    of, name = chain.settings, chain.name
    wanted = [WantedRange(span.first, span.last) for span in of.backfill]
    known = PgTokens(chain.pool, chain.id)
    overrides = {
        address: Override(better.symbol, better.name, better.decimals)
        for address, better in token_overrides(of.token_overrides).items()
    }
    vaults = _addresses(of.vaults)
    refresh = partial(known.expire, timedelta(days=of.token_refresh_days), EXPIRE_AT_ONCE)
    chores = [Chore(f"{name}: read old tokens again", EXPIRE_EVERY, refresh)]
    if of.retain_blocks:
        chores.append(Chore(f"{name}: prune", PRUNE_EVERY, _retention(chain).prune))
    return [
        Backfill(
            chain.source, chain.store, wanted, name=name, chunk_blocks=of.chunk_blocks,
            retain_blocks=of.retain_blocks, gate=_gate(chain, disk), bulk=bulk(chain),
            leases=PgLeases(chain.pool, chain.id),
        ),
        Tokens(RpcCaller(chain.client), known, name=name, overrides=overrides),
        VaultScan(RpcLogs(chain.client), PgVaults(chain.pool, chain.id), chain.id, vaults, name=name),
        Chores(chores, name=name),
    ]  # fmt: skip


def bulk(chain: Chain) -> Pipeline:
    """Return what fills settled history of the chain."""
    of = chain.settings
    transfers = next(each for each in chain.derived if isinstance(each, TransferTable))
    logs = next(each for each in chain.derived if isinstance(each, LogTable))
    per_log = [each for each in chain.derived if isinstance(each, VaultTable)]
    known = (TransferTable, LogTable, VaultTable, EventTransactionTable)
    assert all(isinstance(each, known) for each in chain.derived), "a table unknown to the hot path would stay empty"
    watched = watched_of(of)
    # numba takes a quarter of a second and 60 MB, which the head's process has no use for.
    from indexer.eventpath import EventPath  # noqa: PLC0415
    from indexer.hotpath import HotPath  # noqa: PLC0415
    from indexer.warm import warm  # noqa: PLC0415

    if of.mode == "events":
        events = EventAnswers(chain.client, sorted(watched or ()))
        return Pipeline(
            events, chain.source, EventPath(chain.id, transfers, logs, per_log), chain.store,
            chunk_blocks=of.chunk_blocks * EVENT_CHUNK, part_blocks=EVENT_PART, prepare=warm,
        )  # fmt: skip
    hot = HotPath(chain.id, transfers, logs, per_log, watched)
    return Pipeline(chain.answers, chain.source, hot, chain.store, chunk_blocks=of.chunk_blocks, prepare=warm)


def watched_of(chain: ChainSettings) -> Collection[bytes] | None:
    """Return the addresses of which alone something is stored, None for all transactions."""
    # A vault's events must not be left out of what is stored because nobody named it twice.
    return _addresses((*chain.watched, *chain.vaults)) if chain.mode != "full" else None


def _retention(chain: Chain) -> Retention:
    """Return what prunes the chain."""
    return Retention(
        chain.store, Pruner(chain.pool, chain.id, derived=chain.derived), partial(finalized, chain.client),
        name=chain.name, retain_blocks=chain.settings.retain_blocks, on_pruned=chain.meter.pruned,
    )  # fmt: skip


def _gate(chain: Chain, disk: Disk) -> Room:
    """Return what holds backfill while the disk is short of room; gauge and database show it."""

    async def tell(why: str | None) -> None:
        chain.meter.paused(why)
        await note_paused(chain.pool, chain.id, why)

    return Room(disk.free, disk.least, tell, name=chain.name)
