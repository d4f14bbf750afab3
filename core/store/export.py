"""Tables of a range of blocks as text, for files: one snapshot, streamed, the same columns in every format.

What a column holds, and its unit, is in docs/export.md; a test holds that page against TABLES.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from core.errors import StoreUnavailable
from core.store.pool import Connection, Pool, translated
from core.store.reader import SQL_COVERAGE, SQL_WATCHED
from core.types import BlockRange, BlockRef, joined

# What a column is: `hex` 0x text, `uint256` decimal text, `uint64` and `int64` integers, `time` ISO text in UTC.
Kind = Literal["hex", "text", "time", "uint256", "uint64", "int64"]

STEP_BLOCKS: Final = 250  # blocks a statement: sorts stay small, partitions are pruned, progress is seen
STATEMENT_S: Final = 3_600.0
FETCH_ROWS: Final = 500  # a row can hold 256 KB of call data as hex

# In this order nothing can be dropped before the snapshot has read it: retention drops whole partitions.
SQL_LOCK: Final = """
    lock table chain.block, chain.transaction, chain.log, chain.token_transfer, chain.event_transaction,
        chain.token, chain.token_seen
    in access share mode
"""
# Of tables that PostgreSQL has not looked at yet it takes a range for one row, and would read it all again for each row
# that is joined to it: up to 130 times as long. Without nested loops each table's range is read once, known or not.
SQL_PLAN: Final = "set local enable_nestloop = off"
SQL_CURSOR: Final = "select number, hash from chain.cursor where chain_id = $1"
SQL_REF_AT: Final = "select number, hash from chain.block where chain_id = $1 and number = $2"
SQL_EXPECTED: Final = """
    select coalesce(sum(coalesce(stored_tx_count, tx_count)), 0)::bigint
    from chain.block
    where chain_id = $1 and number between $2 and $3
"""
SQL_EXPORT_BLOCKS: Final = """
    select b.number,
        '0x' || encode(b.hash, 'hex'),
        '0x' || encode(b.parent_hash, 'hex'),
        to_char(b.block_time at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
        b.tx_count,
        b.stored_tx_count,
        '0x' || encode(b.miner, 'hex'),
        b.size,
        b.gas_limit,
        b.gas_used,
        b.base_fee::text,
        b.difficulty::text,
        b.total_difficulty::text,
        '0x' || encode(b.nonce, 'hex'),
        '0x' || encode(b.mix_hash, 'hex'),
        '0x' || encode(b.extra_data, 'hex'),
        '0x' || encode(b.state_root, 'hex'),
        '0x' || encode(b.transactions_root, 'hex'),
        '0x' || encode(b.receipts_root, 'hex'),
        '0x' || encode(b.uncles_hash, 'hex'),
        '0x' || encode(b.logs_bloom, 'hex'),
        nullif(array_to_string(array(select '0x' || encode(u, 'hex') from unnest(b.uncles) u), ' '), ''),
        b.extra::text
    from chain.block b
    where b.chain_id = $1 and b.number between $2 and $3
    order by b.number
"""
SQL_EXPORT_TRANSACTIONS: Final = """
    select t.block_number,
        t.tx_index,
        '0x' || encode(t.hash, 'hex'),
        '0x' || encode(b.hash, 'hex'),
        to_char(b.block_time at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
        '0x' || encode(t.sender, 'hex'),
        '0x' || encode(t.recipient, 'hex'),
        '0x' || encode(t.contract_address, 'hex'),
        t.value::text,
        t.type,
        t.status,
        t.nonce,
        t.gas,
        t.gas_used,
        t.cumulative_gas_used,
        t.gas_price::text,
        t.effective_gas_price::text,
        t.fee_cap::text,
        t.tip_cap::text,
        '0x' || encode(t.input, 'hex'),
        t.v::text,
        '0x' || encode(t.signature, 'hex'),
        '0x' || encode(t.receipt_root, 'hex'),
        '0x' || encode(t.logs_bloom, 'hex'),
        t.extra::text,
        t.receipt_extra::text
    from chain.transaction t
    join chain.block b on b.chain_id = $1 and b.number = t.block_number and b.number between $2 and $3
    where t.chain_id = $1 and t.block_number between $2 and $3
    order by t.block_number, t.tx_index
"""
SQL_EXPORT_TRANSFERS: Final = """
    select m.block_number,
        m.tx_index,
        m.log_index,
        m.position,
        '0x' || encode(coalesce(t.hash, e.hash), 'hex'),
        m.standard,
        '0x' || encode(m.token, 'hex'),
        '0x' || encode(m.sender, 'hex'),
        '0x' || encode(m.recipient, 'hex'),
        m.amount::text,
        m.token_id::text
    from chain.token_transfer m
    left join chain.transaction t
        on t.chain_id = $1 and t.block_number = m.block_number and t.tx_index = m.tx_index
        and t.block_number between $2 and $3
    left join chain.event_transaction e
        on e.chain_id = $1 and e.block_number = m.block_number and e.tx_index = m.tx_index
        and e.block_number between $2 and $3
    where m.chain_id = $1 and m.block_number between $2 and $3
    order by m.block_number, m.log_index, m.position
"""
SQL_EXPORT_LOGS: Final = """
    select l.block_number,
        l.tx_index,
        l.log_index,
        '0x' || encode(coalesce(t.hash, e.hash), 'hex'),
        '0x' || encode(l.address, 'hex'),
        '0x' || encode(l.topic0, 'hex'),
        '0x' || encode(l.topic1, 'hex'),
        '0x' || encode(l.topic2, 'hex'),
        '0x' || encode(l.topic3, 'hex'),
        '0x' || encode(l.data, 'hex')
    from chain.log l
    left join chain.transaction t
        on t.chain_id = $1 and t.block_number = l.block_number and t.tx_index = l.tx_index
        and t.block_number between $2 and $3
    left join chain.event_transaction e
        on e.chain_id = $1 and e.block_number = l.block_number and e.tx_index = l.tx_index
        and e.block_number between $2 and $3
    where l.chain_id = $1 and l.block_number between $2 and $3
    order by l.block_number, l.log_index
"""
# Not of a range: every token that any stored block moved, with what it said of itself and at which block.
SQL_EXPORT_TOKENS: Final = """
    select '0x' || encode(s.address, 'hex'), s.standard, v.block_number, v.symbol, v.name, v.decimals
    from chain.token_seen s
    left join chain.token v on v.chain_id = s.chain_id and v.address = s.address
    where s.chain_id = $1
    order by s.address, v.block_number
"""


@dataclass(frozen=True, slots=True)
class Table:
    """A table as it is exported: its statement, and name and kind of each column in the statement's order.

    `ranged` statements take chain id, first and last block; the others the chain id alone.
    """

    sql: str
    columns: Mapping[str, Kind]
    ranged: bool = True


TABLES: Final[Mapping[str, Table]] = {
    "blocks": Table(
        SQL_EXPORT_BLOCKS,
        {
            "number": "int64", "hash": "hex", "parent_hash": "hex", "block_time": "time", "tx_count": "int64",
            "stored_tx_count": "int64",
            "miner": "hex", "size": "int64", "gas_limit": "uint64", "gas_used": "uint64", "base_fee": "uint256",
            "difficulty": "uint256", "total_difficulty": "uint256", "nonce": "hex", "mix_hash": "hex",
            "extra_data": "hex", "state_root": "hex", "transactions_root": "hex", "receipts_root": "hex",
            "uncles_hash": "hex", "logs_bloom": "hex", "uncles": "text", "extra": "text",
        },
    ),
    "transactions": Table(
        SQL_EXPORT_TRANSACTIONS,
        {
            "block_number": "int64", "tx_index": "int64", "hash": "hex", "block_hash": "hex", "block_time": "time",
            "sender": "hex", "recipient": "hex", "contract_address": "hex", "value": "uint256", "type": "int64",
            "status": "int64", "nonce": "uint64", "gas": "uint64", "gas_used": "uint64",
            "cumulative_gas_used": "uint64", "gas_price": "uint256", "effective_gas_price": "uint256",
            "fee_cap": "uint256", "tip_cap": "uint256", "input": "hex", "v": "uint256", "signature": "hex",
            "receipt_root": "hex", "logs_bloom": "hex", "extra": "text", "receipt_extra": "text",
        },
    ),
    "transfers": Table(
        SQL_EXPORT_TRANSFERS,
        {
            "block_number": "int64", "tx_index": "int64", "log_index": "int64", "position": "int64", "tx_hash": "hex",
            "standard": "int64", "token": "hex", "sender": "hex", "recipient": "hex", "amount": "uint256",
            "token_id": "uint256",
        },
    ),
    "logs": Table(
        SQL_EXPORT_LOGS,
        {
            "block_number": "int64", "tx_index": "int64", "log_index": "int64", "tx_hash": "hex", "address": "hex",
            "topic0": "hex", "topic1": "hex", "topic2": "hex", "topic3": "hex", "data": "hex",
        },
    ),
    "tokens": Table(
        SQL_EXPORT_TOKENS,
        {
            "address": "hex", "standard": "int64", "block_number": "int64", "symbol": "text", "name": "text",
            "decimals": "int64",
        },
        ranged=False,
    ),
}  # fmt: skip


class Sink(Protocol):
    """A file that takes a table's rows, statement by statement."""

    async def take(self, conn: Connection, sql: str, *arguments: Any) -> int:
        """Run a statement, append its rows and return how many they were."""
        ...


class Snapshot:
    """One chain as it stood at one moment, however long it is read."""

    def __init__(self, conn: Connection, chain_id: int) -> None:
        self._conn = conn
        self._chain = chain_id

    async def cursor(self) -> BlockRef | None:
        """Return the newest indexed block."""
        return _ref(await self._conn.fetchrow(SQL_CURSOR, self._chain))

    async def ref_at(self, number: int) -> BlockRef | None:
        """Return the stored block at `number`."""
        return _ref(await self._conn.fetchrow(SQL_REF_AT, self._chain, number))

    async def watched(self) -> list[bytes] | None:
        """Return the addresses whose transactions alone are stored; None where all are."""
        found: list[bytes] | None = await self._conn.fetchval(SQL_WATCHED, self._chain)
        return found

    async def coverage(self) -> tuple[BlockRange, ...]:
        """Return the stored ranges in ascending order, adjacent ones joined."""
        rows = await self._conn.fetch(SQL_COVERAGE, self._chain)
        return joined(BlockRange(row["first"], row["last"]) for row in rows)

    async def write(self, table: Table, wanted: BlockRange, sink: Sink) -> AsyncIterator[tuple[int, int]]:
        """Give the rows of `wanted` to `sink`; yield (last block done, rows so far) now and then."""
        rows = 0
        if not table.ranged:
            yield wanted.last, await sink.take(self._conn, table.sql, self._chain)
            return
        for part in _parts(wanted):
            rows += await sink.take(self._conn, table.sql, self._chain, part.first, part.last)
            yield part.last, rows

    async def check(self, wanted: BlockRange, transactions: int) -> None:
        """Raise StoreUnavailable unless the range's blocks have that many transactions: readers trust rows only."""
        expected = await self._conn.fetchval(SQL_EXPECTED, self._chain, wanted.first, wanted.last)
        if expected != transactions:
            raise StoreUnavailable(f"blocks {wanted}: {transactions} of {expected} transactions are readable")


@asynccontextmanager
async def snapshot(pool: Pool, chain_id: int) -> AsyncIterator[Snapshot]:
    """Open a snapshot: a rewind meanwhile cannot mix two chains, a dropped partition cannot leave a gap."""
    with translated():
        async with pool.acquire() as conn, conn.transaction(isolation="repeatable_read", readonly=True):
            # Before the first select, which takes the snapshot.
            await conn.execute(SQL_LOCK)
            await conn.execute(SQL_PLAN)
            yield Snapshot(conn, chain_id)


def _ref(row: Any) -> BlockRef | None:
    return None if row is None else BlockRef(row["number"], row["hash"])


def _parts(wanted: BlockRange) -> Iterator[BlockRange]:
    for first in range(wanted.first, wanted.last + 1, STEP_BLOCKS):
        yield BlockRange(first, min(first + STEP_BLOCKS - 1, wanted.last))
