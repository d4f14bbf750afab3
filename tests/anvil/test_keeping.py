"""The whole program with a full disk: the head goes on, history waits, and everybody can see why."""

import asyncio
import json
from pathlib import Path
from typing import Any

from core.rpc.client import RpcClient
from devnet.anvil import Anvil
from tests.ops.process import ANY_PORTS, Cli


async def until(cli: Cli, wanted: Any, **environment: str) -> dict[str, Any]:
    """Ask for the status until `wanted` holds of the chain."""
    async with asyncio.timeout(60):
        while True:
            done = await cli("status", "--json", **environment)
            chains = json.loads(done.out)["chains"] if done.out else []
            if chains and wanted(chains[0]):
                found: dict[str, Any] = chains[0]
                return found
            await asyncio.sleep(0.2)


async def test_a_full_disk_holds_history_up_and_nothing_else(anvil: Anvil, tmp_path: Path, database_url: str) -> None:
    cli = Cli(tmp_path, {**ANY_PORTS, "CHAINWORKD_DATA_DIR": str(tmp_path / "data")})
    environment = {
        "CHAINWORKD_RPC_URL": anvil.http_url, "CHAINWORKD_BACKFILL": "0..", "CHAINWORKD_DATABASE__URL": database_url,
        "CHAINWORKD_CHAINS__NODE__RETAIN_BLOCKS": "300",
    }  # fmt: skip
    full = {**environment, "CHAINWORKD_DATABASE__MIN_FREE_GB": "900000"}
    async with RpcClient(anvil.http_url) as rpc:
        await rpc.call("anvil_mine", hex(450))
        async with cli.started("run", **full):
            paused = await until(cli, lambda chain: chain["backfill_paused"], **full)
            assert "database.min_free_gb is 900000.00 GB" in paused["backfill_paused"]
            await rpc.call("anvil_mine", hex(1))
            after = await until(cli, lambda chain: chain["last_indexed_block"] == 451, **full)
            assert after["coverage"] == [[450, 451]]
        async with cli.started("run", **environment):
            resumed = await until(cli, lambda chain: chain["coverage"] == [[152, 451]], **environment)
            assert resumed["backfill_paused"] is None


async def test_watch_mode_is_run_and_cannot_be_left_with_the_same_database(
    anvil: Anvil, tmp_path: Path, database_url: str
) -> None:
    cli = Cli(tmp_path, {**ANY_PORTS, "CHAINWORKD_DATA_DIR": str(tmp_path / "data")})
    watched = {
        "CHAINWORKD_RPC_URL": anvil.http_url, "CHAINWORKD_DATABASE__URL": database_url,
        "CHAINWORKD_CHAINS__NODE__MODE": "watch",
    }  # fmt: skip
    none = await cli("run", **watched)
    assert (none.code, "chains.node.watched: expected at least one address" in none.err) == (78, True)
    watched["CHAINWORKD_CHAINS__NODE__WATCHED"] = json.dumps(["0x" + "ab" * 20])
    async with cli.started("run", **watched):
        await until(cli, lambda chain: chain["last_indexed_block"] == 0, **watched)
    full = await cli("run", **{**watched, "CHAINWORKD_CHAINS__NODE__MODE": "full"})
    assert (full.code, "chains.node: mode: expected watch, found full" in full.err) == (78, True)
