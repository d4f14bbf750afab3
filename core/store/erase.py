"""The rows of a range of blocks, taken out of every fact table: what a rewind, a discard and retention have in common.

Look-up tables are keyed by what they are looked up by, so their rows go by the keys of the transactions that go: a
delete by block number would read the whole table.
"""

from collections.abc import Sequence
from typing import Final

from core.store import copy, counts, deposit_counts
from core.store.derived import Derived
from core.store.pool import Connection

# $1 chain, $2 the block above which and $3 the block up to which rows go.
SQL_KEYS: Final = """
    select hash, sender, recipient, contract_address
    from chain.transaction
    where chain_id = $1 and block_number > $2 and block_number <= $3
"""
SQL_DELETE_ADDRESSES: Final = """
    delete from chain.address_transaction
    where chain_id = $1 and address = any($4) and block_number > $2 and block_number <= $3
"""
SQL_DELETE_HASHES: Final = """
    delete from chain.tx_hash
    where chain_id = $1 and hash_key = any($4) and block_number > $2 and block_number <= $3
"""
SQL_DELETE_TRANSACTIONS: Final = """
    delete from chain.transaction where chain_id = $1 and block_number > $2 and block_number <= $3
"""
SQL_DELETE_BLOCKS: Final = "delete from chain.block where chain_id = $1 and number > $2 and number <= $3"


async def erase(conn: Connection, chain_id: int, above: int, last: int, derived: Sequence[Derived]) -> None:
    """Delete the rows of blocks above `above` up to `last`, those of `derived` too, inside the caller's transaction.

    Counts of segments with such blocks go, too. What is to be kept must have been archived before; coverage is the
    caller's.
    """
    span = (chain_id, above, last)
    rows = await conn.fetch(SQL_KEYS, *span)
    addresses = {a for row in rows for a in (row["sender"], row["recipient"], row["contract_address"]) if a}
    for each in derived:
        if each.sql_addresses is not None:
            addresses |= {row["address"] for row in await conn.fetch(each.sql_addresses, *span)}
    await conn.execute(SQL_DELETE_ADDRESSES, *span, list(addresses))
    await conn.execute(SQL_DELETE_HASHES, *span, [copy.hash_key(row["hash"]) for row in rows])
    for each in derived:
        await conn.execute(each.sql_delete, *span)
    await conn.execute(SQL_DELETE_TRANSACTIONS, *span)
    await conn.execute(SQL_DELETE_BLOCKS, *span)
    await counts.unseal(conn, *span)
    await deposit_counts.unseal(conn, *span)
