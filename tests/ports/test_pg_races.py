"""What two connections of PgStore do to each other: seams that are written from both sides, ranges that are joined."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from core.errors import SeamBroken
from core.store.finality import PgFinality
from core.store.pg import PgStore
from core.store.pool import Connection, Pool
from core.store.vaults import PgVaults
from core.types import Block, BlockRange, BlockRef, Finality
from tests import make
from tests.sim.postgres import check_stored

PALM = 11_297_108_109  # a chain id above 2^31
A = make.chain(60, txs=2)
B = A[:20] + make.chain(15, onto=A[19], fork="b", txs=2)


async def store_of(pool: Pool, chain: int = 1) -> PgStore:
    store = PgStore(pool, chain)
    await store.register(f"chain {chain}", None)
    return store


async def spans(pool: Pool, chain: int = 1) -> list[tuple[int, int]]:
    """Coverage as it is stored, not as it is told."""
    sql = "select lower(blocks), upper(blocks) - 1 from chain.coverage where chain_id = $1 order by 1"
    return [(row[0], row[1]) for row in await pool.fetch(sql, chain)]


async def test_of_two_fills_side_by_side_that_do_not_join_one_is_refused(pool: Pool) -> None:
    for chain in range(1, 13):
        store = await store_of(pool, chain)
        await store.commit(A[35:36], after=None)
        done = await asyncio.gather(
            store.fill(A[18:22], anchored=False), store.fill(B[22:25], anchored=False), return_exceptions=True
        )
        assert sorted(type(each).__name__ for each in done) == ["NoneType", "SeamBroken"]
        await check_stored(pool, chain)


async def test_fills_side_by_side_that_join_are_all_stored(pool: Pool) -> None:
    store = await store_of(pool)
    await store.commit(A[50:51], after=None)
    await asyncio.gather(*(store.fill(A[n : n + 5], anchored=False) for n in range(0, 50, 5)))
    await check_stored(pool, 1)
    assert await store.coverage() == (BlockRange(0, 50),)


class Interrupted(PgStore):
    """Lets somebody else do something before one of its looks at the database."""

    at: tuple[str, Callable[[], Awaitable[None]]] | None = None

    async def _before(self, look: str) -> None:
        if self.at is not None and self.at[0] == look:
            act, self.at = self.at[1], None
            await act()

    async def _check_below_cursor(self, conn: Connection, tip: BlockRef) -> None:
        await self._before("cursor")
        await super()._check_below_cursor(conn, tip)

    async def _hash_at(self, conn: Connection, number: int) -> bytes | None:
        await self._before("hash")
        return await super()._hash_at(conn, number)

    async def _check_above(self, conn: Connection, last: Block, *, anchored: bool) -> None:
        await self._before("above")
        await super()._check_above(conn, last, anchored=anchored)


@pytest.mark.parametrize("look", ["cursor", "hash"])
async def test_a_discard_sees_what_the_head_writer_commits_meanwhile(pool: Pool, look: str) -> None:
    head = await store_of(pool)
    await head.commit(A[25:29], after=None)
    store = Interrupted(pool, 1)
    store.at = look, lambda: head.commit(A[29:31], after=A[28].ref)
    with pytest.raises(SeamBroken):
        await store.discard(28, A[28].ref, reason="race")
    await check_stored(pool, 1)


@pytest.mark.parametrize("look", ["cursor", "above"])
async def test_a_fill_sees_what_the_head_writer_commits_meanwhile(pool: Pool, look: str) -> None:
    head = await store_of(pool)
    await head.commit(A[20:22], after=None)
    store = Interrupted(pool, 1)
    store.at = look, lambda: head.commit(B[28:30], after=A[21].ref)
    with pytest.raises(SeamBroken):
        await store.fill(A[25:28], anchored=False)
    await check_stored(pool, 1)


@pytest.mark.parametrize("chain", [1, PALM])
async def test_finality_and_vaults_wait_for_a_rewind_on_every_chain(pool: Pool, chain: int) -> None:
    store = await store_of(pool, chain)
    await store.commit(A[:10], after=None)
    await store.saw(A[9].head)
    noted = asyncio.Event()

    class Slow(PgStore):
        async def _remove(self, conn: Connection, *given: object) -> None:
            writes = [
                PgFinality(pool, chain).note(Finality(A[8].ref, A[8].ref)),
                PgVaults(pool, chain).write(make.address("vault"), [], BlockRange(0, 4), A[4].ref),
            ]
            waiting = asyncio.gather(*writes)
            waiting.add_done_callback(lambda _: noted.set())
            tasks.append(waiting)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(noted.wait(), 0.3)
            await super()._remove(conn, *given)  # type: ignore[arg-type]

    tasks: list[asyncio.Future[Any]] = []
    await Slow(pool, chain).rewind(A[9].ref, A[5].ref, reason="test")
    await asyncio.gather(*tasks)
    assert await pool.fetchval("select finalized_number from chain.head where chain_id = $1", chain) is None


async def test_join_coverage_joins_what_touches_and_never_the_cursors_range(pool: Pool) -> None:
    store, other = await store_of(pool), await store_of(pool, 2)
    for each in (store, other):
        await each.commit(A[50:52], after=None)
        for first in (40, 30, 45, 35, 10, 0):
            await each.fill(A[first : first + 5], anchored=False)
    assert await spans(pool) == [(0, 4), (10, 14), (30, 34), (35, 44), (45, 49), (50, 51)]
    await store.join_coverage()
    assert await spans(pool) == [(0, 4), (10, 14), (30, 49), (50, 51)]
    await store.join_coverage()
    assert await spans(pool) == [(0, 4), (10, 14), (30, 49), (50, 51)]
    assert await spans(pool, 2) != await spans(pool)


async def test_ranges_that_are_joined_while_others_are_filled_lose_nothing(pool: Pool) -> None:
    dice = random.Random("joins")
    store = await store_of(pool)
    await store.commit(A[57:58], after=None)
    order = list(range(0, 57, 3))
    dice.shuffle(order)

    async def fill(firsts: list[int]) -> None:
        for first in firsts:
            await store.fill(A[first : first + 3], anchored=False)

    async def join() -> None:
        for _ in range(20):
            await store.join_coverage()
            await asyncio.sleep(0.002)

    async def follow() -> None:
        await store.commit(A[58:59], after=A[57].ref)
        await store.commit(A[59:60], after=A[58].ref)

    await asyncio.gather(*(fill(order[n::4]) for n in range(4)), join(), join(), follow())
    await check_stored(pool, 1)
    await store.join_coverage()
    assert await spans(pool) == [(0, 56), (57, 59)]
    assert await store.coverage() == (BlockRange(0, 59),)


async def test_join_coverage_leaves_what_begin_stored_alone(pool: Pool) -> None:
    store = PgStore(pool, 1)
    await store.register("begun", None)
    await store.join_coverage()
    await store.begin(A[30])
    for first in (20, 0, 10):
        await store.fill(A[first : first + 10], anchored=False)
    await store.join_coverage()
    assert await spans(pool) == [(0, 29), (30, 30)]
    assert await store.followed_from() is None
    await store.commit(A[40:41], after=A[30].ref)
    assert await store.followed_from() == 40
