"""What the API answers about droids, field for field as the seed document shows it. Numbers are exact, never floats.

Additive fields are said to be so. `token0Positions` and `token1Positions` are base and quote, as in the document's
example, whichever of them the pool calls token0.
"""

from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import msgspec

from api.amounts import exact, number
from api.times import precise
from core.hex import to_hex
from droids.droid import Droid
from droids.market import Market
from droids.records import AccountRow, BotRow, DecisionRow, DroidRow, PoolRow, SessionRow, SnapshotRow

NATIVE_DECIMALS = 18


class DroidOf(msgspec.Struct, kw_only=True, rename="camel"):
    """A droid. Additive: `triggerMode`, `gasBudgetLimit`, `accountId`; and `note`, what keeps it from running."""

    id: int
    block_chain: str
    active: int
    pool_id: int
    funding_usd: Decimal = msgspec.field(name="fundingUSD")
    trigger_type: str
    trigger_mode: str
    tick_buckets: int
    bucket_offset: int
    funding_curve_type: str
    max_bots: int
    max_price: Decimal
    min_price: Decimal
    falling_rebalance_trigger: Decimal
    rising_rebalance_trigger: Decimal
    gas_budget_limit: Decimal
    max_gas_price: Decimal
    tx_priority: int
    derivative_threshold: Decimal
    ladder_perc_margin: Decimal
    account_id: int
    note: str
    created_at: str

    @classmethod
    def of(cls, row: DroidRow, chain: str) -> "DroidOf":
        """Make it from a row, on the chain of that name."""
        fields = {name: shown(value) for name, value in row.droid.model_dump().items()}
        return cls(
            id=row.droid_id, block_chain=chain, active=int(row.active), pool_id=row.pool_id,
            account_id=row.account_id, note=row.note, created_at=precise(row.created_at), **fields,
        )  # fmt: skip


class DroidList(msgspec.Struct):
    """GET /api/droids: all of them, the oldest first."""

    droids: list[DroidOf]


class SessionOf(msgspec.Struct, kw_only=True, rename="camel"):
    """From a start to a reset or stop. Additive: `gasUSD` spent in it, and `note`."""

    id: int
    started_at: str
    stopped_at: str | None
    status: str
    gas_usd: Decimal = msgspec.field(name="gasUSD")
    note: str

    @classmethod
    def of(cls, row: SessionRow) -> "SessionOf":
        """Make it from a row."""
        return cls(
            id=row.session_id, started_at=precise(row.started_at), stopped_at=_precise(row.stopped_at),
            status=row.status, gas_usd=plain(row.gas_usd), note=row.note,
        )  # fmt: skip


class BotOf(msgspec.Struct, kw_only=True, rename="camel"):
    """A slot of the ladder; `positionId` is null while it has no position.

    Additive: `slot` (0 is the centre; null for an ORPHAN), ticks of the pool, and the prices that they are, null before
    the pool's contracts are read.
    """

    id: int
    position_id: str | None
    status: str
    slot: int | None
    lower_tick: int
    upper_tick: int
    min_price: Decimal | None
    max_price: Decimal | None

    @classmethod
    def of(cls, row: BotRow, market: Market | None) -> "BotOf":
        """Make it from a row."""
        low, high = sorted(map(market.price_at, (row.lower_tick, row.upper_tick))) if market else (None, None)
        return cls(
            id=row.bot_id, position_id=None if row.position_id is None else hex(row.position_id), status=row.status,
            slot=row.slot, lower_tick=row.lower_tick, upper_tick=row.upper_tick,
            min_price=None if low is None else rounded(low), max_price=None if high is None else rounded(high),
        )  # fmt: skip


class DroidDetail(msgspec.Struct):
    """GET /api/droids/{id}: sessions newest first, bots from the centre outwards."""

    droid: DroidOf
    sessions: list[SessionOf]
    bots: list[BotOf]


class AccountOf(msgspec.Struct, rename="camel"):
    """A wallet that droids may use. Additive: its chain and address."""

    id: int
    block_chain: str
    address: str

    @classmethod
    def of(cls, row: AccountRow, chain: str) -> "AccountOf":
        """Make it from a row."""
        return cls(row.account_id, chain, to_hex(row.wallet))


class AccountList(msgspec.Struct):
    """GET /api/droids/accounts."""

    accounts: list[AccountOf]


class PoolOf(msgspec.Struct, kw_only=True, rename="camel"):
    """A pool that droids may be in. `feeTier` is in millionths, null before the worker has read the contract.

    Additive: its chain, the tokens, and which of them is the base; null likewise.
    """

    id: int
    pool_address: str
    fee_tier: int | None
    block_chain: str
    token0: str | None
    token1: str | None
    base: Literal["token0", "token1"] | None

    @classmethod
    def of(cls, row: PoolRow, chain: str) -> "PoolOf":
        """Make it from a row."""
        tokens = (None, None) if row.tokens is None else (to_hex(row.tokens[0]), to_hex(row.tokens[1]))
        market = row.market
        return cls(
            id=row.pool_id, pool_address=to_hex(row.address), fee_tier=None if market is None else market.fee,
            block_chain=chain, token0=tokens[0], token1=tokens[1],
            base=None if market is None else "token0" if market.base_is_token0 else "token1",
        )  # fmt: skip


class PoolList(msgspec.Struct):
    """GET /api/droids/pools."""

    pools: list[PoolOf]


class Created(msgspec.Struct):
    """POST /api/droids: the new droid, which is paused."""

    id: int


class Commanded(msgspec.Struct):
    """PATCH /api/droids/{id}/active: what it was told."""

    id: int
    active: int


class Configured(msgspec.Struct, kw_only=True, rename="camel"):
    """PATCH /api/droids/{id}/config: all that this path can change, as it is now."""

    id: int
    falling_rebalance_trigger: Decimal
    rising_rebalance_trigger: Decimal
    max_bots: int
    max_price: Decimal
    min_price: Decimal
    max_gas_price: Decimal
    tx_priority: int
    funding_usd: Decimal = msgspec.field(name="fundingUSD")
    derivative_threshold: Decimal
    ladder_perc_margin: Decimal

    @classmethod
    def of(cls, droid_id: int, droid: Droid) -> "Configured":
        """Make it from a droid's fields."""
        names = [name for name in cls.__struct_fields__ if name != "id"]
        return cls(id=droid_id, **{name: shown(getattr(droid, name)) for name in names})


class SnapshotOf(msgspec.Struct, kw_only=True, rename="camel"):
    """What a droid was worth at a block.

    In whole tokens: `token0Positions` is the base and `token1Positions` the quote in positions, without fees; `aum` is
    positions, fees and idle tokens in quote, without `ethWallet`. Additive: what follows `ethWallet`; `fees`, `hold`,
    `il` and `lvr` are in quote (docs/droids.md).
    """

    id: int
    time_stamp: str
    aum: Decimal
    price: Decimal
    token0_positions: Decimal = msgspec.field(name="token0Positions")
    token1_positions: Decimal = msgspec.field(name="token1Positions")
    eth_wallet: Decimal
    block: int
    token0_idle: Decimal = msgspec.field(name="token0Idle")
    token1_idle: Decimal = msgspec.field(name="token1Idle")
    fees: Decimal
    gas_usd: Decimal = msgspec.field(name="gasUSD")
    hold: Decimal
    il: Decimal
    lvr: Decimal

    @classmethod
    def of(cls, row: SnapshotRow, market: Market) -> "SnapshotOf":
        """Make it from a row, with the decimals of its pool."""

        def base(units: int) -> Decimal:
            return whole(units, market.base_decimals)

        def quote(units: int) -> Decimal:
            return whole(units, market.quote_decimals)

        return cls(
            id=row.snapshot_id, time_stamp=precise(row.at), aum=quote(row.aum), price=rounded(row.price),
            token0_positions=base(row.base), token1_positions=quote(row.quote),
            eth_wallet=whole(row.eth_wallet, NATIVE_DECIMALS), block=row.block.number,
            token0_idle=base(row.idle_base), token1_idle=quote(row.idle_quote), fees=quote(row.fees_earned),
            gas_usd=plain(row.gas_usd), hold=quote(row.hold), il=quote(row.il), lvr=quote(row.lvr),
        )  # fmt: skip


class History(msgspec.Struct):
    """GET /api/droids/{id}/history: snapshots, newest first. Additive: `next`, the `before` of the page after it."""

    history: list[SnapshotOf]
    next: int | None


class DecisionOf(msgspec.Struct, kw_only=True, rename="camel"):
    """What a droid decided at a block: `reason` is a word for programs, `why` a sentence for people.

    `price` and `ema` are quote for a whole base, `slope` is that of the EMA's logarithm an hour. `intentId` is what it
    had sent for it, if anything (docs/sending.md).
    """

    id: int
    session_id: int
    time_stamp: str
    block: int
    block_hash: str
    decision: str
    reason: str
    why: str
    price: Decimal | None
    ema: Decimal | None
    slope: Decimal | None
    intent_id: str | None

    @classmethod
    def of(cls, row: DecisionRow) -> "DecisionOf":
        """Make it from a row."""
        return cls(
            id=row.decision_id, session_id=row.session_id, time_stamp=precise(row.at), block=row.block.number,
            block_hash=to_hex(row.block.hash), decision=row.decided, reason=row.word, why=row.sentence,
            price=_rounded(row.price), ema=_rounded(row.ema), slope=_rounded(row.slope),
            intent_id=None if row.intent_id is None else str(row.intent_id),
        )  # fmt: skip


class Decisions(msgspec.Struct):
    """GET /api/droids/{id}/decisions: newest first; `next` is the `before` of the page after it."""

    decisions: list[DecisionOf]
    next: int | None


def shown(value: Any) -> Any:
    """Return a field's value as it is answered."""
    return plain(value) if isinstance(value, Decimal) else value


def plain(value: Decimal) -> Decimal:
    """Return a number that JSON shows without an exponent."""
    return number(format(value, "f"))


def whole(units: int, decimals: int) -> Decimal:
    """Return base units, which may be negative, in whole tokens, exactly and without trailing zeros."""
    found = exact(abs(units), decimals)
    return number(f"-{found:f}") if units < 0 else found


def rounded(value: Decimal) -> Decimal:
    """Return a price or a rate to twelve digits: more of a square root or an average say nothing."""
    return plain(Decimal(f"{value:.12g}")) if value else Decimal(0)


def _rounded(value: Decimal | None) -> Decimal | None:
    return None if value is None else rounded(value)


def _precise(at: datetime | None) -> str | None:
    return None if at is None else precise(at)
