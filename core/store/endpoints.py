"""What was learned of a chain's endpoints, for the next process (LearnedStore)."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from core.rpc.limits import Learned
from core.store.pool import Pool, translated

STALE: Final = timedelta(days=7)  # providers change plans and limits; an old limit would hold back for nothing

SQL_READ: Final = """
    select url_hash, request_window, calls_per_s, batch_calls, log_blocks, block_receipts
    from chain.endpoint
    where chain_id = $1 and learned_at > $2
"""
# What one process does not know another may: the head's never fills its window, backfill's does. Stale is no guide.
SQL_WRITE: Final = """
    insert into chain.endpoint as known (
        chain_id, url_hash, request_window, calls_per_s, batch_calls, log_blocks, block_receipts, learned_at
    )
    values ($1, $2, $3, $4, $5, $6, $7, $8)
    on conflict (chain_id, url_hash) do update
    set request_window = coalesce(excluded.request_window, known.request_window),
        calls_per_s = coalesce(excluded.calls_per_s, known.calls_per_s),
        batch_calls = coalesce(excluded.batch_calls, known.batch_calls),
        log_blocks = coalesce(excluded.log_blocks, known.log_blocks),
        block_receipts = coalesce(excluded.block_receipts, known.block_receipts),
        learned_at = excluded.learned_at
"""
SQL_FORGET: Final = "delete from chain.endpoint where chain_id = $1 and learned_at <= $2"


class PgLearned:
    """What was learned of the endpoints of one chain, by the hash of their URLs."""

    def __init__(self, pool: Pool, chain_id: int) -> None:
        self._pool = pool
        self._chain = chain_id

    async def read(self, now: datetime) -> dict[bytes, Learned]:
        """Return what is known and not stale."""
        with translated():
            rows = await self._pool.fetch(SQL_READ, self._chain, now - STALE)
        return {
            row["url_hash"]: Learned(
                window=row["request_window"], rate=row["calls_per_s"], batch_calls=row["batch_calls"],
                log_blocks=row["log_blocks"], block_receipts=row["block_receipts"],
            )
            for row in rows
        }  # fmt: skip

    async def write(self, learned: Mapping[bytes, Learned], now: datetime) -> None:
        """Keep what was learned; None leaves what is known."""
        rows = [
            (self._chain, key, each.window, each.rate, each.batch_calls, each.log_blocks, each.block_receipts, now)
            for key, each in sorted(learned.items())
        ]
        with translated():
            await self._pool.execute(SQL_FORGET, self._chain, now - STALE)
            await self._pool.executemany(SQL_WRITE, rows)
