"""The devnet's contracts answer as the real ones do, and its traffic does not stop."""

import asyncio
import contextlib
import os
import signal
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from eth_abi.abi import decode

from builders import erc20, signed_vault, uniswap_v3
from builders.call import invoke, topic
from contracts import deployments
from core.errors import RpcRefused, RpcUnavailable
from core.rpc.client import RpcClient
from devnet.artifacts import Artifacts
from devnet.deploy import FOREVER, POOLS, TOKENS
from devnet.kinds import FREQUENCY, WITHDRAWAL
from devnet.node import Draft, Node
from devnet.town import Devnet

EVERY_KIND = {*FREQUENCY, WITHDRAWAL}
ALWAYS_FAIL = {"swap_too_dear", "failed_creation", "revert", "out_of_gas"}


async def test_every_contract_has_code(devnet: Devnet, node: Node) -> None:
    code = dict(zip(devnet.contracts, await node.code(list(devnet.contracts.values())), strict=True))
    assert [name for name, at in code.items() if not at] == []


async def test_tokens_answer_their_metadata(devnet: Devnet, node: Node) -> None:
    for key, (name, symbol, decimals) in TOKENS.items():
        token = devnet.contracts[key]
        assert decode(["string"], await node.read(invoke(token, "name()"))) == (name,)
        assert decode(["string"], await node.read(invoke(token, "symbol()"))) == (symbol,)
        assert decode(["uint8"], await node.read(invoke(token, "decimals()"))) == (decimals,)


async def test_one_token_answers_in_bytes32(devnet: Devnet, node: Node) -> None:
    symbol = await node.read(invoke(devnet.contracts["bytes32_token"], "symbol()"))
    assert symbol == b"DMKR".ljust(32, b"\0")


async def test_multicall3_is_where_clients_look_for_it(devnet: Devnet, node: Node) -> None:
    assert devnet.contracts["multicall3"] == deployments(1)["multicall3"]
    asked = [(devnet.contracts[key], True, invoke(devnet.contracts[key], "decimals()").data) for key in TOKENS]
    asked.append((devnet.contracts["reverter"], True, b"\x01\x02\x03\x04"))
    answer = await node.read(invoke(devnet.contracts["multicall3"], "aggregate3((address,bool,bytes)[])", asked))
    (results,) = decode(["(bool,bytes)[]"], answer)
    units = [int.from_bytes(data) for worked, data in results if worked]
    assert units == [decimals for _, _, decimals in TOKENS.values()]
    assert len(results) == len(units) + 1


async def price(node: Node, pool: bytes) -> int:
    (sqrt_price_x96,) = decode(["uint160"], await node.read(invoke(pool, "slot0()")))
    return int(sqrt_price_x96)


async def test_pools_open_at_their_price_and_have_liquidity(devnet: Devnet, node: Node) -> None:
    for pool in POOLS:
        sides = [(devnet.contracts[pool.one], pool.one_amount), (devnet.contracts[pool.other], pool.other_amount)]
        (_, amount0), (_, amount1) = sorted(sides)
        at = devnet.contracts[pool.name]
        assert await price(node, at) == uniswap_v3.sqrt_price_x96(amount0, amount1)
        assert int.from_bytes(await node.read(invoke(at, "liquidity()"))) > 0


async def test_a_swap_moves_the_price(devnet: Devnet, node: Node) -> None:
    pool, trader = devnet.contracts["pool_weth_usdc_500"], devnet.actors[0]
    before = await price(node, pool)
    path = (devnet.contracts["usdc"], 500, devnet.contracts["weth"])
    router = devnet.contracts["uniswap_v3_swap_router"]
    call = uniswap_v3.swap(router, path, 10_000 * 10**6, recipient=trader, deadline=FOREVER)
    (receipt,) = await node.settle([Draft(kind="swap", sender=trader, call=call, gas=500_000)])
    assert receipt.status == 1
    assert await price(node, pool) != before


async def test_a_position_has_a_token_uri(devnet: Devnet, node: Node) -> None:
    answer = await node.read(invoke(devnet.contracts["uniswap_v3_position_manager"], "tokenURI(uint256)", 1))
    assert decode(["string"], answer)[0].startswith("data:application/json")


async def test_traffic_brings_every_kind_and_all_of_it_is_mined(devnet: Devnet, node: Node) -> None:
    outcomes: dict[str, Counter[int]] = {}
    for _ in range(15):
        step = await devnet.step()
        receipts = await node.receipts(list(step.sent))
        for kind, receipt in zip(step.sent.values(), receipts, strict=True):
            assert receipt is not None, f"{kind} was lost on the way into block {step.number}"
            outcomes.setdefault(kind, Counter())[receipt.status] += 1
    assert set(outcomes) == EVERY_KIND
    assert {kind for kind, seen in outcomes.items() if not seen[1]} == ALWAYS_FAIL
    assert {kind for kind, seen in outcomes.items() if seen[0] and seen[1]} == {"vault_zeros"}


async def test_traffic_uses_every_envelope_and_the_logs_are_the_real_ones(devnet: Devnet, rpc: RpcClient) -> None:
    height = max([(await devnet.step()).number for _ in range(15)])
    blocks = [await rpc.call("eth_getBlockByNumber", hex(number), True) for number in range(height + 1)]
    assert {tx["type"] for block in blocks for tx in block["transactions"]} == {"0x0", "0x1", "0x2"}
    assert all(child["parentHash"] == parent["hash"] for parent, child in pairwise(blocks))
    logs = await rpc.call("eth_getLogs", {"fromBlock": "0x0"})
    topics = {entry["topics"][0] for entry in logs}
    expected = (
        "Transfer(address,address,uint256)",
        "TransferSingle(address,address,address,uint256,uint256)",
        "TransferBatch(address,address,address,uint256[],uint256[])",
        "Swap(address,address,int256,int256,uint160,uint128,int24)",
        "Withdrawal(address,uint256)",
        "Withdraw(address,address,uint256)",
        "NonceCancelled(address,uint256)",
        "Deposit(address,address,address,uint256,uint256)",
        "Deposit(address,address,uint256,uint256)",
        "Deposit(address,address,uint256)",
        "Deposit(address,uint256)",
    )
    assert [event for event in expected if "0x" + topic(event).hex() not in topics] == []


async def test_one_seed_makes_one_history(artifacts: Artifacts) -> None:
    histories = []
    for _ in range(2):
        async with Devnet(npm_dir=artifacts.npm, seed=9) as devnet:
            histories.append([list((await devnet.step()).sent) for _ in range(5)])
    # By hash: the same senders, nonces, amounts, fees. Blocks differ, they carry the time.
    assert histories[0] == histories[1]


async def test_a_devnet_goes_on_where_it_stopped(artifacts: Artifacts, tmp_path: Path) -> None:
    async with Devnet(npm_dir=artifacts.npm, folder=tmp_path, seed=3) as devnet:
        stopped = [await devnet.step() for _ in range(3)][-1]
        contracts = dict(devnet.contracts)
    async with Devnet(npm_dir=artifacts.npm, folder=tmp_path, seed=3) as devnet:
        assert devnet.contracts == contracts
        first = await devnet.step()
        assert first.number == stopped.number + 1
        async with RpcClient(devnet.http_url) as rpc:
            assert None not in await Node(rpc).receipts([*stopped.sent, *first.sent])


async def test_a_lost_state_is_deployed_again(artifacts: Artifacts, tmp_path: Path) -> None:
    async with Devnet(npm_dir=artifacts.npm, folder=tmp_path) as devnet:
        contracts = dict(devnet.contracts)
    (tmp_path / "anvil.json").unlink()
    (tmp_path / "devnet.json").write_text("{}")
    async with Devnet(npm_dir=artifacts.npm, folder=tmp_path) as devnet:
        assert devnet.contracts == contracts, "a new chain gives the same addresses"
        await devnet.step()


async def until_height(devnet: Devnet, height: int) -> None:
    async with asyncio.timeout(60), RpcClient(devnet.http_url) as rpc:
        while True:
            with contextlib.suppress(RpcUnavailable):
                if await Node(rpc).height() >= height:
                    return
            await asyncio.sleep(0.05)


# SIGTERM: it writes its state, as at a machine's shutdown. SIGKILL: it does not, and the chain starts anew.
@pytest.mark.parametrize("blow", [signal.SIGTERM, signal.SIGKILL])
async def test_run_survives_a_reorg_and_the_death_of_its_node(
    blow: signal.Signals, artifacts: Artifacts, tmp_path: Path
) -> None:
    async with Devnet(npm_dir=artifacts.npm, folder=tmp_path, pause_s=(0.0, 0.01)) as devnet:
        running = asyncio.create_task(devnet.run())  # cancelled and awaited below
        await until_height(devnet, 10)
        async with RpcClient(devnet.http_url) as rpc:
            await rpc.call("anvil_reorg", 3, [])
        await until_height(devnet, 20)
        first = devnet.anvil.pid
        assert first is not None
        os.kill(first, blow)
        async with asyncio.timeout(30):
            while devnet.anvil.pid in (None, first):  # noqa: ASYNC110 - it announces its restart to nobody
                await asyncio.sleep(0.05)
        await until_height(devnet, 30)
        assert devnet.anvil.pid != first
        running.cancel()
        async with asyncio.timeout(1):
            with pytest.raises(asyncio.CancelledError):
                await running


async def test_a_refused_transaction_does_not_hold_up_those_behind_it(devnet: Devnet, node: Node) -> None:
    one, other = devnet.actors[:2]
    call = erc20.transfer(devnet.contracts["dai"], other, 1)
    good = Draft(kind="good", sender=one, call=call, gas=100_000)
    bad = Draft(kind="bad", sender=one, call=call, gas=100)
    with pytest.raises(RpcRefused):
        await node.send([good, bad, good])
    assert [receipt.status for receipt in await node.settle([good, good])] == [1, 1]


async def test_the_vault_of_the_traffic_has_one_resolver(devnet: Devnet, node: Node) -> None:
    vault = devnet.contracts["vault"]
    asked = invoke(vault, "resolverBalanceOf(address,address)", devnet.resolver, signed_vault.ETHER)
    before = int.from_bytes(await node.read(asked))
    for _ in range(12):
        await devnet.step()
    assert int.from_bytes(await node.read(asked)) > before
