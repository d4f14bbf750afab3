"""Tokens in PostgreSQL: which were seen, and the versions of what they said of themselves."""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Final, Protocol

from core.clock import Clock, SystemClock
from core.store.pool import Connection, Pool, translated
from core.types import BlockRef

# Sorted by address: two writers that see the same tokens must lock them in the same order.
SQL_SEEN: Final = """
    insert into chain.token_seen (chain_id, address, standard, first_block)
    select $1, seen.address, seen.standard, $4
    from unnest($2::bytea[], $3::smallint[]) as seen (address, standard)
    order by seen.address
    on conflict (chain_id, address) do update
    set standard = excluded.standard
    where token_seen.standard < excluded.standard
"""
SQL_CURSOR: Final = "select number, hash from chain.cursor where chain_id = $1"
SQL_UNREAD: Final = """
    select address from chain.token_seen
    where chain_id = $1 and read_at is null
    order by first_block
    limit $2
"""
# A version is added only where the newest one says something else.
SQL_WRITE: Final = """
    insert into chain.token (chain_id, address, block_number, block_hash, symbol, name, decimals, read_at)
    select $1, found.address, $2, $3, found.symbol, found.name, found.decimals, $8
    from unnest($4::bytea[], $5::text[], $6::text[], $7::smallint[]) as found (address, symbol, name, decimals)
    left join (
        select distinct on (t.address) t.address, t.symbol, t.name, t.decimals
        from chain.token t
        where t.chain_id = $1 and t.address = any($4::bytea[])
        order by t.address, t.block_number desc
    ) as newest on newest.address = found.address
    where newest.address is null
        or (newest.symbol, newest.name, newest.decimals) is distinct from (found.symbol, found.name, found.decimals)
    on conflict do nothing
"""
SQL_READ: Final = "update chain.token_seen set read_at = $3 where chain_id = $1 and address = any($2)"
SQL_STILL_THERE: Final = "select true from chain.block where chain_id = $1 and number = $2 and hash = $3 for key share"


# What was said at a block that the chain has left is asked again.
SQL_FORGET: Final = """
    delete from chain.token
    where chain_id = $1 and block_number > $2 and block_number <= $3
    returning address
"""
SQL_ASK_AGAIN: Final = "update chain.token_seen set read_at = null where chain_id = $1 and address = any($2)"


# Oldest first, and not all at once: a chain has more tokens than a node likes to be asked about in an hour.
SQL_EXPIRE: Final = """
    update chain.token_seen
    set read_at = null
    where chain_id = $1 and address in (
        select address from chain.token_seen
        where chain_id = $1 and read_at < $2
        order by read_at
        limit $3
    )
"""


class Said(Protocol):
    """What a token says of itself."""

    @property
    def symbol(self) -> str | None:
        """Return the symbol."""
        ...

    @property
    def name(self) -> str | None:
        """Return the name."""
        ...

    @property
    def decimals(self) -> int | None:
        """Return the number of decimals."""
        ...


async def note_seen(conn: Connection, chain_id: int, standards: Mapping[bytes, int], first_block: int) -> None:
    """Note tokens, by the number of their standard, inside the transaction that stores their transfers."""
    addresses = sorted(standards)
    await conn.execute(SQL_SEEN, chain_id, addresses, [standards[a] for a in addresses], first_block)


async def ask_again(conn: Connection, chain_id: int, addresses: Collection[bytes]) -> None:
    """Have tokens among `addresses` read again; other contracts do not matter."""
    await conn.execute(SQL_ASK_AGAIN, chain_id, sorted(addresses))


async def forget(conn: Connection, chain_id: int, above: int, last: int) -> None:
    """Remove what was read at blocks above `above` up to `last`, inside the transaction that removes the blocks."""
    rows = await conn.fetch(SQL_FORGET, chain_id, above, last)
    if rows:
        await conn.execute(SQL_ASK_AGAIN, chain_id, [row["address"] for row in rows])


class PgTokens:
    """Tokens of one chain (TokenStore)."""

    def __init__(self, pool: Pool, chain_id: int, *, clock: Clock | None = None) -> None:
        self._pool = pool
        self._chain = chain_id
        self._clock = clock or SystemClock()

    async def cursor(self) -> BlockRef | None:
        """Return the last block the head writer committed."""
        with translated():
            row = await self._pool.fetchrow(SQL_CURSOR, self._chain)
        return None if row is None else BlockRef(row["number"], row["hash"])

    async def unread_tokens(self, limit: int) -> Sequence[bytes]:
        """Return tokens that were seen and never read, oldest first."""
        with translated():
            return [row["address"] for row in await self._pool.fetch(SQL_UNREAD, self._chain, limit)]

    async def ask_again(self, addresses: Collection[bytes]) -> None:
        """Have these tokens read again."""
        with translated():
            await self._pool.execute(SQL_ASK_AGAIN, self._chain, sorted(addresses))

    async def expire(self, older_than: timedelta, limit: int) -> int:
        """Have tokens read again that were last read before `older_than`, at most `limit`; return how many."""
        with translated():
            done = await self._pool.execute(SQL_EXPIRE, self._chain, self._clock.now() - older_than, limit)
        return int(done.split()[-1])

    async def write_tokens(self, found: Sequence[tuple[bytes, Said]], at: BlockRef) -> bool:
        """Store what was read at `at`; False, and nothing stored, if that block has been orphaned meanwhile."""
        now = self._clock.now()
        columns = [
            [address for address, _ in found],
            [said.symbol for _, said in found],
            [said.name for _, said in found],
            [said.decimals for _, said in found],
        ]
        with translated():
            async with self._pool.acquire() as conn, conn.transaction():
                if await conn.fetchval(SQL_STILL_THERE, self._chain, at.number, at.hash) is None:
                    return False
                await conn.execute(SQL_WRITE, self._chain, at.number, at.hash, *columns, now)
                await conn.execute(SQL_READ, self._chain, columns[0], now)
        return True
