"""`chainworkd backfill` as people start it: what it refuses, and what is stored after it was disturbed."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from core.rpc.client import RpcClient
from core.rpc.source import RpcSource
from core.store.pg import PgStore
from core.store.pool import open_pool
from core.types import BlockRange, joined
from devnet.anvil import Anvil
from devnet.artifacts import Artifacts
from devnet.town import Devnet
from indexer.decode.tables import LogTable, TransferTable
from indexer.watch import watching
from tests.e2e.daemon import Daemon, environment, run
from tests.e2e.gate import Gate
from tests.e2e.story import CHAIN, head_of, steps
from tests.e2e.test_kill import SQL_WAITERS, held
from tests.e2e.truth import SQL_ROWS, differences, expected, stored
from tests.e2e.waiting import until

SMALL_CHUNKS = {"CHAINWORKD_DEFAULTS__CHUNK_BLOCKS": "4"}


@pytest.fixture
async def grown(town: Devnet, rpc: RpcClient) -> AsyncIterator[int]:
    """A chain whose traffic is finalized; yields the height of the last finalized block."""
    await steps(town, 12)
    await rpc.call("anvil_mine", hex(40))
    final = await rpc.call("eth_getBlockByNumber", "finalized", False)
    yield int(final["number"], 16)


async def assert_whole(rpc: RpcClient, url: str, last: int, first: int = 0) -> None:
    """The tables hold what the node says of these blocks and of no others."""
    connection = await asyncpg.connect(url)
    try:
        spans = await connection.fetch("select lower(blocks) as first, upper(blocks) - 1 as last from chain.coverage")
        found = await stored(connection, CHAIN)
    finally:
        await connection.close()
    covered = joined(BlockRange(span["first"], span["last"]) for span in spans)
    assert covered == (BlockRange(first, last),)
    wanted = await expected(rpc, CHAIN, first, last)
    for name in SQL_ROWS:
        assert getattr(found, name) == getattr(wanted, name), name
    assert wanted.counts["token_transfer"] > 5


def report(out: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(out)
    return found


async def test_a_range_is_stored_as_the_node_tells_it_and_only_once(
    folder: Path, town: Devnet, rpc: RpcClient, database_url: str, grown: int
) -> None:
    env = environment(folder, RPC_URL=town.http_url, DATABASE__URL=database_url) | SMALL_CHUNKS
    code, out, _ = await run(folder, "backfill", "--from", "5", "--to", str(grown - 3), "--json", env=env)
    first = report(out)
    assert (code, first["complete"], first["blocks"], first["chain_id"]) == (0, True, grown - 7, CHAIN)
    code, out, err = await run(folder, "backfill", "--from", "0", "--json", env=env)
    rest = report(out)
    assert (code, rest["blocks"], rest["first"], rest["last"]) == (0, 8, 0, grown), err
    await assert_whole(rpc, database_url, grown)
    code, out, _ = await run(folder, "backfill", "--from", "0", env=env)
    assert (code, "0 blocks, 0 transactions" in out) == (0, True), out
    txs = sum(each["txs"] for each in (first, rest))
    assert txs == (await expected(rpc, CHAIN, 0, grown)).counts["transaction"]


async def test_bad_arguments_are_refused_with_what_is_wrong_and_nothing_is_stored(
    folder: Path, town: Devnet, rpc: RpcClient, database_url: str, grown: int
) -> None:
    env = environment(folder, RPC_URL=town.http_url, DATABASE__URL=database_url)
    head, _ = await head_of(rpc)
    for arguments, expected_code, said in (
        (("--from", "9", "--to", "8"), 78, "--from 9: above the last block, 8"),
        (("--from", str(head + 9)), 78, "above the last block"),
        (("--from", "0", "--to", str(grown + 1)), 78, f"up to {grown} finalized"),
        (("--from", "0", "--to", "99999999999999999999"), 78, "finalized"),
        (("--from", "-1"), 2, "--from"),
        (("--from", "ten"), 2, "--from"),
        ((), 2, "--from"),
        (("--from", "0", "--chain", "nowhere"), 78, "not configured; there are"),
    ):
        code, out, err = await run(folder, "backfill", *arguments, env=env)
        assert (code, out) == (expected_code, ""), (arguments, err)
        assert said in err, (arguments, err)
        assert "Traceback" not in err, err
    connection = await asyncpg.connect(database_url)
    assert await connection.fetchval("select count(*) from chain.block") == 0
    await connection.close()


async def test_a_run_that_is_killed_midway_is_made_up_for_by_the_next(
    folder: Path, town: Devnet, rpc: RpcClient, database_url: str, grown: int
) -> None:
    env = environment(folder, RPC_URL=town.http_url, DATABASE__URL=database_url) | SMALL_CHUNKS
    assert (await run(folder, "backfill", "--from", str(grown - 2), env=env))[0] == 0
    async with held(database_url) as watcher:
        async with Daemon(folder, "backfill", "--from", "0", env=env) as filling:
            await until(lambda: watcher.fetch(SQL_WAITERS))
            os.kill(filling.pid, signal.SIGKILL)
            await filling.ended()
        rows = await watcher.fetchval("select count(*) from chain.block")
        covered = await watcher.fetchval("select sum(upper(blocks) - lower(blocks)) from chain.coverage")
        assert 3 <= rows == covered < grown + 1
    for _ in range(4):
        await hasten_leases(database_url)
        async with Daemon(folder, "backfill", "--from", "0", env=env) as filling:
            await asyncio.sleep(1.0)
            if filling.running:
                os.kill(filling.pid, signal.SIGKILL)
            await filling.ended()
    await hasten_leases(database_url)
    code, out, err = await run(folder, "backfill", "--from", "0", "--json", env=env)
    assert (code, report(out)["complete"]) == (0, True), err
    await assert_whole(rpc, database_url, grown)


async def hasten_leases(url: str) -> None:
    """Leave what a killed run has leased a second of its minute: what comes next has to wait for it all the same."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("update chain.lease set expires_at = least(expires_at, now() + interval '1 second')")
    finally:
        await connection.close()


async def test_a_stop_that_was_asked_for_is_a_success_and_the_next_run_goes_on(
    folder: Path, town: Devnet, rpc: RpcClient, database_url: str, grown: int
) -> None:
    env = environment(folder, RPC_URL=town.http_url, DATABASE__URL=database_url) | SMALL_CHUNKS
    async with held(database_url) as watcher, Daemon(folder, "backfill", "--from", "0", env=env) as filling:
        await until(lambda: watcher.fetch(SQL_WAITERS))
        assert await filling.stop() == 0
    assert (await run(folder, "backfill", "--from", "0", env=env))[0] == 0
    await assert_whole(rpc, database_url, grown)


async def test_the_same_range_by_a_running_daemon_and_by_two_commands_is_stored_once(
    folder: Path, town: Devnet, rpc: RpcClient, database_url: str, grown: int
) -> None:
    env = environment(folder, RPC_URL=town.http_url, DATABASE__URL=database_url, BACKFILL="0..") | SMALL_CHUNKS
    async with Daemon(folder, "run", env=env) as daemon:
        await daemon.logged("advanced")
        again = ("backfill", "--from", "0", "--json")
        ends = await asyncio.gather(run(folder, *again, env=env), run(folder, *again, env=env), steps(town, 3))
        for code, out, err in (ends[0], ends[1]):
            assert (code, report(out)["complete"]) == (0, True), err
        number, _ = await head_of(rpc)
        await daemon.logged("advanced", last=number)

        async def whole() -> bool:
            return not (await differences(rpc, database_url, CHAIN))[0]

        await until(whole)
        assert daemon.running
        assert daemon.lines("failed") == []


async def test_a_node_that_goes_away_and_comes_back_costs_time_only(
    folder: Path, town: Devnet, rpc: RpcClient, database_url: str, grown: int
) -> None:
    port = int(town.http_url.rsplit(":", 1)[1].rstrip("/"))
    async with Gate(port) as gate:
        url = f"http://127.0.0.1:{gate.port}"
        env = environment(folder, RPC_URL=url, DATABASE__URL=database_url) | SMALL_CHUNKS
        async with held(database_url) as watcher:
            filling = Daemon(folder, "backfill", "--from", "0", "--json", env=env)
            await filling.start()
            await until(lambda: watcher.fetch(SQL_WAITERS))
            gate.shut()
        await asyncio.sleep(2.0)
        gate.open()
        assert await filling.ended(within_s=60) == 0, filling.text()[-3000:]
        assert report(filling.printed())["complete"]
    await assert_whole(rpc, database_url, grown)


async def test_a_node_that_stays_away_ends_the_run_and_says_so(
    folder: Path, town: Devnet, rpc: RpcClient, database_url: str
) -> None:
    env = environment(folder, RPC_URL="http://127.0.0.1:1", DATABASE__URL=database_url)
    code, out, err = await run(folder, "backfill", "--from", "0", "--json", env=env, within_s=90)
    assert (code, out) == (1, "")
    assert "127.0.0.1:1" in err
    assert "Traceback" not in err


async def test_watch_mode_stores_what_the_careful_path_stores(
    folder: Path, town: Devnet, rpc: RpcClient, database_url: str, grown: int
) -> None:
    watched = [town.contracts["usdc"]]
    env = environment(
        folder, RPC_URL=town.http_url, DATABASE__URL=database_url, CHAINS__NODE__MODE="watch", CHAINS__NODE__LOGS="all",
        CHAINS__NODE__WATCHED=json.dumps(["0x" + address.hex() for address in watched]),
    )  # fmt: skip
    code, out, err = await run(folder, "backfill", "--from", "0", "--json", env=env)
    assert code == 0, err
    async with open_pool(database_url, role="chainworkd_indexer", size=2) as pool:
        careful = PgStore(pool, 99, derived=[TransferTable(lambda *_: None), LogTable("all")], keep=watching(watched))
        await careful.commit(await RpcSource(rpc, CHAIN).blocks(BlockRange(0, grown)), after=None)
        for table in ("block", "transaction", "tx_hash", "address_transaction", "token_transfer", "log", "token_seen"):
            sql = f"select * from chain.{table} where chain_id = $1"
            ours, theirs = [
                sorted((tuple(row.values())[1:] for row in await pool.fetch(sql, chain)), key=repr)
                for chain in (CHAIN, 99)
            ]
            if table == "token_seen":
                ours, theirs = [[row[:2] for row in rows] for rows in (ours, theirs)]
            assert ours == theirs, table
            assert ours, table
        assert report(out)["txs"] == await pool.fetchval("select count(*) from chain.transaction where chain_id = 99")


async def test_a_node_of_another_chain_is_refused(
    folder: Path, town: Devnet, artifacts: Artifacts, database_url: str, grown: int
) -> None:
    env = environment(folder, DATABASE__URL=database_url)
    mine = env | {"CHAINWORKD_RPC_URL": town.http_url}
    assert (await run(folder, "backfill", "--from", str(grown - 3), env=mine))[0] == 0
    code, _, err = await run(folder, "backfill", "--from", "0", env=mine | {"CHAINWORKD_CHAINS__NODE__CHAIN_ID": "1"})
    assert code == 78, err
    async with Anvil(artifacts, flags=("--timestamp", "1700000000")) as other:
        code, _, err = await run(folder, "backfill", "--from", "0", env=env | {"CHAINWORKD_RPC_URL": other.http_url})
    assert code == 78
    assert "use another database for another chain" in err
