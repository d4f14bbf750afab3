"""Processes that hang instead of ending."""

import os
import signal
from pathlib import Path
from urllib.parse import urlsplit

from core.rpc.client import RpcClient
from devnet.town import Devnet
from tests.e2e.client import Client
from tests.e2e.daemon import Daemon, alive, environment
from tests.e2e.story import client_of, head_of
from tests.e2e.waiting import until

HANG_S = 6


async def metric(client: Client, url: str, name: str, *labels: str) -> float:
    """The sum of the series of this name that have these labels."""
    lines = [line for line in (await client.ok(url)).splitlines() if line.startswith(f"{name}{{")]
    return sum(float(line.rpartition(" ")[2]) for line in lines if all(label in line for label in labels))


async def test_a_child_that_is_stopped_is_killed_and_started_again(folder: Path, town: Devnet, rpc: RpcClient) -> None:
    env = environment(folder, RPC_URL=town.http_url, WS_URL=town.ws_url, OPS__HANG_S=str(HANG_S))
    async with Daemon(folder, "run", env=env) as daemon, client_of(daemon, folder, env) as client:
        ops = await daemon.url("indexer", "ops")
        metrics = f"{ops}/metrics"
        node = urlsplit(town.http_url).netloc
        assert (await client.status(f"{ops}/readyz", 200))["endpoints"] == {"node": {node: "ok"}}
        for role in ("backfill", "api"):
            pid = await daemon.child(role)
            # Its loop turns, so its first sign of life is on its way: before that, a child has two minutes.
            await client.status(await daemon.url(role, "ops") + "/livez", 200)
            os.kill(pid, signal.SIGSTOP)
            hung = await daemon.logged("child hangs", child=role)
            assert hung["pid"] == pid
            await until(lambda: not alive({pid}))  # noqa: B023 - awaited here
            await until(lambda: len(daemon.lines("started", child=role)) > 1)  # noqa: B023 - awaited here
            assert await daemon.child(role) != pid
            restarts = ("chainworkd_service_restarts_total", f'service="child.{role}"', 'error="ChildHung"')
            assert await metric(client, metrics, *restarts) == 1
        # The head went on meanwhile, and the API is served again, by the same address.
        await rpc.call("anvil_mine", "0x1")
        await client.serves(*await head_of(rpc))


async def test_a_stop_while_a_child_hangs_ends_everything(folder: Path, town: Devnet) -> None:
    env = environment(folder, RPC_URL=town.http_url)
    async with Daemon(folder, "run", env=env) as daemon:
        await daemon.logged("advanced")
        pid = await daemon.child("api")
        os.kill(pid, signal.SIGSTOP)
        assert await daemon.stop(within_s=40.0) == 0
        assert not alive({pid})
