"""What the sender asks of a chain's nodes. What one observation says is one node's word, asked in a fixed order."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec

from builders.call import Call
from core.errors import BadAnswer, RpcRefused
from core.hex import from_hex, from_quantity, to_hex, to_quantity
from core.keccak import keccak
from core.rpc import wire
from core.rpc.client import Rpc, Seat
from core.types import U64_MAX, BlockRef, Log
from wallet.fees import BLOCKS, PERCENTILES, History
from wallet.types import Opened, Receipt, Seen

# geth "already known", anvil "transaction already imported", Nethermind "AlreadyKnown", Erigon "already known".
KNOWN: Final = re.compile(r"already ?(known|imported|exists)|known transaction", re.I)
# One of our attempts was mined, or somebody else's transaction: the next observation says which.
USED: Final = re.compile(r"nonce (is )?too low|old ?nonce", re.I)


@dataclass(frozen=True, slots=True)
class Reverts:
    """A call that would fail now; `data` is what it reverts with."""

    message: str
    data: bytes

    def __str__(self) -> str:
        return f"would revert: {self.message[:200]}" + (f" 0x{self.data[:68].hex()}" if self.data else "")


class _Log(msgspec.Struct, rename="camel"):
    address: str
    topics: list[str]
    data: str
    log_index: str


class _Receipt(msgspec.Struct, rename="camel"):
    transaction_hash: str
    block_hash: str
    block_number: str
    gas_used: str
    effective_gas_price: str
    status: str
    logs: list[_Log]
    l1_fee: str | None = msgspec.field(name="l1Fee", default=None)  # OP Stack: paid on top


class _Fees(msgspec.Struct, rename="camel"):
    base_fee_per_gas: list[str]
    gas_used_ratio: list[float]
    reward: list[list[str]] | None = None


_receipt = msgspec.json.Decoder(_Receipt | None)
_fees = msgspec.json.Decoder(_Fees)
T = TypeVar("T")
_text = msgspec.json.Decoder(str)


class Node:
    """The nodes of one chain, asked for one wallet. Raises Transient errors."""

    def __init__(self, client: Rpc, wallet: bytes) -> None:
        self._client = client
        self._wallet = wallet

    async def observe(self, opened: Sequence[Opened], settle_blocks: int) -> Seen:
        """Return what one node says of the wallet and of all attempts."""

        async def ask(seat: Seat) -> Seen:
            head = await _head(seat)
            at = (to_quantity(head.number), to_quantity(max(0, head.number - settle_blocks)))
            who = to_hex(self._wallet)
            counts = await seat.batch([("eth_getTransactionCount", (who, block)) for block in at])
            nonce, settled = (from_quantity(_text.decode(each), U64_MAX) for each in counts)
            # Only now: a transaction that is mined between these two questions has a receipt and an unused nonce, and
            # is included. Asked the other way round it would have a used nonce and no receipt, and be taken for lost.
            return Seen(
                head=head, nonce=nonce, settled_nonce=settled if head.number >= settle_blocks else 0,
                receipts=await receipts(seat, [each.hash for one in opened for each in one.attempts]),
            )  # fmt: skip

        return await self._client.answer(ask)

    async def history(self) -> History:
        """Return what was paid lately. Raises BadAnswer for a chain without EIP-1559."""
        blocks, percentiles = to_quantity(BLOCKS), sorted(PERCENTILES)
        found = _decoded(_fees, await self._client.raw("eth_feeHistory", blocks, "latest", percentiles), "fee history")
        if not found.base_fee_per_gas or found.reward is None:
            raise BadAnswer(f"{self._client.host}: eth_feeHistory without base fees or rewards")
        return History(
            next_base_fee=from_quantity(found.base_fee_per_gas[-1]),
            tips=tuple(tuple(from_quantity(tip) for tip in reversed(tips)) for tips in found.reward),
            filled=tuple(ratio > 0 for ratio in found.gas_used_ratio),
        )

    async def estimate(self, call: Call, at: BlockRef) -> int | Reverts:
        """Return the gas that the wallet's call would use on the state after `at`."""
        assert call.to is not None, "an intent calls somebody"
        asked = {
            "from": to_hex(self._wallet), "to": to_hex(call.to), "value": to_quantity(call.value),
            "data": to_hex(call.data),
        }  # fmt: skip
        try:
            raw = await self._client.raw("eth_estimateGas", asked, to_quantity(at.number))
        except RpcRefused as error:
            if not error.reverted:
                raise
            return Reverts(error.message, error.data)
        return from_quantity(_text.decode(raw), U64_MAX)

    async def balance(self, at: BlockRef) -> int:
        """Return how much wei the wallet has after `at`."""
        raw = await self._client.raw("eth_getBalance", to_hex(self._wallet), to_quantity(at.number))
        return from_quantity(_text.decode(raw))

    async def head(self) -> BlockRef:
        """Return the newest block."""
        return await _head(self._client)

    async def code_hashes(self, contracts: Iterable[bytes], at: BlockRef) -> dict[bytes, bytes]:
        """Return keccak-256 of the code at each address after `at`."""
        return {address: keccak(code) for address, code in (await self._code(contracts, at)).items()}

    async def without_code(self, contracts: Iterable[bytes], at: BlockRef) -> list[bytes]:
        """Return which of these addresses are no contracts after `at`."""
        return [address for address, code in (await self._code(contracts, at)).items() if not code]

    async def _code(self, contracts: Iterable[bytes], at: BlockRef) -> dict[bytes, bytes]:
        wanted = sorted(contracts)
        if not wanted:
            return {}
        calls = [("eth_getCode", (to_hex(each), to_quantity(at.number))) for each in wanted]
        answers = await self._client.batch(calls)
        return {each: from_hex(_text.decode(raw)) for each, raw in zip(wanted, answers, strict=True)}

    async def broadcast(self, raw: bytes, hash_: bytes) -> str:
        """Give a signed transaction to a node; return what it had against it, "" if it has it. Raises RpcUnavailable.

        A refusal proves nothing: another node may have it. So nobody decides by the answer, it is for people.
        """
        try:
            answer = await self._client.raw("eth_sendRawTransaction", to_hex(raw))
        except RpcRefused as error:
            if KNOWN.search(error.message):
                return ""
            return "its nonce is used" if USED.search(error.message) else error.message[:300]
        said = from_hex(_text.decode(answer))
        return "" if said == hash_ else f"the node calls it 0x{said.hex()}"


async def receipts(client: Rpc, hashes: Sequence[bytes]) -> dict[bytes, Receipt]:
    """Return the receipts of those that are in the node's chain."""
    if not hashes:
        return {}
    answers = await client.batch([("eth_getTransactionReceipt", (to_hex(each),)) for each in hashes])
    found = (_decoded(_receipt, answer, "receipt") for answer in answers)
    return {each.hash: each for each in map(_read, filter(None, found))}


async def _head(client: Rpc) -> BlockRef:
    found = wire.ref(await client.raw("eth_getBlockByNumber", "latest", False))
    if found is None:
        raise BadAnswer(f"{client.host}: latest block is null")
    return found


def _decoded(decoder: "msgspec.json.Decoder[T]", raw: bytes | msgspec.Raw, what: str) -> T:
    try:
        return decoder.decode(raw)
    except wire.UNREADABLE as error:
        raise BadAnswer(f"{what}: {error}") from error


def _read(found: _Receipt) -> Receipt:
    gas = from_quantity(found.gas_used, U64_MAX)
    l1_fee = from_quantity(found.l1_fee) if found.l1_fee else 0
    return Receipt(
        hash=from_hex(found.transaction_hash, 32), ok=from_quantity(found.status) == 1, gas_used=gas,
        block=BlockRef(from_quantity(found.block_number, U64_MAX), from_hex(found.block_hash, 32)),
        fee=gas * from_quantity(found.effective_gas_price) + l1_fee, logs=tuple(map(_log, found.logs)),
    )  # fmt: skip


def _log(found: _Log) -> Log:
    return Log(
        address=from_hex(found.address, 20), topics=tuple(from_hex(topic, 32) for topic in found.topics),
        data=from_hex(found.data), index=from_quantity(found.log_index),
    )  # fmt: skip
