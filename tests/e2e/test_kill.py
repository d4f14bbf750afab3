"""kill -9 in the middle of a transaction: made to happen there by a lock, not by luck."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from core.rpc.client import RpcClient
from devnet.town import Devnet
from tests.e2e.daemon import Daemon, environment
from tests.e2e.kills import campaign
from tests.e2e.story import CHAIN, head_of, steps
from tests.e2e.truth import differences
from tests.e2e.waiting import until

# Written last: whoever waits for it has moved the cursor and copied everything else.
LAST_TABLE = "chain.address_transaction"
SQL_WAITERS = """
    select a.pid from pg_stat_activity a
    where a.wait_event_type = 'Lock' and a.query ilike 'copy%address_transaction%'
"""
SQL_OPEN = """
    select pid from pg_stat_activity
    where application_name = 'chainworkd chainworkd_indexer' and xact_start is not null
"""

HARM = (
    "delete from chain.tx_hash where ctid = (select min(ctid) from chain.tx_hash)",
    "insert into chain.tx_hash select chain_id, hash_key + 1, block_number, tx_index from chain.tx_hash limit 1",
    "update chain.transaction set value = value + 1 where block_number = (select max(block_number) from chain.tx_hash)",
    "update chain.address_transaction set roles = 7 where ctid = (select min(ctid) from chain.address_transaction)",
    "delete from chain.coverage where blocks @> 0::bigint",
)
KEPT = ("tx_hash", "transaction", "address_transaction", "coverage")


@asynccontextmanager
async def held(url: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """Hold the last table against writers; yields another connection that looks at what they do."""
    holder, watcher = await asyncpg.connect(url), await asyncpg.connect(url)
    try:
        async with holder.transaction():
            await holder.execute(f"lock table {LAST_TABLE} in share mode")
            yield watcher
        # What was killed in the middle reads its client's end and rolls back.
        await until(lambda: _none(watcher, SQL_OPEN))
    finally:
        await holder.close()
        await watcher.close()


async def _none(watcher: "asyncpg.Connection[asyncpg.Record]", sql: str) -> bool:
    return not await watcher.fetch(sql)


async def stored_numbers(connection: "asyncpg.Connection[asyncpg.Record]") -> set[int]:
    return {
        row["number"] for row in await connection.fetch("select number from chain.block where chain_id = $1", CHAIN)
    }


async def test_a_commit_that_is_killed_midway_leaves_nothing_and_the_next_start_makes_up_for_it(
    folder: Path, town: Devnet, rpc: RpcClient, database_url: str
) -> None:
    env = environment(folder, RPC_URL=town.http_url, DATABASE__URL=database_url, BACKFILL="0..")
    async with Daemon(folder, "run", env=env) as daemon:
        await daemon.logged("filled", first=0)
        number, _ = await head_of(rpc)
        async with held(database_url) as watcher:
            before = await stored_numbers(watcher)
            await steps(town, 3)
            await until(lambda: watcher.fetch(SQL_WAITERS))
            os.kill(daemon.pid, signal.SIGKILL)
            await daemon.ended()
            assert await stored_numbers(watcher) == before
        faults, counts = await differences(rpc, database_url, CHAIN)
        assert not faults
        assert counts["block"] == number + 1

        await daemon.start()
        number, _ = await head_of(rpc)
        await daemon.logged("advanced", last=number)
        faults, counts = await differences(rpc, database_url, CHAIN)
        assert not faults
        assert counts["block"] == number + 1


async def test_a_backfill_chunk_that_is_killed_midway_leaves_nothing_and_is_filled_again(
    folder: Path, town: Devnet, rpc: RpcClient, database_url: str
) -> None:
    await steps(town, 2)
    number, _ = await head_of(rpc)
    env = environment(folder, RPC_URL=town.http_url, DATABASE__URL=database_url)
    async with Daemon(folder, "run", env=env) as daemon:
        await daemon.logged("advanced", first=number, last=number)
        await daemon.stop()
    async with Daemon(
        folder, "run", env={**env, "CHAINWORKD_BACKFILL": "0..", "CHAINWORKD_DEFAULTS__CHUNK_BLOCKS": "3"}
    ) as daemon:
        async with held(database_url) as watcher:
            await daemon.logged("started", child="backfill")
            await until(lambda: watcher.fetch(SQL_WAITERS))
            child = await daemon.child("backfill")
            os.kill(child, signal.SIGKILL)
            await daemon.logged("service restarts", service="child.backfill")
            assert await stored_numbers(watcher) == {number}
        await daemon.logged("filled", first=0)
        assert await daemon.child("backfill") != child
        faults, counts = await differences(rpc, database_url, CHAIN)
        assert not faults
        assert counts["block"] == number + 1


async def test_random_kills_lose_nothing_and_double_nothing() -> None:
    report = await campaign(runs=8, seed=20_261_121)
    assert report.faults == []
    assert report.kills["parent"] + report.kills["api"] + report.kills["backfill"] + report.kills["postgres"] == 8


async def test_the_comparison_with_the_node_sees_a_lost_a_doubled_and_a_changed_row(
    folder: Path, town: Devnet, rpc: RpcClient, database_url: str
) -> None:
    env = environment(folder, RPC_URL=town.http_url, DATABASE__URL=database_url, BACKFILL="0..")
    async with Daemon(folder, "run", env=env) as daemon:
        await daemon.logged("filled", first=0)
    assert (await differences(rpc, database_url, CHAIN))[0] == []
    for harm in HARM:
        assert await _differs_after(harm, rpc, database_url), harm


async def _differs_after(harm: str, rpc: RpcClient, url: str) -> bool:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("create schema if not exists kept")
        for table in KEPT:
            await connection.execute(f"create table kept.{table} as table chain.{table}")
        await connection.execute(harm)
        faults, _ = await differences(rpc, url, CHAIN)
        for table in KEPT:
            await connection.execute(f"truncate chain.{table}; insert into chain.{table} table kept.{table}")
        await connection.execute("drop schema kept cascade")
    finally:
        await connection.close()
    return bool(faults)
