"""The worker's own side of a droid's rows: one process per droid, and what belongs together in one transaction.

All writes go through the one connection that holds the droid's advisory lock: a process that lost the lock has lost the
connection too, and can neither queue an intent nor apply one.
"""

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID

import asyncpg

from builders.liquidity import Amounts
from core.clock import Clock
from core.store.pool import Connection, Pool, translated
from core.types import BlockRef, Log
from droids import statements as sql
from droids.bots import Placed, Slot, slots
from droids.effects import Done, Entry
from droids.market import Market, Span
from droids.plan import Held
from droids.records import Command, DroidRow, PoolRow, SessionRow, Status, droid_row, pool_row, session_row
from droids.trend import Trend
from droids.worth import Worth
from wallet import records as intents
from wallet.types import Intent, State

WAIT_S: Final = 1.0
DAY: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """What a droid has had sent. `spans` is the ladder that is meant, centre first; `at` is the time of its block."""

    intent_id: UUID
    session_id: int
    kind: str
    at: datetime
    block: BlockRef
    sqrt_x96: int
    spans: tuple[Span, ...]
    anchor: Decimal | None
    native_price: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Mined:
    """Where a move's transaction is, what it cost in wei and what it logged."""

    tx_hash: bytes
    block: BlockRef
    fee: int
    logs: tuple[Log, ...]
    moved: Mapping[bytes, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A position of the ledger that is open. `gone`: the chain does not have it."""

    token_id: int
    slot: int
    span: Span
    liquidity: int
    put: Amounts
    gone: bool

    @property
    def seen(self) -> Placed:
        """What is shown of it."""
        return Placed(self.token_id, self.span, self.liquidity)


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """What a droid knows across restarts. `lvr` is marked to the price `mark`."""

    trend: Trend | None = None
    anchor: Decimal | None = None
    mark: int | None = None
    lvr: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """All that the rows say of a droid. `acted` are Unix seconds, the latest last.

    `last` is the newest block that a move of this session is in; `refused` when a closing failed last, and as what.
    """

    row: DroidRow
    pool: PoolRow
    session: SessionRow | None
    move: Move | None
    memory: Remembered
    positions: tuple[Position, ...]
    spans: tuple[Span, ...]
    acted: tuple[int, ...]
    last: BlockRef | None
    refused: tuple[int, str] | None

    @property
    def placed(self) -> dict[int, Placed]:
        """Return the open positions by slot."""
        return {each.slot: each.seen for each in self.positions}


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """A decision as it is noted."""

    decided: str
    word: str
    sentence: str
    price: Decimal | None = None
    trend: Trend | None = None


@asynccontextmanager
async def leased(
    pool: Pool, droid_id: int, clock: Clock, on_wait: Callable[[], None] = lambda: None
) -> AsyncIterator["Journal"]:
    """Wait until no other process looks after this droid, then yield its journal; the lease ends with the context."""
    with translated():
        conn = await pool.acquire()
    try:
        with translated():
            while not await conn.fetchval(sql.SQL_LEASE, droid_id):
                on_wait()
                await clock.sleep(WAIT_S)
        yield Journal(conn, droid_id, clock)
    finally:
        # The lock is the session's and ends with it, if the server has not ended both already.
        with suppress(asyncpg.InterfaceError):
            conn.terminate()
        await pool.release(conn)


class Journal:
    """The rows of one droid, for the process that holds its lease. Methods may raise StoreUnavailable."""

    def __init__(self, conn: Connection, droid_id: int, clock: Clock) -> None:
        self._conn = conn
        self._id = droid_id
        self._clock = clock

    async def known(self) -> Known:
        """Return all that is known."""
        with translated():
            row = droid_row(await self._row(sql.SQL_DROID, self._id))
            pool = pool_row(await self._row(sql.SQL_POOL, row.pool_id))
            session = await self._conn.fetchrow(sql.SQL_SESSION, self._id)
            move = await self._conn.fetchrow(sql.SQL_OPEN_MOVE, self._id)
            memory = await self._conn.fetchrow(sql.SQL_MEMORY, self._id)
            held = await self._conn.fetch(sql.SQL_HELD, self._id)
            last = await self._conn.fetchrow(sql.SQL_LAST, self._id)
            ladder = await self._conn.fetchval(sql.SQL_LADDER, self._id)
            refused = await self._conn.fetchrow(sql.SQL_REFUSED, self._id)
            acted = await self._conn.fetch(sql.SQL_ACTED, self._id, self._clock.now() - DAY)
        positions = tuple(map(_position, held))
        return Known(
            row=row, pool=pool, session=None if session is None else session_row(session),
            move=None if move is None else _move(move), memory=_memory(memory), positions=positions,
            spans=_spans(ladder) if ladder is not None and positions else (),
            refused=None if refused is None else (int(refused["at"].timestamp()), refused["outcome"]),
            acted=tuple(int(each["at"].timestamp()) for each in acted),
            last=None if last is None else BlockRef(last["mined_number"], last["mined_hash"]),
        )  # fmt: skip

    async def against(self, chain_id: int) -> tuple[str | None, bool]:
        """Return why everything is halted, None if it is not, and whether the chain has an alarm."""
        with translated():
            row = await self._conn.fetchrow(sql.SQL_AGAINST, chain_id)
        assert row is not None, "a select without from has a row"
        return row["halted"], row["alarmed"]

    async def learn(self, pool_id: int, tokens: tuple[bytes, bytes], market: Market) -> None:
        """Note what the contracts say of the pool."""
        given = (*tokens, market.decimals0, market.decimals1, market.fee, market.spacing)
        with translated():
            await self._conn.execute(sql.SQL_LEARN, pool_id, *given)

    async def complain(self, note: str) -> None:
        """Say what keeps the droid from running at all, "" if nothing."""
        with translated():
            await self._conn.execute(sql.SQL_NOTE, self._id, note)

    # Commands and sessions.

    async def begin(self, answered: int, status: Status) -> None:
        """Begin a session; the wallet is the droid's own from now on."""
        with translated():
            async with self._conn.transaction():
                await self._conn.execute(sql.SQL_HOLD, self._id, True)
                await self._conn.execute(sql.SQL_BEGIN, self._id, status, self._clock.now())
                await self._conn.execute(sql.SQL_ANSWER, self._id, answered, int(Command.RUN))

    async def turn(self, session_id: int, status: Status, note: str = "", *, answered: int | None = None) -> None:
        """Move a session on, and note the command that made it, if one did."""
        with translated():
            async with self._conn.transaction():
                await self._conn.execute(sql.SQL_STATUS, session_id, status, note)
                if answered is not None:
                    await self._conn.execute(sql.SQL_ANSWER, self._id, answered, None)

    async def answer(self, answered: int, active: Command | None = None) -> None:
        """Note that a command is carried out; put `active` in its place unless people gave another one since."""
        with translated():
            await self._conn.execute(sql.SQL_ANSWER, self._id, answered, None if active is None else int(active))

    async def stop(self, session_id: int, answered: int) -> None:
        """End a session, and give the wallet back."""
        with translated():
            async with self._conn.transaction():
                await self._conn.execute(sql.SQL_END_SESSION, session_id, self._clock.now())
                await self._conn.execute(sql.SQL_ANSWER, self._id, answered, int(Command.PAUSE))
                await self._conn.execute(sql.SQL_HOLD, self._id, False)
                await self._conn.execute(sql.SQL_FORGET, self._id)

    async def reset(self, session_id: int, answered: int) -> None:
        """End a session and begin the next: average, anchor and gas count begin anew, positions stay."""
        with translated():
            async with self._conn.transaction():
                await self._conn.execute(sql.SQL_END_SESSION, session_id, self._clock.now())
                await self._conn.execute(sql.SQL_FORGET, self._id)
                await self._conn.execute(sql.SQL_BEGIN, self._id, Status.WARMING, self._clock.now())
                await self._conn.execute(sql.SQL_ANSWER, self._id, answered, int(Command.RUN))

    # Looks.

    async def remember(self, memory: Remembered) -> None:
        """Note what the last look said."""
        trend = memory.trend
        of = (None,) * 4 if trend is None else (trend.value, trend.slope, trend.at, trend.since)
        with translated():
            await self._conn.execute(sql.SQL_REMEMBER, self._id, *of, memory.mark, memory.lvr)

    async def sums(self) -> dict[bytes, int]:
        """Return what the ledger says the wallet has, by asset; empty before the first look."""
        with translated():
            return {row["asset"]: int(row["amount"]) for row in await self._conn.fetch(sql.SQL_SUMS, self._id)}

    async def found(self, at: BlockRef, kind: str, amounts: Mapping[bytes, int]) -> None:
        """Add what came to the wallet or left it without us."""
        entries = [Entry(-2, asset, kind, amount) for asset, amount in amounts.items()]
        with translated():
            async with self._conn.transaction():
                await self._lines(entries, at, None, None)

    async def reconciled(self, known: Known, gone: frozenset[int], strangers: Sequence[Held]) -> None:
        """Note which positions the chain does not have, and which of this pool it has besides."""
        now, place = self._clock.now(), (known.row.chain_id, known.pool.manager)
        with translated():
            async with self._conn.transaction():
                await self._conn.execute(sql.SQL_GONE, *place, [Decimal(each) for each in gone], now)
                there = [Decimal(each.token_id) for each in strangers]
                await self._conn.execute(sql.SQL_RETURNED, self._id, there)
                await self._conn.execute(sql.SQL_ORPHANS_GONE, self._id, there)
                for each in strangers:
                    span = each.span
                    given = (span.lower, span.upper, Decimal(each.liquidity), now)
                    await self._conn.execute(sql.SQL_ORPHAN, self._id, Decimal(each.token_id), *given)

    async def note(self, known: Known, at: BlockRef, noted: Noted, *, anchor: Decimal | None = None) -> None:
        """Note a decision to hold; `anchor`: the price moves count from there."""
        assert known.session is not None, "decisions are a session's"
        with translated():
            async with self._conn.transaction():
                await self._decided(known.session.session_id, at, noted, None)
                if anchor is not None:
                    await self._conn.execute(sql.SQL_REANCHOR, self._id, anchor)

    async def spent(self) -> tuple[int, Decimal]:
        """Return the gas of all sessions, in wei and in USD."""
        with translated():
            row = await self._conn.fetchrow(sql.SQL_SPENT, self._id)
        assert row is not None, "a sum has a row"
        return int(row["wei"]), row["usd"]

    async def flows(self) -> dict[tuple[str, bytes], int]:
        """Return the sums of the ledger by kind and asset."""
        with translated():
            rows = await self._conn.fetch(sql.SQL_LEDGER, self._id)
        return {(row["kind"], row["asset"]): int(row["amount"]) for row in rows}

    async def past(self) -> list[tuple[Amounts, Amounts, int]]:
        """Return of each closed position what was put in, what came back, and the price (sqrt) at that time."""
        with translated():
            rows = await self._conn.fetch(sql.SQL_CLOSED, self._id)
        return [
            ((int(row["put0"]), int(row["put1"])), (int(row["got0"]), int(row["got1"])), int(row["closed_sqrt_x96"]))
            for row in rows
        ]

    async def snapshot(self, at: datetime, block: BlockRef, worth: Worth) -> None:
        """Note what the droid is worth."""
        with translated():
            await self._conn.execute(
                sql.SQL_SNAPSHOT, self._id, at, block.number, block.hash, worth.price, worth.aum, *worth.positions,
                *worth.idle, *worth.fees, worth.fees_earned, worth.gas_wei, worth.gas_usd, worth.hold, worth.il,
                worth.lvr, worth.eth_wallet,
            )  # fmt: skip

    # Moves.

    async def queue(self, known: Known, move: Move, intent: Intent, noted: Noted) -> None:
        """Have something sent: the intent, and what it is for, or none of it."""
        with translated():
            async with self._conn.transaction():
                await self._decided(move.session_id, move.block, noted, move.intent_id)
                await self._conn.execute(
                    sql.SQL_MOVE, move.intent_id, self._id, move.session_id, move.kind, move.at, move.block.number,
                    move.block.hash, move.sqrt_x96, _json(move.spans), move.anchor, move.native_price,
                )  # fmt: skip
                await intents.queue(self._conn, intent)
                await self._show(slots(known.placed, move.kind, move.spans, State.QUEUED))

    async def show(self, known: Known, state: State) -> None:
        """Show the slots as they are while a move is under way."""
        assert known.move is not None, "there is a move"
        with translated():
            async with self._conn.transaction():
                await self._show(slots(known.placed, known.move.kind, known.move.spans, state))

    async def mined(self, id_: UUID) -> Mined | None:
        """Return where an intent is in the chain, None if it is in none."""
        with translated():
            row = await self._conn.fetchrow(sql.SQL_ACT, id_)
            if row is None:
                return None
            moved = await self._conn.fetch(intents.SQL_MOVED, id_)
        return Mined(
            tx_hash=row["tx_hash"], block=BlockRef(row["block_number"], row["block_hash"]), fee=int(row["fee"]),
            logs=_logs(row["logs"]), moved={each["asset"]: int(each["amount"]) for each in moved},
        )  # fmt: skip

    async def apply(self, known: Known, mined: Mined, done: Done, entries: Sequence[Entry]) -> None:
        """Let a move that succeeded count, once: positions, ledger, gas and anchor."""
        move, chain = _open(known), (known.row.chain_id, known.pool.manager)
        with translated():
            async with self._conn.transaction():
                if not await self._ended(move, "done", "done", mined):
                    return
                for each in done.closed:
                    given = (move.intent_id, move.sqrt_x96, *each.got)
                    await self._conn.execute(sql.SQL_CLOSE, *chain, Decimal(each.token_id), *given)
                for made in done.opened:
                    slot, span = move.spans.index(made.span), made.span
                    size = (span.lower, span.upper, Decimal(made.liquidity), move.intent_id, *made.put)
                    await self._conn.execute(sql.SQL_OPEN, *chain, Decimal(made.token_id), self._id, slot, *size)
                await self._paid(move, mined)
                await self._lines(entries, mined.block, move.intent_id, mined.tx_hash)
                if move.kind == "rebalance":
                    await self._conn.execute(sql.SQL_REANCHOR, self._id, move.anchor)
                await self._settled_slots(failed=False)

    async def fail(self, known: Known, outcome: str, mined: Mined | None, *, halt: str = "") -> None:
        """End a move that did nothing but cost what it cost; `halt`: why a person has to look."""
        move = _open(known)
        with translated():
            async with self._conn.transaction():
                if not await self._ended(move, "failed", outcome, mined):
                    return
                if mined is not None:
                    await self._paid(move, mined)
                if halt:
                    await self._conn.execute(sql.SQL_STATUS, move.session_id, Status.HALTED, halt)
                await self._settled_slots(failed=True)

    async def _ended(self, move: Move, state: str, outcome: str, mined: Mined | None) -> bool:
        """End a move; False if that was done before."""
        where = (None, None, None) if mined is None else (mined.tx_hash, mined.block.number, mined.block.hash)
        done = await self._conn.execute(sql.SQL_END_MOVE, move.intent_id, state, outcome, self._clock.now(), *where)
        return done == "UPDATE 1"

    async def _paid(self, move: Move, mined: Mined) -> None:
        await self._conn.execute(sql.SQL_GAS, move.session_id, Decimal(mined.fee), move.native_price)
        await self._lines([Entry(-1, b"", "gas", -mined.fee)], mined.block, move.intent_id, mined.tx_hash)

    async def _settled_slots(self, *, failed: bool) -> None:
        rows = await self._conn.fetch(sql.SQL_HELD, self._id)
        placed = {each.slot: each.seen for each in map(_position, rows)}
        await self._show(slots(placed, "", (), None), failed=failed)

    async def _show(self, wanted: Sequence[Slot], *, failed: bool = False) -> None:
        now = self._clock.now()
        for each in wanted:
            token = None if each.position_id is None else Decimal(each.position_id)
            given = (each.span.lower, each.span.upper, Decimal(each.liquidity), each.status, now)
            await self._conn.execute(sql.SQL_BOT, self._id, each.slot, token, *given)
        await self._conn.execute(sql.SQL_BOTS_CLOSED, self._id, [each.slot for each in wanted], now, failed)

    async def _decided(self, session_id: int, at: BlockRef, noted: Noted, intent: UUID | None) -> None:
        trend = noted.trend
        of = (None, None) if trend is None else (trend.value, trend.slope)
        await self._conn.execute(
            sql.SQL_DECIDED, self._id, session_id, self._clock.now(), at.number, at.hash, noted.decided, noted.word,
            noted.sentence, noted.price, *of, intent,
        )  # fmt: skip

    async def _lines(self, entries: Sequence[Entry], at: BlockRef, intent: UUID | None, tx_hash: bytes | None) -> None:
        now = self._clock.now()
        for each in entries:
            token = None if each.token_id is None else Decimal(each.token_id)
            await self._conn.execute(
                sql.SQL_LINE, self._id, at.number, at.hash, each.index, each.asset, each.kind, Decimal(each.amount),
                now, intent, tx_hash, token,
            )  # fmt: skip

    async def _row(self, statement: str, key: int) -> asyncpg.Record:
        row = await self._conn.fetchrow(statement, key)
        if row is None:
            raise LookupError(f"droid {self._id}: it, or its pool, is not there any more")
        return row


def _open(known: Known) -> Move:
    assert known.move is not None, "only what is open ends"
    return known.move


def _move(row: asyncpg.Record) -> Move:
    return Move(
        intent_id=UUID(bytes=row["intent_id"].bytes), session_id=row["session_id"], kind=row["kind"], at=row["at"],
        block=BlockRef(row["block_number"], row["block_hash"]), sqrt_x96=int(row["sqrt_x96"]),
        spans=_spans(row["spans"]), anchor=row["anchor"], native_price=row["native_price"],
    )  # fmt: skip


def _position(row: asyncpg.Record) -> Position:
    return Position(
        token_id=int(row["token_id"]), slot=row["slot"], span=Span(row["lower_tick"], row["upper_tick"]),
        liquidity=int(row["liquidity"]), put=(int(row["put0"]), int(row["put1"])), gone=row["gone_at"] is not None,
    )  # fmt: skip


def _memory(row: asyncpg.Record | None) -> Remembered:
    if row is None:
        return Remembered()
    trend = None if row["ema"] is None else Trend(row["ema"], row["slope"], row["sampled_at"], row["since"])
    mark = None if row["mark_sqrt_x96"] is None else int(row["mark_sqrt_x96"])
    return Remembered(trend=trend, anchor=row["anchor"], mark=mark, lvr=int(row["lvr"]))


def _spans(text: str) -> tuple[Span, ...]:
    return tuple(Span(lower, upper) for lower, upper in json.loads(text))


def _json(spans: Sequence[Span]) -> str:
    return json.dumps([[each.lower, each.upper] for each in spans])


def _logs(text: str) -> tuple[Log, ...]:
    return tuple(
        Log(
            address=bytes.fromhex(each["address"]), topics=tuple(map(bytes.fromhex, each["topics"])),
            data=bytes.fromhex(each["data"]), index=each["index"],
        )
        for each in json.loads(text)
    )  # fmt: skip


def at_time(seconds: int) -> datetime:
    """Return Unix seconds as the rows have time."""
    return datetime.fromtimestamp(seconds, UTC)
