"""Droids over the API: who may do what, what is refused and by which name, what is answered, and the audit log."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest

from accounts.audit import latest
from accounts.roles import Role
from core.store.pool import Pool, open_pool
from droids import records
from droids.records import Command, PoolRow
from tests.api import make
from tests.api.droids import CHAIN, NEW, OF, PLACE, droid_town, made, read
from tests.api.people import Town, refused
from tests.pools import USDC, WETH

DROIDS = "/api/droids"
SQL_UNREAD = """
    update droid.pool
    set token0 = null, token1 = null, decimals0 = null, decimals1 = null, fee = null, spacing = null
"""
NOW = datetime(2026, 5, 1, 9, tzinfo=UTC)


@pytest.fixture
async def town(wide_pool: Pool, pool: Pool) -> AsyncIterator[Town]:
    async with droid_town(wide_pool, pool) as one:
        yield one


@pytest.fixture
async def admin(town: Town) -> httpx.AsyncClient:
    return await town.signed_in("ann@example.org", Role.ADMIN)


@pytest.fixture
async def operator(town: Town) -> httpx.AsyncClient:
    return await town.signed_in("bob@example.org")


@pytest.fixture
async def worker(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url, role="chainworkd_worker", size=1) as opened:
        yield opened


# Who may


async def test_operators_read_and_pause_and_run_and_admins_do_everything(
    admin: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    number = await made(admin)
    refused(await operator.post(DROIDS, json=NEW), 403)
    refused(await operator.patch(f"{DROIDS}/{number}/config", json={"maxBots": 3}), 403)
    for active in (1, 0, 1):
        answer = await operator.patch(f"{DROIDS}/{number}/active", json={"active": active})
        assert answer.json() == {"id": number, "active": active}
    for active in (2, 3):
        assert "ADMIN" in refused(await operator.patch(f"{DROIDS}/{number}/active", json={"active": active}), 403)
    assert (await operator.get(f"{DROIDS}/{number}")).json()["droid"]["active"] == 1
    for active in (2, 2, 3):
        assert (await admin.patch(f"{DROIDS}/{number}/active", json={"active": active})).status_code == 200


@pytest.mark.parametrize("active", [2, 3])
@pytest.mark.parametrize("other", [0, 1])
async def test_an_operator_does_not_stop_what_an_admin_began(
    town: Town, admin: httpx.AsyncClient, operator: httpx.AsyncClient, active: int, other: int
) -> None:
    path = f"{DROIDS}/{await made(admin)}/active"
    await admin.patch(path, json={"active": active})
    assert f"ADMIN's {active} is under way" in refused(await operator.patch(path, json={"active": other}), 409)
    found = await records.one(town.pool, int(path.split("/")[3]))
    assert found is not None
    assert (found.active, found.command) == (active, 1)
    assert (await admin.patch(path, json={"active": other})).status_code == 200


async def test_a_reset_that_is_told_twice_is_two(town: Town, admin: httpx.AsyncClient) -> None:
    number = await made(admin)
    for _ in range(2):
        await admin.patch(f"{DROIDS}/{number}/active", json={"active": 2})
    found = await records.one(town.pool, number)
    assert found is not None
    assert found.command == 2


async def test_a_wallet_that_another_droid_has_is_a_conflict(admin: httpx.AsyncClient) -> None:
    one, other = await made(admin), await made(admin)
    assert (await admin.patch(f"{DROIDS}/{one}/active", json={"active": 1})).status_code == 200
    assert "wallet" in refused(await admin.patch(f"{DROIDS}/{other}/active", json={"active": 1}), 409)


async def test_a_droid_that_does_not_fit_its_pool_cannot_run(admin: httpx.AsyncClient, pool: Pool) -> None:
    await pool.execute(SQL_UNREAD)
    path = f"{DROIDS}/{await made(admin, minPrice=3900)}"  # nobody knew the pool's spacing
    await read(pool)
    for active in (1, 2):
        message = refused(await admin.patch(f"{path}/active", json={"active": active}), 400)
        assert message.startswith("maxPrice: expected room for one rung")
    assert (await admin.get(path)).json()["droid"]["active"] == 0
    assert (await admin.patch(f"{path}/config", json={"minPrice": 2500})).status_code == 200
    assert (await admin.patch(f"{path}/active", json={"active": 1})).status_code == 200


# What a new droid is


async def test_a_new_droid_is_paused_and_reads_as_it_was_typed(admin: httpx.AsyncClient) -> None:
    body = json.dumps(NEW | {"fallingRebalanceTrigger": 0.1}).replace("0.1,", "0.100000000000000001,")
    headers = {"content-type": "application/json"}
    number = (await admin.post(DROIDS, content=body, headers=headers)).json()["id"]
    text = (await admin.get(f"{DROIDS}/{number}")).text
    assert '"fallingRebalanceTrigger":0.100000000000000001,' in text
    assert '"maxPrice":4000.0,"minPrice":2500.0,' in text  # the digits that json.dumps made of 4000.00
    droid = json.loads(text)["droid"]
    assert {name: droid[name] for name in NEW} == NEW | {"fallingRebalanceTrigger": 0.100000000000000001}
    assert (droid["active"], droid["blockChain"], droid["triggerMode"]) == (0, "ethereum", "DEVIATION")
    assert (droid["accountId"], droid["note"]) == (1, "")


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"maxPrice": 2000}, ["maxPrice"]), ({"maxPrice": "4000"}, ["maxPrice"]), ({"maxBots": True}, ["maxBots"]),
        ({"maxBots": 1.5}, ["maxBots"]), ({"maxBots": None}, ["maxBots"]), ({"triggerType": "SMA"}, ["triggerType"]),
        ({"fallingRebalanceTrigger": 0.25, "risingRebalanceTrigger": 0.75}, ["risingRebalanceTrigger"]),
        ({"triggerMode": "RANGE_RATIO", "risingRebalanceTrigger": 0.01}, ["risingRebalanceTrigger"]),
        ({"bucketOffset": 11, "maxPrice": 1, "fundingUSD": 1}, ["maxPrice", "bucketOffset"]),
        ({"fundingUSD": 0, "txPriority": 6, "active": 1}, ["fundingUSD", "txPriority", "active"]),
        ({"tickBuckets": 10_000, "maxBots": 50}, ["tickBuckets"]), ({"minPrice": 3999}, ["maxPrice"]),
        ({"poolId": 43}, ["poolId"]), ({"poolId": "42"}, ["poolId"]), ({"poolId": True}, ["poolId"]),
        ({"poolId": 10**40}, ["poolId"]), ({"accountId": 2}, ["accountId"]), ({"accountId": None}, ["accountId"]),
        ({"blockChain": "polygon"}, ["blockChain"]), ({"blockChain": 1}, ["blockChain"]),
        ({"poolId": 9, "accountId": 9, "blockChain": "x", "maxBots": 0},
         ["maxBots", "poolId", "blockChain", "accountId"]),
        ({"maxPrice": 10**60}, ["maxPrice"]), ({"maxPrice": [1]}, ["maxPrice"]), ({"x": 1}, ["x"]),
    ],
)  # fmt: skip
async def test_every_fault_of_a_new_droid_is_named(
    admin: httpx.AsyncClient, fields: dict[str, Any], named: list[str]
) -> None:
    message = refused(await admin.post(DROIDS, json=NEW | fields), 400)
    assert sorted(fault.partition(":")[0] for fault in message.split("; ") if ": " in fault) == sorted(named)
    assert (await admin.get(DROIDS)).json() == {"droids": []}


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ('{"maxBots": 5, "maxBots": 6}', "maxBots: given more than once"), ("[]", "expected an object"),
        ('{"maxBots": NaN}', "body: NaN"), ('{"maxBots": 1e99999999999999999999}', "body: "), ("{", "body: "),
        ('{"\\ud800": 1}', "no such field"), ('{"maxBots": "\\ud800"}', "maxBots"), ("[" * 40, "nested deeper"),
        ('{"maxPrice": 1e-999999}', "maxPrice"), ('{"maxBots": ' + "9" * 5_000 + "}", "body: "), ("\xff", "body: "),
    ],
)  # fmt: skip
async def test_bodies_that_are_none_are_refused(admin: httpx.AsyncClient, body: str, named: str) -> None:
    number = await made(admin)
    headers = {"content-type": "application/json"}
    for method, path in (("POST", DROIDS), ("PATCH", f"{DROIDS}/{number}/config")):
        answer = await admin.request(method, path, content=body.encode("latin-1"), headers=headers)
        assert named in refused(answer, 400)
    refused(await admin.post(DROIDS, content=body.encode("latin-1")), 400)


async def test_what_is_missing_is_named(admin: httpx.AsyncClient) -> None:
    message = refused(await admin.post(DROIDS, json={}), 400)
    required = [name for name in NEW if name not in ("triggerType", "bucketOffset", "fundingCurveType")]
    assert all(f"{name}: " in message for name in required)


async def test_the_only_account_of_the_chain_need_not_be_said(admin: httpx.AsyncClient, pool: Pool) -> None:
    assert await made(admin, blockChain="ethereum")
    await records.put_account(pool, records.AccountRow(account_id=3, chain_id=CHAIN, wallet=make.CAROL))
    assert "accountId: expected one of 1, 3" in refused(await admin.post(DROIDS, json=NEW), 400)
    number = await made(admin, accountId=3)
    assert (await admin.get(f"{DROIDS}/{number}")).json()["droid"]["accountId"] == 3


async def test_pools_and_accounts_say_what_they_are(operator: httpx.AsyncClient, pool: Pool) -> None:
    await records.put_pool(
        pool, PoolRow(pool_id=43, chain_id=9, address=make.BOB, manager=PLACE.manager, quote=USDC)
    )  # fmt: skip
    base = "token0" if OF.token0 == WETH else "token1"
    assert (await operator.get(f"{DROIDS}/pools")).json()["pools"] == [
        {"id": 42, "poolAddress": f"0x{OF.address.hex()}", "feeTier": 3000, "blockChain": "ethereum",
         "token0": f"0x{OF.token0.hex()}", "token1": f"0x{OF.token1.hex()}", "base": base},
        {"id": 43, "poolAddress": f"0x{make.BOB.hex()}", "feeTier": None, "blockChain": "9", "token0": None,
         "token1": None, "base": None},
    ]  # fmt: skip
    assert (await operator.get(f"{DROIDS}/accounts")).json()["accounts"] == [
        {"id": 1, "blockChain": "ethereum", "address": f"0x{make.ALICE.hex()}"},
        {"id": 2, "blockChain": "5", "address": f"0x{make.BOB.hex()}"},
    ]


# Changes


async def test_a_change_is_partial_and_answers_all_that_can_change(admin: httpx.AsyncClient) -> None:
    number = await made(admin)
    answer = await admin.patch(f"{DROIDS}/{number}/config", json={"maxBots": 8, "maxGasPrice": 60.5})
    assert answer.json() == {
        "id": number, "fallingRebalanceTrigger": 0.03, "risingRebalanceTrigger": 0.05, "maxBots": 8, "maxPrice": 4000,
        "minPrice": 2500, "maxGasPrice": 60.5, "txPriority": 1, "fundingUSD": 50000, "derivativeThreshold": 0.01,
        "ladderPercMargin": 0.02,
    }  # fmt: skip
    droid = (await admin.get(f"{DROIDS}/{number}")).json()["droid"]
    assert (droid["maxBots"], droid["maxGasPrice"], droid["tickBuckets"]) == (8, 60.5, 10)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"tickBuckets": 5, "poolId": 43}, ["tickBuckets", "poolId"]), ({"gasBudgetLimit": 5}, ["gasBudgetLimit"]),
        ({"triggerMode": "RANGE_RATIO"}, ["triggerMode"]), ({"active": 1}, ["active"]), ({"id": 1}, ["id"]),
        ({"maxPrice": 2400}, ["maxPrice"]), ({"maxBots": "8", "x": 1}, ["x", "maxBots"]),
        ({"maxPrice": 2501}, ["maxPrice"]), ({}, ["body"]),
        ({"risingRebalanceTrigger": 0.75, "txPriority": 0}, ["txPriority"]),
    ],
)  # fmt: skip
async def test_every_fault_of_a_change_is_named_and_changes_nothing(
    admin: httpx.AsyncClient, fields: dict[str, Any], named: list[str]
) -> None:
    path = f"{DROIDS}/{await made(admin)}"
    before = (await admin.get(path)).json()
    message = refused(await admin.patch(f"{path}/config", json=fields), 400)
    assert [fault.partition(":")[0] for fault in message.split("; ")] == named
    assert (await admin.get(path)).json() == before


@pytest.mark.parametrize(
    "body", [{}, {"active": 4}, {"active": -1}, {"active": "1"}, {"active": True}, {"active": 1.0}, {"active": None}]
)
async def test_a_command_that_is_none_is_refused(admin: httpx.AsyncClient, body: dict[str, Any]) -> None:
    path = f"{DROIDS}/{await made(admin)}/active"
    assert refused(await admin.patch(path, json=body), 400).startswith("active: ")
    assert "note: no such field" in refused(await admin.patch(path, json={"active": 1, "note": ""}), 400)


async def test_who_changes_what_somebody_else_just_changed_is_told(
    town: Town, admin: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = await made(admin)
    read = records.one

    async def late(*arguments: Any) -> Any:
        found = await read(*arguments)
        await read(town.pool, number)
        await town.pool.execute(
            """update droid.droid set config = config || '{"maxBots": 7}' where droid_id = $1""", number
        )
        return found

    monkeypatch.setattr(records, "one", late)
    assert "at the same time" in refused(await admin.patch(f"{DROIDS}/{number}/config", json={"maxBots": 8}), 409)


# What there is not


@pytest.mark.parametrize(
    "path", ["", "/active", "/config", "/history", "/decisions", "/plan", "/estimate"]
)  # fmt: skip
async def test_a_droid_that_is_not_there_is_not_found(admin: httpx.AsyncClient, path: str) -> None:
    for number, status in (("9", 404), (str(2**63 - 1), 404), (str(2**63), 400), ("x", 400), ("-1", 400), ("٣", 400)):
        if path in ("/active", "/config"):
            body = {"active": 1} if path == "/active" else {"maxBots": 3}
            answer = await admin.patch(f"{DROIDS}/{number}{path}", json=body)
        else:
            answer = await admin.get(f"{DROIDS}/{number}{path}")
        assert refused(answer, status).startswith("id: "), number


@pytest.mark.parametrize(
    ("path", "query", "named"),
    [
        ("/history", "limit=0", "limit"), ("/history", "before=x", "before"), ("/decisions", "limit=5001", "limit"),
        ("/estimate", "days=0", "days"), ("/estimate", "days=31", "days"), ("/plan", "days=1", "days"),
        ("/history", "limit=1&limit=2", "limit"), ("", "x=1", "x"),
    ],
)  # fmt: skip
async def test_a_wrong_parameter_is_named(admin: httpx.AsyncClient, path: str, query: str, named: str) -> None:
    number = await made(admin)
    assert refused(await admin.get(f"{DROIDS}/{number}{path}?{query}"), 400).startswith(f"{named}: ")


# What the worker says


SQL_SESSION = """
    insert into droid.session (droid_id, status, started_at, stopped_at, gas_usd, note)
    values ($1, $2, $3, $4, 4.66, 'x') returning session_id
"""
SQL_BOT = """
    insert into droid.bot (droid_id, slot, position_id, lower_tick, upper_tick, liquidity, status, changed_at)
    values ($1, $2, $3, -600, 600, 5, $4, $5)
"""
SQL_DECISION = """
    insert into droid.decision
        (droid_id, session_id, at, block_number, block_hash, decided, word, sentence, price, ema, slope)
    values ($1, $2, $3, $4, $5, 'Hold', 'steady', 'nothing moved', 3215.5, 3214.123456789012345, -0.0000001234)
"""
SQL_SNAPSHOT = """
    insert into droid.snapshot
        (droid_id, at, block_number, block_hash, price, aum, base, quote, idle_base, idle_quote, fees_base, fees_quote,
         fees_earned, gas_wei, gas_usd, hold, il, lvr, eth_wallet)
    values ($1, $2, $3, $4, 3215.50, 51240750000, 8420000000000000000, 24112300000, 10, 2, 0, 0, 5000000, 7, 4.66,
        50000000000, -120000, 130000, 180000000000000000)
"""


async def test_sessions_and_bots_are_shown(admin: httpx.AsyncClient, worker: Pool) -> None:
    number = await made(admin)
    first = await worker.fetchval(SQL_SESSION, number, "STOPPED", NOW, NOW + timedelta(hours=1))
    second = await worker.fetchval(SQL_SESSION, number, "RUNNING", NOW + timedelta(hours=1), None)
    for slot, position, status in ((0, 0xABC, "ACTIVE"), (1, None, "PLANNED"), (None, 7, "ORPHAN")):
        await worker.execute(SQL_BOT, number, slot, position, status, NOW)
    found = (await admin.get(f"{DROIDS}/{number}")).json()
    assert [(each["id"], each["status"], each["stoppedAt"]) for each in found["sessions"]] == [
        (second, "RUNNING", None), (first, "STOPPED", "2026-05-01T10:00:00.000Z"),
    ]  # fmt: skip
    assert (found["sessions"][0]["startedAt"], found["sessions"][0]["gasUSD"]) == ("2026-05-01T10:00:00.000Z", 4.66)
    assert [(each["slot"], each["positionId"], each["status"]) for each in found["bots"]] == [
        (0, "0xabc", "ACTIVE"), (1, None, "PLANNED"), (None, "0x7", "ORPHAN"),
    ]  # fmt: skip
    assert found["bots"][0]["minPrice"] < found["bots"][0]["maxPrice"]


async def test_history_is_newest_first_in_whole_tokens_and_paged(admin: httpx.AsyncClient, worker: Pool) -> None:
    number = await made(admin)
    assert (await admin.get(f"{DROIDS}/{number}/history")).json() == {"history": [], "next": None}
    for hour in range(3):
        await worker.execute(SQL_SNAPSHOT, number, NOW + timedelta(hours=hour), hour, make.block_hash(hour))
    found = (await admin.get(f"{DROIDS}/{number}/history?limit=2")).json()
    assert [each["timeStamp"] for each in found["history"]] == ["2026-05-01T11:00:00.000Z", "2026-05-01T10:00:00.000Z"]
    newest = found["history"][0]
    assert {name: value for name, value in newest.items() if name not in ("id", "timeStamp")} == {
        "aum": 51240.75, "price": 3215.5, "token0Positions": 8.42, "token1Positions": 24112.3, "ethWallet": 0.18,
        "block": 2, "token0Idle": 1e-17, "token1Idle": 0.000002, "fees": 5, "gasUSD": 4.66, "hold": 50000, "il": -0.12,
        "lvr": 0.13,
    }  # fmt: skip
    rest = (await admin.get(f"{DROIDS}/{number}/history?limit=2&before={found['next']}")).json()
    assert ([each["timeStamp"] for each in rest["history"]], rest["next"]) == (["2026-05-01T09:00:00.000Z"], None)


async def test_decisions_say_why_newest_first(admin: httpx.AsyncClient, worker: Pool) -> None:
    number = await made(admin)
    session = await worker.fetchval(SQL_SESSION, number, "RUNNING", NOW, None)
    for block in range(3):
        await worker.execute(SQL_DECISION, number, session, NOW, block, make.block_hash(block))
    answer = await admin.get(f"{DROIDS}/{number}/decisions?limit=2")
    found = answer.json()
    assert [each["block"] for each in found["decisions"]] == [2, 1]
    assert "E-" not in answer.text
    newest = found["decisions"][0]
    assert (newest["decision"], newest["reason"], newest["why"]) == ("Hold", "steady", "nothing moved")
    assert (newest["price"], newest["ema"], newest["slope"]) == (3215.5, 3214.12345679, -0.0000001234)
    assert (newest["sessionId"], newest["intentId"]) == (session, None)
    rest = (await admin.get(f"{DROIDS}/{number}/decisions?before={found['next']}")).json()
    assert ([each["block"] for each in rest["decisions"]], rest["next"]) == ([0], None)


# The audit log


async def test_every_change_is_in_the_audit_log_and_a_refused_one_is_not(town: Town, admin: httpx.AsyncClient) -> None:
    number = await made(admin)
    path = f"{DROIDS}/{number}"
    await admin.patch(f"{path}/config", json={"maxBots": 8})
    await admin.patch(f"{path}/active", json={"active": 3})
    await admin.patch(f"{path}/active", json={"active": 9})
    await admin.patch(f"{path}/config", json={"maxBots": 0})
    await admin.post(DROIDS, json={})
    lines = [line for line in await latest(town.pool, 50) if line.subject.startswith("droid ")]
    who = await town.pool.fetchval("select user_id from accounts.person where email = 'ann@example.org'")
    assert {line.actor for line in lines} == {who}
    assert {line.subject for line in lines} == {f"droid {number}"}
    told = {line.action: line.detail for line in lines}
    assert set(told) == {"droid.create", "droid.config", "droid.active"}
    assert told["droid.config"] == {"maxBots": ["5", "8"]}
    assert told["droid.active"] == {"active": 3, "command": 1}
    assert (told["droid.create"]["poolId"], told["droid.create"]["fundingUSD"]) == (42, "50000")


async def test_rows_are_what_is_read(admin: httpx.AsyncClient, town: Town, pool: Pool) -> None:
    number = await made(admin)
    await pool.execute("update droid.droid set active = 3, note = 'no node' where droid_id = $1", number)
    found = (await admin.get(DROIDS)).json()["droids"][0]
    assert (found["active"], found["note"]) == (Command.CLOSE, "no node")
    assert Decimal(str(found["fundingUSD"])) == 50_000
