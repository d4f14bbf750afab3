"""Reads that are late are asked of a second endpoint: when, and how many of them may be.

Dean and Barroso, The Tail at Scale (CACM 56/2, 2013), "hedged requests": a second request after the 95th percentile of
the first one's latency costs a few per cent more requests and takes away most of the tail.
"""

from collections import defaultdict, deque
from typing import Final, Protocol

SAMPLES: Final = 128  # reads of one kind that are remembered of each endpoint
ENOUGH: Final = 20  # reads, before their 95th percentile means anything
SHARE: Final = 0.95
FIRST_S: Final = 0.5  # when a read counts as late before enough are known
FLOOR_S: Final = 0.05  # no read is late before; below it, what is late is this machine
EXTRA: Final = 0.05  # second requests per read, in the long run
MOST_EXTRA: Final = 5.0  # second requests in a row, after a calm time


class HedgeMeter(Protocol):
    """What is counted of late reads."""

    def hedged(self, outcome: str) -> None:
        """Count a read that was late.

        `outcome`: `won` by the second endpoint, `lost` to the first after all, `failed` at both, or `withheld`: there
        had been too many.
        """
        ...


class Hedges:
    """Knows when a read is late, and gives out second requests sparingly. Pure bookkeeping; times are seconds."""

    def __init__(self, meter: HedgeMeter) -> None:
        self._meter = meter
        self._took: defaultdict[tuple[str, str], deque[float]] = defaultdict(lambda: deque(maxlen=SAMPLES))
        self._credit = MOST_EXTRA

    def late_after_s(self, endpoint: str, read: str) -> float:
        """Return after how many seconds a read of this kind is late at this endpoint."""
        took = self._took[endpoint, read]
        if len(took) < ENOUGH:
            return FIRST_S
        return max(sorted(took)[int(len(took) * SHARE)], FLOOR_S)

    def took(self, endpoint: str, read: str, seconds: float) -> None:
        """Note how long a read took there, or how long it had taken when another endpoint was first."""
        self._took[endpoint, read].append(seconds)
        self._credit = min(self._credit + EXTRA, MOST_EXTRA)

    def spend(self) -> bool:
        """Take one second request out of what there is; False if there is none."""
        if self._credit < 1.0:
            self._meter.hedged("withheld")
            return False
        self._credit -= 1.0
        return True

    def ended(self, outcome: str) -> None:
        """Count how a read ended that was asked twice."""
        self._meter.hedged(outcome)
