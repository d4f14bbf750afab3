"""`chainworkd droid …` and the pools and accounts of settings, on a real database."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from accounts.audit import By, latest
from core.errors import BadConfig
from core.settings import Settings, load
from core.store.pool import Pool, open_pool
from daemon.cli import command, parser
from daemon.droid_places import adopt
from droids import commands, records
from droids.droid import droid_of
from tests.droids import SEED

POOL, QUOTE, OTHER = ("0x" + digit * 40 for digit in "123")
MANAGER = "0xC36442b4a4522E871399CD717aBDD847Ab11FE88"
BY = By("test", datetime(2026, 11, 21, tzinfo=UTC))
TEXT = f"""
[chains.mainnet]
chain_id = 1
http = "http://127.0.0.1:1"
[chains.local]
chain_id = 31337
http = "http://127.0.0.1:2"
[wallets.main]
chain = "mainnet"
address = "{OTHER}"
[wallets.spare]
chain = "local"
address = "{OTHER}"
"""
PLACES = f"""
[droids.pools.42]
chain = "mainnet"
address = "{POOL}"
quote = "{QUOTE}"
[droids.accounts.1]
wallet = "main"
"""


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url, size=2) as opened:
        yield opened


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return configured(database_url, tmp_path)


def configured(url: str, folder: Path, text: str = "") -> Settings:
    file = folder / "own.toml"
    file.write_text(TEXT + text)
    return load(config=file, environ={"CHAINWORKD_DATABASE__URL": url})


async def ran(settings: Settings, *options: str) -> int | None:
    arguments = parser().parse_args(["droid", *options])
    return await command(arguments.does)(settings, arguments)


async def made(pool: Pool) -> int:
    return await commands.create(pool, droid_of(SEED), account_id=1, pool_id=42, by=BY)


# Settings


async def test_pools_and_accounts_of_settings_are_there_once_and_stay_what_they_are(
    pool: Pool, database_url: str, tmp_path: Path
) -> None:
    settings = configured(database_url, tmp_path, PLACES)
    for _ in range(2):
        await adopt(settings, pool, BY)
    (row,), (account,) = await records.pools(pool), await records.accounts(pool)
    assert (row.pool_id, row.chain_id, row.address) == (42, 1, bytes.fromhex(POOL[2:]))
    assert (row.quote, row.manager) == (bytes.fromhex(QUOTE[2:]), bytes.fromhex(MANAGER[2:]))
    assert (account.account_id, account.chain_id, account.wallet) == (1, 1, bytes.fromhex(OTHER[2:]))
    lines = [line for line in await latest(pool, 9) if line.action.startswith("droid.")]
    assert sorted(line.subject for line in lines) == ["account 1", "pool 42"]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ((POOL, OTHER), "droids.pools.42: pool 42: expected"), ((QUOTE, OTHER), "droids.pools.42: pool 42: expected"),
        (("pools.42", "pools.43"), "is pool 42 already"), (('"main"', '"spare"'), "droids.accounts.1: "),
        (("accounts.1", "accounts.2"), "droids.accounts.2: there is account 1, "),
    ],
)  # fmt: skip
async def test_an_id_that_stands_for_something_else_is_refused(
    pool: Pool, database_url: str, tmp_path: Path, change: tuple[str, str], fault: str
) -> None:
    await adopt(configured(database_url, tmp_path, PLACES), pool, BY)
    with pytest.raises(BadConfig, match=fault):
        await adopt(configured(database_url, tmp_path, PLACES.replace(*change)), pool, BY)


@pytest.mark.parametrize(
    ("old", "new", "faults"),
    [
        ('chain = "mainnet"', 'chain = "x"', ["droids.pools.42.chain: expected a configured chain", "found 'x'"]),
        (f'quote = "{QUOTE}"', "", ["droids.pools.42.quote: not set"]),
        ('wallet = "main"', 'wallet = "x"', ["droids.accounts.1.wallet: expected one of main, spare, found 'x'"]),
        ("pools.42", "pools.x", ["droids.pools.x"]), ("pools.42", "pools.0", ["droids.pools.0"]),
        (POOL, "0x12", ["droids.pools.42.address"]),
    ],
)  # fmt: skip
def test_a_wrong_place_is_named(database_url: str, tmp_path: Path, old: str, new: str, faults: list[str]) -> None:
    with pytest.raises(BadConfig) as caught:
        configured(database_url, tmp_path, PLACES.replace(old, new))
    assert all(fault in str(caught.value) for fault in faults)


def test_a_place_has_one_id(database_url: str, tmp_path: Path) -> None:
    twice = PLACES + PLACES.replace("42", "43").replace("accounts.1", "accounts.2")
    with pytest.raises(BadConfig, match=r"droids.pools.43: the same as droids.pools.42; droids.accounts.2: the same"):
        configured(database_url, tmp_path, twice)


def test_a_place_may_come_from_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(TEXT)
    names = {"CHAIN": "mainnet", "ADDRESS": POOL, "QUOTE": QUOTE}
    found = load(config=file, environ={f"CHAINWORKD_DROIDS__POOLS__7__{name}": value for name, value in names.items()})
    assert found.droids.pools[7].address == POOL


# Commands


async def test_pools_and_accounts_are_added_and_listed(
    settings: Settings, pool: Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await ran(settings, "pools", "list") is None
    assert await ran(settings, "accounts", "list") is None
    assert capsys.readouterr().out.splitlines() == [
        "no pools; `chainworkd droid pools add` makes one known",
        "no accounts; `chainworkd droid accounts add` makes one known",
    ]
    add = ("pools", "add", "--id", "42", "--chain", "mainnet", "--address", POOL, "--quote", QUOTE)
    await ran(settings, *add)
    await ran(settings, *add)
    await ran(settings, "accounts", "add", "--id", "1", "--wallet", "main")
    capsys.readouterr()
    await ran(settings, "pools", "list")
    await ran(settings, "accounts", "list")
    assert capsys.readouterr().out.splitlines() == [
        f"42  mainnet  {POOL}  quote {QUOTE}  not read yet", f"1  mainnet  {OTHER}"
    ]  # fmt: skip
    assert (await records.pools(pool))[0].manager.hex() == MANAGER[2:].lower()


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (("pools", "add", "--id", "42", "--chain", "mainnet", "--address", OTHER, "--quote", QUOTE), "pool 42: expect"),
        (("pools", "add", "--id", "43", "--chain", "mainnet", "--address", POOL, "--quote", QUOTE), "pool 42 already"),
        (("pools", "add", "--id", "7", "--chain", "local", "--address", POOL, "--quote", QUOTE), "none is known of"),
        (("pools", "add", "--id", "7", "--chain", "x", "--address", POOL, "--quote", QUOTE), "--chain"),
        (("accounts", "add", "--id", "1", "--wallet", "spare"), "there is account 1, "),
        (("accounts", "add", "--id", "2", "--wallet", "x"), "--wallet: expected one of main, spare, found 'x'"),
    ],
)  # fmt: skip
async def test_what_cannot_be_added_is_refused(
    database_url: str, tmp_path: Path, options: tuple[str, ...], fault: str
) -> None:
    settings = configured(database_url, tmp_path, PLACES)
    with pytest.raises(BadConfig, match=fault):
        await ran(settings, *options)


async def test_droids_are_listed_shown_and_commanded(
    pool: Pool, database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = configured(database_url, tmp_path, PLACES)
    await ran(settings, "list")
    assert "no droids" in capsys.readouterr().out
    number = await made(pool)
    await ran(settings, "list")
    line = capsys.readouterr().out
    assert line.startswith(f"{number}  20")
    assert line.endswith("active 0  pool 42  account 1  50000 USD  5 rungs\n")
    await ran(settings, "active", str(number), "1")
    assert f"droid {number}: told 1" in capsys.readouterr().out
    await ran(settings, "show", str(number))
    shown: Any = json.loads(capsys.readouterr().out)
    assert (shown["droid"]["active"], shown["droid"]["blockChain"]) == (1, "mainnet")
    assert (shown["sessions"], shown["bots"]) == ([], [])
    await ran(settings, "list", "--json")
    assert json.loads(capsys.readouterr().out)["droids"] == [shown["droid"]]
    (line_of_command, *_) = await latest(pool, 1)
    assert (line_of_command.actor, line_of_command.action) == ("command line", "droid.active")


async def test_a_droid_that_is_not_there_is_no(
    settings: Settings, pool: Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await ran(settings, "show", "9") == 1
    assert await ran(settings, "active", "9", "0") == 1
    assert capsys.readouterr().err == "no droid 9\nno droid 9\n"


async def test_a_wallet_that_is_taken_is_a_fault(pool: Pool, database_url: str, tmp_path: Path) -> None:
    settings = configured(database_url, tmp_path, PLACES)
    await adopt(settings, pool, BY)
    one, other = await made(pool), await made(pool)
    await ran(settings, "active", str(one), "1")
    with pytest.raises(BadConfig, match=f"droid {other}: another droid has its wallet"):
        await ran(settings, "active", str(other), "1")


@pytest.mark.parametrize("options", [("active", "1", "4"), ("active", "x", "0"), ("show", "0"), ("pools",), ("show",)])
def test_wrong_usage_is_refused(options: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parser().parse_args(["droid", *options])
    assert caught.value.code == 2
    assert "usage: chainworkd droid" in capsys.readouterr().err
