"""ChainStore on PostgreSQL: rows, coverage and cursor in one short transaction, the guard first."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Final

import asyncpg

from core.clock import Clock, SystemClock
from core.errors import CursorMoved, SeamBroken, StoreUnavailable, WrongChain
from core.facts import ReorgFact
from core.store import copy, facts, finality, reader, tokens, vaults, verified
from core.store.bulk import Chunk, RowsRefused
from core.store.derived import Derived, Implied, TableRows
from core.store.erase import erase
from core.store.lease import Lease, require_held
from core.store.locks import SQL_REWIND_LOCK, SQL_SEAM_LOCK, SQL_SHARE_LOCK
from core.store.pool import Connection, Pool, translated
from core.types import Block, BlockRange, BlockRef, Head

PARTITION_BLOCKS: Final = 1_000_000  # width in chain.ensure_partitions
MAX_KNOWN_TOKENS: Final = 200_000  # about 20 MB

SQL_REGISTER: Final = """
    insert into chain.chain (chain_id, name, genesis_hash)
    values ($1, $2, $3)
    on conflict (chain_id) do update
    set name = excluded.name, genesis_hash = coalesce(chain.genesis_hash, excluded.genesis_hash)
    where coalesce(chain.genesis_hash = excluded.genesis_hash, true)
"""
SQL_GENESIS: Final = "select genesis_hash from chain.chain where chain_id = $1"
SQL_CURSOR: Final = "select number, hash from chain.cursor where chain_id = $1"
SQL_FOLLOWED_FROM: Final = "select followed_from from chain.chain where chain_id = $1"
SQL_SET_FOLLOWED_FROM: Final = """
    update chain.chain set followed_from = $2 where chain_id = $1 and followed_from is null
"""
SQL_REF_AT: Final = "select hash, parent_hash from chain.block where chain_id = $1 and number = $2"
SQL_SAW: Final = """
    insert into chain.head (chain_id, number, hash, block_time, seen_at)
    values ($1, $2, $3, $4, $5)
    on conflict (chain_id) do update
    set number = excluded.number, hash = excluded.hash, block_time = excluded.block_time, seen_at = excluded.seen_at
"""
SQL_ENSURE_PARTITIONS: Final = "select chain.ensure_partitions($1, $2)"

SQL_FIRST_CURSOR: Final = """
    insert into chain.cursor (chain_id, number, hash) values ($1, $2, $3) on conflict do nothing
"""
SQL_MOVE_CURSOR: Final = """
    update chain.cursor
    set number = $2, hash = $3, updated_at = now()
    where chain_id = $1 and number = $4 and hash = $5
"""
SQL_CLEAR_CURSOR: Final = "delete from chain.cursor where chain_id = $1 and number = $2 and hash = $3"

SQL_EXTEND_UP: Final = """
    update chain.coverage
    set blocks = int8range(lower(blocks), $3 + 1)
    where chain_id = $1 and upper(blocks) = $2::bigint
"""
# Never the cursor's own range: the head writer must not wait for a backfill's transaction.
SQL_EXTEND_DOWN: Final = """
    update chain.coverage
    set blocks = int8range($2, upper(blocks))
    where chain_id = $1 and lower(blocks) = $3::bigint + 1
        and not blocks @> coalesce((select number from chain.cursor where chain_id = $1), -1)
"""
SQL_COVER: Final = "insert into chain.coverage (chain_id, blocks) values ($1, int8range($2, $3 + 1))"
# range_agg joins what touches. Nothing is written where nothing does.
SQL_JOIN: Final = """
    with joined as (
        select unnest(range_agg(c.blocks)) as blocks
        from chain.coverage c
        where c.chain_id = $1
            and not c.blocks @> coalesce((select number from chain.cursor where chain_id = $1), -1)
    ),
    gone as (
        delete from chain.coverage c
        using joined j
        where c.chain_id = $1 and c.blocks <@ j.blocks and c.blocks <> j.blocks
        returning j.blocks
    )
    insert into chain.coverage (chain_id, blocks)
    select distinct $1::bigint, gone.blocks from gone
"""
SQL_UNCOVER_ALL: Final = """
    delete from chain.coverage where chain_id = $1 and blocks <@ int8range($2, $3 + 1)
"""
SQL_UNCOVER_TOP: Final = """
    update chain.coverage
    set blocks = int8range(lower(blocks), $2)
    where chain_id = $1 and lower(blocks) < $2 and upper(blocks) > $2
"""

SQL_ANY_STORED: Final = """
    select exists (select from chain.block where chain_id = $1 and number between $2 and $3)
"""

SQL_ARCHIVE_REORG: Final = """
    insert into chain.reorg
        (chain_id, detected_at, ancestor_number, ancestor_hash, orphan_number, orphan_hash, reason)
    values ($1, $2, $3, $4, $5, $6, $7)
"""
SQL_ARCHIVE_BLOCKS: Final = """
    insert into chain.orphan_block
    select $4, b.* from chain.block b
    where b.chain_id = $1 and b.number > $2 and b.number <= $3
"""
SQL_ARCHIVE_TRANSACTIONS: Final = """
    insert into chain.orphan_transaction
    select $4, t.* from chain.transaction t
    where t.chain_id = $1 and t.block_number > $2 and t.block_number <= $3
"""

# Writes rows inside the caller's transaction; returns the tokens among them that were not known before.
Write = Callable[[Connection], Awaitable[dict[bytes, int]]]


class PgStore:
    """What is stored of one chain, in PostgreSQL (ChainStore); `derived` are the tables that blocks imply.

    `keep` leaves out transactions that are not to be stored (indexer/watch.py). Without `transactions`, only blocks
    and derived rows are stored.
    """

    def __init__(
        self,
        pool: Pool,
        chain_id: int,
        *,
        derived: Sequence[Derived] = (),
        keep: Callable[[Block], Block] | None = None,
        transactions: bool = True,
        clock: Clock | None = None,
    ) -> None:
        self._pool = pool
        self._chain = chain_id
        self._derived = tuple(derived)
        self._keep = keep
        self._followed = False
        self._transactions = transactions
        self._clock = clock or SystemClock()
        self._columns: dict[str, Sequence[str]] = {
            "block": copy.BLOCK_COLUMNS, "transaction": copy.TRANSACTION_COLUMNS, "tx_hash": copy.TX_HASH_COLUMNS,
            "address_transaction": copy.ADDRESS_TRANSACTION_COLUMNS, **{each.table: each.columns for each in derived},
        }  # fmt: skip
        self._slots: set[int] = set()
        self._tokens: dict[bytes, int] = {}

    async def register(self, name: str, genesis_hash: bytes | None) -> None:
        """Make the chain known. Raises WrongChain if the database holds another chain under this id."""
        with translated():
            done = await self._pool.execute(SQL_REGISTER, self._chain, name, genesis_hash)
            if done.endswith(" 1"):
                return
            stored: bytes = await self._pool.fetchval(SQL_GENESIS, self._chain)
        raise WrongChain(
            f"chain {self._chain} ({name}): the database was filled from genesis 0x{stored.hex()}, "
            f"the node's is 0x{(genesis_hash or b'').hex()}; use another database for another chain"
        )

    async def cursor(self) -> BlockRef | None:
        """Return the last block the head writer committed."""
        with translated():
            row = await self._pool.fetchrow(SQL_CURSOR, self._chain)
        return None if row is None else BlockRef(row["number"], row["hash"])

    async def coverage(self) -> tuple[BlockRange, ...]:
        """Return the stored ranges in ascending order, adjacent ones joined."""
        return await reader.coverage(self._pool, self._chain)

    async def followed_from(self) -> int | None:
        """Return the first block the head writer ever committed."""
        with translated():
            found: int | None = await self._pool.fetchval(SQL_FOLLOWED_FROM, self._chain)
        return found

    async def ref_at(self, number: int) -> BlockRef | None:
        """Return the stored block at `number`."""
        with translated():
            row = await self._pool.fetchrow(SQL_REF_AT, self._chain, number)
        return None if row is None else BlockRef(number, row["hash"])

    async def saw(self, head: Head) -> None:
        """Note the newest head a node announced, for lag."""
        at = copy.block_time(head.timestamp)
        with translated():
            await self._pool.execute(SQL_SAW, self._chain, head.ref.number, head.ref.hash, at, self._clock.now())

    async def begin(self, block: Block, *, after: BlockRef | None = None) -> None:
        """Store a block and point the cursor at it, for history that is filled before a head is followed.

        Raises CursorMoved if the cursor is not `after`.
        """
        await self._commit([block], after, partial(self._copy_rows, blocks=[block]))
        await facts.wake(self._pool, self._chain)

    async def commit(self, blocks: Sequence[Block], *, after: BlockRef | None) -> None:
        """Store linked `blocks` and move the cursor from `after` to the last of them."""
        await self._commit(blocks, after, partial(self._copy_rows, blocks=blocks), follows=not self._followed)
        self._followed = True
        await facts.wake(self._pool, self._chain)

    async def commit_chunk(self, chunk: Chunk, *, after: BlockRef | None) -> None:
        """Store blocks at the head whose rows are encoded already, as `commit` does. Raises RowsRefused."""
        write = partial(self._copy_chunk, chunk=chunk, lease=None)
        with _refusing_rows():
            await self._commit(chunk.headers, after, write, follows=not self._followed)
        self._followed = True
        await facts.wake(self._pool, self._chain)

    async def _commit(
        self, blocks: Sequence[Block], after: BlockRef | None, write: Write, *, follows: bool = False
    ) -> None:
        copy.check_linked(blocks)
        first, tip = blocks[0], blocks[-1]
        _check_child(first, after)
        await self._ensure_partitions(first.number, tip.number)
        async with self._transaction() as conn:
            await self._move_cursor(conn, after, tip.ref)
            await self._check_below(conn, first)
            new = await write(conn)
            if await conn.execute(SQL_EXTEND_UP, self._chain, first.number, tip.number) != "UPDATE 1":
                await conn.execute(SQL_COVER, self._chain, first.number, tip.number)
            if follows:
                await conn.execute(SQL_SET_FOLLOWED_FROM, self._chain, first.number)
            await verified.note(conn, self._chain, blocks, self._clock.now())
            await facts.tell(conn, self._chain, facts.of_head(blocks), self._clock.now())
        self._remember(new)

    async def fill(self, blocks: Sequence[Block], *, anchored: bool = True) -> None:
        """Store linked `blocks` into a hole."""
        await self._fill(blocks, partial(self._copy_rows, blocks=blocks), anchored=anchored)

    async def fill_chunk(self, chunk: Chunk, *, anchored: bool, lease: Lease | None = None) -> None:
        """Store blocks into a hole whose rows are encoded already, as `fill` does. Raises RowsRefused.

        With `lease`, SeamBroken is raised too when that does not hold the blocks any more.
        """
        with _refusing_rows():
            await self._fill(chunk.headers, partial(self._copy_chunk, chunk=chunk, lease=lease), anchored=anchored)

    async def _fill(self, blocks: Sequence[Block], write: Write, *, anchored: bool) -> None:
        copy.check_linked(blocks)
        first, last = blocks[0], blocks[-1]
        await self._ensure_partitions(first.number, last.number)
        try:
            async with self._transaction() as conn:
                await conn.execute(SQL_SHARE_LOCK, self._chain)
                await self._check_hole(conn, first, last, anchored=anchored)
                new = await write(conn)
                await self._join(conn, first, last, anchored=anchored)
                if await conn.execute(SQL_EXTEND_DOWN, self._chain, first.number, last.number) != "UPDATE 1":
                    await conn.execute(SQL_COVER, self._chain, first.number, last.number)
                await verified.note(conn, self._chain, blocks, self._clock.now())
                await facts.tell(conn, self._chain, [facts.of_fill(blocks)], self._clock.now())
        except CursorMoved as error:
            raise SeamBroken(f"another writer filled {first.number}..{last.number} first") from error
        self._remember(new)
        await facts.wake(self._pool, self._chain)

    async def join_coverage(self) -> None:
        """Make one of ranges that lie side by side, other than the cursor's."""
        async with self._transaction() as conn:
            await conn.execute(SQL_REWIND_LOCK, self._chain)
            await conn.execute(SQL_JOIN, self._chain)

    async def rewind(self, cursor: BlockRef, ancestor: BlockRef | None, *, reason: str) -> None:
        """Archive and remove the blocks above `ancestor` and move the cursor from `cursor` to it."""
        above = -1 if ancestor is None else ancestor.number
        async with self._transaction() as conn:
            await conn.execute(SQL_REWIND_LOCK, self._chain)
            await self._move_cursor(conn, cursor, ancestor)
            orphans = BlockRange(above + 1, cursor.number)
            if ancestor is not None and await self._hash_at(conn, ancestor.number) != ancestor.hash:
                raise SeamBroken(f"block {ancestor} is not stored any more")
            gone = ReorgFact(
                orphans=orphans, ancestor_hash=ancestor.hash if ancestor else None, tip_hash=cursor.hash, reason=reason
            )
            await self._remove(conn, gone)
        await facts.wake(self._pool, self._chain)

    async def discard(self, first: int, tip: BlockRef, *, reason: str) -> None:
        """Archive and remove the blocks from `first` to `tip`, and their coverage."""
        orphans = BlockRange(first, tip.number)
        async with self._transaction() as conn:
            await conn.execute(SQL_REWIND_LOCK, self._chain)
            await self._check_below_cursor(conn, tip)
            if await self._hash_at(conn, tip.number) != tip.hash or await self._hash_at(conn, tip.number + 1):
                raise SeamBroken(f"block {tip} is not the top of a stored range any more")
            below = await self._hash_at(conn, first - 1)
            gone = ReorgFact(orphans=orphans, ancestor_hash=below, tip_hash=tip.hash, reason=reason)
            await self._remove(conn, gone)
        await facts.wake(self._pool, self._chain)

    # -- inside one transaction --------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Connection]:
        with translated():
            async with self._pool.acquire() as conn, conn.transaction():
                try:
                    yield conn
                except asyncpg.CheckViolationError as error:
                    # Another chain's retention dropped a partition of ours while it was empty: it is made again.
                    self._slots.clear()
                    raise StoreUnavailable(f"database: {error}") from error

    async def _move_cursor(self, conn: Connection, before: BlockRef | None, after: BlockRef | None) -> None:
        match before, after:
            case None, BlockRef(number, hash_):
                done = await conn.execute(SQL_FIRST_CURSOR, self._chain, number, hash_)
            case BlockRef(number, hash_), None:
                done = await conn.execute(SQL_CLEAR_CURSOR, self._chain, number, hash_)
            case BlockRef(old, old_hash), BlockRef(new, new_hash):
                done = await conn.execute(SQL_MOVE_CURSOR, self._chain, new, new_hash, old, old_hash)
            case _:
                raise ValueError("a cursor cannot move from nothing to nothing")
        if not done.endswith(" 1"):
            row = await conn.fetchrow(SQL_CURSOR, self._chain)
            found = BlockRef(row["number"], row["hash"]) if row else None
            raise CursorMoved(f"chain {self._chain}: cursor is {found}, expected {before}")

    async def _copy_rows(self, conn: Connection, blocks: Sequence[Block]) -> dict[bytes, int]:
        """Copy the rows of `blocks` into all tables; return the tokens among them that were not known before."""
        tables, implied = self._rows(blocks)
        for each in tables:
            await conn.copy_records_to_table(each.table, schema_name="chain", columns=each.columns, records=each.rows)
        upgraded = {address for per_block in implied for found in per_block for address in found.upgraded}
        return await self._note(
            conn, [found.tokens for per_block in implied for found in per_block], upgraded, blocks[0]
        )

    def rows_of(self, blocks: Sequence[Block]) -> list[TableRows]:
        """Return what every table holds of `blocks` once they are stored."""
        return self._rows(blocks)[0]

    def _rows(self, blocks: Sequence[Block]) -> tuple[list[TableRows], list[list[Implied]]]:
        chain = self._chain
        if self._keep is not None:
            blocks = [self._keep(block) for block in blocks]
        implied = [[each.derive(chain, block) for block in blocks] for each in self._derived]
        roles = [[role for found in implied for role in found[i].roles] for i in range(len(blocks))]
        tables = [
            TableRows("block", copy.BLOCK_COLUMNS, (self._block_row(block) for block in blocks)),
            TableRows("transaction", copy.TRANSACTION_COLUMNS, copy.transaction_rows(chain, blocks)),
            TableRows("tx_hash", copy.TX_HASH_COLUMNS, copy.tx_hash_rows(chain, blocks)),
            TableRows("address_transaction", copy.ADDRESS_TRANSACTION_COLUMNS, copy.address_rows(chain, blocks, roles)),
        ]
        if not self._transactions:
            del tables[1:]
        for each, per_block in zip(self._derived, implied, strict=True):
            tables.append(TableRows(each.table, each.columns, [row for found in per_block for row in found.rows]))
        return tables, implied

    def _block_row(self, block: Block) -> copy.Row:
        if self._transactions:
            return copy.block_row(self._chain, block)
        return copy.header_row(self._chain, block, block.tx_count, stored=0)

    async def _copy_chunk(self, conn: Connection, chunk: Chunk, lease: Lease | None) -> dict[bytes, int]:
        if lease is not None:
            await require_held(conn, self._chain, lease, chunk.blocks)
        for table, columns in self._columns.items():
            if records := [row for piece in chunk.pieces for row in piece.records.get(table, ())]:
                await conn.copy_records_to_table(table, schema_name="chain", columns=columns, records=records)
            if count := sum(piece.counts.get(table, 0) for piece in chunk.pieces):
                done = await conn.copy_to_table(
                    table, schema_name="chain", columns=columns, format="binary", source=_whole(chunk.binary(table))
                )
                # What ends too early is not always an error to COPY.
                if done != f"COPY {count}":
                    raise RowsRefused(f"{table}: {done}, expected {count} rows")
        return await self._note(conn, [piece.tokens for piece in chunk.pieces], chunk.upgraded(), chunk.headers[0])

    async def _note(
        self, conn: Connection, moved: Sequence[Mapping[bytes, int]], upgraded: Collection[bytes], first: Block
    ) -> dict[bytes, int]:
        """Note what tokens moved and which contracts changed; return the tokens that were not known before."""
        new = self._new_tokens(moved)
        if new:
            await tokens.note_seen(conn, self._chain, new, first.number)
        if upgraded:
            await tokens.ask_again(conn, self._chain, upgraded)
        return new

    def _new_tokens(self, moved: Iterable[Mapping[bytes, int]]) -> dict[bytes, int]:
        new: dict[bytes, int] = {}
        for standards in moved:
            for address, standard in standards.items():
                if standard > max(self._tokens.get(address, 0), new.get(address, 0)):
                    new[address] = standard
        return new

    def _remember(self, noted: Mapping[bytes, int]) -> None:
        """Spare the next blocks the look at tokens that are noted; a committed note is never taken back."""
        if len(self._tokens) + len(noted) > MAX_KNOWN_TOKENS:
            self._tokens.clear()
        self._tokens.update(noted)

    async def _check_hole(self, conn: Connection, first: Block, last: Block, *, anchored: bool) -> None:
        await self._check_below_cursor(conn, last.ref)
        await self._check_above(conn, last, anchored=anchored)
        await self._check_below(conn, first)
        if await conn.fetchval(SQL_ANY_STORED, self._chain, first.number, last.number):
            raise SeamBroken(f"blocks of {first.number}..{last.number} are stored already")

    async def _join(self, conn: Connection, first: Block, last: Block, *, anchored: bool) -> None:
        """Look at the neighbours again, now that one who writes them at the same time has to wait, or is done.

        Late, so that waiting is short. Everybody locks the lower seam first.
        """
        for seam in (first.number, last.number + 1):
            await conn.execute(SQL_SEAM_LOCK, self._chain, seam)
        await self._check_above(conn, last, anchored=anchored)
        await self._check_below(conn, first)

    async def _check_below_cursor(self, conn: Connection, tip: BlockRef) -> None:
        """Above the cursor is the head writer's ground; no rewind runs meanwhile, so the cursor can only rise.

        Asked before what lies above `tip`: the head writer takes no lock, and what it commits between two looks must
        show itself in the second.
        """
        cursor = await conn.fetchrow(SQL_CURSOR, self._chain)
        if cursor is None or tip.number >= cursor["number"]:
            raise SeamBroken(f"block {tip} is not below the cursor, {cursor and cursor['number']}")

    async def _hash_at(self, conn: Connection, number: int) -> bytes | None:
        found = await conn.fetchrow(SQL_REF_AT, self._chain, number)
        return None if found is None else found["hash"]

    async def _check_above(self, conn: Connection, last: Block, *, anchored: bool) -> None:
        above = await conn.fetchrow(SQL_REF_AT, self._chain, last.number + 1)
        if above is None and anchored:
            raise SeamBroken(f"block {last.number + 1}, which {last.ref} was to join, is not stored any more")
        if above is not None and above["parent_hash"] != last.hash:
            raise SeamBroken(f"block {last.ref} is not the parent of stored block {last.number + 1}")

    async def _check_below(self, conn: Connection, first: Block) -> None:
        below = await conn.fetchrow(SQL_REF_AT, self._chain, first.number - 1)
        if below is not None and below["hash"] != first.parent_hash:
            raise SeamBroken(f"block {first.ref} is not the child of stored block {first.number - 1}")

    async def _remove(self, conn: Connection, gone: ReorgFact) -> None:
        at = self._clock.now()
        above, last = gone.orphans.first - 1, gone.orphans.last
        span = (self._chain, above, last)
        named = (above, gone.ancestor_hash, last, gone.tip_hash, gone.reason)
        await conn.execute(SQL_ARCHIVE_REORG, self._chain, at, *named)
        await conn.execute(SQL_ARCHIVE_BLOCKS, *span, at)
        await conn.execute(SQL_ARCHIVE_TRANSACTIONS, *span, at)
        for each in self._derived:
            if each.sql_archive is not None:
                await conn.execute(each.sql_archive, *span, at)
        await tokens.forget(conn, *span)
        await vaults.forget(conn, *span)
        await erase(conn, *span, self._derived)
        await conn.execute(SQL_UNCOVER_ALL, self._chain, above + 1, last)
        await conn.execute(SQL_UNCOVER_TOP, self._chain, above + 1)
        await verified.forget(conn, self._chain, gone.orphans)
        await finality.orphaned(conn, self._chain, gone, at)
        await facts.tell(conn, self._chain, [gone], at)

    # -- around it ---------------------------------------------------------------------------------------------------

    async def _ensure_partitions(self, first: int, last: int) -> None:
        slots = set(range(first // PARTITION_BLOCKS, last // PARTITION_BLOCKS + 1))
        if not slots <= self._slots:
            with translated():
                await self._pool.execute(SQL_ENSURE_PARTITIONS, first, last)
            self._slots |= slots


@contextmanager
def _refusing_rows() -> Iterator[None]:
    """Raise RowsRefused where the database says that encoded rows are not what its tables hold."""
    try:
        yield
    except asyncpg.DataError as error:
        raise RowsRefused(str(error)) from error


def _check_child(first: Block, after: BlockRef | None) -> None:
    """Refuse a first block that neither extends the cursor nor leaves a hole above it."""
    if after is None or first.number > after.number + 1:
        return
    if first.number != after.number + 1 or first.parent_hash != after.hash:
        raise SeamBroken(f"block {first.ref} is not the child of cursor {after}")


async def _whole(data: bytes) -> AsyncIterator[bytes]:
    """Turn what is there already into what asyncpg reads; plain bytes it takes for the name of a file."""
    yield data
