"""People, as an ADMIN sees and changes them, and their API tokens."""

import asyncio
import re
from datetime import timedelta

import asyncpg
import pytest

from accounts import tokens
from accounts.audit import latest
from accounts.roles import Role
from core.errors import StoreUnavailable
from core.settings import AuthSettings
from core.store.pool import Pool, translated
from tests.api.people import Town, login, refused, register, town, writers_held_up

USERS = "/api/admin/users"
TOKEN = "/api/user/token"
ME = "/api/auth/me"


async def id_of(one: Town, email: str) -> str:
    return str(await one.pool.fetchval("select user_id from accounts.person where email = $1", email))


async def test_a_change_counts_from_the_next_request_on(people: Town) -> None:
    admin = await people.signed_in("a@example.org", Role.ADMIN)
    ann = await people.signed_in("ann@example.org")
    path = f"{USERS}/{await id_of(people, 'ann@example.org')}"
    key = (await ann.post(TOKEN)).json()["token"]
    refused(await ann.get(USERS), 403)
    assert (await admin.patch(path, json={"role": "ADMIN"})).json()["user"]["role"] == "ADMIN"
    assert (await ann.get(USERS)).status_code == 200
    assert (await admin.patch(path, json={"role": "OPERATOR"})).status_code == 200
    refused(await ann.get(USERS), 403)
    assert (await ann.get(ME)).status_code == 200
    assert await tokens.authenticate(people.pool, key) is not None
    for change in ({"status": "DISABLED"}, {"status": "ACTIVE", "role": "PENDING"}):
        assert (await admin.patch(path, json=change)).status_code == 200
        refused(await ann.get(ME), 401)
        refused(await ann.post("/api/auth/refresh"), 401)
        refused(await login(ann, "ann@example.org"), 403)
        assert await tokens.authenticate(people.pool, key) is None
        await admin.patch(path, json={"status": "ACTIVE", "role": "OPERATOR"})
        assert (await login(ann, "ann@example.org")).status_code == 200


@pytest.mark.parametrize(
    "change", [{"role": "OPERATOR"}, {"role": "PENDING"}, {"status": "DISABLED"}, {"status": "PENDING"}]
)
async def test_the_last_admin_stays(people: Town, change: dict[str, str]) -> None:
    admin = await people.signed_in("a@example.org", Role.ADMIN)
    await people.person("b@example.org")
    path = f"{USERS}/{await id_of(people, 'a@example.org')}"
    assert "last" in refused(await admin.patch(path, json=change), 409)
    other = f"{USERS}/{await id_of(people, 'b@example.org')}"
    await admin.patch(other, json={"role": "ADMIN", "status": "DISABLED"})
    refused(await admin.patch(path, json=change), 409)  # one who cannot sign in does not count
    await admin.patch(other, json={"status": "ACTIVE"})
    assert (await admin.patch(path, json=change)).status_code == 200


async def test_admins_who_demote_one_another_at_once_leave_one(people: Town, pool: Pool) -> None:
    names = [f"a{n}@example.org" for n in range(8)]
    admins = [await people.signed_in(name, Role.ADMIN) for name in names]
    paths = [f"{USERS}/{await id_of(people, name)}" for name in names]
    pairs = zip(admins, paths[1:] + paths[:1], strict=True)
    async with writers_held_up(pool, "accounts.person", at_least=8):
        asked = [asyncio.create_task(who.patch(path, json={"role": "OPERATOR"})) for who, path in pairs]
    answers = sorted(answer.status_code for answer in await asyncio.gather(*asked))
    assert answers == [*[200] * 7, 409]
    assert await people.pool.fetchval("select count(*) from accounts.person where role = 'ADMIN'") == 1


@pytest.mark.parametrize(
    ("body", "status", "named"),
    [
        ({}, 400, "role"), ({"role": "KING"}, 400, "role"), ({"status": 1}, 400, "status"), ([], 400, "body"),
        ({"role": "ADMIN", "email": "x@y"}, 400, "email"), ({"role": None}, 400, "role"),
    ],
)  # fmt: skip
async def test_a_change_that_cannot_be_is_named(people: Town, body: object, status: int, named: str) -> None:
    admin = await people.signed_in("a@example.org", Role.ADMIN)
    path = f"{USERS}/{await id_of(people, 'a@example.org')}"
    assert named in refused(await admin.patch(path, json=body), status)


@pytest.mark.parametrize("user_id", ["nobody", "%00", "%ff", "x" * 3_000, "'%20or%201=1"])
async def test_nobody_is_changed_who_is_not_there(people: Town, user_id: str) -> None:
    admin = await people.signed_in("a@example.org", Role.ADMIN)
    refused(await admin.patch(f"{USERS}/{user_id}", json={"role": "ADMIN"}), 404)


async def test_a_token_is_shown_once_and_replaces_the_last(people: Town) -> None:
    ann = await people.signed_in("ann@example.org")
    assert (await ann.get(TOKEN)).json() == {"exists": False}
    refused(await ann.delete(TOKEN), 404)
    first, second = [(await ann.post(TOKEN)).json()["token"] for _ in range(2)]
    assert re.fullmatch(r"hc_live_[0-9a-f]{40}", first) and first != second
    assert await tokens.authenticate(people.pool, first) is None
    assert await tokens.authenticate(people.pool, second) is not None
    shown = await ann.get(TOKEN)
    assert shown.json()["exists"] is True and shown.json()["expiresAt"] is None
    assert shown.json()["lastUsedAt"] is not None
    assert second[8:] not in shown.text
    stored = await people.pool.fetch("select * from accounts.api_token")
    assert all(second not in str(dict(row)) for row in stored)
    assert (await ann.delete(TOKEN)).json() == {"message": "Token revoked"}
    assert await tokens.authenticate(people.pool, second) is None
    assert (await ann.get(TOKEN)).json() == {"exists": False}


async def test_one_token_each_whoever_asks_at_once(people: Town) -> None:
    ann, bob = await people.signed_in("ann@example.org"), await people.signed_in("bob@example.org")
    answers = await asyncio.gather(*(client.post(TOKEN) for client in (ann, bob) for _ in range(10)))
    assert {answer.status_code for answer in answers} == {200}
    good = [key for a in answers if await tokens.authenticate(people.pool, key := a.json()["token"]) is not None]
    assert len(good) == 2


async def test_a_token_expires_when_settings_say_so(wide_pool: Pool) -> None:
    async with town(wide_pool, auth=AuthSettings(user_token_days=30)) as one:
        ann = await one.signed_in("ann@example.org")
        key = (await ann.post(TOKEN)).json()["token"]
        assert (await ann.get(TOKEN)).json()["expiresAt"].startswith("2026-01-31")
        one.clock.seconds += timedelta(days=31).total_seconds()
        await login(ann, "ann@example.org")
        assert (await ann.get(TOKEN)).json() == {"exists": False}
        assert await tokens.authenticate(one.pool, key) is None  # by the database's own clock, too


async def test_the_audit_log_says_who_changed_what_and_the_api_cannot_change_it(people: Town) -> None:
    await register(people.client(), "a@example.org")
    admin = people.client()
    await login(admin, "a@example.org")
    root = await id_of(people, "a@example.org")
    await register(people.client(), "ann@example.org")
    ann = await id_of(people, "ann@example.org")
    people.clock.seconds += 1
    await admin.patch(f"{USERS}/{ann}", json={"role": "OPERATOR", "status": "ACTIVE"})
    await admin.patch(f"{USERS}/{ann}", json={"role": "OPERATOR"})  # changes nothing, says nothing
    (newest, *_) = await latest(people.pool, 10)
    assert (newest.actor, newest.action, newest.subject) == (root, "user.change", ann)
    assert newest.detail == {"role": ["PENDING", "OPERATOR"], "status": ["PENDING", "ACTIVE"]}
    people.clock.seconds += 1
    await admin.post(TOKEN)
    assert (await latest(people.pool, 1))[0].action == "token.issue"
    for change in ("update accounts.audit set actor = 'x'", "delete from accounts.audit", "truncate accounts.audit"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await people.pool.execute(change)


async def test_emails_and_ids_are_the_only_thing_an_admin_sees_of_passwords(people: Town) -> None:
    admin = await people.signed_in("a@example.org", Role.ADMIN)
    for person in (await admin.get(USERS)).json()["users"]:
        assert set(person) == {"userId", "email", "role", "status", "createdAt"}


async def test_a_row_that_is_there_already_is_not_said_to_be_a_block(people: Town) -> None:
    await people.person("ann@example.org")
    again = """
        insert into accounts.person select * from accounts.person
    """
    with pytest.raises(StoreUnavailable, match=r"person_pkey") as caught, translated():
        await people.pool.execute(again)
    assert "block" not in str(caught.value)


async def test_what_one_api_process_knows_of_people_all_of_one_database_know(wide_pool: Pool) -> None:
    async with town(wide_pool) as one, town(wide_pool) as other:
        ann = await one.signed_in("ann@example.org")
        there = other.client(dict(ann.cookies))
        assert (await there.get(ME)).json()["user"]["email"] == "ann@example.org"
        key = (await there.post(TOKEN)).json()["token"]
        header = {"authorization": f"Bearer {key}"}
        unindexed = "/api/v1/transactions"  # 503 once the key is accepted: nothing is indexed here
        assert [(await each.client().get(unindexed, headers=header)).status_code for each in (one, other)] == [503, 503]
        assert (await ann.delete(TOKEN)).status_code == 200
        assert [(await each.client().get(unindexed, headers=header)).status_code for each in (one, other)] == [401, 401]
        assert (await ann.post("/api/auth/logout")).status_code < 400
        refused(await there.get(ME), 401)
