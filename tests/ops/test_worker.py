"""`chainworkd run worker`, as people start it: a droid that cannot run says why, and stops nobody else."""

import asyncio
import json
from pathlib import Path

import httpx

from core.store.pool import open_pool
from droids import records
from droids.records import AccountRow, Command, PoolRow
from tests.droids import SEED
from tests.make import address
from tests.ops.process import ANY_PORTS, Cli, lines_until
from tests.robots.ground import CHAIN
from tests.wallet.make import NOW


async def test_a_droid_that_cannot_run_says_why_and_the_worker_goes_on(tmp_path: Path, database_url: str) -> None:
    given = {**ANY_PORTS, "CHAINWORKD_DATA_DIR": str(tmp_path), "CHAINWORKD_DATABASE__URL": database_url}
    given |= {
        "CHAINWORKD_RPC_URL": "http://127.0.0.1:1",
        "CHAINWORKD_CHAIN_ID": str(CHAIN),
        "CHAINWORKD_LOG__STYLE": "json",
    }
    async with open_pool(database_url, size=2) as store:
        pool = PoolRow(pool_id=1, chain_id=5, address=address("p"), manager=address("m"), quote=address("q"))
        await records.put_pool(store, pool)
        await records.put_account(store, AccountRow(account_id=1, chain_id=5, wallet=address("w")))
        number = await records.create(store, SEED, account_id=1, pool_id=1, by="ann")
        async with Cli(tmp_path, given).started("run", "worker") as worker:
            assert worker.stderr is not None
            said = await lines_until(worker.stderr, "listening")
            url = json.loads(said.splitlines()[0])["url"]
            await records.command(store, number, Command.RUN, NOW, by="ann", role="ADMIN")
            await lines_until(worker.stderr, "droid stands still")
            async with asyncio.timeout(20), httpx.AsyncClient() as client:
                ready = (await client.get(f"{url}/readyz")).json()
        assert (ready["ready"], ready["faults"]) == (True, {"droids": []})
        found = await records.one(store, number)
        assert found is not None
        assert "its chain or its pool is not known here" in found.note
