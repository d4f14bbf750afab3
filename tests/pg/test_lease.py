"""Leases: one holder at a time, for as long as it renews."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from core.errors import SeamBroken
from core.store.bulk import Chunk, Piece
from core.store.copy import header_row
from core.store.lease import Lease, PgLeases
from core.store.pg import PgStore
from core.store.pool import Pool, open_pool
from core.types import Block, BlockRange
from tests import make

CHAIN = 1
A = make.chain(40)
SOON = timedelta(milliseconds=50)


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url, role="chainworkd_indexer", size=8) as opened:
        yield opened


def chunk_of(blocks: list[Block]) -> Chunk:
    rows = [header_row(CHAIN, block, 0) for block in blocks]
    return Chunk([Piece(headers=blocks, copies={}, counts={}, records={"block": rows})])


async def filled_store(pool: Pool) -> PgStore:
    store = PgStore(pool, CHAIN)
    await store.register("one", None)
    await store.commit(A[39:], after=None)
    return store


async def test_only_one_of_many_gets_a_range(pool: Pool) -> None:
    for chain in range(CHAIN, CHAIN + 40):  # often enough to see claims that wait for each other (a deadlock)
        claims = await asyncio.gather(*(PgLeases(pool, chain).claim(BlockRange(n, n + 20)) for n in range(8)))
        held = [claim for claim in claims if claim is not None]
        assert len(held) == 1
        assert await PgLeases(pool, chain).taken() == [held[0].blocks]


async def test_ranges_apart_and_other_chains_do_not_disturb_one_another(pool: Pool) -> None:
    assert await PgLeases(pool, CHAIN).claim(BlockRange(0, 9)) is not None
    assert await PgLeases(pool, CHAIN).claim(BlockRange(10, 19)) is not None
    assert await PgLeases(pool, 2).claim(BlockRange(0, 19)) is not None


async def test_a_released_range_is_free_at_once(pool: Pool) -> None:
    leases = PgLeases(pool, CHAIN)
    first = await leases.claim(BlockRange(0, 9))
    assert first is not None
    await leases.release(first)
    assert await leases.taken() == []
    assert await leases.claim(BlockRange(5, 12)) is not None


async def test_a_lease_that_nobody_renews_ends_by_itself(pool: Pool) -> None:
    leases = PgLeases(pool, CHAIN, term=SOON)
    lost = await leases.claim(BlockRange(0, 9))
    assert lost is not None
    await asyncio.sleep(0.1)
    assert await leases.taken() == []
    with pytest.raises(SeamBroken, match="has ended"):
        await leases.renew(lost)
    assert await PgLeases(pool, CHAIN).claim(BlockRange(0, 9)) is not None


async def test_a_renewed_lease_goes_on(pool: Pool) -> None:
    leases = PgLeases(pool, CHAIN, term=timedelta(seconds=1))
    mine = await leases.claim(BlockRange(0, 9))
    assert mine is not None
    for _ in range(3):
        await asyncio.sleep(0.4)
        await leases.renew(mine)
    assert await leases.taken() == [BlockRange(0, 9)]


async def test_who_lost_the_lease_stores_nothing(pool: Pool) -> None:
    store, leases = await filled_store(pool), PgLeases(pool, CHAIN, term=SOON)
    lost = await leases.claim(BlockRange(0, 9))
    assert lost is not None
    await asyncio.sleep(0.1)
    with pytest.raises(SeamBroken, match="not held"):
        await store.fill_chunk(chunk_of(A[:10]), anchored=False, lease=lost)
    assert await store.ref_at(3) is None


@pytest.mark.parametrize("last", [9, 12])
async def test_a_lease_holds_its_own_range_and_no_more(pool: Pool, last: int) -> None:
    store, lease = await filled_store(pool), await PgLeases(pool, CHAIN).claim(BlockRange(0, 9))
    assert isinstance(lease, Lease)
    filling = store.fill_chunk(chunk_of(A[: last + 1]), anchored=False, lease=lease)
    if last == 9:
        await filling
        assert await store.ref_at(9) == A[9].ref
    else:
        with pytest.raises(SeamBroken, match="not held"):
            await filling
