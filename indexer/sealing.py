"""Counts what is finalized, segment by segment, so that totals need not be counted again (ADR 41 and 43)."""

import logging
from collections.abc import Callable, Sequence
from typing import Final, Generic, Protocol, TypeVar

from core.clock import Clock, SystemClock
from core.types import BlockRange

log = logging.getLogger(__name__)

AT_ONCE: Final = 200  # seals between two looks at what there is to seal
IDLE_S: Final = 30.0


class Sealable(Protocol):
    """What is counted at once: a segment of transactions, or some of deposits."""

    @property
    def blocks(self) -> BlockRange:
        """Which blocks these are."""
        ...


Some = TypeVar("Some", bound=Sealable)


class SealStore(Protocol[Some]):
    """What can be sealed. Every method may raise StoreUnavailable."""

    async def unsealed(self, limit: int) -> Sequence[Some]:
        """Return what can be sealed, the newest first."""
        ...

    async def seal(self, some: Some, /) -> bool:
        """Count and seal; False if that cannot be done any more."""
        ...

    async def share(self) -> float | None:
        """Return which share of the stored blocks that are final is sealed; None where there are none."""
        ...


class Sealing(Generic[Some]):
    """Seals what is final and covered, the newest first (a Service). It hurries nobody: totals are exact without it."""

    def __init__(
        self,
        store: SealStore[Some],
        *,
        name: str,
        on_share: Callable[[float], None] = lambda share: None,
        clock: Clock | None = None,
    ) -> None:
        self.name = f"sealing.{name}"
        self._store = store
        self._on_share = on_share
        self._clock = clock or SystemClock()

    async def run(self) -> None:
        """Seal for ever."""
        while True:
            if not await self.step():
                await self._clock.sleep(IDLE_S)

    async def step(self) -> int:
        """Seal what there is, some at most; return how many seals that were."""
        started = self._clock.monotonic()
        sealed = [some for some in await self._store.unsealed(AT_ONCE) if await self._store.seal(some)]
        if sealed:
            ms = round((self._clock.monotonic() - started) * 1000)
            blocks = (min(each.blocks.first for each in sealed), max(each.blocks.last for each in sealed))
            log.info("sealed", extra={"chain": self.name, "seals": len(sealed), "first": blocks[0],
                                      "last": blocks[1], "ms": ms})  # fmt: skip
        share = await self._store.share()
        if share is not None:
            self._on_share(share)
        return len(sealed)
