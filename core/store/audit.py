"""What is stored of blocks, held row by row against what should be stored of them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg
import msgspec

from core.clock import Clock, SystemClock
from core.hex import to_hex
from core.store import verified
from core.store.derived import Row, TableRows
from core.store.locks import SQL_SHARE_LOCK
from core.store.pool import Connection, Pool, translated
from core.store.reader import snapshot
from core.types import Block, BlockRange

MAX_TEXT: Final = 200

# $1 chain, $2 and $3 the first and the last block; of look-up tables $4 the keys to look for.
SQL_BLOCKS: Final = "select * from chain.block where chain_id = $1 and number between $2 and $3"
SQL_TRANSACTIONS: Final = "select * from chain.transaction where chain_id = $1 and block_number between $2 and $3"
SQL_TRANSFERS: Final = "select * from chain.token_transfer where chain_id = $1 and block_number between $2 and $3"
SQL_LOGS: Final = "select * from chain.log where chain_id = $1 and block_number between $2 and $3"
SQL_VAULT_EVENTS: Final = "select * from chain.vault_event where chain_id = $1 and block_number between $2 and $3"
SQL_EVENT_TRANSACTIONS: Final = """
    select * from chain.event_transaction where chain_id = $1 and block_number between $2 and $3
"""
SQL_HASHES: Final = """
    select * from chain.tx_hash where chain_id = $1 and hash_key = any($4) and block_number between $2 and $3
"""
SQL_ADDRESSES: Final = """
    select * from chain.address_transaction
    where chain_id = $1 and address = any($4) and block_number between $2 and $3
"""
SQL_COUNT_HASHES: Final = "select count(*) from chain.tx_hash where chain_id = $1 and block_number between $2 and $3"
SQL_COUNT_ADDRESSES: Final = """
    select count(*) from chain.address_transaction where chain_id = $1 and block_number between $2 and $3
"""
# A vault's past is looked up after it was added to the settings: until then its events may be missing.
SQL_VAULTS: Final = """
    select vault, watched_from, coalesce(scanned @> int8range($2, $3 + 1), false) as scanned
    from chain.watched_vault
    where chain_id = $1
"""
SQL_STORED: Final = "select number, hash from chain.block where chain_id = $1 and number between $2 and $3"


@dataclass(frozen=True, slots=True)
class _Table:
    """How a table's rows are found: by block range, or by key (`looked_up` is the key's column)."""

    sql: str
    key: tuple[str, ...]
    looked_up: str | None = None


TABLES: Final[Mapping[str, _Table]] = {
    "block": _Table(SQL_BLOCKS, ("number",)),
    "transaction": _Table(SQL_TRANSACTIONS, ("block_number", "tx_index")),
    "tx_hash": _Table(SQL_HASHES, ("hash_key", "block_number", "tx_index"), "hash_key"),
    "address_transaction": _Table(SQL_ADDRESSES, ("address", "block_number", "tx_index"), "address"),
    "token_transfer": _Table(SQL_TRANSFERS, ("block_number", "log_index", "position")),
    "log": _Table(SQL_LOGS, ("block_number", "log_index")),
    "vault_event": _Table(SQL_VAULT_EVENTS, ("block_number", "log_index")),
    "event_transaction": _Table(SQL_EVENT_TRANSACTIONS, ("block_number", "tx_index")),
}
LEFT_OUT: Final = frozenset({"total_difficulty", "effective_gas_price"})
EXTRA: Final = frozenset({"extra", "receipt_extra"})
NUMBERED: Final = {"block": "number"}  # the column of the block's number, where it is not block_number


@dataclass(frozen=True, slots=True)
class Difference:
    """One stored field, or row, that is not what the node's block says. Values are text, cut to a length.

    `what` is the column, "missing row", "extra row" or "number of rows".
    """

    block: int
    table: str
    key: str
    what: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.table} ({self.key}) {self.what}: expected {self.expected}, found {self.found}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a comparison has found; `lookups` is how many rows the look-up tables should have of the blocks."""

    rows: int
    lookups: Mapping[str, int]
    differences: Sequence[Difference]


class PgAudit:
    """Compares one chain's tables with blocks. `rows_of` says what should be stored of them (PgStore.rows_of).

    `possible` says the same of the table `log` if all logs were kept: what settings keep may have changed since.
    """

    def __init__(
        self,
        pool: Pool,
        chain_id: int,
        rows_of: Callable[[Sequence[Block]], Sequence[TableRows]],
        possible: Callable[[Sequence[Block]], TableRows],
        *,
        clock: Clock | None = None,
    ) -> None:
        self._pool = pool
        self._chain = chain_id
        self._rows_of = rows_of
        self._possible = possible
        self._clock = clock or SystemClock()

    async def compare(self, blocks: Sequence[Block], *, every_log: bool) -> Comparison:
        """Return what of linked `blocks`, all of them covered, is stored otherwise.

        `every_log`: a log that settings keep and that is not stored is a difference. Rows of look-up tables are found
        by their keys, so that rows too many under keys of no transaction are not seen; `count_lookups` does.
        """
        span = BlockRange(blocks[0].number, blocks[-1].number)
        found: list[Difference] = []
        lookups, rows = {}, 0
        with translated():
            async with snapshot(self._pool) as conn:
                for made in self._rows_of(blocks):
                    expected = _by_key(made)
                    rows += len(expected)
                    if TABLES[made.table].looked_up is not None:
                        lookups[made.table] = len(expected)
                    stored = await self._stored(conn, made, span, expected)
                    optional = await self._optional(conn, made.table, span, blocks, expected, every_log=every_log)
                    found += _differences(made, expected, stored, optional)
        return Comparison(rows, lookups, found)

    async def count_lookups(self, span: BlockRange, expected: Mapping[str, int]) -> list[Difference]:
        """Return which look-up tables hold more or less rows of the blocks of `span` than expected. It reads them all.

        `expected` has the number of rows by table.
        """
        found: list[Difference] = []
        with translated():
            async with snapshot(self._pool) as conn:
                for table, sql in (("tx_hash", SQL_COUNT_HASHES), ("address_transaction", SQL_COUNT_ADDRESSES)):
                    count = await conn.fetchval(sql, self._chain, span.first, span.last)
                    if table in expected and count != expected[table]:
                        texts = (str(expected[table]), str(count))
                        found.append(Difference(span.first, table, str(span), "number of rows", *texts))
        return found

    async def found_equal(self, blocks: Sequence[Block]) -> bool:
        """Note that what is stored equals `blocks`, which raises their level; False if they are not stored any more."""
        first, last = blocks[0].number, blocks[-1].number
        with translated():
            async with self._pool.acquire() as conn, conn.transaction():
                await conn.execute(SQL_SHARE_LOCK, self._chain)  # no rewind until it is noted
                rows = await conn.fetch(SQL_STORED, self._chain, first, last)
                if {row["number"]: row["hash"] for row in rows} != {block.number: block.hash for block in blocks}:
                    return False
                await verified.again(conn, self._chain, blocks, self._clock.now())
        return True

    async def found_different(self, number: int) -> None:
        """Take the level back of a stored block that differs."""
        with translated():
            async with self._pool.acquire() as conn, conn.transaction():
                await verified.forget(conn, self._chain, BlockRange(number, number))

    async def _stored(
        self, conn: Connection, made: TableRows, span: BlockRange, expected: Mapping[Row, Row]
    ) -> dict[Row, Row]:
        of = TABLES[made.table]
        given: list[object] = [self._chain, span.first, span.last]
        if of.looked_up is not None:
            at = of.key.index(of.looked_up)
            given.append(list({key[at] for key in expected}))
        rows = await conn.fetch(of.sql, *given)
        return _by_key(TableRows(made.table, made.columns, (_row(row, made.columns) for row in rows)))

    async def _optional(
        self, conn: Connection, table: str, span: BlockRange, blocks: Sequence[Block], expected: dict[Row, Row], *,
        every_log: bool,
    ) -> set[Row]:  # fmt: skip
        """Return the keys of rows that may be missing, and add to `expected` what may be there."""
        if table == "log":
            possible = _by_key(self._possible(blocks))
            kept = set(expected)
            expected.update(possible)
            return set(expected) - kept if every_log else set(expected)
        if table == "vault_event":
            vaults = await conn.fetch(SQL_VAULTS, self._chain, span.first, span.last)
            known_from = {row["vault"]: 0 if row["scanned"] else row["watched_from"] for row in vaults}
            return {key for key, row in expected.items() if key[0] < known_from.get(row[9], span.last + 1)}
        return set()


def _by_key(made: TableRows) -> dict[Row, Row]:
    places = [made.columns.index(name) for name in TABLES[made.table].key]
    return {tuple(row[at] for at in places): tuple(map(_plain, row)) for row in made.rows}


def _row(row: asyncpg.Record, columns: Iterable[str]) -> Row:
    return tuple(row[name] for name in columns)


def _plain(value: Any) -> Any:
    """Return a value as both sides have it: arrays come as lists."""
    return tuple(value) if isinstance(value, list) else value


def _differences(
    made: TableRows, expected: Mapping[Row, Row], stored: Mapping[Row, Row], optional: set[Row]
) -> list[Difference]:
    of = TABLES[made.table]
    at = of.key.index(NUMBERED.get(made.table, "block_number"))
    found = []
    for key in sorted(expected.keys() | stored.keys()):
        place = (key[at], made.table, ", ".join(_text(part) for part in key))
        ours, theirs = stored.get(key), expected.get(key)
        if ours is None:
            if key not in optional:
                found.append(Difference(*place, "missing row", "a row", "none"))
        elif theirs is None:
            found.append(Difference(*place, "extra row", "none", "a row"))
        elif ours != theirs:
            found += [
                Difference(*place, name, _text(right), _text(wrong))
                for name, right, wrong in zip(made.columns, theirs, ours, strict=True)
                if not _same(name, right, wrong)
            ]
    return found


def _same(column: str, one: Any, other: Any) -> bool:
    """Whether two values of a column say the same.

    Nodes differ in what they leave out of what no root covers: what only one of them says is no difference.
    """
    if one == other or (column in LEFT_OUT and (one is None or other is None)):
        return True
    if column not in EXTRA:
        return False
    ours, theirs = (msgspec.json.decode(each or "{}") for each in (one, other))
    return all(ours[name] == theirs[name] for name in ours.keys() & theirs.keys())


def _text(value: object) -> str:
    if isinstance(value, bytes):
        value = to_hex(value)
    elif isinstance(value, datetime):
        value = value.isoformat()
    text = str(value)
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"
