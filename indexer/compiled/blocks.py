"""Whole blocks, from spans to rows of all tables: compiled. What it does is told in indexer/hotpath.py."""

from typing import Final, NamedTuple

from indexer.compiled.answers import (
    DONE_BLOCK,
    DONE_BLOCK_HASH,
    DONE_CREATED,
    DONE_INDEX,
    DONE_TX,
    HASH,
    LOG_ADDRESS,
    LOG_BLOCK,
    LOG_BLOCK_HASH,
    LOG_DATA,
    LOG_INDEX,
    LOG_TOPIC,
    LOG_TOPICS,
    LOG_TX,
    LOG_TX_INDEX,
    TX_BLOCK,
    TX_BLOCK_HASH,
    TX_FROM,
    TX_HASH,
    TX_INDEX,
    TX_TO,
)
from indexer.compiled.emit import (
    CREATED,
    ERC20,
    ERC721,
    FROM,
    KEEP,
    RARE,
    RECEIVED,
    SENT,
    TO,
    TRANSFER,
    Known,
    put_hash,
    put_known_transfer,
    put_log,
    put_person,
    put_transfer,
    put_tx,
)
from indexer.compiled.native import (
    BYTES,
    FLAGS,
    INTS,
    LONGS,
    ROWS_OF_BYTES,
    SPANS,
    TABLE,
    Group,
    compiled,
    entry,
)
from indexer.compiled.people import FREE, SIZE, join, leave, member
from indexer.compiled.rows import WORTH, Long, digits_start, put_copy, put_digits, same_text, small
from indexer.compiled.scan import ABSENT, Bytes, Flags, Ints

MOST_INDEX: Final = 2**31 - 1

# Places of the tables among buffers.
TX_TABLE, HASH_TABLE, PERSON_TABLE, TRANSFER_TABLE, LOG_TABLE = range(5)
# Members and places of a set of addresses, and what each member is worth.
Kinds = tuple[Bytes, Ints, Ints]


class Txs(NamedTuple):
    """Transactions and their receipts: text, spans, and where each receipt's logs begin."""

    buf: Bytes
    txs: Ints
    done_buf: Bytes
    dones: Ints
    first_logs: Ints


class Logs(NamedTuple):
    """Logs: text, spans, (block, transaction, index) of each, its contract, what it is to us.

    `known` are transfers that Python decoded, `known_firsts` where those of each log begin.
    """

    buf: Bytes
    spans: Ints
    places: Ints
    addresses: Bytes
    kinds: Ints
    known_firsts: Ints
    known: Known


class Rows(NamedTuple):
    """Rows as they are written: a buffer for each table, where its rows end, and how many they are."""

    buffers: tuple[Bytes, ...]
    ends: Long
    counts: Long
    work: Long


class Crowd(NamedTuple):
    """Addresses that take part in one transaction, each with its roles, and their places."""

    people: Bytes
    roles: Ints
    slots: Ints


class Watch(NamedTuple):
    """Whether all transactions are stored; else those that concern a member."""

    everything: int
    members: Bytes
    slots: Ints


# The same for the compiler (native.py).
KINDS: Final = Group((ROWS_OF_BYTES, INTS, INTS))
TXS: Final = Group((BYTES, SPANS, BYTES, SPANS, INTS), Txs)
KNOWN: Final = Group((TABLE, ROWS_OF_BYTES, ROWS_OF_BYTES))
LOGS: Final = Group((BYTES, SPANS, TABLE, ROWS_OF_BYTES, INTS, INTS, KNOWN), Logs)
ROWS: Final = Group((Group((BYTES,) * 5), LONGS, LONGS, LONGS), Rows)
CROWD: Final = Group((ROWS_OF_BYTES, INTS, INTS), Crowd)
WATCH: Final = Group((int, ROWS_OF_BYTES, INTS), Watch)


@entry(BYTES, SPANS, BYTES, SPANS, INTS, INTS, BYTES, BYTES, INTS)
def check_places(
    buf: Bytes, txs: Ints, done_buf: Bytes, dones: Ints, firsts: Ints, done_firsts: Ints, hashes: Bytes,
    numbers: Bytes, number_starts: Ints,
) -> None:  # fmt: skip
    """Raise ValueError unless each transaction and each receipt says that it lies where it lies.

    `hashes` are the 66 letters of each block's hash, `numbers` the letters of their numbers.
    """
    for block in range(firsts.size - 1):
        if done_firsts[block + 1] != firsts[block + 1]:
            raise ValueError("not one receipt for each transaction")
        for i in range(firsts[block], firsts[block + 1]):
            tx, done, index = txs[i], dones[i], i - firsts[block]
            start, end = number_starts[block], number_starts[block + 1]
            if not (
                # An absent hash has no end: what is compared with it below must lie in the text.
                tx[TX_HASH, 0] >= 0
                and same_text(buf, tx, TX_BLOCK_HASH, hashes, HASH * block, HASH * block + HASH)
                and same_text(done_buf, done, DONE_BLOCK_HASH, hashes, HASH * block, HASH * block + HASH)
                and same_text(buf, tx, TX_BLOCK, numbers, start, end)
                and same_text(done_buf, done, DONE_BLOCK, numbers, start, end)
                and same_text(done_buf, done, DONE_TX, buf, tx[TX_HASH, 0], tx[TX_HASH, 1])
                and small(buf, tx, TX_INDEX, MOST_INDEX) == index
                and small(done_buf, done, DONE_INDEX, MOST_INDEX) == index
            ):
                raise ValueError("a transaction or a receipt that belongs elsewhere")


@entry(BYTES, SPANS, INTS, BYTES, SPANS, INTS, BYTES, TABLE)
def check_logs(
    done_buf: Bytes, logs: Ints, first_logs: Ints, buf: Bytes, txs: Ints, firsts: Ints, hashes: Bytes, places: Ints
) -> None:
    """Raise ValueError unless each log says that it lies where it lies; their indexes run through a block.

    `places` gets (place of the block, index of the transaction, index of the log) of each.
    """
    for block in range(firsts.size - 1):
        for i in range(firsts[block], firsts[block + 1]):
            tx = txs[i]
            for at in range(first_logs[i], first_logs[i + 1]):
                log = logs[at]
                if not (
                    same_text(done_buf, log, LOG_BLOCK_HASH, hashes, HASH * block, HASH * block + HASH)
                    and same_text(done_buf, log, LOG_TX, buf, tx[TX_HASH, 0], tx[TX_HASH, 1])
                    and small(done_buf, log, LOG_TX_INDEX, MOST_INDEX) == i - firsts[block]
                    and small(done_buf, log, LOG_INDEX, MOST_INDEX) == at - first_logs[firsts[block]]
                ):
                    raise ValueError("a log that is out of place")
                places[at, 0], places[at, 1], places[at, 2] = block, i - firsts[block], at - first_logs[firsts[block]]


@entry(BYTES, SPANS, int, int, ROWS_OF_BYTES, INTS, KINDS, ROWS_OF_BYTES, INTS)
def sort_logs(
    buf: Bytes, logs: Ints, count: int, else_kind: int, topics: Bytes, topic_kinds: Ints, contracts: Kinds,
    addresses: Bytes, kinds: Ints,
) -> None:  # fmt: skip
    """Note each log's address and what it is to us, by its first topic, by its address and by its form."""
    members, slots, worth = contracts
    for at in range(count):
        log, kind = logs[at], else_kind
        if log[LOG_TOPICS, 0] < 0 or log[LOG_BLOCK, 0] == ABSENT:
            raise ValueError("a log without topics, or without a block")
        put_digits(addresses[at], 0, buf, digits_start(buf, log, LOG_ADDRESS), SIZE)
        if log[LOG_TOPIC, 0] >= 0:
            for topic in range(topic_kinds.size):
                if is_topic(buf, log, topics[topic]):
                    kind |= topic_kinds[topic]
        known = member(addresses, at, members, slots)
        if known != FREE:
            kind |= worth[known]
        if kind & TRANSFER:
            kind |= form_of(log)
        kinds[at] = kind


@compiled
def is_topic(buf: Bytes, log: Ints, wanted: Bytes) -> bool:
    """Whether a log's first topic is this one."""
    start = digits_start(buf, log, LOG_TOPIC)
    for i in range(32):
        if WORTH[buf[start + 2 * i]] << 4 | WORTH[buf[start + 2 * i + 1]] != wanted[i]:
            return False
    return True


@compiled
def form_of(log: Ints) -> int:
    """Return of which standard a Transfer is by its form, RARE if it is of neither that is common.

    Sources: EIP-20 (sender and recipient are topics, the amount is data), EIP-721 (the token is a topic too).
    """
    topics = 0
    while topics < 4 and log[LOG_TOPIC + topics, 0] >= 0:
        topics += 1
    return form_of_sizes(topics, (log[LOG_DATA, 1] - log[LOG_DATA, 0] - 2) >> 1)


@compiled
def form_of_sizes(topics: int, data: int) -> int:
    """Return the same from the number of topics and of bytes of data."""
    if topics == 3 and data == 32:
        return ERC20
    return ERC721 if topics == 4 and data == 0 else RARE


@compiled
def add_person(crowd: Crowd, count: int, role: int, buf: Bytes, spans: Ints, key: int, skip: int) -> int:
    """Give the address that a field holds, behind `skip` digits, a role; return how many addresses there are now."""
    put_digits(crowd.people[count], 0, buf, digits_start(buf, spans, key) + skip, SIZE)
    return join(crowd.people, crowd.roles, crowd.slots, count, role)


@compiled
def gather(crowd: Crowd, of: Txs, tx: int, logs: Logs) -> int:
    """Note what each address was to a transaction; return how many addresses there are."""
    sent, done = of.txs[tx], of.dones[tx]
    count = add_person(crowd, 0, FROM, of.buf, sent, TX_FROM, 0)
    if sent[TX_TO, 0] >= 0:
        count = add_person(crowd, count, TO, of.buf, sent, TX_TO, 0)
    if done[DONE_CREATED, 0] >= 0:
        count = add_person(crowd, count, CREATED, of.done_buf, done, DONE_CREATED, 0)
    for at in range(of.first_logs[tx], of.first_logs[tx + 1]):
        if logs.kinds[at] & (ERC20 | ERC721):
            # An address is the lower 20 bytes of its word.
            count = add_person(crowd, count, SENT, logs.buf, logs.spans[at], LOG_TOPIC + 1, 24)
            count = add_person(crowd, count, RECEIVED, logs.buf, logs.spans[at], LOG_TOPIC + 2, 24)
        for row in range(logs.known_firsts[at], logs.known_firsts[at + 1]):
            token_sender_recipient = logs.known[1][row]
            put_copy(crowd.people[count], 0, token_sender_recipient, SIZE, 2 * SIZE)
            count = join(crowd.people, crowd.roles, crowd.slots, count, SENT)
            put_copy(crowd.people[count], 0, token_sender_recipient, 2 * SIZE, 3 * SIZE)
            count = join(crowd.people, crowd.roles, crowd.slots, count, RECEIVED)
    return count


@compiled
def concerned(watch: Watch, crowd: Crowd, count: int, addresses: Bytes, first_log: int, end_log: int) -> bool:
    """Whether a transaction is stored: a watched address takes part in it, or emits a log there."""
    if watch.everything:
        return True
    for person in range(count):
        if member(crowd.people, person, watch.members, watch.slots) != FREE:
            return True
    for at in range(first_log, end_log):
        if member(addresses, at, watch.members, watch.slots) != FREE:
            return True
    return False


@entry(CROWD, ROWS_OF_BYTES, INTS, FLAGS)
def gather_tokens(crowd: Crowd, addresses: Bytes, kinds: Ints, stored: Flags) -> int:
    """Note the contracts whose stored logs are transfers of a common form, and of which; return how many there are."""
    count = 0
    for at in range(kinds.size):
        kind = kinds[at] & (ERC20 | ERC721)
        if kind and stored[at]:
            put_copy(crowd.people[count], 0, addresses[at], 0, SIZE)
            count = join(crowd.people, crowd.roles, crowd.slots, count, kind)
    leave(crowd.people, crowd.slots, count)
    return count


@entry(ROWS, int, LONGS, INTS, LOGS)
def put_logs_of_blocks(out: Rows, chain: int, numbers: Long, firsts: Ints, logs: Logs) -> None:
    """Write what the logs of blocks imply; `firsts` says where the logs of each begin."""
    for block in range(numbers.size):
        put_logs(out, chain, numbers[block], logs, firsts[block], firsts[block + 1])


@compiled
def put_logs(out: Rows, chain: int, number: int, logs: Logs, first: int, end: int) -> None:
    """Write what the logs of one block imply, those from `first` to before `end`."""
    moves, kept, ends, counts = out.buffers[TRANSFER_TABLE], out.buffers[LOG_TABLE], out.ends, out.counts
    for at in range(first, end):
        log, kind, index, place = logs.spans[at], logs.kinds[at], logs.places[at, 1], logs.places[at, 2]
        # Written in any case: that proves its digits.
        log_end = put_log(kept, ends[LOG_TABLE], chain, number, place, index, logs.buf, log)
        if kind & KEEP:
            ends[LOG_TABLE] = log_end
            counts[LOG_TABLE] += 1
        to = ends[TRANSFER_TABLE]
        if kind & (ERC20 | ERC721):
            to = put_transfer(moves, to, chain, number, place, index, kind, logs.buf, log, out.work)
            counts[TRANSFER_TABLE] += 1
        for row in range(logs.known_firsts[at], logs.known_firsts[at + 1]):
            to = put_known_transfer(moves, to, chain, number, place, index, logs.known, row, out.work)
            counts[TRANSFER_TABLE] += 1
        ends[TRANSFER_TABLE] = to


@compiled
def put_tx_rows(
    out: Rows, chain: int, number: int, index: int, of: Txs, tx: int, crowd: Crowd, count: int, to: int
) -> None:
    """Keep a transaction whose row was written up to `to`, and write what else it implies."""
    ends, counts, people = out.ends, out.counts, out.buffers[PERSON_TABLE]
    ends[TX_TABLE] = to
    ends[HASH_TABLE] = put_hash(out.buffers[HASH_TABLE], ends[HASH_TABLE], chain, number, index, of.buf, of.txs[tx])
    to = ends[PERSON_TABLE]
    for person in range(count):
        to = put_person(people, to, chain, number, index, crowd.people, crowd.roles, person)
    ends[PERSON_TABLE] = to
    counts[TX_TABLE] += 1
    counts[HASH_TABLE] += 1
    counts[PERSON_TABLE] += count


@compiled
def put_block(
    out: Rows,
    chain: int,
    number: int,
    first: int,
    end: int,
    of: Txs,
    logs: Logs,
    watch: Watch,
    crowd: Crowd,
    kept: Ints,
) -> None:
    """Write the rows of one block's transactions, those from `first` to before `end`; note which are stored."""
    ends, counts = out.ends, out.counts
    for tx in range(first, end):
        index, first_log, end_log = tx - first, of.first_logs[tx], of.first_logs[tx + 1]
        count = gather(crowd, of, tx, logs)
        kept[tx] = concerned(watch, crowd, count, logs.addresses, first_log, end_log)
        # What is not kept is written too, which proves its digits, and overwritten by the next.
        moves_before, logs_before = ends[TRANSFER_TABLE], ends[LOG_TABLE]
        move_count, log_count = counts[TRANSFER_TABLE], counts[LOG_TABLE]
        to = put_tx(
            out.buffers[TX_TABLE], ends[TX_TABLE], chain, number, index, of.buf, of.txs[tx], of.done_buf, of.dones[tx],
            out.work,
        )  # fmt: skip
        put_logs(out, chain, number, logs, first_log, end_log)
        if kept[tx]:
            put_tx_rows(out, chain, number, index, of, tx, crowd, count, to)
        else:
            ends[TRANSFER_TABLE], ends[LOG_TABLE] = moves_before, logs_before
            counts[TRANSFER_TABLE], counts[LOG_TABLE] = move_count, log_count
        leave(crowd.people, crowd.slots, count)


@entry(ROWS, int, LONGS, INTS, TXS, LOGS, WATCH, CROWD, INTS)
def put_blocks(
    out: Rows, chain: int, numbers: Long, firsts: Ints, of: Txs, logs: Logs, watch: Watch, crowd: Crowd, kept: Ints
) -> None:
    """Write the rows of blocks; `firsts` says where the transactions of each begin, `kept` gets which are stored."""
    for block in range(numbers.size):
        put_block(out, chain, numbers[block], firsts[block], firsts[block + 1], of, logs, watch, crowd, kept)
