"""A fresh embedded server with the settings that users get, and what a job left in it."""

import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from core.store.embedded import EmbeddedPostgres
from core.store.migrate import migrate
from core.types import BlockRange
from daemon.schema import MIGRATIONS
from tests.bench.expected import Sums
from tests.bench.places import BENCH
from tests.bench.processes import cpu_s

TABLES = ("block", "transaction", "tx_hash", "address_transaction", "token_transfer", "log")

SQL_SUMS = """
    select
        (select count(*) from chain.block where number between $1 and $2) as blocks,
        t.*,
        (select count(*) from chain.log where block_number between $1 and $2) as logs,
        m.*,
        (select count(*) from chain.address_transaction where block_number between $1 and $2) as addresses
    from
        (select count(*) as txs, coalesce(sum(value), 0) as value, coalesce(sum(gas_used), 0) as gas_used,
            coalesce(sum(nonce), 0) as nonce, count(*) filter (where status = 0) as failed,
            count(contract_address) as created
        from chain.transaction where block_number between $1 and $2) t,
        (select count(*) as transfers, count(*) filter (where standard in (20, 721)) as announced,
            count(*) filter (where standard = 20) as erc20,
            coalesce(sum(amount) filter (where standard = 20), 0) as amount
        from chain.token_transfer where block_number between $1 and $2) m
"""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs: where, and the process that all its others are children of."""

    url: str
    pid: int

    def cpu_s(self) -> float:
        """CPU seconds of the whole server since its start."""
        return cpu_s(self.pid)

    async def sums(self, span: BlockRange) -> Sums:
        """Return counts and sums of what is stored of these blocks."""
        connection = await asyncpg.connect(self.url)
        try:
            row = await connection.fetchrow(SQL_SUMS, span.first, span.last)
        finally:
            await connection.close()
        assert row is not None, "an aggregate has a row"
        return Sums(**{name: int(value) for name, value in row.items()})

    async def rows(self) -> int:
        """Return how many rows the tables of facts hold."""
        connection = await asyncpg.connect(self.url)
        try:
            counts = [await connection.fetchval(f"select count(*) from chain.{table}") for table in TABLES]
        finally:
            await connection.close()
        return sum(counts)

    async def verified(self, span: BlockRange) -> int:
        """Return how many of these blocks passed all that their chain's blocks have to pass; 0 if that is nothing."""
        connection = await asyncpg.connect(self.url)
        try:
            found = await connection.fetchval(
                "select coalesce(sum(upper(part) - lower(part)), 0) from chain.chain c"
                " join chain.verified v on v.chain_id = c.chain_id and v.checks & c.checks = c.checks,"
                " unnest(v.blocks * int8multirange(int8range($1, $2, '[]'))) as part where c.checks > 0",
                span.first, span.last,
            )  # fmt: skip
        finally:
            await connection.close()
        return int(found)

    async def covered(self, span: BlockRange) -> int:
        """Return how many of these blocks are covered: stored whole."""
        connection = await asyncpg.connect(self.url)
        try:
            found = await connection.fetchval(
                "select coalesce(sum(upper(part) - lower(part)), 0) from"
                " (select blocks * int8range($1, $2, '[]') as part from chain.coverage) covered",
                span.first, span.last,
            )  # fmt: skip
        finally:
            await connection.close()
        return int(found)


@asynccontextmanager
async def fresh_server(*, migrated: bool = True) -> AsyncIterator[Server]:
    """Run a server on an empty data directory on disk, with the durability that users get; it is removed afterwards."""
    BENCH.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir=BENCH))
    try:
        async with EmbeddedPostgres(folder / "data") as server:
            if migrated:
                await migrate(server.url(), MIGRATIONS)
            yield Server(server.url(), server.pid)
    finally:
        # For root the server's account may not enter this folder: then its data lies elsewhere, and this says where.
        elsewhere = folder / "data" / "cluster.path"
        if elsewhere.exists():
            shutil.rmtree(elsewhere.read_text().strip(), ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)
