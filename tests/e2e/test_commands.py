"""The short commands beside a running daemon, and what a daemon refuses to start with."""

import json
import socket
from pathlib import Path

from core.rpc.client import RpcClient
from devnet.anvil import Anvil
from devnet.artifacts import Artifacts
from devnet.town import Devnet
from tests.e2e.client import Client
from tests.e2e.daemon import Daemon, environment, run
from tests.e2e.story import head_of


async def test_tokens_and_status_work_beside_the_running_daemon(folder: Path, town: Devnet, rpc: RpcClient) -> None:
    env = environment(folder, RPC_URL=town.http_url, WS_URL=town.ws_url, BACKFILL="0..")
    async with Daemon(folder, "run", env=env) as daemon:
        await daemon.logged("filled", first=0)
        code, token, err = await run(folder, "token", "create", "--label", "ci", "--days", "1", env=env)
        assert (code, err) == (0, "")
        prefix = token[:16]
        async with Client(await daemon.url(), token.strip()) as client:
            await client.serves(*await head_of(rpc))
            listed = (await run(folder, "token", "list", env=env))[1]
            assert prefix in listed
            assert token.strip() not in listed
            code, out, _ = await run(folder, "status", "--json", env=env)
            (chain,) = json.loads(out)["chains"]
            number, _ = await head_of(rpc)
            assert (code, chain["last_indexed_block"], chain["ready"]) == (0, number, True)
            assert chain["coverage"] == [[0, number]]

            assert (await run(folder, "token", "revoke", prefix, env=env))[:2] == (0, f"revoked {prefix}\n")
            assert (await client.get("/api/v1/health"))[0] == 401
            assert (await run(folder, "token", "revoke", prefix, env=env))[0] == 1
        assert daemon.running


async def test_commands_without_a_database_say_so_and_make_none(folder: Path) -> None:
    env = environment(folder)
    code, out, err = await run(folder, "token", "create", "--label", "x", env=env)
    assert (code, out) == (78, "")
    assert "no database" in err
    assert not (folder / "data" / "postgres").exists()


async def test_another_chain_under_the_same_id_is_refused(
    folder: Path, town: Devnet, artifacts: Artifacts, database_url: str
) -> None:
    env = environment(folder, DATABASE__URL=database_url)
    async with Daemon(folder, "run", "indexer", env={**env, "CHAINWORKD_RPC_URL": town.http_url}) as daemon:
        await daemon.logged("advanced")
    async with Anvil(artifacts, flags=("--timestamp", "1700000000")) as other:
        code, _, err = await run(folder, "run", env={**env, "CHAINWORKD_RPC_URL": other.http_url})
    assert code == 78
    assert "use another database for another chain" in err


async def test_a_taken_port_is_refused_with_the_name_of_its_setting(folder: Path, town: Devnet) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        env = environment(folder, RPC_URL=town.http_url, API__PORT=str(port))
        code, _, err = await run(folder, "run", env=env)
    assert code == 78
    assert f"api.port: cannot listen on 127.0.0.1:{port}" in err
    assert "Traceback" not in err
