"""Backfill waits for room on the disk; the head does not."""

import logging
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.store.dsn import local_url, parse
from core.store.pool import Pool, open_pool
from core.store.reader import Reader
from core.store.space import GB, Room, free_space, note_paused, unknown

CHAIN = 7


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url, role="chainworkd_indexer", size=2) as pool:
        await pool.execute("insert into chain.chain (chain_id, name) values (7, 'seven')")
        yield pool


class Disk:
    """A disk that has as much room as a test says."""

    def __init__(self, free: int | None) -> None:
        self.free = free

    def __call__(self) -> int | None:
        return self.free


async def test_it_closes_below_the_least_and_opens_a_quarter_above(caplog: pytest.LogCaptureFixture) -> None:
    told: list[str | None] = []

    async def tell(why: str | None) -> None:
        told.append(why)

    disk = Disk(101)
    room = Room(disk, 100, tell, name="seven")
    caplog.set_level(logging.INFO)
    seen = []
    for disk.free in (101, 100, 99, 99, 110, 124, 125, 101, 100, 99):
        seen.append(await room.open())
    assert seen == [True, True, False, False, False, False, True, True, True, False]
    assert [why is not None for why in told] == [False, True, False, True]
    assert [r.getMessage() for r in caplog.records] == ["backfill pauses", "backfill resumes", "backfill pauses"]


async def test_space_that_nobody_knows_and_a_least_of_zero_never_close_it() -> None:
    async def tell(why: str | None) -> None:
        assert why is None

    assert await Room(unknown, 100, tell, name="seven").open()
    assert await Room(Disk(0), 0, tell, name="seven").open()


async def test_every_reader_sees_why_and_that_it_is_over(pool: Pool, database_url: str) -> None:
    async with open_pool(database_url, role="chainworkd_api", size=1) as reading:
        reader = Reader(reading, CHAIN)
        assert await reader.backfill_paused() is None
        await note_paused(pool, CHAIN, "0.5 GB free")
        assert await reader.backfill_paused() == "0.5 GB free"
        await note_paused(pool, CHAIN, None)
        assert await reader.backfill_paused() is None


async def test_the_embedded_servers_disk_is_measured(pool: Pool, database_url: str) -> None:
    async with open_pool(database_url, size=1) as admin:
        folder = await admin.fetchval("show data_directory")
    free = (await free_space(database_url))()
    assert free is not None
    assert abs(free - shutil.disk_usage(folder).free) < GB


async def test_a_server_elsewhere_or_a_log_in_that_may_not_ask_is_unknown(pool: Pool, database_url: str) -> None:
    assert await free_space("postgresql://u:p@db.example/x") is unknown
    at = parse(database_url)
    prying = local_url(Path(at.host), user="prying", password="x", database=at.database)
    async with open_pool(database_url, size=1) as admin:
        await admin.execute("create role prying login password 'x'")
        try:
            assert await free_space(prying) is unknown
            await admin.execute("grant pg_read_all_settings to prying")
            assert await free_space(prying) is not unknown
        finally:
            await admin.execute("drop role prying")
