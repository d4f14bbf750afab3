"""Which generation of the contracts is deployed: configured, or found in the implementation's code (a Service)."""

import asyncio
import logging
from typing import Final

from builders.ostium.actions import Deployment, Generation
from builders.ostium.generations import IMPLEMENTATION_SLOT, generation_of
from core.errors import BadAnswer, Transient
from core.rpc.state import RpcState

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 600.0  # a proxy's implementation changes a few times a year
FIRST_LOOK_S: Final = 3.0  # how long the first request waits for the first look


class GenerationWatch:
    """Knows the generation. Without a node, or with one that is configured, it is `start` for ever."""

    name = "builder.generation"

    def __init__(self, on: Deployment, start: Generation, state: RpcState | None) -> None:
        self._on = on
        self._state = state
        self._current = start
        self._looked = asyncio.Event()
        if state is None:
            self._looked.set()

    @property
    def looks(self) -> bool:
        """Whether there is anything to run."""
        return self._state is not None

    @property
    def current(self) -> Generation:
        """The generation that is known now."""
        return self._current

    async def ready(self) -> Generation:
        """Return the generation, waiting a little for the first look at the chain; a silent node holds up nobody."""
        if not self._looked.is_set():
            try:
                async with asyncio.timeout(FIRST_LOOK_S):
                    await self._looked.wait()
            except TimeoutError:
                self._looked.set()
        return self._current

    async def run(self) -> None:
        """Look again and again; a node that does not answer leaves things as they are."""
        while True:
            try:
                await self.look()
            except (Transient, TimeoutError) as error:
                log.warning("generation not looked up", extra={"why": str(error), "stays": self._current.value})
            self._looked.set()
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Look once. Raises Transient errors, and BadAnswer for code that has none of the known openTrade."""
        if self._state is None:
            return
        found_chain = await self._state.chain_id()
        if found_chain != self._on.chain_id:
            raise BadAnswer(f"the node serves chain {found_chain}, expected {self._on.chain_id}")
        behind = await self._state.implementation(self._on.trading, IMPLEMENTATION_SLOT)
        code = await self._state.code(behind if any(behind) else self._on.trading)
        found = generation_of(code)
        if found is None:
            raise BadAnswer(
                f"Trading at 0x{self._on.trading.hex()}: no openTrade that is known, {len(code)} bytes of code"
            )
        if found is not self._current:
            log.warning("contracts are of another generation", extra={"was": self._current.value, "now": found.value})
        self._current = found
