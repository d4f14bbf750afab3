"""The root of an ordered list in a Merkle Patricia trie (Yellow Paper, appendix D): compiled.

The keys are rlp(0), rlp(1), …: 0x80, 0x01 to 0x7f, 0x81 0x80 to 0x81 0xff, 0x82 0x01 0x00 and so on. None is the
beginning of another, and where in the trie an item hangs follows from its place and the number of items alone. So
leaves are encoded wherever their items are (`leaf_before`), all are hashed side by side, and the branches above them
are joined level by level, the deepest first, those of one level side by side again.
"""

from typing import Final, NamedTuple

from indexer.compiled.keccak import Words, hash_all
from indexer.compiled.native import BYTES, ROWS_OF_BYTES, TABLE, WORDS, Group, compiled
from indexer.compiled.rlp import STRING, byte_before, list_before, string_before
from indexer.compiled.scan import Bytes, Ints

DIGITS: Final = 6  # of the longest key that is known here
MOST_ITEMS: Final = 1 << 16
LEAF, EXTENSION = 2, 0  # the flags of a path
HASH_SIZE: Final = 32
EMPTY: Final = STRING  # what stands for no child and no value
ROOT: Final = -1  # the depth at which the root hangs

# Places in a row of `nodes`.
KEY, HANGS, MESSAGE = range(3)


class Bench(NamedTuple):
    """Room to encode and to hash: `out` is written from its end to its beginning.

    `messages` are (from, to) in `out`, `digests` their hashes. `nodes` are (key, depth of the branch above, message).
    """

    out: Bytes
    messages: Ints
    digests: Bytes
    state: Words
    lanes: Ints
    nodes: Ints


BENCH: Final = Group((BYTES, TABLE, ROWS_OF_BYTES, WORDS, TABLE, TABLE), Bench)  # for the compiler (native.py)


@compiled
def key_of(item: int) -> int:
    """Return the key of an item as six hex digits, its own first and zeros behind them."""
    if item == 0:
        return 0x800000
    if item < 0x80:
        return item << 16
    return 0x810000 | item << 8 if item < 0x100 else 0x820000 | item


@compiled
def digits_of(item: int) -> int:
    """Return how many digits the key of an item has."""
    if item < 0x80:
        return 2
    return 4 if item < 0x100 else 6


@compiled
def digit(key: int, depth: int) -> int:
    """Return one hex digit of a key."""
    return key >> (4 * (DIGITS - 1 - depth)) & 15


@compiled
def alike(one: int, other: int) -> int:
    """Return how many digits two keys have in common before they differ."""
    depth, different = 0, one ^ other
    while depth < DIGITS and not different >> (4 * (DIGITS - 1 - depth)):
        depth += 1
    return depth


@compiled
def item_at(place: int, count: int) -> int:
    """Return which of `count` items is at a place in the order of keys: 0 comes behind 127."""
    zero = min(count - 1, 0x7F)
    if place < zero:
        return place + 1
    return 0 if place == zero else place


@compiled
def place_of(item: int, count: int) -> int:
    """Return the place of an item, as `item_at` counts them."""
    zero = min(count - 1, 0x7F)
    if item == 0:
        return zero
    return item - 1 if item <= zero else item


@compiled
def hangs_at(item: int, count: int) -> int:
    """Return the depth of the branch that an item's leaf hangs from: what its key shares with its neighbours'."""
    place, depth = place_of(item, count), ROOT
    if place > 0:
        depth = alike(key_of(item), key_of(item_at(place - 1, count)))
    if place + 1 < count:
        depth = max(depth, alike(key_of(item), key_of(item_at(place + 1, count))))
    return depth


@compiled
def path_before(out: Bytes, at: int, key: int, first: int, end: int, flag: int) -> int:
    """Write digits `first` to before `end` of a key as a node's path (hex prefix, Yellow Paper, appendix C)."""
    behind = at
    while end - first >= 2:
        at = byte_before(out, at, digit(key, end - 2) << 4 | digit(key, end - 1))
        end -= 2
    at = byte_before(out, at, (flag + 1) << 4 | digit(key, first) if end > first else flag << 4)
    return string_before(out, at, behind)


@compiled
def leaf_before(out: Bytes, at: int, end: int, item: int, count: int) -> int:
    """Make a leaf of the item whose value lies from `at` to `end`."""
    at = string_before(out, at, end)
    at = path_before(out, at, key_of(item), hangs_at(item, count) + 1, digits_of(item), LEAF)
    return list_before(out, at, end)


@compiled
def child_before(bench: Bench, at: int, message: int) -> int:
    """Write what a parent holds of a node: of one of less than 32 bytes itself, of others the hash."""
    out, start, end = bench.out, bench.messages[message, 0], bench.messages[message, 1]
    if end - start < HASH_SIZE:
        for i in range(end - 1, start - 1, -1):
            at = byte_before(out, at, out[i])
        return at
    for i in range(HASH_SIZE):
        out[at - HASH_SIZE + i] = bench.digests[message, i]
    return byte_before(out, at - HASH_SIZE, STRING + HASH_SIZE)


@compiled
def branch_before(bench: Bench, at: int, depth: int, first: int, end: int) -> int:
    """Write the branch at `depth` of the nodes `first` to before `end`."""
    behind, node = at, end - 1
    at = byte_before(bench.out, at, EMPTY)
    for branch in range(15, -1, -1):
        if node >= first and digit(bench.nodes[node, KEY], depth) == branch:
            at = child_before(bench, at, bench.nodes[node, MESSAGE])
            node -= 1
        else:
            at = byte_before(bench.out, at, EMPTY)
    return list_before(bench.out, at, behind)


@compiled
def join(bench: Bench, at: int, depth: int, count: int, messages: int) -> tuple[int, int, int]:
    """Put the branches of one depth in the place of their children; return the number of nodes, `at` and `messages`."""
    nodes, kept, first = bench.nodes, 0, 0
    while first < count:
        key, hangs, message, end = nodes[first, KEY], nodes[first, HANGS], nodes[first, MESSAGE], first + 1
        if hangs == depth:
            while end < count and nodes[end, HANGS] == depth and alike(nodes[end, KEY], key) >= depth:
                end += 1
            # What is before was moved at most onto itself: its key is as good as that of any other node below it.
            hangs = alike(key, nodes[first - 1, KEY]) if first else ROOT
            if end < count:
                hangs = max(hangs, alike(key, nodes[end, KEY]))
            begin = branch_before(bench, at, depth, first, end)
            bench.messages[messages, 0], bench.messages[messages, 1] = begin, at
            at, message, messages = begin, messages, messages + 1
        nodes[kept, KEY], nodes[kept, HANGS], nodes[kept, MESSAGE] = key, hangs, message
        kept, first = kept + 1, end
    return kept, at, messages


@compiled
def extend(bench: Bench, at: int, depth: int, count: int, joined: int, messages: int) -> tuple[int, int]:
    """Put an extension before each branch of `depth` that hangs further up; return `at` and `messages`.

    Branches of this depth are the messages from `joined` on.
    """
    nodes, fresh = bench.nodes, messages
    for node in range(count):
        if joined <= nodes[node, MESSAGE] < fresh and nodes[node, HANGS] < depth - 1:
            begin = child_before(bench, at, nodes[node, MESSAGE])
            begin = path_before(bench.out, begin, nodes[node, KEY], nodes[node, HANGS] + 1, depth, EXTENSION)
            begin = list_before(bench.out, begin, at)
            bench.messages[messages, 0], bench.messages[messages, 1] = begin, at
            at, nodes[node, MESSAGE], messages = begin, messages, messages + 1
    return at, messages


@compiled
def hash_messages(bench: Bench, first: int, end: int) -> None:
    """Hash messages `first` to before `end`."""
    hash_all(bench.out, bench.messages, first, end, bench.digests, bench.state, bench.lanes)


@compiled
def ordered_root(bench: Bench, at: int, leaves: int, count: int, messages: int) -> tuple[int, int]:
    """Return which message is the root of `count` items, and where what was written for it begins.

    Their leaves are the messages from `leaves` on, hashed already; new ones are noted from `messages` on.
    """
    if count == 0:
        bench.messages[messages, 0], bench.messages[messages, 1] = at - 1, at
        at = byte_before(bench.out, at, EMPTY)
        hash_messages(bench, messages, messages + 1)
        return messages, at
    for place in range(count):
        item = item_at(place, count)
        bench.nodes[place, KEY], bench.nodes[place, HANGS] = key_of(item), hangs_at(item, count)
        bench.nodes[place, MESSAGE] = leaves + item
    for depth in range(DIGITS - 1, -1, -1):
        joined = messages
        count, at, messages = join(bench, at, depth, count, messages)
        hash_messages(bench, joined, messages)
        extended = messages
        at, messages = extend(bench, at, depth, count, joined, messages)
        hash_messages(bench, extended, messages)
    return int(bench.nodes[0, MESSAGE]), at
