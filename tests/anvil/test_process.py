"""anvil as a child: certainly ours, and gone when we are."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from core.errors import BadConfig, RpcUnavailable
from core.rpc.client import RpcClient
from devnet.anvil import Anvil
from devnet.artifacts import Artifacts
from devnet.node import Node


def runs(pid: int) -> bool:
    """Whether a process runs; one that has ended but was not waited for does not."""
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


async def test_a_new_chain_is_the_one_asked_for(artifacts: Artifacts) -> None:
    async with Anvil(artifacts, chain_id=4326) as anvil, RpcClient(anvil.http_url) as rpc:
        assert await rpc.call("eth_chainId") == hex(4326)
        assert await rpc.call("eth_blockNumber") == "0x0"
        assert anvil.alive
        assert anvil.ws_url == anvil.http_url.replace("http", "ws")


async def test_two_chains_do_not_share_a_port(anvil: Anvil, artifacts: Artifacts) -> None:
    async with Anvil(artifacts) as other:
        assert other.http_url != anvil.http_url


async def test_a_port_in_use_is_refused_and_the_other_node_is_left_alone(anvil: Anvil, artifacts: Artifacts) -> None:
    port = int(anvil.http_url.rpartition(":")[2])
    with pytest.raises(BadConfig, match="Address already in use"):
        await Anvil(artifacts, port=port).start()
    assert anvil.alive


async def test_an_npm_folder_that_is_not_set_up_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="make setup"):
        await Anvil(Artifacts(tmp_path)).start()
    with pytest.raises(BadConfig, match="make setup"):
        Artifacts(tmp_path).bytecode("DemoToken")


async def test_a_damaged_state_is_refused(artifacts: Artifacts, tmp_path: Path) -> None:
    state = tmp_path / "anvil.json"
    state.write_text('{"block": ')
    with pytest.raises(BadConfig, match=r"anvil\.json"):
        await Anvil(artifacts, state=state).start()


async def test_safe_and_finalized_lag_behind_latest(anvil: Anvil) -> None:
    async with RpcClient(anvil.http_url) as rpc:
        await rpc.call("anvil_mine", "0x14")
        tags = ("latest", "safe", "finalized")
        numbers = [int((await rpc.call("eth_getBlockByNumber", tag, False))["number"], 16) for tag in tags]
    assert numbers == [20, 16, 12]


async def test_the_state_survives_a_stop(artifacts: Artifacts, tmp_path: Path) -> None:
    anvil = Anvil(artifacts, state=tmp_path / "deep" / "anvil.json")
    async with anvil, RpcClient(anvil.http_url) as rpc:
        await rpc.call("anvil_mine", "0x5")
        before = [await rpc.call("eth_getBlockByNumber", hex(number), False) for number in range(6)]
        url = anvil.http_url
        await anvil.start()
        assert anvil.http_url == url, "a restart keeps its port"
        after = [await rpc.call("eth_getBlockByNumber", hex(number), False) for number in range(6)]
    assert [block["hash"] for block in after] == [block["hash"] for block in before]


async def test_the_genesis_is_the_same_however_often_a_chain_is_started(artifacts: Artifacts, tmp_path: Path) -> None:
    found = set()
    for _ in range(6):
        async with Anvil(artifacts, state=tmp_path / "anvil.json") as anvil, RpcClient(anvil.http_url) as rpc:
            found.add((await rpc.call("eth_getBlockByNumber", "0x0", False))["hash"])
            await rpc.call("anvil_mine", "0x1")
            await asyncio.sleep(1.1)  # the next start's own genesis is of another second
    assert len(found) == 1


async def test_one_state_has_one_node_at_a_time(artifacts: Artifacts, tmp_path: Path) -> None:
    state = tmp_path / "anvil.json"
    async with Anvil(artifacts, state=state):
        with pytest.raises(RpcUnavailable, match="in use"):
            await Anvil(artifacts, state=state, start_deadline_s=0.3).start()


async def test_a_deaf_child_is_killed(anvil: Anvil, artifacts: Artifacts) -> None:
    deaf = Anvil(artifacts, stop_deadline_s=0.2)
    await deaf.start()
    assert deaf.pid is not None
    pid = deaf.pid
    os.kill(pid, signal.SIGSTOP)
    await deaf.stop()
    assert not runs(pid)
    assert deaf.pid is None


async def test_cancelling_the_start_leaves_no_process(artifacts: Artifacts) -> None:
    anvil = Anvil(artifacts)
    starting = asyncio.create_task(anvil.start())  # awaited below
    while anvil.pid is None:  # noqa: ASYNC110 - the moment in between is what is tested
        await asyncio.sleep(0)
    pid = anvil.pid
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not runs(pid)


PARENT = """
import asyncio
from pathlib import Path
from devnet.anvil import Anvil
from devnet.artifacts import Artifacts

async def main():
    async with Anvil(Artifacts(Path({npm!r})), state=Path({state!r})) as anvil:
        print(anvil.pid, anvil.http_url, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
async def test_a_killed_parent_takes_the_child_along_and_the_state_is_whole(
    artifacts: Artifacts, tmp_path: Path
) -> None:
    state = tmp_path / "anvil.json"
    program = PARENT.format(npm=str(artifacts.npm), state=str(state))
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    assert parent.stdout is not None
    async with asyncio.timeout(30):
        pid, url = (await parent.stdout.readline()).decode().split()
        async with RpcClient(url) as rpc:
            await Node(rpc).mine()
        parent.kill()
        await parent.wait()
        # At once, while the orphan may still be writing: the new one waits for it.
        async with Anvil(artifacts, state=state) as anvil, RpcClient(anvil.http_url) as rpc:
            assert not runs(int(pid))
            assert await Node(rpc).height() == 1
