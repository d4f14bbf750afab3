"""Which stored blocks are safe and finalized: numbers that only a stored block with the node's hash can raise."""

import logging
from typing import Final

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
"""
SQL_FINALIZED: Final = "select finalized_number from chain.head where chain_id = $1"
SQL_LOWER: Final = """
    update chain.head
    set safe_number = least(safe_number, $2), finalized_number = least(finalized_number, $2)
    where chain_id = $1 and safe_number > $2
"""


async def lower(conn: Connection, chain_id: int, ancestor: int) -> None:
    """Take back what was called safe or finalized above `ancestor`, inside the transaction of a rewind."""
    finalized = await conn.fetchval(SQL_FINALIZED, chain_id)
    if finalized is not None and finalized > ancestor:
        log.error("finalized blocks were orphaned", extra={"finalized": finalized, "ancestor": ancestor})
    await conn.execute(SQL_LOWER, chain_id, ancestor)


class PgFinality:
    """Finality of one chain (FinalityStore)."""

    def __init__(self, pool: Pool, chain_id: int) -> None:
        self._pool = pool
        self._chain = chain_id

    async def note(self, found: Finality) -> None:
        """Raise what is safe and finalized to those of the blocks that are stored; a lagging node lowers nothing."""
        safe, finalized = found.safe or BlockRef(-1, b""), found.finalized or BlockRef(-1, b"")
        asked = (safe.number, safe.hash, finalized.number, finalized.hash, found.by_depth)
        with translated():
            async with self._pool.acquire() as conn, conn.transaction():
                # What a rewind is about to take away must not be called final meanwhile.
                await conn.execute(SQL_SHARE_LOCK, self._chain)
                await conn.execute(SQL_RAISE, self._chain, *asked)
