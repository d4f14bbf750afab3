"""Listings of transactions: filtered, in order, page by page or by cursor, anchored at a block so that nothing shifts.

There are three ways in, each served by one index: an address (`address_transaction`), a token (`token_transfer`), or
the chain itself. What else is asked filters the transactions found that way. Filters that are not asked are null.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

import asyncpg

from core.errors import ChainworkdError
from core.store import counts
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

FEW: Final = 100  # rows of an address: to count so many costs less than to look for counts
# Rows that are looked at to count what passes filters: 20 ms of the database's time at most.
MOST_LOOKED_AT: Final = 10_000

SQL_FIRST_SINCE: Final = "select min(number) from chain.block where chain_id = $1 and block_time >= $2"
SQL_LAST_UNTIL: Final = "select max(number) from chain.block where chain_id = $1 and block_time <= $2"
SQL_CURSOR: Final = "select number, hash from chain.cursor where chain_id = $1"
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
# What an address did is known from its own index alone, unless something is asked of the transactions themselves. Most
# addresses did little: whether it is, and how much, comes with the page.
# $1 chain, $2 first and $3 last block, $4 address, $5 and $6 the place after which to go on, $7 limit, $8 offset,
# $9 roles, $10 how many rows are few, and one more; $11 first and $12 last block of the page: a scan backwards does not
# begin at the place after which it is to go on, but at the block.
_OF_ADDRESS: Final = """
    select a.block_number, a.tx_index,
        (
            select count(*) from (
                select from chain.address_transaction a
                where a.chain_id = $1 and a.address = $4 and a.block_number between $2 and $3 {roles}
                limit $10
            ) as few
        ) as some
    from chain.address_transaction a
    where a.chain_id = $1 and a.address = $4 and a.block_number between $11 and $12 {roles}
        and (a.block_number, a.tx_index) {beyond} ($5::bigint, $6::integer)
    order by a.block_number {order}, a.tx_index {order}
    limit $7 offset $8
"""
_BEGINNING: Final[Mapping[bool, Place]] = {True: (-1, -1), False: (2**63 - 1, 2**31 - 1)}  # by `oldest_first`
_ANY_ROLE: Final = "and $9::smallint is not null"  # the index alone is read
_ROLES: Final = "and a.roles & $9::smallint <> 0"
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
# How many of the newest MOST_LOOKED_AT + 1 rows pass the filters, and how many rows that were.
_MATCHES: Final = """
    select count(t.block_number) as matches, count(*) as looked_at
    {source}
"""
_NEWEST_OF_ADDRESS: Final = f"""
    from (
        select a.block_number, a.tx_index from chain.address_transaction a
        where a.chain_id = $1 and a.address = $9 and a.block_number between $2 and $3 and a.roles & $10 <> 0
        order by a.block_number desc, a.tx_index desc
        limit $11
    ) as a
    left join chain.transaction t
        on t.chain_id = $1 and t.block_number = a.block_number and t.tx_index = a.tx_index
        and t.block_number between $2 and $3 {_FILTERS} {_MOVED}
"""  # noqa: S608 - literal pieces, no values
_NEWEST_OF_TOKEN: Final = f"""
    from (
        select distinct m.block_number, m.tx_index from chain.token_transfer m
        where m.chain_id = $1 and m.token = $8 and m.block_number between $2 and $3
        order by m.block_number desc, m.tx_index desc
        limit $11
    ) as a
    left join chain.transaction t
        on t.chain_id = $1 and t.block_number = a.block_number and t.tx_index = a.tx_index
        and t.block_number between $2 and $3 and $9::bytea is null and $10::integer is not null {_FILTERS}
"""  # noqa: S608 - literal pieces, no values
_NEWEST: Final = f"""
    from (
        select case when true {_FILTERS} then t.block_number end as block_number
        from chain.transaction t
        where t.chain_id = $1 and t.block_number between $2 and $3
            and $8::bytea is null and $9::bytea is null and $10::integer is not null
        order by t.block_number desc, t.tx_index desc
        limit $11
    ) as t
"""  # noqa: S608 - literal pieces, no values

_DESCENDING: Final = {"order": "desc", "beyond": "<"}
_ASCENDING: Final = {"order": "asc", "beyond": ">"}

# Plans of statements over one address are made once: its tables have no partitions, and making one takes longer than to
# carry it out. All others are planned by what they are asked (ADR 4).
SQL_PLAN_ONCE: Final = "set local plan_cache_mode = force_generic_plan"
SQL_PLAN_EACH: Final = "set local plan_cache_mode = force_custom_plan"

# Statements are put together once, from literal pieces; values only ever travel as parameters.
SQL_ADDRESS_NEWEST: Final = _PAGE.format(source=_BY_ADDRESS, **_DESCENDING)
SQL_ADDRESS_OLDEST: Final = _PAGE.format(source=_BY_ADDRESS, **_ASCENDING)
SQL_ADDRESS_COUNT: Final = _MATCHES.format(source=_NEWEST_OF_ADDRESS)
SQL_OF_ADDRESS_NEWEST: Final = _OF_ADDRESS.format(roles=_ANY_ROLE, **_DESCENDING)
SQL_OF_ADDRESS_OLDEST: Final = _OF_ADDRESS.format(roles=_ANY_ROLE, **_ASCENDING)
SQL_ONE_WAY_NEWEST: Final = _OF_ADDRESS.format(roles=_ROLES, **_DESCENDING)
SQL_ONE_WAY_OLDEST: Final = _OF_ADDRESS.format(roles=_ROLES, **_ASCENDING)
SQL_TOKEN_NEWEST: Final = _PAGE.format(source=_BY_TOKEN, **_DESCENDING)
SQL_TOKEN_OLDEST: Final = _PAGE.format(source=_BY_TOKEN, **_ASCENDING)
SQL_TOKEN_COUNT: Final = _MATCHES.format(source=_NEWEST_OF_TOKEN)
SQL_ALL_NEWEST: Final = _PAGE.format(source=_ALL, **_DESCENDING)
SQL_ALL_OLDEST: Final = _PAGE.format(source=_ALL, **_ASCENDING)
SQL_ALL_COUNT: Final = _MATCHES.format(source=_NEWEST)


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
    def is_indexed(self) -> bool:
        """Whether an index alone says which transactions these are: nothing is asked of them but whose and when."""
        return self.token is None and not self.of_transaction

    @property
    def is_own(self) -> bool:
        """Whether the index of one address says which transactions these are."""
        return self.address is not None and self.is_indexed

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
    """Places of a listing's transactions in order, how many there are in all, and the blocks that were looked at.

    Unless `is_exact`, there are `total` or more.
    """

    places: tuple[Place, ...]
    total: int
    anchor: BlockRef
    span: BlockRange | None
    is_exact: bool = True


async def newest(conn: Connection, chain_id: int) -> BlockRef | None:
    """Return the newest indexed block; None when nothing is indexed."""
    row = await conn.fetchrow(SQL_CURSOR, chain_id)
    return None if row is None else BlockRef(row["number"], row["hash"])


async def anchor(
    conn: Connection, chain_id: int, cursor: BlockRef, number: int | None, hash_: bytes | None
) -> BlockRef:
    """Return the block a listing is anchored at: the cursor, or the asked block if it is still there.

    Raises AnchorGone.
    """
    if number is None:
        return cursor
    found = await conn.fetchval(SQL_HASH_AT, chain_id, number)
    if number > cursor.number:
        raise AnchorGone(f"block {number} is above the newest indexed block {cursor.number}")
    if hash_ is not None and found != hash_:
        raise AnchorGone(f"block {number} has been replaced by a reorg")
    return BlockRef(number, found or b"")


async def listed(conn: Connection, chain_id: int, wanted: Filter, window: Window, at: BlockRef) -> Listed:
    """Return one page of a listing anchored at `at`. Run it in the snapshot that `anchor` was asked in."""
    span = await _span(conn, chain_id, wanted, at.number)
    if span is None:
        return Listed((), 0, at, None)
    if wanted.is_own:
        return await _of_address(conn, chain_id, wanted, window, at=at, span=span)
    asked = (
        chain_id, span.first, span.last, wanted.status, wanted.min_value, wanted.max_value, wanted.selector,
        wanted.token, wanted.address, int(DIRECTION_ROLES[wanted.direction]),
    )  # fmt: skip
    newest, oldest, count = _statements(wanted)
    after = window.after or (None, None)
    page = (chain_id, *_reach(window, span), *asked[3:], *after, window.limit, window.offset)
    rows = await conn.fetch(oldest if window.oldest_first else newest, *page)
    places = _places(rows)
    if wanted.only_range:
        return Listed(places, await counts.of_chain(conn, chain_id, span), at, span)
    counted = await conn.fetchrow(count, *asked, MOST_LOOKED_AT + 1)
    assert counted is not None, "an aggregate has a row"
    return Listed(places, counted["matches"], at, span, counted["looked_at"] <= MOST_LOOKED_AT)


async def _of_address(
    conn: Connection, chain_id: int, wanted: Filter, window: Window, *, at: BlockRef, span: BlockRange
) -> Listed:
    assert wanted.address is not None, "the listing is an address' own"
    newest, oldest, count = _ONE_WAY[wanted.direction]
    roles, after = int(DIRECTION_ROLES[wanted.direction]), window.after or _BEGINNING[window.oldest_first]
    asked = (chain_id, span.first, span.last, wanted.address, *after, window.limit, window.offset, roles, FEW + 1)
    rows = await conn.fetch(oldest if window.oldest_first else newest, *asked, *_reach(window, span))
    if rows and rows[0]["some"] <= FEW:
        return Listed(_places(rows), rows[0]["some"], at, span)
    total = await counts.of_address(conn, chain_id, wanted.address, span, sql=count, roles=roles)
    return Listed(_places(rows), total, at, span)


def _reach(window: Window, span: BlockRange) -> tuple[int, int]:
    """Return the first and the last block in which the page can lie."""
    if window.after is None:
        return span.first, span.last
    at, _ = window.after
    return (max(span.first, at), span.last) if window.oldest_first else (span.first, min(span.last, at))


def _places(rows: Sequence[asyncpg.Record]) -> tuple[Place, ...]:
    return tuple((row["block_number"], row["tx_index"]) for row in rows)


_ONE_WAY: Final[dict[Direction | None, tuple[str, str, str]]] = {
    None: (SQL_OF_ADDRESS_NEWEST, SQL_OF_ADDRESS_OLDEST, counts.SQL_OF_ADDRESS),
    "in": (SQL_ONE_WAY_NEWEST, SQL_ONE_WAY_OLDEST, counts.SQL_INTO_ADDRESS),
    "out": (SQL_ONE_WAY_NEWEST, SQL_ONE_WAY_OLDEST, counts.SQL_OUT_OF_ADDRESS),
}


def _statements(wanted: Filter) -> tuple[str, str, str]:
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
