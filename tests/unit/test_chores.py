"""Chores happen, fail without harm, and stop everything when they are defective."""

import asyncio
from datetime import timedelta

import pytest

from core.chores import Chore, Chores
from core.errors import RpcUnavailable

SECOND = timedelta(seconds=1)


async def test_a_chore_that_fails_for_a_while_is_tried_again() -> None:
    tries = 0
    worked = asyncio.Event()

    async def do() -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise RpcUnavailable("node is away")
        worked.set()

    running = asyncio.create_task(Chores([Chore("test", SECOND, do)], name="test").run())
    async with asyncio.timeout(10):
        await worked.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert tries == 2


async def test_a_defect_in_a_chore_ends_the_service() -> None:
    async def do() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        async with asyncio.timeout(10):
            await Chores([Chore("test", SECOND, do)], name="test").run()
