"""What each process may do to intents in the database: features want and ask, the sender moves, people activate."""

from uuid import uuid4

import asyncpg
import pytest

from builders.call import Call
from core.store.pool import open_pool
from tests.wallet import make
from wallet import activation, records
from wallet.types import State

# What a feature, or the API that faces the network, must not be able to do, whatever it is talked into.
NEVER = [
    "update wallet.intent set state = 'settled'", "update wallet.intent set nonce = 1",
    "update wallet.intent set target = ''", "update wallet.intent set deadline = now()", "delete from wallet.intent",
    "insert into wallet.intent"
    " (intent_id, chain_id, wallet, owner, kind, target, data, value, priority, deadline, state)"
    " values (gen_random_uuid(), 1, '', 'x', 'x', '', '', 0, 1, now(), 'pending')",
    "insert into wallet.attempt select * from wallet.attempt", "update wallet.attempt set raw = ''",
    "delete from wallet.receipt", "delete from wallet.movement", "update wallet.spend set amount = 0",
    "insert into wallet.activation select * from wallet.activation",
    "insert into wallet.halt select * from wallet.halt",
]  # fmt: skip
NEVER_THE_SENDER = [
    "insert into wallet.activation select * from wallet.activation", "update wallet.activation set revoked_at = null",
    "update wallet.halt set lifted_at = now()", "update wallet.intent set target = ''",
    "update wallet.intent set value = 0", "update wallet.attempt set raw = ''", "delete from wallet.attempt",
    "delete from wallet.spend", "delete from wallet.intent", "select * from accounts.person",
]  # fmt: skip


@pytest.mark.parametrize("role", ["chainworkd_worker", "chainworkd_api"])
async def test_features_queue_look_and_ask_to_cancel_and_no_more(database_url: str, role: str) -> None:
    intent = make.intent()
    async with open_pool(database_url, role=role, size=1) as pool:
        async with pool.acquire() as conn, conn.transaction():
            assert await records.queue(conn, intent)
        found = await records.status(pool, intent.id)
        assert found is not None
        assert (found.intent, found.state) == (intent, State.QUEUED)
        assert await records.cancel(pool, intent.id, make.NOW, by="ann", because="wrong")
        assert [each.cancel for each in await records.listed(pool, [State.QUEUED], 5)] == [True]
        for statement in NEVER:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await pool.execute(statement)


async def test_the_sender_can_neither_activate_itself_nor_change_what_was_wanted(database_url: str) -> None:
    async with open_pool(database_url, role="chainworkd_sender", size=1) as pool:
        for statement in NEVER_THE_SENDER:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await pool.execute(statement)


async def test_one_activation_counts_and_the_newest_does(database_url: str) -> None:
    async with open_pool(database_url, size=1) as pool:
        for code in (bytes(32), bytes([1]) * 32):
            await activation.activate(pool, 1, make.WALLET, {make.WALLET: code}, make.NOW, by="ann", because="x")
        rows = await pool.fetch("select code_hashes from wallet.activation where revoked_at is null")
        assert ["01" * 32 in row["code_hashes"] for row in rows] == [True]


def test_an_intent_says_what_is_wrong_with_it() -> None:
    for fields, why in (
        ({"priority": 6}, "priority from 1 to 5"),
        ({"deadline": make.NOW.replace(tzinfo=None)}, "time zone"),
        ({"call": Call(None)}, "found a creation"),
    ):
        with pytest.raises(ValueError, match=why):
            make.intent(**fields)


async def test_an_intent_that_is_not_there_is_awaited_by_nobody(database_url: str) -> None:
    async with open_pool(database_url, size=1) as pool:
        assert await records.status(pool, uuid4()) is None
