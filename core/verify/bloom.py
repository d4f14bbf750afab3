"""The bloom filter of logs (Yellow Paper, section 4.3.1, M3:2048), as integers of 2,048 bits. Pure."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from core.keccak import keccak
from core.types import Log

BITS: Final = 2_048


@lru_cache(maxsize=32_768)  # few contracts and few kinds of events make most logs
def bits(word: bytes) -> int:
    """Return the three bits that an address or a topic sets: the low 11 bits of the first three pairs of its hash."""
    digest = keccak(word)
    found = 0
    for at in (0, 2, 4):
        found |= 1 << (int.from_bytes(digest[at : at + 2]) & (BITS - 1))
    return found


def of_logs(logs: Iterable[Log]) -> int:
    """Return the filter that holds the addresses and topics of `logs`."""
    found = 0
    for log in logs:
        found |= bits(log.address)
        for topic in log.topics:
            found |= bits(topic)
    return found
