"""The user's own document again: every example of its section Droids, answered in its shape and with its roles."""

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from accounts.roles import Role
from core.store.pool import Pool
from tests.api import make
from tests.api.droids import droid_town
from tests.api.people import Town
from tests.api.test_droids import NOW, SQL_BOT, SQL_SESSION, SQL_SNAPSHOT
from tests.api.test_seed import DOCUMENT, kind

pytestmark = pytest.mark.skipif(not DOCUMENT.is_file(), reason=f"no {DOCUMENT}: set SEEDS_DIR")

# Beside the document's fields (docs/droids.md).
ADDITIVE = {
    "": {"next"},
    ".droids[]": {"triggerMode", "gasBudgetLimit", "accountId", "note"},
    ".sessions[]": {"gasUSD", "note"},
    ".bots[]": {"slot", "lowerTick", "upperTick", "minPrice", "maxPrice"},
    ".accounts[]": {"blockChain", "address"},
    ".pools[]": {"blockChain", "token0", "token1", "base"},
    ".history[]": {"block", "token0Idle", "token1Idle", "fees", "gasUSD", "hold", "il", "lvr"},
}
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def examples() -> dict[str, tuple[Any, Any]]:
    """ "METHOD /path" -> its example's body and answer; the abbreviated droid of GET /{id} is that of the list."""
    text = DOCUMENT.read_text() if DOCUMENT.is_file() else ""
    section = text[text.index("\nDroids\n\nGET/droids") : text.index("\nOrders\n\nGET/orders")] if text else ""
    found = {}
    parts = re.split(r"^(GET|POST|PATCH)(?=/droids)", section, flags=re.M)[1:]
    for method, part in zip(parts[::2], parts[1::2], strict=True):
        request, answer = part.split("Example Request")[1].split("Example Response")
        body = re.search(r"-d '(.*?)'", request, re.S)
        shown = json.loads(answer.replace("    ...\n", "").replace("50000,\n  }", "50000\n  }"))
        found[f"{method} {part.splitlines()[0].strip()}"] = (json.loads(body[1]) if body else None, shown)
    return found


def test_the_document_has_all_eight_operations() -> None:
    assert sorted(examples()) == [
        "GET /droids", "GET /droids/accounts", "GET /droids/pools", "GET /droids/{id}", "GET /droids/{id}/history",
        "PATCH /droids/{id}/active", "PATCH /droids/{id}/config", "POST /droids",
    ]  # fmt: skip


@pytest.fixture
async def town(wide_pool: Pool, pool: Pool) -> AsyncIterator[Town]:
    async with droid_town(wide_pool, pool) as one:
        yield one


@pytest.fixture
async def admin(town: Town, pool: Pool) -> httpx.AsyncClient:
    """An ADMIN, and droid 1 with a session, a bot and snapshots."""
    client = await town.signed_in("admin@havencap.io", Role.ADMIN)
    body, answer = examples()["POST /droids"]
    assert (await client.post("/api/droids", json=body)).json() == answer == {"id": 1}
    await pool.fetchval(SQL_SESSION, 1, "RUNNING", NOW, None)
    await pool.execute(SQL_BOT, 1, 0, 0xABC, "ACTIVE", NOW)
    for hour in range(2):
        await pool.execute(SQL_SNAPSHOT, 1, NOW, hour, make.block_hash(hour))
    return client


def faults(theirs: Any, ours: Any, where: str = "") -> list[str]:
    """Where an answer lacks something, has something that is not ADDITIVE, or something of another kind."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        names = theirs.keys() ^ (ours.keys() - ADDITIVE.get(where, set()))
        found = [f"{where}.{name}: on one side only" for name in sorted(names)]
        for name in theirs.keys() & ours.keys():
            found += faults(theirs[name], ours[name], f"{where}.{name}")
        return found
    if isinstance(theirs, list) and isinstance(ours, list):
        assert ours, f"{where}: nothing to compare"
        return [fault for item in ours for fault in faults(theirs[0], item, f"{where}[]")]
    if kind(theirs) != kind(ours):
        return [f"{where}: expected {kind(theirs)}, found {ours!r}"]
    dated = isinstance(theirs, str) and INSTANT.fullmatch(theirs)
    return [f"{where}: {ours!r} is no time"] if dated and not INSTANT.fullmatch(ours) else []


@pytest.mark.parametrize("name", [name for name in examples() if name not in ("POST /droids", "GET /droids/{id}")])
async def test_an_example_is_answered_in_its_shape(admin: httpx.AsyncClient, name: str) -> None:
    body, shown = examples()[name]
    method, path = name.replace("{id}", "1").split()
    answer = await admin.request(method, f"/api{path}", **({} if body is None else {"json": body}))
    assert answer.status_code == 200, answer.text
    assert faults(shown, answer.json()) == []
    if method == "PATCH":
        assert answer.json() == shown


async def test_one_droid_is_that_of_the_list_with_sessions_and_bots(admin: httpx.AsyncClient) -> None:
    shown = examples()["GET /droids/{id}"][1]
    found = (await admin.get("/api/droids/1")).json()
    listed = (await admin.get("/api/droids")).json()["droids"]
    assert set(found) == set(shown)
    assert listed == [found["droid"]]
    assert shown["droid"].items() <= (found["droid"] | {"active": 1}).items()  # a new one is paused
    parts = ("sessions", "bots")
    assert faults({name: shown[name] for name in parts}, {name: found[name] for name in parts}) == []
    assert found["bots"][0]["positionId"] == "0xabc"


async def test_the_fields_of_the_example_are_answered_with_their_values(admin: httpx.AsyncClient) -> None:
    shown = examples()["GET /droids"][1]["droids"][0]
    found = (await admin.get("/api/droids")).json()["droids"][0]
    same = shown.keys() - {"active", "createdAt"}
    assert {name: found[name] for name in same} == {name: shown[name] for name in same}


async def test_the_commands_of_the_document_are_for_whom_it_says(town: Town, admin: httpx.AsyncClient) -> None:
    operator = await town.signed_in("trader@havencap.io")
    text = DOCUMENT.read_text()
    said = re.findall(r"// (?:Set|Pause|Reset|Close).*?\((OPERATOR\+|ADMIN only|ADMIN)\)", text)
    assert said == ["OPERATOR+", "OPERATOR+", "ADMIN only", "ADMIN"]
    for active, who in zip((1, 0, 2, 3), said, strict=True):
        answer = await operator.patch("/api/droids/1/active", json={"active": active})
        assert answer.status_code == (200 if who == "OPERATOR+" else 403)
        assert (await admin.patch("/api/droids/1/active", json={"active": active})).status_code == 200
