"""Metadata of the tokens whose transfers were stored, read at one block and stamped with it."""

import logging
from collections.abc import Sequence
from typing import Final, Protocol

from core.clock import Clock, SystemClock
from core.rpc.caller import Caller
from core.types import BlockRef
from indexer.decode.metadata import GETTERS, Metadata, metadata

log = logging.getLogger(__name__)

TOKENS_AT_ONCE: Final = 50
IDLE_S: Final = 0.5


class TokenStore(Protocol):
    """Which tokens wait, and what is known of them."""

    async def cursor(self) -> BlockRef | None:
        """Return the last block the head writer committed."""
        ...

    async def unread_tokens(self, limit: int) -> Sequence[bytes]:
        """Return tokens that were seen and never read, oldest first."""
        ...

    async def write_tokens(self, found: Sequence[tuple[bytes, Metadata]], at: BlockRef) -> bool:
        """Store what was read at `at`; False, and nothing stored, if that block has been orphaned meanwhile."""
        ...


class Tokens:
    """Reads what new tokens say of themselves (a Service).

    It is not in the head's way: a token is shown without its symbol until it has been read.
    """

    def __init__(self, caller: Caller, store: TokenStore, *, name: str, clock: Clock | None = None) -> None:
        self.name = f"tokens.{name}"
        self._caller = caller
        self._store = store
        self._clock = clock or SystemClock()

    async def run(self) -> None:
        """Read for ever."""
        while True:
            if not await self.step():
                await self._clock.sleep(IDLE_S)

    async def step(self) -> bool:
        """Read one batch; False when none waits."""
        at = await self._store.cursor()
        waiting = await self._store.unread_tokens(TOKENS_AT_ONCE) if at is not None else ()
        if at is None or not waiting:
            return False
        answers = await self._caller.call([(token, getter) for token in waiting for getter in GETTERS], at)
        size = len(GETTERS)
        found = [(token, metadata(answers[i * size : (i + 1) * size])) for i, token in enumerate(waiting)]
        if await self._store.write_tokens(found, at):
            log.info("tokens read", extra={"chain": self.name, "tokens": len(found), "block": at.number})
        return True
