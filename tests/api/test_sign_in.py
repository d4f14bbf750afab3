"""Registering, signing in, refreshing, signing out: what everybody may rely on, and what nobody can get past."""

import asyncio
import base64
import json
from datetime import timedelta

import httpx
import jwt
import pytest

from accounts import people as records
from accounts.audit import COMMAND_LINE, By, latest
from accounts.passwords import Passwords, owasp
from accounts.roles import Role, Status
from accounts.sessions import Lives, forget, start
from accounts.signing import HEADSTART, ROTATE, SigningKey, signing
from api.limits import Budget
from core.settings import ApiSettings, AuthSettings
from core.store.pool import Pool
from tests.api.people import FREE, HERE, PASSWORD, Town, login, refused, register, town, writers_held_up

REFRESH = "/api/auth/refresh"
ME = "/api/auth/me"
GRACE = timedelta(seconds=10)


def cookies_of(answer: httpx.Response) -> dict[str, str]:
    """Name -> everything behind its value, of the cookies an answer sets."""
    sent = [header.partition("=") for header in answer.headers.get_list("set-cookie")]
    return {name: rest.partition(";")[2].lower() for name, _, rest in sent}


async def test_of_fifty_who_register_at_once_one_becomes_admin(people: Town, pool: Pool) -> None:
    async with writers_held_up(pool, "accounts.person", at_least=8):
        asked = [asyncio.create_task(register(people.client(), f"p{n}@example.org")) for n in range(50)]
    answers = await asyncio.gather(*asked)
    assert {answer.status_code for answer in answers} == {200}
    assert sum("accessToken" in answer.json() for answer in answers) == 1
    everybody = await records.every(people.pool)
    assert len(everybody) == 50
    assert [person.role for person in everybody if person.role is not Role.PENDING] == [Role.ADMIN]
    assert sum(person.status is Status.ACTIVE for person in everybody) == 1


async def test_of_fifty_who_register_one_address_at_once_one_has_it(people: Town) -> None:
    answers = await asyncio.gather(*(register(people.client(), "Ann@example.org") for _ in range(50)))
    assert sorted(answer.status_code for answer in answers) == [200, *[409] * 49]
    assert "email" in refused(await register(people.client(), "aNN@EXAMPLE.org"), 409)


@pytest.mark.parametrize(
    ("email", "password", "named"),
    [
        ("", PASSWORD, "email"), ("ann", PASSWORD, "email"), ("a b@example.org", PASSWORD, "email"),
        ("a@" + "b" * 300, PASSWORD, "email"), ("\u0430nn@example.org", PASSWORD, "email"),
        ("a\0@b", PASSWORD, "email"),
        ("ann@example.org", "short", "password"), ("ann@example.org", "a" * 40, "password"),
        ("ann@example.org", "Ann@example.org", "password"), ("ann@example.org", "x1y2" * 100, "password"),
    ],
)  # fmt: skip
async def test_what_cannot_be_registered_is_named(people: Town, email: str, password: str, named: str) -> None:
    assert refused(await register(people.client(), email, password), 400).startswith(named)


async def test_pending_people_cannot_sign_in_until_they_are_approved(people: Town) -> None:
    await people.person("root@example.org", Role.ADMIN)
    client = people.client()
    assert "accessToken" not in (await register(client, "ann@example.org")).json()
    assert "PENDING" in refused(await login(client, "ann@example.org"), 403)
    assert not client.cookies
    (ann,) = [person for person in await records.every(people.pool) if person.email == "ann@example.org"]
    by = By(COMMAND_LINE, people.clock.now())
    for half in ({"role": Role.OPERATOR}, {"status": Status.ACTIVE, "role": Role.PENDING}):
        await records.change(people.pool, ann.user_id, **half, by=by)
        refused(await login(client, "ann@example.org"), 403)
    await records.change(people.pool, ann.user_id, role=Role.OPERATOR, status=Status.ACTIVE, by=by)
    assert (await login(client, "ann@example.org")).status_code == 200


async def test_unknown_people_and_wrong_passwords_look_and_cost_the_same(people: Town) -> None:
    await people.person("ann@example.org")
    await people.client().post("/api/auth/register", json={"email": "pat@example.org", "password": PASSWORD})
    tries = [
        ("ann@example.org", "wrong password", True), ("nobody@example.org", PASSWORD, False),
        ("no address", PASSWORD, False), ("pat@example.org", "wrong password", True),
        ("ann@example.org", "w" * 5_000, False),
    ]  # fmt: skip
    answers = []
    for email, password, real in tries:
        people.passwords.verified.clear()
        answers.append(await login(people.client(), email, password))
        assert people.passwords.verified == [real], email
    assert len({(one.status_code, one.text, tuple(one.headers)) for one in answers}) == 1
    refused(answers[0], 401)


def test_the_dummy_hash_costs_what_real_ones_do() -> None:
    passwords = Passwords(owasp())
    assert passwords._dummy.split("$")[:4] == owasp().hash("somebody's password").split("$")[:4]
    assert "$m=19456,t=2,p=1$" in passwords._dummy
    passwords.close()


async def test_a_hash_of_older_parameters_is_replaced_at_the_next_sign_in(people: Town) -> None:
    await people.person("ann@example.org")
    people.passwords._hasher = owasp()
    for _ in range(2):
        assert (await login(people.client(), "ann@example.org")).status_code == 200
    stored = await people.pool.fetchval("select password_hash from accounts.person")
    assert "$m=19456,t=2,p=1$" in stored


async def test_one_password_however_its_accents_are_composed(people: Town) -> None:
    await register(people.client(), "ann@example.org", "caf\u00e9 au lait 1")
    assert (await login(people.client(), "ann@example.org", "cafe\u0301 au lait 1")).status_code == 200


async def test_cookies_are_http_only_lax_and_secure_off_loopback(wide_pool: Pool) -> None:
    faces = [
        (ApiSettings(), HERE, False),
        (ApiSettings(public_url="https://api.example.com"), "https://api.example.com", True),
        (ApiSettings(host="0.0.0.0"), "https://api.example.com", True),
    ]
    for n, (api, base, secure) in enumerate(faces):
        async with town(wide_pool, api=api) as one:
            await one.person(f"p{n}@example.org")
            client = one.client()
            client.base_url = httpx.URL(base)
            set_ = cookies_of(await login(client, f"p{n}@example.org"))
        assert set(set_) == {"auth_token", "refresh_token"}
        for line in set_.values():
            assert {"httponly", "samesite=lax"} <= {part.strip() for part in line.split(";")}
            assert ("secure" in line) is secure, base
        assert "path=/;" in set_["auth_token"] and "path=/api/auth;" in set_["refresh_token"]


async def test_answers_with_secrets_are_kept_by_nobody(people: Town) -> None:
    client = await people.signed_in("ann@example.org")
    for answer in (await client.get(ME), await client.post(REFRESH), await login(client, "ann@example.org")):
        assert answer.headers["cache-control"] == "no-store"


# -- refreshing --------------------------------------------------------------------------------------------------------


async def test_of_fifty_refreshes_of_one_token_one_gets_a_successor_and_a_replay_ends_the_family(people: Town) -> None:
    client = await people.signed_in("ann@example.org")
    token = {"refresh_token": client.cookies["refresh_token"]}
    answers = await asyncio.gather(*(people.client(token).post(REFRESH) for _ in range(50)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.cookies["refresh_token"] for answer in answers} - set(token.values())) == 1
    assert await people.pool.fetchval("select count(*) from accounts.refresh_token") == 2
    winner = people.client(dict(answers[-1].cookies))
    assert (await winner.get(ME)).status_code == 200
    people.clock.seconds += GRACE.total_seconds()
    refused(await people.client(token).post(REFRESH), 401)
    refused(await winner.get(ME), 401)
    refused(await winner.post(REFRESH), 401)
    assert (await latest(people.pool, 1))[0].action == "session.replay"


async def test_a_browser_whose_answer_was_lost_asks_again_and_goes_on(people: Town) -> None:
    client = await people.signed_in("ann@example.org")
    lost = await people.client(dict(client.cookies)).post(REFRESH)
    people.clock.seconds += 1
    again = await client.post(REFRESH)
    assert again.cookies["refresh_token"] == lost.cookies["refresh_token"]
    assert again.json() == lost.json()
    people.clock.seconds += 60
    assert (await client.post(REFRESH)).status_code == 200
    assert (await client.get(ME)).status_code == 200


async def test_a_thief_within_the_grace_is_found_out_at_the_next_refresh(people: Town) -> None:
    ann = await people.signed_in("ann@example.org")
    stolen = await people.client(dict(ann.cookies)).post(REFRESH)
    assert (await ann.post(REFRESH)).status_code == 200
    thief = people.client(dict(stolen.cookies))
    people.clock.seconds += 60
    assert (await ann.post(REFRESH)).status_code == 200
    people.clock.seconds += 60
    refused(await thief.post(REFRESH), 401)
    refused(await ann.get(ME), 401)


async def test_who_was_dismissed_gets_no_successor_a_second_time(people: Town) -> None:
    ann = await people.signed_in("ann@example.org")
    token = {"refresh_token": ann.cookies["refresh_token"]}
    assert (await ann.post(REFRESH)).status_code == 200
    await people.pool.execute("update accounts.person set status = 'DISABLED'")
    refused(await people.client(token).post(REFRESH), 401)


async def test_without_grace_one_of_fifty_gets_a_successor_and_the_others_end_the_family(wide_pool: Pool) -> None:
    async with town(wide_pool, auth=FREE.model_copy(update={"refresh_grace_s": 0.0})) as one:
        client = await one.signed_in("ann@example.org")
        token = {"refresh_token": client.cookies["refresh_token"]}
        answers = await asyncio.gather(*(one.client(token).post(REFRESH) for _ in range(50)))
        assert sorted(answer.status_code for answer in answers) == [200, *[401] * 49]
        refused(await client.get(ME), 401)


async def test_what_the_database_holds_of_a_family_makes_no_token(people: Town) -> None:
    client = await people.signed_in("ann@example.org")
    for _ in range(3):
        assert (await client.post(REFRESH)).status_code == 200
    rows = await people.pool.fetch("select * from accounts.refresh_token order by generation")
    assert [row["salt"] is None for row in rows] == [True, True, False, False]
    assert all(client.cookies["refresh_token"] not in str(dict(row)) for row in rows)
    for row in rows:
        for value in (row["token_hash"], row["salt"] or b""):
            guess = base64.urlsafe_b64encode(value).decode().rstrip("=")
            refused(await people.client({"refresh_token": guess}).post(REFRESH), 401)
    assert (await client.post(REFRESH)).status_code == 200


async def test_a_token_whose_successor_was_used_has_no_grace(people: Town) -> None:
    client = await people.signed_in("ann@example.org")
    first = {"refresh_token": client.cookies["refresh_token"]}
    assert (await client.post(REFRESH)).status_code == 200
    assert (await client.post(REFRESH)).status_code == 200
    refused(await people.client(first).post(REFRESH), 401)
    refused(await client.get(ME), 401)


async def test_a_session_ends_unused_and_in_any_case(people: Town) -> None:
    client = await people.signed_in("ann@example.org")
    people.clock.seconds += 11 * 60
    refused(await client.get(ME), 401)
    assert (await client.post(REFRESH)).status_code == 200
    assert (await client.get(ME)).status_code == 200
    for _ in range(9):
        people.clock.seconds += 10 * 86_400
        last = await client.post(REFRESH)
    refused(last, 401)
    idle = people.client()
    await login(idle, "ann@example.org")
    people.clock.seconds += 15 * 86_400
    refused(await idle.post(REFRESH), 401)


async def test_signing_out_counts_at_once_and_works_after_the_access_token_has_expired(people: Town) -> None:
    client = await people.signed_in("ann@example.org")
    stolen = dict(client.cookies)
    people.clock.seconds += 11 * 60
    assert (await client.post("/api/auth/logout")).json() == {"message": "Logged out"}
    assert not client.cookies
    people.clock.seconds -= 11 * 60
    refused(await people.client(stolen).get(ME), 401)
    refused(await people.client(stolen).post(REFRESH), 401)
    refused(await client.post("/api/auth/logout"), 401)


async def test_a_session_planted_before_sign_in_is_not_the_one_after_it(people: Town) -> None:
    attacker = await people.signed_in("eve@example.org")
    await people.person("ann@example.org")
    planted = dict(attacker.cookies)
    victim = people.client(planted)
    answer = await login(victim, "ann@example.org")
    assert answer.cookies["auth_token"] != planted["auth_token"]
    assert answer.cookies["refresh_token"] != planted["refresh_token"]
    refused(await people.client(planted).get(ME), 401)  # what was planted is over, and never was Ann's
    assert await people.pool.fetchval("select count(*) from accounts.session where ended_at is null") == 1


async def test_a_cookie_that_comes_twice_is_nobodys(people: Town) -> None:
    client = await people.signed_in("ann@example.org")
    token = client.cookies["auth_token"]
    both = people.client(cookie=f"auth_token={token}; auth_token={token}")
    assert "auth_token" in refused(await both.get(ME), 400)


# -- access tokens -----------------------------------------------------------------------------------------------------


def forged(token: str, head: dict[str, object] | None = None, **claims: object) -> str:
    """The same token, changed and not signed again."""
    parts = token.split(".")
    for n, change in ((0, head or {}), (1, claims)):
        inside = json.loads(base64.urlsafe_b64decode(parts[n] + "=="))
        parts[n] = base64.urlsafe_b64encode(json.dumps({**inside, **change}).encode()).decode().rstrip("=")
    return ".".join(parts)


async def test_tokens_that_we_did_not_sign_open_nothing(people: Town) -> None:
    client = await people.signed_in("ann@example.org")
    token = client.cookies["auth_token"]
    kid, claims = jwt.get_unverified_header(token)["kid"], jwt.decode(token, options={"verify_signature": False})
    secret = await people.pool.fetchval("select secret from accounts.signing_key")
    assert jwt.get_unverified_header(token)["alg"] == "HS256"

    def signed(claims: dict[str, object], key: bytes = secret, algorithm: str = "HS256") -> str:
        return jwt.encode(claims, key, algorithm, headers={"kid": kid})

    bad = [
        forged(token, sub="somebody"), forged(token, {"alg": "none"}),
        forged(token, {"alg": "none"}).rsplit(".", 1)[0] + ".",
        forged(token, {"kid": "0" * 16}), forged(token, {"kid": None}), forged(token, {"kid": ["x"]}),
        signed(claims, b"x" * 32), signed(claims, secret * 2, "HS512"),
        signed(claims, secret * 2, "HS384"),
        signed({**claims, "aud": "other"}),
        signed({**claims, "iss": "other"}),
        signed({k: v for k, v in claims.items() if k != "exp"}),
        signed({**claims, "sid": "0" * 32}),
        signed({**claims, "sid": "x"}),
        signed({**claims, "exp": "9" * 12}),
        signed({**claims, "sub": "somebody"}),
        token + "x" * 2_000, "é", "..", "a.b.c", "hc_live_" + "0" * 40,
    ]  # fmt: skip
    for one in bad:
        answer = await people.client().get(ME, headers={b"cookie": f"auth_token={one}".encode()})
        assert answer.status_code == 401, one
    assert (await people.client({"auth_token": signed(claims)}).get(ME)).status_code == 200


async def test_keys_rotate_daily_and_tokens_of_the_last_one_stay_good(people: Town) -> None:
    client = await people.signed_in("ann@example.org")
    people.clock.seconds += ROTATE.total_seconds() - 60
    before = (await login(client, "ann@example.org")).json()["accessToken"]
    people.clock.seconds += 120
    assert (await client.get(ME)).status_code == 200
    assert await people.pool.fetchval("select count(*) from accounts.signing_key") == 2
    same = (await login(client, "ann@example.org")).json()["accessToken"]
    people.clock.seconds += HEADSTART.total_seconds() + 61
    after = (await login(client, "ann@example.org")).json()["accessToken"]
    kids = [jwt.get_unverified_header(token)["kid"] for token in (before, same, after)]
    assert kids[0] == kids[1] != kids[2]
    for _ in range(4):
        people.clock.seconds += ROTATE.total_seconds() + 1
        await login(client, "ann@example.org")
    assert await people.pool.fetchval("select count(*) from accounts.signing_key") == 2


def test_a_new_key_signs_only_when_every_process_has_surely_read_it() -> None:
    at = Town.__dict__.get("now") or __import__("datetime").datetime(2026, 1, 2)
    old, new = SigningKey("old", b"", at - ROTATE), SigningKey("new", b"", at)
    assert signing((new,), at).kid == "new"
    assert signing((new, old), at + HEADSTART - timedelta(seconds=1)).kid == "old"
    assert signing((new, old), at + HEADSTART).kid == "new"


# -- how often ---------------------------------------------------------------------------------------------------------


async def test_sign_ins_are_limited_by_caller_and_by_account(wide_pool: Pool) -> None:
    auth = AuthSettings(client_rate="4/minute", account_rate="2/minute", register_rate="1/hour")
    async with town(wide_pool, auth=auth) as one:
        client = one.client()
        await one.person("ann@example.org")
        assert [(await login(client, "Ann@example.org", "wrong")).status_code for _ in range(2)] == [401, 401]
        limited = await login(client, "aNN@example.org")
        assert int(limited.headers["retry-after"]) >= 1
        refused(limited, 429)
        assert [(await login(client, f"x{n}@example.org")).status_code for n in range(2)] == [401, 429]
        assert [(await register(client, f"y{n}@example.org")).status_code for n in range(2)] == [200, 429]
    assert Budget(AuthSettings().client_rate).limit


async def test_passwords_that_wait_are_bounded(people: Town) -> None:
    people.passwords._waiting = 64
    answer = await login(people.client(), "ann@example.org")
    refused(answer, 503)
    assert answer.headers["retry-after"] == "1"


async def test_who_was_dismissed_or_got_another_password_meanwhile_gets_no_session(people: Town) -> None:
    user_id = await people.person("ann@example.org")
    proven = await records.by_email(people.pool, "ann@example.org")
    assert proven is not None
    now = people.clock.now()
    lives = Lives(idle=timedelta(days=1), whole=timedelta(days=2), grace=GRACE)
    assert await start(people.pool, proven, lives, now) is not None
    await records.change(people.pool, user_id, status=Status.DISABLED, by=By(COMMAND_LINE, now))
    assert await start(people.pool, proven, lives, now) is None
    await records.change(people.pool, user_id, status=Status.ACTIVE, by=By(COMMAND_LINE, now))
    assert await start(people.pool, proven, lives, now) is not None
    await people.pool.execute("update accounts.person set password_hash = 'another'")
    assert await start(people.pool, proven, lives, now) is None


async def test_a_new_password_ends_the_sessions_of_the_old_one(people: Town) -> None:
    client = await people.signed_in("ann@example.org")
    (ann,) = await records.every(people.pool)
    await records.set_password(people.pool, ann.user_id, "another", By(COMMAND_LINE, people.clock.now()))
    refused(await client.get(ME), 401)
    refused(await client.post(REFRESH), 401)


async def test_what_is_left_of_old_sessions_is_forgotten_and_living_ones_are_not(people: Town) -> None:
    old = await people.signed_in("ann@example.org")
    people.clock.seconds += 91 * 86_400
    client = people.client()
    await login(client, "ann@example.org")
    await forget(people.pool, people.clock.now())
    assert await people.pool.fetchval("select count(*) from accounts.session") == 1
    assert await people.pool.fetchval("select count(*) from accounts.refresh_token") == 1
    assert (await client.post(REFRESH)).status_code == 200
    refused(await old.post(REFRESH), 401)


# -- figures -----------------------------------------------------------------------------------------------------------


async def test_what_came_of_sign_ins_refreshes_and_limits_is_counted(wide_pool: Pool) -> None:
    auth = FREE.model_copy(update={"account_rate": "2/minute", "register_rate": "1/hour"})
    async with town(wide_pool, auth=auth) as one:
        client = await one.signed_in("ann@example.org")
        await login(one.client(), "ann@example.org", "wrong")
        await login(one.client(), "ann@example.org")  # the third: limited
        await register(one.client(), "pat@example.org")
        await register(one.client(), "pat@example.org")
        await login(one.client(), "pat@example.org")
        used = {"refresh_token": client.cookies["refresh_token"]}
        await client.post(REFRESH)
        await one.client(used).post(REFRESH)
        one.clock.seconds += 60
        for _ in range(2):  # the first ends the session, the second finds it over
            await one.client(used).post(REFRESH)
        shown = one.metrics.render().decode()
    for line in (
        'sign_ins_total{outcome="ok"} 1.0', 'sign_ins_total{outcome="wrong"} 1.0',
        'sign_ins_total{outcome="not_approved"} 1.0', 'session_refreshes_total{outcome="ok"} 1.0',
        'session_refreshes_total{outcome="again"} 1.0', 'session_refreshes_total{outcome="replayed"} 1.0',
        'session_refreshes_total{outcome="over"} 1.0', 'requests_limited_total{limit="account"} 1.0',
        'requests_limited_total{limit="register"} 1.0',
    ):  # fmt: skip
        assert f"chainworkd_{line}" in shown, line
