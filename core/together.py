"""Questions that come at the same time, answered together: many askers cost about what one costs."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MOST: Final = 32  # questions in one answer: more would only make the first ones wait
LANES: Final = 1  # answers under way at once: a second one would halve what is asked together


class Together(Generic[K, V]):
    """Asks `load` for keys: at once while few are asked for, else for all that came while it was busy.

    Nobody gets what was read before they asked. `load` returns what it found by key; a key it leaves out is not there.
    What it raises is raised to everybody it was asked for, so that only questions of one price belong together.
    """

    def __init__(
        self, load: Callable[[Sequence[K]], Awaitable[Mapping[K, V]]], *, most: int = MOST, lanes: int = LANES
    ) -> None:
        self._load = load
        self._most = most
        self._lanes = asyncio.Semaphore(lanes)
        self._keys: dict[K, None] = {}  # of the next answer
        self._next: asyncio.Task[Mapping[K, V]] | None = None

    async def get(self, key: K) -> V | None:
        """Return what is found for `key`, None if nothing is."""
        if self._next is None or (len(self._keys) >= self._most and key not in self._keys):
            self._keys = {}
            # Awaited by all who ask for one of its keys.
            self._next = asyncio.create_task(self._answer(self._keys), name="together")
        self._keys[key] = None
        # Shielded: who stops waiting takes nothing away from the others.
        return (await asyncio.shield(self._next)).get(key)

    async def _answer(self, keys: Mapping[K, None]) -> Mapping[K, V]:
        async with self._lanes:
            if self._keys is keys:
                self._next = None  # who asks from here on gets a later answer
            return await self._load(list(keys))
