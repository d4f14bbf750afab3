"""Keeps what a chain's blocks have to pass: found out once, remembered, looked at again (services)."""

import logging
from collections.abc import Awaitable, Callable, Collection
from typing import Final, Protocol

from core.clock import Clock, SystemClock
from core.rpc.calibrate import Calibration
from core.store.verified import ChainChecks, Completeness
from core.verify.checks import NONE, Check, Level, names

log = logging.getLogger(__name__)

FIRST_S: Final = 60.0  # until the next look, while blocks are missing that could tell; twice as long each time
MOST_S: Final = 86_400.0
LOOK_S: Final = 10.0


class LevelStore(Protocol):
    """Where it is remembered. Every method may raise StoreUnavailable."""

    async def level(self) -> ChainChecks | None:
        """Return what blocks have to pass; None before the first calibration."""
        ...

    async def calibrated(self, holds: Check, without: Check, failed_at: Collection[int] = ()) -> ChainChecks:
        """Add what was seen to hold to what is known, and want all of it but `without`; return what is known now.

        Remember `failed_at`, blocks that checks failed at, beside others.
        """
        ...

    async def completeness(self) -> Completeness:
        """Return how much of what is stored is verified."""
        ...

    async def count_quarantined(self) -> int:
        """Return how many blocks are in quarantine."""
        ...


class LevelMeter(Protocol):
    """What is shown of it."""

    def weakened(self, checks: int) -> None:
        """Show how many checks failed at the last calibration that had held before."""
        ...

    def completeness(self, share: float | None, quarantined: int) -> None:
        """Show which share of the stored blocks is verified, and how many are in quarantine."""
        ...


class Calibrator:
    """Calibrates one chain again and again (a Service): what is remembered only ever grows.

    A node that lies can make a check fail, and a restart with it must not make the chain's level weaker; so a failure
    of what held before is shown and changes nothing. A block that some check failed at is among those of every later
    `look`: other blocks alone must not turn on what this one never passes. `without` are checks that settings leave
    out.
    """

    def __init__(
        self,
        look: Callable[[Collection[int]], Awaitable[Calibration]],
        store: LevelStore,
        level: Level,
        *,
        name: str,
        meter: LevelMeter,
        without: Check = NONE,
        clock: Clock | None = None,
    ) -> None:
        self.name = f"calibrate.{name}"
        self._look = look
        self._store = store
        self._level = level
        self._meter = meter
        self._without = without
        self._clock = clock or SystemClock()

    async def begin(self) -> None:
        """Set the level from what is remembered; find it out if nothing is."""
        if await self._store.level() is None:
            await self.step()
        else:
            self._level.checks = (await self._store.calibrated(NONE, self._without)).wanted

    async def run(self) -> None:
        """Look again for ever, soon while something is open."""
        pause = FIRST_S
        while True:
            await self._clock.sleep(pause)
            found = await self.step()
            pause = min(pause * 2, MOST_S) if found.open else MOST_S

    async def step(self) -> Calibration:
        """Look once, and remember what holds."""
        before = await self._store.level()
        found = await self._look(() if before is None else before.failed_at)
        failed_at = {why.at.number for why in found.fails.values()}
        known = await self._store.calibrated(found.holds, self._without, failed_at)
        self._level.checks = known.wanted
        weaker = Check(sum(check for check in found.fails if check in known.held))
        self._meter.weakened(len(names(weaker)))
        said = {
            "chain": self.name, "blocks": found.blocks, "on": names(known.wanted), "not_yet": names(found.open),
            "off": {names(check)[0]: str(why) for check, why in found.fails.items()},
            "left_out": names(self._without),
        }  # fmt: skip
        if weaker:
            log.error("checks fail that held before; they stay on", extra={**said, "weaker": names(weaker)})
        elif before is None or (before.held, before.wanted) != (known.held, known.wanted):
            log.info("calibrated", extra=said)
        return found


class LevelWatch:
    """Shows completeness, and takes over what another process has found out (a Service)."""

    def __init__(
        self,
        store: LevelStore,
        level: Level | None,
        *,
        name: str,
        meter: LevelMeter,
        clock: Clock | None = None,
    ) -> None:
        self.name = f"level.{name}"
        self._store = store
        self._level = level
        self._meter = meter
        self._clock = clock or SystemClock()

    async def run(self) -> None:
        """Look for ever."""
        while True:
            known = await self._store.level()
            if known is not None and self._level is not None:
                self._level.checks = known.wanted
            self._meter.completeness((await self._store.completeness()).share, await self._store.count_quarantined())
            await self._clock.sleep(LOOK_S)
