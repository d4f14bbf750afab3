"""Many partitions: a look-up by hash must not pay for them."""

import re

from core.store import plans, reader, transactions
from core.store.copy import hash_key
from core.store.pg import PgStore
from core.store.pool import Connection, open_pool
from tests import make

PARTITIONS = 60
WIDTH = 1_000_000
TYPES = "(bigint, bigint[], integer[], bigint, bigint)"
# The first transaction again, in so many later blocks.
SQL_MANY = """
    insert into chain.transaction
        (chain_id, block_number, tx_index, type, hash, sender, value, nonce, gas, gas_used, cumulative_gas_used, input)
    select chain_id, block_number + n, tx_index, type, hash, sender, value, nonce, gas, gas_used, cumulative_gas_used,
        input
    from (select * from chain.transaction order by block_number, tx_index limit 1) t, generate_series(10, $1::bigint) n
"""


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
            for planned in (plans.PLAN_EACH, plans.PLAN_ONCE):
                async with conn.transaction():
                    await conn.execute(planned)
                    for sql in (transactions.SQL_TRANSACTIONS, transactions.SQL_TRANSFERS):
                        row = await plan(conn, sql, TYPES, "(1, array[1], array[1], 1, 1)")
                        assert {number for _, number in re.findall(r"on (\w+)_p(\d+)", row)} == {"00000000"}


async def test_a_plan_that_is_made_once_does_not_outlive_a_table_that_grows(database_url: str) -> None:
    now = 1_000.0
    async with open_pool(database_url, role="chainworkd_indexer", size=1) as pool:
        store = PgStore(pool, 1)
        await store.commit(make.chain(3, txs=2), after=None)
        async with pool.acquire() as conn:
            made = plans.Plans(lambda: now)
            await conn.execute(f"prepare asked {TYPES} as {transactions.SQL_TRANSACTIONS}")

            async def planned() -> str:
                async with conn.transaction():
                    await made.once(conn)
                    lines = await conn.fetch("explain execute asked (1, array[1], array[1], 1, 1)")
                return "\n".join(line[0] for line in lines)

            first = await planned()
            await conn.execute(SQL_MANY, 50_000)
            now += plans.REPLAN_S / 2
            assert await planned() == first
            now += plans.REPLAN_S
            assert await planned() != first


async def plan(conn: Connection, sql: str, types: str, values: str) -> str:
    await conn.execute(f"prepare asked {types} as {sql}")
    lines = await conn.fetch(f"explain (analyze, costs off, timing off, summary off) execute asked {values}")
    await conn.execute("deallocate asked")
    return "\n".join(line[0] for line in lines)
