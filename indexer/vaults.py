"""What vaults announced before they were watched: a second look at finalized blocks, by address.

Blocks are committed with the events of the vaults that settings named then. A vault that is named later has a past,
and a block's events may have been missed for other reasons; so each finalized block is looked at once more.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Final, Protocol

from core.clock import Clock, SystemClock
from core.errors import BadAnswer, RpcRefused
from core.store.derived import Row
from core.store.vaults import Unscanned
from core.types import BlockRange, BlockRef, PlacedLog
from indexer.decode.tables import vault_row
from indexer.decode.words import Malformed

log = logging.getLogger(__name__)

RANGE_BLOCKS: Final = 2_000  # public nodes take 500 to 10,000; halved while a node refuses
FIRST_BLOCKS: Final = 250  # doubled while there is little in them
MOST_ROWS: Final = 500  # more in one answer, and the next range is half as long: they are all in memory at once
IDLE_S: Final = 2.0
REFUSED_S: Final = 60.0


class LogSource(Protocol):
    """Where logs are asked for by address."""

    async def logs(self, addresses: Sequence[bytes], wanted: BlockRange) -> tuple[Sequence[PlacedLog], BlockRef]:
        """Return the logs of `addresses` in `wanted`, and the last block of it as the same node has it."""
        ...


class VaultStore(Protocol):
    """What was looked at, and where it goes."""

    async def unscanned(self, vault: bytes) -> Sequence[Unscanned]:
        """Return what is left to look at for `vault`, newest first."""
        ...

    async def times(self, numbers: Collection[int]) -> Mapping[BlockRef, datetime]:
        """Return the times of the stored blocks at `numbers`."""
        ...

    async def write(self, vault: bytes, rows: Sequence[Row], scanned: BlockRange, last: BlockRef) -> int:
        """Store what was found and that it was looked for; return how many rows were missing."""
        ...


class VaultScan:
    """Looks at finalized blocks again for the events of vaults (a Service)."""

    def __init__(
        self,
        source: LogSource,
        store: VaultStore,
        chain_id: int,
        vaults: Collection[bytes],
        *,
        name: str,
        range_blocks: int = RANGE_BLOCKS,
        clock: Clock | None = None,
    ) -> None:
        self.name = f"vaults.{name}"
        self._source = source
        self._store = store
        self._chain = chain_id
        self._vaults = tuple(vaults)
        self._most = range_blocks
        self._size = min(range_blocks, FIRST_BLOCKS)
        self._clock = clock or SystemClock()

    async def run(self) -> None:
        """Look for ever."""
        while True:
            try:
                worked = [await self.step(vault) for vault in self._vaults]
            except RpcRefused as error:
                await self._refused(error)
                continue
            if not any(worked):
                await self._clock.sleep(IDLE_S)

    async def step(self, vault: bytes) -> bool:
        """Look at one range; False when none is left, or only a few blocks that were committed with the vault known."""
        for part in await self._store.unscanned(vault):
            size = min(len(part.blocks), self._size)
            if part.live and len(part.blocks) < self._most:
                continue
            await self._scan(vault, BlockRange(part.blocks.last - size + 1, part.blocks.last))
            return True
        return False

    async def _scan(self, vault: bytes, wanted: BlockRange) -> None:
        found, last = await self._source.logs([vault], wanted)
        times = await self._store.times([each.block.number for each in found])
        rows = [row for each in found if (row := self._row(each, times)) is not None]
        added = await self._store.write(vault, rows, wanted, last)
        self._size = max(1, self._size // 2) if len(found) > MOST_ROWS else min(self._size * 2, self._most)
        log.info("vault scanned", extra={"chain": self.name, "first": wanted.first, "last": wanted.last,
                                         "rows": len(rows), "new": added})  # fmt: skip

    def _row(self, found: PlacedLog, times: Mapping[BlockRef, datetime]) -> Row | None:
        at = times.get(found.block)
        if at is None:
            raise BadAnswer(f"log of block {found.block}, which is not stored")
        try:
            return vault_row(self._chain, at, found)
        except Malformed:
            return None  # counted when its block is committed

    async def _refused(self, error: RpcRefused) -> None:
        """Ask for less next time; a node that refuses even one block is left alone for a while."""
        if self._size > 1:
            self._size //= 2
            return
        log.warning("logs refused", extra={"chain": self.name, "why": str(error)})
        await self._clock.sleep(REFUSED_S)
