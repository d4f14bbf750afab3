"""The alarm that blocks were orphaned which had been called finalized: what spends money stops until it is cleared."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from core.types import BlockRange


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """Blocks `orphans` were taken away although block `finalized`, in or above them, had been called finalized.

    `by_depth`: not by the node, but by a depth below its head that settings say. `reason` is that of the reorg.
    """

    raised_at: datetime
    finalized: int
    by_depth: bool
    orphans: BlockRange
    tip_hash: bytes
    reason: str

    def __str__(self) -> str:
        by = "by depth" if self.by_depth else "by the node"
        return (
            f"blocks {self.orphans} were orphaned at {self.raised_at:%Y-%m-%dT%H:%M:%SZ}, although {self.finalized} "
            f"had been called finalized {by}: {self.reason}"
        )


class AlarmLog(Protocol):
    """The alarms of one chain. Every method may raise StoreUnavailable."""

    async def raised(self) -> tuple[Alarm, ...]:
        """Return the alarms that nobody has cleared, oldest first: while there is one, nothing may spend money."""
        ...

    async def clear(self, by: str, because: str) -> int:
        """Clear all of them; return how many there were."""
        ...
