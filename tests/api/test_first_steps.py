"""The first steps of docs/accounts.md do what they say, run by a shell as printed, against a server on a port."""

import asyncio
import json
import re
from datetime import datetime
from pathlib import Path

import pytest

from api.server import HttpServer, listen, url_of
from tests.api.people import Town
from tests.unit.clocks import FakeClock

PAGE = Path(__file__).resolve().parents[2] / "docs" / "accounts.md"


def steps(url: str) -> str:
    """The page's script, with another address, and an empty line after each answer."""
    found = re.search(r"```sh\n(.*?)```", PAGE.read_text(), re.S)
    assert found is not None
    script = re.sub(r"^API=.*$", f"API={url}", found[1], count=1, flags=re.M)
    return re.sub(r"^(curl .*)$", r"\1; echo", script, flags=re.M)


async def test_first_steps_work_as_printed(people: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stands = FakeClock.now

    def goes_on(self: FakeClock) -> datetime:
        self.seconds += 0.01
        return stands(self)

    monkeypatch.setattr(FakeClock, "now", goes_on)  # the list of people is in the order of their coming
    bound = listen("127.0.0.1", 0, "test")
    serving = asyncio.create_task(HttpServer(people.app, bound, name="test").run())
    try:
        shell = await asyncio.create_subprocess_exec(
            "sh", "-euc", steps(url_of(bound)), cwd=tmp_path, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await asyncio.wait_for(shell.communicate(), 60)
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        bound.close()
    answers = [json.loads(line) for line in out.decode().splitlines()]
    first, second, login, users, changed, refreshed, me, token, logout = answers
    assert first["user"]["role"] == login["user"]["role"] == "ADMIN"
    assert "pending" in second["message"]
    assert [user["email"] for user in users["users"]] == ["ann@example.org", "bob@example.org"]
    assert (changed["user"]["email"], changed["user"]["status"]) == ("bob@example.org", "ACTIVE")
    assert refreshed == me
    assert token["token"].startswith("hc_live_")
    assert logout == {"message": "Logged out"}


def test_the_page_shows_the_usual_address() -> None:
    assert "API=http://127.0.0.1:8080\n" in PAGE.read_text()
