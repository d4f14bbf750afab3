"""Pages that are found by counts are the pages that walking over all rows before them comes to."""

import asyncio
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import pytest

from core.store import listing, offsets
from core.store.listing import DIRECTION_ROLES, Asked, Direction, Filter, Window
from core.store.pg import PgStore
from core.store.pool import Connection, Pool
from core.store.reader import Reader
from core.types import BlockRange, BlockRef
from indexer.decode.tables import TransferTable
from indexer.watch import watching
from tests.pg.test_counts import CHAIN, PEOPLE, TINY, Story, sealed_chain

WAYS: tuple[Direction | None, ...] = (None, "in", "out")
ANY_ROLE = int(DIRECTION_ROLES[None])
SQL_ROWS_OF_ADDRESS = """
    select block_number, tx_index from chain.address_transaction
    where chain_id = $1 and address = $2 and block_number between $3 and $4 and roles & $5 <> 0
    order by block_number, tx_index
"""
SQL_ROWS = """
    select block_number, tx_index from chain.transaction
    where chain_id = $1 and block_number between $2 and $3
    order by block_number, tx_index
"""


@pytest.fixture
def deep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every page with an offset is found by counts, of tiny segments."""
    monkeypatch.setattr(listing, "NEAR", 0)
    monkeypatch.setattr(offsets, "of_address", partial(offsets.of_address, scale=TINY))
    monkeypatch.setattr(offsets, "of_chain", partial(offsets.of_chain, scale=TINY))


def some_asked(chance: random.Random, top: int) -> Iterator[Asked]:
    """Pages of every listing, of windows, offsets and anchors by chance."""
    for who in (None, *PEOPLE):
        for way in WAYS if who else (None,):
            for oldest_first in (False, True):
                first, last = sorted(chance.choices(range(top + 2), k=2))
                wanted = Filter(address=who, direction=way)
                if chance.random() < 0.5:
                    wanted = wanted._replace(from_block=first, to_block=last)
                window = Window(chance.randint(1, 4), chance.randrange(40), oldest_first=oldest_first)
                yield Asked(wanted, window, BlockRef(chance.randrange(top // 2, top + 1), b""))


async def page(conn: Connection, asked: Asked) -> listing.Listed:
    if asked.wanted.is_own:
        return (await listing.of_addresses(conn, CHAIN, [asked]))[0]
    return await listing.of_range(conn, CHAIN, asked)


async def walked(conn: Connection, asked: Asked) -> tuple[tuple[listing.Place, ...], int]:
    """The page and the total, by reading all rows."""
    wanted, window = asked.wanted, asked.window
    last = asked.at.number if wanted.to_block is None else min(wanted.to_block, asked.at.number)
    span = (wanted.from_block or 0, last)
    if wanted.address is None:
        rows = await conn.fetch(SQL_ROWS, CHAIN, *span)
    else:
        roles = int(DIRECTION_ROLES[wanted.direction])
        rows = await conn.fetch(SQL_ROWS_OF_ADDRESS, CHAIN, wanted.address, *span, roles)
    places = [(row["block_number"], row["tx_index"]) for row in rows]
    ordered = places if window.oldest_first else places[::-1]
    return tuple(ordered[window.offset : window.offset + window.limit]), len(places)


async def differences(pool: Pool, asked: Sequence[Asked]) -> list[str]:
    found = []
    async with pool.acquire() as conn:
        for each in asked:
            listed, (places, total) = await page(conn, each), await walked(conn, each)
            if (listed.places, listed.total) != (places, total):
                found.append(f"{each}: {listed.places} of {listed.total}, truly {places} of {total}")
    return found


@pytest.mark.usefixtures("deep")
@pytest.mark.parametrize("seed", range(4))
async def test_pages_equal_walked_ones_whatever_happened_before(opened: Pool, seed: int) -> None:
    story = Story(opened, random.Random(seed))
    if seed % 3 == 2:  # not all transactions of a block are stored
        story.store = PgStore(
            opened, CHAIN, derived=[TransferTable(lambda *_: None)], keep=watching([PEOPLE[0], PEOPLE[1]])
        )
    await story.begin()
    for _ in range(40):
        await story.step()
        if story.chance.random() < 0.5:
            await unsealed_by_chance(opened, story.chance)
        assert await differences(opened, list(some_asked(story.chance, len(story.canonical)))) == []
    assert story.sealed


async def unsealed_by_chance(pool: Pool, chance: random.Random) -> None:
    """Take some counts away: one that is not there may be of any address in any segment."""
    await pool.execute("delete from chain.seal where hashint8(first_block + $1) % 5 = 0", chance.randrange(10**6))
    await pool.execute(
        "delete from chain.address_count where hashint8(first_block + ascii(encode(address, 'hex')) + $1) % 5 = 0",
        chance.randrange(10**6),
    )


@pytest.mark.usefixtures("deep")
@pytest.mark.parametrize("table", ["address_count", "seal"])
async def test_a_count_that_is_wrong_is_found_out(opened: Pool, table: str) -> None:
    _, _, blocks = await sealed_chain(opened)
    asked = list(some_asked(random.Random(3), len(blocks)))
    assert await differences(opened, asked) == []
    await opened.execute(f"delete from chain.{table} where width = 8")
    column = "transactions = transactions" if table == "seal" else "total = total + 1, incoming = incoming"
    await opened.execute(f"update chain.{table} set {column} + 1")
    assert await differences(opened, asked)


@pytest.mark.usefixtures("deep")
async def test_a_row_is_found_within_a_narrow_segment_and_of_all_within_its_block(opened: Pool) -> None:
    _, _, blocks = await sealed_chain(opened)
    span = BlockRange(0, 15)  # two wide segments
    rows = [(block.number, index) for block in blocks[:16] for index in range(len(block.txs))]
    async with opened.acquire() as conn:
        own = [tuple(row) for row in await conn.fetch(SQL_ROWS_OF_ADDRESS, CHAIN, PEOPLE[0], 0, 15, ANY_ROLE)]
        for offset, place in enumerate(rows):
            found = await offsets.of_chain(conn, CHAIN, span, offset, oldest_first=True)
            assert found == offsets.Found(len(rows), BlockRange(place[0], place[0]), place[1])
        assert (await offsets.of_chain(conn, CHAIN, span, len(rows), oldest_first=True)).part is None
        for offset, place in enumerate(own[::-1]):
            found = await offsets.of_address(
                conn, CHAIN, PEOPLE[0], span, offset, sql=offsets.SQL_OF_ADDRESS_NEWEST, roles=0
            )
            assert found.part is not None
            assert len(found.part) < TINY.wide
            newer = [each for each in own if place < each and each[0] <= found.part.last]
            assert (found.total, place[0] in found.part, found.rest) == (len(own), True, len(newer))


async def test_deep_pages_and_others_are_answered_together(opened: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, blocks = await sealed_chain(opened)
    reader = Reader(opened, CHAIN)
    asked = [replace(each, at=blocks[-1].ref) for each in some_asked(random.Random(4), len(blocks))]
    truly = [await reader.transactions(each.wanted, each.window) for each in asked]
    monkeypatch.setattr(listing, "NEAR", 7)
    found = await asyncio.gather(*(reader.transactions(each.wanted, each.window) for each in asked))
    assert found == truly
    assert any(page.txs for page in found)
