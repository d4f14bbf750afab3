"""What people say about droids, and what is told them: the typed rows of the schema `droid`.

People describe pools and accounts, create droids, configure and command them; the worker (droids/journal.py) answers.
Amounts are base units, `Decimal` prices are quote for a whole base. Functions may raise StoreUnavailable.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec

from core.store.pool import Connection, Pool, translated
from core.types import BlockRef
from droids import statements as sql
from droids.decide import Memory
from droids.droid import Droid, droid_of
from droids.market import Market, Span
from droids.plan import Held
from droids.trend import Trend

SQL_PUT_POOL: Final = """
    insert into droid.pool (pool_id, chain_id, address, manager, quote)
    values ($1, $2, $3, $4, $5)
    on conflict (pool_id) do nothing
"""
SQL_PUT_ACCOUNT: Final = """
    insert into droid.account (account_id, chain_id, wallet) values ($1, $2, $3) on conflict (account_id) do nothing
"""
SQL_POOLS: Final = """
    select pool_id, chain_id, address, manager, quote, token0, token1, decimals0, decimals1, fee, spacing
    from droid.pool
    order by pool_id
"""
SQL_ACCOUNTS: Final = "select account_id, chain_id, wallet from droid.account order by account_id"
SQL_CREATE: Final = """
    insert into droid.droid (chain_id, account_id, wallet, pool_id, config, created_by)
    select a.chain_id, a.account_id, a.wallet, p.pool_id, $3, $4
    from droid.account a
    join droid.pool p on p.chain_id = a.chain_id
    where a.account_id = $1 and p.pool_id = $2
    returning droid_id
"""
SQL_DROIDS: Final = """
    select droid_id, chain_id, account_id, wallet, pool_id, config, active, command, commanded_at, commanded_by,
        commanded_as, answered, holds, note, created_at, created_by
    from droid.droid
    where $1::bigint is null or droid_id = $1
    order by droid_id
"""
SQL_CONFIGURE: Final = "update droid.droid set config = $2 where droid_id = $1 and config = $3"
# Resetting and closing are an administrator's: whoever is none cannot take them back while they are under way.
SQL_COMMAND: Final = """
    update droid.droid
    set active = $2, command = command + 1, commanded_at = $3, commanded_by = $4, commanded_as = $5
    where droid_id = $1 and not (active in (2, 3) and commanded_as = 'ADMIN' and $5 <> 'ADMIN')
    returning command
"""
SQL_SESSIONS: Final = """
    select session_id, droid_id, status, started_at, stopped_at, gas_wei, gas_usd, note
    from droid.session
    where droid_id = $1
    order by session_id desc
    limit $2
"""
SQL_BOTS: Final = """
    select bot_id, droid_id, slot, position_id, lower_tick, upper_tick, liquidity, status, changed_at
    from droid.bot
    where droid_id = $1
    order by slot nulls last, bot_id
"""
SQL_DECISIONS: Final = """
    select decision_id, droid_id, session_id, at, block_number, block_hash, decided, word, sentence, price, ema, slope,
        intent_id
    from droid.decision
    where droid_id = $1 and ($3::bigint is null or decision_id < $3)
    order by decision_id desc
    limit $2
"""
SQL_SNAPSHOTS: Final = """
    select snapshot_id, droid_id, at, block_number, block_hash, price, aum, base, quote, idle_base, idle_quote,
        fees_base, fees_quote, fees_earned, gas_wei, gas_usd, hold, il, lvr, eth_wallet
    from droid.snapshot
    where droid_id = $1 and ($3::bigint is null or snapshot_id < $3)
    order by snapshot_id desc
    limit $2
"""
SQL_LEDGER: Final = """
    select block_number, block_hash, entry, asset, kind, amount, at, intent_id, tx_hash, token_id
    from droid.ledger
    where droid_id = $1
    order by block_number, entry, asset, kind
"""


_encoder: Final = msgspec.json.Encoder(decimal_format="number")


class Taken(ValueError):
    """Another droid has this wallet until it is stopped (active 3)."""


class Command(IntEnum):
    """What people want of a droid (`active`)."""

    PAUSE = 0  # nothing new is sent; positions stay
    RUN = 1
    RESET = 2  # a new session: memory and gas count begin anew, positions stay
    CLOSE = 3  # close all positions, then stop and give the wallet back


class Status(StrEnum):
    """Where a session is."""

    WARMING = "WARMING"  # its average is too young to decide by
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    RESETTING = "RESETTING"  # waits for what is under way, then ends; a new one follows
    CLOSING = "CLOSING"
    STOPPED = "STOPPED"
    HALTED = "HALTED"  # what the chain says contradicts what we know: a person has to look, then reset or close


class BotStatus(StrEnum):
    """Where a slot of the ladder is."""

    PLANNED = "PLANNED"  # an intent to open it is queued
    OPENING = "OPENING"  # the intent is pending, or mined and not settled yet
    ACTIVE = "ACTIVE"
    CLOSING = "CLOSING"
    CLOSED = "CLOSED"
    FAILED = "FAILED"  # its transaction was reverted, dropped or cancelled, or its position is gone
    ORPHAN = "ORPHAN"  # a position that the wallet has and nobody here opened


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRow:
    """A pool that droids may be in. `market` and the tokens are None until the worker has read the contracts."""

    pool_id: int
    chain_id: int
    address: bytes
    manager: bytes
    quote: bytes
    tokens: tuple[bytes, bytes] | None = None
    market: Market | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountRow:
    """A wallet that droids may use."""

    account_id: int
    chain_id: int
    wallet: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class DroidRow:
    """A droid as people asked for it. `answered` < `command`: the last command is not carried out yet."""

    droid_id: int
    chain_id: int
    account_id: int
    wallet: bytes
    pool_id: int
    config: Mapping[str, Any]
    active: Command
    command: int
    commanded_at: datetime | None
    commanded_by: str | None
    commanded_as: str | None
    answered: int
    holds: bool
    note: str
    created_at: datetime
    created_by: str

    @property
    def droid(self) -> Droid:
        """The fields, checked again. Raises BadDroid for rows that this version does not take any more."""
        return droid_of(self.config)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow:
    """From a start to a reset or stop."""

    session_id: int
    droid_id: int
    status: Status
    started_at: datetime
    stopped_at: datetime | None
    gas_wei: int
    gas_usd: Decimal
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BotRow:
    """A slot of a ladder, and its position if it has one; `slot` is None for an orphan."""

    bot_id: int
    droid_id: int
    slot: int | None
    position_id: int | None
    lower_tick: int
    upper_tick: int
    liquidity: int
    status: BotStatus
    changed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRow:
    """What a droid decided at a block, and why."""

    decision_id: int
    droid_id: int
    session_id: int
    at: datetime
    block: BlockRef
    decided: str
    word: str
    sentence: str
    price: Decimal | None
    ema: Decimal | None
    slope: Decimal | None
    intent_id: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotRow:
    """What a droid was worth at a block; which units each has, docs/droids.md says."""

    snapshot_id: int
    droid_id: int
    at: datetime
    block: BlockRef
    price: Decimal
    aum: int
    base: int
    quote: int
    idle_base: int
    idle_quote: int
    fees_base: int
    fees_quote: int
    fees_earned: int
    gas_wei: int
    gas_usd: Decimal
    hold: int
    il: int
    lvr: int
    eth_wallet: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """Base units that came to the wallet (positive) or left it; an empty asset is wei."""

    block: BlockRef
    entry: int
    asset: bytes
    kind: str
    amount: int
    at: datetime
    intent_id: UUID | None
    tx_hash: bytes | None
    token_id: int | None


async def put_pool(pool: Pool | Connection, row: PoolRow) -> None:
    """Make a pool known; one that has this id already stays as it is."""
    with translated():
        await pool.execute(SQL_PUT_POOL, row.pool_id, row.chain_id, row.address, row.manager, row.quote)


async def put_account(pool: Pool | Connection, row: AccountRow) -> None:
    """Make an account known; one that has this id already stays as it is."""
    with translated():
        await pool.execute(SQL_PUT_ACCOUNT, row.account_id, row.chain_id, row.wallet)


async def pools(pool: Pool | Connection) -> tuple[PoolRow, ...]:
    """Return all pools."""
    with translated():
        return tuple(pool_row(row) for row in await pool.fetch(SQL_POOLS))


async def accounts(pool: Pool | Connection) -> tuple[AccountRow, ...]:
    """Return all accounts."""
    with translated():
        rows = await pool.fetch(SQL_ACCOUNTS)
    return tuple(AccountRow(**row) for row in rows)


async def create(pool: Pool | Connection, config: Mapping[str, Any], *, account_id: int, pool_id: int, by: str) -> int:
    """Make a droid, paused, and return its id. Raises BadDroid, LookupError if pool and account are of no one chain."""
    droid_of(config)
    with translated():
        found = await pool.fetchval(SQL_CREATE, account_id, pool_id, _json(config), by)
    if found is None:
        raise LookupError(f"account {account_id} and pool {pool_id}: expected both to be known, on one chain")
    return int(found)


async def configure(pool: Pool | Connection, before: DroidRow, config: Mapping[str, Any]) -> bool:
    """Change the fields of a droid; False if somebody else did since `before` was read. Raises BadDroid."""
    droid_of(config)
    with translated():
        done = await pool.execute(SQL_CONFIGURE, before.droid_id, _json(config), _json(before.config))
    return done == "UPDATE 1"


async def command(
    pool: Pool | Connection, droid_id: int, active: Command, at: datetime, *, by: str, role: str
) -> int | None:
    """Command a droid; return the command's number, None if it is closing by an ADMIN's word and `role` is none.

    None also if there is no such droid. Raises Taken if another droid has the wallet.
    """
    with translated():
        try:
            found = await pool.fetchval(SQL_COMMAND, droid_id, int(active), at, by, role)
        except asyncpg.UniqueViolationError:
            raise Taken(f"droid {droid_id}: another droid has its wallet until it is stopped") from None
    return None if found is None else int(found)


async def droids(pool: Pool) -> tuple[DroidRow, ...]:
    """Return all droids."""
    with translated():
        return tuple(droid_row(row) for row in await pool.fetch(SQL_DROIDS, None))


async def one(pool: Pool | Connection, droid_id: int) -> DroidRow | None:
    """Return a droid, None if there is none."""
    with translated():
        row = await pool.fetchrow(SQL_DROIDS, droid_id)
    return None if row is None else droid_row(row)


async def sessions(pool: Pool, droid_id: int, limit: int) -> tuple[SessionRow, ...]:
    """Return a droid's sessions, newest first."""
    with translated():
        return tuple(session_row(row) for row in await pool.fetch(SQL_SESSIONS, droid_id, limit))


async def bots(pool: Pool, droid_id: int) -> tuple[BotRow, ...]:
    """Return a droid's slots, the centre first, then what of its pool the wallet has besides."""
    with translated():
        rows = await pool.fetch(SQL_BOTS, droid_id)
    return tuple(
        BotRow(
            bot_id=row["bot_id"], droid_id=row["droid_id"], slot=row["slot"],
            position_id=None if row["position_id"] is None else int(row["position_id"]),
            lower_tick=row["lower_tick"], upper_tick=row["upper_tick"], liquidity=int(row["liquidity"]),
            status=BotStatus(row["status"]), changed_at=row["changed_at"],
        )
        for row in rows
    )  # fmt: skip


async def decisions(
    pool: Pool, droid_id: int, limit: int, *, before: int | None = None
) -> tuple[DecisionRow, ...]:  # fmt: skip
    """Return a droid's decisions, newest first: those with an id below `before`."""
    with translated():
        rows = await pool.fetch(SQL_DECISIONS, droid_id, limit, before)
    return tuple(
        DecisionRow(
            decision_id=row["decision_id"], droid_id=row["droid_id"], session_id=row["session_id"], at=row["at"],
            block=BlockRef(row["block_number"], row["block_hash"]), decided=row["decided"], word=row["word"],
            sentence=row["sentence"], price=row["price"], ema=row["ema"], slope=row["slope"],
            intent_id=_uuid(row["intent_id"]),
        )
        for row in rows
    )  # fmt: skip


async def snapshots(
    pool: Pool | Connection, droid_id: int, limit: int, *, before: int | None = None
) -> tuple[SnapshotRow, ...]:  # fmt: skip
    """Return a droid's snapshots, newest first: those with an id below `before`."""
    with translated():
        rows = await pool.fetch(SQL_SNAPSHOTS, droid_id, limit, before)
    whole = (
        "aum", "base", "quote", "idle_base", "idle_quote", "fees_base", "fees_quote", "fees_earned", "gas_wei", "hold",
        "il", "lvr", "eth_wallet",
    )  # fmt: skip
    return tuple(
        SnapshotRow(
            snapshot_id=row["snapshot_id"], droid_id=row["droid_id"], at=row["at"], price=row["price"],
            block=BlockRef(row["block_number"], row["block_hash"]), gas_usd=row["gas_usd"],
            **{name: int(row[name]) for name in whole},
        )
        for row in rows
    )  # fmt: skip


async def memory(pool: Pool | Connection, droid_id: int, since: datetime) -> Memory | None:
    """Return what a droid knows of itself, and its moves after `since`; None before its first sample."""
    with translated():
        row = await pool.fetchrow(sql.SQL_MEMORY, droid_id)
        if row is None or row["ema"] is None:
            return None
        acted = await pool.fetch(sql.SQL_ACTED, droid_id, since)
        ladder = await pool.fetchval(sql.SQL_LADDER, droid_id) if await held(pool, droid_id) else None
    return Memory(
        trend=Trend(row["ema"], row["slope"], row["sampled_at"], row["since"]), anchor=row["anchor"],
        spans=() if ladder is None else tuple(Span(*ticks) for ticks in json.loads(ladder)),
        acted=tuple(int(each["at"].timestamp()) for each in acted),
    )  # fmt: skip


async def held(pool: Pool | Connection, droid_id: int) -> tuple[Held, ...]:
    """Return the positions that a droid has, the centre first, without the fees that they are owed."""
    with translated():
        rows = await pool.fetch(sql.SQL_HELD, droid_id)
    return tuple(
        Held(int(row["token_id"]), Span(row["lower_tick"], row["upper_tick"]), int(row["liquidity"]), (0, 0))
        for row in rows
    )


async def balances(pool: Pool | Connection, droid_id: int) -> Mapping[bytes, int]:
    """Return what the ledger says the wallet has of each asset, base units; empty before a droid's first look."""
    with translated():
        return {row["asset"]: int(row["amount"]) for row in await pool.fetch(sql.SQL_SUMS, droid_id)}


async def ledger(pool: Pool, droid_id: int) -> tuple[LedgerRow, ...]:
    """Return all that moved, in the order of the chain."""
    with translated():
        rows = await pool.fetch(SQL_LEDGER, droid_id)
    return tuple(
        LedgerRow(
            block=BlockRef(row["block_number"], row["block_hash"]), entry=row["entry"], asset=row["asset"],
            kind=row["kind"], amount=int(row["amount"]), at=row["at"], intent_id=_uuid(row["intent_id"]),
            tx_hash=row["tx_hash"], token_id=None if row["token_id"] is None else int(row["token_id"]),
        )
        for row in rows
    )  # fmt: skip


def droid_row(row: asyncpg.Record) -> DroidRow:
    """Return the droid of a row that has all its columns."""
    # Numbers as decimals: a binary float would not be what somebody typed.
    config = json.loads(row["config"], parse_float=Decimal)
    return DroidRow(**{**dict(row), "config": config, "active": Command(row["active"])})


def pool_row(row: asyncpg.Record) -> PoolRow:
    """Return the pool of a row that has all its columns."""
    known = row["token0"] is not None
    market = Market(
        fee=row["fee"], spacing=row["spacing"], decimals0=row["decimals0"], decimals1=row["decimals1"],
        base_is_token0=row["token1"] == row["quote"],
    ) if known else None  # fmt: skip
    return PoolRow(
        pool_id=row["pool_id"], chain_id=row["chain_id"], address=row["address"], manager=row["manager"],
        quote=row["quote"], tokens=(row["token0"], row["token1"]) if known else None, market=market,
    )  # fmt: skip


def session_row(row: asyncpg.Record) -> SessionRow:
    """Return the session of a row that has all its columns."""
    return SessionRow(**{**dict(row), "status": Status(row["status"]), "gas_wei": int(row["gas_wei"])})


def _json(config: Mapping[str, Any]) -> str:
    return _encoder.encode(dict(config)).decode()


def _uuid(value: Any) -> UUID | None:
    return None if value is None else UUID(bytes=value.bytes)  # asyncpg has a class of its own
