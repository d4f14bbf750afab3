"""A parent and its children: what their pipe of signs of life says, on the event loop that the program runs."""

import asyncio
import os

import pytest
import uvloop

from core.pulse import Pulse
from daemon import family
from daemon.family import heartbeat


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(family, "START_S", 0.2)


def listening(beats: int) -> "asyncio.Task[bool]":
    return asyncio.create_task(family._silence(beats, 0.2))


async def ended(task: "asyncio.Task[bool]") -> bool:
    async with asyncio.timeout(5):
        return await task


def test_a_child_that_beats_is_not_silent_and_one_that_stops_is() -> None:
    async def story() -> None:
        ours, theirs = os.pipe()
        waiting = listening(ours)
        beating = asyncio.create_task(heartbeat(Pulse(), theirs, hang_s=0.2).run())
        await asyncio.sleep(0.8)
        assert not waiting.done()
        beating.cancel()
        assert await ended(waiting) is True
        os.close(ours)
        os.close(theirs)

    uvloop.run(story())


def test_the_end_of_a_child_is_no_silence() -> None:
    async def story() -> None:
        ours, theirs = os.pipe()
        waiting = listening(ours)
        await asyncio.sleep(0.05)
        os.close(theirs)
        assert await ended(waiting) is False
        os.close(ours)

    uvloop.run(story())


def test_nobody_else_s_descriptor_is_closed() -> None:
    """A transport would close the number later, when the next pipe has it: a child's restart ended the program."""

    async def story() -> None:
        for _ in range(50):
            ours, theirs = os.pipe()
            waiting = listening(ours)
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            os.close(ours)
            os.close(theirs)
            others = os.pipe()
            await asyncio.sleep(0.001)
            for each in others:
                os.fstat(each)  # OSError if somebody has closed it
                os.close(each)

    uvloop.run(story())
