"""Services of one chain in the backfill process: what fills, reads and prunes history."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final

from core.chores import Chore, Chores
from core.rpc.caller import RpcCaller
from core.rpc.logs import RpcLogs
from core.rpc.source import finalized
from core.service import Service
from core.settings import token_overrides
from core.store.deposit_counts import PgDepositCounts
from core.store.facts import PgFacts
from core.store.lease import PgLeases
from core.store.prune import Pruner
from core.store.space import Free, Room, note_paused
from core.store.tokens import PgTokens
from core.store.vaults import PgVaults
from core.store.verified import PgVerified
from daemon.chains import Chain, addresses, bulk, second_look
from daemon.reindex import counts_of
from indexer.backfill import Backfill, WantedRange
from indexer.recheck import Recheck
from indexer.retention import FactRetention, Retention
from indexer.sealing import Sealing
from indexer.tokens import Override, Tokens
from indexer.vaults import VaultScan

EXPIRE_EVERY: Final = timedelta(minutes=10)
PRUNE_EVERY: Final = timedelta(minutes=1)
PRUNE_FACTS_EVERY: Final = timedelta(minutes=10)
FORGET_EVERY: Final = timedelta(hours=1)
EXPIRE_AT_ONCE: Final = 500  # tokens read again per chore: a few Multicall3 requests a minute


@dataclass(frozen=True, slots=True)
class Disk:
    """What measures the room on the database's disk, and the bytes that backfill leaves free."""

    free: Free
    least: int


def backfill_services(chain: Chain, *, disk: Disk) -> Sequence[Service]:
    """Build what fills the holes behind the head, and what reads tokens and vaults: it hurries nobody."""
    of, name = chain.settings, chain.name
    wanted = [WantedRange(span.first, span.last) for span in of.backfill]
    known = PgTokens(chain.pool, chain.id)
    overrides = {
        address: Override(better.symbol, better.name, better.decimals)
        for address, better in token_overrides(of.token_overrides).items()
    }
    vaults = addresses(of.vaults)
    refresh = partial(known.expire, timedelta(days=of.token_refresh_days), EXPIRE_AT_ONCE)
    facts = FactRetention(PgFacts(chain.pool, chain.id), name=name, days=of.retain_facts_days)
    verified = PgVerified(chain.pool, chain.id)
    chores = [
        Chore(f"{name}: read old tokens again", EXPIRE_EVERY, refresh),
        Chore(f"{name}: prune facts", PRUNE_FACTS_EVERY, facts.prune),
        Chore(f"{name}: forget what left quarantine", FORGET_EVERY, verified.forget_resolved),
    ]
    if of.retain_blocks:
        chores.append(Chore(f"{name}: prune", PRUNE_EVERY, _retention(chain).prune))
    return [
        Backfill(
            chain.source, chain.store, wanted, name=name, chunk_blocks=of.chunk_blocks,
            retain_blocks=of.retain_blocks, gate=_gate(chain, disk), bulk=bulk(chain),
            leases=PgLeases(chain.pool, chain.id), beat=chain.beat,
        ),
        Tokens(RpcCaller(chain.client), known, name=name, overrides=overrides),
        VaultScan(RpcLogs(chain.client), PgVaults(chain.pool, chain.id), chain.id, vaults, name=name),
        Chores(chores, name=name),
        Sealing(counts_of(chain.pool, chain.id), name=name, on_share=chain.meter.sealed),
        Sealing(PgDepositCounts(chain.pool, chain.id), name=f"{name}.deposits", on_share=chain.meter.deposits_sealed),
        *_verification(chain),
    ]  # fmt: skip


def _verification(chain: Chain) -> Sequence[Service]:
    """Return what finds out what blocks have to pass, and what looks at stored ones again."""
    of = chain.settings.verify
    if chain.calibrator is None:
        return []
    if not of.recheck_blocks_per_hour:
        return [chain.calibrator]
    recheck = Recheck(
        second_look(chain), PgVerified(chain.pool, chain.id), chain.level, name=chain.name,
        blocks_per_hour=of.recheck_blocks_per_hour, on_rechecked=chain.meter.rechecked,
    )  # fmt: skip
    return [chain.calibrator, recheck]


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
