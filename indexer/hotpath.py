"""The hot path of backfill: JSON-RPC answers to rows in the binary format of COPY, with no objects in between.

The blocks of a request are read in six moves, of which all but the fourth are loops over bytes, compiled
(indexer/compiled); why it is so, and what each move costs, is in docs/performance.md and ADR 14:

1. Scan: where in the text each field of each transaction, receipt and log begins and ends (answers.py).
2. Check: every receipt and log is held against its transaction and its block, as core/rpc/wire.py does it (blocks.py).
3. Verify: roots, blooms and hashes are computed again and held against the header (verify.py, ADR 17).
4. Sort: what each log is to us. The few whose meaning no row-writer knows are decoded in Python, by the careful
   path's own code (logpath.py).
5. Write: each field from its hex text to its binary form, in the order of the table's columns (rows.py, emit.py).
6. What was written of each table is handed over as it is.

What is not exactly as expected raises Unusual: the careful path (wire.py, copy.py) decides about those blocks, with its
better errors. So this path may be stricter than the careful one and never laxer; tests/pg/test_hotpath.py stores the
same blocks by both and compares every table.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import msgspec
import numpy as np

from core.rpc import wire
from core.store import copy
from core.store.bulk import Piece, Unusual
from core.store.derived import Row
from core.types import Block
from core.verify.checks import NONE, Check, Level
from indexer.compiled import answers, blocks, emit
from indexer.compiled.people import address_set
from indexer.compiled.scan import Bytes, Flags, Ints
from indexer.decode.tables import LogTable, PerLog, TransferTable
from indexer.logpath import PADDING, Letters, LogPath, Logs, Output, Rare
from indexer.verify import Verifier

TABLES: Final = ("transaction", "tx_hash", "address_transaction", "token_transfer", "log")  # in the order of blocks.py


class _Block(wire.WireBlock, rename="camel", gc=False):
    transactions: msgspec.Raw  # type: ignore[assignment]


_blocks = msgspec.json.Decoder(_Block)


@dataclass(slots=True)
class Batch:
    """The blocks of one request: a row of spans for each transaction and each receipt, and where each block begins."""

    headers: Sequence[Block]
    checks: Check  # what they have to pass
    buf: Bytes
    txs: Ints
    dones: Ints
    firsts: Ints
    first_logs: Ints  # where each receipt's logs begin
    logs: Logs

    @property
    def count(self) -> int:
        """How many transactions there are."""
        return int(self.firsts[-1])

    @property
    def of(self) -> blocks.Txs:
        """Transactions and receipts for compiled code."""
        return blocks.Txs(self.buf, self.txs, self.logs.buf, self.dones, self.first_logs)


class HotPath(LogPath):
    """Encodes blocks of one chain that pass the checks of `level`, none without it.

    `per_log` are tables of few rows; `watched` as in indexer/watch.py, None for all.
    """

    def __init__(
        self,
        chain_id: int,
        transfer_table: TransferTable,
        log_table: LogTable,
        per_log: Sequence[PerLog] = (),
        watched: Collection[bytes] | None = None,
        *,
        level: Level | None = None,
    ) -> None:
        super().__init__(chain_id, transfer_table, log_table, per_log)
        self._level = level or Level(NONE)
        self._verifier = Verifier(chain_id)
        self._watch = blocks.Watch(watched is None, *address_set(watched or ()))
        self._follows = [np.zeros(names.count + 1, np.int32) for names in (answers.TX, answers.DONE)]

    def encode(self, raw_blocks: Sequence[bytes], raw_receipts: Sequence[bytes]) -> Piece:
        """Return the rows of consecutive blocks, from answers of eth_getBlockByNumber and eth_getBlockReceipts.

        Raises Unusual, and BadAnswer for a header that breaks the format.
        """
        try:
            found = [_blocks.decode(raw) for raw in raw_blocks]
        except wire.UNREADABLE as error:
            raise Unusual(str(error)) from None
        if len(raw_receipts) != len(found):
            raise Unusual(f"{len(found)} blocks, receipts of {len(raw_receipts)}")
        with self._alone:
            try:
                return self._rows(self._scanned(found, raw_receipts))
            except ValueError as error:
                self._forget()
                raise Unusual(f"blocks from {found[0].number}: {error}") from None

    def _scanned(self, found: Sequence[_Block], raw_receipts: Sequence[bytes]) -> Batch:
        """Scan and check."""
        take, count, letters = self._scratch.take, len(found), Letters.of(found)
        text = b"".join([*(block.transactions for block in found), PADDING])
        logs = self._logs(raw_receipts)
        receipts = len(logs.text) // answers.SHORTEST_RECEIPT
        batch = Batch(
            headers=(), checks=self._level.checks, buf=np.frombuffer(text, np.uint8), logs=logs,
            firsts=np.zeros(count + 1, np.int32),
            txs=take("txs", (len(text) // answers.SHORTEST_TX, answers.TX.count, 2)),
            dones=take("dones", (receipts, answers.DONE.count, 2)), first_logs=take("first logs", receipts + 1),
        )  # fmt: skip
        done_firsts, batch.first_logs[0] = np.zeros(count + 1, np.int32), 0
        answers.scan_txs(batch.buf, batch.txs, batch.firsts, self._follows[0])
        logs.count = answers.scan_receipts(
            logs.buf, batch.dones, done_firsts, logs.spans, batch.first_logs, self._follows[1], self._log_follows
        )
        blocks.check_places(
            batch.buf, batch.txs, logs.buf, batch.dones, batch.firsts, done_firsts, letters.hashes, letters.numbers,
            letters.number_starts,
        )  # fmt: skip
        blocks.check_logs(
            logs.buf, logs.spans, batch.first_logs, batch.buf, batch.txs, batch.firsts, letters.hashes, logs.places
        )
        totals = np.diff(batch.firsts).tolist()
        batch.headers = [_header(block, txs, batch.checks) for block, txs in zip(found, totals, strict=True)]
        return batch

    def _rows(self, batch: Batch) -> Piece:
        """Verify, sort and write."""
        logs = batch.logs
        self._verifier.check(batch.checks, batch.headers, batch.of, logs.spans, batch.firsts)
        self._sort(logs)
        rare = self._rare(logs, batch.headers)
        out = self._room(batch, len(rare.known))
        kept = self._scratch.take("kept", batch.count)[: batch.count]
        self._put(batch, rare, kept, out)
        stored = np.repeat(kept, np.diff(batch.first_logs[: batch.count + 1])).astype(bool)
        return Piece(
            headers=batch.headers,
            copies=out.copies,
            counts=out.counts,
            records=self._records(batch, kept, rare, stored),
            tokens=self._tokens(logs, rare, stored),
            upgraded=rare.upgrades(stored),
        )

    def _put(self, batch: Batch, rare: Rare, kept: Ints, out: Output) -> None:
        of, logs = batch.of, batch.logs.with_known(rare)
        numbers = np.array([header.number for header in batch.headers], np.int64)
        blocks.put_blocks(out.rows, self._chain, numbers, batch.firsts, of, logs, self._watch, self._crowd, kept)

    def _room(self, batch: Batch, known: int) -> Output:
        """Return room for the rows of each table, and for one row more, which is written before it is dropped."""
        txs, moves, text = batch.count + 1, batch.logs.count + known + 1, len(batch.logs.text)
        sizes = (
            txs * emit.TX_ROW + batch.buf.size + text, txs * emit.HASH_ROW, (3 * txs + 2 * moves) * emit.PERSON_ROW,
            moves * emit.TRANSFER_ROW, moves * emit.LOG_ROW_BYTES + text,
        )  # fmt: skip
        return self._output(TABLES, sizes)

    def _records(self, batch: Batch, kept: Ints, rare: Rare, stored: Flags) -> Mapping[str, Sequence[Row]]:
        """Return the rows of tables that have few."""
        rows: list[Row] = []
        for header, first, end in zip(batch.headers, batch.firsts, batch.firsts[1:], strict=False):
            count = None if self._watch.everything else int(kept[first:end].sum())
            rows.append(copy.header_row(self._chain, header, int(end - first), stored=count))
        return {"block": rows, **{each.table: rare.of_table(each.table, stored) for each in self._per_log}}


def _header(block: _Block, txs: int, checks: Check) -> Block:
    block.transactions = []  # type: ignore[assignment]
    return replace(wire.header_only(block), tx_total=txs, checks=int(checks))
