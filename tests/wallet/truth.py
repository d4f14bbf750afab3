"""What the chain says of a wallet, asked of the node alone, held against what the database says."""

from collections import Counter
from dataclasses import dataclass
from typing import Final

from builders.call import invoke, topic
from core.hex import to_hex
from core.rpc.client import RpcClient
from core.store.pool import Pool
from wallet import records
from wallet.types import NATIVE, Intent, Outcome, State

TRANSFER: Final = topic("Transfer(address,address,uint256)")


@dataclass(frozen=True, slots=True)
class Expected:
    """An intent that moves an amount which no other one moves; `surely`: nothing but its success is right."""

    intent: Intent
    amount: int
    surely: bool


@dataclass(frozen=True, slots=True, kw_only=False)
class Account:
    """A wallet and what it had at first."""

    wallet: bytes
    token: bytes
    friend: bytes
    ether: int
    tokens: int


async def faults_of(rpc: RpcClient, pool: Pool, of: Account, wanted: list[Expected]) -> tuple[list[str], int]:
    """Return every difference, and how many effects happened more than once."""
    happened = await transfers(rpc, of)
    nonce = int(await rpc.call("eth_getTransactionCount", to_hex(of.wallet), "latest"), 16)
    ether = int(await rpc.call("eth_getBalance", to_hex(of.wallet), "latest"), 16)
    tokens = await balance(rpc, of)
    faults, ledger, used = [], Counter[bytes](), 0
    for each in wanted:
        found = await records.status(pool, each.intent.id)
        assert found is not None
        who = f"{to_hex(of.wallet)} {each.intent.kind} {each.intent.id}: {found.state}/{found.outcome} ({found.note})"
        done = found.outcome is Outcome.DONE
        if happened[each.amount] != int(done):
            faults.append(f"{who}: its effect happened {happened[each.amount]} times")
        if each.surely and not (done and found.state is State.SETTLED):
            faults.append(f"{who}: it should have succeeded")
        used += found.state is State.SETTLED
        for asset, amount in (await records.moved(pool, each.intent.id)).items():
            ledger[asset] += amount
    if nonce != used:
        faults.append(f"{to_hex(of.wallet)}: nonce {nonce} on the chain, {used} in the ledger")
    for what, now, before, asset in (("wei", ether, of.ether, NATIVE), ("tokens", tokens, of.tokens, of.token)):
        if now - before != ledger[asset]:
            said = f"{now - before} on the chain, {ledger[asset]} in the ledger"
            faults.append(f"{to_hex(of.wallet)}: {what} moved by {said}")
    known = {each.amount for each in wanted}
    faults += [f"{to_hex(of.wallet)}: nobody wanted {amount}" for amount in happened if amount not in known]
    return faults, sum(count - 1 for count in happened.values() if count > 1)


async def transfers(rpc: RpcClient, of: Account) -> Counter[int]:
    """Return how often each amount went from the wallet to its friend."""
    topics = [to_hex(TRANSFER), to_hex(of.wallet.rjust(32, b"\0")), to_hex(of.friend.rjust(32, b"\0"))]
    asked = {"address": to_hex(of.token), "topics": topics, "fromBlock": "0x0", "toBlock": "latest"}
    return Counter(int(each["data"], 16) for each in await rpc.call("eth_getLogs", asked))


async def balance(rpc: RpcClient, of: Account) -> int:
    """Return the wallet's tokens."""
    call = invoke(of.token, "balanceOf(address)", of.wallet)
    asked = {"to": to_hex(of.token), "data": to_hex(call.data)}
    return int(await rpc.call("eth_call", asked, "latest"), 16)
