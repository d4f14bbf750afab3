"""A connection that is kept between uses: the same one, not for long, and never one that is not as it should be."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator

import asyncpg
import pytest

from core.store import held as module
from core.store.held import Held
from core.store.pool import Pool, open_pool


@pytest.fixture
async def narrow(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url, size=2) as pool:
        yield pool


async def test_uses_that_follow_each_other_have_the_same_connection_and_then_others_may(
    narrow: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT_S", 0.2)
    held = Held(narrow)
    async with held.connection() as first:
        pid = first.get_server_pid()
    async with held.connection() as second:
        assert second.get_server_pid() == pid
        async with held.connection() as third:  # at the same time
            assert third.get_server_pid() != pid
    assert narrow.get_idle_size() == 1
    async with asyncio.timeout(5):
        while narrow.get_idle_size() < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_connection_is_not_kept_after_an_error_nor_with_an_open_transaction(narrow: Pool) -> None:
    held = Held(narrow)
    with pytest.raises(asyncpg.DivisionByZeroError):
        async with held.connection() as conn:
            await conn.execute("begin; select 1/0")
    assert narrow.get_idle_size() == narrow.get_size()
    async with held.connection() as conn:
        await conn.execute("begin")
    assert narrow.get_idle_size() == narrow.get_size()
    async with held.connection() as conn:
        assert not conn.is_in_transaction()


async def test_a_connection_that_died_while_it_was_kept_is_replaced(narrow: Pool) -> None:
    held = Held(narrow)
    async with held.connection() as conn:
        pid = conn.get_server_pid()
    await narrow.execute("select pg_terminate_backend($1)", pid)
    async with asyncio.timeout(5):
        while narrow.get_idle_size() < narrow.get_size():  # noqa: ASYNC110 - the driver tells nobody
            await asyncio.sleep(0.005)
    async with held.connection() as conn:
        assert await conn.fetchval("select 1") == 1
        assert conn.get_server_pid() != pid


def test_what_is_kept_when_the_pool_ends_makes_no_work_for_a_loop_that_ends_too(database_url: str) -> None:
    """Work that nobody does any more is told as `coroutine 'Pool.release' was never awaited`, which fails this test."""

    async def use() -> None:
        async with open_pool(database_url, size=1) as pool, Held(pool).connection() as conn:
            await conn.execute("select 1")

    loop = asyncio.new_event_loop()
    loop.run_until_complete(use())
    time.sleep(2 * module.KEPT_S)  # the time of giving back has come,
    loop.call_soon(loop.stop)  # and the loop takes one more turn, as it does to cancel what is left of it
    loop.run_forever()
    loop.close()
    gc.collect()
