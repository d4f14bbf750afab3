"""Questions that come at the same time, answered together: many askers cost about what one costs."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MOST: Final = 16  # questions in one answer: while it is read, the next ones come and the last ones are sent
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
        self._next: _Asked[K, V] = {}
        self._under_way: set[asyncio.Task[Mapping[K, V]]] = set()

    async def get(self, key: K) -> V | None:
        """Return what is found for `key`, None if nothing is."""
        asked = self._next
        if not asked or (len(asked) >= self._most and key not in asked):
            asked = self._next = {}
            # Awaited by all who ask for one of its keys, through `_tell`.
            task = asyncio.create_task(self._answer(asked), name="together")
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
            task.add_done_callback(partial(_tell, asked))
        # Everybody has a future of their own: who stops waiting takes nothing away from the others.
        answer: asyncio.Future[V | None] = asyncio.get_running_loop().create_future()
        asked.setdefault(key, []).append(answer)
        return await answer

    async def _answer(self, asked: "_Asked[K, V]") -> Mapping[K, V]:
        async with self._lanes:
            if self._next is asked:
                self._next = {}  # who asks from here on gets a later answer
            return await self._load(list(asked))


_Asked = dict[K, list[asyncio.Future[V | None]]]  # who waits for what is found for a key


def _tell(asked: _Asked[K, V], task: asyncio.Task[Mapping[K, V]]) -> None:
    """Hand on what came of an answer to all who still wait for it."""
    error = None if task.cancelled() else task.exception()
    for key, answers in asked.items():
        for answer in answers:
            if answer.done():
                continue
            if task.cancelled():
                answer.cancel()
            elif error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(task.result().get(key))
