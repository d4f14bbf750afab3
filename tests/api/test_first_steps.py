"""The first steps of docs/accounts.md and docs/droids.md do what they say, run by a shell as printed."""

from datetime import datetime
from pathlib import Path

import pytest

from accounts import people as known
from accounts.audit import COMMAND_LINE, By
from accounts.roles import Role
from core.store.pool import Pool
from tests.api.droids import droid_town, spoken, stored
from tests.api.people import Town
from tests.api.printed import DOCS, answers
from tests.unit.clocks import FakeClock


async def test_first_steps_work_as_printed(people: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stands = FakeClock.now

    def goes_on(self: FakeClock) -> datetime:
        self.seconds += 0.01
        return stands(self)

    monkeypatch.setattr(FakeClock, "now", goes_on)  # the list of people is in the order of their coming
    found = await answers("accounts.md", people.app, tmp_path)
    first, second, login, users, changed, refreshed, me, token, logout = found
    assert first["user"]["role"] == login["user"]["role"] == "ADMIN"
    assert "pending" in second["message"]
    assert [user["email"] for user in users["users"]] == ["ann@example.org", "bob@example.org"]
    assert (changed["user"]["email"], changed["user"]["status"]) == ("bob@example.org", "ACTIVE")
    assert refreshed == me
    assert token["token"].startswith("hc_live_")
    assert logout == {"message": "Logged out"}


async def test_the_first_droid_works_as_printed(wide_pool: Pool, pool: Pool, tmp_path: Path) -> None:
    await stored(pool, spoken(["3200", "3210", "3190"] * 10))
    async with droid_town(wide_pool, pool) as one:
        hashed = await one.passwords.hash("correct horse 1")
        by = By(COMMAND_LINE, one.clock.now())
        await known.create(pool, "ann@example.org", hashed, Role.ADMIN, by)
        found = await answers("droids.md", one.app, tmp_path)
    login, pools, made, estimate, plan, running, decisions = found
    assert login["user"]["role"] == "ADMIN"
    assert pools["pools"][0]["id"] == 42
    assert made == {"id": 1}
    assert estimate["rebalances"] == 0
    assert (plan["decision"], len(plan["opens"])) == ("Rebalance", 5)
    assert running == {"id": 1, "active": 1}
    assert decisions == {"decisions": [], "next": None}


@pytest.mark.parametrize("page", ["accounts.md", "droids.md"])
def test_the_page_shows_the_usual_address(page: str) -> None:
    assert "API=http://127.0.0.1:8080\n" in (DOCS / page).read_text()
