"""`chainworkd run api` without any chain: the builder needs neither node nor index, only the process it lives in."""

import json
from pathlib import Path

import aiohttp

from tests.builder.face import OPEN_BODY, TRADER
from tests.ops.process import ANY_PORTS, Cli, lines_until


async def test_the_builder_serves_with_no_chain_configured_and_stops_in_order(
    database_url: str, tmp_path: Path
) -> None:
    cli = Cli(tmp_path, {**ANY_PORTS, "CHAINWORKD_DATABASE__URL": database_url, "CHAINWORKD_LOG__STYLE": "json"})
    async with cli.started("run", "api") as process:
        assert process.stderr is not None
        said = await lines_until(process.stderr, '"listening"', times=2)
        (url,) = [found["url"] for found in map(json.loads, said.splitlines()) if found.get("face") == "api"]
        async with aiohttp.ClientSession(headers={"X-Trader-Address": TRADER}) as session:
            async with session.post(f"{url}/v1/exchange/open", json=OPEN_BODY) as answer:
                assert answer.status == 200, await answer.text()
                assert (await answer.json())["transactions"][0]["data"].startswith("0x1365e4e4")
            async with session.ws_connect(f"{url}/v1/exchange/ws") as socket:
                await socket.send_json({"action": "health"})
                assert (await socket.receive_json(timeout=10))["ok"]
                process.terminate()
                end = await socket.receive(timeout=15)
        assert end.type == aiohttp.WSMsgType.CLOSE
        assert await process.wait() == 0


async def test_the_builder_can_be_off(database_url: str, tmp_path: Path) -> None:
    settings = {"CHAINWORKD_DATABASE__URL": database_url, "CHAINWORKD_BUILDER__ENABLED": "false"}
    cli = Cli(tmp_path, {**ANY_PORTS, **settings, "CHAINWORKD_LOG__STYLE": "json"})
    async with cli.started("run", "api") as process:
        assert process.stderr is not None
        said = await lines_until(process.stderr, '"listening"', times=2)
        (url,) = [found["url"] for found in map(json.loads, said.splitlines()) if found.get("face") == "api"]
        async with aiohttp.ClientSession() as session, session.get(f"{url}/v1/health") as answer:
            assert answer.status == 404
            assert await answer.json() == {"error": "no such path: /v1/health", "code": "404"}
