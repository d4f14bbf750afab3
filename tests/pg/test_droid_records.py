"""What people say of droids in the database: what is kept, what is refused, and what each process may do."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal

import asyncpg
import pytest

from core.store.pool import Pool, open_pool
from droids import records
from droids.droid import BadDroid
from droids.records import AccountRow, Command, PoolRow
from tests.droids import SEED
from tests.make import address

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
POOL = PoolRow(
    pool_id=42, chain_id=1, address=address("pool"), manager=address("manager"), quote=address("dollar")
)  # fmt: skip
ACCOUNT = AccountRow(account_id=7, chain_id=1, wallet=address("wallet"))
# What the API that faces the network must not be able to say, whatever it is talked into.
NEVER_THE_API = [
    "update droid.droid set answered = 9", "update droid.droid set holds = false", "delete from droid.droid",
    "insert into droid.ledger select * from droid.ledger", "update droid.position set closed_by = null",
    "insert into droid.move select * from droid.move", "update droid.session set gas_usd = 0",
    "update droid.droid set wallet = ''", "update droid.bot set status = 'CLOSED'", "delete from droid.pool",
    "update droid.pool set manager = ''", "update droid.account set wallet = ''", "delete from droid.account",
]  # fmt: skip
NEVER_THE_WORKER = [
    "update droid.droid set config = '{}'", "update droid.droid set command = 9", "delete from droid.ledger",
    "update droid.droid set wallet = ''", "insert into droid.droid select * from droid.droid",
    "delete from droid.position", "delete from droid.move", "delete from droid.session",
]  # fmt: skip


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url, role="chainworkd_api", size=1) as pool:
        await records.put_pool(pool, POOL)
        await records.put_account(pool, ACCOUNT)
        yield pool


async def made(pool: Pool) -> int:
    return await records.create(pool, SEED, account_id=7, pool_id=42, by="ann")


async def test_a_droid_is_kept_as_it_was_typed_and_begins_paused(api: Pool) -> None:
    found = await records.one(api, await made(api))
    assert found is not None
    assert dict(found.config) == SEED
    assert (found.active, found.command, found.answered, found.holds) == (Command.PAUSE, 0, 0, False)
    assert (found.wallet, found.chain_id, found.created_by) == (ACCOUNT.wallet, 1, "ann")
    assert found.droid.falling_rebalance_trigger == Decimal("0.03")
    assert (await records.droids(api), await records.one(api, 99)) == ((found,), None)
    assert (await records.pools(api), await records.accounts(api)) == ((POOL,), (ACCOUNT,))


async def test_every_command_counts_and_an_operator_does_not_stop_an_admins_closing(api: Pool) -> None:
    number = await made(api)
    given = [(Command.RUN, "OPERATOR"), (Command.RESET, "ADMIN"), (Command.RESET, "ADMIN"), (Command.CLOSE, "ADMIN")]
    counted = [await records.command(api, number, what, NOW, by="ann", role=role) for what, role in given]
    assert counted == [1, 2, 3, 4]
    assert await records.command(api, number, Command.PAUSE, NOW, by="bob", role="OPERATOR") is None
    assert await records.command(api, 99, Command.PAUSE, NOW, by="bob", role="OPERATOR") is None
    assert await records.command(api, number, Command.PAUSE, NOW, by="ann", role="ADMIN") == 5
    found = await records.one(api, number)
    assert found is not None
    assert (found.active, found.commanded_by, found.commanded_as) == (Command.PAUSE, "ann", "ADMIN")


async def test_a_wallet_has_one_droid_that_is_not_stopped(api: Pool, database_url: str) -> None:
    one, other = await made(api), await made(api)
    assert await records.command(api, one, Command.RUN, NOW, by="ann", role="ADMIN") == 1
    with pytest.raises(records.Taken, match=f"droid {other}"):
        await records.command(api, other, Command.RUN, NOW, by="ann", role="ADMIN")
    async with open_pool(database_url, role="chainworkd_worker", size=1) as worker:
        await worker.execute("update droid.droid set holds = true where droid_id = $1", one)
    await records.command(api, one, Command.PAUSE, NOW, by="ann", role="ADMIN")
    with pytest.raises(records.Taken):
        await records.command(api, other, Command.RUN, NOW, by="ann", role="ADMIN")


async def test_fields_change_once_for_whoever_read_them(api: Pool) -> None:
    before = await records.one(api, await made(api))
    assert before is not None
    assert await records.configure(api, before, {**before.config, "maxBots": 8, "maxPrice": Decimal("4500.50")})
    assert not await records.configure(api, before, {**before.config, "maxBots": 9})
    with pytest.raises(BadDroid, match="maxPrice"):
        await records.configure(api, before, {**before.config, "maxPrice": 1})
    with pytest.raises(BadDroid, match="fundingUSD"):
        await records.create(api, {}, account_id=7, pool_id=42, by="ann")
    with pytest.raises(LookupError, match="account 8"):
        await records.create(api, SEED, account_id=8, pool_id=42, by="ann")


async def test_nothing_has_happened_to_a_new_droid(api: Pool) -> None:
    number = await made(api)
    asked = (records.sessions, records.decisions, records.snapshots)
    assert [await each(api, number, 10) for each in asked] == [(), (), ()]
    assert (await records.bots(api, number), await records.ledger(api, number)) == ((), ())


@pytest.mark.parametrize(("role", "never"), [("api", NEVER_THE_API), ("worker", NEVER_THE_WORKER)])
async def test_nobody_says_what_is_anothers_to_say(database_url: str, role: str, never: list[str]) -> None:
    async with open_pool(database_url, role=f"chainworkd_{role}", size=1) as pool:
        for statement in never:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await pool.execute(statement)
