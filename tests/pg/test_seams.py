"""Two fillers that write neighbours at the same time: whoever comes second sees the first."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from core.errors import SeamBroken
from core.store.pg import PgStore
from core.store.pool import Pool, open_pool
from tests import make
from tests.sim.postgres import check_stored

A = make.chain(200)
B = A[:20] + make.chain(40, onto=A[19], fork="b")


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url, role="chainworkd_indexer", size=8) as opened:
        yield opened


async def store_of(pool: Pool) -> PgStore:
    store = PgStore(pool, 1)
    await store.register("one", None)
    await store.commit(A[199:], after=None)
    return store


@pytest.mark.parametrize("turn", range(8))
async def test_neighbours_of_two_forks_are_never_both_stored(pool: Pool, turn: int) -> None:
    store = await store_of(pool)
    lower, upper = A[20:30], B[30:40]
    fills = [store.fill(lower, anchored=False), store.fill(upper, anchored=False)]
    done = await asyncio.gather(*(fills if turn % 2 else reversed(fills)), return_exceptions=True)
    assert [type(each) for each in done if each is not None] == [SeamBroken]
    await check_stored(pool, 1)


async def test_neighbours_of_one_chain_are_stored_whatever_the_order(pool: Pool) -> None:
    store = await store_of(pool)
    spans = [A[first : first + 10] for first in range(20, 190, 10)]
    await asyncio.gather(*(store.fill(span, anchored=False) for span in (*spans[::2], *spans[1::2])))
    await store.join_coverage()
    assert [(span.first, span.last) for span in await store.coverage()] == [(20, 189), (199, 199)]
    await check_stored(pool, 1)
