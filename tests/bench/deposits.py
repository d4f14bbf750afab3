"""What totals of vault deposits cost: `make bench-deposits` prints JSON.

PostgreSQL is the embedded one with the settings users get. DEPOSITS deposits, one each third block, for PAIRS pairs of
resolver and token, and ORPHANS orphaned ones are made by PostgreSQL itself (generate_series): what is measured is
reading and sealing. `one_by_one` are the statements that read every deposit, `sums_ms` those that answers use instead,
`answer_ms` all that an answer reads. The fastest of some rounds, and the median.
"""

import asyncio
import json
import os
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg

from core.store.deposit_counts import CURRENT, Asked, PgDepositCounts, sums
from core.store.deposits import (
    MAX_TOTALS,
    SQL_COUNT,
    SQL_ORPHANS,
    SQL_PLAN_EACH,
    SQL_TOTALS,
    DepositFilter,
    Deposits,
    DepositWindow,
    Standing,
)
from core.store.embedded import EmbeddedPostgres
from core.store.migrate import migrate
from core.store.pool import Connection, Pool, open_pool
from core.store.reader import snapshot
from core.store.schema import scratch_folder
from daemon.schema import MIGRATIONS
from indexer.sealing import Sealing

CHAIN = 31_337
ROUNDS = 15
VAULT = b"\x77" * 20
EVERY = 3  # blocks from deposit to deposit
RESOLVERS = 4  # to a token

SQL_SETUP = """
    select chain.ensure_partitions(0, $1)
"""
SQL_BLOCK = """
    insert into chain.block
        (chain_id, number, block_time, size, tx_count, hash, parent_hash, miner, state_root, transactions_root,
        receipts_root, uncles_hash, logs_bloom, extra_data, difficulty, gas_limit, gas_used, uncles)
    select $1, $2, timestamptz '2026-01-01', 5000, 0, z.h, z.h, decode(repeat('11', 20), 'hex'), z.h, z.h, z.h, z.h,
        decode(repeat('00', 256), 'hex'), ''::bytea, 0, 30000000, 0, array[]::bytea[]
    from (select decode(repeat('22', 32), 'hex') as h) z
"""
SQL_CURSOR = "insert into chain.cursor (chain_id, number, hash) select $1, $2, decode(repeat('22', 32), 'hex')"
SQL_HEAD = """
    insert into chain.head (chain_id, number, hash, block_time, seen_at, safe_number, finalized_number)
    values ($1, $2::bigint, decode(repeat('22', 32), 'hex'), now(), now(), $2::bigint - 32, $2::bigint - 64)
"""
SQL_COVERAGE = "insert into chain.coverage (chain_id, blocks) values ($1, int8range(0, $2::bigint + 1))"
SQL_WATCHED = """
    insert into chain.watched_vault (chain_id, vault, watched_from) values ($1, decode(repeat('77', 20), 'hex'), 0)
"""
# $2 first block, $3 how many, $4 pairs, $5 blocks from one to the next, $6 resolvers.
SQL_DEPOSITS = """
    insert into chain.vault_event
        (chain_id, block_number, log_index, tx_index, generation, block_time, kind, block_hash, tx_hash, vault,
        account, token, resolver, amount, nonce)
    select $1, $2::bigint + n * $5::bigint, 0, 0, 3, timestamptz '2026-01-01', 'deposit',
        sha256(convert_to('b' || n, 'UTF8')), sha256(convert_to('t' || n, 'UTF8')), decode(repeat('77', 20), 'hex'),
        substr(sha256(convert_to('a' || n % 50000, 'UTF8')), 1, 20),
        substr(sha256(convert_to('k' || p / $6::integer, 'UTF8')), 1, 20),
        substr(sha256(convert_to('r' || p % $6::integer, 'UTF8')), 1, 20), 1000000000000000000 + n, n
    from (
        select n, abs(hashint8(n)::bigint) % $4::bigint as p from generate_series(0, $3::bigint - 1) as n
    ) as k
"""
SQL_ORPHANED = """
    insert into chain.orphan_vault_event
    select now(), chain_id, block_number, 1, tx_index, generation, block_time, kind, sha256(block_hash), tx_hash, vault,
        account, token, resolver, implementation, amount, nonce
    from chain.vault_event where chain_id = $1 order by block_number desc limit $2
"""
SQL_REORG = """
    insert into chain.reorg (chain_id, detected_at, ancestor_number, orphan_number, orphan_hash, reason)
    values ($1, now(), $2::bigint, $2::bigint + 1, decode(repeat('33', 32), 'hex'), 'bench')
"""


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is, from block `first` on."""

    deposits: int = 1_000_000
    pairs: int = 12
    orphans: int = 10_000
    first: int = 20_000_000

    @property
    def last(self) -> int:
        """The newest block."""
        return self.first + self.deposits * EVERY


async def fill(url: str, size: Size) -> None:
    """Make the rows."""
    connection = await asyncpg.connect(url)
    try:
        await connection.fetchval(SQL_SETUP, size.last)
        for sql in (SQL_BLOCK, SQL_CURSOR, SQL_HEAD, SQL_COVERAGE):
            await connection.execute(sql, CHAIN, size.last)
        await connection.execute(SQL_WATCHED, CHAIN)
        given = (CHAIN, size.first, size.deposits, size.pairs, EVERY, RESOLVERS)
        await connection.execute(SQL_DEPOSITS, *given, timeout=600)
        await connection.execute("vacuum analyze", timeout=600)
    finally:
        await connection.close()


async def orphan(url: str, size: Size) -> None:
    """Add orphaned deposits."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(SQL_ORPHANED, CHAIN, size.orphans)
        await connection.execute(SQL_REORG, CHAIN, size.last)
        await connection.execute("vacuum analyze chain.orphan_vault_event")
    finally:
        await connection.close()


async def ms(ask: Callable[[], Awaitable[object]], rounds: int = ROUNDS) -> dict[str, float]:
    """Return the fastest and the median of some rounds, in milliseconds."""
    taken = []
    for _ in range(rounds):
        started = time.perf_counter()
        await ask()
        taken.append((time.perf_counter() - started) * 1000)
    return {"fastest": round(min(taken), 2), "median": round(statistics.median(taken), 2)}


class Reads:
    """What is measured, on a connection in a snapshot, where answers read as well."""

    def __init__(self, conn: Connection, size: Size) -> None:
        self._conn = conn
        self._size = size
        self._standing = Standing(size.last - 32, size.last - 64, None)
        self._asked = (CHAIN, size.last, size.last - 32, size.last - 64)

    async def number(self) -> int:
        """Return how many deposits there are, by looking at each."""
        found: int = await self._conn.fetchval(SQL_COUNT, *self._asked, None, *[None] * 6)
        return found

    async def totals(self) -> list[tuple[Any, ...]]:
        """Return the totals by looking at each deposit."""
        rows = await self._conn.fetch(SQL_TOTALS, *self._asked, None, *[None] * 6, CURRENT, MAX_TOTALS + 1)
        return [tuple(row) for row in rows]

    async def sums(self) -> tuple[int, list[tuple[Any, ...]]]:
        """Return number and totals by segments."""
        spans = self._standing.spans(self._size.last).items()
        total, rows = await sums(self._conn, CHAIN, spans, Asked(vaults=[VAULT]), limit=MAX_TOTALS + 1)
        return total, [tuple(row)[1:3] + tuple(row)[5:] for row in rows]

    async def orphans(self) -> None:
        """Count orphaned deposits."""
        newest = await self._conn.fetchval("select max(detected_at) from chain.reorg")
        assert await self._conn.fetchval(SQL_ORPHANS, *self._asked, newest, *[None] * 6) == self._size.orphans


@asynccontextmanager
async def reading(pool: Pool, size: Size) -> AsyncIterator[Reads]:
    """Open a snapshot as answers do."""
    async with snapshot(pool) as conn:
        await conn.execute(SQL_PLAN_EACH)
        yield Reads(conn, size)


def page(pool: Pool, **wanted: Any) -> Callable[[], Awaitable[object]]:
    """Return what reads a whole answer."""
    return lambda: Deposits(pool, CHAIN).page(DepositFilter(**wanted), DepositWindow(limit=20))


async def measure(pool: Pool, size: Size) -> dict[str, Any]:
    """Measure before and after sealing, and that the answers are the same."""
    async with reading(pool, size) as reads:
        true = (await reads.number(), await reads.totals())
        found: dict[str, Any] = {
            "one_by_one": {"number_ms": await ms(reads.number, 5), "totals_ms": await ms(reads.totals, 5)}
        }
    found["unsealed_answer_ms"] = await ms(page(pool), 3)
    sealing, started, seals = Sealing(PgDepositCounts(pool, CHAIN), name="bench"), time.perf_counter(), 0
    while done := await sealing.step():
        seals += done
    found["sealing"] = {"seconds": round(time.perf_counter() - started, 2), "transactions": seals}
    await pool.execute("analyze chain.deposit_count")
    async with reading(pool, size) as reads:
        assert await reads.sums() == true, "totals differ from counting"
        found["sums_ms"] = await ms(reads.sums)
    some = true[1][0]
    found["answer_ms"] = {
        "all": await ms(page(pool)), "resolver": await ms(page(pool, resolver=some[0])),
        "token": await ms(page(pool, token=some[1])), "finalized": await ms(page(pool, state="finalized")),
    }  # fmt: skip
    found["counts"] = await pool.fetchval("select count(*) from chain.deposit_count")
    return found


async def bench(size: Size) -> dict[str, Any]:
    """Make a database and measure."""
    with scratch_folder() as folder:
        async with EmbeddedPostgres(folder / "data") as server:
            await migrate(server.url(), MIGRATIONS)
            await fill(server.url(), size)
            async with open_pool(server.url(), role="chainworkd_indexer", size=2) as pool:
                found = await measure(pool, size)
                await orphan(server.url(), size)
                async with reading(pool, size) as reads:
                    found["orphans_ms"] = await ms(reads.orphans)
                found["answer_with_orphans_ms"] = await ms(page(pool))
    shape = {"deposits": size.deposits, "pairs": size.pairs, "orphans": size.orphans}
    return shape | {"load_average": round(os.getloadavg()[0], 1)} | found


def main() -> None:
    """Measure and print."""
    size = Size(*(int(os.environ.get(name, default)) for name, default in
                  (("DEPOSITS", 1_000_000), ("PAIRS", 12), ("ORPHANS", 10_000))))  # fmt: skip
    print(json.dumps(asyncio.run(bench(size)), indent=2))


if __name__ == "__main__":
    main()
