"""Listings of transactions: filtered, in order, page by page or by cursor, anchored at a block so that nothing shifts.

There are three ways in, each served by one index: an address (`address_transaction`), a token (`token_transfer`), or
the chain itself. What else is asked filters the transactions found that way. Filters that are not asked are null.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, NamedTuple

import asyncpg

from core.errors import ChainworkdError
from core.store import counts, offsets
from core.store.copy import Role
from core.store.plans import PLAN_BY_KEY
from core.store.pool import Connection
from core.types import BlockRange, BlockRef

Direction = Literal["in", "out"]
Place = tuple[int, int]  # block number and index of a transaction: what listings are ordered by

DIRECTION_ROLES: Final[dict[Direction | None, int]] = {
    "in": Role.TO | Role.CREATED | Role.RECEIVED_TOKENS,
    "out": Role.FROM | Role.SENT_TOKENS,
    None: 2**15 - 1,
}

# Rows to skip: to walk over so many costs less than to find the place after them by counts (docs/performance.md).
NEAR: Final = 2_000
FEW: Final = 100  # rows of an address: to count so many costs less than to look for counts
# Rows that are looked at to count what passes filters: 20 ms of the database's time at most.
MOST_LOOKED_AT: Final = 10_000

# By block_by_time: for min() and max() the planner walks over the blocks, through all partitions.
SQL_FIRST_SINCE: Final = """
    select number from chain.block where chain_id = $1 and block_time >= $2 order by block_time, number limit 1
"""
SQL_LAST_UNTIL: Final = """
    select number from chain.block where chain_id = $1 and block_time <= $2
    order by block_time desc, number desc limit 1
"""
SQL_CURSOR: Final = "select number, hash from chain.cursor where chain_id = $1"
SQL_HASH_AT: Final = "select hash from chain.block where chain_id = $1 and number = $2"

# A transaction is joined by its key alone: a range said beside it may be read through for each row (ADR 42).
# $1 chain, $2 first and $3 last block, $4 status, $5 least and $6 greatest value, $7 selector, $8 token, $9 address,
# $10 roles, $11 and $12 the place after which to go on, $13 limit, $14 offset.
_FILTERS: Final = """
        and ($4::smallint is null or t.status is not distinct from nullif($4, -1))
        and ($5::numeric is null or t.value >= $5)
        and ($6::numeric is null or t.value <= $6)
        and ($7::bytea is null or substring(t.input from 1 for 4) = $7)
"""
# By the key of each transaction (`offset 0`): a planner that knows nothing would read all that a token ever moved.
_MOVED: Final = """
        and ($8::bytea is null or exists (
            select from chain.token_transfer m
            where m.chain_id = $1 and m.block_number = t.block_number and m.tx_index = t.tx_index and m.token = $8
            offset 0))
"""
_OF_ADDRESS: Final = """
        select a.block_number, a.tx_index from chain.address_transaction a
        where a.chain_id = $1 and a.address = $9 and a.block_number between $2 and $3 and a.roles & $10 <> 0
"""
# In the page's order, and first (`offset 0`): a walk over all transactions ends soon only if the address is still busy.
_BY_ADDRESS: Final = f"""
    from (
        {_OF_ADDRESS}
        order by a.block_number {{order}}, a.tx_index {{order}}
        offset 0
    ) as a
    join chain.transaction t on t.chain_id = $1 and t.block_number = a.block_number and t.tx_index = a.tx_index
    where true
        {_FILTERS} {_MOVED}
"""
# What addresses did is known from their own index alone, unless something is asked of the transactions themselves. Most
# did little: whether it is, and how much, comes with the page. Many pages, each a row, cost little more than one.
# $1 chain; of each page $2 its address, $3 first and $4 last block, $5 and $6 the place after which to go on, $7 limit,
# $8 offset, $9 first and $10 last block of the page: a scan backwards does not begin at the place after which it is to
# go on, but at the block; $11 roles, $12 how many rows are few, and one more.
_OF_ADDRESSES: Final = """
    select
        array(
            select array[a.block_number, a.tx_index::bigint]
            from chain.address_transaction a
            where a.chain_id = $1 and a.address = o.address and a.block_number between o.lowest and o.highest {roles}
                and (a.block_number, a.tx_index) {beyond} (o.after_number, o.after_index)
            order by a.block_number {order}, a.tx_index {order}
            limit o.size offset o.skipped
        ) as places,
        (
            select count(*) from (
                select from chain.address_transaction a
                where a.chain_id = $1 and a.address = o.address and a.block_number between o.first and o.last {roles}
                limit $12
            ) as few
        ) as some
    from unnest(
            $2::bytea[], $3::bigint[], $4::bigint[], $5::bigint[], $6::integer[], $7::integer[], $8::bigint[],
            $9::bigint[], $10::bigint[]
        ) with ordinality
        as o (address, first, last, after_number, after_index, size, skipped, lowest, highest, nr)
    order by o.nr
"""
_ANY_ROLE: Final = "and $11::smallint is not null"  # the index alone is read
_ROLES: Final = "and a.roles & $11::smallint <> 0"
# Bounds that the planner does not see together: `between` is one row to one that knows nothing (ADR 42).
_MOVES: Final = """
        select distinct m.block_number, m.tx_index from chain.token_transfer m
        where m.chain_id = $1 and m.token = $8
            and m.block_number >= any (array[$2::bigint]) and m.block_number <= any (array[$3::bigint])
"""
# In the order of the page, so that no more of a token's transfers are read than the page has.
_BY_TOKEN: Final = f"""
    from (
        {_MOVES}
        order by m.block_number {{order}}, m.tx_index {{order}}
    ) as a
    join chain.transaction t on t.chain_id = $1 and t.block_number = a.block_number and t.tx_index = a.tx_index
    where $9::bytea is null and $10::integer is not null
        {_FILTERS}
"""
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
# Without filters the index alone is read. $1 chain, $2 first and $3 last block of the page, $4 and $5 the place after
# which to go on, $6 limit, $7 offset.
_OF_RANGE: Final = """
    select t.block_number, t.tx_index from chain.transaction t
    where t.chain_id = $1 and t.block_number between $2 and $3
        and (t.block_number, t.tx_index) {beyond} ($4::bigint, $5::integer)
    order by t.block_number {order}, t.tx_index {order}
    limit $6 offset $7
"""
# How many of the newest MOST_LOOKED_AT + 1 rows pass the filters, and how many rows that were.
_MATCHES: Final = """
    select count(t.block_number) as matches, count(*) as looked_at
    {source}
"""
_NEWEST_OF_ADDRESS: Final = f"""
    from (
        {_OF_ADDRESS}
        order by a.block_number desc, a.tx_index desc
        limit $11
    ) as a
    left join chain.transaction t
        on t.chain_id = $1 and t.block_number = a.block_number and t.tx_index = a.tx_index
        {_FILTERS} {_MOVED}
"""
_NEWEST_OF_TOKEN: Final = f"""
    from (
        {_MOVES}
        order by m.block_number desc, m.tx_index desc
        limit $11
    ) as a
    left join chain.transaction t
        on t.chain_id = $1 and t.block_number = a.block_number and t.tx_index = a.tx_index
        and $9::bytea is null and $10::integer is not null {_FILTERS}
"""
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

# Statements are put together once, from literal pieces; values only ever travel as parameters.
SQL_ADDRESS_NEWEST: Final = _PAGE.format(source=_BY_ADDRESS.format(**_DESCENDING), **_DESCENDING)
SQL_ADDRESS_OLDEST: Final = _PAGE.format(source=_BY_ADDRESS.format(**_ASCENDING), **_ASCENDING)
SQL_ADDRESS_COUNT: Final = _MATCHES.format(source=_NEWEST_OF_ADDRESS)
SQL_OF_ADDRESS_NEWEST: Final = _OF_ADDRESSES.format(roles=_ANY_ROLE, **_DESCENDING)
SQL_OF_ADDRESS_OLDEST: Final = _OF_ADDRESSES.format(roles=_ANY_ROLE, **_ASCENDING)
SQL_ONE_WAY_NEWEST: Final = _OF_ADDRESSES.format(roles=_ROLES, **_DESCENDING)
SQL_ONE_WAY_OLDEST: Final = _OF_ADDRESSES.format(roles=_ROLES, **_ASCENDING)
SQL_TOKEN_NEWEST: Final = _PAGE.format(source=_BY_TOKEN.format(**_DESCENDING), **_DESCENDING)
SQL_TOKEN_OLDEST: Final = _PAGE.format(source=_BY_TOKEN.format(**_ASCENDING), **_ASCENDING)
SQL_TOKEN_COUNT: Final = _MATCHES.format(source=_NEWEST_OF_TOKEN)
SQL_OF_RANGE_NEWEST: Final = _OF_RANGE.format(**_DESCENDING)
SQL_OF_RANGE_OLDEST: Final = _OF_RANGE.format(**_ASCENDING)
SQL_ALL_NEWEST: Final = _PAGE.format(source=_ALL, **_DESCENDING)
SQL_ALL_OLDEST: Final = _PAGE.format(source=_ALL, **_ASCENDING)
SQL_ALL_COUNT: Final = _MATCHES.format(source=_NEWEST)


class AnchorGone(ChainworkdError):
    """The block that a listing was anchored at is no longer part of the chain, or not yet."""


class Filter(NamedTuple):
    """What a listing is of. None asks for nothing. A tuple, like Window: pages are told apart by hash, which is quick.

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


class Window(NamedTuple):
    """Which part of a listing: `limit` rows after `offset` of them, or after the place `after`."""

    limit: int
    offset: int = 0
    after: Place | None = None
    oldest_first: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """A page that is asked for, and the block it is anchored at."""

    wanted: Filter
    window: Window
    at: BlockRef

    @property
    def way(self) -> tuple[Direction | None, bool]:
        """Direction and order: pages that have these in common are read together."""
        return self.wanted.direction, self.window.oldest_first


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
    """Return one page of what passes filters, anchored at `at`. Run it in the snapshot that `anchor` was asked in."""
    assert not wanted.is_indexed, "an index alone is read by of_range and of_addresses"
    span = await _span(conn, chain_id, wanted, at.number)
    if span is None:
        return Listed((), 0, at, None)
    asked = (
        chain_id, span.first, span.last, wanted.status, wanted.min_value, wanted.max_value, wanted.selector,
        wanted.token, wanted.address, int(DIRECTION_ROLES[wanted.direction]),
    )  # fmt: skip
    if wanted.address is not None or wanted.token is not None:
        await conn.execute(PLAN_BY_KEY)
    newest, oldest, count = _statements(wanted)
    after = window.after or (None, None)
    page = (chain_id, *_reach(window, span), *asked[3:], *after, window.limit, window.offset)
    rows = await conn.fetch(oldest if window.oldest_first else newest, *page)
    counted = await conn.fetchrow(count, *asked, MOST_LOOKED_AT + 1)
    assert counted is not None, "an aggregate has a row"
    return Listed(_places(rows), counted["matches"], at, span, counted["looked_at"] <= MOST_LOOKED_AT)


async def of_range(conn: Connection, chain_id: int, asked: Asked) -> Listed:
    """Return one page of all transactions, anchored at its block. Run it as of_addresses."""
    span, window = await _span(conn, chain_id, asked.wanted, asked.at.number), asked.window
    if span is None:
        return Listed((), 0, asked.at, None)
    if _is_deep(window):
        found = await offsets.of_chain(conn, chain_id, span, window.offset, oldest_first=window.oldest_first)
        total, part = found.total, _part(window, span, found)
    else:
        total, part = await counts.of_chain(conn, chain_id, span), _Part(*_reach(window, span), window.offset)
    sql = SQL_OF_RANGE_OLDEST if window.oldest_first else SQL_OF_RANGE_NEWEST
    rows = await conn.fetch(sql, chain_id, part.first, part.last, *_after(window, part), window.limit, part.skipped)
    return Listed(_places(rows), total, asked.at, span)


async def of_addresses(conn: Connection, chain_id: int, asked: Sequence[Asked]) -> list[Listed]:
    """Return pages of what addresses did, in the order in which they are asked for, each anchored at its block.

    All go the same way, in direction and order. Run it in the snapshot of `anchor`, with plans made once (reader.py).
    """
    direction, oldest_first = asked[0].way
    statements = _ONE_WAY[direction]
    roles = int(DIRECTION_ROLES[direction])
    spans = [await _span(conn, chain_id, each.wanted, each.at.number) for each in asked]
    columns, totals = [], []
    for each, span in zip(asked, spans, strict=True):
        if span is not None:
            part, total = await _part_of_address(conn, chain_id, each, span)
            columns.append(_columns(each, span, part))
            totals.append(total)
    rows: Sequence[asyncpg.Record] = ()
    if columns:
        sql = statements.oldest if oldest_first else statements.newest
        rows = await conn.fetch(sql, chain_id, *zip(*columns, strict=True), roles, FEW + 1)
    found = zip(rows, totals, strict=True)
    pages = []
    for each, span in zip(asked, spans, strict=True):
        if span is None:
            pages.append(Listed((), 0, each.at, None))
            continue
        row, known = next(found)
        total = row["some"] if known is None else known
        if known is None and total > FEW:
            owner = _owner(each.wanted)
            total = await counts.of_address(conn, chain_id, owner, span, sql=statements.total, roles=roles)
        pages.append(Listed(tuple(map(_place, row["places"])), total, each.at, span))
    return pages


def _place(pair: Sequence[int]) -> Place:
    number, index = pair
    return number, index


class _Part(NamedTuple):
    """Of the blocks that are asked for, those in which a page lies, and how many rows of theirs come before it."""

    first: int
    last: int
    skipped: int


_NOTHING: Final = _Part(0, -1, 0)


def _after(window: Window, part: _Part) -> Place:
    """Return the place after which the page begins: not far from it, for there the scan of the index does."""
    if window.after is not None:
        return window.after
    return (part.first, -1) if window.oldest_first else (part.last, 2**31 - 1)


def _is_deep(window: Window) -> bool:
    return window.offset > NEAR and window.after is None


def _part(window: Window, span: BlockRange, found: offsets.Found) -> _Part:
    """Return the part of `span` from the row that is found on, in the order of the listing."""
    if found.part is None:
        return _NOTHING
    if window.oldest_first:
        return _Part(found.part.first, span.last, found.rest)
    return _Part(span.first, found.part.last, found.rest)


async def _part_of_address(conn: Connection, chain_id: int, of: Asked, span: BlockRange) -> tuple[_Part, int | None]:
    """Return where a page lies, and the total if it came with that."""
    window = of.window
    if not _is_deep(window):
        return _Part(*_reach(window, span), window.offset), None
    statements = _ONE_WAY[of.wanted.direction]
    sql = statements.place_oldest if window.oldest_first else statements.place_newest
    roles = int(DIRECTION_ROLES[of.wanted.direction])
    found = await offsets.of_address(conn, chain_id, _owner(of.wanted), span, window.offset, sql=sql, roles=roles)
    return _part(window, span, found), found.total


def _columns(of: Asked, span: BlockRange, part: _Part) -> tuple[bytes, int, int, int, int, int, int, int, int]:
    return (
        _owner(of.wanted), span.first, span.last, *_after(of.window, part), of.window.limit, part.skipped,
        part.first, part.last,
    )  # fmt: skip


def _owner(wanted: Filter) -> bytes:
    assert wanted.address is not None, "the listing is an address' own"
    return wanted.address


def _reach(window: Window, span: BlockRange) -> tuple[int, int]:
    """Return the first and the last block in which the page can lie."""
    if window.after is None:
        return span.first, span.last
    at, _ = window.after
    return (max(span.first, at), span.last) if window.oldest_first else (span.first, min(span.last, at))


def _places(rows: Sequence[asyncpg.Record]) -> tuple[Place, ...]:
    return tuple((row["block_number"], row["tx_index"]) for row in rows)


class _OneWay(NamedTuple):
    """The statements for what an address did in one direction, or in any."""

    newest: str
    oldest: str
    total: str
    place_newest: str
    place_oldest: str


_ONE_WAY: Final[dict[Direction | None, _OneWay]] = {
    None: _OneWay(
        SQL_OF_ADDRESS_NEWEST, SQL_OF_ADDRESS_OLDEST, counts.SQL_OF_ADDRESS,
        offsets.SQL_OF_ADDRESS_NEWEST, offsets.SQL_OF_ADDRESS_OLDEST,
    ),
    "in": _OneWay(
        SQL_ONE_WAY_NEWEST, SQL_ONE_WAY_OLDEST, counts.SQL_INTO_ADDRESS,
        offsets.SQL_INTO_ADDRESS_NEWEST, offsets.SQL_INTO_ADDRESS_OLDEST,
    ),
    "out": _OneWay(
        SQL_ONE_WAY_NEWEST, SQL_ONE_WAY_OLDEST, counts.SQL_OUT_OF_ADDRESS,
        offsets.SQL_OUT_OF_ADDRESS_NEWEST, offsets.SQL_OUT_OF_ADDRESS_OLDEST,
    ),
}  # fmt: skip


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
