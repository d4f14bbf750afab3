"""Each role as a process of its own on an external database, as the systemd units run them."""

import asyncio
import signal
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

from core.rpc.client import RpcClient
from core.store.embedded import EmbeddedPostgres
from core.store.schema import THROW_AWAY
from devnet.town import Devnet
from tests.e2e.client import Client
from tests.e2e.daemon import Daemon, environment, run
from tests.e2e.story import CHAIN, client_of, head_of, steps
from tests.e2e.truth import differences
from tests.e2e.waiting import until


@contextmanager
def notify_socket(path: Path) -> Iterator[socket.socket]:
    """What systemd listens on for READY=1."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(path))
        channel.setblocking(False)
        yield channel


async def said(channel: socket.socket, *, within_s: float = 60.0) -> bytes:
    async with asyncio.timeout(within_s):
        return await asyncio.get_running_loop().sock_recv(channel, 1000)


async def test_roles_run_alone_on_an_external_database_and_tell_systemd_when_they_are_ready(
    folder: Path, town: Devnet, rpc: RpcClient, empty_database_url: str
) -> None:
    env = environment(
        folder, RPC_URL=town.http_url, WS_URL=town.ws_url, BACKFILL="0..", DATABASE__URL=empty_database_url
    )
    code, _, err = await run(folder, "run", "indexer", env=env)
    assert code != 0
    assert "chainworkd migrate" in err
    code, out, err = await run(folder, "migrate", env=env)
    assert (code, err) == (0, "")
    assert out.startswith("applied 0001")
    assert (await run(folder, "migrate", env=env))[1] == "nothing to apply\n"
    daemons: dict[str, Daemon] = {}

    async with AsyncExitStack() as stack:
        for role in ("indexer", "backfill", "api"):
            with notify_socket(folder / role) as channel:
                daemon = Daemon(folder, "run", role, env={**env, "NOTIFY_SOCKET": str(folder / role)})
                await stack.enter_async_context(daemon)
                assert await said(channel) == b"READY=1"
            daemons[role] = daemon
        indexer, backfill, api = daemons.values()
        await steps(town, 3)
        async with client_of(api, folder, env) as client:
            await client.serves(*await head_of(rpc))
            for role, daemon in daemons.items():
                await client.status(await daemon.url(role, "ops") + "/readyz", 200)
            await backfill.logged("filled", first=0)
            assert (await client.block(0))["block_number"] == 0
        assert (await differences(rpc, empty_database_url, CHAIN))[0] == []
        codes = tuple(await asyncio.gather(indexer.stop(), backfill.stop(), api.stop(signal.SIGINT)))
        assert codes == (0, 0, 0)


async def test_the_api_outlives_the_indexer_and_says_that_it_is_stale(
    folder: Path, town: Devnet, rpc: RpcClient, database_url: str
) -> None:
    env = environment(folder, RPC_URL=town.http_url, DATABASE__URL=database_url, OPS__HEAD_SILENCE_S="2")
    async with Daemon(folder, "run", "indexer", env=env) as indexer, Daemon(folder, "run", "api", env=env) as api:
        await indexer.logged("advanced")
        async with client_of(api, folder, env) as client:
            number, block_hash = await head_of(rpc)
            await client.serves(number, block_hash)
            assert indexer.process is not None
            indexer.process.kill()
            await indexer.ended()
            await until(lambda: _is_stale(client))
            assert (await client.block(number))["block_hash"] == block_hash
            assert (await client.get(await api.url("api", "ops") + "/readyz"))[0] == 503


async def _is_stale(client: Client) -> bool:
    return bool((await client.ok("/api/v1/health"))["status"] == "stale")


async def test_the_daemon_outlives_a_restart_of_its_database(folder: Path, town: Devnet, rpc: RpcClient) -> None:
    server = EmbeddedPostgres(folder / "external", settings=THROW_AWAY)
    await server.start()
    try:
        url = server.url()
        env = environment(folder, RPC_URL=town.http_url, WS_URL=town.ws_url, BACKFILL="0..", DATABASE__URL=url)
        async with Daemon(folder, "run", env=env) as daemon:
            await daemon.logged("filled", first=0)
            async with client_of(daemon, folder, env) as client:
                await client.serves(*await head_of(rpc))
                await server.stop()
                assert (await client.status("/api/v1/health", 503))["code"] == "503"
                await steps(town, 2)
                await client.status(await daemon.url("api", "ops") + "/readyz", 503)
                assert (await client.get(await daemon.url("indexer", "ops") + "/livez"))[0] == 200
                await server.start()
                assert server.url() == url
                await client.serves(*await head_of(rpc))
                await client.status(await daemon.url("api", "ops") + "/readyz", 200)
                assert daemon.running
            assert (await differences(rpc, url, CHAIN))[0] == []
    finally:
        await server.stop()


async def test_two_daemons_on_one_database_hinder_each_other_without_harm(
    folder: Path, town: Devnet, rpc: RpcClient, database_url: str
) -> None:
    env = environment(folder, RPC_URL=town.http_url, WS_URL=town.ws_url, BACKFILL="0..", DATABASE__URL=database_url)
    env["CHAINWORKD_DEFAULTS__CHUNK_BLOCKS"] = "2"
    await steps(town, 4)
    (folder / "other").mkdir()
    async with Daemon(folder, "run", env=env) as one, Daemon(folder / "other", "run", env=env) as two:
        await one.logged("following")
        await two.logged("following")
        for depth in (1, 2, 4):
            await steps(town, 4)
            await rpc.call("anvil_reorg", depth, [])
        await steps(town, 2)
        async with client_of(two, folder, env) as client:
            await client.serves(*await head_of(rpc))
            await until(lambda: _is_whole(client))
        assert one.running
        assert two.running
    assert (await differences(rpc, database_url, CHAIN))[0] == []


async def _is_whole(client: Client) -> bool:
    (chain,) = (await client.ok("/status.json"))["chains"]
    return bool(chain["coverage"] == [[0, chain["chain_tip_block"]]])
