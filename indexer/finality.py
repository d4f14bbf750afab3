"""Keeps what the node calls safe and finalized beside the head, and shows whether it was ever wrong."""

from collections.abc import Callable
from typing import Protocol

from core.alarm import AlarmLog
from core.clock import Clock, SystemClock
from core.types import Finality


class FinalitySource(Protocol):
    """Who knows what is final."""

    async def finality(self) -> Finality:
        """Return the newest safe and finalized blocks."""
        ...


class FinalityStore(Protocol):
    """Where it is kept."""

    async def note(self, found: Finality) -> None:
        """Raise what is safe and finalized to those of the blocks that are stored."""
        ...


class FinalityWatch:
    """Asks again and again (a Service). Apart from the head's watch: a node without tags must not disturb that."""

    def __init__(
        self,
        source: FinalitySource,
        store: FinalityStore,
        alarms: AlarmLog,
        *,
        name: str,
        on_alarms: Callable[[int], None] = lambda _: None,
        poll_s: float = 2.0,
        clock: Clock | None = None,
    ) -> None:
        self.name = f"finality.{name}"
        self._source = source
        self._store = store
        self._alarms = alarms
        self._on_alarms = on_alarms
        self._poll_s = poll_s
        self._clock = clock or SystemClock()

    async def run(self) -> None:
        """Watch for ever; show alarms first, which a silent node must not hide."""
        while True:
            self._on_alarms(len(await self._alarms.raised()))
            await self._store.note(await self._source.finality())
            await self._clock.sleep(self._poll_s)
