"""Which stored blocks are safe and finalized: numbers that only a stored block with the node's hash can raise."""

import logging
from datetime import datetime
from typing import Final

from core.clock import Clock, SystemClock
from core.facts import FinalizeFact, ReorgFact
from core.store import alarm, facts
from core.store.locks import SQL_SHARE_LOCK
from core.store.pool import Connection, Pool, translated
from core.types import BlockRef, Finality

log = logging.getLogger(__name__)

# A number alone proves nothing: while the index follows a dead fork, or lags, the node's final block is not stored.
SQL_RAISE: Final = """
    update chain.head
    set safe_number = greatest(
            safe_number,
            (select number from chain.block where chain_id = $1 and number = $2 and hash = $3),
            (select number from chain.block where chain_id = $1 and number = $4 and hash = $5)
        ),
        finalized_number = greatest(
            finalized_number,
            (select number from chain.block where chain_id = $1 and number = $4 and hash = $5)
        ),
        finality_by_depth = $6
    where chain_id = $1
    returning safe_number, finalized_number
"""
SQL_MARKS: Final = """
    select safe_number, finalized_number, finality_by_depth from chain.head where chain_id = $1 for update
"""
SQL_REFS: Final = "select number, hash from chain.block where chain_id = $1 and number = any($2::bigint[])"
# Not `least`, which takes null for no bound: nothing is finalized because something was orphaned.
SQL_LOWER: Final = """
    update chain.head
    set safe_number = $2,
        finalized_number = case when finalized_number > $2 then $2 else finalized_number end
    where chain_id = $1 and safe_number > $2
"""


async def orphaned(conn: Connection, chain_id: int, gone: ReorgFact, at: datetime) -> None:
    """Take back what was called safe or finalized of blocks that are taken away, inside that transaction.

    Raises the alarm when one of them lies at or below the finalized block: whoever relied on that was told wrong.
    """
    marks = await conn.fetchrow(SQL_MARKS, chain_id)
    if marks is None:
        return
    span, finalized = gone.orphans, marks["finalized_number"]
    if finalized is not None and finalized >= span.first:
        extra = {"chain_id": chain_id, "finalized": finalized, "orphans": str(span), "reason": gone.reason}
        log.error("finalized blocks were orphaned", extra=extra)
        by_depth = marks["finality_by_depth"]
        await alarm.sound(conn, chain_id, gone, at, finalized=finalized, by_depth=by_depth)
    # History that is discarded below a hole says nothing of the blocks above the hole.
    if marks["safe_number"] is not None and marks["safe_number"] in span:
        await conn.execute(SQL_LOWER, chain_id, span.first - 1)


class PgFinality:
    """Finality of one chain (FinalityStore)."""

    def __init__(self, pool: Pool, chain_id: int, *, clock: Clock | None = None) -> None:
        self._pool = pool
        self._chain = chain_id
        self._clock = clock or SystemClock()

    async def note(self, found: Finality) -> None:
        """Raise what is safe and finalized to those of the blocks that are stored; a lagging node lowers nothing."""
        safe, finalized = found.safe or BlockRef(-1, b""), found.finalized or BlockRef(-1, b"")
        asked = (safe.number, safe.hash, finalized.number, finalized.hash, found.by_depth)
        with translated():
            async with self._pool.acquire() as conn, conn.transaction():
                # What a rewind is about to take away must not be called final meanwhile.
                await conn.execute(SQL_SHARE_LOCK, self._chain)
                before = await conn.fetchrow(SQL_MARKS, self._chain)
                after = await conn.fetchrow(SQL_RAISE, self._chain, *asked)
                if before is None or after is None or tuple(before)[:2] == tuple(after):
                    return
                told = await self._fact(conn, *after, by_depth=found.by_depth)
                await facts.tell(conn, self._chain, [told], self._clock.now())
        await facts.wake(self._pool, self._chain)

    async def _fact(self, conn: Connection, safe: int | None, finalized: int | None, *, by_depth: bool) -> FinalizeFact:
        numbers = [number for number in (safe, finalized) if number is not None]
        rows = await conn.fetch(SQL_REFS, self._chain, numbers)
        refs = {row["number"]: BlockRef(row["number"], row["hash"]) for row in rows}
        return FinalizeFact(
            safe=None if safe is None else refs.get(safe),
            finalized=None if finalized is None else refs.get(finalized),
            by_depth=by_depth,
        )
