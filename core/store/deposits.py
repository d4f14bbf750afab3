"""What readers ask of vault deposits: canonical and orphaned ones in one order, judged by one state of finality.

A listing is anchored twice: at a block, as listings of transactions are, and at a `Standing`, which says how final that
chain was and which reorgs were known. With both, pages do not shift.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final, Literal

import asyncpg

from core.store import deposit_counts, listing
from core.store.deposit_counts import CURRENT, Asked
from core.store.pool import Connection, Pool, translated
from core.store.reader import MAX_BLOCK_NUMBER, snapshot, within
from core.store.transactions import StoredToken, TokenVersion, at_block, token_versions
from core.types import ZERO_ADDRESS, BlockRange, BlockRef

State = Literal["seen", "confirmed", "finalized", "orphaned"]
Place = tuple[
    int, int, bytes
]  # block number, log index, first 8 bytes of the block's hash: what deposits are ordered by

KEY_BYTES: Final = 8
MAX_TOTALS: Final = 100

SQL_STANDING: Final = """
    select coalesce(h.safe_number, -1) as safe, coalesce(h.finalized_number, -1) as finalized,
        coalesce(h.finality_by_depth, false) as by_depth,
        (select max(r.detected_at) from chain.reorg r where r.chain_id = $1) as reorg
    from (select $1::bigint as chain_id) as wanted
    left join chain.head h on h.chain_id = wanted.chain_id
"""
# One statement serves every filter. A plan made for all of them reads the whole table (400 ms instead of 2, measured).
SQL_PLAN_EACH: Final = "set local plan_cache_mode = force_custom_plan"
SQL_VAULTS: Final = "select vault from chain.watched_vault where chain_id = $1 order by vault"
# What is known of every vault: blocks that were committed with it watched, or looked at again.
SQL_COVERED: Final = """
    select lower(part) as first, upper(part) - 1 as last
    from unnest(
        (select range_agg(c.blocks) from chain.coverage c where c.chain_id = $1)
        * (
            select range_intersect_agg(w.scanned + int8multirange(int8range(w.watched_from, null)))
            from chain.watched_vault w
            where w.chain_id = $1
        )
    ) as part
    order by lower(part)
"""

# $1 chain, $2 last block, $3 safe and $4 finalized number, $5 newest known reorg, $6 account, $7 resolver, $8 token,
# $9 nonce, $10 vault, $11 state.
_FILTERS: Final = """
        and d.kind = 'deposit'
        and d.vault in (select w.vault from chain.watched_vault w where w.chain_id = $1)
        and ($6::bytea is null or d.account = $6)
        and ($7::bytea is null or d.resolver = $7)
        and ($8::bytea is null or d.token = $8)
        and ($9::numeric is null or d.nonce = $9)
        and ($10::bytea is null or d.vault = $10)
"""
_CANONICAL: Final = f"""
    from chain.vault_event d
    where d.chain_id = $1 and d.block_number <= $2 and $5::timestamptz is not distinct from $5
        {_FILTERS}
        and (
            $11::text is null
            or ($11 = 'finalized' and d.block_number <= $4)
            or ($11 = 'confirmed' and d.block_number > $4 and d.block_number <= $3)
            or ($11 = 'seen' and d.block_number > greatest($3::bigint, $4::bigint))
        )
"""
# A log that was orphaned twice is shown once, and not at all if its block is back.
_ORPHANED: Final = f"""
    from chain.orphan_vault_event d
    where d.chain_id = $1 and d.detected_at <= $5::timestamptz
        and $2::bigint is not null and $3::bigint is not null and $4::bigint is not null
        {_FILTERS}
        and ($11::text is null or $11 = 'orphaned')
        and not exists (
            select from chain.orphan_vault_event o
            where o.chain_id = d.chain_id and o.block_number = d.block_number and o.log_index = d.log_index
                and o.block_hash = d.block_hash and o.detected_at > d.detected_at and o.detected_at <= $5
        )
        and not exists (
            select from chain.vault_event e
            where e.chain_id = d.chain_id and e.block_number = d.block_number and e.log_index = d.log_index
                and e.block_hash = d.block_hash
        )
"""  # noqa: S608 - literal pieces, no values
_COLUMNS: Final = """
    d.block_number, d.log_index, d.block_hash, d.tx_hash, d.block_time, d.vault, d.generation, d.account, d.token,
    d.resolver, d.amount, d.nonce
"""
_JUDGED: Final = """
    select {columns}, null::timestamptz as orphaned_at, null::text as reason, null::bigint as ancestor,
        case when d.block_number <= $4 then 'finalized' when d.block_number <= $3 then 'confirmed' else 'seen' end
            as state
    {source}
"""
_GONE: Final = """
    select {columns}, d.detected_at as orphaned_at,
        (
            select r.reason from chain.reorg r
            where r.chain_id = $1 and r.detected_at = d.detected_at and r.orphan_number >= d.block_number
            limit 1
        ) as reason,
        (
            select r.ancestor_number from chain.reorg r
            where r.chain_id = $1 and r.detected_at = d.detected_at and r.orphan_number >= d.block_number
            limit 1
        ) as ancestor,
        'orphaned' as state
    {source}
"""
# An orphaned deposit met the implementation of its own fork: an upgrade orphaned with it, else one before the fork.
_UPGRADED: Final = """
    select p.*, coalesce(
        (
            select u.implementation from chain.orphan_vault_event u
            where u.chain_id = $1 and u.detected_at = p.orphaned_at and u.vault = p.vault and u.kind = 'upgraded'
                and (u.block_number, u.log_index) < (p.block_number, p.log_index)
            order by u.block_number desc, u.log_index desc
            limit 1
        ),
        (
            select u.implementation from chain.vault_event u
            where u.chain_id = $1 and u.vault = p.vault and u.kind = 'upgraded'
                and (u.block_number, u.log_index) < (p.block_number, p.log_index)
                and u.block_number <= coalesce(p.ancestor, p.block_number)
            order by u.block_number desc, u.log_index desc
            limit 1
        )
    ) as implementation
    from (
        {rows}
    ) as p
"""
# $12, $13, $14 the place after which to go on, $15 limit, $16 offset. Each half is cut before they are merged.
_HALF: Final = """
    {half}
    and (
        $12::bigint is null
        or (d.block_number, d.log_index, substring(d.block_hash from 1 for 8))
            {beyond} ($12, $13::integer, $14::bytea)
    )
    order by d.block_number {order}, d.log_index {order}, substring(d.block_hash from 1 for 8) {order}
    limit $15::bigint + $16::bigint
"""
_MERGED: Final = """
    select * from (
        ({canonical}) union all ({orphaned})
    ) as m
    order by m.block_number {order}, m.log_index {order}, substring(m.block_hash from 1 for 8) {order}
    limit $15 offset $16
"""
_AT: Final = """
    {canonical} and d.block_number = $2 and d.log_index = $12 and substring(d.block_hash from 1 for 8) = $13
    union all
    {orphaned} and d.block_number = $2 and d.log_index = $12 and substring(d.block_hash from 1 for 8) = $13
"""
_COUNT: Final = "select (select count(*) {canonical}) + (select count(*) {orphaned})"
_ORPHANS: Final = "select count(*) {orphaned}"
_TOTALS: Final = """
    select d.resolver, d.token,
        count(*) filter (where d.block_number > greatest($3::bigint, $4::bigint)) as seen_count,
        coalesce(sum(d.amount) filter (where d.block_number > greatest($3::bigint, $4::bigint)), 0) as seen_amount,
        count(*) filter (where d.block_number > $4 and d.block_number <= $3) as confirmed_count,
        coalesce(sum(d.amount) filter (where d.block_number > $4 and d.block_number <= $3), 0) as confirmed_amount,
        count(*) filter (where d.block_number <= $4) as finalized_count,
        coalesce(sum(d.amount) filter (where d.block_number <= $4), 0) as finalized_amount
    {source} and d.generation = $12 and d.amount > 0
    group by d.resolver, d.token
    order by count(*) desc, d.resolver, d.token
    limit $13
"""
_ROWS: Final = {
    "canonical": _JUDGED.format(columns=_COLUMNS, source=_CANONICAL),
    "orphaned": _GONE.format(columns=_COLUMNS, source=_ORPHANED),
}


def _page(order: str, beyond: str) -> str:
    halves = {name: _HALF.format(half=half, order=order, beyond=beyond) for name, half in _ROWS.items()}
    return _UPGRADED.format(rows=_MERGED.format(**halves, order=order)) + _IN_ORDER.format(order=order)


_IN_ORDER: Final = """
    order by p.block_number {order}, p.log_index {order}, substring(p.block_hash from 1 for 8) {order}
"""

# Statements are put together once, from literal pieces; values only ever travel as parameters.
SQL_NEWEST: Final = _page("desc", "<")
SQL_OLDEST: Final = _page("asc", ">")
SQL_FOUND: Final = _UPGRADED.format(rows=_AT.format(**_ROWS))
SQL_COUNT: Final = _COUNT.format(canonical=_CANONICAL, orphaned=_ORPHANED)
SQL_ORPHANS: Final = _ORPHANS.format(orphaned=_ORPHANED)
SQL_TOTALS: Final = _TOTALS.format(source=_CANONICAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class DepositFilter:
    """Which deposits. None asks for nothing; `token` is 20 zero bytes for the native coin."""

    user: bytes | None = None
    resolver: bytes | None = None
    token: bytes | None = None
    nonce: int | None = None
    vault: bytes | None = None
    state: State | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DepositWindow:
    """Which part of a listing: `limit` rows after `offset` of them, or after the place `after`."""

    limit: int
    offset: int = 0
    after: Place | None = None
    oldest_first: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """What states are judged by: safe and finalized block (-1 for none), and the newest reorg that counts."""

    safe: int
    finalized: int
    reorg: datetime | None

    def within(self, now: "Standing") -> "Standing":
        """Return this as far as it still holds: an old link, or a made-up one, makes nothing more final than it is."""
        return Standing(min(self.safe, now.safe), min(self.finalized, now.finalized), self.reorg)

    def spans(self, last: int) -> dict[State, BlockRange]:
        """Return which blocks up to `last` hold the deposits of each state; a state without blocks is left out."""
        edges: dict[State, tuple[int, int]] = {
            "finalized": (0, min(self.finalized, last)),
            "confirmed": (self.finalized + 1, min(self.safe, last)),
            "seen": (max(self.safe, self.finalized) + 1, last),
        }
        return {state: BlockRange(first, end) for state, (first, end) in edges.items() if first <= end}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDeposit:
    """A deposit's log. `implementation` is what the vault was last upgraded to before it, None if no log told.

    `resolver` and `nonce` are None where its generation has none. `reason` says why it was orphaned.
    """

    block_number: int
    log_index: int
    block_hash: bytes
    tx_hash: bytes
    block_time: datetime
    vault: bytes
    generation: int
    account: bytes
    token: StoredToken
    resolver: bytes | None
    amount: int
    nonce: int | None
    state: State
    orphaned_at: datetime | None
    reason: str | None
    implementation: bytes | None

    @property
    def place(self) -> Place:
        """Where it stands in listings."""
        return self.block_number, self.log_index, self.block_hash[:KEY_BYTES]

    @property
    def counts(self) -> bool:
        """Whether it is worth something: an amount, for a resolver, in a block the chain still has."""
        return self.amount > 0 and self.generation == CURRENT and self.state != "orphaned"


@dataclass(frozen=True, slots=True)
class Sum:
    """How many deposits that count, and their amounts in base units."""

    count: int
    amount: int


@dataclass(frozen=True, slots=True)
class DepositTotal:
    """What one resolver was given of one token, by state."""

    resolver: bytes
    token: StoredToken
    by_state: Mapping[State, Sum]


@dataclass(frozen=True, slots=True, kw_only=True)
class DepositPage:
    """One page of a listing, its totals, and what it is anchored at; `anchor` None when nothing is indexed.

    `covered` are the ranges whose events of every watched vault are known. `all_totals`: none was left out of `totals`.
    """

    deposits: tuple[StoredDeposit, ...] = ()
    total: int = 0
    totals: tuple[DepositTotal, ...] = ()
    all_totals: bool = True
    anchor: BlockRef | None = None
    standing: Standing = Standing(-1, -1, None)
    by_depth: bool = False
    vaults: tuple[bytes, ...] = ()
    covered: tuple[BlockRange, ...] = ()
    complete: bool = False


class Deposits:
    """Reads the vault deposits of one chain."""

    def __init__(self, pool: Pool, chain_id: int) -> None:
        self._pool = pool
        self._chain = chain_id

    async def page(
        self,
        wanted: DepositFilter,
        window: DepositWindow,
        *,
        as_of: int | None = None,
        as_of_hash: bytes | None = None,
        standing: Standing | None = None,
    ) -> DepositPage:
        """Return one page of the deposits that pass the filter, as chain and finality stood.

        Raises AnchorGone if block `as_of`, or the block with that hash, is not part of the chain.
        """
        with translated():
            async with snapshot(self._pool) as conn:
                await conn.execute(SQL_PLAN_EACH)
                now, by_depth = await self._standing(conn)
                vaults = tuple(row["vault"] for row in await conn.fetch(SQL_VAULTS, self._chain))
                judged = now if standing is None else standing.within(now)
                cursor = await listing.newest(conn, self._chain)
                if cursor is None:
                    return DepositPage(standing=judged, by_depth=by_depth, vaults=vaults)
                at = await listing.anchor(conn, self._chain, cursor, as_of, as_of_hash)
                asked = self._asked(at.number, judged, wanted)
                after = window.after or (None, None, None)
                sql = SQL_OLDEST if window.oldest_first else SQL_NEWEST
                rows = await conn.fetch(sql, *asked, *after, window.limit, window.offset)
                total, sums = await self._totals(conn, at.number, judged, wanted, vaults)
                ranges = await conn.fetch(SQL_COVERED, self._chain)
                tokens = await token_versions(conn, self._chain, {row["token"] for row in (*rows, *sums)})
        span = BlockRange(0, at.number)
        covered = within([BlockRange(row["first"], row["last"]) for row in ranges], span)
        return DepositPage(
            deposits=tuple(_deposit(row, tokens) for row in rows),
            total=total,
            totals=tuple(_total(row, tokens) for row in sums[:MAX_TOTALS]),
            all_totals=len(sums) <= MAX_TOTALS,
            anchor=at, standing=judged, by_depth=by_depth, vaults=vaults, covered=covered, complete=covered == (span,),
        )  # fmt: skip

    async def find(self, place: Place) -> StoredDeposit | None:
        """Return the deposit at `place`, orphaned or not."""
        number, log_index, key = place
        with translated():
            async with snapshot(self._pool) as conn:
                await conn.execute(SQL_PLAN_EACH)
                standing, _ = await self._standing(conn)
                asked = self._asked(number, standing, DepositFilter())
                row = await conn.fetchrow(SQL_FOUND, *asked, log_index, key)
                if row is None:
                    return None
                return _deposit(row, await token_versions(conn, self._chain, {row["token"]}))

    async def _totals(
        self, conn: Connection, last: int, standing: Standing, wanted: DepositFilter, watched: Sequence[bytes]
    ) -> tuple[int, Sequence[asyncpg.Record]]:
        """Return how many deposits there are, and rows for `_total`, one more than are shown if there are more."""
        asked = self._asked(last, standing, wanted)
        if wanted.user is not None or wanted.nonce is not None:  # indices find them, and they are few
            total = await conn.fetchval(SQL_COUNT, *asked)
            return total, await conn.fetch(SQL_TOTALS, *asked, CURRENT, MAX_TOTALS + 1)
        spans = [(state, span) for state, span in standing.spans(last).items() if wanted.state in (None, state)]
        vaults = [vault for vault in watched if wanted.vault in (None, vault)]
        keys = Asked(vaults=vaults, resolver=wanted.resolver, token=wanted.token)
        stored, sums = await deposit_counts.sums(conn, self._chain, spans, keys, limit=MAX_TOTALS + 1)
        return stored + await conn.fetchval(SQL_ORPHANS, *asked), sums

    async def _standing(self, conn: Connection) -> tuple[Standing, bool]:
        row = await conn.fetchrow(SQL_STANDING, self._chain)
        assert row is not None, "the query selects from a constant row"
        return Standing(row["safe"], row["finalized"], row["reorg"]), row["by_depth"]

    def _asked(self, last: int, standing: Standing, wanted: DepositFilter) -> tuple[object, ...]:
        return (
            self._chain, last, standing.safe, standing.finalized, standing.reorg, wanted.user, wanted.resolver,
            wanted.token, None if wanted.nonce is None else Decimal(wanted.nonce), wanted.vault, wanted.state,
        )  # fmt: skip


def _deposit(row: asyncpg.Record, tokens: Mapping[bytes, Sequence[TokenVersion]]) -> StoredDeposit:
    return StoredDeposit(
        block_number=row["block_number"],
        log_index=row["log_index"],
        block_hash=row["block_hash"],
        tx_hash=row["tx_hash"],
        block_time=row["block_time"],
        vault=row["vault"],
        generation=row["generation"],
        account=row["account"],
        token=_token(row["token"], tokens, row["block_number"]),
        resolver=row["resolver"],
        amount=int(row["amount"]),
        nonce=None if row["nonce"] is None else int(row["nonce"]),
        state=row["state"],
        orphaned_at=row["orphaned_at"],
        reason=row["reason"],
        implementation=row["implementation"],
    )


def _total(row: asyncpg.Record, tokens: Mapping[bytes, Sequence[TokenVersion]]) -> DepositTotal:
    states: tuple[State, ...] = ("seen", "confirmed", "finalized")
    sums: dict[State, Sum] = {each: Sum(row[f"{each}_count"], int(row[f"{each}_amount"])) for each in states}
    return DepositTotal(row["resolver"], _token(row["token"], tokens, MAX_BLOCK_NUMBER), sums)


def _token(address: bytes, tokens: Mapping[bytes, Sequence[TokenVersion]], number: int) -> StoredToken:
    return StoredToken(address) if address == ZERO_ADDRESS else at_block(tokens.get(address, ()), address, number)
