"""Totals equal count(*) in every state that writers, the sealing service and crashes can bring about."""

import argparse
import asyncio
import contextlib
import json
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from core.errors import SeamBroken
from core.settings import load
from core.store import counts, listing
from core.store.counts import PgCounts, Scale
from core.store.derived import Derived
from core.store.finality import PgFinality
from core.store.listing import DIRECTION_ROLES, Direction
from core.store.pg import PgStore
from core.store.pool import Pool
from core.store.prune import Pruner
from core.types import Block, BlockRange, BlockRef, Finality
from daemon import reindex
from indexer.decode.tables import TransferTable
from indexer.sealing import Sealing
from tests import make

CHAIN = 5
TINY = Scale(wide=8, narrow=2, least=2)
ROLES = {"incoming": int(DIRECTION_ROLES["in"]), "outgoing": int(DIRECTION_ROLES["out"])}
TRANSFER = bytes.fromhex("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef")
PEOPLE = [make.address("person", number) for number in range(5)]

SQL_TRUE = """
    select count(*) from chain.address_transaction
    where chain_id = $1 and address = $2 and block_number between $3 and $4 and roles & $5 <> 0
"""
SQL_TRUE_ALL = "select count(*) from chain.transaction where chain_id = $1 and block_number between $2 and $3"
ONE_WAY: dict[Direction | None, str] = {
    None: counts.SQL_OF_ADDRESS,
    "in": counts.SQL_INTO_ADDRESS,
    "out": counts.SQL_OUT_OF_ADDRESS,
}


class Crash(Exception):
    """The end of a process, between two of its transactions."""


class Mortal(PgCounts):
    """Dies before one of its transactions."""

    lives = 10**9

    async def _sealable(self, *given: Any) -> bool:
        self.lives -= 1
        if self.lives < 0:
            raise Crash
        return await super()._sealable(*given)


Mix = Callable[[random.Random, int, bytes, object], Block]


def mixed(chance: random.Random, number: int, parent: bytes, fork: object) -> Block:
    """A block in which a few people send, receive and move tokens, by chance."""
    txs = []
    for index in range(chance.randrange(4)):
        sender, to, giver, taker = chance.choices(PEOPLE, k=4)
        topics = (TRANSFER, bytes(12) + giver, bytes(12) + taker)
        logs = [make.log(index, topics=topics, data=bytes(31) + b"\x01")] if chance.random() < 0.5 else []
        done = make.receipt(logs, contract_address=chance.choice(PEOPLE) if chance.random() < 0.2 else None)
        txs.append(make.tx(index, salt=(number, fork), sender=sender, to=to, receipt=done))
    return make.block(number, parent, fork, txs)


def stretch(chance: random.Random, length: int, onto: BlockRef | None, fork: object, mixed: Mix = mixed) -> list[Block]:
    blocks: list[Block] = []
    for _ in range(length):
        below = blocks[-1].ref if blocks else onto
        number, parent = (0, make.NOWHERE) if below is None else (below.number + 1, below.hash)
        blocks.append(mixed(chance, number, parent, fork))
    return blocks


@dataclass
class Story:
    """What happens to a chain, by chance, in all ways in which rows come and go."""

    pool: Pool
    chance: random.Random
    canonical: list[Block] = field(default_factory=list)
    forks: Iterator[int] = field(default_factory=lambda: iter(range(10**6)))
    sealed: int = 0

    def __post_init__(self) -> None:
        self.write(TransferTable(lambda *_: None))
        self.finality = PgFinality(self.pool, CHAIN)
        self.counts = Mortal(self.pool, CHAIN, scale=TINY, batch=1, **ROLES)

    def write(self, *tables: Derived) -> None:
        """Go on as a process that writes these tables."""
        self.store = PgStore(self.pool, CHAIN, derived=tables)
        self.pruner = Pruner(self.pool, CHAIN, derived=tables)

    def more(self, length: int, onto: BlockRef | None, fork: object) -> list[Block]:
        """Return blocks that follow one."""
        return stretch(self.chance, length, onto, fork)

    async def begin(self) -> None:
        """Start at a height, so that there is history to fill."""
        await self.store.register("one", None)
        self.canonical = self.more(24, None, "root")
        await self.store.commit(self.canonical[16:], after=None)

    def acts(self) -> list[Callable[[], Awaitable[None]]]:
        """Return what can happen next, the frequent more than once."""
        often = [self.grow, self.fill, self.final]
        return [*often, *often, self.rewind, self.prune, *[self.seal] * 3]

    async def step(self) -> None:
        await self.chance.choice(self.acts())()

    async def grow(self) -> None:
        cursor = self.canonical[-1].ref
        more = self.more(self.chance.randint(1, 6), cursor, next(self.forks))
        self.canonical += more
        await self.store.commit(more, after=cursor)

    async def fill(self) -> None:
        covered = await self.store.coverage()
        tops = [span.first - 1 for span in covered if span.first > 0]
        if tops:
            last = self.chance.choice(tops)
            blocks = self.canonical[max(0, last - self.chance.randrange(5)) : last + 1]
            # Refused where pruning has left a hole below the one that is filled.
            with contextlib.suppress(SeamBroken):
                await self.store.fill(blocks, anchored=True)

    async def rewind(self) -> None:
        covered = (await self.store.coverage())[-1]
        low = max(covered.first, len(self.canonical) - self.chance.choice([2, 2, 3, 9]))
        if low >= len(self.canonical) - 1:
            return
        cursor, ancestor = self.canonical[-1].ref, self.canonical[low].ref
        del self.canonical[low + 1 :]
        await self.store.rewind(cursor, ancestor, reason="reorg")

    async def final(self) -> None:
        await self.store.saw(make.head(10**6))
        at = self.canonical[max(0, len(self.canonical) - self.chance.randint(1, 4))].ref
        await self.finality.note(Finality(safe=at, finalized=at))

    async def prune(self) -> None:
        if self.chance.random() < 0.3:
            await self.pruner.prune(self.chance.randrange(len(self.canonical) // 2), self.chance.randint(1, 4))

    async def seal(self) -> None:
        self.counts.lives = self.chance.choice([0, 1, 2, 3, 10**9, 10**9])
        try:
            for segment in await self.counts.unsealed(20):
                self.sealed += await self.counts.seal(segment)
        except Crash:
            pass


async def differences(pool: Pool, windows: Sequence[BlockRange]) -> list[str]:
    """Return where a total is not what counting gives, for every address and direction."""
    found = []
    async with pool.acquire() as conn:
        for span in windows:
            total = await counts.of_chain(conn, CHAIN, span, scale=TINY)
            true = await conn.fetchval(SQL_TRUE_ALL, CHAIN, span.first, span.last)
            found += [f"{span}: {total}, truly {true}"] if total != true else []
            for who in PEOPLE:
                for way, sql in ONE_WAY.items():
                    roles = int(DIRECTION_ROLES[way])
                    total = await counts.of_address(conn, CHAIN, who, span, sql=sql, roles=roles, scale=TINY)
                    true = await conn.fetchval(SQL_TRUE, CHAIN, who, span.first, span.last, roles)
                    found += [f"{who.hex()} {way} {span}: {total}, truly {true}"] if total != true else []
    return found


def some_windows(chance: random.Random, top: int) -> list[BlockRange]:
    edges = [sorted(chance.choices(range(top + 2), k=2)) for _ in range(2)]
    return [BlockRange(0, top), *(BlockRange(first, last) for first, last in edges)]


async def told(pool: Pool, seed: int, steps: int) -> tuple[list[str], int]:
    """Tell a story; return the first differences and how many segments were sealed."""
    story = Story(pool, random.Random(seed))
    await story.begin()
    for _ in range(steps):
        await story.step()
        if found := await differences(pool, some_windows(story.chance, len(story.canonical))):
            return found, story.sealed
    return [], story.sealed


@pytest.mark.parametrize("seed", range(8))
async def test_totals_equal_counting_whatever_happened_before(opened: Pool, seed: int) -> None:
    found, sealed = await told(opened, seed, 40)
    assert found == []
    assert sealed


async def sealed_chain(pool: Pool, length: int = 20) -> tuple[PgStore, PgCounts, list[Block]]:
    """A chain of which all but the newest two blocks is sealed."""
    story = Story(pool, random.Random(1))
    await story.store.register("one", None)
    blocks = stretch(story.chance, length, None, "a")
    await story.store.commit(blocks, after=None)
    await story.store.saw(make.head(99))
    await story.finality.note(Finality(safe=blocks[-3].ref, finalized=blocks[-3].ref))
    for segment in await story.counts.unsealed(100):
        assert await story.counts.seal(segment)
    return story.store, story.counts, blocks


async def test_only_what_is_final_and_covered_is_sealed(opened: Pool) -> None:
    _, sealer, _ = await sealed_chain(opened)
    sealed = {(each.width, each.first) for each in await sealer.sealed()}
    assert sealed == {(8, 0), (8, 8)} | {(2, first) for first in range(0, 18, 2)}
    assert await sealer.unsealed(10) == []
    assert await sealer.share() == 1.0


async def test_a_deep_reorg_unseals_what_it_reaches_and_nothing_else(opened: Pool) -> None:
    store, sealer, blocks = await sealed_chain(opened)
    await store.rewind(blocks[-1].ref, blocks[12].ref, reason="deep")
    sealed = {(each.width, each.first) for each in await sealer.sealed()}
    assert sealed == {(8, 0)} | {(2, first) for first in range(0, 12, 2)}


async def test_a_rewind_that_forgets_the_counts_is_found_out(opened: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: object) -> None: ...

    store, _, blocks = await sealed_chain(opened)
    monkeypatch.setattr(counts, "unseal", nothing)
    await store.rewind(blocks[-1].ref, blocks[12].ref, reason="deep")
    assert await differences(opened, [BlockRange(0, 30)])


async def test_a_rewind_waits_for_the_count_under_way_and_takes_it_away(opened: Pool) -> None:
    store, sealer, blocks = await sealed_chain(opened)
    await store.rewind(blocks[-1].ref, blocks[12].ref, reason="deep")
    more = stretch(random.Random(9), 7, blocks[12].ref, "b")
    await store.commit(more, after=blocks[12].ref)
    await PgFinality(opened, CHAIN).note(Finality(safe=more[-1].ref, finalized=more[-1].ref))
    async with asyncio.TaskGroup() as group:
        for segment in await sealer.unsealed(100):
            group.create_task(sealer.seal(segment))
        group.create_task(store.rewind(more[-1].ref, blocks[12].ref, reason="again"))
    assert await differences(opened, [BlockRange(0, 30)]) == []


async def test_a_count_that_is_wrong_is_found_and_mended(opened: Pool) -> None:
    _, sealer, _ = await sealed_chain(opened)
    for segment in await sealer.sealed():
        assert await sealer.reseal(segment) == []
    await opened.execute("update chain.address_count set total = total + 1 where width = 8 and first_block = 8")
    await opened.execute("update chain.seal set transactions = 1000 where width = 2 and first_block = 4")
    wrong = [each for segment in await sealer.sealed() for each in await sealer.reseal(segment)]
    assert {(each.segment.width, each.segment.first) for each in wrong} == {(8, 8), (2, 4)}
    assert await differences(opened, [BlockRange(0, 30)]) == []
    assert [each for segment in await sealer.sealed() for each in await sealer.reseal(segment)] == []


async def test_what_passes_filters_is_counted_up_to_a_bound(opened: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, blocks = await sealed_chain(opened)
    truly = sum(len(block.txs) for block in blocks)
    window = listing.Window(limit=5)
    async with opened.acquire() as conn:
        for wanted in (listing.Filter(status=1), listing.Filter(status=1, from_block=0)):
            found = await listing.listed(conn, CHAIN, wanted, window, blocks[-1].ref)
            assert (found.total, found.is_exact) == (truly, True)
        monkeypatch.setattr(listing, "MOST_LOOKED_AT", 10)
        found = await listing.listed(conn, CHAIN, listing.Filter(status=1), window, blocks[-1].ref)
        assert (found.total, found.is_exact) == (11, False)
        none = await listing.listed(conn, CHAIN, listing.Filter(status=0), window, blocks[-1].ref)
        assert (none.total, none.is_exact) == (0, False)


async def test_the_service_seals_what_there_is_and_says_how_much(opened: Pool) -> None:
    story, shown = Story(opened, random.Random(1)), list[float]()
    await story.begin()
    service = Sealing(story.counts, name="one", on_share=shown.append)
    assert (await service.step(), shown) == (0, [])
    await story.final()
    assert await service.step() > 0
    assert await service.step() == 0
    assert len(shown) == 2
    assert 0.5 < shown[0] <= 1
    assert shown[0] == shown[1]


async def test_the_command_says_what_was_wrong_and_mends_it(
    opened: Pool, database_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reindex, "PgCounts", partial(PgCounts, scale=TINY))
    settings = load(environ={"CHAINWORKD_DATABASE__URL": database_url})
    await sealed_chain(opened)
    arguments = argparse.Namespace(json=True)

    async def said() -> tuple[int | None, dict[str, Any]]:
        code = await reindex.counters(settings, arguments)
        return code, json.loads(capsys.readouterr().out)[0]

    code, report = await said()
    assert (code, report["segments"], report["wrong_count"], report["sealed"]) == (0, 11, 0, 0)
    await opened.execute("update chain.address_count set incoming = incoming + 1 where width = 8 and first_block = 0")
    await opened.execute("delete from chain.seal where width = 2 and first_block = 4")
    code, report = await said()
    assert (code, report["sealed"]) == (1, 1)
    wrong = report["wrong"][0]
    assert (wrong["first"], wrong["last"]) == (0, 7)
    assert wrong["found"][1] == wrong["expected"][1] + 1
    arguments.json = False
    assert await reindex.counters(settings, arguments) == 0
    assert "11 segments counted again" in capsys.readouterr().out
