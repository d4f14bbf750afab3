"""What happens while the node, its socket or the daemon itself is away."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from core.rpc.client import RpcClient
from devnet.artifacts import Artifacts
from devnet.town import Devnet
from tests.e2e.client import Client
from tests.e2e.daemon import Daemon, alive, descendants, environment, run
from tests.e2e.gate import Gate
from tests.e2e.story import client_of, head_of, steps
from tests.e2e.waiting import until


@asynccontextmanager
async def mining(rpc: RpcClient) -> AsyncIterator[None]:
    """A block every third of a second, so that the chain is never silent."""

    async def mine() -> None:
        while True:
            await rpc.call("anvil_mine", "0x1")
            await asyncio.sleep(0.3)

    task = asyncio.create_task(mine())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_readiness_is_revoked_while_the_node_is_away_and_comes_back_with_it(
    folder: Path, artifacts: Artifacts
) -> None:
    async with Devnet(folder=folder / "chain", npm_dir=artifacts.npm, seed=7) as town, RpcClient(town.http_url) as rpc:
        env = environment(folder, RPC_URL=town.http_url, WS_URL=town.ws_url, OPS__HEAD_SILENCE_S="3")
        async with Daemon(folder, "run", env=env) as daemon, client_of(daemon, folder, env) as client:
            ready = await daemon.url("api", "ops") + "/readyz"
            async with mining(rpc):
                assert (await client.status(ready, 200))["ready"] is True
            before, _ = await head_of(rpc)

            await town.anvil.stop()
            report = await client.status(ready, 503)
            assert "last news of the chain" in report["faults"]["node"][0]
            assert (await client.ok("/api/v1/health"))["status"] == "stale"
            assert await client.get(await daemon.url("indexer", "ops") + "/livez") == (200, "ok\n")

            await town.anvil.start()
            async with mining(rpc):
                await client.status(ready, 200)
            assert daemon.running
            await client.serves(*await head_of(rpc))
            assert (await client.block(before))["block_number"] == before


async def test_a_dead_or_silent_socket_does_not_stop_the_following(folder: Path, town: Devnet, rpc: RpcClient) -> None:
    async with Gate(int(town.ws_url.rpartition(":")[2])) as gate:
        gate.shut()
        env = environment(folder, RPC_URL=town.http_url, WS_URL=f"ws://127.0.0.1:{gate.port}")
        async with Daemon(folder, "run", env=env) as daemon, client_of(daemon, folder, env) as client:
            metrics = await daemon.url("indexer", "ops") + "/metrics"

            async def served() -> None:
                await rpc.call("anvil_mine", "0x1")
                await client.serves(*await head_of(rpc))

            await served()
            await daemon.logged("head socket closed")

            gate.open()
            await until(lambda: _speaks(client, metrics, rpc))

            gate.stall()
            while not daemon.lines("head socket closed", why="silent"):
                await served()

            gate.open()
            before = await _announced(client, metrics)
            await until(lambda: _speaks(client, metrics, rpc, more_than=before))
            gate.shut()
            await served()


async def _announced(client: Client, metrics: str) -> float:
    """How many heads came by the socket."""
    for line in (await client.ok(metrics)).splitlines():
        if line.startswith("chainworkd_heads_announced_total") and 'origin="socket"' in line:
            return float(line.rpartition(" ")[2])
    return 0.0


async def _speaks(client: Client, metrics: str, rpc: RpcClient, more_than: float = 0.0) -> bool:
    await rpc.call("anvil_mine", "0x1")
    return await _announced(client, metrics) > more_than


@contextmanager
def half_a_request(url: str) -> Iterator[None]:
    """A client that never finishes what it asks."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        connection.sendall(b"GET /api/v1/health HTTP/1.1\r\nhost: x\r\n")
        yield


async def test_a_stop_ends_every_process_and_the_next_start_goes_on_where_it_was(
    folder: Path, town: Devnet, rpc: RpcClient
) -> None:
    env = environment(folder, RPC_URL=town.http_url, WS_URL=town.ws_url, BACKFILL="0..")
    async with Daemon(folder, "run", env=env) as daemon:
        await steps(town, 3)
        await daemon.logged("filled", first=0)
        stopped_at, _ = await head_of(rpc)
        await daemon.logged("advanced", last=stopped_at)
        family = descendants(daemon.pid)
        assert {await daemon.child("api"), await daemon.child("backfill")} < family

        with half_a_request(await daemon.url()), half_a_request(await daemon.url("indexer", "ops")):
            assert await daemon.stop(signal.SIGTERM) == 0
        await until(lambda: not alive(family), within_s=5)

        await steps(town, 2)
        await daemon.start()
        number, _ = await head_of(rpc)
        await daemon.logged("advanced", last=number)
        assert daemon.lines("advanced")[0]["first"] == stopped_at + 1
        assert daemon.lines("filled") == []
        assert await daemon.stop() == 0


async def test_a_second_daemon_on_one_data_directory_is_refused(folder: Path, town: Devnet) -> None:
    env = environment(folder, RPC_URL=town.http_url)
    async with Daemon(folder, "run", env=env) as daemon:
        await daemon.logged("advanced")
        code, _, err = await run(folder, "run", env=env)
        assert code == 78
        assert f"in use by pid {daemon.pid}" in err
        assert daemon.running


async def test_an_interrupt_at_any_moment_of_the_start_ends_everything_without_a_traceback(folder: Path) -> None:
    env = environment(folder, RPC_URL="http://127.0.0.1:9")
    for after_s in (0.3, 0.9, 1.7):
        async with Daemon(folder, "run", env=env) as daemon:
            await asyncio.sleep(after_s)  # the moment is the case
            family = descendants(daemon.pid)
            daemon.interrupt()
            daemon.interrupt()
            assert await daemon.ended() in {0, -signal.SIGINT}
            assert "Traceback" not in daemon.text()
            await until(lambda: not alive(family), within_s=5)  # noqa: B023 - awaited here
