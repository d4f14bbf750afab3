"""The whole program against a real node: what the API says is what the node says, through reorgs and outages."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import asyncpg

from core.rpc.client import RpcClient
from core.store.embedded import EmbeddedPostgres
from devnet.town import Devnet
from tests.e2e.client import Client
from tests.e2e.daemon import Daemon, environment
from tests.e2e.faces import block_face, detail_face, listed_face, mixed, told
from tests.e2e.moves import moves
from tests.e2e.story import CHAIN, client_of, head_of, steps
from tests.e2e.truth import blocks_of, differences


async def test_the_api_says_what_the_node_says(folder: Path, town: Devnet, rpc: RpcClient) -> None:
    env = environment(folder, RPC_URL=town.http_url, WS_URL=town.ws_url, BACKFILL="0..")
    async with Daemon(folder, "run", env=env) as daemon, client_of(daemon, folder, env) as client:
        await steps(town, 5)
        number, block_hash = await head_of(rpc)
        await client.serves(number, block_hash)
        await daemon.logged("filled", first=0)

        answers = await blocks_of(rpc, range(number + 1))
        for block, receipts in answers[-6:]:
            assert told(await client.block(int(block["number"], 16))) == block_face(block)
            for tx, receipt in zip(block["transactions"], receipts, strict=True):
                answer = await client.ok(f"/api/v1/transactions/{tx['hash']}")
                assert told(answer) == detail_face(block, tx, receipt)
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
        or any(address in (move.sender, move.recipient) for move in moves(receipt))
    ]
    found, url = [], f"/api/v1/transactions/address/{mixed(address)}?page_size=7"
    while url:
        page = await client.ok(url)
        assert page["total_results"] == len(wanted)
        found += [told(each) for each in page["data"]]
        url = page["next_page_url"]
    assert found == wanted[::-1]


async def test_reorgs_of_any_depth_are_followed_and_archived(folder: Path, town: Devnet, rpc: RpcClient) -> None:
    env = environment(folder, RPC_URL=town.http_url, WS_URL=town.ws_url, BACKFILL="0..")
    async with Daemon(folder, "run", env=env) as daemon, client_of(daemon, folder, env) as client:
        await steps(town, 12)
        await client.serves(*await head_of(rpc))
        for depth in (1, 3, 10):
            await steps(town, 2)
            await client.serves(*await head_of(rpc))
            old, _ = await head_of(rpc)
            orphans = await blocks_of(rpc, range(old - depth + 1, old + 1))

            await rpc.call("anvil_reorg", depth, [])
            await steps(town, 1)

            number, block_hash = await head_of(rpc)
            await client.serves(number, block_hash)
            for fresh, _ in await blocks_of(rpc, range(old - depth, number + 1)):
                assert told(await client.block(int(fresh["number"], 16))) == block_face(fresh)
            reorg = (await client.ok("/status.json"))["chains"][0]["reorgs"][0]
            assert (reorg["ancestor"], reorg["orphaned"]) == (old - depth, depth)
            await assert_archived(folder, orphans)
        url = await EmbeddedPostgres(folder / "data" / "postgres").running_url()
        assert url is not None
        assert (await differences(rpc, url, CHAIN))[0] == []


async def assert_archived(folder: Path, orphans: Sequence[tuple[dict[str, Any], Any]]) -> None:
    """The newest entry of the archive holds these blocks and their transactions, whole."""
    url = await EmbeddedPostgres(folder / "data" / "postgres").running_url()
    assert url is not None
    connection = await asyncpg.connect(url)
    try:
        at = await connection.fetchval("select max(detected_at) from chain.reorg")
        blocks = await connection.fetch(
            "select hash from chain.orphan_block where detected_at = $1 order by number", at
        )
        txs = await connection.fetch(
            "select hash from chain.orphan_transaction where detected_at = $1 order by block_number, tx_index", at
        )
    finally:
        await connection.close()
    assert ["0x" + row["hash"].hex() for row in blocks] == [block["hash"] for block, _ in orphans]
    assert ["0x" + row["hash"].hex() for row in txs] == [tx["hash"] for b, _ in orphans for tx in b["transactions"]]


async def test_a_transaction_that_a_reorg_drops_is_gone_until_another_block_takes_it(
    folder: Path, town: Devnet, rpc: RpcClient
) -> None:
    env = environment(folder, RPC_URL=town.http_url, WS_URL=town.ws_url)
    async with Daemon(folder, "run", env=env) as daemon, client_of(daemon, folder, env) as client:
        await rpc.call("anvil_mine", "0x2")
        sender, other = ("0x" + actor.hex() for actor in town.actors[:2])
        tx_hash = await rpc.call("eth_sendTransaction", {"from": sender, "to": other, "value": "0x5"})
        await rpc.call("anvil_mine", "0x1")
        before = await client.status(f"/api/v1/transactions/{tx_hash}", 200)
        raw = await rpc.call("eth_getRawTransactionByHash", tx_hash)

        await rpc.call("anvil_reorg", 1, [])
        await rpc.call("anvil_dropAllTransactions")
        await rpc.call("anvil_mine", "0x2")
        gone = await client.status(f"/api/v1/transactions/{tx_hash}", 404)
        assert gone["code"] == "404"
        assert tx_hash in gone["error"]
        listed = await client.ok(f"/api/v1/transactions/address/{sender}?page_size=200")
        assert tx_hash not in [tx["hash"] for tx in listed["data"]]

        assert await rpc.call("eth_sendRawTransaction", raw) == tx_hash
        await rpc.call("anvil_mine", "0x1")
        after = await client.status(f"/api/v1/transactions/{tx_hash}", 200)
        assert after["block_number"] > before["block_number"]
        receipt = await rpc.call("eth_getTransactionReceipt", tx_hash)
        assert after["block_number"] == int(receipt["blockNumber"], 16)
