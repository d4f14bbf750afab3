"""Events mode: what is stored of the watched contracts equals what full mode stores, and nothing else is."""

# ruff: noqa: F811 - fixtures of a neighbour, imported to be used
import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from core.errors import BadConfig
from core.rpc.client import RpcClient
from core.rpc.logs import EventAnswers
from core.rpc.pool import RpcPool
from core.rpc.source import RpcSource
from core.store.bulk import Chunk, Unusual
from core.store.derived import Derived
from core.store.listing import Filter, Window
from core.store.pg import PgStore
from core.store.pool import Pool
from core.store.reader import Reader
from core.store.watch import declare
from core.types import BlockRange
from devnet.town import Devnet
from indexer.decode.tables import EventTransactionTable, LogTable, TransferTable
from indexer.eventpath import EventPath
from indexer.watch import only_events
from tests.anvil.test_tokens import CHAIN, indexed, pool  # noqa: F401 - two are fixtures
from tests.pg.test_export import exported, rows

BULK, CAREFUL = 97, 98  # the same blocks under other ids

SQL_TRANSFERS = """
    select block_number, log_index, position, tx_index, standard, token, sender, recipient, amount, token_id
    from chain.token_transfer
    where chain_id = $1 and token = any($2)
    order by block_number, log_index, position
"""
SQL_HASHES = """
    select t.block_number, t.tx_index, t.hash
    from chain.transaction t
    where t.chain_id = $1 and exists (
        select from chain.token_transfer m
        where m.chain_id = $1 and m.block_number = t.block_number and m.tx_index = t.tx_index and m.token = any($2)
    )
    order by 1, 2
"""
SQL_EVENT_HASHES = "select block_number, tx_index, hash from chain.event_transaction where chain_id = $1 order by 1, 2"
SQL_LOGS = "select * from chain.log where chain_id = $1 order by block_number, log_index"


def tables(watched: Sequence[bytes]) -> tuple[TransferTable, LogTable]:
    return TransferTable(lambda *_: None), LogTable("watched", watched)


async def events_store(pool: Pool, chain_id: int, watched: Sequence[bytes]) -> PgStore:
    derived: list[Derived] = [*tables(watched), EventTransactionTable()]
    store = PgStore(pool, chain_id, derived=derived, keep=only_events(watched), transactions=False)
    await store.register(f"events{chain_id}", None)
    await declare(pool, chain_id, f"events{chain_id}", watched, events_only=True)
    return store


async def stored_both_ways(rpc: RpcClient, pool: Pool, watched: Sequence[bytes]) -> tuple[PgStore, PgStore, int]:
    """Store the chain block by block as the head would, and in bulk from headers and eth_getLogs."""
    source = RpcSource(rpc, CHAIN)
    head = (await source.head()).ref.number
    blocks = await source.blocks(BlockRange(0, head))
    careful = await events_store(pool, CAREFUL, watched)
    await careful.commit(blocks, after=None)
    bulk = await events_store(pool, BULK, watched)
    await bulk.begin(blocks[-1])
    async with RpcPool([RpcClient(rpc.url)]) as nodes:
        answers = EventAnswers(nodes, watched)
        path = EventPath(BULK, *tables(watched))
        parts = [BlockRange(a, b - 1) for a, b in pairwise([*range(0, head, 7), head])]
        pieces = [path.encode(*await answers.answers(part)) for part in parts]
    await bulk.fill_chunk(Chunk(pieces), anchored=True)
    return careful, bulk, head


async def found(pool: Pool, chain_id: int, sql: str, *arguments: Any) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await pool.fetch(sql, chain_id, *arguments)]


async def test_events_equal_those_of_full_mode(indexed: PgStore, devnet: Devnet, rpc: RpcClient, pool: Pool) -> None:
    watched = [devnet.contracts[name] for name in ("usdc", "dai", "nft", "items")]
    await stored_both_ways(rpc, pool, watched)
    expected = await found(pool, CHAIN, SQL_TRANSFERS, watched)
    assert len(expected) > 20
    assert {row[4] for row in expected} == {20, 721, 1155}
    hashes = await found(pool, CHAIN, SQL_HASHES, watched)
    for chain_id in (CAREFUL, BULK):
        assert await found(pool, chain_id, SQL_TRANSFERS, watched) == expected
        # Approvals are events, too, so there are more of these than transfers alone would tell.
        assert set(hashes) <= set(await found(pool, chain_id, SQL_EVENT_HASHES))
        nothing = "select count(*) from chain.transaction where chain_id = $1"
        assert await pool.fetchval(nothing, chain_id) == 0
    assert await found(pool, CAREFUL, SQL_EVENT_HASHES) == await found(pool, BULK, SQL_EVENT_HASHES)
    logs = [await found(pool, chain_id, SQL_LOGS) for chain_id in (CAREFUL, BULK)]
    assert [row[1:] for row in logs[0]] == [row[1:] for row in logs[1]]
    assert len(logs[0]) >= len({row[:2] for row in expected})  # a batch moves several


async def test_headers_and_true_counts_are_stored_and_nothing_is_claimed_of_transactions(
    indexed: PgStore, devnet: Devnet, rpc: RpcClient, pool: Pool
) -> None:
    usdc = devnet.contracts["usdc"]
    _, _, head = await stored_both_ways(rpc, pool, [usdc])
    full = Reader(pool, CHAIN)
    for chain_id in (CAREFUL, BULK):
        reader = Reader(pool, chain_id)
        assert await reader.mode() == "events"
        for number in range(head + 1):
            theirs, ours = await full.block(number), await reader.block(number)
            assert theirs is not None and ours is not None
            assert (ours.hash, ours.tx_count, ours.tx_hashes) == (theirs.hash, theirs.tx_count, ())
        listed = await reader.transactions(Filter(token=usdc), Window(limit=10))
        assert not listed.complete


@pytest.mark.usefixtures("indexed")
async def test_exported_transfers_name_their_transactions(
    devnet: Devnet, rpc: RpcClient, pool: Pool, database_url: str, tmp_path: Path
) -> None:
    usdc = devnet.contracts["usdc"]
    await stored_both_ways(rpc, pool, [usdc])
    await pool.execute("insert into chain.chain (chain_id, name) values ($1, 'local')", CHAIN)
    await exported(database_url, tmp_path / "full", "--chain", "local", "--from", "0")
    await exported(database_url, tmp_path / "events", "--chain", f"events{BULK}", "--from", "0")
    wanted = [row for row in rows(tmp_path / "full" / "transfers.csv") if row["token"] == "0x" + usdc.hex()]
    assert wanted
    assert rows(tmp_path / "events" / "transfers.csv") == wanted


@pytest.mark.usefixtures("indexed")
async def test_a_rewind_takes_events_away_and_a_commit_brings_them_back(
    devnet: Devnet, rpc: RpcClient, pool: Pool
) -> None:
    watched = [devnet.contracts["usdc"]]
    careful, _, head = await stored_both_ways(rpc, pool, watched)
    blocks = await RpcSource(rpc, CHAIN).blocks(BlockRange(0, head))
    before = [await found(pool, CAREFUL, sql) for sql in (SQL_EVENT_HASHES, SQL_LOGS)]
    await careful.rewind(blocks[-1].ref, blocks[5].ref, reason="test")
    assert all(row[0] <= 5 for row in await found(pool, CAREFUL, SQL_EVENT_HASHES))
    await careful.commit(blocks[6:], after=blocks[5].ref)
    assert [await found(pool, CAREFUL, sql) for sql in (SQL_EVENT_HASHES, SQL_LOGS)] == before


@pytest.mark.usefixtures("indexed")
async def test_the_mode_is_settled_by_the_first_block(devnet: Devnet, rpc: RpcClient, pool: Pool) -> None:
    watched = [devnet.contracts["usdc"]]
    await stored_both_ways(rpc, pool, watched)
    with pytest.raises(BadConfig, match="mode: expected events, found watch"):
        await declare(pool, BULK, "events", watched)
    await declare(pool, BULK, "events", watched, events_only=True)


@pytest.mark.usefixtures("indexed")
async def test_logs_of_other_blocks_or_transactions_are_refused(devnet: Devnet, rpc: RpcClient) -> None:
    watched = [devnet.contracts["usdc"]]
    head = (await RpcSource(rpc, CHAIN).head()).ref.number
    async with RpcPool([RpcClient(rpc.url)]) as nodes:
        headers, (logs,) = await EventAnswers(nodes, watched).answers(BlockRange(0, head))
    path = EventPath(BULK, *tables(watched))
    assert path.encode(headers, [logs]).counts["log"] > 0
    text = bytes(logs).decode()
    tx_hash = text.split('"transactionHash":"')[1][:66]
    for wrong in (text.replace(tx_hash, "0x" + "12" * 32, 1), text.replace('"removed":false', '"removed":true', 1)):
        with pytest.raises(Unusual):
            path.encode(headers, [wrong.encode()])
    with pytest.raises(Unusual, match="not asked for"):
        path.encode(headers[:3], [logs])


@pytest.mark.usefixtures("indexed")
async def test_logs_of_one_transaction_that_do_not_lie_together_are_refused(devnet: Devnet, rpc: RpcClient) -> None:
    watched = [devnet.contracts[name] for name in ("usdc", "dai", "lusd")]
    head = (await RpcSource(rpc, CHAIN).head()).ref.number
    async with RpcPool([RpcClient(rpc.url)]) as nodes:
        headers, (raw,) = await EventAnswers(nodes, watched).answers(BlockRange(0, head))
    logs = json.loads(bytes(raw))
    at = next(
        i for i, (one, next_) in enumerate(pairwise(logs))
        if one["blockNumber"] == next_["blockNumber"] and one["transactionIndex"] != next_["transactionIndex"]
    )  # fmt: skip
    # The first transaction again behind the second one, under a later index.
    again = {**logs[at], "logIndex": hex(int(logs[at + 1]["logIndex"], 16) + 1)}
    same_block = [log for log in logs if log["blockNumber"] == logs[at]["blockNumber"]]
    cut = logs[: at + 2] + [again] + [log for log in logs if log not in same_block and log not in logs[: at + 2]]
    with pytest.raises(Unusual, match="not in order"):
        EventPath(BULK, *tables(watched)).encode(headers, [json.dumps(cut).encode()])
