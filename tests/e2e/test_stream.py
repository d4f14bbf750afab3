"""The whole program's stream: what it tells through reorgs and restarts, replayed, is the node's chain."""

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import aiohttp

from core.rpc.client import RpcClient
from devnet.town import Devnet
from tests.e2e.daemon import Daemon, environment, run
from tests.e2e.story import client_of, head_of, steps
from tests.e2e.truth import blocks_of
from tests.e2e.waiting import until


class Listener:
    """A client that returns with the last number it has, as often as it is sent away."""

    def __init__(self, key: str) -> None:
        self.seq = 0
        self.facts: list[dict[str, Any]] = []
        self.ends: list[str] = []
        self.url = ""
        self._key = key

    async def listen(self) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout()) as session:
            while True:
                try:
                    await self._once(session)
                except aiohttp.ClientError:
                    await asyncio.sleep(0.1)

    async def _once(self, session: aiohttp.ClientSession) -> None:
        headers = {"authorization": f"Bearer {self._key}", "last-event-id": str(self.seq)}
        async with session.get(f"{self.url}/stream", headers=headers) as answer:
            if answer.status == 503:  # it is stopping
                await asyncio.sleep(0.1)
                return
            assert answer.status == 200, await answer.text()
            async for line in answer.content:
                if not line.startswith(b"data: "):
                    continue
                message = json.loads(line[6:])
                if message["kind"] == "end":
                    self.ends.append(message["why"])
                elif message["kind"] != "hello":
                    assert message["seq"] == self.seq + 1
                    self.seq = message["seq"]
                    self.facts.append(message)

    def blocks(self) -> dict[int, str | None]:
        """What the facts leave: number -> hash, None within a filled range."""
        found: dict[int, str | None] = {}
        for fact in self.facts:
            match fact["kind"]:
                case "block":
                    found[fact["block_number"]] = fact["block_hash"]
                case "fill":
                    span = range(fact["first_block"], fact["last_block"] + 1)
                    found |= dict.fromkeys(span) | {fact["last_block"]: fact["last_hash"]}
                case "reorg":
                    for number in range(fact["first_block"], fact["last_block"] + 1):
                        found.pop(number, None)
                case _:
                    pass
        return found

    async def reach(self, number: int, block_hash: str) -> None:
        await until(lambda: self.blocks().get(number) == block_hash)


async def test_replayed_facts_are_the_nodes_chain_through_reorgs_and_a_restart(
    folder: Path, town: Devnet, rpc: RpcClient
) -> None:
    env = environment(folder, RPC_URL=town.http_url, WS_URL=town.ws_url, BACKFILL="0..")
    await steps(town, 6)
    async with Daemon(folder, "run", env=env) as daemon, client_of(daemon, folder, env) as client:
        code, key, err = await run(folder, "token", "create", "--label", "listener", env=env)
        assert code == 0, err
        listener = Listener(key.strip())
        listener.url = client.url
        listening = asyncio.create_task(listener.listen())
        for depth in (1, 5):
            await steps(town, 3)
            await listener.reach(*await head_of(rpc))
            await rpc.call("anvil_reorg", depth, [])
            await steps(town, 1)
            await listener.reach(*await head_of(rpc))
        await daemon.stop(signal.SIGTERM, within_s=45.0)
        assert listener.ends == ["stopping"]

        await steps(town, 2)
        await daemon.start()
        listener.url = await daemon.url()
        await steps(town, 2)
        number, block_hash = await head_of(rpc)
        await listener.reach(number, block_hash)
        await until(lambda: 0 in listener.blocks())  # backfill is in no hurry
        listening.cancel()
    told = listener.blocks()
    assert sorted(told) == list(range(number + 1))
    for block, _ in await blocks_of(rpc, range(number + 1)):
        assert told[int(block["number"], 16)] in (block["hash"], None)
    kinds = {fact["kind"] for fact in listener.facts}
    assert {"block", "fill", "reorg", "finalize"} <= kinds
