"""How much history a chain keeps: what is wanted, what may go, and the chore that takes it away."""

import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final, Protocol

from core.clock import Clock, SystemClock
from core.facts import FactLog
from core.types import BlockRange, BlockRef

log = logging.getLogger(__name__)

# Kept beyond what is wanted: a rewind lowers the head, and backfill must not want what was pruned under a higher one.
MARGIN_BLOCKS: Final = 128
STEP_BLOCKS: Final = 100  # a transaction: 20,000 transactions of a busy chain, a second or so
BUDGET_S: Final = 30.0
STEP_FACTS: Final = 5_000  # a transaction; the head waits at most for its commit


class Cursor(Protocol):
    """Where the head writer is."""

    async def cursor(self) -> BlockRef | None:
        """Return the last block the head writer committed."""
        ...


class Pruner(Protocol):
    """Takes the oldest blocks away."""

    async def prune(self, below: int, limit: int) -> BlockRange | None:
        """Remove up to `limit` of the oldest blocks below `below`; None if there are none."""
        ...

    async def drop_empty(self, below: int) -> list[str]:
        """Give back the space of what is empty; return the names of what was dropped."""
        ...


def wanted_from(head: int, retain_blocks: int) -> int:
    """Return the lowest block that is wanted when `head` is the newest. 0 blocks to retain means all."""
    return max(0, head - retain_blocks + 1) if retain_blocks else 0


def prune_below(head: int, finalized: int | None, retain_blocks: int, *, margin_blocks: int = MARGIN_BLOCKS) -> int:
    """Return the height below which blocks may go: none that is wanted, near that, or not final as far as known."""
    below = max(0, wanted_from(head, retain_blocks) - margin_blocks)
    return below if finalized is None else min(below, finalized)


class Retention:
    """Prunes one chain, as a chore: bounded in time, oldest blocks first, harmless when it is done twice."""

    def __init__(
        self,
        store: Cursor,
        pruner: Pruner,
        finalized: Callable[[], Awaitable[int | None]],
        *,
        name: str,
        retain_blocks: int,
        margin_blocks: int = MARGIN_BLOCKS,
        on_pruned: Callable[[int], None] = lambda _: None,
        clock: Clock | None = None,
    ) -> None:
        self._store = store
        self._pruner = pruner
        self._finalized = finalized
        self._name = name
        self._retain_blocks = retain_blocks
        self._margin_blocks = margin_blocks
        self._on_pruned = on_pruned
        self._clock = clock or SystemClock()

    async def prune(self) -> int:
        """Prune until nothing is left to, or the time is up; return how many blocks went."""
        cursor = await self._store.cursor()
        if cursor is None:
            return 0
        below = prune_below(
            cursor.number, await self._finalized(), self._retain_blocks, margin_blocks=self._margin_blocks
        )
        ends = self._clock.monotonic() + BUDGET_S
        removed = 0
        while self._clock.monotonic() < ends:
            old = await self._pruner.prune(below, STEP_BLOCKS)
            if old is None:
                for partition in await self._pruner.drop_empty(below):
                    log.info("dropped", extra={"chain": self._name, "partition": partition})
                break
            removed += len(old)
            self._on_pruned(len(old))
        if removed:
            log.info("pruned", extra={"chain": self._name, "below": below, "blocks": removed})
        return removed


class FactRetention:
    """Forgets old facts of one chain, as a chore: oldest first, bounded in time, harmless when it is done twice."""

    def __init__(self, facts: FactLog, *, name: str, days: int, clock: Clock | None = None) -> None:
        self._facts = facts
        self._name = name
        self._kept = timedelta(days=days)
        self._clock = clock or SystemClock()

    async def prune(self) -> int:
        """Forget until nothing is old enough, or the time is up; return how many facts went."""
        before = self._clock.now() - self._kept
        ends = self._clock.monotonic() + BUDGET_S
        removed = 0
        while self._clock.monotonic() < ends:
            step = await self._facts.prune(before, STEP_FACTS)
            removed += step
            if step < STEP_FACTS:
                break
        if removed:
            log.info("pruned facts", extra={"chain": self._name, "facts": removed})
        return removed
