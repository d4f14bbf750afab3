"""Which vaults are watched, and the second look at finalized blocks: what they announced before they were watched."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from core.errors import BadAnswer
from core.store.deposit_counts import unseal
from core.store.derived import Row
from core.store.locks import SQL_DEPOSITS_LOCK, SQL_SHARE_LOCK
from core.store.pool import Connection, Pool, translated
from core.types import BlockRange, BlockRef

# A vault that settings no longer name is forgotten: while it is unknown, blocks are stored without its events.
SQL_UNWATCH: Final = "delete from chain.watched_vault where chain_id = $1 and not vault = any($2)"
SQL_WATCH: Final = """
    insert into chain.watched_vault (chain_id, vault, watched_from)
    select $1, vault, coalesce((select number + 1 from chain.cursor where chain_id = $1), 0)
    from unnest($2::bytea[]) as vault
    on conflict (chain_id, vault) do nothing
"""
# Newest first: what is asked for is mostly recent.
SQL_UNSCANNED: Final = """
    select lower(part) as first, upper(part) - 1 as last, w.watched_from
    from chain.watched_vault w
    cross join unnest(
        (
            select range_agg(c.blocks) * int8multirange(int8range(0, h.finalized_number + 1))
            from chain.coverage c
            join chain.head h on h.chain_id = $1
            where c.chain_id = $1
            group by h.finalized_number
        ) - w.scanned
    ) as part
    where w.chain_id = $1 and w.vault = $2
    order by lower(part) desc
    limit 100
"""
SQL_TIMES: Final = """
    select b.number, b.hash, b.block_time from chain.block b where b.chain_id = $1 and b.number = any($2::bigint[])
"""
SQL_INSERT: Final = """
    insert into chain.vault_event
        (chain_id, block_number, log_index, tx_index, generation, block_time, kind, block_hash, tx_hash, vault,
        account, token, resolver, implementation, amount, nonce)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
    on conflict do nothing
"""
SQL_SCANNED: Final = """
    update chain.watched_vault
    set scanned = scanned + int8multirange(int8range($3, $4 + 1)) * (
        select coalesce(range_agg(blocks), '{}') from chain.coverage where chain_id = $1
    )
    where chain_id = $1 and vault = $2
"""
SQL_FORGET: Final = """
    update chain.watched_vault
    set scanned = scanned - int8multirange(int8range($2 + 1, $3 + 1))
    where chain_id = $1
"""


@dataclass(frozen=True, slots=True)
class Unscanned:
    """Finalized, stored blocks that were not looked at for a vault; `live`: they were committed with it watched."""

    blocks: BlockRange
    live: bool


async def forget(conn: Connection, chain_id: int, above: int, last: int) -> None:
    """Look again at blocks above `above` up to `last` when they are back; inside the transaction that removes them."""
    await conn.execute(SQL_FORGET, chain_id, above, last)


class PgVaults:
    """Vaults of one chain (VaultStore)."""

    def __init__(self, pool: Pool, chain_id: int) -> None:
        self._pool = pool
        self._chain = chain_id

    async def watch(self, vaults: Collection[bytes]) -> None:
        """Make `vaults` those that are watched, from the block after the cursor on if they are new."""
        wanted = sorted(set(vaults))
        with translated():
            async with self._pool.acquire() as conn, conn.transaction():
                await conn.execute(SQL_UNWATCH, self._chain, wanted)
                await conn.execute(SQL_WATCH, self._chain, wanted)

    async def unscanned(self, vault: bytes) -> Sequence[Unscanned]:
        """Return what is left to look at for `vault`, newest first."""
        with translated():
            rows = await self._pool.fetch(SQL_UNSCANNED, self._chain, vault)
        return [Unscanned(BlockRange(r["first"], r["last"]), r["first"] >= r["watched_from"]) for r in rows]

    async def times(self, numbers: Collection[int]) -> dict[BlockRef, datetime]:
        """Return the times of the stored blocks at `numbers`."""
        with translated():
            rows = await self._pool.fetch(SQL_TIMES, self._chain, sorted(set(numbers)))
        return {BlockRef(row["number"], row["hash"]): row["block_time"] for row in rows}

    async def write(self, vault: bytes, rows: Sequence[Row], scanned: BlockRange, last: BlockRef) -> int:
        """Store what was found and that it was looked for; return how many rows were missing.

        Where some were, deposits are counted again. Raises BadAnswer, with nothing stored, unless the last block and
        those of the rows are the stored ones.
        """
        added: list[int] = []
        blocks = {BlockRef(row[1], row[7]) for row in rows} | {last}
        with translated():
            async with self._pool.acquire() as conn, conn.transaction():
                await conn.execute(SQL_SHARE_LOCK, self._chain)
                found = await conn.fetch(SQL_TIMES, self._chain, [block.number for block in blocks])
                if strange := blocks - {BlockRef(row["number"], row["hash"]) for row in found}:
                    raise BadAnswer(f"logs of blocks that are not stored: {', '.join(map(str, strange))}")
                await conn.execute(SQL_DEPOSITS_LOCK, self._chain)
                for row in rows:
                    if await conn.execute(SQL_INSERT, *row) == "INSERT 0 1":
                        added.append(row[1])
                if added:
                    await unseal(conn, self._chain, min(added) - 1, max(added))
                await conn.execute(SQL_SCANNED, self._chain, vault, scanned.first, scanned.last)
        return len(added)
