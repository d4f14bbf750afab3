"""The hot path of events mode: headers and logs to rows, as indexer/hotpath.py does it for whole blocks.

Answers are of eth_getBlockByNumber without transactions, and of eth_getLogs over the same blocks for the watched
contracts. A log must lie in one of these blocks, at the transaction that it names, in ascending order.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Final

import msgspec
import numpy as np
from msgspec import Meta

from core.rpc import wire
from core.store import copy
from core.store.bulk import Piece, Unusual
from core.types import Block
from core.verify.checks import NONE, OF_HEADER, Level
from indexer.compiled import answers, blocks, emit, events
from indexer.compiled.scan import Bytes, Ints
from indexer.decode.tables import LogTable, PerLog, TransferTable
from indexer.logpath import Letters, LogPath, Logs
from indexer.verify import check_headers

# In the order of compiled/events.py and compiled/blocks.py; what has no name has no rows here.
TABLES: Final = ("event_transaction", "", "", "token_transfer", "log")

Hash = Annotated[str, Meta(min_length=answers.HASH, max_length=answers.HASH)]


class _Header(wire.WireBlock, rename="camel", gc=False):
    transactions: list[Hash]  # type: ignore[assignment]


_headers = msgspec.json.Decoder(_Header)


class EventPath(LogPath):
    """Encodes the headers of blocks and the events of some contracts.

    Of the checks of `level` those are made that a header passes by itself. Without receipts nothing shows that no event
    is missing.
    """

    def __init__(
        self,
        chain_id: int,
        transfer_table: TransferTable,
        log_table: LogTable,
        per_log: Sequence[PerLog] = (),
        *,
        level: Level | None = None,
    ) -> None:
        super().__init__(chain_id, transfer_table, log_table, per_log)
        self._level = level or Level(NONE)

    def encode(self, raw_blocks: Sequence[bytes], raw_rest: Sequence[bytes]) -> Piece:
        """Return the rows of consecutive blocks from their headers and, in `raw_rest`, answers of eth_getLogs.

        Raises Unusual, and BadAnswer for a header that breaks the format.
        """
        try:
            found = [_headers.decode(raw) for raw in raw_blocks]
        except wire.UNREADABLE as error:
            raise Unusual(str(error)) from None
        with self._alone:
            try:
                return self._rows(found, self._logs(raw_rest))
            except ValueError as error:
                self._forget()
                raise Unusual(f"blocks from {found[0].number}: {error}") from None

    def _rows(self, found: Sequence[_Header], logs: Logs) -> Piece:
        checks = self._level.checks & OF_HEADER
        headers = [replace(wire.header_only(each), checks=int(checks)) for each in found]
        check_headers(checks, headers, self._chain)
        tx_hashes, firsts = _tx_hashes(found)
        self._check(found, logs, tx_hashes, firsts)
        self._sort(logs)
        rare = self._rare(logs, headers)
        moves = logs.count + len(rare.known) + 1
        sizes = (
            moves * events.EVENT_ROW, 0, 0, moves * emit.TRANSFER_ROW, moves * emit.LOG_ROW_BYTES + len(logs.text),
        )  # fmt: skip
        out = self._output(TABLES, sizes)
        numbers = np.array([header.number for header in headers], np.int64)
        out.rows.ends[events.EVENT_TABLE] = events.put_event_txs(
            out.rows, self._chain, numbers, logs.places, logs.count, tx_hashes, firsts
        )
        firsts = np.searchsorted(logs.places[: logs.count, 0], np.arange(len(numbers) + 1)).astype(np.int32)
        blocks.put_logs_of_blocks(out.rows, self._chain, numbers, firsts, logs.with_known(rare))
        stored = np.ones(logs.count, bool)
        return Piece(
            headers=headers, copies=out.copies, counts=out.counts,
            records={
                "block": [_row(self._chain, header) for header in headers],
                **{each.table: rare.of_table(each.table, stored) for each in self._per_log},
            },
            tokens=self._tokens(logs, rare, stored), upgraded=rare.upgrades(stored),
        )  # fmt: skip

    def _check(self, found: Sequence[_Header], logs: Logs, tx_hashes: Bytes, firsts: Ints) -> None:
        letters = Letters.of(found)
        logs.count = events.scan_lists(logs.buf, logs.spans, self._log_follows)
        events.check_events(
            logs.buf, logs.spans, logs.count, letters.hashes, letters.numbers, letters.number_starts, tx_hashes, firsts,
            logs.places,
        )  # fmt: skip


def _row(chain_id: int, header: Block) -> copy.Row:
    return copy.header_row(chain_id, header, header.tx_total or 0, stored=0)


def _tx_hashes(found: Sequence[_Header]) -> tuple[Bytes, Ints]:
    """Return the letters of the hashes of all transactions, and where each block's begin."""
    text = "".join(each for header in found for each in header.transactions).encode()
    firsts = np.cumsum([0, *(len(header.transactions) for header in found)], dtype=np.int32)
    if len(text) != answers.HASH * int(firsts[-1]):
        raise ValueError("the hash of a transaction is not hex data")
    return np.frombuffer(text, np.uint8), firsts
