"""A chain as one JSON-RPC endpoint tells it (ChainSource)."""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from core.errors import BadAnswer, RpcRefused, RpcUnavailable, WrongChain
from core.hex import from_quantity, to_hex, to_quantity
from core.rpc import wire
from core.rpc.client import Call, RpcClient
from core.types import Block, BlockRange, BlockRef, Head

BATCH_BLOCKS: Final = 10  # blocks with receipts a request; larger batches made anvil slower (reference figures, A)
BATCH_RECEIPTS: Final = 100


class RpcSource:
    """Blocks from one endpoint, which must say that it serves `chain_id` and, if known, start at `genesis_hash`."""

    def __init__(
        self, client: RpcClient, chain_id: int, *, genesis_hash: bytes | None = None, batch_blocks: int = BATCH_BLOCKS
    ) -> None:
        self._client = client
        self._chain_id = chain_id
        self._genesis_hash = genesis_hash
        self._batch_blocks = batch_blocks
        self._block_receipts = True

    async def verify(self) -> None:
        """Raise WrongChain unless the node still serves the configured chain."""
        found = await chain_id(self._client)
        if found != self._chain_id:
            raise WrongChain(f"{self._client.host}: chain id is {found}, expected {self._chain_id}")
        genesis = await self.ref_at(0) if self._genesis_hash is not None else None
        if genesis is not None and genesis.hash != self._genesis_hash:
            raise WrongChain(f"{self._client.host}: the chain now starts at {genesis}: it has been replaced")

    async def head(self) -> Head:
        """Return the newest block the node has."""
        found = wire.head(await self._client.raw("eth_getBlockByNumber", "latest", False))
        if found is None:
            raise BadAnswer(f"{self._client.host}: latest block is null")
        return found

    async def ref_at(self, number: int) -> BlockRef | None:
        """Return the canonical block at `number`, or None if the node has none there."""
        found = wire.ref(await self._client.raw("eth_getBlockByNumber", to_quantity(number), False))
        if found is not None and found.number != number:
            raise BadAnswer(f"{self._client.host}: asked for block {number}, got {found.number}")
        return found

    async def blocks(self, wanted: BlockRange) -> tuple[Block, ...]:
        """Return the blocks of `wanted` that the node has, in order, with receipts."""
        found: list[Block] = []
        for part in _parts(wanted, self._batch_blocks):
            blocks = await self._part(part)
            found += blocks
            if len(blocks) < len(part):
                break
        return tuple(found)

    async def answers(self, wanted: BlockRange) -> tuple[Sequence[bytes], Sequence[bytes]]:
        """Return the undecoded blocks of `wanted`, ascending, and the receipts of each, from one request if it can."""
        return await self._answers(range(wanted.first, wanted.last + 1))

    async def _part(self, part: BlockRange) -> list[Block]:
        numbers = range(part.first, part.last + 1)
        raw_blocks, raw_receipts = await self._answers(numbers)
        found = []
        for number, raw, receipts in zip(numbers, raw_blocks, raw_receipts, strict=True):
            block = wire.block(raw, receipts)
            if block is None:
                break
            if block.number != number:
                raise BadAnswer(f"{self._client.host}: asked for block {number}, got {block.number}")
            found.append(block)
        return found

    async def _answers(self, numbers: range) -> tuple[Sequence[bytes], Sequence[bytes]]:
        if self._block_receipts:
            try:
                return await self._with_block_receipts(numbers)
            except RpcRefused as error:
                if not error.unsupported or error.method != "eth_getBlockReceipts":
                    raise
                self._block_receipts = False
        return await self._with_single_receipts(numbers)

    async def _with_block_receipts(self, numbers: range) -> tuple[Sequence[bytes], Sequence[bytes]]:
        calls: list[Call] = [("eth_getBlockByNumber", (to_quantity(n), True)) for n in numbers]
        calls += [("eth_getBlockReceipts", (to_quantity(n),)) for n in numbers]
        answers = await self._client.batch(calls)
        return answers[: len(numbers)], answers[len(numbers) :]

    async def _with_single_receipts(self, numbers: range) -> tuple[Sequence[bytes], Sequence[bytes]]:
        blocks = await self._client.batch([("eth_getBlockByNumber", (to_quantity(n), True)) for n in numbers])
        receipts = []
        for raw in blocks:
            answers: list[msgspec.Raw] = []
            for hashes in _chunks(wire.transaction_hashes(raw), BATCH_RECEIPTS):
                answers += await self._client.batch([("eth_getTransactionReceipt", (h,)) for h in hashes])
            receipts.append(wire.receipts_from_single(answers))
        return blocks, receipts


class EventAnswers:
    """Headers and events of some contracts, undecoded, from one endpoint."""

    def __init__(self, client: RpcClient, contracts: Sequence[bytes]) -> None:
        self._client = client
        self._contracts = [to_hex(address) for address in contracts]

    async def answers(self, wanted: BlockRange) -> tuple[Sequence[bytes], Sequence[bytes]]:
        """Return the blocks of `wanted` without transactions, ascending, and one answer with the contracts' logs.

        One request, so that one node answers for both.
        """
        where = {
            "address": self._contracts, "fromBlock": to_quantity(wanted.first), "toBlock": to_quantity(wanted.last),
        }  # fmt: skip
        numbers = range(wanted.first, wanted.last + 1)
        calls: list[Call] = [("eth_getLogs", (where,))]
        calls += [("eth_getBlockByNumber", (to_quantity(n), False)) for n in numbers]
        logs, *headers = await self._client.batch(calls)
        return headers, [logs]


async def chain_id(client: RpcClient) -> int:
    """Return what the endpoint says of itself (eth_chainId, EIP-695)."""
    found = await client.call("eth_chainId")
    if not isinstance(found, str):
        raise RpcUnavailable(f"{client.host}: eth_chainId answered {found!r}")
    return from_quantity(found, 2**63 - 1)


async def finalized(client: RpcClient) -> int | None:
    """Return the height of the `finalized` block; None from a node that does not know the tag, or has none yet."""
    try:
        found = wire.head(await client.raw("eth_getBlockByNumber", "finalized", False))
    except RpcRefused:
        return None
    return None if found is None else found.ref.number


def _parts(wanted: BlockRange, size: int) -> Iterator[BlockRange]:
    for first in range(wanted.first, wanted.last + 1, size):
        yield BlockRange(first, min(first + size - 1, wanted.last))


def _chunks(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
