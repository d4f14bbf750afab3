"""Services of one chain: built once its node has said which chain it is."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from core.errors import BadConfig, WrongChain
from core.metered import MeteredSource, MeteredStore
from core.metrics import ChainMetrics, Metrics
from core.rpc import ws
from core.rpc.caller import RpcCaller
from core.rpc.client import RpcClient
from core.rpc.finality import RpcFinality
from core.rpc.logs import RpcLogs
from core.rpc.source import RpcSource, chain_id
from core.service import Service, supervise
from core.settings import ChainSettings
from core.store.derived import Derived
from core.store.finality import PgFinality
from core.store.pg import PgStore
from core.store.pool import Pool
from core.store.tokens import PgTokens
from core.store.vaults import PgVaults
from core.types import Block, Log
from indexer.backfill import Backfill, WantedRange
from indexer.decode.tables import LogTable, TransferTable, VaultTable
from indexer.finality import FinalityWatch
from indexer.follow import Follower
from indexer.head import HeadWatch
from indexer.tokens import Tokens
from indexer.vaults import VaultScan

log = logging.getLogger(__name__)

Build = Callable[["ChainServices", MeteredSource, MeteredStore, int], Sequence[Service]]


class ChainServices:
    """Connects to one chain's node, checks its identity, then supervises what `build` makes (a Service).

    `history` adds what belongs beside backfill, because it asks a lot and hurries nobody: the reader of token metadata
    and the second look at vaults. Without it the finality of blocks is watched instead.
    """

    def __init__(
        self,
        name: str,
        chain: ChainSettings,
        pool: Pool,
        metrics: Metrics,
        build: Build,
        *,
        history: bool = False,
        on_start: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.name = f"chain.{name}"
        self.chain_name = name
        self.chain = chain
        self.metrics = metrics
        self._pool = pool
        self._build = build
        self._history = history
        self._on_start = on_start

    async def run(self) -> None:
        """Run for ever; raises WrongChain when node, settings and database disagree about the chain."""
        if not self.chain.http:
            raise BadConfig(f"chains.{self.chain_name}.http: no URL of a node; set it, or {'CHAINWORKD_RPC_URL'}")
        async with RpcClient(self.chain.http, deadline_s=self.chain.deadline_s) as client:
            found = await self._identify(client)
            meter = self.metrics.for_chain(self.chain_name)
            store = PgStore(self._pool, found, derived=self._tables(meter))
            genesis = await RpcSource(client, found).ref_at(0)
            genesis_hash = None if genesis is None else genesis.hash
            await store.register(self.chain_name, genesis_hash)
            source = RpcSource(client, found, genesis_hash=genesis_hash, batch_blocks=self.chain.batch_blocks)
            log.info("following", extra={"chain": self.chain_name, "chain_id": found, "node": client.host})
            services = [*self._build(self, MeteredSource(source, meter), MeteredStore(store, meter), found)]
            services += self._behind(client, found) if self._history else await self._ahead(client, found)
            if self._on_start is not None:
                await self._on_start()
            await supervise(services, self.metrics)

    def _behind(self, client: RpcClient, found: int) -> Sequence[Service]:
        vaults = PgVaults(self._pool, found)
        return [
            Tokens(RpcCaller(client), PgTokens(self._pool, found), name=self.chain_name),
            VaultScan(RpcLogs(client), vaults, found, _addresses(self.chain.vaults), name=self.chain_name),
        ]

    async def _ahead(self, client: RpcClient, found: int) -> Sequence[Service]:
        await PgVaults(self._pool, found).watch(_addresses(self.chain.vaults))
        source = RpcFinality(client, safe_depth=self.chain.safe_depth, finalized_depth=self.chain.finalized_depth)
        store = PgFinality(self._pool, found)
        return [FinalityWatch(source, store, name=self.chain_name, poll_s=self.chain.poll_s * 2)]

    def _tables(self, meter: ChainMetrics) -> Sequence[Derived]:
        """Return the tables that this chain's blocks imply. A malformed log is counted and named, once, at debug."""

        def malformed(block: Block, event: Log, why: str) -> None:
            meter.malformed()
            log.debug("malformed log", extra={"block": block.number, "log": event.index, "why": why})

        logs = LogTable(self.chain.logs, _addresses(self.chain.watched))
        return [TransferTable(malformed), VaultTable(_addresses(self.chain.vaults), malformed), logs]

    async def _identify(self, client: RpcClient) -> int:
        found = await chain_id(client)
        if self.chain.chain_id not in (0, found):
            raise WrongChain(
                f"chains.{self.chain_name}: {client.host} serves chain {found}, configured is {self.chain.chain_id}"
            )
        return found


def _addresses(texts: Sequence[str]) -> list[bytes]:
    return [bytes.fromhex(text[2:]) for text in texts]


def head_services(of: ChainServices, source: MeteredSource, store: MeteredStore, found: int) -> Sequence[Service]:
    """Build the watch and the follower: what keeps the stored chain at the head."""
    chain, name = of.chain, of.chain_name
    stream = partial(ws.new_heads, chain.ws, found) if chain.ws else None
    heads = HeadWatch(source, store, of.metrics.for_chain(name), name=name, stream=stream, poll_s=chain.poll_s)
    follower = Follower(source, store, heads, name=name, max_blocks=chain.max_blocks, jump_blocks=chain.jump_blocks)
    return [heads, follower]


def backfill_services(of: ChainServices, source: MeteredSource, store: MeteredStore, _: int) -> Sequence[Service]:
    """Build what fills the holes behind the head."""
    wanted = [WantedRange(span.first, span.last) for span in of.chain.backfill]
    return [Backfill(source, store, wanted, name=of.chain_name, chunk_blocks=of.chain.chunk_blocks)]
