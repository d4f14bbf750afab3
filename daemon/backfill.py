"""`chainworkd backfill`: fill a range of settled history now, and show how it goes."""

import argparse
import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import dataclass
from typing import Final

import msgspec
from tqdm import tqdm

from core.errors import BadAnswer, BadConfig, RpcRefused, Transient
from core.metrics import Metrics
from core.rpc.memory import EndpointMemory
from core.rpc.source import finalized
from core.settings import ChainSettings, Settings
from core.store.endpoints import PgLearned
from core.store.lease import Leases, PgLeases
from core.store.migrate import migrate
from core.store.pool import open_pool
from core.types import BlockRange
from daemon.chains import Chain, bulk, endpoints, introduced
from daemon.database import existing_database
from daemon.schema import MIGRATIONS
from daemon.terminal import say
from indexer.backfill import Backfill, WantedRange
from indexer.pipeline import Pipeline, Progress
from indexer.plan import holes

log = logging.getLogger(__name__)

LOOK_S: Final = 0.5  # between two looks at the progress, on a terminal
LINE_S: Final = 5.0  # and between two lines elsewhere
PAUSES_S: Final = (1, 2, 5, 10, 20)  # after failures in a row without a block between them
WAITING: Final = {"node": "waiting for the node", "decode": "decoding", "database": "waiting for the database"}


class Report(msgspec.Struct):
    """What `chainworkd backfill --json` prints at the end; `limit` is what bounded the speed."""

    chain: str
    chain_id: int
    first: int
    last: int
    complete: bool
    blocks: int
    txs: int
    rows: int
    careful_blocks: int
    answer_bytes: int
    seconds: float
    blocks_per_s: float
    txs_per_s: float
    limit: str


@dataclass(frozen=True, slots=True)
class Job:
    """A range of one chain to fill."""

    chain: Chain
    pipeline: Pipeline
    wanted: BlockRange
    horizon: int
    leases: Leases
    begun: int = 0  # blocks that gave an empty database its cursor

    async def missing(self) -> int:
        """Return how many blocks of the range are not stored."""
        return sum(map(len, holes(await self.chain.store.coverage(), [self.wanted])))


async def run(settings: Settings, arguments: argparse.Namespace) -> int | None:
    """Fill the range; exit 1 if the node could not serve all of it."""
    name, of = chosen(settings, arguments.chain)
    async with _job(settings, name, of, arguments.first, arguments.last) as job:
        clock = asyncio.get_running_loop().time
        missing, started = await job.missing() + job.begun, clock()
        async with asyncio.TaskGroup() as group:
            shown = group.create_task(_show(job, missing, terminal=sys.stderr.isatty()), name="progress")
            await _fill(job)
            shown.cancel()
        report = _report(job, missing, await job.missing(), clock() - started)
    if arguments.json:
        say(msgspec.json.encode(report).decode())
    else:
        say(_summary(report))
    return 0 if report.complete else 1


def chosen(settings: Settings, asked: str) -> tuple[str, ChainSettings]:
    """Return the chain that --chain names. Raises BadConfig if it is not configured."""
    name = asked or settings.explorer_chain
    if name not in settings.chains:
        known = ", ".join(settings.chains) or "none: set CHAINWORKD_RPC_URL"
        raise BadConfig(f"--chain {name!r}: not configured; there are {known}")
    return name, settings.chains[name]


@asynccontextmanager
async def _job(settings: Settings, name: str, of: ChainSettings, first: int, last: int | None) -> AsyncIterator[Job]:
    metrics = Metrics()
    nodes = endpoints(name, of, metrics)
    async with existing_database(settings, start=True) as url:
        await migrate(url, MIGRATIONS)
        size = settings.database.indexer_connections
        async with (
            open_pool(url, role="chainworkd_indexer", size=size) as pool,
            nodes as client,
        ):
            chain = await introduced(name, of, client, pool, metrics)
            settled = await _settled(chain)
            if first > (settled if last is None else last):
                raise BadConfig(f"--from {first}: above the last block, {settled if last is None else last}")
            if last is not None and last > settled:
                raise BadConfig(f"--to {last}: the node calls blocks up to {settled} finalized; `run` follows the rest")
            wanted = BlockRange(first, settled if last is None else last)
            pipeline = bulk(chain)
            begun = await _begin(chain, wanted, pipeline)
            memory = EndpointMemory(client, PgLearned(pool, chain.id), name=name)
            await memory.recall()
            async with asyncio.TaskGroup() as group:
                remembering = group.create_task(memory.run(), name="endpoint memory")
                yield Job(chain, pipeline, wanted, settled, PgLeases(pool, chain.id), begun)
                remembering.cancel()


async def _begin(chain: Chain, wanted: BlockRange, pipeline: Pipeline) -> int:
    """Put the cursor at the top of what is wanted, unless a head was ever followed: readers look up from it.

    Return how many blocks that stored. `run` goes on from there.
    """
    cursor = await chain.store.cursor()
    if cursor is not None and (cursor.number >= wanted.last or await _followed(chain)):
        return 0
    blocks = await chain.source.blocks(BlockRange(wanted.last, wanted.last))
    if not blocks:
        raise BadAnswer(f"{chain.client.host}: has no block {wanted.last}")
    await chain.store.begin(blocks[0], after=cursor)
    pipeline.progress.careful(1, len(blocks[0].txs))
    return 1


async def _followed(chain: Chain) -> bool:
    return await chain.store.followed_from() is not None


async def _settled(chain: Chain) -> int:
    """Return the highest block that no reorg is expected to reach; at most the cursor, if `run` owns it."""
    known = await finalized(chain.client)
    if known is None:
        head = await chain.source.head()
        known = max(0, head.ref.number - chain.settings.finalized_depth)
    cursor = await chain.store.cursor()
    return min(known, cursor.number) if cursor is not None and await _followed(chain) else known


async def _fill(job: Job) -> None:
    """Fill until nothing is missing, or the node answers and cannot serve what is.

    Raises the last other error when trying again has not brought a single block.
    """
    wanted = WantedRange(job.wanted.first, job.wanted.last)

    async def horizon() -> int:
        return job.horizon

    filling = Backfill(
        job.chain.source, job.chain.store, [wanted], name=job.chain.name, settled_blocks=0, bulk=job.pipeline,
        leases=job.leases, chunk_blocks=job.chain.settings.chunk_blocks, horizon=horizon, jumps=False,
    )  # fmt: skip
    failures, before = 0, 0
    while True:
        try:
            if not await filling.step() and not await _others_are_at_it(job):
                return
        except Transient as error:
            failures = 0 if job.pipeline.progress.blocks > before else failures + 1
            before = job.pipeline.progress.blocks
            if failures >= len(PAUSES_S) and isinstance(error, BadAnswer | RpcRefused):
                log.error("the node cannot serve the rest", extra={"error": str(error)})
                return
            if failures >= len(PAUSES_S):
                raise
            log.warning("trying again", extra={"error": str(error), "pause_s": PAUSES_S[failures]})
            await asyncio.sleep(PAUSES_S[failures])


async def _others_are_at_it(job: Job) -> bool:
    """Wait a moment, and return True, while other processes fill what is missing."""
    held = await job.leases.taken()
    ours = any(span.first <= job.wanted.last and job.wanted.first <= span.last for span in held)
    if not ours or not await job.missing():
        return False
    await asyncio.sleep(LOOK_S)
    return True


async def _show(job: Job, missing: int, *, terminal: bool) -> None:
    """Show the progress until cancelled: a bar on a terminal, lines elsewhere."""
    bar = tqdm(
        total=len(job.wanted), initial=len(job.wanted) - missing, unit=" blocks", disable=not terminal,
        smoothing=0.1, dynamic_ncols=True, desc=f"{job.chain.name} {job.wanted}",
    )  # fmt: skip
    clock = asyncio.get_running_loop().time
    before, since = copy(job.pipeline.progress), clock()
    with bar:
        while True:
            await asyncio.sleep(LOOK_S if terminal else LINE_S)
            now, at = copy(job.pipeline.progress), clock()
            txs_per_s = (now.txs - before.txs) / (at - since)
            waiting = WAITING[now.limit(before)]
            bar.set_postfix_str(f"{txs_per_s:,.0f} tx/s, {now.in_flight} requests, {waiting}", refresh=False)
            bar.update(now.blocks - before.blocks)
            if not terminal:
                _line(now, before, missing, at - since, waiting)
            before, since = now, at


def _line(now: Progress, before: Progress, missing: int, seconds: float, waiting: str) -> None:
    blocks_per_s = (now.blocks - before.blocks) / seconds
    left = missing - now.blocks
    log.info(
        "filling",
        extra={
            "blocks": now.blocks, "left": left, "blocks_per_s": round(blocks_per_s),
            "txs_per_s": round((now.txs - before.txs) / seconds), "requests": now.in_flight, "limit": waiting,
            "eta_s": round(left / blocks_per_s) if blocks_per_s else None,
        },
    )  # fmt: skip


def _report(job: Job, missing: int, left: int, seconds: float) -> Report:
    done = job.pipeline.progress
    blocks = missing - left
    return Report(
        chain=job.chain.name, chain_id=job.chain.id, first=job.wanted.first, last=job.wanted.last, complete=not left,
        blocks=blocks, txs=done.txs, rows=done.rows, careful_blocks=done.careful_blocks,
        answer_bytes=done.answer_bytes, seconds=round(seconds, 3), blocks_per_s=round(blocks / seconds, 1),
        txs_per_s=round(done.txs / seconds, 1), limit=done.limit(Progress()),
    )  # fmt: skip


def _summary(report: Report) -> str:
    state = "all of it is stored" if report.complete else "NOT all of it could be had; the log says what and why"
    return (
        f"{report.chain} {report.first}..{report.last}: {report.blocks} blocks, {report.txs} transactions in "
        f"{report.seconds:.1f} s ({report.blocks_per_s:,.0f} blocks/s, {report.txs_per_s:,.0f} tx/s); {state}"
    )
