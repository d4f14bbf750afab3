"""Questions asked at the same time have one answer, and nobody is forgotten or served what is old."""

import asyncio
import random
from collections.abc import Mapping, Sequence

import pytest

from core.together import Together


class Library:
    """Answers with the key doubled; knows no odd ones. Notes what it was asked."""

    def __init__(self, *, fails: bool = False) -> None:
        self.asked: list[Sequence[int]] = []
        self.under_way = self.most = 0
        self._fails = fails

    async def load(self, keys: Sequence[int]) -> Mapping[int, int]:
        self.asked.append(keys)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(0)
        self.under_way -= 1
        if self._fails:
            raise OSError("gone")
        return {key: key * 2 for key in keys if key % 2 == 0}


async def test_what_is_asked_at_once_is_asked_together_and_once() -> None:
    library = Library()
    together = Together(library.load, most=4, lanes=1)
    found = await asyncio.gather(*(together.get(key) for key in (2, 4, 2, 5, 6, 8, 2)))
    assert found == [4, 8, 4, None, 12, 16, 4]
    assert library.asked == [[2, 4, 5, 6], [8, 2]]


async def test_who_asks_while_an_answer_is_under_way_gets_a_later_one() -> None:
    library = Library()
    together = Together(library.load, lanes=1)
    first = asyncio.create_task(together.get(2))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert library.under_way
    assert await together.get(2) == 4
    assert await first == 4
    assert library.asked == [[2], [2]]


async def test_nobody_is_forgotten_whenever_they_ask() -> None:
    library = Library()
    together = Together(library.load, most=3, lanes=2)
    chance = random.Random(7)

    async def ask(key: int) -> None:
        for _ in range(200):
            assert await together.get(key) == key * 2
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)

    async with asyncio.timeout(20):
        await asyncio.gather(*(ask(key * 2) for key in range(5)))
    assert library.most == 2


async def test_an_error_is_everybodys_who_asked_and_nobody_elses() -> None:
    library = Library(fails=True)
    together = Together(library.load)
    for error in await asyncio.gather(together.get(2), together.get(4), return_exceptions=True):
        assert isinstance(error, OSError)
    with pytest.raises(OSError, match="gone"):
        await together.get(6)


async def test_who_stops_waiting_takes_nothing_from_the_others() -> None:
    library = Library()
    together = Together(library.load)
    impatient, patient = asyncio.create_task(together.get(2)), asyncio.create_task(together.get(2))
    await asyncio.sleep(0)
    impatient.cancel()
    assert await patient == 4
