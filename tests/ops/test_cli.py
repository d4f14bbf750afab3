"""The command line: exit codes, one line per fault, nothing secret in any of it."""

import argparse
import asyncio
import json
import re
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from core.store import migrate as migrations
from core.store.dsn import parse
from daemon.cli import parser
from daemon.schema import MIGRATIONS
from tests.ops.process import ANY_PORTS, Cli, lines_until

RPC_KEY = "f00dfeedc0ffee"
DATABASE = "CHAINWORKD_DATABASE__URL"


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path, {**ANY_PORTS, "CHAINWORKD_DATA_DIR": str(tmp_path / "data")})


@asynccontextmanager
async def node(chain_id: int) -> AsyncIterator[str]:
    """A node that knows its chain id and nothing else; its URL has a key in it."""

    async def answer(request: web.Request) -> web.Response:
        call = await request.json()
        if call["method"] == "eth_chainId":
            return web.json_response({"jsonrpc": "2.0", "id": call["id"], "result": hex(chain_id)})
        refusal = {"code": -32601, "message": "the method does not exist"}
        return web.json_response({"jsonrpc": "2.0", "id": call["id"], "error": refusal})

    app = web.Application()
    app.router.add_post(f"/v3/{RPC_KEY}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield f"http://127.0.0.1:{port}/v3/{RPC_KEY}"
    finally:
        await runner.cleanup()


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def commands(grammar: argparse.ArgumentParser, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every command with its help, the parents' private one left out."""
    yield path, grammar.format_help()
    for action in grammar._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                if name != "child":
                    yield from commands(inner, (*path, name))


HELPS = list(commands(parser()))


@pytest.mark.parametrize(("path", "text"), HELPS, ids=[" ".join(path) or "chainworkd" for path, _ in HELPS])
def test_the_help_of_every_command_has_an_example(path: tuple[str, ...], text: str) -> None:
    assert re.search(rf"examples?:\n  .*chainworkd {' '.join(path)}".rstrip(), text)


async def test_help_and_version_are_successes(cli: Cli) -> None:
    helped, version = await cli("run", "--help"), await cli("--version")
    assert (helped.code, version.code) == (0, 0)
    assert "example:" in helped.out
    assert re.fullmatch(r"chainworkd \d+\.\d+\.\d+\n", version.out)


@pytest.mark.parametrize("arguments", [(), ("fly",), ("run", "cook"), ("token",), ("migrate", "--wait", "-1")])
async def test_wrong_usage_exits_with_2(cli: Cli, arguments: tuple[str, ...]) -> None:
    done = await cli(*arguments)
    assert (done.code, done.out) == (2, "")
    assert "usage: chainworkd" in done.err


async def test_all_faults_of_the_settings_are_in_one_line(cli: Cli) -> None:
    done = await cli(
        "check", CHAINWORKD_LOG__LEVEL="loud", CHAINWORKD_API__PORT="many", CHAINWORKD_NOSUCH="1",
        CHAINWORKD_DATABASE__URL="mysql://u:sesame@h/d",
    )  # fmt: skip
    assert (done.code, done.out) == (78, "")
    assert done.err.count("\n") == 1
    for fault in ("log.level", "api.port", "CHAINWORKD_NOSUCH", "database.url"):
        assert fault in done.err
    assert "sesame" not in done.said


@pytest.mark.parametrize("arguments", [("--profile", "moon"), ("--config", "no-such.toml")])
async def test_a_missing_source_of_settings_is_a_fault(cli: Cli, arguments: tuple[str, ...]) -> None:
    done = await cli(*arguments, "check")
    assert done.code == 78
    assert arguments[1] in done.err


async def test_an_empty_credential_is_a_fault(cli: Cli) -> None:
    (cli.folder / "chainworkd_database__url").write_text("\n")
    done = await cli("migrate", CREDENTIALS_DIRECTORY=str(cli.folder))
    assert done.code == 78
    assert "chainworkd_database__url: the file is empty" in done.err


async def test_a_credential_is_the_database_url(cli: Cli, database_url: str) -> None:
    (cli.folder / "chainworkd_database__url").write_text(database_url + "\n")
    done = await cli("migrate", "--status", CREDENTIALS_DIRECTORY=str(cli.folder))
    assert (done.code, done.out.count("applied")) == (0, len(migrations.files(MIGRATIONS)))


async def test_run_without_a_chain_says_what_to_set(cli: Cli) -> None:
    done = await cli("run")
    assert (done.code, done.err.count("\n")) == (78, 1)
    assert "CHAINWORKD_RPC_URL" in done.err
    assert not (cli.folder / "data").exists()


@pytest.mark.parametrize("role", ["indexer", "backfill", "api", "sender", "worker"])
async def test_one_role_alone_never_starts_a_server(cli: Cli, role: str) -> None:
    done = await cli("run", role, CHAINWORKD_RPC_URL="http://127.0.0.1:1")
    assert (done.code, done.err.count("\n")) == (78, 1)
    assert "database.url" in done.err
    assert not (cli.folder / "data").exists()


@pytest.mark.parametrize("setting", ["api.port", "ops.indexer_port", "ops.backfill_port", "ops.api_port"])
async def test_a_busy_port_names_its_setting(cli: Cli, database_url: str, setting: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        name = f"CHAINWORKD_{setting.upper().replace('.', '__')}"
        environment = {name: str(busy.getsockname()[1]), DATABASE: database_url}
        done = await cli("run", CHAINWORKD_RPC_URL="http://127.0.0.1:1", **environment)
    assert (done.code, done.err.count("\n")) == (78, 1)
    assert f"{setting}: cannot listen" in done.err


async def test_an_unreachable_node_is_asked_again_until_the_process_is_stopped(cli: Cli, database_url: str) -> None:
    url = f"http://127.0.0.1:{closed_port()}/v3/{RPC_KEY}"
    environment = {DATABASE: database_url, "CHAINWORKD_RPC_URL": url}
    async with cli.started("run", **environment) as process:
        assert process.stderr is not None
        text = await lines_until(process.stderr, "service restarts", times=3)
        asked = time.monotonic()
        process.terminate()
        async with asyncio.timeout(15):
            text += (await process.stderr.read()).decode()
            assert await process.wait() == 0
    assert time.monotonic() - asked < 10
    assert RPC_KEY not in text
    assert parse(database_url).password not in text


async def test_ctrl_c_is_a_success_too(cli: Cli, database_url: str) -> None:
    environment = {DATABASE: database_url, "CHAINWORKD_RPC_URL": f"http://127.0.0.1:{closed_port()}"}
    async with cli.started("run", "indexer", **environment) as process:
        assert process.stderr is not None
        await lines_until(process.stderr, "service restarts")
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(15):
            await process.stderr.read()
            assert await process.wait() == 0


async def test_restarts_are_counted_in_what_is_exported(cli: Cli, database_url: str) -> None:
    port = closed_port()
    environment = {DATABASE: database_url, "CHAINWORKD_RPC_URL": f"http://127.0.0.1:{closed_port()}"}
    async with cli.started("run", "indexer", **environment, CHAINWORKD_OPS__INDEXER_PORT=str(port)) as process:
        assert process.stderr is not None
        await lines_until(process.stderr, "service restarts")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /metrics HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n")
        answer = (await reader.read()).decode()
        writer.close()
        await writer.wait_closed()
        process.terminate()
        await process.communicate()
    assert re.search(r'chainworkd_service_restarts_total\{error="RpcUnavailable",service="chain\.node"\} [1-9]', answer)


async def test_a_node_of_another_chain_ends_the_run(cli: Cli, database_url: str) -> None:
    async with node(5) as url:
        environment = {DATABASE: database_url, "CHAINWORKD_RPC_URL": url, "CHAINWORKD_CHAIN_ID": "6"}
        alone = await cli("run", "indexer", **environment)
        together = await cli("run", **environment)
        looked = await cli("check", **environment)
    for done in (alone, together, looked):
        assert done.code == 78
        assert re.search(r"serves chain 5, (configured is|expected) 6", done.said)
        assert RPC_KEY not in done.said
        assert parse(database_url).password not in done.said


async def test_a_database_that_does_not_answer_is_no_wrong_setting(cli: Cli) -> None:
    url = f"postgresql://u:sesame@127.0.0.1:{closed_port()}/d"
    done = await cli("migrate", "--wait", "1", CHAINWORKD_DATABASE__URL=url)
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "not reachable within 1 s" in done.err
    assert "sesame" not in done.said


async def test_a_token_is_made_listed_and_revoked(cli: Cli, database_url: str) -> None:
    made = await cli("token", "create", "--label", "dash board", "--days", "9", **{DATABASE: database_url})
    key = made.out.strip()
    assert made.code == 0
    assert re.fullmatch(r"hc_live_[0-9a-f]{40}", key)
    listed = await cli("token", "list", **{DATABASE: database_url})
    assert key[:16] in listed.out
    assert "dash board" in listed.out
    assert key not in listed.said
    revoked = await cli("token", "revoke", key[:16], **{DATABASE: database_url})
    assert (revoked.code, revoked.out) == (0, f"revoked {key[:16]}\n")
    again = await cli("token", "revoke", key, **{DATABASE: database_url})
    assert again.code == 1
    assert key not in again.said
    assert "revoked" in (await cli("token", "list", **{DATABASE: database_url})).out


async def test_tokens_need_a_migrated_database(cli: Cli, empty_database_url: str) -> None:
    done = await cli("token", "list", **{DATABASE: empty_database_url})
    assert (done.code, done.err.count("\n")) == (78, 1)
    assert "chainworkd migrate" in done.err
    nowhere = await cli("token", "list")
    assert (nowhere.code, nowhere.err.count("\n")) == (78, 1)
    assert "database.url is not set" in nowhere.err


@pytest.mark.parametrize("days", ["0", "-1", "99999999"])
async def test_a_token_expires_in_the_future(cli: Cli, days: str) -> None:
    done = await cli("token", "create", "--label", "x", "--days", days)
    assert done.code == 78
    assert "--days" in done.err


async def test_status_of_an_empty_index_is_json_and_not_ready(cli: Cli, database_url: str) -> None:
    done = await cli("status", "--json", **{DATABASE: database_url})
    assert (done.code, json.loads(done.out)) == (1, {"chains": []})


async def test_check_passes_without_a_chain_and_changes_nothing(cli: Cli, empty_database_url: str) -> None:
    done = await cli("check", **{DATABASE: empty_database_url})
    assert (done.code, done.err) == (0, "")
    assert re.search(r"^warn  schema .*pending", done.out, re.M)
    assert re.search(r"^warn  chains ", done.out, re.M)
    assert parse(empty_database_url).password not in done.said
