"""TestVault behaves as the deployed SignedVault was seen to behave, awkward parts included."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from eth_abi.abi import decode

from builders import signed_vault
from builders.call import Call, create, invoke, selector, topic
from builders.signed_vault import ETHER, Withdrawal
from core.errors import RpcRefused
from core.keccak import keccak
from core.rpc.client import RpcClient
from devnet.anvil import Anvil
from devnet.artifacts import Artifacts
from devnet.deploy import FOREVER
from devnet.node import Draft, Node
from devnet.town import Devnet

NONCE = 1_700_000_000
CURRENT = "Deposit(address,address,address,uint256,uint256)"


def by(sender: bytes, call: Call) -> Draft:
    return Draft(kind="vault", sender=sender, call=call, gas=500_000)


async def statuses(node: Node, drafts: Sequence[Draft]) -> list[int]:
    return [receipt.status for receipt in await node.settle(drafts)]


async def amounts(rpc: RpcClient, vault: bytes, event: str, types: Sequence[str], column: int) -> list[int]:
    """One column of the data of every log of `event`, from the vault, in order."""
    where = {"fromBlock": "0x0", "address": "0x" + vault.hex(), "topics": ["0x" + topic(event).hex()]}
    logs = await rpc.call("eth_getLogs", where)
    assert all(len(entry["topics"]) == 1 for entry in logs), "nothing is indexed"
    return [decode(types, bytes.fromhex(entry["data"][2:]))[column] for entry in logs]


async def deposited(node: Node, vault: bytes, user: bytes, resolver: bytes, nonce: int) -> int:
    function = "getDeposit(address,address,address,uint256)"
    by_key = await node.read(invoke(vault, function, user, ETHER, resolver, nonce))
    key = signed_vault.deposit_hash(user, ETHER, resolver, nonce)
    assert await node.read(invoke(vault, "getDeposit(bytes32)", key)) == by_key
    return int.from_bytes(by_key)


async def refusal(node: Node, call: Call) -> str:
    """The data that the node reports for a reverted call, as text."""
    with pytest.raises(RpcRefused) as refused:
        await node.read(call)
    return refused.value.message


async def test_one_key_may_be_announced_with_nothing_before_it_is_paid_once(
    devnet: Devnet, node: Node, rpc: RpcClient
) -> None:
    vault, user, resolver = devnet.contracts["vault"], devnet.actors[0], devnet.actors[1]
    pay = [by(user, signed_vault.deposit_eth(vault, resolver, NONCE, paid)) for paid in (0, 0, 5, 5)]
    assert await statuses(node, pay) == [1, 1, 1, 0]
    types = ("address", "address", "address", "uint256", "uint256")
    assert (await amounts(rpc, vault, CURRENT, types, 3))[-3:] == [0, 0, 5]
    assert await deposited(node, vault, user, resolver, NONCE) == 5


async def test_two_users_may_use_one_nonce(devnet: Devnet, node: Node) -> None:
    vault, resolver = devnet.contracts["vault"], devnet.resolver
    users = devnet.actors[:2]
    pay = [
        by(user, signed_vault.deposit_eth(vault, resolver, NONCE, paid))
        for user, paid in zip(users, (3, 4), strict=True)
    ]
    assert await statuses(node, pay) == [1, 1]
    assert [await deposited(node, vault, user, resolver, NONCE) for user in users] == [3, 4]


async def test_older_generations_announce_less(devnet: Devnet, node: Node, rpc: RpcClient) -> None:
    vault, user = devnet.contracts["vault"], devnet.actors[0]
    old = invoke(vault, "depositETHBeforeResolvers(uint256)", NONCE, value=7)
    oldest = invoke(vault, "depositETHBeforeNonces()", value=8)
    assert await statuses(node, [by(user, old), by(user, oldest)]) == [1, 1]
    words = ("address", "address", "uint256", "uint256")
    assert await amounts(rpc, vault, "Deposit(address,address,uint256,uint256)", words, 2) == [7]
    assert await amounts(rpc, vault, "Deposit(address,address,uint256)", words[:3], 2) == [8]


async def test_a_second_payment_plain_ether_and_ether_as_a_token_are_refused(devnet: Devnet, node: Node) -> None:
    vault, user = devnet.contracts["vault"], devnet.actors[0]
    assert await statuses(node, [by(devnet.resolver, signed_vault.deposit_eth(vault, user, NONCE, 5))]) == [1]
    assert await statuses(node, [by(devnet.resolver, signed_vault.deposit_eth(vault, user, NONCE, 1))]) == [0]
    assert await statuses(node, [by(user, Call(vault, b"", 1))]) == [0]
    assert await statuses(node, [by(user, signed_vault.deposit(vault, ETHER, 1, user, NONCE))]) == [0]
    assert selector("InvalidAsset()").hex() in await refusal(node, signed_vault.deposit(vault, ETHER, 1, user, 1))


async def test_a_signed_withdrawal_works_once_and_only_as_signed(devnet: Devnet, node: Node, rpc: RpcClient) -> None:
    vault, user, resolver = devnet.contracts["vault"], devnet.actors[0], devnet.resolver
    await node.settle([by(user, signed_vault.deposit_eth(vault, resolver, NONCE, 1_000))])
    order = Withdrawal(user=user, token=ETHER, amount=400, resolver=resolver, nonce=5, deadline=FOREVER)
    signed = await node.sign(resolver, signed_vault.typed_data(vault, 31_337, order))
    other = replace(order, amount=401)
    relayed = [by(devnet.actors[3], signed_vault.withdraw(vault, each, signed)) for each in (other, order, order)]
    assert await statuses(node, relayed) == [0, 1, 0]
    assert await amounts(rpc, vault, "Withdraw(address,address,uint256)", ("address", "address", "uint256"), 2) == [400]
    assert int.from_bytes(await node.read(invoke(vault, "usedNonces(address,uint256)", resolver, 5))) == 1
    assert await deposited(node, vault, user, resolver, NONCE) == 1_000, "the record of a deposit is never cleared"


async def test_a_cancelled_nonce_cannot_be_withdrawn(devnet: Devnet, node: Node) -> None:
    vault, user, resolver = devnet.contracts["vault"], devnet.actors[0], devnet.resolver
    order = Withdrawal(user=user, token=ETHER, amount=1, resolver=resolver, nonce=6, deadline=FOREVER)
    signed = await node.sign(resolver, signed_vault.typed_data(vault, 31_337, order))
    cancelled = by(resolver, signed_vault.cancel(vault, 6))
    assert await statuses(node, [cancelled, by(user, signed_vault.withdraw(vault, order, signed))]) == [1, 0]


async def test_an_upgrade_is_announced_and_fills_the_standard_slot(devnet: Devnet, node: Node, rpc: RpcClient) -> None:
    vault, implementation = devnet.contracts["vault"], devnet.contracts["usdc"]
    assert await statuses(node, [by(devnet.resolver, invoke(vault, "upgradeTo(address)", implementation))]) == [1]
    slot = "0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc"
    stored = await rpc.call("eth_getStorageAt", "0x" + vault.hex(), slot, "latest")
    assert bytes.fromhex(stored[2:])[-20:] == implementation


async def test_deposits_lie_in_the_slot_that_proofs_are_taken_against(
    devnet: Devnet, node: Node, rpc: RpcClient
) -> None:
    vault, user, resolver = devnet.contracts["vault"], devnet.actors[0], devnet.resolver
    await node.settle([by(user, signed_vault.deposit_eth(vault, resolver, NONCE, 9))])
    key = signed_vault.deposit_hash(user, ETHER, resolver, NONCE)
    slot = keccak(key + (2).to_bytes(32, "big"))
    assert int(await rpc.call("eth_getStorageAt", "0x" + vault.hex(), "0x" + slot.hex(), "latest"), 16) == 9


RESOLVER = bytes.fromhex("1563915e194D8CfBA1943570603F7606A3115508")


def test_the_deposit_key_is_the_known_one() -> None:
    key = signed_vault.deposit_hash(b"\x11" * 20, ETHER, RESOLVER, NONCE)
    assert key.hex() == "e20954634e6489b3ae42c59cead3fd0ea25ef48a2d6fe064c322be752aa956b3"
    slot = "2a07e08f727cf3dcdf7d2f365ed23c106198c054dc0939572f6d543adab785fc"
    assert keccak(key + (2).to_bytes(32, "big")).hex() == slot


async def test_the_digest_to_sign_is_the_known_one(artifacts: Artifacts) -> None:
    place = b"\x33" * 20
    order = (b"\x11" * 20, ETHER, 10**16, RESOLVER, 1, 2_000_000_000)
    function = "withdrawDigest(address,address,uint256,address,uint256,uint256)"
    async with Anvil(artifacts, chain_id=4326) as anvil, RpcClient(anvil.http_url) as rpc:
        node = Node(rpc)
        (owner, *_) = await node.accounts()
        (made,) = await node.settle(
            [Draft(kind="", sender=owner, call=create(artifacts.bytecode("TestVault")), gas=5_000_000)]
        )
        assert made.contract is not None
        await node.put_code(place, (await node.code([made.contract]))[0])
        digest = await node.read(invoke(place, function, *order))
    assert digest.hex() == "273bbb7ca2d3257e12a40d50f4e058fb0b067f829591ca85fb016cdd477ef099"
