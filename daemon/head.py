"""Services of one chain in the head's process: what keeps the stored chain at the head."""

from collections.abc import Sequence
from functools import partial

from core.rpc import ws
from core.rpc.finality import RpcFinality
from core.service import Service
from core.store.alarm import PgAlarms
from core.store.finality import PgFinality
from core.store.vaults import PgVaults
from core.store.verified import PgVerified
from daemon.chains import Chain, addresses
from indexer.calibration import LevelWatch
from indexer.finality import FinalityWatch
from indexer.follow import Follower
from indexer.head import HeadWatch


async def watch_vaults(chain: Chain) -> None:
    """Note which vaults are watched from here on: for the head writer, before it commits a block."""
    await PgVaults(chain.pool, chain.id).watch(addresses(chain.settings.vaults))


def head_services(chain: Chain) -> Sequence[Service]:
    """Build the watch and the follower: what keeps the stored chain at the head."""
    of, name = chain.settings, chain.name
    stream = partial(ws.new_heads, of.ws, chain.id) if of.ws else None
    heads = HeadWatch(chain.source, chain.store, chain.meter, name=name, stream=stream, poll_s=of.poll_s)
    follower = Follower(
        chain.source, chain.store, heads, name=name, max_blocks=of.max_blocks, jump_blocks=of.jump_blocks
    )
    tags = RpcFinality(chain.client, safe_depth=of.safe_depth, finalized_depth=of.finalized_depth)
    finality = FinalityWatch(
        tags, PgFinality(chain.pool, chain.id), PgAlarms(chain.pool, chain.id), name=name,
        on_alarms=chain.meter.alarmed, poll_s=of.poll_s * 2,
    )  # fmt: skip
    wanted = chain.level if of.verify.mode == "auto" else None
    level = LevelWatch(PgVerified(chain.pool, chain.id), wanted, name=name, meter=chain.meter)
    return [heads, follower, finality, level]
