"""Services of one chain: built once its node has said which chain it is."""

import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from core.errors import BadConfig, Stalled, Transient, WrongChain
from core.metered import MeteredSource, MeteredStore
from core.metrics import ChainMetrics, Metrics
from core.pulse import Beat
from core.rpc.calibrate import NEWEST, Calibration, calibrate
from core.rpc.client import RpcClient
from core.rpc.hedge import Hedges
from core.rpc.logs import EventAnswers
from core.rpc.memory import EndpointMemory
from core.rpc.pool import RpcPool
from core.rpc.source import RpcSource, chain_id, finalized
from core.service import Service, supervise
from core.settings import ChainSettings
from core.store.audit import PgAudit
from core.store.derived import Derived, TableRows
from core.store.endpoints import PgLearned
from core.store.pg import PgStore
from core.store.pool import Pool
from core.store.verified import PgVerified
from core.store.watch import declare
from core.types import Block, Log
from core.verify.checks import NONE, Level, named
from indexer.calibration import Calibrator
from indexer.decode.tables import EventTransactionTable, LogTable, TransferTable, VaultTable
from indexer.late import LateEncoder
from indexer.pipeline import Encoder, Pipeline
from indexer.recheck import SecondLook
from indexer.watch import only_events, watching

log = logging.getLogger(__name__)

EVENT_CHUNK: Final = 2  # times the blocks of a whole chunk in one transaction: headers and events are small
SETTLED_DEPTH: Final = 128  # blocks below the head, where neither node nor settings say what is final
EVENT_PART: Final = 50  # blocks of one request in events mode; eth_getLogs and as many headers


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
    level: Level
    calibrator: Calibrator | None
    beat: Beat


Build = Callable[[Chain], Sequence[Service]]
Prepare = Callable[[Chain], Awaitable[None]]


class ChainServices:
    """Connects to one chain's nodes, checks their identity, then supervises what `build` makes (a Service).

    `beat` is called when the chain gets on, or cannot for a reason that is known. `sticky`: stay with the node that
    answers until it fails; for what follows the head.
    """

    def __init__(
        self,
        name: str,
        chain: ChainSettings,
        pool: Pool,
        metrics: Metrics,
        build: Build,
        *,
        beat: Beat,
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
        self._beat = beat
        self._prepare = prepare
        self._on_start = on_start
        self._sticky = sticky

    async def run(self) -> None:
        """Run for ever; raises WrongChain when node, settings and database disagree about the chain.

        Raises Stalled, to be run again with new connections, when nothing is committed although it could be.
        """
        async with endpoints(self._chain_name, self._settings, self._metrics, sticky=self._sticky) as client:
            try:
                chain = await introduced(
                    self._chain_name, self._settings, client, self._pool, self._metrics, beat=self._beat
                )
            except Transient:
                self._beat()  # an outage, and it is tried again: no hang
                raise
            log.info("following", extra={"chain": chain.name, "chain_id": chain.id, "node": client.host})
            if self._prepare is not None:
                await self._prepare(chain)
            memory = EndpointMemory(client, PgLearned(self._pool, chain.id), name=chain.name)
            await memory.recall()
            services = [*self._build(chain), memory]
            if self._on_start is not None:
                await self._on_start()
            await supervise(services, self._metrics, ends_all=Stalled)


def endpoints(name: str, of: ChainSettings, metrics: Metrics, *, sticky: bool = False) -> RpcPool:
    """Return a chain's nodes, not yet connected. Raises BadConfig if there is none.

    `sticky`: stay with the node that answers until it fails, and ask a second one when it is late; for what follows the
    head.
    """
    if not of.endpoints:
        raise BadConfig(f"chains.{name}.http: no URL of a node; set it, or CHAINWORKD_RPC_URL")
    clients = [RpcClient(url, deadline_s=of.deadline_s) for url in of.endpoints]
    meter = metrics.for_chain(name)
    return RpcPool(
        clients, chain_id=of.chain_id, primaries=len(of.primaries), sticky=sticky, meter=meter.endpoint,
        hedges=Hedges(meter) if sticky else None,
    )  # fmt: skip


async def introduced(
    name: str, of: ChainSettings, client: RpcPool, pool: Pool, metrics: Metrics, *, beat: Beat = lambda: None
) -> Chain:
    """Ask the nodes which chain they serve, and hold it against settings and database. Raises WrongChain, BadConfig."""
    try:
        found = await chain_id(client)
    except WrongChain as error:
        raise WrongChain(f"chains.{name}: {error}") from None
    meter, watched = metrics.for_chain(name), watched_of(of)
    derived = _tables(of, _malformed(meter))
    store = _store(pool, found, of, derived)
    genesis = await RpcSource(client, found).ref_at(0)
    genesis_hash = None if genesis is None else genesis.hash
    await store.register(name, genesis_hash)
    client.expect(found, genesis_hash)
    await declare(pool, found, name, watched, events_only=of.mode == "events")
    level, verified = Level(NONE), PgVerified(pool, found)
    source = RpcSource(
        client, found, genesis_hash=genesis_hash, batch_blocks=of.batch_blocks, level=level,
        on_unverified=verified.quarantine,
    )  # fmt: skip
    calibrator = None
    if of.verify.mode == "auto":
        look = partial(_calibration, client, source, found, of.finalized_depth)
        calibrator = Calibrator(look, verified, level, name=name, meter=meter, without=named(of.verify.without))
        await calibrator.begin()
    return Chain(
        name=name, id=found, settings=of, client=client, source=MeteredSource(source, meter), answers=source,
        store=MeteredStore(store, meter), pool=pool, meter=meter, derived=derived, level=level, calibrator=calibrator,
        beat=beat,
    )  # fmt: skip


async def _calibration(
    client: RpcPool, source: RpcSource, chain: int, depth: int, also: Collection[int]
) -> Calibration:
    """Look which checks hold: below what is final, unless the chain is so young that little is."""
    head = (await source.head()).ref.number
    settled = await finalized(client)
    if settled is None:
        settled = max(0, head - (depth or SETTLED_DEPTH))
    return await calibrate(client, source, chain, head if settled < NEWEST else settled, also)


def _store(pool: Pool, chain: int, of: ChainSettings, derived: Sequence[Derived]) -> PgStore:
    return PgStore(pool, chain, derived=derived, keep=_kept(of), transactions=of.mode != "events")


def _kept(of: ChainSettings) -> Callable[[Block], Block] | None:
    """Return what leaves out of a block what is not stored of it, None where all is."""
    watched = watched_of(of)
    if watched is None:
        return None
    return only_events(watched) if of.mode == "events" else watching(watched)


def second_look(chain: Chain) -> SecondLook:
    """Return what holds stored blocks against the node again."""
    of, keep, every_log = chain.settings, _kept(chain.settings), LogTable("all")
    store = _store(chain.pool, chain.id, of, _tables(of, lambda *_: None))  # a malformed log was counted already

    def possible(blocks: Sequence[Block]) -> TableRows:
        kept = blocks if keep is None else map(keep, blocks)
        rows = [row for block in kept for row in every_log.derive(chain.id, block).rows]
        return TableRows(every_log.table, every_log.columns, rows)

    audit = PgAudit(chain.pool, chain.id, store.rows_of, possible)
    return SecondLook(chain.source, audit, chain.store.coverage, PgVerified(chain.pool, chain.id).quarantine)


def _malformed(meter: ChainMetrics) -> Callable[[Block, Log, str], None]:
    """Return what counts a malformed log, and names it once, at debug."""

    def malformed(block: Block, event: Log, why: str) -> None:
        meter.malformed()
        log.debug("malformed log", extra={"block": block.number, "log": event.index, "why": why})

    return malformed


def _tables(of: ChainSettings, malformed: Callable[[Block, Log, str], None]) -> Sequence[Derived]:
    """Return the tables that a chain's blocks imply."""
    tables: list[Derived] = [
        TransferTable(malformed), VaultTable(addresses(of.vaults), malformed),
        LogTable(of.logs, addresses(of.watched)),
    ]  # fmt: skip
    return [*tables, EventTransactionTable()] if of.mode == "events" else tables


def addresses(texts: Sequence[str]) -> list[bytes]:
    """Return addresses of settings as bytes."""
    return [bytes.fromhex(text[2:]) for text in texts]


def bulk(chain: Chain) -> Pipeline:
    """Return what fills settled history of the chain."""
    of = chain.settings
    late = encoder(chain)
    if of.mode == "events":
        found = EventAnswers(chain.client, sorted(watched_of(of) or ()))
        return Pipeline(
            found, chain.source, late, chain.store, chunk_blocks=of.chunk_blocks * EVENT_CHUNK,
            part_blocks=EVENT_PART, prepare=late.load,
        )  # fmt: skip
    return Pipeline(chain.answers, chain.source, late, chain.store, chunk_blocks=of.chunk_blocks, prepare=late.load)


def encoder(chain: Chain) -> LateEncoder:
    """Return what turns the node's answers into rows of the chain's tables."""
    of = chain.settings
    transfers = next(each for each in chain.derived if isinstance(each, TransferTable))
    logs = next(each for each in chain.derived if isinstance(each, LogTable))
    per_log = [each for each in chain.derived if isinstance(each, VaultTable)]
    known = (TransferTable, LogTable, VaultTable, EventTransactionTable)
    assert all(isinstance(each, known) for each in chain.derived), "a table unknown to the hot path would stay empty"
    if of.mode == "events":
        return LateEncoder(partial(_event_path, chain.id, transfers, logs, per_log, level=chain.level))
    return LateEncoder(partial(_hot_path, chain.id, transfers, logs, per_log, watched_of(of), level=chain.level))


def _hot_path(*given: Any, level: Level) -> Encoder:
    from indexer.hotpath import HotPath  # noqa: PLC0415 - as late as LateEncoder says

    return HotPath(*given, level=level)


def _event_path(*given: Any, level: Level) -> Encoder:
    from indexer.eventpath import EventPath  # noqa: PLC0415 - as late as LateEncoder says

    return EventPath(*given, level=level)


def watched_of(chain: ChainSettings) -> Collection[bytes] | None:
    """Return the addresses of which alone something is stored, None for all transactions."""
    # A vault's events must not be left out of what is stored because nobody named it twice.
    return addresses((*chain.watched, *chain.vaults)) if chain.mode != "full" else None
