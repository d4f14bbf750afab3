"""The sender's own side of the outbox: one process per wallet, nonces, and rows before bytes leave.

All writes go through the one connection that holds the wallet's advisory lock: a process that lost the lock has lost
the connection too, and can neither hand out a nonce nor learn that it may broadcast. Should two ever write, the rows
decide: states move by compare-and-set, and a nonce is unique for a wallet.
"""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg

from core.clock import Clock
from core.errors import Transient
from core.store.pool import Connection, Pool, translated
from core.types import BlockRef, Log
from wallet.policy import Spend
from wallet.records import intent_of
from wallet.types import Attempt, Fees, Intent, Movement, Opened, Outcome, Receipt, State

DAY: Final = timedelta(hours=24)
WAIT_S: Final = 1.0
QUEUED_AT_ONCE: Final = 50

# $1 is the chain, the seed of the hash; $2 the wallet.
SQL_LEASE: Final = "select pg_try_advisory_lock(hashtextextended('wallet.' || encode($2::bytea, 'hex'), $1))"
SQL_OPENED: Final = """
    select i.intent_id, i.chain_id, i.wallet, i.owner, i.kind, i.target, i.data, i.value, i.priority, i.deadline,
        i.max_fee, i.cancel_at, i.state, i.nonce, r.tx_hash, r.block_number, r.block_hash
    from wallet.intent i
    left join wallet.receipt r on r.intent_id = i.intent_id
    where i.chain_id = $1 and i.wallet = $2 and i.state in ('pending', 'mined')
    order by i.nonce
"""
SQL_ATTEMPTS: Final = """
    select intent_id, tx_hash, raw, kind, fee_cap, tip_cap, gas, head_number
    from wallet.attempt
    where intent_id = any($1)
    order by place
"""
SQL_QUEUED: Final = """
    select intent_id, chain_id, wallet, owner, kind, target, data, value, priority, deadline, max_fee,
        cancel_at
    from wallet.intent
    where chain_id = $1 and wallet = $2 and state = 'queued'
    order by priority, queued_at, intent_id
    limit $3
"""
SQL_NEXT_NONCE: Final = "select max(nonce) + 1 from wallet.intent where chain_id = $1 and wallet = $2"
SQL_SPENT: Final = """
    select s.asset, sum(s.amount) as amount
    from wallet.spend s
    join wallet.intent i on i.intent_id = s.intent_id
    where i.chain_id = $1 and i.wallet = $2 and s.at > $3
    group by s.asset
"""
SQL_CLAIM: Final = """
    update wallet.intent
    set state = 'pending', nonce = $2, note = '', changed_at = $3
    where intent_id = $1 and state = 'queued' and cancel_at is null
"""
SQL_KEEP: Final = "update wallet.intent set changed_at = $2 where intent_id = $1 and state = 'pending'"
SQL_ATTEMPT: Final = """
    insert into wallet.attempt
        (tx_hash, intent_id, place, kind, raw, gas, fee_cap, tip_cap, head_number, signed_at)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""
SQL_SPEND: Final = """
    insert into wallet.spend (intent_id, asset, amount, at)
    values ($1, $2, $3, $4)
    on conflict (intent_id, asset) do update set amount = greatest(wallet.spend.amount, excluded.amount)
"""
SQL_INCLUDE: Final = """
    update wallet.intent
    set state = 'mined', outcome = $2, note = '', changed_at = $3
    where intent_id = $1 and state in ('pending', 'mined')
"""
SQL_UNDO_MOVEMENT: Final = """
    delete from wallet.movement
    where tx_hash in (select tx_hash from wallet.receipt where intent_id = $1)
"""
SQL_UNDO_RECEIPT: Final = "delete from wallet.receipt where intent_id = $1"
SQL_RECEIPT: Final = """
    insert into wallet.receipt (tx_hash, intent_id, block_number, block_hash, ok, gas_used, fee, logs)
    values ($1, $2, $3, $4, $5, $6, $7, $8)
"""
SQL_MOVEMENT: Final = "insert into wallet.movement (tx_hash, asset, amount) values ($1, $2, $3)"
SQL_SETTLE: Final = """
    update wallet.intent set state = 'settled', note = $2, changed_at = $3 where intent_id = $1 and state = 'mined'
"""
SQL_REOPEN: Final = """
    update wallet.intent
    set state = 'pending', outcome = null, note = $2, changed_at = $3, reopened = reopened + 1
    where intent_id = $1 and state = 'mined'
"""
SQL_LOSE: Final = """
    update wallet.intent
    set state = 'lost', outcome = null, note = $2, changed_at = $3
    where intent_id = $1 and state in ('pending', 'mined')
"""
SQL_END: Final = """
    update wallet.intent set state = $2, note = $3, changed_at = $4 where intent_id = $1 and state = 'queued'
"""
SQL_NOTE: Final = "update wallet.intent set note = $2, changed_at = $3 where intent_id = $1 and note <> $2"
SQL_ANSWERED: Final = "update wallet.attempt set note = $2 where tx_hash = $1 and note <> $2"
SQL_MAY_SEND: Final = """
    select
        (select min(because) from wallet.halt where lifted_at is null) as halted,
        exists (select 1 from chain.alarm where chain_id = $1 and cleared_at is null) as alarmed,
        (
            select code_hashes from wallet.activation
            where chain_id = $1 and wallet = $2 and revoked_at is null
        ) as code_hashes
"""


class Overtaken(Transient):
    """Another process moved this intent first: start over from what is stored."""


@dataclass(frozen=True, slots=True)
class Leave:
    """What the database says about sending now. `code_hashes` of the activation, None if there is none."""

    against: str
    code_hashes: dict[bytes, bytes] | None


@asynccontextmanager
async def leased(
    pool: Pool, chain_id: int, wallet: bytes, clock: Clock, on_wait: Callable[[], None] = lambda: None
) -> AsyncIterator["Outbox"]:
    """Wait until no other process sends from this wallet, then yield its outbox; the lease ends with the context."""
    with translated():
        conn = await pool.acquire()
    try:
        with translated():
            while not await conn.fetchval(SQL_LEASE, chain_id, wallet):
                on_wait()
                await clock.sleep(WAIT_S)
        yield Outbox(conn, chain_id, wallet, clock)
    finally:
        # The lock is the session's and ends with it, if the server has not ended both already.
        with suppress(asyncpg.InterfaceError):
            conn.terminate()
        await pool.release(conn)


class Outbox:
    """The rows of one wallet, for the process that holds its lease. Methods may raise StoreUnavailable, Overtaken."""

    def __init__(self, conn: Connection, chain_id: int, wallet: bytes, clock: Clock) -> None:
        self._conn = conn
        self._whose = (chain_id, wallet)
        self._clock = clock

    async def opened(self) -> tuple[Opened, ...]:
        """Return what has a nonce and is not final, by nonce."""
        with translated():
            rows = await self._conn.fetch(SQL_OPENED, *self._whose)
            found = await self._conn.fetch(SQL_ATTEMPTS, [row["intent_id"] for row in rows])
        attempts: dict[Any, list[Attempt]] = {}
        for row in found:
            attempts.setdefault(row["intent_id"], []).append(_attempt(row))
        return tuple(_opened(row, attempts[row["intent_id"]]) for row in rows)

    async def queued(self) -> tuple[tuple[Intent, bool], ...]:
        """Return what waits for a nonce, the most urgent first, each with whether it was cancelled."""
        with translated():
            rows = await self._conn.fetch(SQL_QUEUED, *self._whose, QUEUED_AT_ONCE)
        return tuple((intent_of(row), row["cancel_at"] is not None) for row in rows)

    async def next_nonce(self) -> int | None:
        """Return one above the highest nonce that was ever given out for this wallet, None if none was."""
        with translated():
            found: int | None = await self._conn.fetchval(SQL_NEXT_NONCE, *self._whose)
        return found

    async def spent(self) -> Spend:
        """Return what was signed away within 24 hours, by asset."""
        with translated():
            rows = await self._conn.fetch(SQL_SPENT, *self._whose, self._clock.now() - DAY)
        return {row["asset"]: int(row["amount"]) for row in rows}

    async def leave(self) -> Leave:
        """Return whether the database lets this wallet send: asked before every signature and every broadcast."""
        with translated():
            row = await self._conn.fetchrow(SQL_MAY_SEND, *self._whose)
        assert row is not None, "a select without from has a row"
        hashes = row["code_hashes"]
        if row["halted"] is not None:
            against = f"halted: {row['halted']}"
        elif row["alarmed"]:
            against = "blocks were orphaned that had been called finalized (chainworkd alarm list)"
        else:
            against = "" if hashes is not None else "not activated (chainworkd activate)"
        return Leave(against, None if hashes is None else _hashes(hashes))

    async def claim(self, intent: Intent, nonce: int, attempt: Attempt, spend: Spend) -> None:
        """Give a queued intent its nonce, with the first attempt: from here on it may be on the chain."""
        with translated():
            async with self._conn.transaction():
                done = await self._conn.execute(SQL_CLAIM, intent.id, nonce, self._clock.now())
                _moved(intent.id, done)
                await self._write(intent.id, 0, attempt, spend)

    async def replace(self, opened: Opened, attempt: Attempt, spend: Spend) -> None:
        """Add an attempt with the same nonce."""
        with translated():
            async with self._conn.transaction():
                _moved(opened.intent.id, await self._conn.execute(SQL_KEEP, opened.intent.id, self._clock.now()))
                await self._write(opened.intent.id, len(opened.attempts), attempt, spend)

    async def include(self, opened: Opened, receipt: Receipt, outcome: Outcome, moved: Sequence[Movement]) -> None:
        """Apply what an attempt did, in the place of what another block said of it before."""
        id_ = opened.intent.id
        with translated():
            async with self._conn.transaction():
                _moved(id_, await self._conn.execute(SQL_INCLUDE, id_, outcome, self._clock.now()))
                await self._undo(id_)
                await self._conn.execute(
                    SQL_RECEIPT, receipt.hash, id_, receipt.block.number, receipt.block.hash, receipt.ok,
                    receipt.gas_used, receipt.fee, _json(receipt.logs),
                )  # fmt: skip
                for each in moved:
                    await self._conn.execute(SQL_MOVEMENT, receipt.hash, each.asset, each.amount)

    async def reopen(self, opened: Opened, why: str) -> None:
        """Undo what was applied: its block is gone."""
        await self._undone(opened, SQL_REOPEN, why)

    async def lose(self, opened: Opened, why: str) -> None:
        """Note that something else used its nonce."""
        await self._undone(opened, SQL_LOSE, why)

    async def settle(self, opened: Opened, depth: int) -> None:
        """Note that it is deep enough."""
        with translated():
            done = await self._conn.execute(SQL_SETTLE, opened.intent.id, f"{depth} blocks deep", self._clock.now())
        _moved(opened.intent.id, done)

    async def end(self, intent: Intent, state: State, why: str) -> None:
        """End a queued intent: nothing was signed for it."""
        with translated():
            _moved(intent.id, await self._conn.execute(SQL_END, intent.id, state, why, self._clock.now()))

    async def note(self, id_: UUID, why: str) -> None:
        """Say why an intent waits."""
        with translated():
            await self._conn.execute(SQL_NOTE, id_, why, self._clock.now())

    async def answered(self, attempt: Attempt, said: str) -> None:
        """Note what a node said to a broadcast."""
        with translated():
            await self._conn.execute(SQL_ANSWERED, attempt.hash, said)

    async def _undone(self, opened: Opened, sql: str, why: str) -> None:
        with translated():
            async with self._conn.transaction():
                done = await self._conn.execute(sql, opened.intent.id, why, self._clock.now())
                _moved(opened.intent.id, done)
                await self._undo(opened.intent.id)

    async def _undo(self, id_: UUID) -> None:
        await self._conn.execute(SQL_UNDO_MOVEMENT, id_)
        await self._conn.execute(SQL_UNDO_RECEIPT, id_)

    async def _write(self, id_: UUID, place: int, attempt: Attempt, spend: Spend) -> None:
        now: datetime = self._clock.now()
        await self._conn.execute(
            SQL_ATTEMPT, attempt.hash, id_, place, attempt.kind, attempt.raw, attempt.gas, attempt.fees.cap,
            attempt.fees.tip, attempt.block, now,
        )  # fmt: skip
        for asset, amount in spend.items():
            await self._conn.execute(SQL_SPEND, id_, asset, amount, now)


def _moved(id_: UUID, done: str) -> None:
    if done != "UPDATE 1":
        raise Overtaken(f"intent {id_}: its state is not what it was read as")


def _attempt(row: Any) -> Attempt:
    return Attempt(
        hash=row["tx_hash"], raw=row["raw"], kind=row["kind"], gas=row["gas"], block=row["head_number"],
        fees=Fees(int(row["fee_cap"]), int(row["tip_cap"])),
    )  # fmt: skip


def _opened(row: Any, attempts: Sequence[Attempt]) -> Opened:
    mined = None
    if row["tx_hash"] is not None:
        mined = (row["tx_hash"], BlockRef(row["block_number"], row["block_hash"]))
    return Opened(
        intent=intent_of(row), state=State(row["state"]), nonce=row["nonce"], attempts=tuple(attempts),
        cancel=row["cancel_at"] is not None, mined=mined,
    )  # fmt: skip


def _json(logs: Sequence[Log]) -> str:
    return json.dumps(
        [
            {"address": each.address.hex(), "topics": [topic.hex() for topic in each.topics],
             "data": each.data.hex(), "index": each.index}
            for each in logs
        ]
    )  # fmt: skip


def _hashes(text: str) -> dict[bytes, bytes]:
    return {bytes.fromhex(address): bytes.fromhex(found) for address, found in json.loads(text).items()}
