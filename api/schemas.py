"""What the explorer answers, field for field as the seed document shows it. Numbers are exact, never floats."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final, Literal

import msgspec

from api.addresses import checksum
from api.amounts import Plain, display, exact
from api.prices import SOURCE, PriceInfo, Values
from api.times import iso
from core.hex import to_hex
from core.store.reader import Lag, StoredBlock
from core.store.transactions import StoredToken, StoredTransfer, StoredTx
from core.store.verified import Completeness, Quarantined
from core.types import HowFinal, TokenStandard
from core.verify.checks import Check, names

GWEI: Final = 9
ETHER: Final = 18
STATUS: Final[Mapping[int | None, str | None]] = {1: "success", 0: "failed", None: None}


class Health(msgspec.Struct):
    """GET /api/v1/health. `status` is ok, stale (no news of the chain, or too far behind) or starting.

    Additive: `alarm` says which blocks were orphaned after they had been called finalized, until a person clears it.
    `completeness` is the share of the stored blocks that passed all checks of their chain, null before it is known
    which those are; `quarantined` names blocks that no node serves so that they pass, or that are stored otherwise.
    """

    status: str
    last_indexed_block: int | None
    last_indexed_timestamp: str | None
    chain_tip_block: int | None
    ingestion_lag_seconds: float | None
    alarm: str | None
    completeness: float | None
    quarantined: list[str]

    @classmethod
    def of(cls, lag: Lag, known: Completeness, quarantined: Sequence[Quarantined], *, stale: bool) -> "Health":
        """Make it from what the database says."""
        return cls(
            status="starting" if lag.number is None else "stale" if stale else "ok",
            last_indexed_block=lag.number,
            last_indexed_timestamp=None if lag.block_time is None else iso(lag.block_time),
            chain_tip_block=lag.tip,
            ingestion_lag_seconds=lag.seconds,
            alarm="; ".join(map(str, lag.alarms)) or None,
            completeness=known.share,
            quarantined=list(map(str, quarantined)),
        )


class Block(msgspec.Struct):
    """GET /api/v1/blocks/{block_number}. `block_hash`, `mode`, `finality` and `checks` (those it passed) are additive.

    In mode `watch` the hashes are only those of stored transactions; the count is the block's own in either mode.
    """

    block_number: int
    block_timestamp: str
    transaction_count: int
    transaction_hashes: list[str]
    block_hash: str
    mode: Literal["full", "watch"]
    finality: HowFinal
    checks: list[str]

    @classmethod
    def of(cls, block: StoredBlock) -> "Block":
        """Make it from a stored block."""
        return cls(
            block_number=block.number,
            block_timestamp=iso(block.block_time),
            transaction_count=block.tx_count,
            transaction_hashes=[to_hex(tx_hash) for tx_hash in block.tx_hashes],
            block_hash=to_hex(block.hash),
            mode="watch" if block.watched else "full",
            finality=block.finality,
            checks=names(Check(block.checks)),
        )


class ShortTransfer(msgspec.Struct):
    """A token transfer in a listing. `token_symbol` is null until the token has been read, or if it has none."""

    token_symbol: str | None
    amount_display: str
    amount_usd: Decimal | None


class LongTransfer(msgspec.Struct):
    """A token transfer in a transaction's detail. Additive: `price`, null for what is not fungible."""

    contract_address: str
    token_symbol: str | None
    token_name: str | None
    token_standard: str
    from_address: str
    to_address: str
    amount_display: str
    amount_usd: Decimal | None
    token_id: str | None
    price: PriceInfo | None

    @classmethod
    def of(cls, stored: StoredTransfer, tx: StoredTx, values: Values) -> "LongTransfer":
        """Make it from a stored transfer of `tx`."""
        moved = stored.transfer
        fungible = moved.standard is TokenStandard.ERC20
        return cls(
            contract_address=checksum(moved.token),
            token_symbol=stored.token.symbol,
            token_name=stored.token.name,
            token_standard=f"ERC-{moved.standard.value}",
            from_address=checksum(moved.sender),
            to_address=checksum(moved.recipient),
            amount_display=amount_display(stored),
            amount_usd=amount_usd(stored, tx, values),
            # A string: ids have up to 78 digits, and JSON readers keep 15.
            token_id=None if moved.token_id is None else str(moved.token_id),
            price=values.of_token(tx, stored.token) if fungible else None,
        )


class Token(msgspec.Struct):
    """GET /api/v1/tokens/{contract_address}. Null where the contract does not say."""

    contract_address: str
    symbol: str | None
    name: str | None
    decimals: int | None

    @classmethod
    def of(cls, token: StoredToken) -> "Token":
        """Make it from a stored token."""
        return cls(checksum(token.address), token.symbol, token.name, token.decimals)


class CommonTransaction(msgspec.Struct):
    """What listing and detail share.

    Additive: `contract_address`, what a creation created, and `finality`, how final the transaction's block is.
    """

    hash: str
    block_number: int
    block_timestamp: str
    from_address: str
    to_address: str | None
    contract_address: str | None
    value_native: str
    value_usd: Decimal | None
    gas_used: int
    gas_price_gwei: Decimal
    gas_fee_usd: Decimal | None
    status: str | None
    finality: HowFinal


class Transaction(CommonTransaction):
    """A transaction in a listing; `api.rows` writes it."""

    token_transfers: list[ShortTransfer]


class TransactionDetail(CommonTransaction):
    """GET /api/v1/transactions/{hash}. Additive: `price`, the native coin's."""

    gas_fee_eth: Decimal
    token_transfers: list[LongTransfer]
    price_source: str | None
    price_timestamp: str | None
    price: PriceInfo

    @classmethod
    def of(cls, tx: StoredTx, native_symbol: str, values: Values) -> "TransactionDetail":
        """Make it from a stored transaction."""
        transfers = [LongTransfer.of(each, tx, values) for each in tx.transfers]
        # All prices are of the transaction's block; without a value there is neither source nor time.
        price = values.of_native(tx)
        valued = price.value is not None or any(each.amount_usd is not None for each in transfers)
        return cls(
            *common(tx, native_symbol, values),
            gas_fee_eth=exact(fee_of(tx), ETHER),
            token_transfers=transfers,
            price_source=SOURCE if valued else None,
            price_timestamp=iso(tx.block_time) if valued else None,
            price=price,
        )


class Page(msgspec.Struct):
    """A page of transactions and where its neighbours are.

    Additive to the seed: `as_of` is the block the listing is anchored at, `next_cursor` goes on without counting pages,
    `covered` are the indexed ranges within what was asked for, and `complete` says whether they leave nothing out.
    Unless `total_is_exact`, there are `total_results` or more: not all rows are looked at to count what passes filters.
    """

    data: list[Transaction]
    page: int | None
    page_size: int
    total_results: int
    total_is_exact: bool
    total_pages: int
    next_page_url: str | None
    prev_page_url: str | None
    next_cursor: str | None
    as_of: int | None
    complete: bool
    covered: list[tuple[int, int]]


def amount_usd(stored: StoredTransfer, tx: StoredTx, values: Values) -> Decimal | None:
    """Return what a transfer of `tx` was worth, None for what is not fungible and without a price."""
    moved = stored.transfer
    return values.usd(moved.amount, tx, moved.token) if moved.standard is TokenStandard.ERC20 else None


def fee_of(tx: StoredTx) -> int:
    """Return what the transaction's gas cost, in wei."""
    return tx.gas_used * tx.gas_price


def amount_display(stored: StoredTransfer) -> str:
    """Return the amount with the token's symbol, exact: scaled by its decimals where it has them, else in base units.

    Non-fungible tokens are counted. A token without a symbol is named by the ends of its address.
    """
    name = stored.token.symbol or short(stored.token.address)
    moved = stored.transfer
    if moved.standard is TokenStandard.ERC20 and stored.token.decimals is not None:
        return display(moved.amount, stored.token.decimals, name)
    return f"{moved.amount} {name}"


def short(address: bytes) -> str:
    """Return the ends of an address."""
    text = checksum(address)
    return f"{text[:6]}…{text[-4:]}"


def _plain(value: object) -> msgspec.Raw:
    if isinstance(value, Plain):
        return msgspec.Raw(format(value, "f").encode())
    raise TypeError(f"answers: expected what JSON can hold, found {type(value).__name__}")


_encoder: Final = msgspec.json.Encoder(decimal_format="number", enc_hook=_plain)


def encode(answer: msgspec.Struct) -> bytes:
    """Return the JSON text; decimals become JSON numbers with every digit."""
    return _encoder.encode(answer)


# The fields of CommonTransaction. By place: by name, an object takes three times as long, and pages have up to 200.
_Common = tuple[
    str, int, str, str, str | None, str | None, str, Decimal | None, int, Decimal, Decimal | None, str | None, HowFinal
]


def common(tx: StoredTx, native_symbol: str, values: Values) -> _Common:
    """Return the fields of CommonTransaction in their order."""
    return (
        to_hex(tx.hash),
        tx.block_number,
        iso(tx.block_time),
        checksum(tx.sender),
        None if tx.recipient is None else checksum(tx.recipient),
        None if tx.contract_address is None else checksum(tx.contract_address),
        display(tx.value, ETHER, native_symbol),
        values.usd(tx.value, tx),
        tx.gas_used,
        exact(tx.gas_price, GWEI),
        values.usd(fee_of(tx), tx),
        STATUS[tx.status],
        tx.finality,
    )
