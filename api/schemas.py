"""What the explorer answers, field for field as the seed document shows it. Numbers are exact, never floats."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from api.addresses import checksum
from api.amounts import display, exact
from core.hex import to_hex
from core.store.reader import Lag, StoredBlock, StoredTx

GWEI: Final = 9
ETHER: Final = 18


class Health(msgspec.Struct):
    """GET /api/v1/health. `status` is ok, stale (no news of the chain, or too far behind) or starting."""

    status: str
    last_indexed_block: int | None
    last_indexed_timestamp: str | None
    chain_tip_block: int | None
    ingestion_lag_seconds: float | None

    @classmethod
    def of(cls, lag: Lag, *, stale: bool) -> "Health":
        """Make it from what the database says."""
        return cls(
            status="starting" if lag.number is None else "stale" if stale else "ok",
            last_indexed_block=lag.number,
            last_indexed_timestamp=None if lag.block_time is None else iso(lag.block_time),
            chain_tip_block=lag.tip,
            ingestion_lag_seconds=lag.seconds,
        )


class Block(msgspec.Struct):
    """GET /api/v1/blocks/{block_number}. `block_hash` is additive."""

    block_number: int
    block_timestamp: str
    transaction_count: int
    transaction_hashes: list[str]
    block_hash: str

    @classmethod
    def of(cls, block: StoredBlock) -> "Block":
        """Make it from a stored block."""
        return cls(
            block_number=block.number,
            block_timestamp=iso(block.block_time),
            transaction_count=len(block.tx_hashes),
            transaction_hashes=[to_hex(tx_hash) for tx_hash in block.tx_hashes],
            block_hash=to_hex(block.hash),
        )


class Transaction(msgspec.Struct, kw_only=True):
    """A transaction in a listing. `contract_address` is additive: what a creation created."""

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

    @classmethod
    def of(cls, tx: StoredTx, native_symbol: str) -> "Transaction":
        """Make it from a stored transaction."""
        return cls(**_common(tx, native_symbol))


class TransactionDetail(Transaction, kw_only=True):
    """GET /api/v1/transactions/{hash}."""

    gas_fee_eth: Decimal
    price_source: str | None
    price_timestamp: str | None

    @classmethod
    def of(cls, tx: StoredTx, native_symbol: str) -> "TransactionDetail":
        """Make it from a stored transaction."""
        fee = exact(tx.gas_used * tx.paid_gas_price, ETHER)
        return cls(**_common(tx, native_symbol), gas_fee_eth=fee, price_source=None, price_timestamp=None)


class Page(msgspec.Struct):
    """A page of transactions and where its neighbours are."""

    data: list[Transaction]
    page: int
    page_size: int
    total_results: int
    total_pages: int
    next_page_url: str | None
    prev_page_url: str | None


def iso(at: datetime) -> str:
    """Return a time as 2026-04-30T12:00:12Z."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


_encoder: Final = msgspec.json.Encoder(decimal_format="number")


def encode(answer: msgspec.Struct) -> bytes:
    """Return the JSON text; decimals become JSON numbers with every digit."""
    return _encoder.encode(answer)


def _common(tx: StoredTx, native_symbol: str) -> dict[str, Any]:
    return {
        "hash": to_hex(tx.hash),
        "block_number": tx.block_number,
        "block_timestamp": iso(tx.block_time),
        "from_address": checksum(tx.sender),
        "to_address": None if tx.recipient is None else checksum(tx.recipient),
        "contract_address": None if tx.contract_address is None else checksum(tx.contract_address),
        "value_native": display(tx.value, ETHER, native_symbol),
        "value_usd": None,
        "gas_used": tx.gas_used,
        "gas_price_gwei": exact(tx.paid_gas_price, GWEI),
        "gas_fee_usd": None,
        "status": {1: "success", 0: "failed", None: None}[tx.status],
    }
