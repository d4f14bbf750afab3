"""Sets of addresses, for compiled code: 20 bytes each, found by a table of places (open addressing)."""

from collections.abc import Collection
from typing import Final

import numpy as np

from indexer.compiled.native import INTS, ROWS_OF_BYTES, compiled, entry
from indexer.compiled.scan import Bytes, Ints

SIZE: Final = 20
MOST: Final = 1 << 13  # addresses of one transaction; with more of them it is left to the careful path
FREE: Final = -1


def address_set(addresses: Collection[bytes]) -> tuple[Bytes, Ints]:
    """Return members and places of a set that does not change."""
    members = np.frombuffer(b"".join(addresses), np.uint8).reshape(-1, SIZE)
    slots = empty_slots(len(members))
    fill(members, slots)
    return members, slots


def empty_slots(count: int) -> Ints:
    """Return places for so many addresses, none taken."""
    return np.full(1 << (2 * count + 8).bit_length(), FREE, np.int32)


@compiled
def _slot(wanted: Bytes, index: int, members: Bytes, slots: Ints) -> int:
    """Return the place of the address in row `index` of `wanted`, or the free one where it belongs."""
    value = 0
    for i in range(12, SIZE):
        value = value * 131 + wanted[index, i]
    at = (value ^ value >> 15) & (slots.size - 1)
    while slots[at] != FREE:
        for i in range(SIZE):
            if members[slots[at], i] != wanted[index, i]:
                break
        else:
            return at
        at = (at + 1) & (slots.size - 1)
    return at


@entry(ROWS_OF_BYTES, INTS)
def fill(members: Bytes, slots: Ints) -> None:
    """Give each member its place."""
    for index in range(len(members)):
        slots[_slot(members, index, members, slots)] = index


@compiled
def member(wanted: Bytes, index: int, members: Bytes, slots: Ints) -> int:
    """Return which member the address in row `index` of `wanted` is, FREE if none."""
    return int(slots[_slot(wanted, index, members, slots)])


@compiled
def join(people: Bytes, roles: Ints, slots: Ints, count: int, role: int) -> int:
    """Give the address in row `count` a role; return how many there are now."""
    at = _slot(people, count, people, slots)
    if slots[at] != FREE:
        roles[slots[at]] |= role
        return count
    if count + 1 == MOST:
        raise ValueError("more addresses in one transaction than are expected")
    slots[at], roles[count] = count, role
    return count + 1


@compiled
def leave(people: Bytes, slots: Ints, count: int) -> None:
    """Make the places of the first `count` addresses free, the last one first."""
    for index in range(count - 1, -1, -1):
        slots[_slot(people, index, people, slots)] = FREE
