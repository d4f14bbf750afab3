"""NOTIFY heard on one connection: a word that there is something new, never what it is."""

import asyncio
import logging
from collections.abc import Callable, Collection
from typing import Final

from core.errors import Transient
from core.store.pool import Connection, Pool, translated

log = logging.getLogger(__name__)

AGAIN_S: Final = 1.0


class Ear:
    """Listens for facts of chains for ever, on a connection that it keeps; when that is lost, on another one."""

    def __init__(self, pool: Pool, heard: Callable[[], None], *, on_state: Callable[[bool], None]) -> None:
        self._pool = pool
        self._heard = heard
        self._on_state = on_state
        self._chains: set[int] = set()
        self._changed = asyncio.Event()

    def listen_to(self, chains: Collection[int]) -> None:
        """Listen to these chains too."""
        if not self._chains.issuperset(chains):
            self._chains.update(chains)
            self._changed.set()

    async def run(self) -> None:
        """Listen until cancelled."""
        while True:
            self._changed.clear()
            # The only connection of a pool is needed for asking.
            if self._chains and self._pool.get_max_size() > 1:
                await self._once()
                await asyncio.sleep(AGAIN_S)
            else:
                await self._changed.wait()

    async def _once(self) -> None:
        try:
            with translated():
                async with self._pool.acquire() as conn:
                    try:
                        await self._until_lost(conn)
                    finally:
                        # With its listeners it is of no use to others, and may be broken.
                        conn.terminate()
        except Transient as error:
            log.warning("not listening for facts: polling", extra={"why": str(error)})
        finally:
            self._on_state(False)

    async def _until_lost(self, conn: Connection) -> None:
        lost = False

        def on_lost(*_: object) -> None:
            nonlocal lost
            lost = True
            self._changed.set()

        conn.add_termination_listener(on_lost)
        listening: set[int] = set()
        while not lost:
            self._changed.clear()
            for chain in self._chains - listening:
                await conn.add_listener(f"chain_{chain}", lambda *_: self._heard())
                listening.add(chain)
            # What was told before this connection listened is not announced to it.
            self._heard()
            self._on_state(True)
            await self._changed.wait()
        log.warning("not listening for facts: polling", extra={"why": "the connection was lost"})
