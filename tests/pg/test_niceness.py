"""A niced process' sessions are niced in the server, too, where the server is on this machine."""

import os
import subprocess
import sys

import pytest

from core.store.pool import open_pool

LOOK = """
import asyncio, os, sys
from core.store.pool import open_pool

async def main():
    async with open_pool(sys.argv[1], size=2) as pool, pool.acquire() as one, pool.acquire() as other:
        print(*(os.getpriority(os.PRIO_PROCESS, each.get_server_pid()) for each in (one, other)))

asyncio.run(main())
"""


@pytest.mark.parametrize("niceness", [0, 7])
def test_sessions_step_back_as_their_client_does(database_url: str, niceness: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOOK, database_url], check=True, capture_output=True, text=True,
        preexec_fn=lambda: os.nice(niceness),
    )  # fmt: skip
    expected = min(19, os.getpriority(os.PRIO_PROCESS, 0) + niceness)  # the tests may run niced themselves
    assert done.stdout.split() == [str(expected)] * 2


async def test_a_server_that_is_nobodys_is_left_alone(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int, int]] = []
    monkeypatch.setattr(os, "setpriority", lambda *what: told.append(what))
    monkeypatch.setattr(os, "getpriority", lambda *_: 0)
    async with open_pool(database_url, size=1) as pool:
        assert await pool.fetchval("select 1") == 1
    assert told == []
