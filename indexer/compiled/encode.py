"""Transactions and receipts as the bytes that Ethereum hashes, from the text a node sent: compiled.

Sources: those of core/verify/encode.py, which says the same in Python; types 0 to 4. Lists inside a transaction (access
lists, blob hashes, authorizations) are read here: the scan leaves them as one span.
"""

from typing import Final, NamedTuple

import numpy as np

from indexer.compiled.answers import (
    ADDRESS,
    DONE_BLOOM,
    DONE_CUMULATIVE,
    DONE_ROOT,
    DONE_STATUS,
    HASH,
    LOG_ADDRESS,
    LOG_DATA,
    LOG_TOPIC,
    TX_FEE_CAP,
    TX_GAS,
    TX_GAS_PRICE,
    TX_INPUT,
    TX_MORE,
    TX_NONCE,
    TX_R,
    TX_S,
    TX_TIP_CAP,
    TX_TO,
    TX_TYPE,
    TX_V,
    TX_VALUE,
    next_field,
    next_item,
    put_text,
)
from indexer.compiled.emit import U64
from indexer.compiled.native import INTS, TABLE, Group, compiled
from indexer.compiled.people import SIZE
from indexer.compiled.rlp import (
    STRING,
    byte_before,
    bytes_before,
    data_before,
    fixed_before,
    head_before,
    list_before,
    number_before,
    quantity_before,
)
from indexer.compiled.rows import small
from indexer.compiled.scan import (
    ABSENT,
    CLOSE,
    CLOSE_LIST,
    COLON,
    COMMA,
    OPEN,
    OPEN_LIST,
    QUOTE,
    Bytes,
    Ints,
    Names,
    after,
    blank,
    is_word,
)

LAST_TYPE: Final = 4
BLOOM_SIZE: Final = 256
U256: Final = 64  # hex digits
TX_ACCESS_LIST, TX_BLOB_FEE_CAP, TX_BLOB_HASHES, TX_AUTHORIZATIONS = range(TX_MORE, TX_MORE + 4)

ACCESS_NAMES: Final = np.frombuffer(b'"address""storageKeys"', np.uint8)
(GRANT_CHAIN, GRANT_ADDRESS, GRANT_NONCE, GRANT_PARITY, GRANT_R, GRANT_S) = range(6)
GRANT_FIELDS: Final = 6
GRANT_LETTERS, GRANT_STARTS, GRANT_SIZES, _ = Names(
    {"chainId": 0, "address": ADDRESS, "nonce": 0, "yParity": 0, "r": 0, "s": 0}, []
).table


class Nested(NamedTuple):
    """Room to read the lists inside a transaction: a span for each text in them; which field follows which."""

    texts: Ints
    follows: Ints


NESTED: Final = Group((TABLE, INTS), Nested)  # for the compiler (native.py)


@compiled
def note_text(buf: Bytes, at: int, size: int, texts: Ints, row: int) -> int:
    """Note the span of a string of `size` characters; return the place behind it."""
    if row == len(texts):
        raise ValueError("more values inside a transaction than there is room for")
    at = put_text(buf, at, size, texts, row)
    if texts[row, 0] < 0 or texts[row, 1] - texts[row, 0] != size:
        raise ValueError("hex data of another size")
    return at


@compiled
def note_texts(buf: Bytes, at: int, size: int, texts: Ints, row: int) -> tuple[int, int]:
    """Note a list of strings of `size` characters from `row` on; return the place behind it, and the next row."""
    at = after(buf, at, OPEN_LIST)
    while buf[at] != CLOSE_LIST:
        at = next_item(buf, note_text(buf, at, size, texts, row))
        row += 1
    return at + 1, row


@compiled
def behind_name(buf: Bytes, at: int, start: int, end: int) -> int:
    """Return where the value of the field begins whose name, quotes included, is this part of ACCESS_NAMES."""
    if not is_word(buf, at, ACCESS_NAMES, start, end):
        raise ValueError("an access list of another form")
    return after(buf, at + end - start, COLON)


@compiled
def note_access_list(buf: Bytes, at: int, texts: Ints) -> int:
    """Note each address with its storage keys behind it; return how many texts these are.

    All nodes known to us send the address first; what comes in another order is left to the careful path.
    """
    row = 0
    at = after(buf, at, OPEN_LIST)
    while buf[at] != CLOSE_LIST:
        at = behind_name(buf, after(buf, at, OPEN), 0, 9)
        at = after(buf, note_text(buf, at, ADDRESS, texts, row), COMMA)
        at, row = note_texts(buf, behind_name(buf, at, 9, 22), HASH, texts, row + 1)
        at = blank(buf, at)
        if buf[at] != CLOSE:
            raise ValueError("an access list of another form")
        at = next_item(buf, at + 1)
    return row


@compiled
def access_list_before(out: Bytes, at: int, buf: Bytes, tx: Ints, texts: Ints) -> int:
    """Write a transaction's access list (EIP-2930); none is an empty one."""
    end = entry_end = at
    count = 0 if tx[TX_ACCESS_LIST, 0] == ABSENT else note_access_list(buf, tx[TX_ACCESS_LIST, 0], texts)
    for row in range(count - 1, -1, -1):
        if texts[row, 1] - texts[row, 0] == HASH:
            at = fixed_before(out, at, buf, texts, row, 32)
        else:
            at = fixed_before(out, list_before(out, at, entry_end), buf, texts, row, SIZE)
            at = entry_end = list_before(out, at, entry_end)
    return list_before(out, at, end)


@compiled
def blobs_before(out: Bytes, at: int, buf: Bytes, tx: Ints, texts: Ints) -> int:
    """Write maxFeePerBlobGas and blobVersionedHashes (EIP-4844)."""
    end, count = at, 0
    start, behind = tx[TX_BLOB_FEE_CAP, 0], tx[TX_BLOB_FEE_CAP, 1]
    if start < 0 or buf[start] != QUOTE or tx[TX_AUTHORIZATIONS, 0] != ABSENT:
        raise ValueError("a transaction of type 3 without a field, or with one that it does not have")
    if tx[TX_BLOB_HASHES, 0] != ABSENT:
        _, count = note_texts(buf, tx[TX_BLOB_HASHES, 0], HASH, texts, 0)
    for row in range(count - 1, -1, -1):
        at = fixed_before(out, at, buf, texts, row, 32)
    at = list_before(out, at, end)
    texts[0, 0], texts[0, 1] = start + 1, behind - 1
    return quantity_before(out, at, buf, texts, 0, U256)


@compiled
def note_grants(buf: Bytes, at: int, nested: Nested) -> int:
    """Note the fields of each authorization; return how many there are."""
    count = 0
    at = after(buf, at, OPEN_LIST)
    while buf[at] != CLOSE_LIST:
        if GRANT_FIELDS * (count + 1) > len(nested.texts):
            raise ValueError("more values inside a transaction than there is room for")
        texts = nested.texts[GRANT_FIELDS * count : GRANT_FIELDS * (count + 1)]
        texts[:, 0] = ABSENT
        at, last = after(buf, at, OPEN), GRANT_FIELDS
        while True:
            last, at = next_field(buf, at, GRANT_LETTERS, GRANT_STARTS, texts, nested.follows, last)
            if last < 0:
                raise ValueError("an authorization with a field that is not known")
            at = blank(buf, put_text(buf, at, GRANT_SIZES[last], texts, last))
            if buf[at] == CLOSE:
                break
            at = after(buf, at, COMMA)
        count, at = count + 1, next_item(buf, at + 1)
    return count


@compiled
def grants_before(out: Bytes, at: int, buf: Bytes, tx: Ints, nested: Nested) -> int:
    """Write authorizationList (EIP-7702)."""
    end = at
    if tx[TX_BLOB_FEE_CAP, 0] != ABSENT or tx[TX_BLOB_HASHES, 0] != ABSENT:
        raise ValueError("a transaction of type 4 with a field that it does not have")
    count = 0 if tx[TX_AUTHORIZATIONS, 0] == ABSENT else note_grants(buf, tx[TX_AUTHORIZATIONS, 0], nested)
    for each in range(count - 1, -1, -1):
        texts, grant_end = nested.texts[GRANT_FIELDS * each : GRANT_FIELDS * (each + 1)], at
        at = quantity_before(out, at, buf, texts, GRANT_S, U256)
        at = quantity_before(out, at, buf, texts, GRANT_R, U256)
        at = quantity_before(out, at, buf, texts, GRANT_PARITY, U256)
        at = quantity_before(out, at, buf, texts, GRANT_NONCE, U64)
        at = fixed_before(out, at, buf, texts, GRANT_ADDRESS, SIZE)
        at = list_before(out, quantity_before(out, at, buf, texts, GRANT_CHAIN, U256), grant_end)
    return list_before(out, at, end)


@compiled
def type_of(buf: Bytes, tx: Ints) -> int:
    """Return a transaction's type, one that is known here."""
    return 0 if tx[TX_TYPE, 0] == ABSENT else small(buf, tx, TX_TYPE, LAST_TYPE)


@compiled
def lists_before(out: Bytes, at: int, buf: Bytes, tx: Ints, kind: int, nested: Nested) -> int:
    """Write what typed transactions have between input and signature."""
    if kind == 4:
        at = grants_before(out, at, buf, tx, nested)
    elif kind == 3:
        at = blobs_before(out, at, buf, tx, nested.texts)
    elif tx[TX_BLOB_FEE_CAP, 0] != ABSENT or tx[TX_BLOB_HASHES, 0] != ABSENT or tx[TX_AUTHORIZATIONS, 0] != ABSENT:
        raise ValueError("a transaction with a field that its type does not have")
    return access_list_before(out, at, buf, tx, nested.texts)


@compiled
def to_before(out: Bytes, at: int, buf: Bytes, tx: Ints) -> int:
    """Write the address that a transaction is sent to; none if it creates a contract."""
    return byte_before(out, at, STRING) if tx[TX_TO, 0] < 0 else fixed_before(out, at, buf, tx, TX_TO, SIZE)


@compiled
def tx_before(out: Bytes, at: int, chain: int, buf: Bytes, tx: Ints, kind: int, nested: Nested) -> int:
    """Write a transaction of type `kind`, as its hash is of it."""
    end = at
    at = quantity_before(out, at, buf, tx, TX_S, U256)
    at = quantity_before(out, at, buf, tx, TX_R, U256)
    at = quantity_before(out, at, buf, tx, TX_V, U256)
    if kind:
        at = lists_before(out, at, buf, tx, kind, nested)
    at = data_before(out, at, buf, tx, TX_INPUT)
    at = quantity_before(out, at, buf, tx, TX_VALUE, U256)
    at = to_before(out, at, buf, tx)
    at = quantity_before(out, at, buf, tx, TX_GAS, U64)
    if kind >= 2:
        at = quantity_before(out, at, buf, tx, TX_FEE_CAP, U256)
        at = quantity_before(out, at, buf, tx, TX_TIP_CAP, U256)
    else:
        at = quantity_before(out, at, buf, tx, TX_GAS_PRICE, U256)
    at = quantity_before(out, at, buf, tx, TX_NONCE, U64)
    if not kind:
        return list_before(out, at, end)
    return byte_before(out, list_before(out, number_before(out, at, chain), end), kind)


@compiled
def log_before(out: Bytes, at: int, buf: Bytes, log: Ints, messages: Ints, words: int) -> tuple[int, int]:
    """Write a log; note where its address and its topics are, from `words` on; return where it begins, and the next."""
    end, at = at, data_before(out, at, buf, log, LOG_DATA)
    topics_end = at
    for key in range(LOG_TOPIC + 3, LOG_TOPIC - 1, -1):
        if log[key, 0] >= 0:
            at = bytes_before(out, at, buf, log, key, 32)
            messages[words, 0], messages[words, 1] = at, at + 32
            at, words = byte_before(out, at, STRING + 32), words + 1
    at = bytes_before(out, list_before(out, at, topics_end), buf, log, LOG_ADDRESS, SIZE)
    messages[words, 0], messages[words, 1] = at, at + SIZE
    return list_before(out, byte_before(out, at, STRING + SIZE), end), words + 1


@compiled
def receipt_before(out: Bytes, at: int, end: int, buf: Bytes, done: Ints, kind: int) -> tuple[int, int]:
    """Write a receipt before its logs, which lie from `at` to `end`; return where it begins, and where its bloom."""
    at = bytes_before(out, list_before(out, at, end), buf, done, DONE_BLOOM, BLOOM_SIZE)
    bloom, at = at, quantity_before(out, head_before(out, at, STRING, BLOOM_SIZE), buf, done, DONE_CUMULATIVE, U64)
    if done[DONE_ROOT, 0] >= 0:  # before EIP-658
        at = fixed_before(out, at, buf, done, DONE_ROOT, 32)
    else:
        at = number_before(out, at, small(buf, done, DONE_STATUS, 1))
    at = list_before(out, at, end)
    return (byte_before(out, at, kind) if kind else at), bloom
