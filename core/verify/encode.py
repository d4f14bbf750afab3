"""Headers, transactions and receipts as the bytes that Ethereum hashes (Yellow Paper 4.3, EIP-2718). Pure.

Types 0 (and EIP-155), 1 (EIP-2930), 2 (EIP-1559), 3 (EIP-4844) and 4 (EIP-7702); headers up to Prague (EIP-1559, 4895,
4844, 4788, 7685). What a node sends besides is kept in `extra` as JSON and read here.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import msgspec

from core.errors import BadAnswer
from core.hex import from_hex, from_quantity
from core.types import U64_MAX, Block, Log, Receipt, Tx
from core.verify import rlp

TYPES: Final = frozenset(range(5))  # of transactions whose encoding is known here
_NO_ACCESS_LIST: Final = '{"accessList":[]}'


class Unencodable(Exception):
    """Something has no encoding that this program knows; the text says what."""


class _Access(msgspec.Struct, rename="camel", gc=False):
    address: str
    storage_keys: list[str]


class _Authorization(msgspec.Struct, rename="camel", gc=False):
    chain_id: str
    address: str
    nonce: str
    r: str
    s: str
    y_parity: str


class _TxExtra(msgspec.Struct, rename="camel", gc=False):
    access_list: list[_Access] = []
    max_fee_per_blob_gas: str | None = None
    blob_versioned_hashes: list[str] = []
    authorization_list: list[_Authorization] = []


class _Withdrawal(msgspec.Struct, rename="camel", gc=False):
    index: str
    validator_index: str
    address: str
    amount: str


class _HeaderExtra(msgspec.Struct, rename="camel", gc=False):
    withdrawals: list[_Withdrawal] | None = None
    withdrawals_root: str | None = None
    blob_gas_used: str | None = None
    excess_blob_gas: str | None = None
    parent_beacon_block_root: str | None = None
    requests_hash: str | None = None


_tx_extra = msgspec.json.Decoder(_TxExtra)
_header_extra = msgspec.json.Decoder(_HeaderExtra)


def transaction(tx: Tx, chain_id: int) -> bytes:
    """Return the encoding of `tx` that its hash and its block's root are of.

    Nodes send `v` of a typed transaction as its yParity. Raises Unencodable for other types and for what lacks a field.
    """
    if tx.type not in TYPES:
        raise Unencodable(f"transaction type {tx.type:#x}")
    if tx.v is None or tx.signature is None:
        raise Unencodable("a transaction without signature")
    signature = (
        rlp.integer(tx.v),
        rlp.integer(int.from_bytes(tx.signature[:32])),
        rlp.integer(int.from_bytes(tx.signature[32:])),
    )
    nonce, gas = rlp.integer(tx.nonce), rlp.integer(tx.gas)
    to = rlp.EMPTY_STRING if tx.to is None else b"\x94" + tx.to
    body = (gas, to, rlp.integer(tx.value), rlp.string(tx.input))
    if tx.type == 0:
        return rlp.sequence((nonce, _given(tx.gas_price, "gasPrice"), *body, *signature))
    access, more = _typed_fields(tx)
    if tx.type == 1:
        fees: tuple[bytes, ...] = (_given(tx.gas_price, "gasPrice"),)
    else:
        fees = (_given(tx.tip_cap, "maxPriorityFeePerGas"), _given(tx.fee_cap, "maxFeePerGas"))
    fields = (rlp.integer(chain_id), nonce, *fees, *body, access, *more, *signature)
    return bytes((tx.type,)) + rlp.sequence(fields)


def receipt(done: Receipt, tx_type: int) -> bytes:
    """Return the encoding of a receipt, of a transaction of `tx_type`, that receiptsRoot is of (EIP-658, EIP-2718).

    Raises Unencodable for other types, and where the node sent neither status nor root.
    """
    if tx_type not in TYPES:
        raise Unencodable(f"receipt of transaction type {tx_type:#x}")
    if done.root is not None:
        outcome = rlp.string(done.root)
    elif done.status is not None:
        outcome = rlp.integer(done.status)
    else:
        raise Unencodable("a receipt with neither status nor root")
    logs = rlp.sequence([_log(log) for log in done.logs])
    body = rlp.sequence((outcome, rlp.integer(done.cumulative_gas_used), b"\xb9\x01\x00" + done.logs_bloom, logs))
    return body if tx_type == 0 else bytes((tx_type,)) + body


def header(block: Block) -> bytes:
    """Return the encoding of a block's header that its hash is of.

    Fields that forks added are taken as the node sent them, in the order of the forks. Raises Unencodable where
    mixHash or nonce is missing, or a field of a later fork is there without one of an earlier.
    """
    if block.mix_hash is None or block.nonce is None:
        raise Unencodable("a header without mixHash or nonce")
    fields = [
        b"\xa0" + block.parent_hash, b"\xa0" + block.uncles_hash, b"\x94" + block.miner, b"\xa0" + block.state_root,
        b"\xa0" + block.transactions_root, b"\xa0" + block.receipts_root, b"\xb9\x01\x00" + block.logs_bloom,
        rlp.integer(block.difficulty), rlp.integer(block.number), rlp.integer(block.gas_limit),
        rlp.integer(block.gas_used), rlp.integer(block.timestamp), rlp.string(block.extra_data),
        b"\xa0" + block.mix_hash, b"\x88" + block.nonce,
    ]  # fmt: skip
    return rlp.sequence(fields + _later_fields(block))


def withdrawals(block: Block) -> tuple[bytes, list[bytes]] | None:
    """Return withdrawalsRoot and the encoded withdrawals of a block (EIP-4895); None if it has neither.

    Raises Unencodable if it has only one of them, or a malformed one.
    """
    extra = _extra_of(block)
    if extra.withdrawals is None and extra.withdrawals_root is None:
        return None
    if extra.withdrawals is None or extra.withdrawals_root is None:
        raise Unencodable("withdrawals without withdrawalsRoot, or the other way round")
    try:
        encoded = [
            rlp.sequence(
                (_u64(each.index), _u64(each.validator_index), _data(each.address, 20), _u64(each.amount)),
            )
            for each in extra.withdrawals
        ]
        return from_hex(extra.withdrawals_root, 32), encoded
    except BadAnswer as error:
        raise Unencodable(f"withdrawals: {error}") from None


def _typed_fields(tx: Tx) -> tuple[bytes, tuple[bytes, ...]]:
    """Return the access list, and what types 3 and 4 have behind it, encoded."""
    if tx.extra == _NO_ACCESS_LIST and tx.type <= 2:
        return rlp.EMPTY_LIST, ()
    try:
        extra = _tx_extra.decode(tx.extra or "{}")
        access = rlp.sequence([_access(each) for each in extra.access_list])
        if tx.type == 3:
            if extra.max_fee_per_blob_gas is None:
                raise Unencodable("a transaction without maxFeePerBlobGas")
            hashes = rlp.sequence([_data(each, 32) for each in extra.blob_versioned_hashes])
            return access, (rlp.integer(from_quantity(extra.max_fee_per_blob_gas)), hashes)
        if tx.type == 4:
            return access, (rlp.sequence([_authorization(each) for each in extra.authorization_list]),)
    except (msgspec.DecodeError, BadAnswer) as error:
        raise Unencodable(f"accessList, blobVersionedHashes or authorizationList: {error}") from None
    return access, ()


def _access(each: _Access) -> bytes:
    keys = rlp.sequence([_data(key, 32) for key in each.storage_keys])
    return rlp.sequence((_data(each.address, 20), keys))


def _authorization(each: _Authorization) -> bytes:
    signature = [rlp.integer(from_quantity(part)) for part in (each.y_parity, each.r, each.s)]
    return rlp.sequence(
        (rlp.integer(from_quantity(each.chain_id)), _data(each.address, 20), _u64(each.nonce), *signature)
    )


def _log(log: Log) -> bytes:
    return rlp.sequence((b"\x94" + log.address, _topics(log.topics), rlp.string(log.data)))


@lru_cache(maxsize=4_096)  # those with one topic or none more repeat themselves
def _topics(topics: Sequence[bytes]) -> bytes:
    return rlp.sequence([b"\xa0" + topic for topic in topics])


def _later_fields(block: Block) -> list[bytes]:
    extra = _extra_of(block)
    try:
        later = [
            None if block.base_fee is None else rlp.integer(block.base_fee),
            None if extra.withdrawals_root is None else _data(extra.withdrawals_root, 32),
            None if extra.blob_gas_used is None else _u64(extra.blob_gas_used),
            None if extra.excess_blob_gas is None else _u64(extra.excess_blob_gas),
            None if extra.parent_beacon_block_root is None else _data(extra.parent_beacon_block_root, 32),
            None if extra.requests_hash is None else _data(extra.requests_hash, 32),
        ]
    except BadAnswer as error:
        raise Unencodable(f"header: {error}") from None
    there = [field for field in later if field is not None]
    if later[: len(there)] != there:
        raise Unencodable("a header with a field of a later fork and without one of an earlier")
    return there


def _extra_of(block: Block) -> _HeaderExtra:
    try:
        return _header_extra.decode(block.extra or "{}")
    except msgspec.DecodeError as error:
        raise Unencodable(f"header: {error}") from None


def _given(value: int | None, name: str) -> bytes:
    if value is None:
        raise Unencodable(f"a transaction without {name}")
    return rlp.integer(value)


def _data(text: str, size: int) -> bytes:
    return rlp.string(from_hex(text, size))


def _u64(text: str) -> bytes:
    return rlp.integer(from_quantity(text, U64_MAX))
