"""What is known of the completeness of stored blocks: which checks they passed, and what is in quarantine.

A block's level is kept by ranges, not in its row: the rows of a million blocks that pass the same checks are one entry,
a later verification raises the level without touching a block, and the share of verified blocks is known at once.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Final

import asyncpg

from core.clock import Clock, SystemClock
from core.errors import Unverified
from core.store.pool import Connection, Pool, translated
from core.types import Block, BlockRange
from core.verify.checks import Check

KEEP_RESOLVED: Final = timedelta(days=30)
MAX_TEXT: Final = 300  # a bloom is 514 characters, and its beginning says enough
MAX_SHOWN: Final = 20
MOST_FAILED: Final = 32  # blocks that a calibration looks at for what they once failed

# One statement: it is on the head's way.
SQL_NOTE: Final = """
    with resolved as (
        update chain.quarantine
        set resolved_at = $5
        where chain_id = $1 and number between $3 and $4 and resolved_at is null
    )
    insert into chain.verified as known (chain_id, checks, blocks)
    values ($1, $2, int8multirange(int8range($3::bigint, $4::bigint + 1)))
    on conflict (chain_id, checks) do update
    set blocks = known.blocks + excluded.blocks
"""
# In the order of the key: two that take blocks out at once must not wait for one another.
SQL_LOCK: Final = "select checks from chain.verified where chain_id = $1 order by checks for update"
SQL_FORGET: Final = """
    update chain.verified
    set blocks = blocks - int8multirange(int8range($2::bigint, $3::bigint + 1))
    where chain_id = $1 and blocks && int8range($2::bigint, $3::bigint + 1)
"""
SQL_LEVEL: Final = "select checks_held, checks, checks_failed_at from chain.chain where chain_id = $1"
SQL_SET_LEVEL: Final = """
    update chain.chain
    set checks_held = coalesce(checks_held, 0::smallint) | $2::smallint,
        checks = (coalesce(checks_held, 0::smallint) | $2::smallint) & ~$3::smallint,
        checks_failed_at = array(
            select distinct number from unnest(checks_failed_at || $4::bigint[]) as number order by number limit $5
        )
    where chain_id = $1
    returning checks_held, checks, checks_failed_at
"""
# Per covered range, not per block.
SQL_COMPLETENESS: Final = """
    with covered as (
        select range_agg(c.blocks) as blocks from chain.coverage c where c.chain_id = $1
    ),
    good as (
        select range_agg(part.blocks) as blocks
        from chain.verified v
        join chain.chain of_chain on of_chain.chain_id = v.chain_id
        cross join unnest(v.blocks) as part (blocks)
        where v.chain_id = $1 and v.checks & of_chain.checks = of_chain.checks
    )
    select (select checks from chain.chain where chain_id = $1) as checks,
        (select sum(upper(r) - lower(r)) from covered cross join unnest(covered.blocks) r) as stored,
        (
            select sum(upper(r) - lower(r))
            from covered
            cross join good
            cross join unnest(covered.blocks * good.blocks) r
        ) as verified
"""
SQL_BELOW_LEVEL: Final = """
    with good as (
        select range_agg(part.blocks) as blocks
        from chain.verified v
        cross join unnest(v.blocks) as part (blocks)
        where v.chain_id = $1 and v.checks & $2::smallint = $2::smallint
    )
    select lower(r) as first, upper(r) - 1 as last
    from (select range_agg(c.blocks) as blocks from chain.coverage c where c.chain_id = $1) as covered
    cross join good
    cross join unnest(covered.blocks - coalesce(good.blocks, '{}'::int8multirange)) r
    order by first desc
"""
SQL_STORED_FINAL: Final = """
    select lower(r) as first, upper(r) - 1 as last, c.rechecked_to
    from chain.chain c
    join chain.head h on h.chain_id = c.chain_id
    cross join unnest(
        (select range_agg(v.blocks) from chain.coverage v where v.chain_id = $1)
            * int8multirange(int8range(0, h.finalized_number + 1))
    ) r
    where c.chain_id = $1 and h.finalized_number is not null
    order by first desc
"""
SQL_RECHECKED: Final = "update chain.chain set rechecked_to = $2 where chain_id = $1"
SQL_QUARANTINE: Final = """
    insert into chain.quarantine as known
        (chain_id, number, hash, endpoint, failed, which, expected, found, first_seen_at, last_seen_at)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)
    on conflict (chain_id, number, hash, endpoint, failed) do update
    set which = excluded.which, expected = excluded.expected, found = excluded.found,
        last_seen_at = excluded.last_seen_at, times = known.times + 1, resolved_at = null
"""
SQL_QUARANTINED: Final = """
    select number, hash, endpoint, failed, which, expected, found, first_seen_at, last_seen_at, times
    from chain.quarantine
    where chain_id = $1 and resolved_at is null
    order by number, last_seen_at
    limit $2
"""
SQL_COUNT_QUARANTINED: Final = """
    select count(distinct number) from chain.quarantine where chain_id = $1 and resolved_at is null
"""
SQL_REFUSED: Final = """
    select exists (
        select from chain.quarantine
        where chain_id = $1 and number = $2 and resolved_at is null and last_seen_at >= $3)
"""
SQL_FORGET_RESOLVED: Final = "delete from chain.quarantine where chain_id = $1 and resolved_at < $2"


@dataclass(frozen=True, slots=True)
class ChainChecks:
    """What blocks of a chain have to pass; `held` is what they were ever seen to pass.

    `failed_at` are blocks that some check failed at, which did not hold then.
    """

    held: Check
    wanted: Check
    failed_at: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Completeness:
    """How many blocks are stored, how many of them passed all that the chain's blocks have to pass now.

    `checks` is None before the first calibration.
    """

    checks: Check | None
    stored: int
    verified: int

    @property
    def share(self) -> float | None:
        """The verified share of the stored blocks, None where nothing has to be passed or nothing is stored."""
        return self.verified / self.stored if self.checks and self.stored else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """A block in quarantine, as one endpoint served it: the check that it failed, and how often and when."""

    number: int
    hash: bytes
    endpoint: str
    failed: str
    which: str
    expected: str
    found: str
    first_seen_at: datetime
    last_seen_at: datetime
    times: int

    def __str__(self) -> str:
        origin = f" from {self.endpoint}" if self.endpoint else ""
        return f"block {self.number} (0x{self.hash[:4].hex()}…){origin} fails {self.failed}: {self.which}"


async def note(conn: Connection, chain_id: int, blocks: Sequence[Block], at: datetime) -> None:
    """Note inside the caller's transaction what stored `blocks`, which are linked, have passed.

    What was in quarantine at their heights is resolved. Nothing is noted of blocks that were not verified.
    """
    for checks, run in groupby(blocks, lambda block: block.checks):
        if checks:
            each = list(run)
            await conn.execute(SQL_NOTE, chain_id, checks, each[0].number, each[-1].number, at)


async def forget(conn: Connection, chain_id: int, gone: BlockRange) -> None:
    """Forget inside the caller's transaction what blocks had passed that are taken away."""
    await conn.fetch(SQL_LOCK, chain_id)
    await conn.execute(SQL_FORGET, chain_id, gone.first, gone.last)


async def again(conn: Connection, chain_id: int, blocks: Sequence[Block], at: datetime) -> None:
    """Note inside the caller's transaction that stored rows equal those of `blocks`, which are linked."""
    await forget(conn, chain_id, BlockRange(blocks[0].number, blocks[-1].number))
    await note(conn, chain_id, blocks, at)


class PgVerified:
    """What of one chain is verified, and what is in quarantine."""

    def __init__(self, pool: Pool, chain_id: int, *, clock: Clock | None = None) -> None:
        self._pool = pool
        self._chain = chain_id
        self._clock = clock or SystemClock()

    async def level(self) -> ChainChecks | None:
        """Return what blocks have to pass; None before the first calibration."""
        with translated():
            row = await self._pool.fetchrow(SQL_LEVEL, self._chain)
        if row is None or row["checks_held"] is None:
            return None
        return _level(row)

    async def calibrated(self, holds: Check, without: Check, failed_at: Collection[int] = ()) -> ChainChecks:
        """Add what was seen to hold to what is known, and want all of it but `without`; return what is known now.

        `failed_at` are added to the blocks that checks have failed at, of which some are remembered.
        """
        asked = (self._chain, int(holds), int(without), list(failed_at), MOST_FAILED)
        with translated():
            row = await self._pool.fetchrow(SQL_SET_LEVEL, *asked)
        assert row is not None, "the chain is registered before it is calibrated"
        return _level(row)

    async def completeness(self) -> Completeness:
        """Return how much of what is stored is verified."""
        with translated():
            row = await self._pool.fetchrow(SQL_COMPLETENESS, self._chain)
        assert row is not None, "the query selects from no table"
        checks = None if row["checks"] is None else Check(row["checks"])
        return Completeness(checks, int(row["stored"] or 0), int(row["verified"] or 0))

    async def below_level(self, wanted: Check) -> list[BlockRange]:
        """Return the stored blocks that have not passed `wanted`, the newest first."""
        with translated():
            rows = await self._pool.fetch(SQL_BELOW_LEVEL, self._chain, int(wanted))
        return [BlockRange(row["first"], row["last"]) for row in rows]

    async def stored_final(self) -> tuple[list[BlockRange], int | None]:
        """Return what is stored and final, the newest first, and how far down a recheck has come."""
        with translated():
            rows = await self._pool.fetch(SQL_STORED_FINAL, self._chain)
        return [BlockRange(row["first"], row["last"]) for row in rows], rows[0]["rechecked_to"] if rows else None

    async def rechecked(self, down_to: int) -> None:
        """Remember how far down a recheck has come."""
        with translated():
            await self._pool.execute(SQL_RECHECKED, self._chain, down_to)

    # -- quarantine --------------------------------------------------------------------------------------------------

    async def quarantine(self, failed: Sequence[Unverified]) -> None:
        """Keep what endpoints served in the place of a block, or what of a stored one differs."""
        at = self._clock.now()
        rows = [
            (self._chain, each.at.number, each.at.hash, each.endpoint, each.check, _cut(each.which),
             _cut(each.expected), _cut(each.found), at)
            for each in failed
        ]  # fmt: skip
        with translated():
            await self._pool.executemany(SQL_QUARANTINE, rows)

    async def quarantined(self, limit: int = MAX_SHOWN) -> list[Quarantined]:
        """Return what is in quarantine, by number, `limit` at most."""
        with translated():
            rows = await self._pool.fetch(SQL_QUARANTINED, self._chain, limit)
        return [Quarantined(**row) for row in rows]

    async def count_quarantined(self) -> int:
        """Return how many blocks are in quarantine."""
        with translated():
            found: int = await self._pool.fetchval(SQL_COUNT_QUARANTINED, self._chain)
        return found

    async def refused(self, number: int, within: timedelta) -> bool:
        """Return whether somebody was served block `number` so that it failed, `within` that time."""
        with translated():
            found: bool = await self._pool.fetchval(SQL_REFUSED, self._chain, number, self._clock.now() - within)
        return found

    async def forget_resolved(self) -> None:
        """Forget what was resolved long ago."""
        with translated():
            await self._pool.execute(SQL_FORGET_RESOLVED, self._chain, self._clock.now() - KEEP_RESOLVED)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"


def _level(row: asyncpg.Record) -> ChainChecks:
    return ChainChecks(Check(row["checks_held"]), Check(row["checks"]), tuple(row["checks_failed_at"]))
