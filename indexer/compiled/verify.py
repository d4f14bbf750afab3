"""Blocks held to their own roots, blooms and hashes, from spans: compiled. The same in Python is core/verify.

Everything of a block that is to be hashed and depends on nothing else is written first, and hashed side by side: leaves
of both tries, transactions, addresses of created contracts, words of logs. Then come the branches (trie.py).
"""

from typing import Final, NamedTuple

from core.verify.checks import Check
from indexer.compiled.answers import (
    DONE_CREATED,
    DONE_CUMULATIVE,
    DONE_GAS,
    DONE_PRICE,
    DONE_STATUS,
    TX_FEE_CAP,
    TX_FROM,
    TX_GAS_PRICE,
    TX_HASH,
    TX_NONCE,
    TX_TIP_CAP,
    TX_TO,
)
from indexer.compiled.blocks import TXS, Txs
from indexer.compiled.bloom import SIZE as BLOOM_BYTES
from indexer.compiled.bloom import is_same, set_bits, unite
from indexer.compiled.emit import U64
from indexer.compiled.encode import NESTED, Nested, log_before, receipt_before, tx_before, type_of
from indexer.compiled.native import BYTES, INTS, LONGS, ROWS_OF_BYTES, SPANS, TABLE, Group, compiled, entry
from indexer.compiled.people import SIZE
from indexer.compiled.rlp import fixed_before, list_before, quantity_before
from indexer.compiled.rows import Long, digits_start, put_digits, small
from indexer.compiled.scan import Bytes, Ints
from indexer.compiled.trie import BENCH, MOST_ITEMS, Bench, hash_messages, leaf_before, ordered_root

GAS, RECEIPT_BLOOM, RECEIPTS_ROOT = int(Check.GAS), int(Check.RECEIPT_BLOOM), int(Check.RECEIPTS_ROOT)
TRANSACTIONS_ROOT, TX_HASH_CHECK, DERIVED = int(Check.TRANSACTIONS_ROOT), int(Check.TX_HASH), int(Check.DERIVED)
OF_TXS: Final = TRANSACTIONS_ROOT | TX_HASH_CHECK
OF_TYPES: Final = OF_TXS | RECEIPTS_ROOT  # what needs that a transaction's type is known

MOST: Final = (1 << 59) - 1  # gas, or wei for a unit of it; what is more is left to the careful path
NO_BASE_FEE: Final = -1

# Places in a row of `receipts`: where its bloom lies, and which messages are words of its logs.
BLOOM_AT, FIRST_WORD, END_WORD = range(3)
# Places in what is found of a block.
ROOT_OF_TXS, ROOT_OF_RECEIPTS, UNION, FOUND = 0, 32, 64, 64 + BLOOM_BYTES


class Room(NamedTuple):
    """What checking needs besides `Bench`, and what it finds of each block.

    `receipts` are (place of the bloom, first word, end of words), `word` a bloom. `found` has, for each block, both
    roots and the union of its blooms, `gas` what all its transactions used. `at` is the block that is looked at, and
    the transaction that fails.
    """

    bench: Bench
    nested: Nested
    receipts: Ints
    word: Bytes
    found: Bytes
    gas: Long
    at: Ints


ROOM: Final = Group((BENCH, NESTED, TABLE, BYTES, ROWS_OF_BYTES, LONGS, INTS), Room)  # for the compiler (native.py)


@compiled
def note(bench: Bench, message: int, start: int, end: int) -> None:
    """Note what is to be hashed."""
    bench.messages[message, 0], bench.messages[message, 1] = start, end


@compiled
def put_txs(room: Room, at: int, checks: int, chain: int, of: Txs, first: int, end: int) -> int:
    """Write transactions as leaves; messages are the leaves, and behind both tries' leaves the transactions.

    Returns where they begin, as all that write do here.
    """
    bench, count = room.bench, end - first
    for i in range(count):
        behind = at
        if checks & OF_TXS:
            kind = type_of(of.buf, of.txs[first + i])
            at = tx_before(bench.out, at, chain, of.buf, of.txs[first + i], kind, room.nested)
        note(bench, 2 * count + i, at, behind)
        if checks & TRANSACTIONS_ROOT:
            at = leaf_before(bench.out, at, behind, i, count)
        note(bench, i, at, behind)
    return at


@compiled
def put_receipts(
    room: Room, at: int, checks: int, of: Txs, logs: Ints, first: int, end: int, words: int
) -> tuple[int, int]:
    """Write receipts as leaves, and note the words of their logs as messages from `words` on; return the next too."""
    bench, count = room.bench, end - first
    for i in range(count):
        tx, behind = first + i, at
        room.receipts[i, FIRST_WORD] = words
        for log in range(of.first_logs[tx + 1] - 1, of.first_logs[tx] - 1, -1):
            at, words = log_before(bench.out, at, of.done_buf, logs[log], bench.messages, words)
        room.receipts[i, END_WORD] = words
        kind = type_of(of.buf, of.txs[tx]) if checks & OF_TYPES else 0
        at, room.receipts[i, BLOOM_AT] = receipt_before(bench.out, at, behind, of.done_buf, of.dones[tx], kind)
        at = leaf_before(bench.out, at, behind, i, count)
        note(bench, count + i, at, behind if checks & RECEIPTS_ROOT else at)
    return at, words


@compiled
def put_created(room: Room, at: int, of: Txs, first: int, end: int, messages: int) -> tuple[int, int]:
    """Write what the addresses of created contracts are hashes of: sender and nonce (Yellow Paper, section 7)."""
    for tx in range(first, end):
        sent, behind = of.txs[tx], at
        if sent[TX_TO, 0] < 0:
            at = quantity_before(room.bench.out, at, of.buf, sent, TX_NONCE, U64)
            at = list_before(room.bench.out, fixed_before(room.bench.out, at, of.buf, sent, TX_FROM, SIZE), behind)
            note(room.bench, messages, at, behind)
            messages += 1
    return at, messages


@compiled
def is_hash(room: Room, buf: Bytes, spans: Ints, key: int, message: int, skip: int) -> bool:
    """Whether a field's text is the hash of a message without its first `skip` bytes."""
    start, size = digits_start(buf, spans, key), 32 - skip
    if spans[key, 1] - start != 2 * size:
        return False
    put_digits(room.word, 0, buf, start, size)
    different = room.word[0] ^ room.bench.digests[message, skip]
    for i in range(1, size):
        different |= room.word[i] ^ room.bench.digests[message, skip + i]
    return not different


@compiled
def check_hashes(room: Room, of: Txs, first: int, end: int) -> bool:
    """Whether each transaction's hash is that of its encoding."""
    for i in range(end - first):
        if not is_hash(room, of.buf, of.txs[first + i], TX_HASH, 2 * (end - first) + i, 0):
            room.at[1] = i
            return False
    return True


@compiled
def check_gas(room: Room, block: int, of: Txs, first: int, end: int) -> bool:
    """Whether cumulativeGasUsed grows by gasUsed; what all used is noted."""
    total = 0
    for tx in range(first, end):
        total += small(of.done_buf, of.dones[tx], DONE_GAS, MOST)
        if small(of.done_buf, of.dones[tx], DONE_CUMULATIVE, MOST) != total:
            room.at[1] = tx - first
            return False
    room.gas[block] = total
    return True


@compiled
def check_blooms(room: Room, block: int, checks: int, count: int) -> bool:
    """Whether each receipt's bloom is that of its logs; their union is noted."""
    union = room.found[block, UNION:]
    union[:] = 0
    for i in range(count):
        given = room.bench.out[room.receipts[i, BLOOM_AT] : room.receipts[i, BLOOM_AT] + BLOOM_BYTES]
        if checks & RECEIPT_BLOOM:
            room.word[:] = 0
            for word in range(room.receipts[i, FIRST_WORD], room.receipts[i, END_WORD]):
                set_bits(room.word, room.bench.digests[word])
            if not is_same(room.word, given):
                room.at[1] = i
                return False
        unite(union, given)
    return True


@compiled
def check_price(buf: Bytes, tx: Ints, done_buf: Bytes, done: Ints, base_fee: int) -> bool:
    """Whether gasPrice and effectiveGasPrice follow from what the transaction bids (EIP-1559)."""
    # Without gasPrice, or with prices beyond MOST, it is left to the careful path.
    found = price = small(buf, tx, TX_GAS_PRICE, MOST)
    if tx[TX_FEE_CAP, 0] >= 0 and tx[TX_TIP_CAP, 0] >= 0 and base_fee != NO_BASE_FEE:
        price = min(small(buf, tx, TX_FEE_CAP, MOST), base_fee + small(buf, tx, TX_TIP_CAP, MOST))
    return found == price and (done[DONE_PRICE, 0] < 0 or small(done_buf, done, DONE_PRICE, MOST) == price)


@compiled
def check_created(room: Room, done_buf: Bytes, done: Ints, message: int) -> bool:
    """Whether contractAddress of a creation is the hash that `message` has; of a failed one some nodes name none."""
    if done[DONE_CREATED, 0] < 0:
        return done[DONE_STATUS, 0] < 0 or small(done_buf, done, DONE_STATUS, 1) == 0
    return is_hash(room, done_buf, done, DONE_CREATED, message, 32 - SIZE)


@compiled
def check_derived(room: Room, of: Txs, first: int, end: int, base_fee: int, messages: int) -> bool:
    """Whether contractAddress and prices follow from the transactions; created addresses are the given messages."""
    for tx in range(first, end):
        sent, done = of.txs[tx], of.dones[tx]
        if sent[TX_TO, 0] < 0:
            right = check_created(room, of.done_buf, done, messages)
            messages += 1
        else:
            right = done[DONE_CREATED, 0] < 0
        if not right or not check_price(of.buf, sent, of.done_buf, done, base_fee):
            room.at[1] = tx - first
            return False
    return True


@compiled
def put_root(room: Room, at: int, block: int, place: int, leaves: int, count: int, messages: int) -> int:
    """Note the root of the leaves from message `leaves` on."""
    root, at = ordered_root(room.bench, at, leaves, count, messages)
    for i in range(32):
        room.found[block, place + i] = room.bench.digests[root, i]
    return at


@compiled
def check_block(
    room: Room, block: int, checks: int, chain: int, base_fee: int, of: Txs, logs: Ints, first: int, end: int
) -> int:
    """Return the first of `checks` that a block does not pass, 0 for none, as far as its header is not needed."""
    count, at = end - first, room.bench.out.size
    if count > MOST_ITEMS:
        raise ValueError("more transactions in a block than are expected")
    if checks & GAS and not check_gas(room, block, of, first, end):
        return GAS
    at = put_txs(room, at, checks, chain, of, first, end)
    created = words = 3 * count
    if checks & DERIVED:
        at, words = put_created(room, at, of, first, end, created)
    at, messages = put_receipts(room, at, checks, of, logs, first, end, words)
    hash_messages(room.bench, 0, messages)
    if not check_blooms(room, block, checks, count):
        return RECEIPT_BLOOM
    if checks & TX_HASH_CHECK and not check_hashes(room, of, first, end):
        return TX_HASH_CHECK
    if checks & DERIVED and not check_derived(room, of, first, end, base_fee, created):
        return DERIVED
    if checks & RECEIPTS_ROOT:
        at = put_root(room, at, block, ROOT_OF_RECEIPTS, count, count, messages)
    if checks & TRANSACTIONS_ROOT:
        put_root(room, at, block, ROOT_OF_TXS, 0, count, messages)
    return 0


@entry(ROOM, int, int, LONGS, TXS, SPANS, INTS)
def check_blocks(room: Room, checks: int, chain: int, base_fees: Long, of: Txs, logs: Ints, firsts: Ints) -> int:
    """Return the first of `checks` that a block does not pass, 0 if all pass all; `at` gets the block, and where in it.

    What the headers must agree with is in `found` and `gas` then. Raises ValueError for what has no encoding that is
    known here; `at` has the block then as well.
    """
    for block in range(firsts.size - 1):
        room.at[0] = block
        failed = check_block(room, block, checks, chain, base_fees[block], of, logs, firsts[block], firsts[block + 1])
        if failed:
            return failed
    return 0
