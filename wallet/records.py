"""What others use: they insert intents, read what became of them, and ask that one be cancelled.

Whoever inserts an intent does so in a transaction of their own, with the rows that it follows from; the id makes that
good to repeat. The sender (wallet/outbox.py) alone moves an intent's state.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg

from builders.call import Call
from core.clock import Clock
from core.store.pool import Connection, Pool, translated
from core.types import BlockRef
from wallet.types import FINAL, NATIVE, Intent, Outcome, State

POLL_S: Final = 0.5

SQL_QUEUE: Final = """
    insert into wallet.intent
        (intent_id, chain_id, wallet, owner, kind, target, data, value, priority, deadline, max_fee)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
    on conflict (intent_id) do nothing
"""
SQL_CANCEL: Final = """
    update wallet.intent
    set cancel_at = $2, cancel_by = $3, cancel_because = $4
    where intent_id = $1 and cancel_at is null and state in ('queued', 'pending')
"""
SQL_STATUS: Final = """
    select i.intent_id, i.chain_id, i.wallet, i.owner, i.kind, i.target, i.data, i.value, i.priority, i.deadline,
        i.max_fee, i.queued_at, i.cancel_at, i.state, i.nonce, i.outcome, i.note, i.changed_at, i.reopened,
        r.tx_hash, r.block_number, r.block_hash, r.fee
    from wallet.intent i
    left join wallet.receipt r on r.intent_id = i.intent_id
    where i.intent_id = $1
"""
SQL_LISTED: Final = """
    select i.intent_id, i.chain_id, i.wallet, i.owner, i.kind, i.target, i.data, i.value, i.priority, i.deadline,
        i.max_fee, i.queued_at, i.cancel_at, i.state, i.nonce, i.outcome, i.note, i.changed_at, i.reopened,
        r.tx_hash, r.block_number, r.block_hash, r.fee
    from wallet.intent i
    left join wallet.receipt r on r.intent_id = i.intent_id
    where i.state = any($1)
    order by i.queued_at desc, i.intent_id
    limit $2
"""
SQL_TRIED: Final = """
    select tx_hash, kind, fee_cap, tip_cap, gas, head_number, signed_at, note
    from wallet.attempt
    where intent_id = $1
    order by place
"""
SQL_MOVED: Final = """
    select m.asset, m.amount
    from wallet.receipt r
    join wallet.movement m on m.tx_hash = r.tx_hash
    where r.intent_id = $1
    order by m.asset
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What became of an intent so far. `fee` is wei, None while nothing was paid."""

    intent: Intent
    state: State
    outcome: Outcome | None
    note: str
    queued_at: datetime
    changed_at: datetime
    cancel: bool
    nonce: int | None
    reopened: int
    tx_hash: bytes | None
    block: BlockRef | None
    fee: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """An attempt, as people look at it."""

    tx_hash: bytes
    kind: str
    fee_cap: int
    tip_cap: int
    gas: int
    head: int
    signed_at: datetime
    note: str


async def queue(conn: Connection, intent: Intent) -> bool:
    """Insert an intent inside the caller's transaction; False if there is one with this id already."""
    call = intent.call
    done = await conn.execute(
        SQL_QUEUE, intent.id, intent.chain_id, intent.wallet, intent.owner, intent.kind, call.to, call.data,
        call.value, intent.priority, intent.deadline, intent.max_fee,
    )  # fmt: skip
    return done == "INSERT 0 1"


async def cancel(pool: Pool, id_: UUID, at: datetime, *, by: str, because: str) -> bool:
    """Ask that an intent not happen; False if it is too late, or was asked before.

    A queued one is dropped; a pending one is replaced, and it is the chain that says which of the two was first.
    """
    with translated():
        return await pool.execute(SQL_CANCEL, id_, at, by, because) == "UPDATE 1"


async def status(pool: Pool, id_: UUID) -> Status | None:
    """Return what became of an intent, None if there is none."""
    with translated():
        row = await pool.fetchrow(SQL_STATUS, id_)
    return None if row is None else _status(row)


async def awaited(pool: Pool, id_: UUID, clock: Clock) -> Status:
    """Return what became of an intent once that is final. Raises LookupError if there is none. Bound the wait."""
    while True:
        found = await status(pool, id_)
        if found is None:
            raise LookupError(f"intent {id_}: there is none")
        if found.state in FINAL:
            return found
        await clock.sleep(POLL_S)


async def listed(pool: Pool, states: Sequence[State], limit: int) -> tuple[Status, ...]:
    """Return intents in any of `states`, the newest first."""
    with translated():
        return tuple(_status(row) for row in await pool.fetch(SQL_LISTED, list(states), limit))


async def tried(pool: Pool, id_: UUID) -> tuple[Tried, ...]:
    """Return what was signed for an intent, in that order."""
    with translated():
        rows = await pool.fetch(SQL_TRIED, id_)
    return tuple(
        Tried(
            tx_hash=row["tx_hash"], kind=row["kind"], fee_cap=int(row["fee_cap"]), tip_cap=int(row["tip_cap"]),
            gas=row["gas"], head=row["head_number"], signed_at=row["signed_at"], note=row["note"],
        )
        for row in rows
    )  # fmt: skip


async def moved(pool: Pool, id_: UUID) -> dict[bytes, int]:
    """Return what an intent moved into the wallet (positive) or out of it, by asset; empty until it is mined."""
    with translated():
        return {row["asset"] or NATIVE: int(row["amount"]) for row in await pool.fetch(SQL_MOVED, id_)}


def intent_of(row: asyncpg.Record) -> Intent:
    """Return the intent of a row that has all its columns."""
    return Intent(
        id=_uuid(row["intent_id"]), chain_id=row["chain_id"], wallet=row["wallet"], owner=row["owner"],
        kind=row["kind"], call=Call(row["target"], row["data"], int(row["value"])), priority=row["priority"],
        deadline=row["deadline"], max_fee=None if row["max_fee"] is None else int(row["max_fee"]),
    )  # fmt: skip


def _uuid(value: Any) -> UUID:
    return UUID(bytes=value.bytes)  # asyncpg has a class of its own, which equals but prints otherwise


def _status(row: asyncpg.Record) -> Status:
    mined = row["tx_hash"] is not None
    return Status(
        intent=intent_of(row), state=State(row["state"]), note=row["note"], nonce=row["nonce"],
        outcome=None if row["outcome"] is None else Outcome(row["outcome"]), queued_at=row["queued_at"],
        changed_at=row["changed_at"], cancel=row["cancel_at"] is not None, reopened=row["reopened"],
        tx_hash=row["tx_hash"], fee=int(row["fee"]) if mined else None,
        block=BlockRef(row["block_number"], row["block_hash"]) if mined else None,
    )  # fmt: skip
