"""Remembers what was learned of endpoints from one process to the next."""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Final, Protocol

from core.clock import Clock, SystemClock
from core.errors import Transient
from core.rpc.limits import Learned

log = logging.getLogger(__name__)

EVERY_S: Final = 60.0
LAST_S: Final = 2.0  # for the last time: nobody waits for this when the process should end


class LearnedStore(Protocol):
    """Where it is kept, by key of the endpoint: a hash of its URL, never the URL."""

    async def read(self, now: datetime) -> dict[bytes, Learned]:
        """Return what is known and not stale."""
        ...

    async def write(self, learned: Mapping[bytes, Learned], now: datetime) -> None:
        """Keep what was learned; what is None leaves what is known."""
        ...


class Learning(Protocol):
    """Who learns: a pool."""

    def recall(self, known: Mapping[bytes, Learned]) -> None:
        """Start with what was learned before."""
        ...

    def learned(self) -> dict[bytes, Learned]:
        """Return what is worth remembering."""
        ...


class EndpointMemory:
    """Writes what a pool learns, if it changed, once a minute and at the end (a Service).

    Nothing depends on it: a database that does not answer now is written to next time.
    """

    def __init__(self, pool: Learning, store: LearnedStore, *, name: str, clock: Clock | None = None) -> None:
        self.name = f"endpoints.{name}"
        self._pool = pool
        self._store = store
        self._clock = clock or SystemClock()
        self._written: dict[bytes, Learned] = {}

    async def recall(self) -> None:
        """Let the pool start with what an earlier process learned."""
        self._written = await self._store.read(self._clock.now())
        self._pool.recall(self._written)

    async def run(self) -> None:
        """Remember for ever."""
        try:
            while True:
                await self._clock.sleep(EVERY_S)
                await self._remember()
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_S):
                    await self._remember()

    async def _remember(self) -> None:
        learned = self._pool.learned()
        changed = {key: each for key, each in learned.items() if self._written.get(key) != each}
        if not changed:
            return
        try:
            await self._store.write(changed, self._clock.now())
        except Transient as error:
            log.warning("endpoints not remembered", extra={"why": str(error)})
            return
        self._written |= changed
