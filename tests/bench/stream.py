"""How late a fact is: `make bench-stream` prints one JSON object per number of readers.

PostgreSQL is the embedded one as users get it, with durable commits; the API is a process of its own. Measured in this
process, by one clock: from the moment at which COMMIT was answered, and from the one at which the head's commit of one
block of 100 transactions began, to the moment at which a reader has the line of Server-Sent Events.
"""

import asyncio
import contextlib
import json
import os
import re
import statistics
import sys
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp

from accounts import tokens
from core.store.embedded import EmbeddedPostgres
from core.store.migrate import migrate
from core.store.pg import PgStore
from core.store.pool import Pool, open_pool
from core.store.schema import scratch_folder
from core.types import Block
from daemon.schema import MIGRATIONS
from tests import make

COMMITS = int(os.environ.get("BENCH_COMMITS", "500"))
READERS = (1, 100)
PAUSE_S = 0.02  # between commits: a head's blocks come one by one


class Timed(PgStore):
    """Notes when each commit began and when it was answered."""

    began = answered = 0.0

    async def _commit(self, *given: Any, **named: Any) -> None:
        self.began = time.perf_counter()
        await super()._commit(*given, **named)
        self.answered = time.perf_counter()


@contextlib.asynccontextmanager
async def api(url: str) -> AsyncIterator[str]:
    """`chainworkd run api` on that database; yields where it listens."""
    env = {
        "PATH": os.environ["PATH"], "CHAINWORKD_DATABASE__URL": url, "CHAINWORKD_API__PORT": "0",
        "CHAINWORKD_OPS__API_PORT": "0", "CHAINWORKD_LOG__STYLE": "json",
    }  # fmt: skip
    command = (str(Path(sys.executable).with_name("chainworkd")), "run", "api")
    process = await asyncio.create_subprocess_exec(*command, env=env, stderr=asyncio.subprocess.PIPE)
    assert process.stderr is not None
    try:
        async for line in process.stderr:
            if b'"face": "api"' in line or b'"face":"api"' in line:
                yield str(json.loads(line)["url"])
                return
        raise RuntimeError("the API ended before it listened")
    finally:
        process.terminate()
        await process.wait()


async def read(answer: aiohttp.ClientResponse, seen: dict[int, float]) -> None:
    """Note when each fact arrived."""
    async for line in answer.content:
        if found := re.match(rb"id: (\d+)", line):
            seen.setdefault(int(found[1]), time.perf_counter())


async def measure(url: str, key: str, store: Timed, blocks: list[Block], readers: int) -> dict[str, object]:
    """Commit `blocks` one by one while `readers` read; one of them is looked at."""
    seen: dict[int, float] = {}
    headers = {"authorization": f"Bearer {key}"}
    begun, answered = [], []
    async with contextlib.AsyncExitStack() as stack:
        session = await stack.enter_async_context(
            aiohttp.ClientSession(
                headers=headers, connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout()
            )
        )
        tasks = []
        for number in range(readers):
            answer = await stack.enter_async_context(session.get(f"{url}/stream"))
            assert answer.status == 200, await answer.text()
            tasks.append(asyncio.create_task(read(answer, seen if number == 0 else {})))
        await asyncio.sleep(1.0)
        first = max(seen)
        for place, (below, block) in enumerate(pairwise(blocks), 1):
            await store.commit([block], after=below.ref)
            begun.append((first + place, store.began))
            answered.append((first + place, store.answered))
            await asyncio.sleep(PAUSE_S)
        await asyncio.sleep(0.5)
        for task in tasks:
            task.cancel()
    return {
        "readers": readers, "facts": len(begun), "received": len([seq for seq, _ in begun if seq in seen]),
        "from_commit_answered_ms": _spread(seen, answered), "from_commit_begun_ms": _spread(seen, begun),
    }  # fmt: skip


def _spread(seen: dict[int, float], since: list[tuple[int, float]]) -> dict[str, float]:
    found = sorted((seen[seq] - at) * 1_000 for seq, at in since if seq in seen)
    cuts = statistics.quantiles(found, n=100)
    return {"p50": round(cuts[49], 2), "p99": round(cuts[98], 2), "max": round(found[-1], 2)}


async def main() -> None:
    """Set up, measure, print."""
    with scratch_folder() as folder:
        async with EmbeddedPostgres(folder / "data") as server:
            url = server.url()
            await migrate(url, MIGRATIONS)
            async with open_pool(url) as owner, open_pool(url, role="chainworkd_indexer") as pool:
                key = await tokens.issue(owner, "bench")
                await _measured(pool, url, key)


async def _measured(pool: Pool, database: str, key: str) -> None:
    store = Timed(pool, 1)
    await store.register("bench", None)
    chain = make.chain(COMMITS * len(READERS) + 2, txs=100)
    await store.commit(chain[:1], after=None)
    async with api(database) as url:
        at = 0
        for readers in READERS:
            blocks = chain[at : at + COMMITS + 1]
            print(json.dumps(await measure(url, key, store, blocks, readers)), flush=True)
            at += len(blocks) - 1


if __name__ == "__main__":
    asyncio.run(main())
