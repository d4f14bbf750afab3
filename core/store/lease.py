"""Leases on ranges of history, so that processes and machines share the filling of one chain without doing it twice.

The exclusion constraint of chain.coverage alone keeps rows right; a lease keeps work from being done for nothing. It
ends by itself when its holder is gone, and a holder that comes back too late finds that it may not write any more.
"""

import os
import socket
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol
from uuid import UUID, uuid4

import asyncpg

from core.errors import SeamBroken
from core.store.pool import Connection, Pool, translated
from core.types import BlockRange

TERM: Final = timedelta(seconds=60)

# One claim of a chain at a time: two that overlap would wait for each other inside the constraint, a deadlock.
SQL_ONE_AT_A_TIME: Final = "select pg_advisory_xact_lock(hashtextextended('chain.lease', $1))"
SQL_DROP_EXPIRED: Final = "delete from chain.lease where chain_id = $1 and expires_at <= now()"
SQL_CLAIM: Final = """
    insert into chain.lease (chain_id, blocks, token, holder, expires_at)
    values ($1, int8range($2, $3 + 1), $4, $5, now() + $6::interval)
"""
SQL_RENEW: Final = """
    update chain.lease
    set expires_at = now() + $3::interval
    where chain_id = $1 and token = $2 and expires_at > now()
"""
SQL_RELEASE: Final = "delete from chain.lease where chain_id = $1 and token = $2"
SQL_TAKEN: Final = """
    select lower(blocks) as first, upper(blocks) - 1 as last
    from chain.lease
    where chain_id = $1 and expires_at > now()
    order by first
"""
# A share of the row until the rows are committed: whoever would take the range over has to wait for that.
SQL_HELD: Final = """
    select true from chain.lease
    where chain_id = $1 and token = $2 and expires_at > now() and blocks @> int8range($3, $4 + 1)
    for share
"""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to fill `blocks`, as long as it is renewed within TERM."""

    blocks: BlockRange
    token: UUID


class Leases(Protocol):
    """Who is filling what of one chain. Every method may raise StoreUnavailable."""

    async def taken(self) -> list[BlockRange]:
        """Return the ranges that are held now, by whomever."""
        ...

    async def claim(self, blocks: BlockRange) -> Lease | None:
        """Take a range, None if somebody holds a part of it."""
        ...

    async def renew(self, lease: Lease) -> None:
        """Hold on to a range. Raises SeamBroken if the lease has ended."""
        ...

    async def release(self, lease: Lease) -> None:
        """Give a range up; one that has ended already is no fault."""
        ...


class PgLeases:
    """Leases in PostgreSQL (Leases)."""

    def __init__(self, pool: Pool, chain_id: int, *, term: timedelta = TERM) -> None:
        self._pool = pool
        self._chain = chain_id
        self._term = term
        self._holder = f"{socket.gethostname()}:{os.getpid()}"

    async def taken(self) -> list[BlockRange]:
        """Return the ranges that are held now, by whomever."""
        with translated():
            return [BlockRange(row["first"], row["last"]) for row in await self._pool.fetch(SQL_TAKEN, self._chain)]

    async def claim(self, blocks: BlockRange) -> Lease | None:
        """Take a range, None if somebody holds a part of it."""
        lease = Lease(blocks, uuid4())
        with translated():
            try:
                async with self._pool.acquire() as conn, conn.transaction():
                    await conn.execute(SQL_ONE_AT_A_TIME, self._chain)
                    await conn.execute(SQL_DROP_EXPIRED, self._chain)
                    await conn.execute(
                        SQL_CLAIM, self._chain, blocks.first, blocks.last, lease.token, self._holder, self._term
                    )
            except asyncpg.ExclusionViolationError:
                return None
        return lease

    async def renew(self, lease: Lease) -> None:
        """Hold on to a range. Raises SeamBroken if the lease has ended."""
        with translated():
            done = await self._pool.execute(SQL_RENEW, self._chain, lease.token, self._term)
        if done != "UPDATE 1":
            raise SeamBroken(f"the lease on blocks {lease.blocks} has ended")

    async def release(self, lease: Lease) -> None:
        """Give a range up; one that has ended already is no fault."""
        with translated():
            await self._pool.execute(SQL_RELEASE, self._chain, lease.token)


async def require_held(conn: Connection, chain_id: int, lease: Lease, blocks: BlockRange) -> None:
    """Raise SeamBroken unless `lease` still holds `blocks`, inside the transaction that fills them."""
    if not await conn.fetchval(SQL_HELD, chain_id, lease.token, blocks.first, blocks.last):
        raise SeamBroken(f"blocks {blocks} are not held by lease {lease.token} any more")
