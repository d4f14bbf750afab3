"""The whole program when a node takes back what it had called finalized: it says so, and goes on."""

from pathlib import Path

from core.rpc.client import RpcClient
from devnet.town import Devnet
from tests.e2e.client import Client
from tests.e2e.daemon import Daemon, environment, run
from tests.e2e.faces import block_face, told
from tests.e2e.story import client_of, head_of, steps
from tests.e2e.truth import blocks_of
from tests.e2e.waiting import until

ALARMS = 'chainworkd_finality_alarms{chain="node"}'


async def alarms(client: Client, ops: str) -> float | None:
    _, text = await client.get(f"{ops}/metrics")
    return next((float(line.split()[-1]) for line in text.splitlines() if line.startswith(ALARMS)), None)


async def test_a_reorg_of_finalized_blocks_is_followed_and_raises_an_alarm_that_a_person_clears(
    folder: Path, town: Devnet, rpc: RpcClient
) -> None:
    env = environment(folder, RPC_URL=town.http_url, WS_URL=town.ws_url)
    async with Daemon(folder, "run", env=env) as daemon, client_of(daemon, folder, env) as client:
        ops = {role: await daemon.url(role, "ops") for role in ("indexer", "api")}
        # anvil calls finalized what is eight blocks below the head.
        await steps(town, 14)
        number, block_hash = await head_of(rpc)
        await client.serves(number, block_hash)

        async def finalized() -> bool:
            found = await client.block(number - 8)
            return bool(found["finality"] == "finalized")

        await until(finalized)
        assert (await client.get(f"{ops['api']}/readyz"))[0] == 200
        assert await alarms(client, ops["indexer"]) == 0

        await rpc.call("anvil_reorg", 11, [])
        await steps(town, 2)
        number, block_hash = await head_of(rpc)
        await client.serves(number, block_hash)
        for role in ops.values():
            status, body = await client.get(f"{role}/readyz")
            assert status == 503
            (fault,) = body["faults"]["node"]
            assert fault.startswith("alarm, until `chainworkd alarm clear`: blocks ")
        await until(lambda: _is(alarms(client, ops["indexer"]), 1))
        code, out, _ = await run(folder, "alarm", "list", env=env)
        assert (code, out.startswith("node: blocks ")) == (1, True)

        # Indexing goes on, and what it says is true.
        await steps(town, 3)
        number, block_hash = await head_of(rpc)
        await client.serves(number, block_hash)
        for fresh, _ in await blocks_of(rpc, range(number - 15, number + 1)):
            assert told(await client.block(int(fresh["number"], 16))) == block_face(fresh)
        assert (await client.get(f"{ops['api']}/readyz"))[0] == 503

        code, out, err = await run(folder, "alarm", "clear", "--by", "ann", "--because", "a test", env=env)
        assert (code, out) == (0, "node: cleared 1 by ann\n"), err
        assert (await client.get(f"{ops['api']}/readyz"))[0] == 200
        await until(lambda: _is(alarms(client, ops["indexer"]), 0))
        code, _, err = await run(folder, "alarm", "clear", "--by", "ann", "--because", "again", env=env)
        assert (code, err) == (1, "node: no alarm is raised\n")


async def _is(value: object, wanted: float) -> bool:
    found = await value  # type: ignore[misc]
    return bool(found == wanted)
