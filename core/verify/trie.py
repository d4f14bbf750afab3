"""The root of an ordered list in a Merkle Patricia trie (Yellow Paper, appendix D), built once and thrown away. Pure.

The keys are rlp(0), rlp(1), …, so they are known beforehand, none is a prefix of another, and no branch holds a value.
Built from the sorted keys, each node is encoded and hashed once, and there is no database of nodes.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from core.keccak import keccak
from core.verify import rlp

EMPTY_ROOT: Final = bytes.fromhex("56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421")  # keccak(0x80)
_NO_VALUE: Final = rlp.EMPTY_STRING


def ordered_root(items: Sequence[bytes]) -> bytes:
    """Return the root of the trie that maps rlp(i) to the i-th of `items`, each at least one byte."""
    if not items:
        return EMPTY_ROOT
    order, keys = _order(len(items))
    return keccak(_node(keys, [items[i] for i in order], 0, len(order), 0))


@lru_cache(maxsize=1_024)
def _order(size: int) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return the first `size` indexes in the order of their keys, and the keys, in that order, as hex digits."""
    keyed = sorted((rlp.integer(i).hex(), i) for i in range(size))
    return tuple(i for _, i in keyed), tuple(key for key, _ in keyed)


def _node(keys: Sequence[str], items: Sequence[bytes], first: int, end: int, depth: int) -> bytes:
    """Return the node, encoded, of `items[first:end]`, whose keys are alike in their first `depth` digits."""
    key = keys[first]
    if end - first == 1:
        return rlp.sequence((rlp.string(_path(key[depth:], leaf=True)), rlp.string(items[first])))
    other, shared = keys[end - 1], depth
    while key[shared] == other[shared]:
        shared += 1
    if shared > depth:
        return rlp.sequence(
            (rlp.string(_path(key[depth:shared], leaf=False)), _reference(_node(keys, items, first, end, shared)))
        )
    children = [_NO_VALUE] * 17
    while first < end:
        digit, start = keys[first][depth], first
        while first < end and keys[first][depth] == digit:
            first += 1
        children[int(digit, 16)] = _reference(_node(keys, items, start, first, depth + 1))
    return rlp.sequence(children)


def _reference(node: bytes) -> bytes:
    """Return what a parent holds of `node`: a node of less than 32 bytes itself, of others the hash."""
    return node if len(node) < 32 else b"\xa0" + keccak(node)


def _path(digits: str, *, leaf: bool) -> bytes:
    """Return hex digits as bytes, with what they end in and whether their number is odd in the first half byte."""
    flag = 2 if leaf else 0
    return bytes.fromhex(f"{flag + 1:x}{digits}" if len(digits) % 2 else f"{flag:x}0{digits}")
