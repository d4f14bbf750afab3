"""Subsquid's evm-processor with its TypeORM store: handlers in JavaScript, rows in PostgreSQL; ends with its range."""

from dataclasses import replace
from pathlib import Path

from tests.bench.database import fresh_server
from tests.bench.expected import Sums
from tests.bench.peers import javascript
from tests.bench.peers.peer import Cost, Work, step

PROJECT = "squid"


class Subsquid:
    """By JSON-RPC alone: its fast path, a data lake of public chains, has no fixture of ours."""

    name = "subsquid"
    version = "1.27.3"
    job = "events"

    async def install(self, home: Path) -> None:
        """Install from npm."""
        await javascript.npm_project(home, PROJECT)

    async def run(self, home: Path, work: Work) -> tuple[Cost, Sums]:
        """Fill both tables from the range."""
        async with fresh_server(migrated=False) as server:
            await javascript.command(server, (javascript.PROJECTS / PROJECT / "schema.sql").read_text())
            at = javascript.login(server)
            env = javascript.environment(
                work, DB_HOST=at["host"], DB_PORT=at["port"], DB_NAME=at["database"], DB_USER=at["user"],
                DB_PASS=at["password"], SQD_LOG_LEVEL="WARN",
            )  # fmt: skip
            before = server.cpu_s()
            cost = await step(["node", home / "main.js"], work.folder, env, cwd=home)
            return replace(cost, pg_cpu_s=server.cpu_s() - before), await javascript.sums(server, "public")
