"""Totals of vault deposits equal counting one by one in every state that writers, looks and crashes bring about."""

import argparse
import asyncio
import contextlib
import json
import random
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import asyncpg
import pytest
from eth_abi.abi import encode
from typing_extensions import override

from core.hex import to_hex
from core.settings import load
from core.store import deposit_counts, vaults
from core.store.deposit_counts import CURRENT, Part, PgDepositCounts, Stretch, parts, stretches
from core.store.deposits import (
    MAX_TOTALS,
    SQL_COUNT,
    SQL_TOTALS,
    DepositFilter,
    DepositPage,
    Deposits,
    DepositWindow,
    Standing,
)
from core.store.listing import AnchorGone
from core.store.locks import SQL_DEPOSITS_LOCK
from core.store.pool import Connection, Pool
from core.store.vaults import PgVaults
from core.types import Block, BlockRange, BlockRef, Finality, Log
from daemon import reindex
from indexer.decode.signed_vault import DEPOSIT, DEPOSIT_OLD, DEPOSIT_OLDEST, WITHDRAW
from indexer.decode.tables import VaultTable
from indexer.sealing import Sealing
from tests import make
from tests.pg.test_counts import CHAIN, Crash, Story, stretch

VAULTS = [make.address("vault", number) for number in range(3)]
RESOLVERS = [make.address("resolver", number) for number in range(3)]
TOKENS = [bytes(20), make.address("token")]
USER = make.address("user")
WIDTHS = (2, 8, 32)
MOST = 6


def announced(chance: random.Random, index: int) -> Log:
    """Anything a vault may say: worth something, worth nothing, of an older kind, or no deposit at all."""
    token, amount = chance.choice(TOKENS), chance.choice([0, 1, 7, 10**18, 2**256 - 1])
    topic, words = chance.choice(
        [(DEPOSIT, [USER, token, chance.choice(RESOLVERS), amount, 1])] * 6
        + [(DEPOSIT_OLD, [USER, token, amount, 1]), (DEPOSIT_OLDEST, [USER, token, amount]),
           (WITHDRAW, [USER, token, amount])]
    )  # fmt: skip
    types = ["address" if isinstance(word, bytes) else "uint256" for word in words]
    return Log(address=chance.choice(VAULTS), topics=(topic,), data=encode(types, words), index=index)


def mixed(chance: random.Random, number: int, parent: bytes, fork: object) -> Block:
    """A block in which vaults announce a few things, by chance."""
    logs = [announced(chance, index) for index in range(chance.randrange(4))]
    return make.block(number, parent, fork, [make.tx(salt=(number, fork), receipt=make.receipt(logs))])


class MortalSealer(PgDepositCounts):
    """Dies between two of its statements."""

    lives = 10**9

    @override
    async def _lock(self, conn: Connection) -> None:
        self.lives -= 1
        if self.lives < 0:
            raise Crash
        await super()._lock(conn)


class OneByOne(Deposits):
    """Counts every deposit, always."""

    @override
    async def _totals(
        self, conn: Connection, last: int, standing: Standing, wanted: DepositFilter, watched: Sequence[bytes]
    ) -> tuple[int, Sequence[asyncpg.Record]]:
        asked = self._asked(last, standing, wanted)
        total = await conn.fetchval(SQL_COUNT, *asked)
        return total, await conn.fetch(SQL_TOTALS, *asked, CURRENT, MAX_TOTALS + 1)


class VaultStory(Story):
    """As `Story`, with vaults that are watched, not watched, and watched again, whose past is then looked for."""

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        self.vaults = PgVaults(self.pool, CHAIN)
        self.deposits = MortalSealer(self.pool, CHAIN, widths=WIDTHS, most_blocks=MOST)
        self.found = 0

    @override
    def more(self, length: int, onto: BlockRef | None, fork: object) -> list[Block]:
        return stretch(self.chance, length, onto, fork, mixed)

    @override
    def acts(self) -> list[Callable[[], Awaitable[None]]]:
        return [*super().acts(), self.watch, *[self.look] * 4]

    @override
    async def begin(self) -> None:
        await self.watch_these(VAULTS[:1])
        await super().begin()

    async def watch(self) -> None:
        await self.watch_these(self.chance.sample(VAULTS, self.chance.choice([1, 2, 2, 3])))

    async def watch_these(self, these: Sequence[bytes]) -> None:
        """Go on as a process whose settings name these vaults."""
        self.watched = list(these)
        await self.vaults.watch(these)
        self.write(VaultTable(these, lambda *_: None))

    async def look(self) -> None:
        """Look for what a vault announced, newest first, as the service does; some looks end halfway."""
        for vault in self.chance.sample(self.watched, len(self.watched)):
            for part in (await self.vaults.unscanned(vault))[:1]:
                first = max(part.blocks.first, part.blocks.last - self.chance.randrange(12))
                return await self.look_at(vault, BlockRange(first, part.blocks.last))

    async def look_at(self, vault: bytes, wanted: BlockRange) -> None:
        table = VaultTable([vault], lambda *_: None)
        blocks = self.canonical[wanted.first : wanted.last + 1]
        rows = [row for block in blocks for row in table.derive(CHAIN, block).rows]
        if self.chance.random() < 0.2:
            with contextlib.suppress(Exception):
                await self.vaults.write(vault, [*rows, (*rows[0][:6], "nothing", *rows[0][7:])], wanted, blocks[-1].ref)
        self.found += await self.vaults.write(vault, rows, wanted, blocks[-1].ref)

    @override
    async def seal(self) -> None:
        self.deposits.lives = self.chance.choice([0, 1, 2, 3, 10**9, 10**9])
        with contextlib.suppress(Crash):
            for some in await self.deposits.unsealed(20):
                self.sealed += await self.deposits.seal(some)


async def differences(pool: Pool, asked: Sequence[tuple[DepositFilter, dict[str, Any]]]) -> list[str]:
    """Return which answers are not those of counting one by one."""
    found = []
    for wanted, at in asked:
        with contextlib.suppress(AnchorGone):
            pages: list[DepositPage] = [
                await reader.page(wanted, DepositWindow(limit=5), **at)
                for reader in (Deposits(pool, CHAIN), OneByOne(pool, CHAIN))
            ]
            if pages[0] != pages[1]:
                found.append(f"{wanted} {at}: {pages[0].total} {pages[0].totals}, truly {pages[1].total}")
    return found


ALL = [(DepositFilter(), dict[str, Any]())]


def some_questions(chance: random.Random, top: int) -> list[tuple[DepositFilter, dict[str, Any]]]:
    """Everything, and a few questions with any filter, at any block, as any state of finality."""
    questions = list(ALL)
    for _ in range(4):
        wanted = DepositFilter(
            vault=chance.choice([None, None, *VAULTS]),
            resolver=chance.choice([None, None, *RESOLVERS]),
            token=chance.choice([None, None, *TOKENS]),
            state=chance.choice([None, None, "seen", "confirmed", "finalized", "orphaned"]),
            user=chance.choice([None] * 8 + [USER]),
        )
        at: dict[str, Any] = {"as_of": chance.randrange(top)} if chance.random() < 0.5 else {}
        if chance.random() < 0.5:
            safe = chance.randrange(-1, top)
            at["standing"] = Standing(safe, chance.randrange(-1, safe + 2), None)
        questions.append((wanted, at))
    return questions


async def told(pool: Pool, seed: int, steps: int) -> tuple[list[str], VaultStory]:
    """Tell a story up to the first differences."""
    story = VaultStory(pool, random.Random(seed))
    await story.begin()
    for _ in range(steps):
        await story.step()
        if found := await differences(pool, some_questions(story.chance, len(story.canonical))):
            return found, story
    return [], story


async def nothing(*_: object) -> None: ...


@pytest.mark.parametrize("seed", range(5))
async def test_totals_equal_counting_whatever_happened_before(opened: Pool, seed: int) -> None:
    found, story = await told(opened, seed, 60)
    assert found == []
    assert story.sealed
    assert story.found


async def sealed_chain(pool: Pool, length: int = 40) -> VaultStory:
    """A chain of which all but the newest two blocks is sealed, with one vault watched from its beginning."""
    story = VaultStory(pool, random.Random(3))
    await story.store.register("one", None)
    await story.watch_these(VAULTS[:1])
    story.canonical = story.more(length, None, "a")
    await story.store.commit(story.canonical, after=None)
    await story.store.saw(make.head(99))
    final = story.canonical[-3].ref
    await story.finality.note(Finality(safe=final, finalized=final))
    while some := await story.deposits.unsealed(100):
        for each in some:
            assert await story.deposits.seal(each)
    return story


async def places(sealer: PgDepositCounts) -> set[tuple[int, int, int]]:
    return {(each.width, each.blocks.first, each.blocks.last) for each in await sealer.sealed()}


async def test_what_is_final_and_known_is_sealed_in_every_width(opened: Pool) -> None:
    story = await sealed_chain(opened)
    assert await places(story.deposits) == {
        *[(2, first, first + 5) for first in range(0, 36, 6)],
        (2, 36, 37),
        *[(8, first, first + 7) for first in range(0, 32, 8)],
        (32, 0, 31),
    }
    assert await story.deposits.share() == 1.0
    assert await differences(opened, ALL) == []


async def test_a_total_does_not_read_the_deposits_that_are_sealed(opened: Pool) -> None:
    await sealed_chain(opened)
    before = await Deposits(opened, CHAIN).page(DepositFilter(), DepositWindow(limit=1))
    await opened.execute("delete from chain.vault_event where block_number < 38")
    after = await Deposits(opened, CHAIN).page(DepositFilter(), DepositWindow(limit=1))
    assert before.total == after.total > 10
    assert before.totals == after.totals


async def test_nothing_is_sealed_where_a_vault_is_still_to_be_looked_for(opened: Pool) -> None:
    story = await sealed_chain(opened)
    await opened.execute("delete from chain.deposit_seal")
    await opened.execute("delete from chain.deposit_count")
    await story.watch_these(VAULTS[:2])
    assert await story.deposits.unsealed(100) == []
    assert await story.deposits.share() is None
    await story.look_at(VAULTS[1], BlockRange(10, 37))
    assert {each.blocks.first for each in await story.deposits.unsealed(100)} == {10, 12, 18, 24, 30, 36}
    await story.watch_these([])
    assert await story.deposits.unsealed(100) == []


async def test_a_deep_reorg_unseals_what_it_reaches_and_nothing_else(opened: Pool) -> None:
    story = await sealed_chain(opened)
    await story.store.rewind(story.canonical[-1].ref, story.canonical[20].ref, reason="deep")
    assert await places(story.deposits) == {
        *[(2, first, first + 5) for first in range(0, 18, 6)],
        (2, 18, 19),
        (8, 0, 7),
        (8, 8, 15),
    }
    assert await opened.fetchval("select max(first_block + width) from chain.deposit_count") <= 20
    assert await differences(opened, ALL) == []


async def test_a_rewind_that_forgets_the_counts_is_found_out(opened: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    story = await sealed_chain(opened)
    monkeypatch.setattr(deposit_counts, "unseal", nothing)
    await story.store.rewind(story.canonical[-1].ref, story.canonical[20].ref, reason="deep")
    await story.store.commit(story.more(15, story.canonical[20].ref, "b"), after=story.canonical[20].ref)
    assert await differences(opened, ALL)


async def test_a_second_look_unseals_where_it_finds_something(opened: Pool) -> None:
    story = await sealed_chain(opened)
    await story.watch_these(VAULTS[:2])
    assert await differences(opened, ALL) == []
    await story.look_at(VAULTS[1], BlockRange(20, 37))
    assert story.found
    assert await differences(opened, ALL) == []
    assert (8, 8, 15) in await places(story.deposits)
    assert (8, 24, 31) not in await places(story.deposits)


async def test_a_second_look_that_forgets_the_counts_is_found_out(
    opened: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = await sealed_chain(opened)
    monkeypatch.setattr(vaults, "unseal", nothing)
    await story.watch_these(VAULTS[:2])
    await story.look_at(VAULTS[1], BlockRange(20, 37))
    assert await differences(opened, ALL)


async def test_the_stories_find_out_both(opened: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (deposit_counts, vaults):
        with monkeypatch.context() as patch:
            patch.setattr(module, "unseal", nothing)
            assert (await told(opened, 0, 200))[0], module
        for table in ("deposit_count", "deposit_seal", "vault_event", "watched_vault", "cursor", "coverage", "block",
                      "transaction", "tx_hash", "address_transaction", "head"):  # fmt: skip
            await opened.execute(f"delete from chain.{table}")


async def test_a_second_look_that_finds_nothing_new_leaves_the_seals(opened: Pool) -> None:
    story = await sealed_chain(opened)
    before = await places(story.deposits)
    await story.look_at(VAULTS[0], BlockRange(0, 37))
    assert story.found == 0
    assert await places(story.deposits) == before


async def test_who_counts_and_who_looks_again_wait_for_each_other(opened: Pool) -> None:
    """Both share the lock on rewinds: without another, a count would miss rows that are not committed yet."""
    story = await sealed_chain(opened)
    await story.watch_these(VAULTS[:2])
    missing = VaultTable(VAULTS[1:2], lambda *_: None)
    rows = [row for block in story.canonical[:38] for row in missing.derive(CHAIN, block).rows]
    write = story.vaults.write(VAULTS[1], rows, BlockRange(0, 37), story.canonical[37].ref)
    seal = story.deposits.seal(Stretch(2, BlockRange(0, 3)))
    async with opened.acquire() as conn, conn.transaction():
        await conn.execute(SQL_DEPOSITS_LOCK, CHAIN)
        waiting = [asyncio.create_task(write), asyncio.create_task(seal)]
        done, _ = await asyncio.wait(waiting, timeout=0.5)
        assert not done
    await asyncio.gather(*waiting)
    assert await differences(opened, ALL) == []


@pytest.mark.parametrize("seed", range(3))
async def test_counts_second_looks_and_a_rewind_at_once_leave_what_is_true(opened: Pool, seed: int) -> None:
    story, chance = await sealed_chain(opened), random.Random(seed)
    await opened.execute("update chain.deposit_seal set blocks = '{}'")
    await opened.execute("delete from chain.deposit_count")
    await story.watch_these(VAULTS[:2])
    # What was missed for another reason is found where all was known, and counted, before.
    await opened.execute("update chain.watched_vault set scanned = '{[0,38)}'")
    missing = VaultTable(VAULTS[1:2], lambda *_: None)
    work: list[Awaitable[Any]] = [story.deposits.seal(some) for some in await story.deposits.unsealed(20)]
    work.append(story.store.rewind(story.canonical[-1].ref, story.canonical[30].ref, reason="deep"))
    for first in range(0, 28, 4):
        blocks = story.canonical[first : first + 4]
        rows = [row for block in blocks for row in missing.derive(CHAIN, block).rows]
        work.append(story.vaults.write(VAULTS[1], rows, BlockRange(first, first + 3), blocks[-1].ref))
    chance.shuffle(work)
    await asyncio.gather(*work)
    assert await differences(opened, ALL) == []


async def test_a_count_that_is_wrong_is_found_and_mended(opened: Pool) -> None:
    story = await sealed_chain(opened)

    async def wrong() -> set[tuple[int, int]]:
        found = [each for some in await story.deposits.sealed() for each in await story.deposits.reseal(some)]
        return {(len(each.blocks), each.blocks.first) for each in found}

    assert await wrong() == set()
    await opened.execute("update chain.deposit_count set amount = amount + 1 where width = 8 and first_block = 8")
    await opened.execute("delete from chain.deposit_count where width = 32")
    assert await wrong() == {(8, 8), (32, 0)}
    assert await differences(opened, ALL) == []
    assert await wrong() == set()


async def test_the_service_seals_all_and_says_how_much(opened: Pool) -> None:
    story, shown = await sealed_chain(opened), list[float]()
    await opened.execute("delete from chain.deposit_seal")
    await opened.execute("delete from chain.deposit_count")
    service = Sealing(story.deposits, name="one.deposits", on_share=shown.append)
    while await service.step():
        pass
    assert shown[-1] == 1.0
    assert (32, 0, 31) in await places(story.deposits)


async def test_the_command_says_what_was_wrong_and_mends_it(
    opened: Pool, database_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reindex, "PgDepositCounts", partial(PgDepositCounts, widths=WIDTHS, most_blocks=MOST))
    settings = load(environ={"CHAINWORKD_DATABASE__URL": database_url})
    await sealed_chain(opened)
    arguments = argparse.Namespace(json=True)

    async def said() -> tuple[int | None, dict[str, Any]]:
        code = await reindex.counters(settings, arguments)
        return code, json.loads(capsys.readouterr().out)[0]

    code, report = await said()
    assert (code, report["deposit_segments"], report["deposits_wrong_count"], report["deposits_sealed"]) == (
        0,
        24,
        0,
        0,
    )
    await opened.execute("update chain.deposit_count set amount = amount + 1 where width = 8 and first_block = 0")
    await opened.execute("update chain.deposit_seal set blocks = blocks - '{[32,34)}' where width = 2")
    code, report = await said()
    assert (code, report["deposits_sealed"]) == (1, 1)
    for wrong in report["deposits_wrong"]:
        assert (wrong["first"], wrong["last"], wrong["vault"]) == (0, 7, to_hex(VAULTS[0]))
        assert int(wrong["found"][2]) == int(wrong["expected"][2]) + 1
    arguments.json = False
    assert await reindex.counters(settings, arguments) == 0
    assert "24 segments of deposits counted again" in capsys.readouterr().out


def test_a_span_is_cut_into_the_widest_segments_that_are_sealed() -> None:
    sealed = {2: [BlockRange(0, 41)], 8: [BlockRange(8, 15), BlockRange(24, 39)], 32: [BlockRange(0, 31)]}
    assert parts(BlockRange(0, 43), sealed) == [
        Part(32, BlockRange(0, 31)), Part(8, BlockRange(32, 39)), Part(2, BlockRange(40, 41)),
        Part(None, BlockRange(42, 43)),
    ]  # fmt: skip
    assert parts(BlockRange(3, 30), sealed) == [
        Part(8, BlockRange(8, 15)),
        Part(2, BlockRange(4, 7)), Part(2, BlockRange(16, 29)),
        Part(None, BlockRange(3, 3)), Part(None, BlockRange(30, 30)),
    ]  # fmt: skip
    assert parts(BlockRange(3, 9), {}) == [Part(None, BlockRange(3, 9))]


def test_whole_segments_are_sealed_some_blocks_at_a_time() -> None:
    assert [each.blocks for each in stretches(BlockRange(3, 21), 2, 8)] == [
        BlockRange(16, 21), BlockRange(8, 15), BlockRange(4, 7)
    ]  # fmt: skip
    assert [each.blocks for each in stretches(BlockRange(3, 34), 16, 8)] == [BlockRange(16, 31)]
    assert list(stretches(BlockRange(1, 2), 2, 8)) == []
    assert Stretch(2, BlockRange(4, 7)).segments == 2
