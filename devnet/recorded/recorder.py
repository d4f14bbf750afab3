"""Writes a recorded chain, one block at a time, and refuses one that contradicts itself.

A node may answer null for a block, or a time that runs backwards (anvil did both, once in 9,500 blocks): what is
measured on such a recording means nothing.
"""

import contextlib
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from core.errors import BadAnswer
from devnet.recorded.layout import (
    ARRAYS,
    BLOCKS,
    DIGESTS,
    FORMAT,
    HASHES,
    LOGS,
    META,
    RECEIPTS,
    TEXTS,
    Meta,
    fingerprint,
)


class _Tx(msgspec.Struct, rename="camel"):
    hash: str
    block_hash: str
    transaction_index: str


class _Block(msgspec.Struct, rename="camel"):
    number: str
    hash: str
    parent_hash: str
    timestamp: str
    transactions: list[msgspec.Raw]


class _Receipt(msgspec.Struct, rename="camel"):
    block_hash: str
    transaction_hash: str
    transaction_index: str
    logs: list[msgspec.Raw]


class _Log(msgspec.Struct, rename="camel"):
    address: str
    topics: list[str]
    log_index: str
    block_hash: str
    transaction_hash: str


class Recorder:
    """Use as a context manager; `add` blocks from genesis upwards, then `finish`. A folder not finished has no META."""

    def __init__(self, folder: Path, *, chain_id: int, client: str = "recorded") -> None:
        self._folder = folder
        self._chain_id = chain_id
        self._client = client
        self._arrays = {name: array(code) for name, code in ARRAYS.items()}
        self._digests = {name: bytearray() for name in DIGESTS}
        self._keys: dict[tuple[str, str | None], int] = {}
        self._sizes = dict.fromkeys(TEXTS, 0)
        self._tip: _Block | None = None
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / META).unlink(missing_ok=True)
        self._files = {name: self._open.enter_context((self._folder / name).open("wb")) for name in TEXTS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    @property
    def blocks(self) -> int:
        """How many blocks have been added."""
        return len(self._arrays["block_starts"])

    def add(self, raw_block: bytes, raw_receipts: bytes) -> int:
        """Append a block with full transactions, and its receipts; return how many there are of them.

        Raises BadAnswer if they do not fit.
        """
        block = _decoded(raw_block, _Block, "block")
        receipts = _decoded(raw_receipts, list[_Receipt], "receipts")
        raws = _decoded(raw_receipts, list[msgspec.Raw], "receipts")
        txs = [_decoded(raw, _Tx, "transaction") for raw in block.transactions]
        self._check(block, txs, receipts)
        self._lines(block, raw_block, raw_receipts, [tx.hash for tx in txs])
        self._spans(raw_block, block.transactions, raw_receipts, raws)
        self._logs(block, [raw for receipt in receipts for raw in receipt.logs])
        self._digests["block_digests"] += bytes.fromhex(block.hash[2:])
        for tx in txs:
            self._digests["tx_digests"] += bytes.fromhex(tx.hash[2:])
        self._tip = block
        return len(txs)

    def finish(self, *, calls: Mapping[str, str | None] | None = None, facts: Mapping[str, Any] | None = None) -> Meta:
        """Write index and META, and return the latter."""
        arrays = self._arrays
        logs, txs = len(arrays["log_keys"]), len(arrays["tx_spans"]) // 4
        ends = {"block_starts": BLOCKS, "hash_starts": HASHES, "receipt_starts": RECEIPTS, "log_starts": LOGS}
        blocks = len(arrays["block_starts"])
        for name, text in ends.items():
            arrays[name].append(self._sizes[text])
        arrays["first_tx"].append(txs)
        arrays["first_log"].append(logs)
        self._open.close()
        for name in ARRAYS:
            (self._folder / name).write_bytes(arrays[name].tobytes())
        for name in DIGESTS:
            (self._folder / name).write_bytes(self._digests[name])
        meta = Meta(
            format=FORMAT, chain_id=self._chain_id, client=self._client, blocks=blocks, txs=txs, logs=logs,
            keys=list(self._keys), calls=dict(calls or {}), facts=dict(facts or {}), sha256=fingerprint(self._folder),
        )  # fmt: skip
        (self._folder / META).write_bytes(msgspec.json.encode(meta) + b"\n")
        return meta

    def _check(self, block: _Block, txs: Sequence[_Tx], receipts: Sequence[_Receipt]) -> None:
        number, tip = int(block.number, 16), self._tip
        expected = 0 if tip is None else int(tip.number, 16) + 1
        if number != expected:
            raise BadAnswer(f"recording: expected block {expected}, found {number}")
        if tip is not None and block.parent_hash != tip.hash:
            raise BadAnswer(f"recording: block {number} has parent {block.parent_hash}, the block below is {tip.hash}")
        if tip is not None and int(block.timestamp, 16) < int(tip.timestamp, 16):
            raise BadAnswer(f"recording: block {number} is older than the block below: {block.timestamp}")
        if len(receipts) != len(txs):
            raise BadAnswer(f"recording: block {number}: {len(txs)} transactions but {len(receipts)} receipts")
        for index, (tx, receipt) in enumerate(zip(txs, receipts, strict=True)):
            places = (tx.block_hash, receipt.block_hash, receipt.transaction_hash)
            indexes = (int(tx.transaction_index, 16), int(receipt.transaction_index, 16))
            if places != (block.hash, block.hash, tx.hash) or indexes != (index, index):
                raise BadAnswer(f"recording: block {number}: transaction {index} and its receipt are not of one place")

    def _lines(self, block: _Block, raw_block: bytes, raw_receipts: bytes, hashes: Sequence[str]) -> None:
        arrays = self._arrays
        short = msgspec.json.decode(raw_block, type=dict[str, msgspec.Raw])
        short["transactions"] = msgspec.Raw(msgspec.json.encode(hashes))
        for name, text, line in (
            ("block_starts", BLOCKS, raw_block),
            ("hash_starts", HASHES, msgspec.json.encode(short)),
            ("receipt_starts", RECEIPTS, raw_receipts),
        ):
            if b"\n" in line:
                raise BadAnswer(f"recording: block {block.number}: its JSON has a line break in it")
            arrays[name].append(self._sizes[text])
            self._write(text, line + b"\n")

    def _spans(
        self, raw_block: bytes, txs: Sequence[msgspec.Raw], raw_receipts: bytes, receipts: Sequence[msgspec.Raw]
    ) -> None:
        """Note where each transaction and receipt stands in the lines just written."""
        spans = self._arrays["tx_spans"]
        self._arrays["first_tx"].append(len(spans) // 4)
        at_block = self._sizes[BLOCKS] - len(raw_block) - 1
        at_receipts = self._sizes[RECEIPTS] - len(raw_receipts) - 1
        one, other = 0, 0
        for tx, receipt in zip(txs, receipts, strict=True):
            # Found at once: each begins where the one before it ended, but for a comma.
            one, other = raw_block.index(bytes(tx), one), raw_receipts.index(bytes(receipt), other)
            ends = one + len(memoryview(tx)), other + len(memoryview(receipt))
            spans.extend((at_block + one, at_block + ends[0], at_receipts + other, at_receipts + ends[1]))
            one, other = ends

    def _logs(self, block: _Block, raws: Sequence[msgspec.Raw]) -> None:
        arrays = self._arrays
        arrays["first_log"].append(len(arrays["log_keys"]))
        for index, raw in enumerate(raws):
            log = _decoded(raw, _Log, "log")
            if int(log.log_index, 16) != index or log.block_hash != block.hash:
                raise BadAnswer(f"recording: block {block.number}: expected log {index}, found {log.log_index}")
            key = (log.address.lower(), log.topics[0].lower() if log.topics else None)
            arrays["log_keys"].append(self._keys.setdefault(key, len(self._keys)))
            arrays["log_starts"].append(self._sizes[LOGS])
            self._write(LOGS, bytes(raw) + b",")

    def _write(self, text: str, data: bytes) -> None:
        self._files[text].write(data)
        self._sizes[text] += len(data)


def _decoded(raw: Any, kind: Any, what: str) -> Any:
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.DecodeError as error:
        raise BadAnswer(f"recording: {what}: {error}") from None
