"""Blocks to rows of the chain tables, in the order COPY wants them. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from enum import IntFlag
from itertools import pairwise
from typing import Any, Final

from core.errors import SeamBroken
from core.types import Block, Tx

Row = tuple[Any, ...]
NO_LOGS_BLOOM: Final = bytes(256)


class Role(IntFlag):
    """What an address was to a transaction: the bits of `chain.address_transaction.roles`."""

    FROM = 1
    TO = 2
    CREATED = 4
    SENT_TOKENS = 8
    RECEIVED_TOKENS = 16


BLOCK_COLUMNS: Final = (
    "chain_id", "number", "block_time", "size", "tx_count", "hash", "parent_hash", "miner", "state_root",
    "transactions_root", "receipts_root", "uncles_hash", "logs_bloom", "extra_data", "mix_hash", "nonce",
    "difficulty", "total_difficulty", "gas_limit", "gas_used", "base_fee", "uncles", "extra", "stored_tx_count",
)  # fmt: skip
TRANSACTION_COLUMNS: Final = (
    "chain_id", "block_number", "tx_index", "type", "status", "hash", "sender", "recipient", "contract_address",
    "value", "nonce", "gas", "gas_used", "cumulative_gas_used", "gas_price", "effective_gas_price", "fee_cap",
    "tip_cap", "v", "signature", "receipt_root", "logs_bloom", "input", "extra", "receipt_extra",
)  # fmt: skip
TX_HASH_COLUMNS: Final = ("chain_id", "hash_key", "block_number", "tx_index")
ADDRESS_TRANSACTION_COLUMNS: Final = ("chain_id", "address", "block_number", "tx_index", "roles")


def block_time(timestamp: int) -> datetime:
    """Return seconds since 1970 as an aware datetime."""
    return datetime.fromtimestamp(timestamp, UTC)


def hash_key(tx_hash: bytes) -> int:
    """Return the first 8 bytes of a hash as PostgreSQL's signed bigint: the key of `chain.tx_hash`."""
    return int.from_bytes(tx_hash[:8], signed=True)


def roles(tx: Tx) -> dict[bytes, Role]:
    """Return what each address was to `tx`; an address with several roles appears once."""
    found = {tx.sender: Role.FROM}
    if tx.to is not None:
        found[tx.to] = found.get(tx.to, Role(0)) | Role.TO
    created = tx.receipt.contract_address
    if created is not None:
        found[created] = found.get(created, Role(0)) | Role.CREATED
    return found


def check_linked(blocks: Sequence[Block]) -> None:
    """Raise SeamBroken unless `blocks` is not empty and each block is the child of the one before it."""
    if not blocks:
        raise SeamBroken("no blocks to store")
    for parent, child in pairwise(blocks):
        if child.number != parent.number + 1 or child.parent_hash != parent.hash:
            raise SeamBroken(f"block {child.ref} is not the child of {parent.ref}")


def block_row(chain_id: int, block: Block) -> Row:
    """Return the row of `chain.block`, in the order of BLOCK_COLUMNS."""
    count = len(block.txs)
    return (
        header_row(chain_id, block, count)
        if block.tx_total is None
        else header_row(chain_id, block, block.tx_total, stored=count)
    )


def header_row(chain_id: int, block: Block, count: int, *, stored: int | None = None) -> Row:
    """Return the row of a block of `count` transactions, of which `stored` are stored, None for all."""
    return (
        chain_id, block.number, block_time(block.timestamp), block.size, count,
        block.hash, block.parent_hash,
        block.miner, block.state_root, block.transactions_root, block.receipts_root, block.uncles_hash,
        block.logs_bloom, block.extra_data, block.mix_hash, block.nonce, block.difficulty, block.total_difficulty,
        block.gas_limit, block.gas_used, block.base_fee, block.uncles, block.extra,
        stored,
    )  # fmt: skip


def transaction_rows(chain_id: int, blocks: Iterable[Block]) -> Iterator[Row]:
    """Yield rows of `chain.transaction`, in the order of TRANSACTION_COLUMNS."""
    for block in blocks:
        for tx in block.txs:
            yield _transaction_row(chain_id, block.number, tx)


def _transaction_row(chain_id: int, number: int, tx: Tx) -> Row:
    done = tx.receipt
    return (
        chain_id, number, tx.index, tx.type, done.status, tx.hash, tx.sender, tx.to, done.contract_address, tx.value,
        tx.nonce, tx.gas, done.gas_used, done.cumulative_gas_used, tx.gas_price, done.effective_gas_price, tx.fee_cap,
        tx.tip_cap, tx.v, tx.signature, done.root, None if done.logs_bloom == NO_LOGS_BLOOM else done.logs_bloom,
        tx.input, tx.extra, done.extra,
    )  # fmt: skip


def tx_hash_rows(chain_id: int, blocks: Iterable[Block]) -> Iterator[Row]:
    """Yield rows of `chain.tx_hash`."""
    for block in blocks:
        for tx in block.txs:
            yield chain_id, hash_key(tx.hash), block.number, tx.index


def address_rows(
    chain_id: int, blocks: Sequence[Block], more: Sequence[Iterable[tuple[int, bytes, Role]]]
) -> Iterator[Row]:
    """Yield rows of `chain.address_transaction`: one per transaction and address, whatever number of roles it had.

    `more` gives, per block, (transaction index, address, role) beyond those that the transaction itself shows.
    """
    for block, given in zip(blocks, more, strict=True):
        found = {tx.index: roles(tx) for tx in block.txs}
        for index, address, role in given:
            found[index][address] = found[index].get(address, Role(0)) | role
        for index, by_address in found.items():
            for address, role in by_address.items():
                yield chain_id, address, block.number, index, int(role)
