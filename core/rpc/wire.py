"""JSON-RPC answers to types, checked against their specification and against each other. Pure.

Layout: execution-apis (github.com/ethereum/execution-apis), schemas Block, Transaction and Receipt; OP Stack deposit
transactions (type 0x7e) and Arbitrum's (0x64 and up) as their nodes send them. Fields that only some transaction
types or chains have are kept verbatim as JSON text (`extra`), so that nothing a node said is lost.

Every function raises BadAnswer when the answer breaks the format, a bound of the database, or contradicts itself.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec

from core.errors import BadAnswer, Unverified
from core.hex import from_hex, from_quantity
from core.types import U64_MAX, U256_MAX, Block, BlockRef, Head, Log, Receipt, Tx

MAX_TIMESTAMP: Final = 253_402_300_799  # 9999-12-31T23:59:59Z, the last second that Python and ISO 8601 can name
MAX_NUMBER: Final = 2**63 - 2  # a block number is a bigint, and ranges need the number after it

Extra = msgspec.Raw | msgspec.UnsetType
UNSET: Final = msgspec.UNSET
# msgspec lets text that is not UTF-8 through as it came, and gives up on values nested a thousand deep.
UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class WireTx(msgspec.Struct, rename="camel", gc=False):
    """A transaction as sent. Fields below `s` go to `extra`, in this order, when present."""

    hash: str
    nonce: str
    from_: str = msgspec.field(name="from")
    value: str
    gas: str
    input: str
    block_hash: str | None
    block_number: str | None
    transaction_index: str | None
    to: str | None = None
    type: str = "0x0"
    gas_price: str | None = None
    max_fee_per_gas: str | None = None
    max_priority_fee_per_gas: str | None = None
    v: str | None = None
    r: str | None = None
    s: str | None = None
    access_list: Extra = UNSET
    max_fee_per_blob_gas: Extra = UNSET
    blob_versioned_hashes: Extra = UNSET
    authorization_list: Extra = UNSET
    source_hash: Extra = UNSET  # OP Stack, type 0x7e
    mint: Extra = UNSET
    is_system_tx: Extra = UNSET
    deposit_receipt_version: Extra = UNSET
    request_id: Extra = UNSET  # Arbitrum, types 0x64 to 0x6a
    ticket_id: Extra = UNSET
    refund_to: Extra = UNSET
    l1_base_fee: Extra = msgspec.field(name="l1BaseFee", default=UNSET)
    deposit_value: Extra = UNSET
    retry_to: Extra = UNSET
    retry_value: Extra = UNSET
    retry_data: Extra = UNSET
    beneficiary: Extra = UNSET
    max_submission_fee: Extra = UNSET
    effective_gas_price: Extra = UNSET
    submission_fee_refund: Extra = UNSET
    max_refund: Extra = UNSET


class WireLog(msgspec.Struct, rename="camel", gc=False):
    """A log as sent."""

    address: str
    topics: list[str]
    data: str
    block_hash: str | None
    block_number: str | None
    transaction_hash: str
    transaction_index: str
    log_index: str
    removed: bool = False


class WireReceipt(msgspec.Struct, rename="camel", gc=False):
    """A receipt as sent. Fields below `logs` go to `extra`, in this order, when present."""

    transaction_hash: str
    transaction_index: str
    block_hash: str | None
    block_number: str | None
    cumulative_gas_used: str
    gas_used: str
    logs_bloom: str
    contract_address: str | None = None
    effective_gas_price: str | None = None
    status: str | None = None
    root: str | None = None
    logs: list[WireLog] = []
    blob_gas_used: Extra = UNSET
    blob_gas_price: Extra = UNSET
    deposit_nonce: Extra = UNSET  # OP Stack
    deposit_receipt_version: Extra = UNSET
    l1_gas_price: Extra = msgspec.field(name="l1GasPrice", default=UNSET)
    l1_gas_used: Extra = msgspec.field(name="l1GasUsed", default=UNSET)
    l1_fee: Extra = msgspec.field(name="l1Fee", default=UNSET)
    l1_fee_scalar: Extra = msgspec.field(name="l1FeeScalar", default=UNSET)
    l1_base_fee_scalar: Extra = msgspec.field(name="l1BaseFeeScalar", default=UNSET)
    l1_blob_base_fee: Extra = msgspec.field(name="l1BlobBaseFee", default=UNSET)
    l1_blob_base_fee_scalar: Extra = msgspec.field(name="l1BlobBaseFeeScalar", default=UNSET)
    operator_fee_scalar: Extra = UNSET
    operator_fee_constant: Extra = UNSET
    gas_used_for_l1: Extra = msgspec.field(name="gasUsedForL1", default=UNSET)  # Arbitrum
    l1_block_number: Extra = msgspec.field(name="l1BlockNumber", default=UNSET)
    timeboosted: Extra = UNSET


class WireHeader(msgspec.Struct, rename="camel", gc=False):
    """What of a block as sent says which it is, and where it belongs."""

    hash: str | None
    number: str | None
    parent_hash: str
    timestamp: str


class WireBlock(WireHeader, rename="camel", gc=False):
    """A block as sent, with full transactions. Fields below `uncles` go to `extra`, in this order, when present."""

    transactions: list[WireTx]
    miner: str
    state_root: str
    transactions_root: str
    receipts_root: str
    sha3_uncles: str = msgspec.field(name="sha3Uncles")
    logs_bloom: str
    extra_data: str
    gas_limit: str
    gas_used: str
    difficulty: str = "0x0"
    size: str = "0x0"
    total_difficulty: str | None = None
    base_fee_per_gas: str | None = None
    mix_hash: str | None = None
    nonce: str | None = None
    uncles: list[str] = []
    withdrawals: Extra = UNSET
    withdrawals_root: Extra = UNSET
    blob_gas_used: Extra = UNSET
    excess_blob_gas: Extra = UNSET
    parent_beacon_block_root: Extra = UNSET
    requests_hash: Extra = UNSET
    l1_block_number: Extra = msgspec.field(name="l1BlockNumber", default=UNSET)  # Arbitrum
    send_count: Extra = UNSET
    send_root: Extra = UNSET


def _extra_fields(struct: type[msgspec.Struct], after: str) -> tuple[tuple[str, str], ...]:
    names = list(zip(struct.__struct_fields__, struct.__struct_encode_fields__, strict=True))
    start = struct.__struct_fields__.index(after) + 1
    return tuple(names[start:])


TX_EXTRA: Final = _extra_fields(WireTx, "s")
RECEIPT_EXTRA: Final = _extra_fields(WireReceipt, "logs")
_BLOCK_EXTRA: Final = _extra_fields(WireBlock, "uncles")

_block_decoder = msgspec.json.Decoder(WireBlock | None)
_header_decoder = msgspec.json.Decoder(WireHeader | None)
_receipts_decoder = msgspec.json.Decoder(list[WireReceipt | None] | None)
_receipt_decoder = msgspec.json.Decoder(WireReceipt | None)


def head(raw: bytes | msgspec.Raw) -> Head | None:
    """Read a block header (eth_getBlockByNumber without transactions, or a newHeads notice); None for null."""
    header = _decode(_header_decoder, raw, "block header")
    if header is None:
        return None
    return Head(_ref(header), from_hex(header.parent_hash, 32), from_quantity(header.timestamp, MAX_TIMESTAMP))


def ref(raw: bytes | msgspec.Raw) -> BlockRef | None:
    """Read only number and hash of a block; None for null."""
    found = head(raw)
    return None if found is None else found.ref


def transaction_hashes(raw: bytes | msgspec.Raw) -> list[str]:
    """Return the hashes, as sent, of a block answered with full transactions."""
    found = _decode(_block_decoder, raw, "block")
    return [] if found is None else [tx.hash for tx in found.transactions]


def block(raw: bytes | msgspec.Raw, raw_receipts: bytes | msgspec.Raw) -> Block | None:
    """Read a block with full transactions and its receipts; None if the node does not have the block.

    `raw` answers eth_getBlockByNumber(n, true), `raw_receipts` eth_getBlockReceipts(n). Receipts and logs must belong
    to this very block, one receipt per transaction in order, and log indexes must run without a gap; a node behind a
    balancer answers from different forks within one batch, and empties receipts near the head.
    """
    found = _decode(_block_decoder, raw, "block")
    if found is None:
        return None
    receipts = _decode(_receipts_decoder, raw_receipts, "receipts")
    if receipts is None:
        raise BadAnswer(f"block {_ref(found)}: receipts are null")
    return _block(found, receipts)


def receipts_from_single(answers: Iterable[bytes | msgspec.Raw]) -> bytes:
    """Join answers of eth_getTransactionReceipt into what eth_getBlockReceipts would have said."""
    return b"[" + b",".join(bytes(answer) for answer in answers) + b"]"


def _decode(decoder: msgspec.json.Decoder[Any], raw: bytes | msgspec.Raw, what: str) -> Any:
    try:
        return decoder.decode(raw)
    except UNREADABLE as error:
        raise BadAnswer(f"{what}: {error}") from None


def _ref(header: WireHeader) -> BlockRef:
    if header.hash is None or header.number is None:
        raise BadAnswer("block without hash or number: a pending block, not a mined one")
    return BlockRef(from_quantity(header.number, MAX_NUMBER), from_hex(header.hash, 32))


def _block(wire: WireBlock, receipts: Sequence[WireReceipt | None]) -> Block:
    return replace(header_only(wire), txs=_transactions(wire, _ref(wire), receipts), tx_total=None)


def header_only(wire: WireBlock) -> Block:
    """Return a decoded block without its transactions, which it counts. Raises BadAnswer."""
    at = _ref(wire)
    return Block(
        number=at.number,
        hash=at.hash,
        parent_hash=from_hex(wire.parent_hash, 32),
        timestamp=from_quantity(wire.timestamp, MAX_TIMESTAMP),
        miner=from_hex(wire.miner, 20),
        state_root=from_hex(wire.state_root, 32),
        transactions_root=from_hex(wire.transactions_root, 32),
        receipts_root=from_hex(wire.receipts_root, 32),
        uncles_hash=from_hex(wire.sha3_uncles, 32),
        logs_bloom=from_hex(wire.logs_bloom, 256),
        difficulty=from_quantity(wire.difficulty),
        total_difficulty=_quantity_or_none(wire.total_difficulty),
        size=from_quantity(wire.size, MAX_NUMBER),
        extra_data=from_hex(wire.extra_data),
        gas_limit=from_quantity(wire.gas_limit, U64_MAX),
        gas_used=from_quantity(wire.gas_used, U64_MAX),
        base_fee=_quantity_or_none(wire.base_fee_per_gas),
        mix_hash=_hex_or_none(wire.mix_hash, 32),
        nonce=_hex_or_none(wire.nonce, 8),
        uncles=tuple(from_hex(uncle, 32) for uncle in wire.uncles),
        extra=_extra(wire, _BLOCK_EXTRA),
        txs=(),
        tx_total=len(wire.transactions),
    )


def _transactions(wire: WireBlock, at: BlockRef, receipts: Sequence[WireReceipt | None]) -> tuple[Tx, ...]:
    if len(receipts) != len(wire.transactions):
        raise Unverified(at, "counts", "number of receipts", str(len(wire.transactions)), str(len(receipts)))
    txs = []
    next_log = 0
    for index, (tx, receipt) in enumerate(zip(wire.transactions, receipts, strict=True)):
        if receipt is None:
            raise BadAnswer(f"block {at}: receipt {index} is null")
        _check_place(wire, index, tx, receipt)
        _check_indexes(at, index, tx, receipt, next_log)
        logs = tuple(_log(wire, index, tx, log, next_log + i) for i, log in enumerate(receipt.logs))
        next_log += len(logs)
        txs.append(_tx(index, tx, _receipt(receipt, logs)))
    return tuple(txs)


def _check_place(wire: WireBlock, index: int, tx: WireTx, receipt: WireReceipt) -> None:
    at = f"block {wire.number} transaction {index}"
    if tx.block_hash != wire.hash or tx.block_number != wire.number:
        raise BadAnswer(f"{at}: transaction says block {tx.block_number} {tx.block_hash}, block is {wire.hash}")
    if receipt.block_hash != wire.hash or receipt.block_number != wire.number:
        raise BadAnswer(f"{at}: receipt says block {receipt.block_number} {receipt.block_hash}, block is {wire.hash}")
    if receipt.transaction_hash != tx.hash:
        raise BadAnswer(f"{at}: receipt is of {receipt.transaction_hash}, transaction is {tx.hash}")


def _check_indexes(at: BlockRef, index: int, tx: WireTx, receipt: WireReceipt, first_log: int) -> None:
    for what, claimed in (("transaction", tx.transaction_index), ("receipt", receipt.transaction_index)):
        if claimed is None or from_quantity(claimed) != index:
            raise Unverified(at, "counts", f"index of {what} {index}", str(index), str(claimed))
    for i, log in enumerate(receipt.logs, first_log):
        if from_quantity(log.log_index) != i:
            raise Unverified(at, "log_index", f"index of log {i}", str(i), str(from_quantity(log.log_index)))


def _tx(index: int, wire: WireTx, receipt: Receipt) -> Tx:
    return Tx(
        index=index,
        hash=from_hex(wire.hash, 32),
        type=from_quantity(wire.type, 0x7F),
        sender=from_hex(wire.from_, 20),
        to=_hex_or_none(wire.to, 20),
        value=from_quantity(wire.value),
        nonce=from_quantity(wire.nonce, U64_MAX),
        gas=from_quantity(wire.gas, U64_MAX),
        gas_price=_quantity_or_none(wire.gas_price),
        fee_cap=_quantity_or_none(wire.max_fee_per_gas),
        tip_cap=_quantity_or_none(wire.max_priority_fee_per_gas),
        input=from_hex(wire.input),
        v=_quantity_or_none(wire.v),
        signature=_signature(wire),
        extra=_extra(wire, TX_EXTRA),
        receipt=receipt,
    )


def _signature(wire: WireTx) -> bytes | None:
    if wire.r is None or wire.s is None:
        return None
    return from_quantity(wire.r).to_bytes(32) + from_quantity(wire.s).to_bytes(32)


def _receipt(wire: WireReceipt, logs: tuple[Log, ...]) -> Receipt:
    return Receipt(
        status=_quantity_or_none(wire.status, 1),
        root=_hex_or_none(wire.root, 32),
        gas_used=from_quantity(wire.gas_used, U64_MAX),
        cumulative_gas_used=from_quantity(wire.cumulative_gas_used, U64_MAX),
        effective_gas_price=_quantity_or_none(wire.effective_gas_price),
        contract_address=_hex_or_none(wire.contract_address, 20),
        logs_bloom=from_hex(wire.logs_bloom, 256),
        logs=logs,
        extra=_extra(wire, RECEIPT_EXTRA),
    )


def _log(block: WireBlock, tx_index: int, tx: WireTx, wire: WireLog, index: int) -> Log:
    at = f"block {block.number} log {wire.log_index}"
    if wire.removed or wire.block_hash != block.hash or wire.transaction_hash != tx.hash:
        raise BadAnswer(f"{at}: belongs to block {wire.block_hash} transaction {wire.transaction_hash}")
    if from_quantity(wire.transaction_index) != tx_index:
        raise BadAnswer(f"{at}: expected log {index} of transaction {tx_index}, found {wire.transaction_index}")
    if len(wire.topics) > 4:
        raise BadAnswer(f"{at}: {len(wire.topics)} topics")
    return Log(
        address=from_hex(wire.address, 20),
        topics=tuple(from_hex(topic, 32) for topic in wire.topics),
        data=from_hex(wire.data),
        index=index,
    )


def _extra(wire: msgspec.Struct, fields: tuple[tuple[str, str], ...]) -> str | None:
    found = {name: value for attribute, name in fields if (value := getattr(wire, attribute)) is not UNSET}
    try:
        return msgspec.json.encode(found).decode() if found else None
    except UnicodeDecodeError as error:
        raise BadAnswer(f"one of {', '.join(found)} is not UTF-8: {error}") from None


def _quantity_or_none(text: str | None, limit: int = U256_MAX) -> int | None:
    return None if text is None else from_quantity(text, limit)


def _hex_or_none(text: str | None, size: int) -> bytes | None:
    return None if text is None else from_hex(text, size)


def revert_data(raw: bytes) -> bytes:
    """Return the revert data in an error object's `data`, empty if there is none; it never raises.

    Most nodes put it there as hex; some behind "Reverted ", some as the field `data` of an object.
    """
    try:
        found = msgspec.json.decode(raw)
        text = found.get("data") if isinstance(found, dict) else found
        return from_hex(text.removeprefix("Reverted ")) if isinstance(text, str) else b""
    except (msgspec.DecodeError, UnicodeDecodeError, BadAnswer):
        return b""
