"""Blocks at the head by the hot path (indexer/hotpath.py): a tenth of the time that objects take."""

import asyncio
import logging
from typing import Final, Protocol

from core.errors import BadAnswer
from core.store.bulk import Chunk, Unusual
from core.store.port import EncodedStore
from core.types import BlockRange, BlockRef
from indexer.pipeline import Answers, Encoder, Offload

log = logging.getLogger(__name__)

INLINE: Final = 2  # blocks that are encoded in the event loop: some ms, which a thread may wait for its turn
NULL: Final = 4  # bytes of null; only an empty list is shorter


class LoadedEncoder(Encoder, Protocol):
    """An encoder that has to be loaded first (indexer/late.py)."""

    async def load(self) -> None:
        """Load it."""
        ...


class EncodedHead:
    """Fetches and commits blocks as rows, once its encoder is loaded (a Service, for the loading)."""

    def __init__(
        self,
        answers: Answers,
        encoder: LoadedEncoder,
        store: EncodedStore,
        *,
        name: str,
        offload: Offload = asyncio.to_thread,
    ) -> None:
        self.name = f"encoder.{name}"
        self._answers = answers
        self._encoder = encoder
        self._store = store
        self._offload = offload
        self._ready = False

    async def run(self) -> None:
        """Load the encoder; what comes meanwhile goes the careful way."""
        await self._encoder.load()
        self._ready = True
        await asyncio.Event().wait()

    async def fetch(self, wanted: BlockRange) -> Chunk | None:
        """Return the rows of all of `wanted`, or None: the careful way asks again, and says what is wrong."""
        if not self._ready:
            return None
        blocks, receipts = await self._answers.answers(wanted)
        if len(blocks) < len(wanted) or any(len(each) == NULL for each in (*blocks, *receipts)):
            return None
        try:
            if len(wanted) <= INLINE:
                piece = self._encoder.encode(blocks, receipts)
            else:
                piece = await self._offload(self._encoder.encode, blocks, receipts)
        except (Unusual, BadAnswer) as error:
            log.debug("unusual blocks", extra={"blocks": str(wanted), "why": str(error)[:500]})
            return None
        if [header.number for header in piece.headers] != list(range(wanted.first, wanted.last + 1)):
            return None
        return Chunk([piece])

    async def commit(self, chunk: Chunk, *, after: BlockRef | None) -> None:
        """Store it and move the cursor. Raises RowsRefused, and as ChainStore.commit."""
        await self._store.commit_chunk(chunk, after=after)
