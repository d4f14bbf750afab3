"""Metadata of the tokens whose transfers were stored, read at one block and stamped with it."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
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

    async def ask_again(self, addresses: Collection[bytes]) -> None:
        """Have these tokens read again."""
        ...

    async def unread_tokens(self, limit: int) -> Sequence[bytes]:
        """Return tokens that were seen and never read, oldest first."""
        ...

    async def write_tokens(self, found: Sequence[tuple[bytes, Metadata]], at: BlockRef) -> bool:
        """Store what was read at `at`; False, and nothing stored, if that block has been orphaned meanwhile."""
        ...


@dataclass(frozen=True, slots=True)
class Override:
    """What an operator knows better than the contract; None leaves what the contract says."""

    symbol: str | None = None
    name: str | None = None
    decimals: int | None = None

    def over(self, said: Metadata) -> Metadata:
        """Return `said` with what is known better."""
        return Metadata(
            symbol=self.symbol or said.symbol,
            name=self.name or said.name,
            decimals=said.decimals if self.decimals is None else self.decimals,
        )


class Tokens:
    """Reads what new tokens say of themselves (a Service).

    It is not in the head's way: a token is shown without its symbol until it has been read.
    """

    def __init__(
        self,
        caller: Caller,
        store: TokenStore,
        *,
        name: str,
        overrides: Mapping[bytes, Override] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.name = f"tokens.{name}"
        self._caller = caller
        self._store = store
        self._overrides = dict(overrides or {})
        self._clock = clock or SystemClock()

    async def run(self) -> None:
        """Read for ever."""
        await self._store.ask_again(self._overrides)
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
        found = [(token, self._said(token, answers[i * size : (i + 1) * size])) for i, token in enumerate(waiting)]
        if await self._store.write_tokens(found, at):
            log.info("tokens read", extra={"chain": self.name, "tokens": len(found), "block": at.number})
        return True

    def _said(self, token: bytes, answers: Sequence[bytes | None]) -> Metadata:
        said = metadata(answers)
        override = self._overrides.get(token)
        return said if override is None else override.over(said)
