"""The oldest stored blocks of one chain, taken away for good: step by step, with the coverage that makes them count."""

from collections.abc import Sequence
from typing import Final

from core.store import verified
from core.store.derived import Derived
from core.store.erase import erase
from core.store.locks import SQL_REWIND_LOCK
from core.store.pg import SQL_CURSOR, SQL_UNCOVER_ALL
from core.store.pool import Connection, Pool, translated
from core.types import BlockRange

SQL_OLDEST: Final = """
    select lower(blocks) as first, upper(blocks) - 1 as last
    from chain.coverage
    where chain_id = $1 and lower(blocks) < $2
    order by lower(blocks)
    limit 1
"""
# The head extends this row at its other end: whoever comes second waits for the other's commit, and finds its row.
SQL_UNCOVER_BOTTOM: Final = """
    update chain.coverage
    set blocks = int8range($3 + 1, upper(blocks))
    where chain_id = $1 and lower(blocks) = $2::bigint and upper(blocks) > $3::bigint + 1
"""
# Dropping takes the parent away from readers for an instant; when one of them is slow, the next chore tries again.
SQL_DROP_PATIENCE: Final = "set local lock_timeout = 2000"
SQL_DROP_EMPTY: Final = "select chain.drop_empty_partition($1)"


class Pruner:
    """Removes what is stored below a height; the oldest first, so that what is left stays whole at every moment."""

    def __init__(self, pool: Pool, chain_id: int, *, derived: Sequence[Derived] = ()) -> None:
        self._pool = pool
        self._chain = chain_id
        self._derived = tuple(derived)

    async def prune(self, below: int, limit: int) -> BlockRange | None:
        """Remove up to `limit` of the oldest blocks below `below` in one transaction; None if there are none.

        Never the cursor's block, nor one above it. Tokens and the archive of reorgs stay.
        """
        with translated():
            async with self._pool.acquire() as conn, conn.transaction():
                await conn.execute(SQL_REWIND_LOCK, self._chain)
                old = await self._oldest(conn, below, limit)
                if old is not None:
                    await self._remove(conn, old)
        return old

    async def drop_empty(self, below: int) -> list[str]:
        """Drop partitions that end below `below` and hold no row of any chain; return their names.

        One a transaction: whoever reads holds several tables and must not wait for one while we hold another.
        """
        dropped: list[str] = []
        while True:
            with translated():
                async with self._pool.acquire() as conn, conn.transaction():
                    await conn.execute(SQL_DROP_PATIENCE)
                    name = await conn.fetchval(SQL_DROP_EMPTY, below)
            if name is None:
                return dropped
            dropped.append(name)

    async def _oldest(self, conn: Connection, below: int, limit: int) -> BlockRange | None:
        cursor = await conn.fetchrow(SQL_CURSOR, self._chain)
        if cursor is None:
            return None
        below = min(below, cursor["number"])
        row = await conn.fetchrow(SQL_OLDEST, self._chain, below)
        return None if row is None else BlockRange(row["first"], min(row["last"], row["first"] + limit - 1, below - 1))

    async def _remove(self, conn: Connection, old: BlockRange) -> None:
        await erase(conn, self._chain, old.first - 1, old.last, self._derived)
        # Last: from here on the head's commit waits for ours.
        await conn.execute(SQL_UNCOVER_ALL, self._chain, old.first, old.last)
        await conn.execute(SQL_UNCOVER_BOTTOM, self._chain, old.first, old.last)
        await verified.forget(conn, self._chain, old)
