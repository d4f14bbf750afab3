"""Prices from stored logs: what the views decode, what coverage allows, and what a reorg takes back."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any

import pytest

from builders.ticks import MAX_SQRT, MIN_SQRT, tick_at
from core.store import ticks
from core.store.pg import PgStore
from core.store.pool import Connection, Pool, open_pool
from core.store.reader import snapshot
from core.types import Block, BlockRef, Log
from indexer.decode.tables import LogTable
from prices.history import History
from prices.judge import Price
from prices.pricer import Pricer
from tests.api import make
from tests.pools import (
    DAI,
    DECIMALS,
    LINK,
    USDC,
    USDT,
    VENUE,
    WETH,
    burn,
    initialize,
    mint,
    numbered,
    pool,
    sqrt_of,
    swap,
)  # fmt: skip

CHAIN = 31_337
AN_HOUR = 300  # blocks of 12 seconds
HOURLY = replace(VENUE, max_age=timedelta(hours=1))
POOL = pool(LINK, WETH)
DEEP = 10**24
SQL_TICKS = """
    select pool, block_number, log_index, first_price, sqrt_price_x96, tick, liquidity, amount0, amount1
    from chain.tick
    where chain_id = $1
    order by block_number, log_index
"""
SQL_TOKEN = """
    insert into chain.token (chain_id, address, block_number, block_hash, symbol, name, decimals, read_at)
    values ($1, $2, 0, $3, 'S', 'S', $4, now())
"""

Logs = Mapping[int, Sequence[Log]]


@pytest.fixture
async def pg(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url, role="chainworkd_indexer", size=2) as opened:
        yield opened


@pytest.fixture
async def store(pg: Pool) -> PgStore:
    made = PgStore(pg, CHAIN, derived=[LogTable("none")])
    await made.register("main", None)
    for token, decimals in DECIMALS.items():
        await pg.execute(SQL_TOKEN, CHAIN, token, make.block_hash(0), decimals)
    return made


def blocks(first: int, last: int, logs: Logs, *, fork: str = "") -> list[Block]:
    """Blocks of which some have a transaction with these logs."""
    return [
        make.block(n, [make.tx(f"{fork}{n}", receipt_logs=numbered(logs[n]))] if n in logs else [], fork=fork)
        for n in range(first, last + 1)
    ]


def at(number: int, fork: str = "") -> BlockRef:
    return BlockRef(number, make.block_hash(number, fork))


async def price(pricer: Pricer, block: BlockRef, token: bytes = LINK) -> Price:
    return (await pricer.prices({block: [token]}))[block, token]


def market(link: str = "0.005", weth: str = "3000") -> list[Log]:
    """A swap in each pool that a price of LINK needs."""
    dollars = [(pool(WETH, USDC), 10**18), (pool(WETH, USDT), 10**18), (pool(WETH, DAI), DEEP)]
    return [
        swap(POOL.address, sqrt_of(POOL, LINK, link), liquidity=DEEP),
        *(swap(of.address, sqrt_of(of, WETH, weth), liquidity=liquidity) for of, liquidity in dollars),
    ]


def opened() -> list[Log]:
    """The first price of each of these pools, and the swaps."""
    return [initialize(log.address, int.from_bytes(log.data[64:96])) for log in market()] + market()


def usd(found: Price) -> float | None:
    return None if found.usd is None else float(found.usd * 10 ** DECIMALS[found.token])


async def test_the_view_says_what_the_logs_say(pg: Pool, store: PgStore) -> None:
    dice, logs = Random(40), list[Log]()
    expected: list[tuple[object, ...]] = []
    for n in range(40):
        sqrt, liquidity = dice.randint(MIN_SQRT, MAX_SQRT - 1), dice.getrandbits(dice.choice((1, 64, 128)))
        amounts = [dice.choice((-1, 1)) * dice.getrandbits(dice.choice((1, 60, 255))) for _ in range(2)]
        if n % 4 == 0:
            logs.append(initialize(POOL.address, sqrt))
            expected.append((POOL.address, 0, n, True, sqrt, tick_at(sqrt), 0, None, None))
        else:
            logs.append(swap(POOL.address, sqrt, liquidity=liquidity, amount0=amounts[0], amount1=amounts[1]))
            expected.append((POOL.address, 0, n, False, sqrt, tick_at(sqrt), liquidity, *amounts))
    # What only calls itself a swap is no tick, and hurts nobody.
    logs += [replace(logs[1], data=data) for data in (b"", logs[1].data[:-1], logs[1].data + b"\0")]
    await store.commit(blocks(0, 0, {0: logs}), after=None)
    assert [tuple(row) for row in await pg.fetch(SQL_TICKS, CHAIN)] == expected
    assert await pg.fetchval("select count(*) from chain.log") == 43


async def test_liquidity_is_what_is_in_range_at_the_block(pg: Pool, store: PgStore) -> None:
    sqrt = sqrt_of(POOL, LINK, "0.005")
    here, of = tick_at(sqrt), POOL.address
    logs = {
        0: [initialize(of, sqrt), mint(of, here, here + 1, 100), mint(of, here - 9, here, 7)],
        1: [swap(of, sqrt, liquidity=500), mint(of, -9 + here, here + 9, 40), burn(of, here + 1, here + 5, 3)],
        2: [burn(of, here - 9, here + 9, 15), replace(mint(of, here, here + 1, 1), data=b"")],
        4: [swap(of, sqrt, liquidity=600)],
    }
    await store.commit(blocks(0, 5, logs), after=None)
    async with snapshot(pg) as conn:
        found = [await ticks.newest(conn, CHAIN, [of, b"\1" * 20], 0, n) for n in range(6)]
        assert await ticks.newest(conn, CHAIN, [of], 5, 5) == {}
    assert [each[of].liquidity for each in found] == [100, 540, 525, 525, 600, 600]
    assert [each[of].number for each in found] == [0, 1, 1, 1, 4, 4]
    assert all(each.keys() == {of} for each in found)


async def test_a_price_holds_until_the_next_swap_and_is_the_last_of_its_block(pg: Pool, store: PgStore) -> None:
    logs = {0: [*market("0.004"), *market("0.005")], 160: market("0.00505")}
    await store.commit(blocks(0, 161, logs), after=None)
    pricer = Pricer(pg, CHAIN, HOURLY)
    found = [usd(await price(pricer, at(n))) for n in (151, 159, 160, 161)]
    assert found == pytest.approx([15, 15, 15.15, 15.15], rel=1e-9)
    after = await price(pricer, at(161))
    # 150 blocks are the window: all but the last 12 seconds of it were at 0.005.
    assert usd(replace(after, usd=after.mean)) == pytest.approx(15.001, rel=2e-4)
    assert (after.confidence, after.block, after.time and after.time.timestamp()) == (
        "high", at(161), make.GENESIS_TIME + 161 * make.BLOCK_S,
    )  # fmt: skip


async def test_a_block_that_was_manipulated_has_no_price_and_the_one_after_it_has(pg: Pool, store: PgStore) -> None:
    logs = {0: market(), 200: market("0.009"), 201: market()}
    await store.commit(blocks(0, 201, logs), after=None)
    pricer = Pricer(pg, CHAIN, HOURLY)
    flagged = await price(pricer, at(200))
    assert (flagged.usd, flagged.reason) == (None, "manipulated")
    assert usd(await price(pricer, at(201))) == pytest.approx(15, rel=1e-9)
    assert usd(await price(pricer, at(200), WETH)) == pytest.approx(3000, rel=1e-9)


async def test_without_the_blocks_before_there_is_no_price_until_they_are_filled(pg: Pool, store: PgStore) -> None:
    logs = {100: market("0.004"), 390: market(), 401: market()}
    chain = blocks(0, 410, logs)
    pricer = Pricer(pg, CHAIN, HOURLY)
    await store.commit(chain[395:], after=None)
    assert (await price(pricer, at(410))).reason == "not_covered"
    await store.fill(chain[200:395])
    # The hour before block 410 begins at 110.
    assert (await price(pricer, at(410))).reason == "not_covered"
    await store.fill(chain[110:200])
    assert (await price(pricer, at(410))).reason == "not_covered", "a block of the same second may be missing"
    await store.fill(chain[109:110])
    healed = await price(pricer, at(410))
    # The swap of block 390 is inside of the window, and the price before it is older than an hour: not known.
    assert healed.reason == "stale"
    await store.fill(chain[:109])
    assert await price(Pricer(pg, CHAIN, HOURLY), at(410)) == healed, "more history changes nothing"


async def test_what_was_shown_once_stays(pg: Pool, store: PgStore) -> None:
    """Whatever else is filled later, and whoever is asked: the price of a block is one."""
    dice = Random(41)
    logs = {n: market(f"0.00{dice.randint(4_950, 5_050)}") for n in range(0, 700, 7)}
    chain = blocks(0, 700, logs)
    await store.commit(chain[300:], after=None)
    seen: dict[int, Price] = {}
    early = Pricer(pg, CHAIN, HOURLY)
    for first, end in ((250, 300), (100, 250), (0, 100)):
        for n in range(310, 701, 30):
            found = await price(early, at(n))
            if found.reason != "not_covered":
                assert seen.setdefault(n, found) == found
        await store.fill(chain[first:end])
    assert len(seen) > 3
    fresh = Pricer(pg, CHAIN, HOURLY)
    for n, found in seen.items():
        assert await price(fresh, at(n)) == found
        assert found.confidence == "high"


async def test_a_reorg_takes_prices_along(pg: Pool, store: PgStore) -> None:
    await store.commit(blocks(0, 10, {0: opened(), 8: market("0.0051")}), after=None)
    pricer = Pricer(pg, CHAIN, HOURLY)
    assert usd(await price(pricer, at(10))) == pytest.approx(15.3, rel=1e-9)
    await store.rewind(at(10), at(7), reason="test")
    other = [replace(b, parent_hash=make.block_hash(7)) if b.number == 8 else b for b in blocks(8, 10, {}, fork="b")]
    await store.commit(other, after=at(7))
    assert usd(await price(pricer, at(10, "b"))) == pytest.approx(15, rel=1e-9)
    gone = await price(Pricer(pg, CHAIN, HOURLY), at(10))
    assert (gone.usd, gone.reason) == (None, "not_covered")


class Story:
    """A chain that grows and forks by chance, and an index of it with holes; a fresh index has all of it at once."""

    def __init__(self, pg: Pool, store: PgStore, seed: int) -> None:
        self._pg, self._store, self._dice = pg, store, Random(seed)
        self.chain, self._low, self._forks, self._fresh = list[Block](), 0, 0, 100
        self.venue = replace(VENUE, max_age=timedelta(hours=1))
        self.pricer = Pricer(pg, CHAIN, self.venue)

    async def begin(self) -> None:
        self._grow(420)
        self._low = 380
        await self._store.commit(self.chain[self._low :], after=None)

    async def step(self) -> None:
        move = self._dice.choice((self._commit, self._commit, self._rewind, self._fill, self._fill))
        await move()

    async def check(self) -> int:
        """Hold prices against a fresh index of the same blocks; return how many there were."""
        self._fresh += 1
        store = PgStore(self._pg, self._fresh, derived=[LogTable("none")])
        await store.register(f"fresh {self._fresh}", None)
        await self._pg.execute(
            "insert into chain.token select $2, address, block_number, block_hash, symbol, name, decimals, read_at"
            " from chain.token where chain_id = $1", CHAIN, self._fresh,
        )  # fmt: skip
        await store.commit(self.chain, after=None)
        refs = [self.chain[-1].ref, *(b.ref for b in self._dice.sample(self.chain[self._low :], 6))]
        wanted = {ref: [LINK, WETH] for ref in refs}
        ours, theirs = await self.pricer.prices(wanted), await Pricer(self._pg, self._fresh, self.venue).prices(wanted)
        told = {key: found for key, found in ours.items() if found.reason != "not_covered"}
        assert told == {key: theirs[key] for key in told}
        return sum(found.usd is not None for found in told.values())

    def _grow(self, count: int) -> list[Block]:
        first = len(self.chain)
        logs = {
            n: market(f"0.00{self._dice.randint(4_900, 5_100)}", str(self._dice.randint(2_950, 3_050)))
            for n in range(first, first + count)
            if self._dice.random() < 0.1
        }
        made = blocks(first, first + count - 1, logs, fork=f"{self._forks}")
        if self.chain:
            made[0] = replace(made[0], parent_hash=self.chain[-1].hash)
        self.chain += made
        return made

    async def _commit(self) -> None:
        tip = self.chain[-1].ref
        await self._store.commit(self._grow(self._dice.randint(1, 40)), after=tip)

    async def _rewind(self) -> None:
        tip = self.chain[-1].ref
        kept = max(401, len(self.chain) - self._dice.randint(1, 30))
        if kept < len(self.chain):
            del self.chain[kept:]
            self._forks += 1
            await self._store.rewind(tip, self.chain[-1].ref, reason="test")

    async def _fill(self) -> None:
        low = max(0, self._low - self._dice.randint(20, 120))
        if low < self._low:
            await self._store.fill(self.chain[low : self._low])
            self._low = low


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_prices_equal_those_of_a_fresh_index_whatever_happened(pg: Pool, store: PgStore, seed: int) -> None:
    story = Story(pg, store, seed)
    await story.begin()
    priced = 0
    for _ in range(15):
        await story.step()
        priced += await story.check()
    assert priced > 10


async def test_of_many_who_ask_for_the_same_one_reads(
    pg: Pool, store: PgStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[int] = []
    real = History.read

    async def noted(self: History, conn: Connection, wanted: Mapping[BlockRef, Collection[bytes]]) -> Any:
        reads.append(len(wanted))
        return await real(self, conn, wanted)

    monkeypatch.setattr(History, "read", noted)
    await store.commit(blocks(0, 420, {0: opened(), 400: market()}), after=None)
    pricer = Pricer(pg, CHAIN, HOURLY)
    page = {at(n): [LINK, WETH] for n in range(401, 409)}
    found = await asyncio.gather(*(pricer.prices(page) for _ in range(20)))
    assert reads == [8]
    assert all(each == found[0] for each in found)
    near = {at(n): [LINK, WETH] for n in range(380, 401)}
    assert len(await pricer.prices(near)) == 42
    assert reads == [8], "blocks beside those that were asked about take no look into the database"
    assert await pricer.prices(near) == await Pricer(pg, CHAIN, HOURLY).prices(near)


async def test_who_asks_for_much_lets_others_ask_between(pg: Pool, store: PgStore) -> None:
    await store.commit(blocks(0, 6_000, {0: opened(), **{n: market() for n in range(50, 6_000, 250)}}), after=None)
    pricer = Pricer(pg, CHAIN, HOURLY)
    far = asyncio.create_task(pricer.prices({at(n): [LINK] for n in range(400, 6_000, 160)}))
    await asyncio.sleep(0)
    assert usd(await price(pricer, at(5_999))) == pytest.approx(15, rel=1e-9)
    assert not far.done()
    assert len(await far) == 35


async def test_of_watched_addresses_only_watched_pools_count(pg: Pool, store: PgStore) -> None:
    await store.commit(blocks(0, 10, {0: opened()}), after=None)
    of_dollars = [pool(WETH, stable).address for stable in (USDC, USDT, DAI)]
    set_watched = "update chain.chain set watched = $2 where chain_id = $1"
    await pg.execute(set_watched, CHAIN, of_dollars)
    pricer = Pricer(pg, CHAIN, HOURLY)
    assert (await price(pricer, at(10))).reason == "no_route"
    assert usd(await price(pricer, at(10), WETH)) == pytest.approx(3000, rel=1e-9)


async def test_prices_are_read_from_one_index_and_few_rows(pg: Pool, store: PgStore) -> None:
    await store.commit(blocks(0, 10, {0: opened()}), after=None)
    plans = []
    for sql, arguments in (
        (ticks.SQL_NEWEST, ([POOL.address], 0, 10)),
        (ticks.SQL_SAID, ([POOL.address], 0, 10)),
        (ticks.SQL_CHANGES, ([POOL.address], 0, 10)),
    ):
        async with pg.acquire() as conn, conn.transaction():
            await conn.execute("set local enable_seqscan = off")
            rows = await conn.fetch("explain " + sql, CHAIN, *arguments)
            plans.append("\n".join(row[0] for row in rows))
    assert all("Index" in plan and "log_p00000000_chain_id_address" in plan for plan in plans), plans
