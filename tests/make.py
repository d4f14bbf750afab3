"""Makers of test data with defaults, so that a test shows only what matters. Hashes follow from content."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from core.rpc.encode import encode_block, encode_receipts
from core.types import Block, BlockRef, Head, Log, Receipt, Tx
from devnet.recorded.recorder import Recorder

GENESIS_TIME = 1_700_000_000
BLOCK_TIME = 12
NOWHERE = bytes(32)


def digest(*parts: object) -> bytes:
    """Return 32 bytes that depend on `parts` alone."""
    return hashlib.sha256(repr(parts).encode()).digest()


def address(*parts: object) -> bytes:
    """Return an address that depends on `parts` alone."""
    return digest("address", *parts)[:20]


def log(index: int = 0, **fields: Any) -> Log:
    given: dict[str, Any] = {"address": address("token"), "topics": (digest("topic"),), "data": b"\x01", "index": index}
    return Log(**given | fields)


def receipt(logs: Sequence[Log] = (), **fields: Any) -> Receipt:
    given: dict[str, Any] = {
        "status": 1,
        "root": None,
        "gas_used": 21_000,
        "cumulative_gas_used": 21_000,
        "effective_gas_price": 7,
        "contract_address": None,
        "logs_bloom": bytes(255) + (b"\x01" if logs else b"\x00"),
        "logs": tuple(logs),
        "extra": None,
    }
    return Receipt(**given | fields)


def tx(index: int = 0, salt: object = "", **fields: Any) -> Tx:
    given: dict[str, Any] = {
        "index": index,
        "hash": digest("tx", salt, index),
        "type": 2,
        "sender": address("sender", index % 3),
        "to": address("receiver", index % 2),
        "value": 10**18 + index,
        "nonce": index,
        "gas": 30_000,
        "gas_price": 7,
        "fee_cap": 9,
        "tip_cap": 1,
        "input": b"\xab",
        "v": 1,
        "signature": bytes(range(64)),
        "extra": None,
        "receipt": receipt([log(index)]),
    }
    return Tx(**given | fields)


def block(
    number: int = 0, parent: bytes = NOWHERE, fork: object = "a", txs: int | Sequence[Tx] = 1, **fields: Any
) -> Block:
    """Return a block whose hash follows from number, parent and fork."""
    name = digest("block", number, parent, fork)
    if isinstance(txs, int):
        # Transactions are the number's own, so a fork holds the same ones again (cowprotocol/services#2069).
        txs = [tx(i, salt=number) for i in range(txs)]
    given: dict[str, Any] = {
        "number": number,
        "hash": name,
        "parent_hash": parent,
        "timestamp": GENESIS_TIME + BLOCK_TIME * number,
        "miner": address("miner", fork),
        "state_root": digest("state", name),
        "transactions_root": digest("transactions", number),
        "receipts_root": digest("receipts", number),
        "uncles_hash": digest("uncles"),
        "logs_bloom": bytes(256),
        "difficulty": 0,
        "total_difficulty": None,
        "size": 1_000 + number,
        "extra_data": b"test",
        "gas_limit": 30_000_000,
        "gas_used": 21_000 * len(txs),
        "base_fee": 7,
        "mix_hash": digest("mix", name),
        "nonce": bytes(8),
        "uncles": (),
        "extra": None,
        "txs": tuple(txs),
    }
    return Block(**given | fields)


def chain(length: int, *, onto: Block | None = None, fork: object = "a", txs: int = 1) -> list[Block]:
    """Return `length` linked blocks: from genesis, or on top of `onto`."""
    made: list[Block] = []
    for _ in range(length):
        below = made[-1] if made else onto
        made.append(block(0, fork=fork, txs=txs) if below is None else block(below.number + 1, below.hash, fork, txs))
    return made


def ref(number: int = 0, fork: object = "a") -> BlockRef:
    """Return a reference to a block that stands alone."""
    return BlockRef(number, digest("ref", number, fork))


def head(number: int = 0, fork: object = "a", parent: bytes = NOWHERE) -> Head:
    """Return an announcement of a block that stands alone."""
    return Head(ref(number, fork), parent, GENESIS_TIME + BLOCK_TIME * number)


def record(
    folder: Path, blocks: Sequence[Block], *, chain_id: int = 7, calls: dict[str, str | None] | None = None
) -> Path:
    """Return `folder` with these blocks, from genesis upwards, as a recorded chain."""
    with Recorder(folder, chain_id=chain_id) as recorder:
        for each in blocks:
            recorder.add(msgspec.json.encode(encode_block(each)), msgspec.json.encode(encode_receipts(each)))
        recorder.finish(calls=calls)
    return folder
