"""Many partitions: a look-up by hash must not pay for them."""

import re

from core.store import reader
from core.store.copy import hash_key
from core.store.pg import PgStore
from core.store.pool import Connection, open_pool
from tests import make

PARTITIONS = 60
WIDTH = 1_000_000


async def test_a_look_up_by_hash_reads_one_index_and_one_partition(database_url: str) -> None:
    async with open_pool(database_url, role="chainworkd_indexer", size=2) as pool:
        store = PgStore(pool, 1)
        blocks = make.chain(3, txs=2)
        await store.commit(blocks, after=None)
        await pool.execute("select chain.ensure_partitions($1, $2)", 0, PARTITIONS * WIDTH - 1)
        wanted = blocks[1].txs[1]
        found = await reader.Reader(pool, 1).transaction(wanted.hash)
        assert found is not None and found.hash == wanted.hash

        async with pool.acquire() as conn:
            key = await plan(
                conn, reader.SQL_PLACES_OF_HASHES, "(bigint, bigint[])", f"(1, array[{hash_key(wanted.hash)}])"
            )
            assert "Only Scan using tx_hash_pkey" in key
            for sql in (reader.SQL_TRANSACTIONS, reader.SQL_TRANSFERS):
                row = await plan(
                    conn, sql, "(bigint, bigint[], integer[], bigint, bigint)", "(1, array[1], array[1], 1, 1)"
                )
                assert {number for _, number in re.findall(r"on (\w+)_p(\d+)", row)} == {"00000000"}


async def plan(conn: Connection, sql: str, types: str, values: str) -> str:
    await conn.execute(f"prepare asked {types} as {sql}")
    lines = await conn.fetch(f"explain (analyze, costs off, timing off, summary off) execute asked {values}")
    await conn.execute("deallocate asked")
    return "\n".join(line[0] for line in lines)
