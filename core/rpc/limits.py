"""What an endpoint bears, learned from how it answers: concurrency, rate, latency, outages, sizes.

Pure bookkeeping: the time of every event is an argument, in seconds of a clock that never runs backwards, so that each
rule can be tested without waiting. `core/rpc/endpoint.py` feeds it.
"""

import math
from dataclasses import dataclass, fields
from typing import Final

FIRST_WINDOW: Final = 8.0  # requests at once before anything is known: what one client's connections were so far
MOST_WINDOW: Final = 64.0
LEAST_WINDOW: Final = 1.0
CUT: Final = 0.5  # of the window, on a sign of overload; TCP's own (RFC 5681)

QUEUEING: Final = 3.0  # times the quickest answer of this size: requests wait in a queue, more of them would not help
QUEUEING_S: Final = 0.005  # plus this: of answers within a millisecond or two, three times is noise
QUICKEST_FOR_S: Final = 60.0  # how long the quickest answer counts: a node that grew slow for good is not "queueing"

CALM_S: Final = 2.0  # the rate is raised after so long without a refusal
RAISE: Final = 1.1
LOWER: Final = 0.8
SPAN_S: Final = 1.0  # providers count by the second: what is refused within one is one refusal
NARROW: Final = 4  # requests at once: whoever refuses even these means their rate, not their number
LEAST_RATE: Final = 0.5  # calls a second

TRUST_BACK_S: Final = 3_600.0  # half of the trust that an endpoint lost is back after so long
TRUSTED: Final = 0.5  # a second failure within the half hour: one alone may be an accident at the head

BREAK_AFTER: Final = 3  # failures in a row
BREAK_S: Final = (0.5, 15.0)

FIRST_LOGS: Final = 2_000  # blocks; public nodes take 500 to 10,000 (reference figures)
MOST_LOGS: Final = 100_000
QUICK_S: Final = 2.0
SLOW_S: Final = 8.0
BATCHES: Final = 256
SMALL_BYTES: Final = 4_000_000
LARGE_BYTES: Final = 32_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What is worth remembering of an endpoint when this process ends; None is not known.

    `window`: requests at once. `rate`: calls a second. `batch_calls`: most calls in one batch. `log_blocks`: most
    blocks of one eth_getLogs. `block_receipts`: whether it has eth_getBlockReceipts.
    """

    window: float | None = None
    rate: float | None = None
    batch_calls: int | None = None
    log_blocks: int | None = None
    block_receipts: bool | None = None

    @property
    def nothing(self) -> bool:
        """Whether there is nothing to remember."""
        return all(getattr(self, field.name) is None for field in fields(self))


class Trust:
    """How far an endpoint's blocks are believed, from 1 down to 0: halved by each that does not pass its checks."""

    def __init__(self) -> None:
        self._lost = 0.0
        self._lost_at = 0.0

    def score(self, now: float) -> float:
        """Return it as of `now`: what was lost comes back by and by."""
        return 1.0 - self._lost * 0.5 ** ((now - self._lost_at) / TRUST_BACK_S) if self._lost else 1.0

    def failed(self, now: float) -> None:
        """Note a block that did not pass."""
        self._lost, self._lost_at = 1.0 - self.score(now) / 2, now


class Window:
    """How many requests may be under way at once: additive increase, multiplicative decrease.

    Until the first overload it grows by one with each answer (it doubles each round trip, TCP's slow start), afterwards
    by one each round trip; only while it is full, and only while answers do not grow slower with it.
    """

    def __init__(self, size: float | None = None, *, most: float = MOST_WINDOW) -> None:
        self._most = most
        self.size = min(max(size or FIRST_WINDOW, LEAST_WINDOW), most)
        self._threshold = most if size is None else self.size
        self._cut_at = -math.inf
        self.learned = size is not None

    @property
    def width(self) -> int:
        """Requests that may be under way."""
        return int(self.size)

    def answered(self, under_way: int, *, queueing: bool = False) -> None:
        """Note an answer that came while `under_way` requests, itself included, were under way."""
        if under_way < self.width or queueing or self.size >= self._most:
            return
        step = 1.0 if self.size < self._threshold else 1.0 / self.size
        self.size = min(self.size + step, self._most)
        self.learned = True

    def overloaded(self, sent_at: float, now: float, round_trip_s: float = 0.0) -> bool:
        """Note that a request sent at `sent_at` was refused, or timed out, for there were too many.

        One cut for each round trip: until those have drained that were under way when the window was cut, refusals,
        which come quicker than answers, tell of the width before. Returns whether the window was cut.
        """
        if sent_at <= self._cut_at + round_trip_s:
            return False
        self.size = max(self.size * CUT, LEAST_WINDOW)
        self._threshold = self.size
        self._cut_at = now
        self.learned = True
        return True


class Rate:
    """Calls a second: no limit until the endpoint refuses for the rate, then what it bore, and carefully more."""

    def __init__(self, per_s: float | None = None) -> None:
        self.per_s = per_s
        self._credit = 0.0  # calls that may be sent at once; less than none is a debt
        self._at: float | None = None
        self._changed_at = 0.0
        self._used = False
        self._second, self._this, self._before = 0.0, 0, 0  # calls answered in this second and in the one before

    def take(self, calls: int, now: float) -> float:
        """Reserve `calls` and return how many seconds to wait before they are sent."""
        if self.per_s is None:
            return 0.0
        if self._used and now - self._changed_at > CALM_S:
            self.per_s *= RAISE
            self._changed_at, self._used = now, False
        # Credit of a second at most: after a pause, a burst of more would be refused at once.
        if self._at is None:
            self._at, self._credit = now, self.per_s
        elapsed = now - self._at
        self._credit = min(self._credit + elapsed * self.per_s, self.per_s) - calls
        self._at = now
        self._used |= self._credit < 0
        return max(-self._credit / self.per_s, 0.0)

    def answered(self, calls: int, now: float) -> None:
        """Note `calls` that were answered."""
        if now - self._second >= 1.0:
            self._before = self._this if now - self._second < 2.0 else 0
            self._second, self._this = now, 0
        self._this += calls

    def refused(self, sent_at: float, now: float) -> None:
        """Note that a request sent at `sent_at` was refused for the rate; once for those that were sent together."""
        if self.per_s is None:
            self.per_s = max(self._borne(now) * LOWER, LEAST_RATE)
        elif sent_at > self._changed_at + SPAN_S:
            self.per_s = max(self.per_s * LOWER, LEAST_RATE)
        else:
            return
        self._credit, self._at, self._changed_at, self._used = 0.0, now, now, False

    def _borne(self, now: float) -> float:
        """Return how many calls a second were answered lately."""
        elapsed = min(now - self._second, 1.0)
        if not self._before:
            return self._this / max(elapsed, 0.5)
        return self._before * (1.0 - elapsed) + self._this


class Latency:
    """How long answers take, smoothed, and whether they take longer than answers of their size need to.

    Sizes are compared in classes of powers of two: a batch of full blocks is no slower node than a batch of empty ones.
    """

    def __init__(self) -> None:
        self.smoothed: float | None = None
        self._quickest: dict[int, tuple[float, float, float]] = {}  # class -> this minute's, last minute's, since when

    def took(self, seconds: float, size: int, now: float) -> bool:
        """Note an answer of `size` bytes; return whether it came so late that requests must be queueing."""
        self.smoothed = seconds if self.smoothed is None else self.smoothed + (seconds - self.smoothed) / 8
        key = size.bit_length()
        this, last, since = self._quickest.get(key, (seconds, seconds, now))
        if now - since > QUICKEST_FOR_S:
            this, last, since = seconds, this, now
        self._quickest[key] = (min(this, seconds), last, since)
        return seconds > QUEUEING * min(this, last) + QUEUEING_S


class Breaker:
    """Leaves an endpoint alone that fails again and again, and lets it be tried after a pause that grows."""

    def __init__(self) -> None:
        self._failures = 0
        self._openings = 0
        self._opened_at = 0.0
        self._until = 0.0

    @property
    def open(self) -> bool:
        """Whether the endpoint is out: it has failed too often and has not answered since."""
        return self._failures >= BREAK_AFTER

    def wait_s(self, now: float) -> float:
        """Return the seconds until it may be tried; 0 when it may."""
        return max(self._until - now, 0.0) if self.open else 0.0

    def failed(self, sent_at: float, now: float) -> None:
        """Note a failure. The pause grows with each one that was sent after the last pause had begun.

        When a node ends, all its requests fail at once: they tell of one outage, not of many.
        """
        self._failures += 1
        if self.open and (not self._openings or sent_at > self._opened_at):
            self._until = now + min(BREAK_S[0] * 2 ** min(self._openings, 16), BREAK_S[1])
            self._openings += 1
            self._opened_at = now

    def answered(self) -> None:
        """Note any answer."""
        self._failures = self._openings = 0


class LogSpan:
    """How many blocks to ask logs of at once: more while answers are quick and small, fewer when refused.

    `most` is what the provider said, or showed, that it takes at most, and stays; `size` is the next attempt.
    """

    def __init__(self, most: int | None = None) -> None:
        self.most = most
        self.size = min(FIRST_LOGS, most or FIRST_LOGS)

    def answered(self, blocks: int, seconds: float, size: int) -> None:
        """Note an answer of `size` bytes for `blocks` blocks."""
        if seconds > SLOW_S or size > LARGE_BYTES:
            self.size = max(blocks // 2, 1)
        elif seconds < QUICK_S and size < SMALL_BYTES and blocks >= self.size:
            self.size = min(self.size * 2, self.most or MOST_LOGS, MOST_LOGS)

    def too_wide(self, blocks: int, limit: int | None, suggested: int | None) -> None:
        """Note that `blocks` blocks are more than the endpoint takes, whatever is in them."""
        named = next((each for each in (limit, suggested) if each and each < blocks), None)
        # Without a number the half stays the most: looking for the last block of it would cost a refusal a try.
        self.size = self.most = named or max(blocks // 2, 1)

    def too_much(self, blocks: int, suggested: int | None) -> None:
        """Note that the logs of `blocks` blocks were too many, or took too long: others may hold fewer."""
        # reth has suggested the very range that it refused (its issue 23810).
        self.size = suggested if suggested and suggested < blocks else max(blocks // 2, 1)


class BatchSize:
    """How many calls one batch may hold; None until a batch was refused for its size.

    A limit that the endpoint did not name may have been that of one large answer: more is tried after many batches that
    were taken, and after four times as many each time that was in vain.
    """

    def __init__(self, most: int | None = None) -> None:
        self.most = most
        self._named = False
        self._taken = 0
        self._patience = BATCHES

    def taken(self, calls: int) -> None:
        """Note that a batch of `calls` was answered."""
        if self.most is None or self._named or calls < self.most:
            return
        self._taken += 1
        if self._taken >= self._patience:
            self.most, self._taken, self._patience = self.most * 2, 0, self._patience * 4

    def too_many(self, calls: int, limit: int | None) -> None:
        """Note that a batch of `calls` was refused as a whole; `limit` is what the endpoint named, if it did."""
        self._named = bool(limit and limit < calls)
        self.most = limit if limit and limit < calls else max(calls // 2, 1)
        self._taken = 0
