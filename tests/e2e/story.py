"""Steps that several stories share."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from core.rpc.client import RpcClient
from devnet.town import Devnet
from tests.e2e.client import Client
from tests.e2e.daemon import Daemon, run

CHAIN = 31_337


async def head_of(rpc: RpcClient) -> tuple[int, str]:
    head = await rpc.call("eth_getBlockByNumber", "latest", False)
    return int(head["number"], 16), head["hash"]


@asynccontextmanager
async def client_of(daemon: Daemon, folder: Path, env: dict[str, str]) -> AsyncIterator[Client]:
    """A client with a token made by the command line beside the running daemon."""
    url = await daemon.url()
    if "CHAINWORKD_DATABASE__URL" not in env:
        # While the daemon still starts its own database, commands are refused.
        await daemon.logged("advanced")
    code, out, err = await run(folder, "token", "create", "--label", "test", env=env)
    assert code == 0, err
    async with Client(url, out.strip()) as client:
        yield client


async def steps(town: Devnet, count: int) -> list[bytes]:
    """Make blocks of mixed transactions; return the hashes of what was sent."""
    return [tx for _ in range(count) for tx in (await town.step()).sent]
