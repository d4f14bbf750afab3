"""A database of made-up blocks for the explorer's bench, written by PostgreSQL itself (generate_series).

What is measured is reading, so rows are made where they are stored: the pipeline would take minutes for them. The
tables, their keys and the number of rows of a transaction in each are those of real blocks; hashes and addresses are
SHA-256 of a counter. One address has a part in every `hot_every`-th transaction.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import asyncpg

from accounts import tokens
from core.store.embedded import EmbeddedPostgres
from core.store.migrate import migrate
from core.store.pool import open_pool
from core.types import BlockRange
from daemon.reindex import counts_of
from daemon.schema import MIGRATIONS
from indexer.sealing import Sealing

CHAIN = 31_337
HOT = hashlib.sha256(b"hot").digest()[:20]
FORMAT = 1  # of these statements: another number makes the database anew


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is: `blocks` of `txs` transactions from `first` on, and how many addresses take part."""

    blocks: int = 40_000
    txs: int = 25
    first: int = 2_980_000
    addresses: int = 50_000
    hot_every: int = 8

    @property
    def span(self) -> BlockRange:
        """Which blocks these are."""
        return BlockRange(self.first, self.first + self.blocks - 1)

    def folder(self, root: Path) -> Path:
        """Return where the server of a database like this keeps it."""
        name = hashlib.sha256(json.dumps([FORMAT, *asdict(self).values()]).encode()).hexdigest()
        return root / f"explorer-{name[:12]}"


SQL_PARTITIONS = "select chain.ensure_partitions(0, $1)"
SQL_BLOCKS = """
    insert into chain.block
        (chain_id, number, block_time, size, tx_count, hash, parent_hash, miner, state_root, transactions_root,
        receipts_root, uncles_hash, logs_bloom, extra_data, difficulty, gas_limit, gas_used, uncles)
    select $1, b, timestamptz '2026-01-01' + b * interval '12 s' - $2::bigint * interval '12 s', 5000, $4,
        sha256(convert_to('block ' || b, 'UTF8')), sha256(convert_to('block ' || b - 1, 'UTF8')),
        decode(repeat('11', 20), 'hex'), z.h, z.h, z.h, z.h, decode(repeat('00', 256), 'hex'), ''::bytea, 0, 30000000,
        15000000, array[]::bytea[]
    from generate_series($2::bigint, $3::bigint) b, (select decode(repeat('22', 32), 'hex') as h) z
"""
# An address is a number below $5; the square of a random share makes some of them busier than others.
SQL_TRANSACTIONS = """
    insert into chain.transaction
        (chain_id, block_number, tx_index, type, status, hash, sender, recipient, value, nonce, gas, gas_used,
        cumulative_gas_used, gas_price, effective_gas_price, fee_cap, tip_cap, v, signature, input)
    select $1, b, i, 2, case when i % 25 = 7 then 0 else 1 end,
        sha256(convert_to('tx ' || b || ' ' || i, 'UTF8')),
        substr(sha256(convert_to('address ' || (hashint8extended(b * 1000 + i, 1) & 1073741823) % $5, 'UTF8')), 1, 20),
        case when (b * $4 + i) % $6 = 0 then $7::bytea else substr(sha256(convert_to(
            'address ' || floor(power((hashint8extended(b * 1000 + i, 2) & 1073741823) / 1073741824.0, 2) * $5)::bigint,
            'UTF8')), 1, 20) end,
        (hashint8extended(b * 1000 + i, 3) & 1073741823)::numeric * 1000000007, i, 100000, 21000 + i * 100,
        21000 * (i + 1), 7000000000 + i, 7000000000 + i, 9000000000, 1000000000, 1,
        sha256(convert_to('r' || b, 'UTF8')) || sha256(convert_to('s' || i, 'UTF8')),
        decode(repeat('a9059cbb', 17), 'hex')
    from generate_series($2::bigint, $3::bigint) b, generate_series(0, $4::integer - 1) i
"""
SQL_TRANSFERS = """
    insert into chain.token_transfer
        (chain_id, block_number, log_index, position, tx_index, standard, token, sender, recipient, amount)
    select $1, t.block_number, t.tx_index, 0, t.tx_index, 20,
        substr(sha256(convert_to('token ' || t.tx_index % 20, 'UTF8')), 1, 20), t.sender,
        substr(sha256(convert_to(
            'address ' || (hashint8extended(t.block_number * 1000 + t.tx_index, 4) & 1073741823) % $2, 'UTF8')), 1, 20),
        t.value
    from chain.transaction t
    where t.chain_id = $1 and t.tx_index % 5 < 2
"""
SQL_HASHES = """
    insert into chain.tx_hash (chain_id, hash_key, block_number, tx_index)
    select t.chain_id, ('x' || encode(substr(t.hash, 1, 8), 'hex'))::bit(64)::bigint, t.block_number, t.tx_index
    from chain.transaction t
    order by 1, 2
"""
SQL_ADDRESSES = """
    insert into chain.address_transaction (chain_id, address, block_number, tx_index, roles)
    select chain_id, address, block_number, tx_index, bit_or(role)::smallint
    from (
        select chain_id, sender as address, block_number, tx_index, 1 as role from chain.transaction
        union all
        select chain_id, recipient, block_number, tx_index, 2 from chain.transaction where recipient is not null
        union all
        select chain_id, sender, block_number, tx_index, 8 from chain.token_transfer
        union all
        select chain_id, recipient, block_number, tx_index, 16 from chain.token_transfer
    ) as part
    group by 1, 2, 3, 4
    order by 1, 2, 3, 4
"""
SQL_TOKENS = """
    insert into chain.token (chain_id, address, block_number, block_hash, symbol, name, decimals, read_at)
    select $1, substr(sha256(convert_to('token ' || n, 'UTF8')), 1, 20), $2, '\\x00', 'TOK' || n, 'Token ' || n, 18,
        now()
    from generate_series(0, 19) n
"""
SQL_TOKENS_SEEN = """
    insert into chain.token_seen (chain_id, address, standard, first_block, read_at)
    select chain_id, address, 20, block_number, now() from chain.token
"""
SQL_CHAIN = "insert into chain.chain (chain_id, name) values ($1, 'bench')"
SQL_COVERAGE = "insert into chain.coverage (chain_id, blocks) values ($1, int8range($2, $3 + 1))"
SQL_CURSOR = """
    insert into chain.cursor (chain_id, number, hash)
    select $1, number, hash from chain.block where chain_id = $1 and number = $2
"""
SQL_HEAD = """
    insert into chain.head (chain_id, number, hash, block_time, seen_at, safe_number, finalized_number)
    select $1, number, hash, block_time, now(), number - 32, number - 64 from chain.block
    where chain_id = $1 and number = $2
"""


@dataclass(frozen=True, slots=True)
class Made:
    """A database that is ready: its server's URL and a key to the API."""

    url: str
    key: str


async def filled(server: EmbeddedPostgres, size: Size) -> Made:
    """Fill the server's database unless it is, and return it with a new key."""
    url = server.url()
    await migrate(url, MIGRATIONS)
    connection = await asyncpg.connect(url)
    try:
        if not await connection.fetchval("select exists (select from chain.cursor)"):
            await _fill(connection, size)
    finally:
        await connection.close()
    async with open_pool(url, size=1) as pool:
        sealing = Sealing(counts_of(pool, CHAIN), name="bench")
        while await sealing.step():
            pass
        return Made(url, await tokens.issue(pool, "bench"))


async def _fill(connection: "asyncpg.Connection[asyncpg.Record]", size: Size) -> None:
    first, last = size.span.first, size.span.last
    await connection.fetchval(SQL_PARTITIONS, last)
    async with connection.transaction():
        await connection.execute(SQL_BLOCKS, CHAIN, first, last, size.txs)
        given = (CHAIN, first, last, size.txs, size.addresses, size.hot_every, HOT)
        await connection.execute(SQL_TRANSACTIONS, *given)
        await connection.execute(SQL_TRANSFERS, CHAIN, size.addresses)
        await connection.execute(SQL_HASHES)
        await connection.execute(SQL_ADDRESSES)
        await connection.execute(SQL_TOKENS, CHAIN, first)
        await connection.execute(SQL_TOKENS_SEEN)
        await connection.execute(SQL_CHAIN, CHAIN)
        await connection.execute(SQL_COVERAGE, CHAIN, first, last)
        await connection.execute(SQL_CURSOR, CHAIN, last)
        await connection.execute(SQL_HEAD, CHAIN, last)
    # What autovacuum does of itself in the minutes after such a load; without it the first readers pay for it.
    await connection.execute("vacuum analyze")
