"""Listings of transactions: filtered, in order, page by page or by cursor, anchored at a block so that nothing shifts.

There are three ways in, each served by one index: an address (`address_transaction`), a token (`token_transfer`), or
the chain itself. What else is asked filters the transactions found that way. Filters that are not asked are null.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from core.errors import ChainworkdError
from core.store.copy import Role
from core.store.pool import Connection
from core.types import BlockRange, BlockRef

Direction = Literal["in", "out"]
Place = tuple[int, int]  # block number and index of a transaction: what listings are ordered by

DIRECTION_ROLES: Final[dict[Direction | None, int]] = {
    "in": Role.TO | Role.CREATED | Role.RECEIVED_TOKENS,
    "out": Role.FROM | Role.SENT_TOKENS,
    None: 2**15 - 1,
}

SQL_FIRST_SINCE: Final = "select min(number) from chain.block where chain_id = $1 and block_time >= $2"
SQL_LAST_UNTIL: Final = "select max(number) from chain.block where chain_id = $1 and block_time <= $2"
SQL_ANCHOR: Final = "select number, hash from chain.cursor where chain_id = $1"
SQL_HASH_AT: Final = "select hash from chain.block where chain_id = $1 and number = $2"

# $1 chain, $2 first and $3 last block, $4 status, $5 least and $6 greatest value, $7 selector, $8 token, $9 address,
# $10 roles, $11 and $12 the place after which to go on, $13 limit, $14 offset.
_FILTERS: Final = """
        and ($4::smallint is null or t.status is not distinct from nullif($4, -1))
        and ($5::numeric is null or t.value >= $5)
        and ($6::numeric is null or t.value <= $6)
        and ($7::bytea is null or substring(t.input from 1 for 4) = $7)
"""
_MOVED: Final = """
        and ($8::bytea is null or exists (
            select from chain.token_transfer m
            where m.chain_id = $1 and m.block_number = t.block_number and m.tx_index = t.tx_index and m.token = $8))
"""
_BY_ADDRESS: Final = f"""
    from chain.address_transaction a
    join chain.transaction t
        on t.chain_id = a.chain_id and t.block_number = a.block_number and t.tx_index = a.tx_index
        and t.block_number between $2 and $3
    where a.chain_id = $1 and a.address = $9 and a.block_number between $2 and $3 and a.roles & $10 <> 0
        {_FILTERS} {_MOVED}
"""
# What an address did is known from its own index alone, unless something is asked of the transactions themselves.
_OF_ADDRESS: Final = """
    from chain.address_transaction t
    where t.chain_id = $1 and t.address = $9 and t.block_number between $2 and $3 and t.roles & $10 <> 0
        and $4::smallint is null and $5::numeric is null and $6::numeric is null and $7::bytea is null
        and $8::bytea is null
"""
_BY_TOKEN: Final = f"""
    from (
        select distinct m.block_number, m.tx_index from chain.token_transfer m
        where m.chain_id = $1 and m.token = $8 and m.block_number between $2 and $3
    ) as a
    join chain.transaction t on t.chain_id = $1 and t.block_number = a.block_number and t.tx_index = a.tx_index
    where $9::bytea is null and $10::integer is not null
        {_FILTERS}
"""  # noqa: S608 - literal pieces, no values
_ALL: Final = f"""
    from chain.transaction t
    where t.chain_id = $1 and t.block_number between $2 and $3
        and $8::bytea is null and $9::bytea is null and $10::integer is not null
        {_FILTERS}
"""
_PAGE: Final = """
    select t.block_number, t.tx_index
    {source}
        and ($11::bigint is null or (t.block_number, t.tx_index) {beyond} ($11, $12::integer))
    order by t.block_number {order}, t.tx_index {order}
    limit $13 offset $14
"""
_COUNT: Final = "select count(*) {source}"

_DESCENDING: Final = {"order": "desc", "beyond": "<"}
_ASCENDING: Final = {"order": "asc", "beyond": ">"}

# Statements are put together once, from literal pieces; values only ever travel as parameters.
SQL_ADDRESS_NEWEST: Final = _PAGE.format(source=_BY_ADDRESS, **_DESCENDING)
SQL_ADDRESS_OLDEST: Final = _PAGE.format(source=_BY_ADDRESS, **_ASCENDING)
SQL_ADDRESS_COUNT: Final = _COUNT.format(source=_BY_ADDRESS)
SQL_OF_ADDRESS_NEWEST: Final = _PAGE.format(source=_OF_ADDRESS, **_DESCENDING)
SQL_OF_ADDRESS_OLDEST: Final = _PAGE.format(source=_OF_ADDRESS, **_ASCENDING)
SQL_OF_ADDRESS_COUNT: Final = _COUNT.format(source=_OF_ADDRESS)
SQL_TOKEN_NEWEST: Final = _PAGE.format(source=_BY_TOKEN, **_DESCENDING)
SQL_TOKEN_OLDEST: Final = _PAGE.format(source=_BY_TOKEN, **_ASCENDING)
SQL_TOKEN_COUNT: Final = _COUNT.format(source=_BY_TOKEN)
SQL_ALL_NEWEST: Final = _PAGE.format(source=_ALL, **_DESCENDING)
SQL_ALL_OLDEST: Final = _PAGE.format(source=_ALL, **_ASCENDING)
SQL_ALL_COUNT: Final = _COUNT.format(source=_ALL)
# Blocks carry their number of transactions: a sum over them is a hundredth of the rows.
SQL_UNFILTERED_COUNT: Final = """
    select coalesce(sum(coalesce(stored_tx_count, tx_count)), 0)::bigint
    from chain.block
    where chain_id = $1 and number between $2 and $3
"""


class AnchorGone(ChainworkdError):
    """The block that a listing was anchored at is no longer part of the chain, or not yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What a listing is of. None asks for nothing.

    `direction` needs `address`. Values are wei, blocks and times are included at both ends, `selector` is the first
    four bytes of the input, `status` is 1, 0 or -1 for transactions whose receipts did not say.
    """

    address: bytes | None = None
    direction: Direction | None = None
    token: bytes | None = None
    status: int | None = None
    min_value: int | None = None
    max_value: int | None = None
    selector: bytes | None = None
    from_block: int | None = None
    to_block: int | None = None
    from_time: datetime | None = None
    to_time: datetime | None = None

    def within(self, watched: Collection[bytes]) -> bool:
        """Whether it asks only for what concerns one of `watched`."""
        return self.address in watched or self.token in watched

    @property
    def only_range(self) -> bool:
        """Whether nothing but a range of blocks or times is asked for."""
        return self.address is None and self.token is None and not self.of_transaction

    @property
    def of_transaction(self) -> bool:
        """Whether something is asked that only the transaction itself can answer."""
        asked = (self.status, self.min_value, self.max_value, self.selector)
        return any(value is not None for value in asked)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Which part of a listing: `limit` rows after `offset` of them, or after the place `after`."""

    limit: int
    offset: int = 0
    after: Place | None = None
    oldest_first: bool = False


@dataclass(frozen=True, slots=True)
class Listed:
    """Places of a listing's transactions in order, how many there are in all, and the blocks that were looked at."""

    places: tuple[Place, ...]
    total: int
    anchor: BlockRef
    span: BlockRange | None


async def anchor(conn: Connection, chain_id: int, number: int | None, hash_: bytes | None) -> BlockRef | None:
    """Return the block a listing is anchored at: the cursor, or the asked block if it is still there.

    Raises AnchorGone; None when nothing is indexed.
    """
    row = await conn.fetchrow(SQL_ANCHOR, chain_id)
    if row is None or number is None:
        return None if row is None else BlockRef(row["number"], row["hash"])
    found = await conn.fetchval(SQL_HASH_AT, chain_id, number)
    if number > row["number"]:
        raise AnchorGone(f"block {number} is above the newest indexed block {row['number']}")
    if hash_ is not None and found != hash_:
        raise AnchorGone(f"block {number} has been replaced by a reorg")
    return BlockRef(number, found or b"")


async def listed(conn: Connection, chain_id: int, wanted: Filter, window: Window, at: BlockRef) -> Listed:
    """Return one page of a listing anchored at `at`. Run it in the snapshot that `anchor` was asked in."""
    span = await _span(conn, chain_id, wanted, at.number)
    if span is None:
        return Listed((), 0, at, None)
    asked = (
        chain_id, span.first, span.last, wanted.status, wanted.min_value, wanted.max_value, wanted.selector,
        wanted.token, wanted.address, int(DIRECTION_ROLES[wanted.direction]),
    )  # fmt: skip
    newest, oldest, count = _statements(wanted)
    after = window.after or (None, None)
    rows = await conn.fetch(oldest if window.oldest_first else newest, *asked, *after, window.limit, window.offset)
    if wanted.only_range:
        total = await conn.fetchval(SQL_UNFILTERED_COUNT, chain_id, span.first, span.last)
    else:
        total = await conn.fetchval(count, *asked)
    return Listed(tuple((row["block_number"], row["tx_index"]) for row in rows), total, at, span)


def _statements(wanted: Filter) -> tuple[str, str, str]:
    if wanted.address is not None and wanted.token is None and not wanted.of_transaction:
        return SQL_OF_ADDRESS_NEWEST, SQL_OF_ADDRESS_OLDEST, SQL_OF_ADDRESS_COUNT
    if wanted.address is not None:
        return SQL_ADDRESS_NEWEST, SQL_ADDRESS_OLDEST, SQL_ADDRESS_COUNT
    if wanted.token is not None:
        return SQL_TOKEN_NEWEST, SQL_TOKEN_OLDEST, SQL_TOKEN_COUNT
    return SQL_ALL_NEWEST, SQL_ALL_OLDEST, SQL_ALL_COUNT


async def _span(conn: Connection, chain_id: int, wanted: Filter, anchored: int) -> BlockRange | None:
    """Return the blocks that the filter's blocks and times allow, up to the anchor; None if there are none."""
    first, last = wanted.from_block or 0, anchored
    if wanted.to_block is not None:
        last = min(last, wanted.to_block)
    if wanted.from_time is not None:
        since = await conn.fetchval(SQL_FIRST_SINCE, chain_id, wanted.from_time)
        first = max(first, last + 1 if since is None else since)
    if wanted.to_time is not None:
        until = await conn.fetchval(SQL_LAST_UNTIL, chain_id, wanted.to_time)
        last = -1 if until is None else min(last, until)
    return BlockRange(first, last) if first <= last else None
