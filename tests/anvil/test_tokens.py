"""Transfers and token metadata of a real chain, through the real database."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from eth_abi.abi import decode

from core.hex import from_hex, to_hex
from core.keccak import keccak
from core.rpc.caller import MULTICALL3, RpcCaller
from core.rpc.client import RpcClient
from core.rpc.source import RpcSource
from core.store.derived import Derived
from core.store.listing import Filter, Window
from core.store.pg import PgStore
from core.store.pool import Pool, open_pool
from core.store.reader import Reader
from core.store.tokens import PgTokens, ask_again
from core.store.transactions import StoredTx
from core.types import BlockRange, TokenStandard
from devnet.town import Devnet
from indexer.decode.tables import LogTable, TransferTable
from indexer.tokens import Override, Tokens

CHAIN = 31_337
TRANSFER = to_hex(keccak(b"Transfer(address,address,uint256)"))
BATCH = to_hex(keccak(b"TransferBatch(address,address,address,uint256[],uint256[])"))
SINGLE = to_hex(keccak(b"TransferSingle(address,address,address,uint256,uint256)"))


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url, role="chainworkd_indexer", size=3) as pool:
        yield pool


@pytest.fixture
async def indexed(devnet: Devnet, rpc: RpcClient, pool: Pool) -> PgStore:
    """A dozen blocks of traffic, indexed."""
    for _ in range(12):
        await devnet.step()
    tables: list[Derived] = [TransferTable(lambda *_: None), LogTable("none")]
    store = PgStore(pool, CHAIN, derived=tables)
    source = RpcSource(rpc, CHAIN)
    head = await source.head()
    await store.commit(await source.blocks(BlockRange(0, head.ref.number)), after=None)
    return store


async def read_tokens(rpc: RpcClient, pool: Pool) -> None:
    reader = Tokens(RpcCaller(rpc), PgTokens(pool, CHAIN), name="test")
    while await reader.step():
        pass


async def receipts(rpc: RpcClient) -> list[dict[str, Any]]:
    height = int(await rpc.call("eth_blockNumber"), 16)
    return [r for number in range(height + 1) for r in await rpc.call("eth_getBlockReceipts", hex(number))]


def announced(receipt: dict[str, Any]) -> list[tuple[str, int, int | None]]:
    """(token, amount, id) of every transfer, decoded from the node's logs by eth-abi rather than by our own words."""
    found: list[tuple[str, int, int | None]] = []
    for log in receipt["logs"]:
        data, topic = from_hex(log["data"]), (log["topics"] or [""])[0]
        if topic == TRANSFER and len(log["topics"]) == 3:
            found.append((log["address"], decode(["uint256"], data)[0], None))
        elif topic == TRANSFER and len(log["topics"]) == 4:
            found.append((log["address"], 1, int(log["topics"][3], 16)))
        elif topic == SINGLE:
            token_id, amount = decode(["uint256", "uint256"], data)
            found.append((log["address"], amount, token_id))
        elif topic == BATCH:
            ids, amounts = decode(["uint256[]", "uint256[]"], data)
            found += [(log["address"], amount, token_id) for token_id, amount in zip(ids, amounts, strict=True)]
    return found


def stored(tx: StoredTx) -> list[tuple[str, int, int | None]]:
    return [(to_hex(t.transfer.token), t.transfer.amount, t.transfer.token_id) for t in tx.transfers]


async def test_every_transfer_the_node_tells_of_is_stored_with_its_transaction(
    indexed: PgStore, rpc: RpcClient, pool: Pool
) -> None:
    chain = Reader(pool, CHAIN)
    compared = 0
    standards = set()
    for receipt in await receipts(rpc):
        tx = await chain.transaction(from_hex(receipt["transactionHash"]))
        assert tx is not None
        assert stored(tx) == announced(receipt)
        compared += len(tx.transfers)
        standards |= {t.transfer.standard for t in tx.transfers}
    assert compared > 50
    assert standards == set(TokenStandard)


async def test_an_address_that_only_received_tokens_finds_the_transaction(
    indexed: PgStore, rpc: RpcClient, pool: Pool
) -> None:
    chain = Reader(pool, CHAIN)
    for receipt in await receipts(rpc):
        tx = await chain.transaction(from_hex(receipt["transactionHash"]))
        assert tx is not None
        for moved in tx.transfers:
            page = await chain.transactions(Filter(address=moved.transfer.recipient), Window(limit=1_000))
            assert page.total == len(page.txs)
            assert [found.hash for found in page.txs].count(tx.hash) == 1


@pytest.mark.parametrize("multicall", [True, False], ids=["multicall3", "one-by-one"])
async def test_tokens_say_the_same_with_and_without_multicall(
    indexed: PgStore, devnet: Devnet, rpc: RpcClient, pool: Pool, multicall: bool
) -> None:
    if not multicall:
        await rpc.call("anvil_setCode", to_hex(MULTICALL3), "0x")
    await read_tokens(rpc, pool)
    chain = Reader(pool, CHAIN)
    usdc, odd, nft = [await chain.token(devnet.contracts[name]) for name in ("usdc", "bytes32_token", "nft")]
    assert usdc is not None and (usdc.symbol, usdc.decimals) == ("USDC", 6)
    assert odd is not None and odd.symbol is not None and "\0" not in odd.symbol
    assert nft is not None and nft.symbol is not None and nft.decimals is None
    assert await chain.token(devnet.contracts["reverter"]) is None


async def test_a_rewind_takes_transfers_roles_and_metadata_with_it(
    indexed: PgStore, rpc: RpcClient, pool: Pool
) -> None:
    await read_tokens(rpc, pool)
    cursor = await indexed.cursor()
    ancestor = await indexed.ref_at(3)
    assert cursor is not None
    await indexed.rewind(cursor, ancestor, reason="test")
    for table in ("token_transfer", "log", "address_transaction", "tx_hash", "transaction"):
        left = await pool.fetchval(f"select count(*) from chain.{table} where block_number > 3")
        assert (table, left) == (table, 0)
    assert await pool.fetchval("select count(*) from chain.token where block_number > 3") == 0
    assert await pool.fetchval("select count(*) from chain.token_seen where read_at is not null") == 0
    await indexed.commit(await RpcSource(rpc, CHAIN).blocks(BlockRange(4, cursor.number)), after=ancestor)
    await read_tokens(rpc, pool)
    assert await pool.fetchval("select count(*) from chain.token_seen where read_at is null") == 0


async def test_a_token_that_changes_gets_a_version_and_one_that_does_not_gets_none(
    indexed: PgStore, devnet: Devnet, rpc: RpcClient, pool: Pool
) -> None:
    await read_tokens(rpc, pool)
    tokens = PgTokens(pool, CHAIN)
    usdc, dai = devnet.contracts["usdc"], devnet.contracts["dai"]
    before = await pool.fetchval("select count(*) from chain.token")
    # usdc now runs the code of dai, and says what dai says.
    await rpc.call("anvil_setCode", to_hex(usdc), await rpc.call("eth_getCode", to_hex(dai), "latest"))
    await advance(indexed, devnet, rpc)
    await tokens.ask_again([usdc, dai])
    await read_tokens(rpc, pool)
    assert await pool.fetchval("select count(*) from chain.token") == before + 1
    versions = "select count(*) from chain.token where address = $1"
    assert await pool.fetchval(versions, usdc) == 2


async def test_an_upgrade_of_a_proxy_has_its_metadata_read_again(indexed: PgStore, rpc: RpcClient, pool: Pool) -> None:
    await read_tokens(rpc, pool)
    token = await pool.fetchval("select address from chain.token_seen limit 1")
    cursor = await indexed.cursor()
    assert cursor is not None
    async with pool.acquire() as conn:
        await ask_again(conn, CHAIN, {token, b"\1" * 20})
    assert await PgTokens(pool, CHAIN).unread_tokens(10) == [token]


async def test_an_operators_override_wins_over_the_contract(
    indexed: PgStore, devnet: Devnet, rpc: RpcClient, pool: Pool
) -> None:
    usdc = devnet.contracts["usdc"]
    reader = Tokens(RpcCaller(rpc), PgTokens(pool, CHAIN), name="test", overrides={usdc: Override(symbol="USDC.e")})
    while await reader.step():
        pass
    found = await Reader(pool, CHAIN).token(usdc)
    assert found is not None
    assert (found.symbol, found.decimals) == ("USDC.e", 6)


async def test_old_tokens_expire_oldest_first_and_not_all_at_once(indexed: PgStore, rpc: RpcClient, pool: Pool) -> None:
    await read_tokens(rpc, pool)
    tokens = PgTokens(pool, CHAIN)
    assert await tokens.expire(timedelta(days=1), 100) == 0
    await pool.execute("update chain.token_seen set read_at = read_at - interval '2 days'")
    assert await tokens.expire(timedelta(days=1), 3) == 3
    assert len(await tokens.unread_tokens(100)) == 3


async def advance(store: PgStore, devnet: Devnet, rpc: RpcClient) -> None:
    """One more block of traffic, indexed."""
    await devnet.step()
    cursor = await store.cursor()
    assert cursor is not None
    head = await RpcSource(rpc, CHAIN).head()
    await store.commit(await RpcSource(rpc, CHAIN).blocks(BlockRange(cursor.number + 1, head.ref.number)), after=cursor)
