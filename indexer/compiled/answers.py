"""Answers of eth_getBlockByNumber, eth_getBlockReceipts and eth_getLogs to spans, a row per object: compiled.

Layout: execution-apis, schemas Transaction, Receipt and Log; the names are those of core/rpc/wire.py, whose checks
stand here again: what belongs to another block, transaction or place is refused.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from core.rpc.wire import RECEIPT_EXTRA, TX_EXTRA
from indexer.compiled.native import BYTES, INTS, SPANS, compiled, entry
from indexer.compiled.scan import (
    ABSENT,
    CLOSE,
    CLOSE_LIST,
    COLON,
    COMMA,
    NULL,
    OPEN,
    OPEN_LIST,
    QUOTE,
    Bytes,
    Ints,
    Names,
    after,
    blank,
    is_false,
    is_null,
    is_word,
    text_end,
    value_end,
)  # fmt: skip

HASH, ADDRESS, BLOOM = 66, 42, 514  # characters, 0x included

# Places in a transaction's row of spans.
(
    TX_HASH, TX_NONCE, TX_FROM, TX_VALUE, TX_GAS, TX_INPUT, TX_BLOCK_HASH, TX_BLOCK, TX_INDEX, TX_TO, TX_TYPE,
    TX_GAS_PRICE, TX_FEE_CAP, TX_TIP_CAP, TX_V, TX_R, TX_S, TX_MORE,
) = range(18)  # fmt: skip
TX: Final = Names(
    {
        "hash": HASH, "nonce": 0, "from": ADDRESS, "value": 0, "gas": 0, "input": 0, "blockHash": HASH,
        "blockNumber": 0, "transactionIndex": 0, "to": ADDRESS, "type": 3, "gasPrice": 0, "maxFeePerGas": 0,
        "maxPriorityFeePerGas": 0, "v": 0, "r": 0, "s": 0,
    },
    [sent_as for _, sent_as in TX_EXTRA],
)  # fmt: skip
(
    DONE_TX, DONE_INDEX, DONE_BLOCK_HASH, DONE_BLOCK, DONE_CUMULATIVE, DONE_GAS, DONE_BLOOM, DONE_CREATED, DONE_PRICE,
    DONE_STATUS, DONE_ROOT, DONE_LOGS, DONE_MORE,
) = range(13)  # fmt: skip
DONE: Final = Names(
    {
        "transactionHash": HASH, "transactionIndex": 0, "blockHash": HASH, "blockNumber": 0, "cumulativeGasUsed": 0,
        "gasUsed": 0, "logsBloom": BLOOM, "contractAddress": ADDRESS, "effectiveGasPrice": 0, "status": 3, "root": HASH,
    },
    ["logs", *(sent_as for _, sent_as in RECEIPT_EXTRA)],
)  # fmt: skip
(
    LOG_ADDRESS, LOG_DATA, LOG_BLOCK_HASH, LOG_TX, LOG_TX_INDEX, LOG_INDEX, LOG_BLOCK, LOG_TOPICS, LOG_REMOVED,
    LOG_TOPIC, _, _, _, LOG_ROW,
) = range(14)  # fmt: skip
LOG: Final = Names(
    {
        "address": ADDRESS, "data": 0, "blockHash": HASH, "transactionHash": HASH, "transactionIndex": 0,
        "logIndex": 0, "blockNumber": 0,
    },
    ["topics", "removed"],
)  # fmt: skip

# No object of these is shorter: a bound of how many a text can hold.
SHORTEST_TX, SHORTEST_RECEIPT, SHORTEST_LOG = 200, 600, 200
(
    TX_LETTERS, TX_STARTS, TX_SIZES, TX_TEXTS, DONE_LETTERS, DONE_STARTS, DONE_SIZES, DONE_TEXTS, LOG_LETTERS,
    LOG_STARTS, LOG_SIZES, LOG_TEXTS,
) = (*TX.table, *DONE.table, *LOG.table)  # fmt: skip

Long = npt.NDArray[np.int64]


@compiled
def name_at(buf: Bytes, at: int, letters: Bytes, starts: Long, follows: Ints, last: int) -> int:
    """Return which field's name stands at `at`, behind its quote; -1 for an unknown one.

    A node sends fields in one order: what followed `last` before is tried first.
    """
    guess = follows[last]
    if is_word(buf, at, letters, starts[guess], starts[guess + 1]):
        return int(guess)
    for key in range(starts.size - 1):
        if is_word(buf, at, letters, starts[key], starts[key + 1]):
            follows[last] = key
            return key
    return -1


@compiled
def put_text(buf: Bytes, at: int, size: int, spans: Ints, key: int) -> int:
    """Note the span of a string of probably `size` characters, or of null; return the place behind it."""
    if buf[at] == QUOTE:
        start = at + 1
        # Later its characters are proven to be hex digits: a quote among them is found then.
        end = start + size if size and buf[start + size] == QUOTE else text_end(buf, start)
        spans[key, 0], spans[key, 1] = start, end
        return end + 1
    if not is_null(buf, at):
        raise ValueError("a field that is no string")
    spans[key, 0] = NULL
    return at + 4


@compiled
def put_topics(buf: Bytes, at: int, spans: Ints) -> int:
    """Note the spans of up to four topics; return the place behind their list."""
    at, key = after(buf, at, OPEN_LIST), LOG_TOPIC
    while buf[at] != CLOSE_LIST:
        if key == LOG_ROW or buf[at] != QUOTE:
            raise ValueError("a log with more than four topics, or with one that is no string")
        at = blank(buf, put_text(buf, at, HASH, spans, key))
        key += 1
        if buf[at] == COMMA:
            at = blank(buf, at + 1)
            if buf[at] == CLOSE_LIST:
                raise ValueError("not the JSON that was expected")
        elif buf[at] != CLOSE_LIST:
            raise ValueError("not the JSON that was expected")
    return at + 1


@compiled
def scan_tx(buf: Bytes, at: int, spans: Ints, follows: Ints) -> int:
    """Note a transaction; return the place behind it."""
    at, last = after(buf, at, OPEN), TX_STARTS.size - 1
    spans[:, 0] = ABSENT
    while True:
        key, at = next_field(buf, at, TX_LETTERS, TX_STARTS, spans, follows, last)
        if key >= 0:
            last = key
        if 0 <= key < TX_TEXTS:
            at = put_text(buf, at, TX_SIZES[key], spans, key)
        else:
            at = put_value(buf, at, spans, key)
        at = blank(buf, at)
        if buf[at] == CLOSE:
            return at + 1
        at = after(buf, at, COMMA)


@compiled
def scan_receipt(
    buf: Bytes, at: int, spans: Ints, logs: Ints, log: int, follows: Ints, log_follows: Ints
) -> tuple[int, int]:
    """Note a receipt, and its logs from row `log` on; return the place behind it, and the next row."""
    at, last = after(buf, at, OPEN), DONE_STARTS.size - 1
    spans[:, 0] = ABSENT
    while True:
        key, at = next_field(buf, at, DONE_LETTERS, DONE_STARTS, spans, follows, last)
        if key >= 0:
            last = key
        if key == DONE_LOGS:
            spans[key, 0] = at
            at, log = scan_logs(buf, at, logs, log, log_follows)
        elif 0 <= key < DONE_TEXTS:
            at = put_text(buf, at, DONE_SIZES[key], spans, key)
        else:
            at = put_value(buf, at, spans, key)
        at = blank(buf, at)
        if buf[at] == CLOSE:
            return at + 1, log
        at = after(buf, at, COMMA)


@compiled
def scan_log(buf: Bytes, at: int, spans: Ints, follows: Ints) -> int:
    """Note a log; return the place behind it."""
    at, last = after(buf, at, OPEN), LOG_STARTS.size - 1
    spans[:, 0] = ABSENT
    while True:
        key, at = next_field(buf, at, LOG_LETTERS, LOG_STARTS, spans, follows, last)
        if key >= 0:
            last = key
        if key == LOG_TOPICS:
            spans[key, 0] = at
            at = put_topics(buf, at, spans)
        elif 0 <= key < LOG_TEXTS:
            at = put_text(buf, at, LOG_SIZES[key], spans, key)
        elif key == LOG_REMOVED and not is_false(buf, at):
            raise ValueError("a log that was removed")
        else:
            at = put_value(buf, at, spans, key)
        at = blank(buf, at)
        if buf[at] == CLOSE:
            return at + 1
        at = after(buf, at, COMMA)


@compiled
def next_field(
    buf: Bytes, at: int, letters: Bytes, starts: Long, spans: Ints, follows: Ints, last: int
) -> tuple[int, int]:
    """Return which field comes next, -1 for an unknown one, and where its value begins."""
    if buf[at] != QUOTE:
        raise ValueError("a field without a name")
    key = name_at(buf, at + 1, letters, starts, follows, last)
    if key < 0:
        return key, after(buf, text_end(buf, at + 1) + 1, COLON)
    if spans[key, 0] != ABSENT:
        raise ValueError("a field twice")
    return key, after(buf, at + 1 + starts[key + 1] - starts[key], COLON)


@compiled
def put_value(buf: Bytes, at: int, spans: Ints, key: int) -> int:
    """Note a value as it stands, unless its field is unknown; return the place behind it."""
    end = value_end(buf, at)
    if key >= 0:
        spans[key, 0], spans[key, 1] = at, end
    return end


@compiled
def scan_logs(buf: Bytes, at: int, logs: Ints, log: int, follows: Ints) -> tuple[int, int]:
    """Note a list of logs from row `log` on; return the place behind it, and the next row."""
    at = after(buf, at, OPEN_LIST)
    while buf[at] != CLOSE_LIST:
        if log == len(logs):
            raise ValueError("a log that is too short")
        at = next_item(buf, scan_log(buf, at, logs[log], follows))
        log += 1
    return at + 1, log


@compiled
def next_item(buf: Bytes, at: int) -> int:
    """Return where the next item of a list begins, behind the end of the last one, or where the list is closed."""
    at = blank(buf, at)
    if buf[at] == CLOSE_LIST:
        return at
    at = after(buf, at, COMMA)
    if buf[at] == CLOSE_LIST:
        raise ValueError("not the JSON that was expected")
    return at


@entry(BYTES, SPANS, INTS, INTS)
def scan_txs(buf: Bytes, spans: Ints, firsts: Ints, follows: Ints) -> int:
    """Note lists of transactions that lie one behind the other, a block each; `firsts` gets where each block begins."""
    at = count = 0
    for block in range(firsts.size - 1):
        at = after(buf, at, OPEN_LIST)
        while buf[at] != CLOSE_LIST:
            if count == len(spans):
                raise ValueError("a transaction that is too short")
            at = next_item(buf, scan_tx(buf, at, spans[count], follows))
            count += 1
        at = blank(buf, at + 1)
        firsts[block + 1] = count
    if buf[at] != 0:
        raise ValueError("more than a list of transactions")
    return count


@entry(BYTES, SPANS, INTS, SPANS, INTS, INTS, INTS)
def scan_receipts(
    buf: Bytes, spans: Ints, firsts: Ints, logs: Ints, first_logs: Ints, follows: Ints, log_follows: Ints
) -> int:
    """Note lists of receipts, a block each; `firsts` gets where each block begins, `first_logs` each receipt's."""
    at = count = log = 0
    for block in range(firsts.size - 1):
        at = after(buf, at, OPEN_LIST)
        while buf[at] != CLOSE_LIST:
            if count == len(spans):
                raise ValueError("a receipt that is too short")
            at, log = scan_receipt(buf, at, spans[count], logs, log, follows, log_follows)
            at = next_item(buf, at)
            count += 1
            first_logs[count] = log
        at = blank(buf, at + 1)
        firsts[block + 1] = count
    if buf[at] != 0:
        raise ValueError("more than a list of receipts")
    return log
