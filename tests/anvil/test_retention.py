"""Retention on a chain with real traffic: what is kept is untouched, what went is gone from every table."""

# ruff: noqa: F811 - fixtures of a neighbour, imported to be used
from functools import partial

from core.rpc.client import RpcClient
from core.rpc.source import RpcSource, finalized
from core.store.pg import PgStore
from core.store.pool import Pool
from core.store.prune import Pruner
from core.store.reader import Reader
from core.types import BlockRange
from devnet.town import Devnet
from indexer.backfill import Backfill, WantedRange
from indexer.decode.tables import LogTable, TransferTable
from indexer.retention import MARGIN_BLOCKS, Retention
from tests.anvil.test_tokens import CHAIN, indexed, pool, read_tokens  # noqa: F401 - two are fixtures

RETAIN = 256
KEYED = ("transaction", "log", "token_transfer", "tx_hash", "address_transaction")


async def state(pool: Pool, first: int) -> dict[str, object]:
    """What every table holds from block `first` on."""
    found: dict[str, object] = {
        table: await pool.fetchval(
            f"select md5(string_agg(t::text, '|' order by t::text)) from chain.{table} t where block_number >= $1",
            first,
        )
        for table in KEYED
    }
    found["block"] = await pool.fetchval(
        "select md5(string_agg(b::text, '|')) from chain.block b where number >= $1", first
    )
    found["token"] = await pool.fetchval("select count(*) from chain.token")
    return found


async def test_old_blocks_go_with_all_their_rows_and_backfill_leaves_them_alone(
    indexed: PgStore, devnet: Devnet, rpc: RpcClient, pool: Pool
) -> None:
    await read_tokens(rpc, pool)
    old = await pool.fetchval("select hash from chain.transaction order by block_number limit 1")
    await rpc.call("anvil_mine", hex(420))
    for _ in range(6):
        await devnet.step()
    source = RpcSource(rpc, CHAIN)
    cursor, head = await indexed.cursor(), (await source.head()).ref.number
    assert cursor is not None
    await indexed.commit(await source.blocks(BlockRange(cursor.number + 1, head)), after=cursor)

    lowest = head - RETAIN + 1 - MARGIN_BLOCKS
    assert lowest > 10
    before = await state(pool, lowest)
    pruner = Pruner(pool, CHAIN, derived=[TransferTable(lambda *_: None), LogTable("none")])
    counted: list[int] = []
    retention = Retention(
        indexed, pruner, partial(finalized, rpc), name="local", retain_blocks=RETAIN, on_pruned=counted.append
    )
    assert await retention.prune() == sum(counted) == lowest
    assert await state(pool, 0) == await state(pool, lowest) == before
    assert await indexed.coverage() == (BlockRange(lowest, head),)
    assert await retention.prune() == 0

    chain = Reader(pool, CHAIN)
    assert await chain.block(lowest - 1) is None
    assert await chain.block(lowest) is not None
    assert await chain.transaction(old) is None
    assert await pool.fetchval("select count(*) from chain.token_seen where read_at is null") == 0

    backfill = Backfill(source, indexed, [WantedRange(0)], name="local", retain_blocks=RETAIN)
    assert not await backfill.step()
    # A rewind lowers the head; what was pruned stays pruned, and following goes on.
    ancestor = await indexed.ref_at(head - 20)
    tip = await indexed.cursor()
    assert tip is not None
    await indexed.rewind(tip, ancestor, reason="test")
    assert not await backfill.step()
    assert await indexed.coverage() == (BlockRange(lowest, head - 20),)


async def test_what_is_not_final_is_kept(indexed: PgStore, rpc: RpcClient, pool: Pool) -> None:
    await rpc.call("anvil_mine", hex(420))
    source = RpcSource(rpc, CHAIN)
    cursor, head = await indexed.cursor(), (await source.head()).ref.number
    assert cursor is not None
    await indexed.commit(await source.blocks(BlockRange(cursor.number + 1, head)), after=cursor)
    known = await finalized(rpc)
    assert known is not None and 0 < known < head

    async def at_two() -> int | None:
        return 2

    pruner = Pruner(pool, CHAIN, derived=[TransferTable(lambda *_: None), LogTable("none")])
    assert await Retention(indexed, pruner, at_two, name="local", retain_blocks=RETAIN).prune() == 2
    assert await indexed.coverage() == (BlockRange(2, head),)
