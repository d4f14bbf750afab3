"""The hot path of events mode: headers and logs to rows, as indexer/hotpath.py does it for whole blocks. Pure.

Answers are of eth_getBlockByNumber without transactions, and of eth_getLogs over the same blocks for the watched
contracts. A log must lie in one of these blocks, at the transaction that it names, in ascending order.
"""

from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from typing import Final

import msgspec

from core.hex import from_quantity
from core.rpc import wire
from core.store import copy
from core.store.bulk import Piece
from core.types import Block
from indexer.decode.tables import EventTransactionTable
from indexer.hotpath import N32, Hash, HotPath, Log, Unusual

MAX_INDEX: Final = 2**31 - 1


class _Header(wire.WireBlock, rename="camel", gc=False):
    transactions: list[Hash]  # type: ignore[assignment]


_headers = msgspec.json.Decoder(_Header)
_logs = msgspec.json.Decoder(list[Log])


class EventPath(HotPath):
    """Encodes the headers of blocks and the events of some contracts."""

    def encode(self, raw_blocks: Sequence[bytes], raw_rest: Sequence[bytes]) -> Piece:
        """Return the rows of consecutive blocks from their headers and, in `raw_rest`, answers of eth_getLogs.

        Raises Unusual, and BadAnswer for a header that breaks the format.
        """
        self._begin()
        self._events = self._table(EventTransactionTable.columns)
        try:
            headers = [_headers.decode(raw) for raw in raw_blocks]
            logs = [log for raw in raw_rest for log in _logs.decode(raw)]
        except wire.UNREADABLE as error:
            raise Unusual(str(error)) from None
        by_block = {number: list(found) for number, found in groupby(logs, key=attrgetter("block_number"))}
        if sum(map(len, by_block.values())) != len(logs):
            raise Unusual("logs of one block are not side by side")
        for header in headers:
            self._add_block(header, by_block.pop(header.number, []))
        if by_block:
            raise Unusual(f"logs of blocks that were not asked for: {', '.join(map(str, by_block))}")
        return self._piece(event_transaction=self._events)

    def _add_block(self, found: _Header, logs: Sequence[Log]) -> None:
        header = wire.header_only(found)
        self._start(header)
        self._block_rows.append(copy.header_row(self._chain, header, len(found.transactions), stored=0))
        last_tx = last_log = -1
        for tx_index, of_tx in groupby(logs, key=attrgetter("transaction_index")):
            index = from_quantity(tx_index, MAX_INDEX)
            mine = list(of_tx)
            self._check(header, found, index, mine)
            numbers = [from_quantity(log.log_index, MAX_INDEX) for log in mine]
            if index <= last_tx or [last_log, *numbers] != sorted({last_log, *numbers}):
                raise Unusual(f"block {header.ref}: logs are not in order")
            last_tx, last_log = index, numbers[-1]
            self._reach(max(index, last_log) + 1)
            self._events.rows.append(
                f"{self._events.prefix}{self._at}{self._fields[index]}{N32}{found.transactions[index][2:]}"
            )
            roles: dict[str, int] = {}  # nobody asks for addresses here
            for number, log in zip(numbers, mine, strict=True):
                self._add_log(number, index, found.transactions[index], log, roles)

    def _check(self, header: Block, found: _Header, index: int, logs: Sequence[Log]) -> None:
        if index >= len(found.transactions) or found.transactions[index][:2] != "0x":
            raise Unusual(f"block {header.ref}: logs of transaction {index}, it has {len(found.transactions)}")
        tx_hash = found.transactions[index]
        for log in logs:
            if log.removed or log.block_hash != found.hash or log.transaction_hash != tx_hash:
                raise Unusual(f"block {header.ref}: log {log.log_index} is out of place")
