"""The same blocks by the hot path and by the careful one: every table of the database is equal."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from core.errors import CursorMoved
from core.rpc import wire
from core.store.bulk import Chunk, Piece, RowsRefused
from core.store.derived import Derived
from core.store.pg import PgStore
from core.store.pool import Pool, open_pool
from core.store.verified import Completeness, PgVerified
from core.types import Block, BlockRange
from core.verify.checks import ALL, NONE, Level
from indexer.decode.tables import KeepLogs, LogTable, TransferTable, VaultTable
from indexer.hotpath import HotPath
from indexer.watch import watching
from tests import blocks, make, sealed

SQL_TABLES = """
    select relname as name from pg_class
    where relnamespace = 'chain'::regnamespace and relkind in ('r', 'p') and not relispartition
"""
HOT, CAREFUL = 1, 2  # the same blocks under two ids
TIMES = frozenset({"created_at", "updated_at", "told_at"})
WATCHED = (blocks.PEOPLE[3], blocks.TOKENS[1], blocks.VAULT)


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url, role="chainworkd_indexer", size=4) as opened:
        yield opened


async def everything(pool: Pool, chain: int) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of one chain, in the order of their text, without its id and the times of writing."""
    found = {}
    for table in await pool.fetch(SQL_TABLES):
        rows = await pool.fetch(f"select * from chain.{table['name']} where chain_id = $1", chain)
        left = [tuple(v for k, v in row.items() if k not in TIMES and k != "chain_id") for row in rows]
        found[table["name"]] = sorted(left, key=repr)
    return found


TOP = make.block(2_000_000, txs=0)  # a cursor: what is filled lies below it


@asynccontextmanager
async def pair(
    pool: Pool, keep: KeepLogs, watched: Collection[bytes] | None
) -> AsyncIterator[tuple[PgStore, HotPath, PgStore]]:
    transfers, logs = TransferTable(lambda *_: None), LogTable(keep, blocks.TOKENS[:2])
    vaults = VaultTable([blocks.VAULT], lambda *_: None)
    tables: list[Derived] = [transfers, vaults, logs]
    kept = None if watched is None else watching(watched)
    stores = [PgStore(pool, chain, derived=tables, keep=kept) for chain in (HOT, CAREFUL)]
    for store in stores:
        await store.register("the same", None)
        await store.begin(TOP)
    yield stores[0], HotPath(HOT, transfers, logs, [vaults], watched), stores[1]


def said(part: Sequence[Block]) -> list[Block]:
    """What the careful path reads of the answers that the hot path gets."""
    read = [wire.block(raw, receipts) for raw, receipts in zip(*blocks.answers(part), strict=True)]
    return [block for block in read if block is not None]


def chunk(hot: HotPath, part: Sequence[Block], size: int = 2) -> Chunk:
    pieces: list[Piece] = []
    for at in range(0, len(part), size):
        pieces.append(hot.encode(*blocks.answers(part[at : at + size])))
    return Chunk(pieces)


@pytest.mark.parametrize(("keep", "watched"), [("all", None), ("watched", None), ("none", None), ("all", WATCHED)])
async def test_every_table_is_equal_by_both_ways(pool: Pool, keep: KeepLogs, watched: Collection[bytes] | None) -> None:
    made = blocks.chain(f"pg {keep}", 30, first=999_985)  # across two partitions
    async with pair(pool, keep, watched) as (store, hot, careful):
        for at in (20, 0, 10):
            part = made[at : at + 10]
            await store.fill_chunk(chunk(hot, part), anchored=False)
            await careful.fill(said(part), anchored=False)
        assert await store.coverage() == (BlockRange(999_985, 1_000_014), BlockRange(TOP.number, TOP.number))
    ours, theirs = await everything(pool, HOT), await everything(pool, CAREFUL)
    assert {name for name, rows in theirs.items() if rows} >= {
        "block", "transaction", "tx_hash", "address_transaction", "token_transfer", "vault_event", "token_seen",
        "coverage", "log",
    }  # fmt: skip
    for name, rows in theirs.items():
        assert ours[name] == rows, name


async def test_blocks_at_the_head_are_equal_by_both_ways(pool: Pool) -> None:
    made = blocks.chain("head", 12, first=TOP.number + 1)
    made[0] = replace(made[0], parent_hash=TOP.hash)
    async with pair(pool, "all", None) as (store, hot, careful):
        after = TOP.ref
        for part in (made[:1], made[1:4], made[4:]):
            await store.commit_chunk(chunk(hot, part), after=after)
            await careful.commit(said(part), after=after)
            after = part[-1].ref
        assert await store.cursor() == after
        with pytest.raises(CursorMoved):
            await store.commit_chunk(chunk(hot, made[4:]), after=made[3].ref)
        tried = (blocks.chain(f"next {n}", 1, first=after.number + 1) for n in range(100))
        good = hot.encode(*blocks.answers(next(made for made in tried if made[0].txs)))
        header = replace(good.headers[0], parent_hash=after.hash)
        cut = {table: rows[:-1] for table, rows in good.copies.items()}
        with pytest.raises(RowsRefused):
            await store.commit_chunk(Chunk([replace(good, headers=[header], copies=cut)]), after=after)
        assert await store.cursor() == after
    ours, theirs = await everything(pool, HOT), await everything(pool, CAREFUL)
    for name, rows in theirs.items():
        assert ours[name] == rows, name


async def test_what_blocks_in_bulk_have_passed_is_noted_with_their_rows(pool: Pool) -> None:
    made = sealed.chain("noted", 9, HOT, first=100)
    async with pair(pool, "all", None) as (store, unchecked, _):
        level = Level(ALL)
        checked = HotPath(HOT, TransferTable(lambda *_: None), LogTable("all"), level=level)
        await store.fill_chunk(chunk(checked, made[3:]), anchored=False)
        await store.fill_chunk(chunk(unchecked, made[:3]), anchored=True)
        verified = PgVerified(pool, HOT)
        await verified.calibrated(ALL, NONE)
        # The cursor's block was not verified either.
        assert await verified.completeness() == Completeness(ALL, 10, 6)
        assert await verified.below_level(ALL) == [BlockRange(TOP.number, TOP.number), BlockRange(100, 102)]
        level.checks = NONE
        assert {block.checks for block in chunk(checked, made).headers} == {0}


async def test_a_proxy_that_changed_is_asked_again_by_both_ways(pool: Pool) -> None:
    made = blocks.chain("upgraded", 12)
    async with pair(pool, "none", None) as (store, hot, careful):
        await store.fill_chunk(chunk(hot, made[6:]), anchored=False)
        await careful.fill(said(made[6:]), anchored=False)
        await pool.execute("update chain.token_seen set read_at = now()")
        await store.fill_chunk(chunk(hot, made[:6]), anchored=True)
        await careful.fill(said(made[:6]))
        unread = "select address from chain.token_seen where chain_id = $1 and read_at is null order by 1"
        assert await pool.fetch(unread, HOT) == await pool.fetch(unread, CAREFUL) != []


async def test_rows_that_no_table_holds_are_refused_and_nothing_stays(pool: Pool) -> None:
    made = blocks.chain("refused", 8)
    async with pair(pool, "all", None) as (store, hot, _):
        good = hot.encode(*blocks.answers(made))
        assert all(good.copies.values())
        for table, data in good.copies.items():
            for wrong in (data[:-6], data + b"\0", data[2:], b"\xff" + data[1:], b"\xff\xff" + data, data[:0]):
                copies = {**good.copies, table: wrong}
                bad = Piece(good.headers, copies, good.counts, good.records, good.tokens, good.upgraded)
                with pytest.raises(RowsRefused):
                    await store.fill_chunk(Chunk([bad]), anchored=False)
        assert await store.coverage() == (BlockRange(TOP.number, TOP.number),)
        stored = {name: rows for name, rows in (await everything(pool, HOT)).items() if rows}
        assert {name: len(rows) for name, rows in stored.items()} == {
            "chain": 1,
            "cursor": 1,
            "coverage": 1,
            "block": 1,
            "fact": 1,
            "fact_tail": 1,
        }
        await store.fill_chunk(Chunk([good]), anchored=False)
        assert (await store.coverage())[0] == BlockRange(0, 7)


async def test_a_block_without_transactions_is_a_block(pool: Pool) -> None:
    made = make.chain(3, txs=0)
    async with pair(pool, "all", None) as (store, hot, careful):
        await store.fill_chunk(chunk(hot, made), anchored=False)
        await careful.fill(said(made), anchored=False)
    assert await everything(pool, HOT) == await everything(pool, CAREFUL)
