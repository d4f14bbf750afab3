"""What PgStore promises beyond the port: rows, archive, partitions, rights, and many connections at once."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace

import asyncpg
import pytest

from core.errors import BadConfig, CursorMoved, SeamBroken, Transient, WrongChain
from core.store.listing import Filter, Window
from core.store.pg import PARTITION_BLOCKS, PgStore
from core.store.pool import Pool, open_pool
from core.store.reader import Reader
from core.types import Block, BlockRef
from tests import make
from tests.sim.postgres import check_stored

PALM = 11_297_108_109  # a chain id above 2^31
FACTS = ("block", "transaction", "tx_hash", "address_transaction")
A = make.chain(40, txs=2)
B = A[:20] + make.chain(15, onto=A[19], fork="b", txs=2)


async def rows(pool: Pool, table: str, chain: int) -> list[tuple[object, ...]]:
    """Return all rows of one chain, without its id, in a fixed order."""
    found = await pool.fetch(f"select * from chain.{table} where chain_id = $1", chain)
    return sorted((tuple(row.values())[1:] for row in found), key=repr)


async def fresh_index(pool: Pool, chain: int, blocks: Sequence[Block]) -> None:
    store = PgStore(pool, chain)
    await store.register(f"fresh {chain}", None)
    await store.commit(blocks, after=None)


async def store_of(pool: Pool, chain: int = 1) -> PgStore:
    store = PgStore(pool, chain)
    await store.register(f"chain {chain}", None)
    return store


async def test_after_any_sequence_the_rows_are_those_of_a_fresh_index(pool: Pool) -> None:
    store = await store_of(pool)
    await store.commit(A[10:13], after=None)
    await store.commit(A[30:35], after=A[12].ref)
    await store.fill(A[25:30])
    await store.fill(A[16:18], anchored=False)
    await store.fill(A[0:10])
    await store.discard(17, A[17].ref, reason="test")
    await store.rewind(A[34].ref, A[16].ref, reason="test")
    await store.commit(B[17:25], after=A[16].ref)
    await store.fill(A[13:16])
    await store.rewind(B[24].ref, B[19].ref, reason="test")
    await store.commit(B[20:], after=B[19].ref)
    await fresh_index(pool, 2, B)
    for table in FACTS:
        assert await rows(pool, table, 1) == await rows(pool, table, 2), table
    await check_stored(pool, 1)


async def test_the_archive_holds_what_was_taken_away_and_why(pool: Pool) -> None:
    store = await store_of(pool)
    await store.commit(A[:25], after=None)
    await store.rewind(A[24].ref, A[19].ref, reason="another block at 20")
    reorg = await pool.fetchrow("select * from chain.reorg where chain_id = 1")
    assert reorg is not None
    assert (reorg["ancestor_number"], reorg["ancestor_hash"]) == (19, A[19].hash)
    assert (reorg["orphan_number"], reorg["orphan_hash"]) == (24, A[24].hash)
    assert reorg["reason"] == "another block at 20"
    blocks = await pool.fetch("select number, hash, detected_at from chain.orphan_block order by number")
    assert [(row["number"], row["hash"]) for row in blocks] == [(b.number, b.hash) for b in A[20:25]]
    assert {row["detected_at"] for row in blocks} == {reorg["detected_at"]}
    txs = await pool.fetch("select hash from chain.orphan_transaction order by block_number, tx_index")
    assert [row["hash"] for row in txs] == [tx.hash for block in A[20:25] for tx in block.txs]


async def test_a_commit_that_fails_midway_leaves_nothing(pool: Pool) -> None:
    store = await store_of(pool)
    await store.commit(A[:3], after=None)
    double = make.tx(0, salt="double")
    for broken in (
        make.block(4, A[3].hash, txs=[double, double]),  # the same place twice: refused by the last table but two
        make.block(4, A[3].hash, txs=[replace(double, value=2**256 * 10)]),  # more digits than the domain has
        make.block(4, A[3].hash, txs=[replace(double, type=2**15)]),  # cannot be encoded
    ):
        with pytest.raises((Transient, asyncpg.PostgresError, OverflowError)):
            await store.commit([A[3], broken], after=A[2].ref)
        with pytest.raises((Transient, asyncpg.PostgresError, OverflowError)):
            await store.fill([A[3], broken], anchored=False)
    assert await store.cursor() == A[2].ref
    await fresh_index(pool, 2, A[:3])
    for table in FACTS:
        assert await rows(pool, table, 1) == await rows(pool, table, 2), table


async def test_a_range_may_cross_partitions(pool: Pool) -> None:
    edge = PARTITION_BLOCKS
    blocks = [make.block(edge - 3, b"\x01" * 32)]
    blocks += make.chain(6, onto=blocks[0])
    store = await store_of(pool)
    await store.commit(blocks[:4], after=None)
    await store.commit(blocks[4:], after=blocks[3].ref)
    parts = await pool.fetch("select tableoid::regclass::text as part, count(*) from chain.block group by 1 order by 1")
    assert [tuple(row) for row in parts] == [("chain.block_p00000000", 3), ("chain.block_p00000001", 4)]
    await store.rewind(blocks[-1].ref, blocks[1].ref, reason="across")
    assert [(span.first, span.last) for span in await store.coverage()] == [(edge - 3, edge - 2)]


async def test_partitions_made_by_many_connections_at_once_are_made_once(pool: Pool) -> None:
    stores = [await store_of(pool, chain) for chain in range(1, 9)]
    await asyncio.gather(*(store.commit([make.block(5_000_000)], after=None) for store in stores))
    found = await pool.fetchval("select count(*) from pg_inherits where inhparent = 'chain.block'::regclass")
    assert found == 1


async def test_chain_ids_above_2_to_the_31_are_ordinary(pool: Pool) -> None:
    store = await store_of(pool, PALM)
    await store.commit(A[10:13], after=None)
    await store.fill(A[5:10])
    await store.rewind(A[12].ref, A[11].ref, reason="test")
    assert await store.cursor() == A[11].ref


async def test_chains_do_not_disturb_one_another(pool: Pool) -> None:
    one, two = await store_of(pool, 1), await store_of(pool, 2)
    await one.commit(A[:10], after=None)
    await two.commit(A[:10], after=None)
    await one.rewind(A[9].ref, None, reason="test")
    assert await two.cursor() == A[9].ref
    assert len(await rows(pool, "tx_hash", 2)) == 20


async def test_a_refused_register_renames_nothing(pool: Pool) -> None:
    store = PgStore(pool, 1)
    await store.register("mine", A[0].hash)
    with pytest.raises(WrongChain, match="another database"):
        await store.register("another", make.digest("another genesis"))
    assert await pool.fetchval("select name from chain.chain where chain_id = 1") == "mine"


async def test_two_writers_cannot_both_commit(pool: Pool) -> None:
    stores = [await store_of(pool) for _ in range(6)]
    forks = [make.chain(3, fork=name) for name in range(6)]
    done = await asyncio.gather(
        *(store.commit(fork, after=None) for store, fork in zip(stores, forks, strict=True)), return_exceptions=True
    )
    assert [type(each) for each in done if each is not None] == [CursorMoved] * 5
    await check_stored(pool, 1)


@pytest.mark.parametrize("seed", range(3))
async def test_commits_fills_and_rewinds_at_once_leave_a_whole_chain(pool: Pool, seed: int) -> None:
    """Writers of two forks race on eight connections; whatever wins, what is stored links and is covered."""
    dice = random.Random(seed)
    store = await store_of(pool)
    await store.commit(A[25:27], after=None)
    refused: list[str] = []

    async def write() -> None:
        for _ in range(25):
            try:
                await _write_something(store, dice)
            except (CursorMoved, SeamBroken) as error:
                refused.append(type(error).__name__)

    await asyncio.gather(*(write() for _ in range(6)))
    await check_stored(pool, 1)
    stored = {row[0]: row[4] for row in await rows(pool, "block", 1)}
    await fresh_tables_match(pool, [next(b for b in (*A, *B) if b.hash == hash_) for hash_ in stored.values()])
    assert refused


async def _write_something(store: PgStore, dice: random.Random) -> None:
    cursor = await store.cursor()
    chain = dice.choice((A, B))
    covered = await store.coverage()
    match dice.choice(("commit", "commit", "fill", "fill", "rewind", "discard")):
        case "commit":
            first = dice.randint(20, 28) if cursor is None else cursor.number + dice.choice((1, 1, 3))
            if chain[first : first + 2]:
                await store.commit(chain[first : first + 2], after=cursor)
        case "fill":
            last = dice.randint(3, 30)
            await store.fill(chain[last - 3 : last], anchored=dice.random() < 0.7)
        case "rewind" if cursor is not None:
            at = dice.choice([span.last for span in covered] or [0])
            ancestor = await store.ref_at(max(0, min(at, cursor.number - 1) - dice.randint(0, 2)))
            if ancestor != cursor:
                await store.rewind(cursor, ancestor, reason="race")
        case "discard" if covered:
            tip = await store.ref_at(covered[0].last)
            if tip is not None:
                await store.discard(covered[0].last, tip, reason="race")


async def fresh_tables_match(pool: Pool, blocks: Sequence[Block]) -> None:
    """Compare chain 1 with an index of just these blocks."""
    fresh, after = await store_of(pool, 2), None
    for block in sorted(blocks, key=lambda each: each.number):
        linked = after is None or block.number > after.number + 1 or block.parent_hash == after.hash
        assert linked
        await fresh.commit([block], after=after)
        after = BlockRef(block.number, block.hash)
    for table in FACTS:
        assert await rows(pool, table, 1) == await rows(pool, table, 2), table


async def test_the_api_cannot_write_chain_tables(database_url: str, pool: Pool) -> None:
    await (await store_of(pool)).commit(A[:3], after=None)
    tables = await pool.fetch("select relname as name from pg_class where relnamespace = 'chain'::regnamespace"
                              " and relkind in ('r', 'p')")  # fmt: skip
    assert len(tables) >= 11
    async with open_pool(database_url, role="chainworkd_api", size=1) as api:
        assert await Reader(api, 1).block(2) is not None
        for table in tables:
            for sql in (f"delete from chain.{table['name']}", f"insert into chain.{table['name']} default values",
                        f"truncate chain.{table['name']}"):  # fmt: skip
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await api.execute(sql)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await api.execute("select chain.ensure_partitions(9000000, 9000000)")
        with pytest.raises(BadConfig):
            await PgStore(api, 1).saw(A[3].head)


async def test_readers_see_the_transaction_of_a_stored_block(pool: Pool) -> None:
    await (await store_of(pool)).commit(A[:3], after=None)
    reader = Reader(pool, 1)
    wanted = A[2].txs[1]
    found = await reader.transaction(wanted.hash)
    assert found is not None
    assert (found.block_number, found.tx_index, found.sender) == (2, 1, wanted.sender)
    assert (await reader.transactions(Filter(address=wanted.sender), Window(limit=10))).total == 3
    assert await reader.transaction(wanted.hash[:8] + bytes(24)) is None
