"""Watch mode beside full mode on the same traffic: what concerns the watched is equal, the rest is not claimed."""

# ruff: noqa: F811 - fixtures of a neighbour, imported to be used
from collections.abc import Sequence
from pathlib import Path

import pytest

from api.schemas import Block as BlockAnswer
from core.errors import BadConfig
from core.rpc.client import RpcClient
from core.rpc.source import RpcSource
from core.store.copy import check_linked
from core.store.derived import Derived
from core.store.listing import Filter, Window
from core.store.pg import PgStore
from core.store.pool import Pool
from core.store.reader import Reader
from core.store.watch import declare
from core.types import Block, BlockRange
from devnet.town import Devnet
from indexer.decode.tables import LogTable, TransferTable
from indexer.watch import concerns, watching
from tests.anvil.test_tokens import CHAIN, indexed, pool  # noqa: F401 - two are fixtures
from tests.pg.test_export import exported, rows

WATCH = 99  # the same blocks under another id
ALL = Window(limit=10_000)


async def blocks_of(rpc: RpcClient) -> Sequence[Block]:
    source = RpcSource(rpc, CHAIN)
    return await source.blocks(BlockRange(0, (await source.head()).ref.number))


async def watch_store(pool: Pool, watched: Sequence[bytes]) -> PgStore:
    tables: list[Derived] = [TransferTable(lambda *_: None), LogTable("all")]
    store = PgStore(pool, WATCH, derived=tables, keep=watching(watched))
    await store.register("watch", None)
    await declare(pool, WATCH, "watch", watched)
    return store


async def test_what_concerns_the_watched_is_stored_whole_and_nothing_else_is(
    indexed: PgStore, devnet: Devnet, rpc: RpcClient, pool: Pool
) -> None:
    blocks = await blocks_of(rpc)
    someone = next(tx.sender for block in reversed(blocks) for tx in block.txs if len(tx.receipt.logs) > 1)
    watched = [someone, devnet.contracts["usdc"]]
    store = await watch_store(pool, watched)
    await store.commit(blocks, after=None)
    full, some = Reader(pool, CHAIN), Reader(pool, WATCH)

    for address in watched:
        theirs, ours = [await r.transactions(Filter(address=address), ALL) for r in (full, some)]
        assert (ours.txs, ours.total, ours.complete) == (theirs.txs, theirs.total, True)
    theirs, ours = [await r.transactions(Filter(token=watched[1]), ALL) for r in (full, some)]
    assert (ours.txs, ours.total, ours.complete) == (theirs.txs, theirs.total, True)
    assert ours.total > 5

    everything = await some.transactions(Filter(), ALL)
    assert everything.total == len(everything.txs) == sum(concerns(t, watched) for b in blocks for t in b.txs)
    assert not everything.complete
    assert everything.total < sum(len(block.txs) for block in blocks)
    for block in blocks:
        found = await some.block(block.number)
        assert found is not None
        assert (found.tx_count, found.watched) == (len(block.txs), True)
        assert list(found.tx_hashes) == [tx.hash for tx in block.txs if concerns(tx, watched)]
        shown = BlockAnswer.of(found)
        assert (shown.transaction_count, shown.mode) == (len(block.txs), "watch")
        for tx in block.txs:
            kept = await some.transaction(tx.hash)
            assert kept == (await full.transaction(tx.hash) if concerns(tx, watched) else None)


@pytest.mark.usefixtures("indexed")
async def test_a_rewind_and_another_commit_leave_the_same(
    devnet: Devnet, rpc: RpcClient, pool: Pool, database_url: str, tmp_path: Path
) -> None:
    blocks = await blocks_of(rpc)
    watched = [devnet.contracts["usdc"]]
    store = await watch_store(pool, watched)
    await store.commit(blocks, after=None)
    before = await exported(database_url, tmp_path / "before", "--chain", "watch", "--from", "0")
    await store.rewind(blocks[-1].ref, blocks[5].ref, reason="test")
    await store.commit(blocks[6:], after=blocks[5].ref)
    after = await exported(database_url, tmp_path / "after", "--chain", "watch", "--from", "0")
    assert before == after
    assert before["watched"] == ["0x" + watched[0].hex()]
    for name in ("blocks", "transactions", "transfers"):
        assert rows(tmp_path / "before" / f"{name}.csv") == rows(tmp_path / "after" / f"{name}.csv")
    counts = [(int(b["tx_count"]), int(b["stored_tx_count"])) for b in rows(tmp_path / "after" / "blocks.csv")]
    assert counts == [(len(b.txs), sum(concerns(t, watched) for t in b.txs)) for b in blocks]
    orphans = await pool.fetchval("select count(*) from chain.orphan_block where stored_tx_count is not null")
    assert orphans == len(blocks) - 6


async def test_mode_and_watched_addresses_are_settled_by_the_first_block(
    indexed: PgStore, devnet: Devnet, rpc: RpcClient, pool: Pool
) -> None:
    one, other = devnet.contracts["usdc"], devnet.contracts["dai"]
    with pytest.raises(BadConfig, match=r"chains\.local: mode: expected full, found watch; blocks 0\.\.\d+ of it"):
        await pool.execute("insert into chain.chain (chain_id, name) values ($1, 'local')", CHAIN)
        await declare(pool, CHAIN, "local", [one])
    store = await watch_store(pool, [one])
    await declare(pool, WATCH, "watch", [other, one])  # nothing is stored yet
    await declare(pool, WATCH, "watch", [one, other, one])
    await store.commit(await blocks_of(rpc), after=None)
    await declare(pool, WATCH, "watch", [one, other])
    with pytest.raises(BadConfig, match=rf"watched: expected the 2 addresses .*, found -0x{other.hex()}; blocks"):
        await declare(pool, WATCH, "watch", [one])
    with pytest.raises(BadConfig, match="mode: expected watch, found full"):
        await declare(pool, WATCH, "watch", None)
    assert await Reader(pool, WATCH).watched() == tuple(sorted([one, other]))
    assert await Reader(pool, CHAIN).watched() is None


async def test_the_filter_keeps_headers_and_order_and_is_idempotent(devnet: Devnet, rpc: RpcClient) -> None:
    for _ in range(3):
        await devnet.step()
    blocks = await blocks_of(rpc)
    kept = watching([devnet.contracts["usdc"]])
    filtered = [kept(block) for block in blocks]
    check_linked(filtered)
    assert [kept(block) for block in filtered] == filtered
    assert [block.tx_total for block in filtered] == [len(block.txs) for block in blocks]
    everyone = {a for block in blocks for tx in block.txs for a in (tx.sender,)}
    assert [watching(everyone)(block).txs for block in blocks] == [block.txs for block in blocks]
    assert all(watching([])(block).txs == () for block in blocks)
