"""Events of some contracts without their transactions, from spans to rows: compiled; told in indexer/eventpath.py."""

from typing import Final

from indexer.compiled.answers import (
    HASH,
    LOG_BLOCK,
    LOG_BLOCK_HASH,
    LOG_INDEX,
    LOG_TX,
    LOG_TX_INDEX,
    scan_logs,
)
from indexer.compiled.blocks import MOST_INDEX, ROWS, Rows
from indexer.compiled.emit import put_place
from indexer.compiled.native import BYTES, INTS, LONGS, SPANS, TABLE, entry
from indexer.compiled.rows import LETTER_X, ZERO, Long, put_digits, put_int, put_integer, same_text, small
from indexer.compiled.scan import Bytes, Ints, blank

EVENT_TABLE: Final = 0  # the place among outputs, before those of blocks.py
EVENT_ROW: Final = 80  # bytes


@entry(BYTES, SPANS, INTS)
def scan_lists(buf: Bytes, logs: Ints, follows: Ints) -> int:
    """Note lists of logs that lie one behind the other; return how many logs there are."""
    at, log = blank(buf, 0), 0
    while buf[at] != 0:
        at, log = scan_logs(buf, at, logs, log, follows)
        at = blank(buf, at)
    return log


@entry(BYTES, SPANS, int, BYTES, BYTES, INTS, BYTES, INTS, TABLE)
def check_events(
    buf: Bytes, logs: Ints, count: int, hashes: Bytes, numbers: Bytes, number_starts: Ints, tx_hashes: Bytes,
    firsts: Ints, places: Ints,
) -> None:  # fmt: skip
    """Raise ValueError unless each log lies in one of the blocks, at the transaction that it names, in order.

    `hashes`, `numbers` as in check_places; `tx_hashes` are the letters of the hashes of all transactions, `firsts`
    where each block's begin. `places` gets (place of the block, index of the transaction, index of the log) of each.
    """
    block, last_tx, last_log = 0, -1, -1
    for at in range(count):
        log = logs[at]
        while not same_text(buf, log, LOG_BLOCK, numbers, number_starts[block], number_starts[block + 1]):
            block, last_tx, last_log = block + 1, -1, -1
            if block == firsts.size - 1:
                raise ValueError("logs of blocks that were not asked for, or blocks that are not in order")
        index, place = small(buf, log, LOG_TX_INDEX, MOST_INDEX), small(buf, log, LOG_INDEX, MOST_INDEX)
        if index < last_tx or place <= last_log:
            raise ValueError("logs that are not in order")
        tx = firsts[block] + index
        if not (
            tx < firsts[block + 1]
            and same_text(buf, log, LOG_BLOCK_HASH, hashes, HASH * block, HASH * block + HASH)
            and same_text(buf, log, LOG_TX, tx_hashes, HASH * tx, HASH * tx + HASH)
        ):
            raise ValueError("a log of a block or of a transaction that is another one here")
        places[at, 0], places[at, 1], places[at, 2] = block, index, place
        last_tx, last_log = index, place


@entry(ROWS, int, LONGS, TABLE, int, BYTES, INTS)
def put_event_txs(
    rows: Rows, chain: int, numbers: Long, places: Ints, count: int, tx_hashes: Bytes, firsts: Ints
) -> int:
    """Write a row of `event_transaction` for each transaction that has a log; return the place behind them."""
    out, to = rows.buffers[EVENT_TABLE], 0
    for at in range(count):
        block, index = places[at, 0], places[at, 1]
        if at and places[at - 1, 0] == block and places[at - 1, 1] == index:
            continue
        start = HASH * (firsts[block] + index)
        if tx_hashes[start] != ZERO or tx_hashes[start + 1] != LETTER_X:
            raise ValueError("the hash of a transaction is not hex data")
        to = put_integer(out, put_place(out, to, 4, chain, numbers[block]), index)
        to = put_digits(out, put_int(out, to, 32), tx_hashes, start + 2, 32)
        rows.counts[EVENT_TABLE] += 1
    return to
