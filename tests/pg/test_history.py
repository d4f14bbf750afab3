"""What is kept in memory of pools equals what their logs say from the first block on, whatever happened before."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from builders.ticks import sqrt_at
from core.store import ticks
from core.store.pg import PgStore
from core.store.pool import Connection, Pool, open_pool
from core.store.reader import snapshot
from core.types import Block, BlockRef, Log
from indexer.decode.tables import LogTable
from prices import history
from prices.history import History
from prices.routes import WINDOW, Mean, Past
from tests.api import make
from tests.pools import INITIALIZE, MINT, SWAP, burn, initialize, mint, numbered, swap

CHAIN = 31_337
AGE = timedelta(hours=1)
BUSY, QUIET, LATE, NEVER = POOLS = [make.digest("pool", n)[:20] for n in range(4)]
WINDOW_S, AGE_S = int(WINDOW.total_seconds()), int(AGE.total_seconds())


@pytest.fixture
async def pg(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url, role="chainworkd_indexer", size=2) as opened:
        yield opened


@pytest.fixture
async def store(pg: Pool) -> PgStore:
    made = PgStore(pg, CHAIN, derived=[LogTable("none")])
    await made.register("main", None)
    return made


@dataclass
class Truth:
    """What a pool said up to a block, by its logs one after the other."""

    number: int
    at: int
    sqrt_x96: int
    tick: int
    liquidity: int


def said(chain: Sequence[Block], pool: bytes, number: int) -> tuple[Truth, Mean] | None:
    """The state at the end of a block, and the mean of the window before, as its definition has it."""
    end = chain[number].timestamp
    now: Truth | None = None
    prices: list[tuple[int, int, bool]] = []  # time, tick, first
    for block in chain[: number + 1]:
        if block.timestamp < end - AGE_S:
            continue
        for log in (log for tx in block.txs for log in tx.receipt.logs if log.address == pool):
            words = [int.from_bytes(log.data[i : i + 32], signed=True) for i in range(0, len(log.data), 32)]
            if log.topics[0] in (SWAP, INITIALIZE):
                sqrt, liquidity, tick = words[2:] if log.topics[0] == SWAP else (words[0], 0, words[1])
                now = Truth(block.number, block.timestamp, sqrt, tick, liquidity)
                prices.append((block.timestamp, tick, log.topics[0] == INITIALIZE))
            elif now is not None:
                lower, upper = (int.from_bytes(topic, signed=True) for topic in log.topics[2:4])
                amount = words[1] if log.topics[0] == MINT else -words[0]
                now.liquidity += amount if lower <= now.tick < upper else 0
    if now is None:
        return None
    before = [each for each in prices if each[0] <= end - WINDOW_S]
    inside = [each for each in prices if each[0] > end - WINDOW_S]
    held = [(end - WINDOW_S, before[-1][1])] if before else []
    held += [(at, tick) for at, tick, _ in inside]
    ends = [at for at, _ in held[1:]] + [end]
    total = sum(tick * (until - at) for (at, tick), until in zip(held, ends, strict=True))
    young = not before and inside[0][2]
    return now, Mean(total, end - held[0][0], whole=bool(before), young=young)


class Story:
    """A chain of blocks at odd times that grows and forks, stored from the middle and filled backwards."""

    def __init__(self, pg: Pool, store: PgStore, seed: int) -> None:
        self.pg, self.store, self.dice = pg, store, Random(seed)
        self.chain: list[Block] = []
        self.low, self.forks, self.late = 0, 0, False
        self.history = History(CHAIN, AGE)
        self.recalled = 0

    def grow(self, count: int) -> list[Block]:
        made: list[Block] = []
        for number in range(len(self.chain), len(self.chain) + count):
            before = self.chain[-1] if self.chain else None
            time = 1_700_000_000 if before is None else before.timestamp + self.dice.choice((0, 1, 12, 12, 30, 300))
            block = make.block(number, [make.tx(f"{self.forks} {number}", receipt_logs=numbered(self._logs()))])
            parent = bytes(32) if before is None else before.hash
            block = replace(block, timestamp=time, parent_hash=parent, hash=make.digest(self.forks, number))
            self.chain.append(block)
            made.append(block)
        return made

    def _logs(self) -> list[Log]:
        found: list[Log] = []
        for pool, share in ((BUSY, 0.5), (QUIET, 0.02), (LATE, 0.2)):
            while self.dice.random() < share:
                found.append(self._log(pool))
        return found

    def _log(self, pool: bytes) -> Log:
        tick = self.dice.randint(-50, 50)
        if pool == LATE and not self.late:
            self.late = True
            return initialize(pool, sqrt_at(tick))
        amount = self.dice.randint(1, 99)
        match self.dice.randrange(4):
            case 0:
                return mint(pool, tick, tick + self.dice.randint(1, 60), amount)
            case 1:
                return burn(pool, tick, tick + self.dice.randint(1, 60), amount)
            case _:
                return swap(pool, sqrt_at(tick) + 1, liquidity=self.dice.randint(10**4, 10**5))

    async def begin(self) -> None:
        self.grow(250)
        self.low = 150
        await self.store.commit(self.chain[self.low :], after=None)

    async def step(self) -> None:
        match self.dice.choice(("commit", "commit", "commit", "rewind", "fill")):
            case "rewind":
                tip = self.chain[-1].ref
                del self.chain[max(self.low + 1, len(self.chain) - self.dice.choice((1, 3, 40))) :]
                self.forks += 1
                self.late = any(log.address == LATE for b in self.chain for tx in b.txs for log in tx.receipt.logs)
                if tip != self.chain[-1].ref:
                    await self.store.rewind(tip, self.chain[-1].ref, reason="test")
            case "fill" if self.low:
                low = max(0, self.low - self.dice.randint(10, 60))
                await self.store.fill(self.chain[low : self.low])
                self.low = low
            case _:
                tip = self.chain[-1].ref
                await self.store.commit(self.grow(self.dice.choice((1, 2, 25))), after=tip)

    async def check(self) -> int:
        """Ask for some blocks, some pools of each; return how many answers there were."""
        count = len(self.chain)
        numbers = {count - 1, *(self.dice.randrange(self.low, count) for _ in range(3))}
        wanted = {self.chain[n].ref: self.dice.sample(POOLS, self.dice.randint(1, 4)) for n in numbers}
        guessed = {block: self.history.recall(block, pools) for block, pools in wanted.items()}
        async with snapshot(self.pg) as conn:
            found = await self.history.read(conn, wanted)
        assert all(each is None or each == found[block] for block, each in guessed.items())
        first = self.chain[self.low]
        self.recalled += sum(each is not None for each in guessed.values())
        for block, pools in wanted.items():
            time = self.chain[block.number].timestamp
            assert (block in found) == (self.low == 0 or first.timestamp < time - AGE_S)
            for pool in pools if block in found else ():
                self._compare(block, pool, found[block][1].get(pool))
        return sum(len(pasts) for _, pasts in found.values())

    def _compare(self, block: BlockRef, pool: bytes, ours: Past | None) -> None:
        theirs = said(self.chain, pool, block.number)
        assert (ours is None) == (theirs is None)
        if ours is None or theirs is None:
            return
        truth, mean = theirs
        assert (ours.tick.number, ours.tick.time) == (truth.number, datetime.fromtimestamp(truth.at, UTC))
        assert (ours.tick.sqrt_x96, ours.tick.tick) == (truth.sqrt_x96, truth.tick)
        assert ours.tick.liquidity == truth.liquidity
        assert ours.mean == mean


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kept", [history.KEPT, 60])
async def test_what_is_kept_is_what_the_logs_say(
    pg: Pool, store: PgStore, seed: int, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "KEPT", kept)
    story = Story(pg, store, seed)
    await story.begin()
    answers = 0
    for _ in range(30):
        await story.step()
        answers += await story.check()
    assert answers > 100
    assert (story.recalled > 10) == (kept > 60)


async def test_a_slot_is_read_once_and_then_only_what_is_new(
    pg: Pool, store: PgStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[int, int]] = []

    async def noted(
        conn: Connection, chain: int, pools: Collection[bytes], blocks: Mapping[int, int]
    ) -> dict[bytes, Any]:
        read.append((min(blocks), max(blocks)))
        return {**await said_by(conn, chain, pools, blocks)}

    said_by = ticks.said
    monkeypatch.setattr(ticks, "said", noted)
    # A slot is 150 blocks of 12 seconds; the third one begins at block 299.
    chain = [make.block(n) for n in range(405)]
    await store.commit(chain[:401], after=None)
    kept = History(CHAIN, AGE)
    for last in (397, 398, 400, 390):
        async with snapshot(pg) as conn:
            await kept.read(conn, {chain[last].ref: POOLS})
    assert read == [(149, 400)], "what is stored behind the block is read, too"
    await store.commit(chain[401:], after=chain[400].ref)
    async with snapshot(pg) as conn:
        await kept.read(conn, {chain[404].ref: POOLS})
    assert read[1:] == [(401, 404)]
