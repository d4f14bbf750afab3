"""`chainworkd run sender`, `outbox` and `activate`, as people use them: from a rehearsal to the chain and back."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from eth_account import Account

from builders.call import Call
from builders.erc20 import transfer
from core.hex import to_hex
from core.store.pool import open_pool
from devnet.anvil import Anvil
from tests.ops.process import ANY_PORTS, Cli, lines_until
from tests.wallet.bench import CHAIN, ETHER, FRIEND, Bench, CountingRpc
from tests.wallet.bench import bench as made
from tests.wallet.conftest import artifacts
from wallet import records
from wallet.types import Intent

__all__ = ["artifacts"]

KEY = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d"  # anvil's second account
WALLET = bytes.fromhex(Account.from_key(KEY).address[2:])
BY = ("--by", "ann", "--because", "a test")


@pytest.fixture
async def bench(artifacts: Any, database_url: str) -> AsyncIterator[Bench]:
    async with (
        Anvil(artifacts, block_time_s=1) as anvil,
        CountingRpc(anvil.http_url) as rpc,
        open_pool(database_url, size=2) as pool,
    ):
        yield await made(pool, rpc, artifacts)


@pytest.fixture
def cli(tmp_path: Path, database_url: str, bench: Bench) -> Cli:
    (tmp_path / "settings.toml").write_text(f"""
[chains.local]
chain_id = {CHAIN}
http = ["{bench.rpc.url}"]

[wallets.main]
chain = "local"
address = "{to_hex(WALLET)}"
dev_key_env = "DEV_KEY"
allow_dev_key = true
each_wei = {ETHER}
day_wei = {ETHER}
recipients = ["{to_hex(FRIEND)}"]
settle_blocks = 2
poll_s = 0.1

[wallets.main.tokens.{to_hex(bench.token)}]
each = 100
day = 100
""")
    given = {**ANY_PORTS, "CHAINWORKD_DATA_DIR": str(tmp_path / "data"), "CHAINWORKD_DATABASE__URL": database_url}
    given |= {"CHAINWORKD_CONFIG": str(tmp_path / "settings.toml"), "CHAINWORKD_LOG__STYLE": "json"}
    return Cli(tmp_path, given)


async def queue(bench: Bench, call: Call) -> Intent:
    intent = Intent(
        id=uuid4(), chain_id=CHAIN, wallet=WALLET, owner="test", kind="pay", call=call, priority=1,
        deadline=datetime.now(UTC) + timedelta(minutes=5),
    )  # fmt: skip
    async with bench.pool.acquire() as conn:
        await records.queue(conn, intent)
    return intent


async def final(bench: Bench, intent: Intent) -> records.Status:
    async with asyncio.timeout(40):
        return await records.awaited(bench.pool, intent.id, _Clock())


class _Clock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def test_from_a_rehearsal_to_the_chain_and_to_a_halt(cli: Cli, bench: Bench) -> None:
    first = await queue(bench, Call(FRIEND, b"", 5))
    async with cli.started("run", "sender") as dry:
        assert dry.stderr is not None
        said = await lines_until(dry.stderr, "sender has the lease")
        rehearsed = await final(bench, first)
        url = json.loads(said.splitlines()[0])["url"]
        async with httpx.AsyncClient() as client:
            ready = (await client.get(f"{url}/readyz")).json()
            assert (ready["ready"], ready["faults"]) == (True, {"wallet.main": []})
            shown = (await client.get(f"{url}/metrics")).text
        assert 'chainworkd_sender_intents_ended_total{state="rehearsed",wallet="main"} 1.0' in shown
    assert (rehearsed.state, await bench_nonce(bench)) == ("rehearsed", 0)

    live = {"CHAINWORKD_WALLETS__MAIN__LIVE": "true", "DEV_KEY": KEY}
    second = await queue(bench, Call(FRIEND, b"", 7))
    async with cli.started("run", "sender", **live) as sender:
        assert sender.stderr is not None
        await lines_until(sender.stderr, "sender has the lease")
        await asyncio.sleep(1.5)
        listed = await cli("outbox", "list")
        assert "not activated (chainworkd activate)" in listed.out
        activated = await cli("activate", "--wallet", "main", *BY)
        assert (activated.code, "stays in dry-run" in activated.out) == (0, True)
        found = await final(bench, second)
        assert (found.state, found.outcome, await bench_nonce(bench)) == ("settled", "done", 1)
        shown = json.loads((await cli("outbox", "show", str(second.id))).out)
        assert shown["moved"] == {"wei": str(-7 - (found.fee or 0))}
        assert [each["kind"] for each in shown["attempts"]] == ["send"]
        assert (await cli("outbox", "halt", *BY)).code == 0
        third = await queue(bench, Call(FRIEND, b"", 9))
        await asyncio.sleep(1.0)
        assert "halted: a test" in (await cli("outbox", "list")).out
        assert (await cli("outbox", "cancel", str(third.id), *BY)).code == 0
        assert (await final(bench, third)).state == "dropped"
    assert await bench_nonce(bench) == 1


async def bench_nonce(bench: Bench) -> int:
    return int(await bench.rpc.call("eth_getTransactionCount", to_hex(WALLET), "pending"), 16)


async def test_commands_say_no_with_a_reason(cli: Cli, bench: Bench) -> None:
    nobody = str(uuid4())
    for arguments in (("outbox", "show", nobody), ("outbox", "cancel", nobody, *BY)):
        done = await cli(*arguments)
        assert (done.code, "there is no such intent" in done.err) == (1, True)
    assert (await cli("outbox", "resume", "--by", "ann")).code == 1
    assert (await cli("activate", "--wallet", "main", "--revoke", *BY)).code == 1
    other = await cli("activate", "--wallet", "other", *BY)
    assert (other.code, "expected one of main, found 'other'" in other.err) == (78, True)
    await bench.rpc.call("anvil_setCode", to_hex(bench.token), "0x")
    empty = await cli("activate", "--wallet", "main", *BY)
    assert (empty.code, "has no code" in empty.err) == (78, True)
    intent = await queue(bench, transfer(bench.token, FRIEND, 1))
    listed = json.loads((await cli("outbox", "list", "--all", "--json")).out)
    assert [(each["id"], each["state"]) for each in listed] == [(str(intent.id), "queued")]


@pytest.mark.parametrize(
    ("setting", "value", "why"),
    [
        ("LIVE", "true", "DEV_KEY: expected a private key"),
        ("ALLOW_DEV_KEY", "false", "needs allow_dev_key as well"),
        ("CHAIN", "elsewhere", "expected a configured chain with a chain_id, found 'elsewhere'"),
        ("KEYSTORE", "/nowhere", "found keystore, dev_key_env"),
        ("RECIPIENTS", f'["{to_hex(WALLET)}"]', "expected one role for each address"),
    ],
)
async def test_what_is_wrong_with_a_wallet_is_said_at_the_start(cli: Cli, setting: str, value: str, why: str) -> None:
    more = {"CHAINWORKD_WALLETS__MAIN__LIVE": "true"} if setting == "KEYSTORE" else {}
    done = await cli("run", "sender", **{f"CHAINWORKD_WALLETS__MAIN__{setting}": value, **more})
    assert (done.code, why in done.err) == (78, True), done.err
