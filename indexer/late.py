"""An encoder that is loaded when it is first needed, in another thread, while the first blocks are fetched."""

import asyncio
import gc
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from types import ModuleType
from typing import Final

from core.store.bulk import Piece
from indexer.pipeline import Encoder

# The encoder's thread takes the interpreter's lock a few times for each request, and may wait for it so long each time.
SWITCH_S: Final = 0.0002


class LateEncoder:
    """What `make` returns, from when `load` has ended on.

    Compiled code and numpy take some time and memory, which processes that never fill history have no use for.
    """

    def __init__(self, make: Callable[[], Encoder]) -> None:
        self._make = make
        self._made: Encoder | None = None

    async def load(self) -> None:
        """Load compiled code, compiling it first if that was never done, and make the encoder."""
        if self._made is None:
            warm = await asyncio.to_thread(_warm_module)
            await warm.warm()
            self._made = self._make()
            sys.setswitchinterval(SWITCH_S)

    def encode(self, raw_blocks: Sequence[bytes], raw_rest: Sequence[bytes]) -> Piece:
        """Return the rows of consecutive blocks, as the encoder does."""
        assert self._made is not None, "load comes first"
        return self._made.encode(raw_blocks, raw_rest)


def _warm_module() -> ModuleType:
    gc.disable()  # a third of the time would go into looking for garbage in what has just been loaded
    try:
        return import_module("indexer.warm")
    finally:
        gc.enable()
