"""Whether the index is fit to be asked: bounded by lag, and revocable.

Computed from the database alone, so that it stays
true when the indexer is dead.
"""

import asyncio
from collections.abc import Collection
from typing import Final

from core.errors import BadConfig, Transient
from core.store import reader
from core.store.pool import Pool
from core.store.reader import Lag, Reader

PROBE_S: Final = 5.0


class Readiness:
    """Judges chains by `ready_lag_s` (index behind the chain) and `silence_s` (no news of the chain).

    `chains` are the names that must be fit; none means whatever the database holds. A chain that is no longer
    configured stays readable and is not judged.
    """

    def __init__(self, pool: Pool, *, chains: Collection[str], ready_lag_s: float, silence_s: float) -> None:
        self._pool = pool
        self._judged = tuple(chains)
        self._ready_lag_s = ready_lag_s
        self._silence_s = silence_s

    def faults(self, lag: Lag) -> list[str]:
        """Return why a chain's index is not fit to be relied on, nothing if it is: stale, or an alarm is raised."""
        return [*self.stale(lag), *(f"alarm, until `chainworkd alarm clear`: {alarm}" for alarm in lag.alarms)]

    def stale(self, lag: Lag) -> list[str]:
        """Return why a chain's index is out of date, nothing if it is not."""
        if lag.number is None:
            return ["nothing is indexed yet"]
        found = []
        if lag.seconds is not None and lag.seconds > self._ready_lag_s:
            found.append(f"{lag.seconds:.0f} s behind the chain, more than {self._ready_lag_s:.0f}")
        if lag.silence_s is None or lag.silence_s > self._silence_s:
            heard = "never" if lag.silence_s is None else f"{lag.silence_s:.0f} s ago"
            found.append(f"last news of the chain {heard}, more than {self._silence_s:.0f}")
        return found

    async def report(self) -> dict[str, list[str]]:
        """Return the faults of every chain; a chain without faults has an empty list."""
        try:
            async with asyncio.timeout(PROBE_S):
                known = await reader.chains(self._pool)
                wanted = self._judged or tuple(known)
                lags = {name: await Reader(self._pool, known[name]).lag() for name in wanted if name in known}
        except (Transient, BadConfig, TimeoutError) as error:
            return {"database": [str(error) or "no answer in time"]}
        if not wanted:
            return {"database": ["no chain is registered yet"]}
        return {name: self.faults(lags[name]) if name in lags else ["nothing is indexed yet"] for name in wanted}
