"""The whole program against a real node: what the API says is what the node says, through reorgs and outages."""

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from core.rpc.client import RpcClient
from core.store.embedded import EmbeddedPostgres
from devnet.artifacts import Artifacts
from devnet.town import Devnet
from tests.e2e.client import Client
from tests.e2e.daemon import Daemon, alive, descendants, environment, run
from tests.e2e.faces import block_face, detail_face, listed_face, mixed
from tests.e2e.truth import blocks_of, differences
from tests.e2e.waiting import until

CHAIN = 31_337


async def head_of(rpc: RpcClient) -> tuple[int, str]:
    head = await rpc.call("eth_getBlockByNumber", "latest", False)
    return int(head["number"], 16), head["hash"]


@asynccontextmanager
async def client_of(daemon: Daemon, folder: Path, env: dict[str, str]) -> AsyncIterator[Client]:
    """A client with a token made by the command line beside the running daemon."""
    await daemon.logged("advanced")
    code, out, err = await run(folder, "token", "create", "--label", "test", env=env)
    assert code == 0, err
    async with Client(await daemon.url(), out.strip()) as client:
        yield client


async def steps(town: Devnet, count: int) -> list[bytes]:
    """Make blocks of mixed transactions; return the hashes of what was sent."""
    return [tx for _ in range(count) for tx in (await town.step()).sent]


async def test_the_api_says_what_the_node_says(folder: Path, town: Devnet, rpc: RpcClient) -> None:
    env = environment(folder, RPC_URL=town.http_url, WS_URL=town.ws_url, BACKFILL="0..")
    async with Daemon(folder, "run", env=env) as daemon, client_of(daemon, folder, env) as client:
        await steps(town, 5)
        number, block_hash = await head_of(rpc)
        await client.serves(number, block_hash)
        await daemon.logged("filled", first=0)

        answers = await blocks_of(rpc, range(number + 1))
        for block, receipts in answers[-6:]:
            assert await client.block(int(block["number"], 16)) == block_face(block)
            for tx, receipt in zip(block["transactions"], receipts, strict=True):
                assert await client.ok(f"/api/v1/transactions/{tx['hash']}") == detail_face(block, tx, receipt)
        for actor in town.actors[:3]:
            await assert_pages(client, "0x" + actor.hex(), answers)
        health = await client.ok("/api/v1/health")
        assert (health["status"], health["last_indexed_block"], health["chain_tip_block"]) == ("ok", number, number)
        assert health["ingestion_lag_seconds"] == 0

        server = EmbeddedPostgres(folder / "data" / "postgres")
        url = await server.running_url()
        assert url is not None
        faults, counts = await differences(rpc, url, CHAIN)
        assert not faults
        assert counts["block"] == number + 1


async def assert_pages(client: Client, address: str, answers: Sequence[tuple[dict[str, Any], Any]]) -> None:
    """All pages of an address, following the URLs as given, are its transactions, newest first."""
    wanted = [
        listed_face(block, tx, receipt)
        for block, receipts in answers
        for tx, receipt in zip(block["transactions"], receipts, strict=True)
        if address in (tx["from"], tx["to"], receipt["contractAddress"])
    ]
    found, url = [], f"/api/v1/transactions/address/{mixed(address)}?page_size=7"
    while url:
        page = await client.ok(url)
        assert page["total_results"] == len(wanted)
        found += page["data"]
        url = page["next_page_url"]
    assert found == wanted[::-1]
