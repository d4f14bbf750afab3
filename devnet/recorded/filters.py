"""Log filters (eth_getLogs): what a client asks for, and which logs of a recording that is. Pure."""

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from core.errors import ChainworkdError

INVALID = -32602  # JSON-RPC 2.0, section 5.1: invalid params


class Refused(ChainworkdError):
    """A request that a node answers with a JSON-RPC error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Addresses and topics to match, lower-case hex. An empty set matches anything, as null does in a request."""

    addresses: frozenset[str]
    topics: tuple[frozenset[str], ...]

    def has_key(self, address: str, topic: str | None) -> bool:
        """Whether a log of this address with this first topic may match; it has further topics perhaps."""
        if self.addresses and address not in self.addresses:
            return False
        if not self.topics:
            return True
        return topic is not None and (not self.topics[0] or topic in self.topics[0])

    @property
    def deep(self) -> bool:
        """Whether address and first topic do not decide alone."""
        return len(self.topics) > 1

    def matches(self, topics: Sequence[str]) -> bool:
        """Whether a log's topics match, every position that is asked for present."""
        if len(topics) < len(self.topics):
            return False
        return all(not wanted or found in wanted for wanted, found in zip(self.topics, topics, strict=False))


def read_filter(asked: Mapping[str, Any]) -> LogFilter:
    """Read address and topics of a request. Raises Refused for what is neither a value, a list nor null."""
    topics = asked.get("topics") or []
    if not isinstance(topics, list) or len(topics) > 4:
        raise Refused(INVALID, "topics: expected a list of at most 4")
    return LogFilter(_options(asked.get("address"), "address", 20), tuple(_options(t, "topics", 32) for t in topics))


def _options(value: Any, what: str, size: int) -> frozenset[str]:
    options = [] if value is None else value if isinstance(value, list) else [value]
    for option in options:
        if not isinstance(option, str) or option[:2] != "0x" or len(option) != 2 + 2 * size:
            raise Refused(INVALID, f"{what}: expected 0x and {size} bytes in hex, found {str(option)[:80]}")
    return frozenset(option.lower() for option in options)


def selected(
    postings: Mapping[int, "array[int]"],
    keys: Sequence[tuple[str, str | None]],
    wanted: LogFilter,
    first: int,
    end: int,
) -> Sequence[int]:
    """Return the ordinals from `first` up to `end`, which is not included, whose key matches, ascending."""
    if not wanted.addresses and not wanted.topics:
        return range(first, end)
    parts = []
    for key, (address, topic) in enumerate(keys):
        if wanted.has_key(address, topic):
            found = postings[key]
            if part := found[bisect_left(found, first) : bisect_left(found, end)]:
                parts.append(part)
    return parts[0] if len(parts) == 1 else sorted(chain.from_iterable(parts))


def runs(ordinals: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield first and last of each stretch of consecutive ordinals: what one slice can answer."""
    if isinstance(ordinals, range):
        if ordinals:
            yield ordinals[0], ordinals[-1]
        return
    start = last = None
    for ordinal in ordinals:
        if last is not None and ordinal == last + 1:
            last = ordinal
            continue
        if start is not None and last is not None:
            yield start, last
        start = last = ordinal
    if start is not None and last is not None:
        yield start, last
