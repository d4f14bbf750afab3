"""`chainworkd user …`, and people who sign in to a process that runs."""

import asyncio
import re
from pathlib import Path

import httpx
import pytest

from tests.ops.process import ANY_PORTS, PROGRAM, Cli, lines_until

DATABASE = "CHAINWORKD_DATABASE__URL"
ANN = "ann@example.org"


@pytest.fixture
def cli(tmp_path: Path, database_url: str) -> Cli:
    given = {**ANY_PORTS, "CHAINWORKD_DATA_DIR": str(tmp_path / "data"), DATABASE: database_url}
    return Cli(tmp_path, {**given, "CHAINWORKD_LOG__STYLE": "json"})


def password_of(said: str) -> str:
    found = re.search(r"^password (\S{24})$", said, re.M)
    assert found is not None, said
    return found[1]


async def test_people_are_made_listed_changed_and_noted(cli: Cli) -> None:
    made = await cli("user", "create", "--email", ANN, "--role", "ADMIN")
    assert made.code == 0, made.said
    user_id = made.out.split()[1]
    listed = (await cli("user", "list")).out
    assert re.fullmatch(rf"{user_id}  \S+Z  ADMIN     ACTIVE    {ANN}\n", listed)
    last = await cli("user", "set", "--email", ANN, "--status", "DISABLED")
    assert (last.code, "last active ADMIN" in last.err) == (78, True)
    await cli("user", "create", "--email", "bob@example.org", "--role", "ADMIN")
    changed = await cli("user", "set", "--email", ANN, "--role", "OPERATOR", "--status", "DISABLED")
    assert changed.out == f"{user_id} OPERATOR DISABLED {ANN}\n"
    log = (await cli("user", "log", "--limit", "2")).out.splitlines()
    assert re.search(rf"command line +user.change +{user_id}  role=\['ADMIN', 'OPERATOR'\]", log[0])
    assert "user.create" in log[1]
    assert password_of(made.out) not in "".join(log) + listed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("create", "--email", "nobody"), "--email"), (("set", "--email", ANN), "--role, --status"),
        (("set", "--email", ANN, "--role", "ADMIN"), "no user"), (("reset-password", "--email", ANN), "no user"),
        (("create", "--email", ANN, "--password-stdin"), "password: expected 12"), (("log", "--limit", "0"), "--limit"),
    ],
)  # fmt: skip
async def test_what_cannot_be_done_is_one_line_and_78(cli: Cli, arguments: tuple[str, ...], said: str) -> None:
    done = await cli("user", *arguments)
    assert done.code == 78
    assert said in done.err and len(done.err.splitlines()) == 1


async def test_an_address_is_taken_once(cli: Cli) -> None:
    assert (await cli("user", "create", "--email", ANN)).code == 0
    again = await cli("user", "create", "--email", ANN.upper())
    assert (again.code, "there is an account" in again.err) == (78, True)


async def test_people_sign_in_to_a_process_that_runs_and_a_reset_ends_their_sessions(cli: Cli) -> None:
    first = password_of((await cli("user", "create", "--email", ANN, "--role", "ADMIN")).out)
    async with cli.started("run", "api") as process:
        assert process.stderr is not None
        text = await lines_until(process.stderr, '"face": "api"')
        url = re.findall(r'"url": "(http://[^"]+)"', text)[-1]
        async with httpx.AsyncClient(base_url=url) as client:
            signed_in = await client.post("/api/auth/login", json={"email": ANN, "password": first})
            assert signed_in.status_code == 200, signed_in.text
            assert (await client.get("/api/admin/users")).json()["users"][0]["email"] == ANN
            key = (await client.post("/api/user/token")).json()["token"]
            asked = await client.get("/api/v1/health", headers={"authorization": f"Bearer {key}"})
            assert asked.status_code in (200, 503)
            await reset(cli, "another long one")
            assert (await client.get("/api/auth/me")).status_code == 401
            for password, status in ((first, 401), ("another long one", 200)):
                answer = await client.post("/api/auth/login", json={"email": ANN, "password": password})
                assert answer.status_code == status
    assert first not in text


async def reset(cli: Cli, password: str) -> None:
    """Set a password from standard input, where nobody else sees it."""
    process = await asyncio.create_subprocess_exec(
        *PROGRAM, "user", "reset-password", "--email", ANN, "--password-stdin", cwd=cli.folder, env=cli._base,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await process.communicate(f"{password}\n".encode())
    assert process.returncode == 0
    assert password not in out.decode()


async def test_tokens_of_people_are_listed_and_those_of_the_command_line_are_on_record(cli: Cli) -> None:
    key = (await cli("token", "create", "--label", "ci")).out.strip()
    assert (await cli("token", "revoke", key)).code == 0
    lines = (await cli("user", "log")).out.splitlines()
    assert [re.split(" {2,}", line)[1:4] for line in lines] == [
        ["command line", "token.revoke", key[:16]], ["command line", "token.issue", key[:16]],
    ]  # fmt: skip
    assert key not in "".join(lines)
