"""Services of one chain in the head's process: what keeps the stored chain at the head."""

from collections.abc import Sequence
from functools import partial

from core.metered import MeteredAnswers
from core.rpc import ws
from core.rpc.finality import RpcFinality
from core.rpc.panel import HeadPanel
from core.service import Service
from core.store.alarm import PgAlarms
from core.store.finality import PgFinality
from core.store.vaults import PgVaults
from core.store.verified import PgVerified
from daemon.chains import Chain, addresses, encoder
from indexer.calibration import LevelWatch
from indexer.encoded import EncodedHead
from indexer.finality import FinalityWatch
from indexer.follow import Follower
from indexer.head import HeadWatch
from indexer.watchdog import Watchdog


async def watch_vaults(chain: Chain) -> None:
    """Note which vaults are watched from here on: for the head writer, before it commits a block."""
    await PgVaults(chain.pool, chain.id).watch(addresses(chain.settings.vaults))


def head_services(chain: Chain) -> Sequence[Service]:
    """Build the watch, the follower and what they need: what keeps the stored chain at the head."""
    of, name = chain.settings, chain.name
    streams = [partial(ws.new_heads, url, chain.id) for url in of.ws if url]
    several = len(of.endpoints) > 1 and of.agree_s > 0
    panels = [HeadPanel(chain.client, chain.meter, name=name, agree_s=of.agree_s, look_s=of.poll_s * 2)] * several
    heads = HeadWatch(
        chain.source, chain.store, chain.meter, name=name, streams=streams, agreement=next(iter(panels), None),
        poll_s=of.poll_s,
    )  # fmt: skip
    # Events are read from their own answers, in which the head is not asked.
    encoded = None if of.mode == "events" else EncodedHead(
        MeteredAnswers(chain.answers, chain.meter), encoder(chain), chain.store, name=name
    )  # fmt: skip
    follower = Follower(
        chain.source, chain.store, heads, name=name, max_blocks=of.max_blocks, jump_blocks=of.jump_blocks,
        encoded=encoded,
    )  # fmt: skip
    tags = RpcFinality(chain.client, safe_depth=of.safe_depth, finalized_depth=of.finalized_depth)
    finality = FinalityWatch(
        tags, PgFinality(chain.pool, chain.id), PgAlarms(chain.pool, chain.id), name=name,
        on_alarms=chain.meter.alarmed, poll_s=of.poll_s * 2,
    )  # fmt: skip
    wanted = chain.level if of.verify.mode == "auto" else None
    verified = PgVerified(chain.pool, chain.id)
    level = LevelWatch(verified, wanted, name=name, meter=chain.meter)
    watchdog = Watchdog(chain.source, chain.store, heads, verified, chain.meter, name=name, beat=chain.beat)
    return [heads, follower, finality, watchdog, level, *panels, *([encoded] if encoded else ())]
