"""Spans to rows of the chain's tables: compiled. Columns: core/store/copy.py, indexer/decode/tables.py."""

from typing import Final

from core.store.copy import Role
from indexer.compiled.answers import (
    DONE_BLOOM,
    DONE_CREATED,
    DONE_CUMULATIVE,
    DONE_GAS,
    DONE_LETTERS,
    DONE_MORE,
    DONE_PRICE,
    DONE_ROOT,
    DONE_STARTS,
    DONE_STATUS,
    LOG_ADDRESS,
    LOG_DATA,
    LOG_TOPIC,
    TX_FEE_CAP,
    TX_FROM,
    TX_GAS,
    TX_GAS_PRICE,
    TX_HASH,
    TX_INPUT,
    TX_LETTERS,
    TX_MORE,
    TX_NONCE,
    TX_R,
    TX_S,
    TX_STARTS,
    TX_TIP_CAP,
    TX_TO,
    TX_TYPE,
    TX_V,
    TX_VALUE,
)
from indexer.compiled.native import compiled
from indexer.compiled.people import SIZE
from indexer.compiled.rows import (
    Long,
    digits_start,
    put_bigint,
    put_bloom,
    put_copy,
    put_data,
    put_digits,
    put_hex,
    put_hex_or_null,
    put_int,
    put_integer,
    put_json,
    put_null,
    put_padded,
    put_quantity,
    put_quantity_or_null,
    put_short,
    put_smallint,
    put_word,
    small,
)
from indexer.compiled.scan import ABSENT, Bytes, Ints

# Transfers that Python decoded: (position, standard), (token, sender, recipient) and (amount, id) of each.
Known = tuple[Ints, Bytes, Bytes]

FROM, TO, CREATED, SENT, RECEIVED = (int(role) for role in Role)
U64: Final = 16  # hex digits
MOST_TYPE: Final = 0x7F  # EIP-2718

# What a log is to us: kept as it is; a Transfer of the form that nearly all have, of this or that standard; one that
# Python looks at.
KEEP, TRANSFER, ERC20, ERC721, RARE = 1, 2, 4, 8, 16

# No row is longer, apart from what the node sent at any length.
TX_ROW, HASH_ROW, PERSON_ROW, TRANSFER_ROW, LOG_ROW_BYTES = 1_200, 48, 64, 260, 260


@compiled
def put_tx(
    out: Bytes, to: int, chain: int, number: int, index: int, buf: Bytes, tx: Ints, done_buf: Bytes, done: Ints,
    work: Long,
) -> int:  # fmt: skip
    """Write a row of `transaction`."""
    to = put_place(out, to, 25, chain, number)
    to = put_integer(out, to, index)
    to = put_smallint(out, to, 0 if tx[TX_TYPE, 0] == ABSENT else small(buf, tx, TX_TYPE, MOST_TYPE))
    if done[DONE_STATUS, 0] < 0:
        to = put_null(out, to)
    else:
        to = put_smallint(out, to, small(done_buf, done, DONE_STATUS, 1))
    to = put_hex(out, to, buf, tx, TX_HASH, 32)
    to = put_hex(out, to, buf, tx, TX_FROM, SIZE)
    to = put_hex_or_null(out, to, buf, tx, TX_TO, SIZE)
    to = put_hex_or_null(out, to, done_buf, done, DONE_CREATED, SIZE)
    to = put_quantity(out, to, buf, tx, TX_VALUE, work, 64)
    to = put_quantity(out, to, buf, tx, TX_NONCE, work, U64)
    to = put_quantity(out, to, buf, tx, TX_GAS, work, U64)
    to = put_quantity(out, to, done_buf, done, DONE_GAS, work, U64)
    to = put_quantity(out, to, done_buf, done, DONE_CUMULATIVE, work, U64)
    to = put_quantity_or_null(out, to, buf, tx, TX_GAS_PRICE, work)
    to = put_quantity_or_null(out, to, done_buf, done, DONE_PRICE, work)
    to = put_quantity_or_null(out, to, buf, tx, TX_FEE_CAP, work)
    to = put_quantity_or_null(out, to, buf, tx, TX_TIP_CAP, work)
    to = put_quantity_or_null(out, to, buf, tx, TX_V, work)
    to = put_signature(out, to, buf, tx)
    to = put_hex_or_null(out, to, done_buf, done, DONE_ROOT, 32)
    to = put_bloom(out, to, done_buf, done, DONE_BLOOM)
    to = put_data(out, to, buf, tx, TX_INPUT)
    to = put_json(out, to, buf, tx, TX_MORE, TX_LETTERS, TX_STARTS)
    return put_json(out, to, done_buf, done, DONE_MORE, DONE_LETTERS, DONE_STARTS)


@compiled
def put_place(out: Bytes, to: int, columns: int, chain: int, number: int) -> int:
    """Write what every row begins with: its number of fields, chain and block."""
    return put_bigint(out, put_bigint(out, put_short(out, to, columns), chain), number)


@compiled
def put_signature(out: Bytes, to: int, buf: Bytes, tx: Ints) -> int:
    """Write r and s as one field of 64 bytes, null unless both are there."""
    begin, to = to, put_int(out, to, 64)
    # One without the other is proven all the same: a text is taken to end where it mostly does, and must be looked at.
    for key in (TX_R, TX_S):
        if tx[key, 0] >= 0:
            to = put_padded(out, to, buf, tx, key)
    return to if to == begin + 68 else put_null(out, begin)


@compiled
def put_hash(out: Bytes, to: int, chain: int, number: int, index: int, buf: Bytes, tx: Ints) -> int:
    """Write a row of `tx_hash`: the key is the first 8 bytes of the hash."""
    to = put_bigint(out, put_short(out, to, 4), chain)
    to = put_digits(out, put_int(out, to, 8), buf, digits_start(buf, tx, TX_HASH), 8)
    return put_integer(out, put_bigint(out, to, number), index)


@compiled
def put_log(
    out: Bytes, to: int, chain: int, number: int, log_index: int, index: int, buf: Bytes, log: Ints
) -> int:  # fmt: skip
    """Write a row of `log`."""
    to = put_place(out, to, 10, chain, number)
    to = put_integer(out, put_integer(out, to, log_index), index)
    to = put_hex(out, to, buf, log, LOG_ADDRESS, SIZE)
    for key in range(LOG_TOPIC, LOG_TOPIC + 4):
        to = put_hex_or_null(out, to, buf, log, key, 32)
    return put_data(out, to, buf, log, LOG_DATA)


@compiled
def put_transfer_start(
    out: Bytes, to: int, chain: int, number: int, log_index: int, position: int, index: int, standard: int
) -> int:
    """Write the first fields of a row of `token_transfer`."""
    to = put_integer(out, put_place(out, to, 11, chain, number), log_index)
    return put_smallint(out, put_integer(out, put_integer(out, to, position), index), standard)


@compiled
def put_transfer(
    out: Bytes, to: int, chain: int, number: int, log_index: int, index: int, kind: int, buf: Bytes, log: Ints,
    work: Long,
) -> int:  # fmt: skip
    """Write a row of `token_transfer` from a log whose kind is ERC20 or ERC721."""
    to = put_transfer_start(out, to, chain, number, log_index, 0, index, 20 if kind & ERC20 else 721)
    to = put_hex(out, to, buf, log, LOG_ADDRESS, SIZE)
    for key in (LOG_TOPIC + 1, LOG_TOPIC + 2):
        # An address is the lower 20 bytes of its word.
        to = put_digits(out, put_int(out, to, SIZE), buf, digits_start(buf, log, key) + 24, SIZE)
    if kind & ERC20:
        return put_null(out, put_quantity(out, to, buf, log, LOG_DATA, work, 64))
    return put_quantity(out, put_one(out, to), buf, log, LOG_TOPIC + 3, work, 64)


@compiled
def put_one(out: Bytes, to: int) -> int:
    """Write the number 1 as a field of type numeric."""
    to = put_short(out, put_short(out, put_int(out, to, 10), 1), 0)
    return put_short(out, put_int(out, to, 0), 1)


@compiled
def put_known_transfer(
    out: Bytes, to: int, chain: int, number: int, log_index: int, index: int, known: Known, row: int, work: Long
) -> int:
    """Write a row of `token_transfer` that Python decoded."""
    numbers, people, words = known
    to = put_transfer_start(out, to, chain, number, log_index, numbers[row, 0], index, numbers[row, 1])
    for who in range(3):
        to = put_copy(out, put_int(out, to, SIZE), people[row], SIZE * who, SIZE * who + SIZE)
    return put_word(out, put_word(out, to, words[row], 0, work), words[row], 32, work)


@compiled
def put_person(
    out: Bytes, to: int, chain: int, number: int, index: int, people: Bytes, roles: Ints, person: int
) -> int:
    """Write a row of `address_transaction`."""
    to = put_bigint(out, put_short(out, to, 5), chain)
    to = put_copy(out, put_int(out, to, SIZE), people[person], 0, SIZE)
    return put_smallint(out, put_integer(out, put_bigint(out, to, number), index), roles[person])
