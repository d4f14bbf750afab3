"""What a mined move did, from its receipt and its calldata alone: positions and each base unit. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from builders import uniswap_v3
from builders.call import Call
from builders.liquidity import Amounts
from builders.uniswap_v3 import Collected, Decreased, Increased, Minting, Moved, Paid
from core.types import Log
from droids.market import Span
from droids.plan import Place

NOBODY: Final = bytes(20)


class Unexpected(ValueError):
    """A receipt does not say what its calldata asks for: a person has to look."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A position that exists now: `put` is what it took, `entry` the index of the log that says so."""

    token_id: int
    span: Span
    liquidity: int
    put: Amounts
    entry: int


@dataclass(frozen=True, slots=True)
class Closed:
    """A position that exists no more: `got` is its principal, `fees` are what the pool paid besides."""

    token_id: int
    got: Amounts
    fees: Amounts
    entry: int


@dataclass(frozen=True, slots=True)
class Done:
    """All that a multicall of positions did."""

    opened: tuple[Opened, ...]
    closed: tuple[Closed, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the ledger. An empty asset is wei; `index` is that of the log."""

    index: int
    asset: bytes
    kind: str
    amount: int
    token_id: int | None = None


def done(call: Call, logs: Sequence[Log], place: Place, pool: bytes) -> Done:
    """Return what the logs of a multicall that succeeded say. Raises Unexpected."""
    reading = _Reading(uniswap_v3.mintings(call), place, pool)
    for log in logs:
        match uniswap_v3.effect(log, place.manager):
            case Increased() as found:
                reading.increased(found, log.index)
            case Decreased(token_id, _, amount0, amount1):
                reading.owed[token_id] = amount0, amount1
            case Paid() as found:
                reading.pays(found, log.index)
            case Collected(token_id):
                reading.collected(token_id, log.index)
            case Moved() as found:
                reading.moved(found, log.index)
            case None:
                pass
    return reading.whole()


class _Reading:
    """What the logs have said so far."""

    def __init__(self, asked: Sequence[Minting], place: Place, pool: bytes) -> None:
        self.owed: dict[int, Amounts] = {}
        self._asked, self._place, self._pool = asked, place, pool
        self._opened: list[Opened] = []
        self._closed: list[Closed] = []
        self._paid: Amounts = (0, 0)
        self._born, self._burnt = set[int](), set[int]()

    def increased(self, found: Increased, index: int) -> None:
        if len(self._opened) == len(self._asked):
            raise Unexpected(f"log {index}: more positions were opened than asked for")
        asked = self._asked[len(self._opened)]
        span = Span(asked.tick_lower, asked.tick_upper)
        put = found.amount0, found.amount1
        self._opened.append(Opened(found.token_id, span, found.liquidity, put, index))

    def pays(self, found: Paid, index: int) -> None:
        if found.pool != self._pool or found.recipient != self._place.wallet:
            raise Unexpected(f"log {index}: 0x{found.pool.hex()} paid 0x{found.recipient.hex()}")
        self._paid = found.amount0, found.amount1

    def collected(self, token_id: int, index: int) -> None:
        # The pool's own word of it: the manager announces what it asked for, which may be some wei more.
        got = self.owed.pop(token_id, (0, 0))
        fees = self._paid[0] - got[0], self._paid[1] - got[1]
        self._closed.append(Closed(token_id, got, fees, index))
        self._paid = (0, 0)

    def moved(self, found: Moved, index: int) -> None:
        way = found.sender, found.recipient
        if way == (NOBODY, self._place.wallet):
            self._born.add(found.token_id)
        elif way == (self._place.wallet, NOBODY):
            self._burnt.add(found.token_id)
        else:
            raise Unexpected(f"log {index}: position {found.token_id} went to 0x{found.recipient.hex()}")

    def whole(self) -> Done:
        wanted, found = len(self._asked), len(self._opened)
        if found != wanted or self._born != {each.token_id for each in self._opened}:
            raise Unexpected(f"expected {wanted} positions to be opened, found {found} and NFTs {sorted(self._born)}")
        if self._burnt != {each.token_id for each in self._closed}:
            raise Unexpected(f"expected what was paid out to be burnt, found NFTs {sorted(self._burnt)}")
        return Done(tuple(self._opened), tuple(self._closed))


def entries(of: Done, place: Place) -> tuple[Entry, ...]:
    """Return the lines of the ledger: what was put into positions, what came back, and their fees."""
    tokens = (place.token0, place.token1)
    found = []
    for opened in of.opened:
        found += [
            Entry(opened.entry, asset, "put", -amount, opened.token_id)
            for asset, amount in zip(tokens, opened.put, strict=True)
        ]
    for closed in of.closed:
        for kind, amounts in (("principal", closed.got), ("fee", closed.fees)):
            found += [
                Entry(closed.entry, asset, kind, amount, closed.token_id)
                for asset, amount in zip(tokens, amounts, strict=True)
            ]
    return tuple(each for each in found if each.amount)


def require_same(found: Sequence[Entry], moved: Mapping[bytes, int], place: Place) -> None:
    """Raise Unexpected unless the lines add up to what the tokens' own transfers say."""
    sums: Counter[bytes] = Counter()
    for each in found:
        sums[each.asset] += each.amount
    for token in (place.token0, place.token1):
        if sums[token] != moved.get(token, 0):
            said = f"{sums[token]} by positions, {moved.get(token, 0)} by transfers"
            raise Unexpected(f"token 0x{token.hex()}: expected the same to have moved, found {said}")
