"""What was deposited, in all and by resolver and token: exact in every snapshot, however many deposits (ADR 43).

Segments of blocks that are covered and finalized, and whose events are known of every watched vault, are counted once,
in several widths. A total is the sum over the widest sealed segments in the blocks that are asked for, narrower ones
beside them, and the deposits themselves beside those.
"""

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

import asyncpg

from core.store.locks import SQL_DEPOSITS_LOCK, SQL_SHARE_LOCK
from core.store.pool import Connection, Pool, translated
from core.store.reader import snapshot
from core.types import BlockRange

# Blocks of a segment, each 16 times the one before: in 400 million blocks (Arbitrum) a sum is over 24 segments of the
# widest and at most 15 of each other.
WIDTHS: Final = (256, 4_096, 65_536, 1_048_576, 16_777_216)
MOST_BLOCKS: Final = 65_536  # sealed in one transaction, or one segment: a rewind at the head waits for it
CURRENT: Final = 3  # the generation that names a resolver (indexer/decode/signed_vault.py): the only one that counts


@dataclass(frozen=True, slots=True)
class Part:
    """Blocks whose deposits are summed by segments of `width`, or one by one where it is None."""

    width: int | None
    blocks: BlockRange


@dataclass(frozen=True, slots=True)
class Stretch:
    """Segments of one width, side by side: what is counted in one transaction."""

    width: int
    blocks: BlockRange

    @property
    def segments(self) -> int:
        """How many these are."""
        return len(self.blocks) // self.width


@dataclass(frozen=True, slots=True)
class WrongDeposits:
    """A count that is not what is stored: deposits, those that are worth something, and their amount in base units.

    `resolver` is empty for deposits that name none; `expected` or `found` is None for no count.
    """

    blocks: BlockRange
    vault: bytes
    resolver: bytes
    token: bytes
    expected: tuple[int, int, int] | None
    found: tuple[int, int, int] | None


def parts(span: BlockRange, sealed: Mapping[int, Sequence[BlockRange]]) -> list[Part]:
    """Return `span` in parts: the widest segments that lie in it and are sealed, and so on, and what is beside all.

    `sealed` gives, for each width, ascending ranges of whole segments.
    """
    found: list[Part] = []
    gaps = [span]
    for width in sorted(sealed, reverse=True):
        beside: list[BlockRange] = []
        for gap in gaps:
            at = gap.first
            for blocks in sealed[width]:
                inner = _whole(max(blocks.first, gap.first), min(blocks.last, gap.last), width)
                if inner is None:
                    continue
                if at < inner.first:
                    beside.append(BlockRange(at, inner.first - 1))
                found.append(Part(width, inner))
                at = inner.last + 1
            if at <= gap.last:
                beside.append(BlockRange(at, gap.last))
        gaps = beside
    return [*found, *(Part(None, gap) for gap in gaps)]


def stretches(blocks: BlockRange, width: int, most: int) -> Iterator[Stretch]:
    """Yield the whole segments in `blocks`, newest first: aligned, up to `most` blocks at once, but one segment."""
    inner, size = _whole(blocks.first, blocks.last, width), max(width, most)
    while inner is not None:
        first = max(inner.first, inner.last // size * size)
        yield Stretch(width, BlockRange(first, inner.last))
        inner = _whole(inner.first, first - 1, width)


def _whole(first: int, last: int, width: int) -> BlockRange | None:
    """Return the whole segments from `first` to `last`, None if there are none."""
    start, end = -(-first // width) * width, (last + 1) // width * width
    return BlockRange(start, end - 1) if start < end else None


# -- totals ------------------------------------------------------------------------------------------------------------

SQL_SEALED: Final = """
    select s.width, lower(part) as first, upper(part) - 1 as last
    from chain.deposit_seal s
    cross join unnest(s.blocks) as part
    where s.chain_id = $1
    order by s.width, lower(part)
"""
# $1 chain, $2 to $5 parts by segments: state, width, first and last block; $6 to $8 parts by deposits: state, first and
# last block; $9 vaults, $10 resolver, $11 token; $12 the generation that counts, $13 limit.
# Each part is read by a subquery of its own, which looks into an index; a join of all parts reads the tables through.
SQL_SUMS: Final = """
    with found as (
        select p.state, c.resolver, c.token, c.deposits, c.worth, c.amount
        from unnest($2::text[], $3::integer[], $4::bigint[], $5::bigint[]) as p (state, width, first, last)
        cross join unnest(array(
            select row(k.resolver, k.token, sum(k.deposits), sum(k.worth), sum(k.amount))
            from chain.deposit_count k
            where k.chain_id = $1 and k.width = p.width and k.first_block between p.first and p.last
                and k.vault = any($9::bytea[])
                and ($10::bytea is null or k.resolver = $10)
                and ($11::bytea is null or k.token = $11)
            group by k.resolver, k.token
        )) as c (resolver bytea, token bytea, deposits bigint, worth bigint, amount numeric)
        union all
        select p.state, c.resolver, c.token, c.deposits, c.worth, c.amount
        from unnest($6::text[], $7::bigint[], $8::bigint[]) as p (state, first, last)
        cross join unnest(array(
            select row(
                coalesce(d.resolver, ''), d.token, count(*),
                count(*) filter (where d.generation = $12 and d.amount > 0),
                coalesce(sum(d.amount) filter (where d.generation = $12 and d.amount > 0), 0)
            )
            from chain.vault_event d
            where d.chain_id = $1 and d.block_number between p.first and p.last and d.kind = 'deposit'
                and d.vault = any($9::bytea[])
                and ($10::bytea is null or d.resolver = $10)
                and ($11::bytea is null or d.token = $11)
            group by d.resolver, d.token
        )) as c (resolver bytea, token bytea, deposits bigint, worth bigint, amount numeric)
    ),
    summed as (
        select f.resolver, f.token, sum(f.deposits) as deposits, sum(f.worth)::bigint as worth,
            coalesce(sum(f.worth) filter (where f.state = 'seen'), 0)::bigint as seen_count,
            coalesce(sum(f.amount) filter (where f.state = 'seen'), 0) as seen_amount,
            coalesce(sum(f.worth) filter (where f.state = 'confirmed'), 0)::bigint as confirmed_count,
            coalesce(sum(f.amount) filter (where f.state = 'confirmed'), 0) as confirmed_amount,
            coalesce(sum(f.worth) filter (where f.state = 'finalized'), 0)::bigint as finalized_count,
            coalesce(sum(f.amount) filter (where f.state = 'finalized'), 0) as finalized_amount
        from found f
        group by f.resolver, f.token
    ),
    first as (
        select * from summed where worth > 0 order by worth desc, resolver, token limit $13
    )
    select a.total, f.*
    from (select coalesce(sum(s.deposits), 0)::bigint as total from summed s) as a
    left join first f on true
    order by f.worth desc, f.resolver, f.token
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Whose deposits are summed: into which vaults, watched ones; otherwise None asks for nothing."""

    vaults: Sequence[bytes]
    resolver: bytes | None = None
    token: bytes | None = None


async def sums(
    conn: Connection, chain_id: int, spans: Iterable[tuple[str, BlockRange]], asked: Asked, *, limit: int
) -> tuple[int, Sequence[asyncpg.Record]]:
    """Return how many deposits there are in `spans`, of a state each, and what resolvers were given of tokens.

    At most `limit` rows of those, the most deposits first, with number and amount for each state. Needs a snapshot.
    """
    sealed: dict[int, list[BlockRange]] = {}
    for row in await conn.fetch(SQL_SEALED, chain_id):
        sealed.setdefault(row["width"], []).append(BlockRange(row["first"], row["last"]))
    cut = [(state, part) for state, span in spans for part in parts(span, sealed)]
    counted = [(state, part.width, part.blocks.first, part.blocks.last) for state, part in cut if part.width]
    live = [(state, part.blocks.first, part.blocks.last) for state, part in cut if not part.width]
    rows = await conn.fetch(
        SQL_SUMS, chain_id, *_columns(counted, 4), *_columns(live, 3), list(asked.vaults), asked.resolver,
        asked.token, CURRENT, limit,
    )  # fmt: skip
    return rows[0]["total"], [row for row in rows if row["resolver"] is not None]


def _columns(rows: Sequence[tuple[object, ...]], width: int) -> list[list[object]]:
    return [[row[column] for row in rows] for column in range(width)]


# -- sealing -----------------------------------------------------------------------------------------------------------

# $1 chain, $2 the block above which and $3 the block up to which deposits come or go.
SQL_UNSEAL: Final = """
    update chain.deposit_seal
    set blocks = blocks
        - int8multirange(int8range(($2::bigint + 1) / width * width, ($3::bigint / width + 1) * width))
    where chain_id = $1 and blocks && int8range($2::bigint + 1, $3::bigint + 1)
    returning width
"""
SQL_UNCOUNT: Final = """
    delete from chain.deposit_count where chain_id = $1 and width = $2 and first_block between $3 and $4
"""


async def unseal(conn: Connection, chain_id: int, above: int, last: int) -> None:
    """Forget the counts of segments with blocks above `above` up to `last`, in the transaction that changes those.

    It has to own the lock on rewinds, or the one on deposits.
    """
    for row in await conn.fetch(SQL_UNSEAL, chain_id, above, last):
        width = row["width"]
        await conn.execute(SQL_UNCOUNT, chain_id, width, (above + 1) // width * width, last)


# Covered, finalized, and known of every watched vault. Where one is still to be looked at again there will be more
# deposits soon: what is counted before that would be counted twice.
_KNOWN: Final = """
        (select range_agg(c.blocks) from chain.coverage c where c.chain_id = $1)
            * (
                select range_intersect_agg(v.scanned + int8multirange(int8range(v.watched_from, null)))
                from chain.watched_vault v
                where v.chain_id = $1
            )
            * (
                select int8multirange(int8range(0, h.finalized_number + 1))
                from chain.head h
                where h.chain_id = $1 and h.finalized_number is not null
            )
"""
# The narrowest segments are counted where blocks are known, wider ones where the next narrower are sealed.
_UNSEALED: Final = """
    select w.width, lower(part) as first, upper(part) - 1 as last
    from unnest($2::integer[], $3::integer[]) as w (width, narrower)
    cross join unnest(
        case when w.narrower is null then
            {known}
        else
            (select s.blocks from chain.deposit_seal s where s.chain_id = $1 and s.width = w.narrower)
        end
        - coalesce((select s.blocks from chain.deposit_seal s where s.chain_id = $1 and s.width = w.width), '{{}}')
    ) as part
"""
SQL_UNSEALED: Final = _UNSEALED.format(known=_KNOWN)
# $1 chain, $2 first and $3 last block, $4 the next narrower width, null for none.
_SEALABLE: Final = """
    select coalesce(
        case when $4::integer is null then
            {known}
        else
            (select s.blocks from chain.deposit_seal s where s.chain_id = $1 and s.width = $4)
        end @> int8range($2::bigint, $3::bigint + 1),
        false
    )
"""
SQL_SEALABLE: Final = _SEALABLE.format(known=_KNOWN)
SQL_IS_SEALED: Final = """
    select exists (
        select from chain.deposit_seal
        where chain_id = $1 and width = $2 and blocks @> int8range($3::bigint, $4::bigint + 1)
    )
"""
# $1 chain, $2 width, $3 first and $4 last block, $5 the generation that counts.
SQL_COUNTED: Final = """
    select $1::bigint as chain_id, $2::integer as width, d.block_number / $2 * $2 as first_block, d.vault,
        coalesce(d.resolver, '') as resolver, d.token, count(*)::integer as deposits,
        (count(*) filter (where d.generation = $5 and d.amount > 0))::integer as worth,
        coalesce(sum(d.amount) filter (where d.generation = $5 and d.amount > 0), 0) as amount
    from chain.vault_event d
    where d.chain_id = $1 and d.block_number between $3 and $4 and d.kind = 'deposit'
    group by d.block_number / $2 * $2, d.vault, coalesce(d.resolver, ''), d.token
"""
_INSERT: Final = """
    insert into chain.deposit_count
        (chain_id, width, first_block, vault, resolver, token, deposits, worth, amount)
    {counted}
"""
SQL_COUNT: Final = _INSERT.format(counted=SQL_COUNTED)
# The same of narrower segments, $5 blocks wide.
SQL_SUM_UP: Final = """
    insert into chain.deposit_count
        (chain_id, width, first_block, vault, resolver, token, deposits, worth, amount)
    select $1::bigint, $2::integer, c.first_block / $2 * $2, c.vault, c.resolver, c.token, sum(c.deposits)::integer,
        sum(c.worth)::integer, sum(c.amount)
    from chain.deposit_count c
    where c.chain_id = $1 and c.width = $5 and c.first_block between $3 and $4
    group by c.first_block / $2 * $2, c.vault, c.resolver, c.token
"""
SQL_COUNTS: Final = """
    select first_block, vault, resolver, token, deposits, worth, amount from chain.deposit_count
    where chain_id = $1 and width = $2 and first_block between $3 and $4
"""
SQL_SEAL: Final = """
    insert into chain.deposit_seal as s (chain_id, width, blocks)
    values ($1, $2, int8multirange(int8range($3::bigint, $4::bigint + 1)))
    on conflict (chain_id, width) do update set blocks = s.blocks + excluded.blocks
"""
_SHARE: Final = """
    select sum(upper(part) - lower(part))::bigint as final,
        sum((
            select coalesce(sum(upper(piece) - lower(piece)), 0)
            from chain.deposit_seal s
            cross join unnest(s.blocks * int8multirange(part)) as piece
            where s.chain_id = $1 and s.width = $2
        ))::bigint as sealed
    from unnest(
        {known}
    ) as part
"""
SQL_SHARE: Final = _SHARE.format(known=_KNOWN)


class PgDepositCounts:
    """Seals segments of one chain's deposits (SealStore).

    Whoever seals shares fills' lock, which rewinds, discards and pruning wait for, and owns the one of those that add
    deposits to covered blocks: what is counted is what is there when the transaction commits.
    """

    def __init__(
        self, pool: Pool, chain_id: int, *, widths: Sequence[int] = WIDTHS, most_blocks: int = MOST_BLOCKS
    ) -> None:
        self._pool = pool
        self._chain = chain_id
        self._narrower: dict[int, int | None] = dict(zip(widths, (None, *widths), strict=False))
        self._most = most_blocks

    async def unsealed(self, limit: int) -> list[Stretch]:
        """Return what can be sealed, the newest first."""
        widths = (list(self._narrower), list(self._narrower.values()))
        with translated():
            rows = await self._pool.fetch(SQL_UNSEALED, self._chain, *widths)
        return list(islice(self._stretches(rows), limit))

    async def sealed(self) -> list[Stretch]:
        """Return what is sealed, the newest first."""
        with translated():
            rows = await self._pool.fetch(SQL_SEALED, self._chain)
        return list(self._stretches(rows))

    async def share(self) -> float | None:
        """Return which share of what is known and final is sealed; None where there is nothing."""
        with translated():
            row = await self._pool.fetchrow(SQL_SHARE, self._chain, min(self._narrower))
        return row["sealed"] / row["final"] if row is not None and row["final"] else None

    async def seal(self, stretch: Stretch) -> bool:
        """Count and seal; False, and not sealed, if the blocks are not known and final any more."""
        place, narrower = self._place(stretch), self._narrower[stretch.width]
        with translated():
            async with self._pool.acquire() as conn, conn.transaction():
                await self._lock(conn)
                span = stretch.blocks
                if not await conn.fetchval(SQL_SEALABLE, self._chain, span.first, span.last, narrower):
                    return False
                await conn.execute(SQL_UNCOUNT, *place)  # another process may have sealed them
                if narrower is None:
                    await conn.execute(SQL_COUNT, *place, CURRENT)
                else:
                    await conn.execute(SQL_SUM_UP, *place, narrower)
                await conn.execute(SQL_SEAL, *place)
        return True

    async def reseal(self, stretch: Stretch) -> list[WrongDeposits]:
        """Count what is sealed again, from deposits, store what it should be, and return what was stored otherwise."""
        with translated():
            async with snapshot(self._pool) as conn:  # holds nobody up
                if not await self._wrong(conn, stretch):
                    return []
            async with self._pool.acquire() as conn, conn.transaction():
                await self._lock(conn)
                wrong = await self._wrong(conn, stretch)
                if wrong:
                    await conn.execute(SQL_UNCOUNT, *self._place(stretch))
                    await conn.execute(SQL_COUNT, *self._place(stretch), CURRENT)
        return wrong

    async def _wrong(self, conn: Connection, stretch: Stretch) -> list[WrongDeposits]:
        place = self._place(stretch)
        if not await conn.fetchval(SQL_IS_SEALED, *place):  # unsealed meanwhile, and rightly
            return []
        found = {_key(row): _numbers(row) for row in await conn.fetch(SQL_COUNTS, *place)}
        expected = {_key(row): _numbers(row) for row in await conn.fetch(SQL_COUNTED, *place, CURRENT)}
        return [
            WrongDeposits(BlockRange(key[0], key[0] + stretch.width - 1), *key[1:], expected.get(key), found.get(key))
            for key in sorted({*expected, *found})
            if expected.get(key) != found.get(key)
        ]

    async def _lock(self, conn: Connection) -> None:
        await conn.execute(SQL_SHARE_LOCK, self._chain)
        await conn.execute(SQL_DEPOSITS_LOCK, self._chain)

    def _place(self, stretch: Stretch) -> tuple[int, int, int, int]:
        return self._chain, stretch.width, stretch.blocks.first, stretch.blocks.last

    def _stretches(self, rows: Sequence[asyncpg.Record]) -> Iterator[Stretch]:
        each = [stretches(BlockRange(row["first"], row["last"]), row["width"], self._most) for row in rows]
        return heapq.merge(*each, key=lambda stretch: (-stretch.blocks.last, stretch.width))


def _key(row: asyncpg.Record) -> tuple[int, bytes, bytes, bytes]:
    return row["first_block"], row["vault"], row["resolver"], row["token"]


def _numbers(row: asyncpg.Record) -> tuple[int, int, int]:
    return row["deposits"], row["worth"], int(row["amount"])
