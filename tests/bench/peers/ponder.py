"""Ponder on PostgreSQL: handlers in TypeScript, a cache of what it fetched beside the rows; it never ends by itself."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import quote

import asyncpg

from tests.bench.database import Server, fresh_server
from tests.bench.expected import Sums
from tests.bench.peers import javascript
from tests.bench.peers.peer import STEP_S, Cost, PeerFailed, Work, started
from tests.bench.processes import cpu_s, watched

PROJECT = "ponder"
SCHEMA = "bench"
LOOK_S = 0.2
# Requests a second that its client begins with and grows to. As shipped it starts at 20 and finds its way up, which
# measures the rate limiter; against a node of one's own a user would lift it, and there is no setting for that.
LIMITS = {"const INITIAL_MAX_RPS = 20;": "const INITIAL_MAX_RPS = 1e6;", "const MAX_RPS = 500;": "const MAX_RPS = 1e6;"}


class Ponder:
    """Its rate limiter is lifted when it is installed: two constants in its own files."""

    name = "ponder"
    version = "0.16.10"
    job = "events"

    async def install(self, home: Path) -> None:
        """Install from npm and lift the limit."""
        await javascript.npm_project(home, PROJECT)
        for file in (home / "node_modules/ponder").glob("dist/esm/rpc/index.js"):
            file.write_text(_lifted(file.read_text()))

    async def run(self, home: Path, work: Work) -> tuple[Cost, Sums]:
        """Fill both tables from the range; done is when the last block's row can be read."""
        async with fresh_server(migrated=False) as server:
            at = {name: quote(value, safe="") for name, value in javascript.login(server).items()}
            url = f"postgresql://{at['user']}:{at['password']}@{at['host']}:{at['port']}/{at['database']}"
            env = javascript.environment(
                work, DATABASE_URL=url, PONDER_TELEMETRY_DISABLED="true", DO_NOT_TRACK="1", NODE_ENV="production"
            )
            command: list[str | Path] = [
                home / "node_modules/.bin/ponder", "start", "--schema", SCHEMA, "--port", "0", "--hostname",
                "127.0.0.1", "--log-level", "warn",
            ]  # fmt: skip
            before, begun = server.cpu_s(), time.monotonic()
            async with started(command, work.folder, env, cwd=home) as (process, log), watched(process.pid) as peak:
                await _until(lambda: _filled(server, work), process, log)
                wall_s, spent = time.monotonic() - begun, cpu_s(process.pid)
                pg_cpu_s = server.cpu_s() - before
                os.killpg(process.pid, signal.SIGTERM)
                await process.wait()
            cost = Cost(wall_s=wall_s, cpu_s=spent, peak=peak, pg_cpu_s=pg_cpu_s)
            return cost, await javascript.sums(server, SCHEMA)


def _lifted(text: str) -> str:
    for shipped, ours in LIMITS.items():
        if shipped not in text and ours not in text:
            raise PeerFailed(f"ponder: {shipped!r} is not in its client any more")
        text = text.replace(shipped, ours)
    return text


async def _until(done: Callable[[], Awaitable[bool]], process: asyncio.subprocess.Process, log: Path) -> None:
    async with asyncio.timeout(STEP_S):
        while not await done():
            if process.returncode is not None:
                said = await asyncio.to_thread(log.read_text)
                raise PeerFailed(f"ponder ended with {process.returncode}: {said[-2000:]}")
            await asyncio.sleep(LOOK_S)


async def _filled(server: Server, work: Work) -> bool:
    """Whether the checkpoint is at the last block: it is written in the transaction of the rows."""
    connection = await asyncpg.connect(server.url, server_settings={"search_path": SCHEMA})
    try:
        return bool(await connection.fetchval("select max(number) = $1 from block", work.span.last))
    except asyncpg.UndefinedTableError:
        return False
    finally:
        await connection.close()
