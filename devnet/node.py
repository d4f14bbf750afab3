"""The few requests a devnet makes of its node, with bytes on this side and hex on the other."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from builders.call import Call
from core.errors import BadAnswer, RpcRefused
from core.rpc.client import RpcClient

GWEI = 10**9
TIP = 1 * GWEI
# Far above the base fee: it starts at 1 gwei and falls as long as blocks are less than half full.
MAX_FEE = 10 * GWEI
SETTLE_BLOCKS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A transaction to send from one of the node's unlocked accounts. `kind` is what to call it in logs and tests."""

    kind: str
    sender: bytes
    call: Call
    gas: int
    envelope: int = 2  # EIP-2718 type: 0 legacy, 1 with access list (EIP-2930), 2 with two fees (EIP-1559)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a draft. `contract` is set for creations."""

    block: int
    status: int
    contract: bytes | None


class Node:
    """A node that mines on request and signs for its own test accounts."""

    def __init__(self, rpc: RpcClient) -> None:
        self._rpc = rpc

    async def accounts(self) -> tuple[bytes, ...]:
        """Return the accounts the node signs for."""
        return tuple(_bytes(account) for account in await self._rpc.call("eth_accounts"))

    async def send(self, drafts: Sequence[Draft]) -> list[bytes]:
        """Queue the drafts with the next nonces of their senders and return their transaction hashes.

        If the node refuses one, all that is queued is dropped (a gap in a sender's nonces would hold up the rest) and
        RpcRefused is raised.
        """
        if not drafts:
            return []
        senders = sorted({draft.sender for draft in drafts})
        nonces = dict(zip(senders, await self._nonces(senders), strict=True))
        calls: list[tuple[str, Sequence[object]]] = []
        for draft in drafts:
            calls.append(("eth_sendTransaction", [transaction(draft, nonces[draft.sender])]))
            nonces[draft.sender] += 1
        try:
            return [_bytes(msgspec.json.decode(answer)) for answer in await self._rpc.batch(calls)]
        except RpcRefused:
            await self._rpc.call("anvil_dropAllTransactions")
            raise

    async def mine(self) -> int:
        """Put what is queued into one block and return the chain's height."""
        await self._rpc.call("anvil_mine", "0x1")
        return await self.height()

    async def height(self) -> int:
        """Return the number of the newest block."""
        return int(await self._rpc.call("eth_blockNumber"), 16)

    async def settle(self, drafts: Sequence[Draft]) -> list[Receipt]:
        """Send the drafts, mine until all are included, and return their receipts in order."""
        hashes = await self.send(drafts)
        for _ in range(SETTLE_BLOCKS):
            await self.mine()
            receipts = await self.receipts(hashes)
            if None not in receipts:
                return [receipt for receipt in receipts if receipt is not None]
        raise BadAnswer(f"node: {len(drafts)} transactions not mined within {SETTLE_BLOCKS} blocks")

    async def receipts(self, hashes: Sequence[bytes]) -> list[Receipt | None]:
        """Return each transaction's receipt, None for one that is not mined."""
        if not hashes:
            return []
        answers = await self._rpc.batch([("eth_getTransactionReceipt", [_hex(tx)]) for tx in hashes])
        return [_receipt(msgspec.json.decode(answer)) for answer in answers]

    async def code(self, addresses: Sequence[bytes]) -> list[bytes]:
        """Return the code at each address, as of the newest block."""
        answers = await self._rpc.batch([("eth_getCode", [_hex(address), "latest"]) for address in addresses])
        return [_bytes(msgspec.json.decode(answer)) for answer in answers]

    async def put_code(self, address: bytes, code: bytes) -> None:
        """Place code at an address without a transaction."""
        await self._rpc.call("anvil_setCode", _hex(address), _hex(code))

    async def act_as(self, account: bytes, balance: int) -> None:
        """Let an account that nobody has the key of send, and give it so many wei."""
        await self._rpc.call("anvil_setBalance", _hex(account), hex(balance))
        await self._rpc.call("anvil_impersonateAccount", _hex(account))

    async def read(self, call: Call) -> bytes:
        """Return what the call would answer on the newest block. Raises RpcRefused if it reverts."""
        if call.to is None:
            raise ValueError("a creation has no answer to read")
        return _bytes(await self._rpc.call("eth_call", {"to": _hex(call.to), "data": _hex(call.data)}, "latest"))

    async def sign(self, signer: bytes, typed_data: Mapping[str, Any]) -> bytes:
        """Return an unlocked account's EIP-712 signature."""
        return _bytes(await self._rpc.call("eth_signTypedData_v4", _hex(signer), json.dumps(typed_data)))

    async def _nonces(self, senders: Sequence[bytes]) -> list[int]:
        # Asked for each time: after a reorg, a restart or a dropped transaction no count of our own would be right.
        answers = await self._rpc.batch([("eth_getTransactionCount", [_hex(who), "pending"]) for who in senders])
        return [int(msgspec.json.decode(answer), 16) for answer in answers]


def transaction(draft: Draft, nonce: int) -> dict[str, object]:
    """Return the parameter of eth_sendTransaction."""
    fields: dict[str, object] = {
        "from": _hex(draft.sender),
        "nonce": hex(nonce),
        "gas": hex(draft.gas),
        "value": hex(draft.call.value),
        "data": _hex(draft.call.data),
        "type": hex(draft.envelope),
    }
    if draft.call.to is not None:
        fields["to"] = _hex(draft.call.to)
    match draft.envelope:
        case 0:
            return {**fields, "gasPrice": hex(MAX_FEE)}
        case 1:
            return {**fields, "gasPrice": hex(MAX_FEE), "accessList": _access(draft.call)}
        case _:
            return {**fields, "maxFeePerGas": hex(MAX_FEE), "maxPriorityFeePerGas": hex(TIP)}


def _access(call: Call) -> list[dict[str, object]]:
    return [] if call.to is None else [{"address": _hex(call.to), "storageKeys": [_hex(bytes(32))]}]


def _receipt(answer: Mapping[str, Any] | None) -> Receipt | None:
    if answer is None:
        return None
    created = answer["contractAddress"]
    return Receipt(int(answer["blockNumber"], 16), int(answer["status"], 16), _bytes(created) if created else None)


def _hex(value: bytes) -> str:
    return "0x" + value.hex()


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text[2:])
