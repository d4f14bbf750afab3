"""Alarms of one chain in PostgreSQL: raised in the transaction of the reorg, cleared by a person."""

from datetime import datetime
from typing import Final

from core.alarm import Alarm
from core.clock import Clock, SystemClock
from core.facts import ReorgFact
from core.store.pool import Connection, Pool, translated
from core.types import BlockRange

SQL_RAISE_ALARM: Final = """
    insert into chain.alarm
        (chain_id, raised_at, finalized_number, by_depth, first_block, last_block, tip_hash, reason)
    values ($1, $2, $3, $4, $5, $6, $7, $8)
"""
SQL_RAISED: Final = """
    select raised_at, finalized_number, by_depth, first_block, last_block, tip_hash, reason
    from chain.alarm
    where chain_id = $1 and cleared_at is null
    order by raised_at
"""
SQL_CLEAR: Final = """
    update chain.alarm
    set cleared_at = $2, cleared_by = $3, cleared_because = $4
    where chain_id = $1 and cleared_at is null
"""


async def sound(
    conn: Connection, chain_id: int, gone: ReorgFact, at: datetime, *, finalized: int, by_depth: bool
) -> None:
    """Raise the alarm inside the transaction of the reorg."""
    span = (gone.orphans.first, gone.orphans.last)
    await conn.execute(SQL_RAISE_ALARM, chain_id, at, finalized, by_depth, *span, gone.tip_hash, gone.reason)


class PgAlarms:
    """The alarms of one chain (AlarmLog)."""

    def __init__(self, pool: Pool, chain_id: int, *, clock: Clock | None = None) -> None:
        self._pool = pool
        self._chain = chain_id
        self._clock = clock or SystemClock()

    async def raised(self) -> tuple[Alarm, ...]:
        """Return the alarms that nobody has cleared, oldest first."""
        with translated():
            rows = await self._pool.fetch(SQL_RAISED, self._chain)
        return tuple(
            Alarm(
                raised_at=row["raised_at"], finalized=row["finalized_number"], by_depth=row["by_depth"],
                orphans=BlockRange(row["first_block"], row["last_block"]), tip_hash=row["tip_hash"],
                reason=row["reason"],
            )
            for row in rows
        )  # fmt: skip

    async def clear(self, by: str, because: str) -> int:
        """Clear all of them; return how many there were."""
        with translated():
            done = await self._pool.execute(SQL_CLEAR, self._chain, self._clock.now(), by, because)
        return int(done.split()[-1])
