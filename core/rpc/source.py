"""A chain as JSON-RPC endpoints tell it (ChainSource)."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Final

import msgspec

from core.clock import Clock, SystemClock
from core.errors import BadAnswer, RpcRefused, RpcUnavailable, Transient, Unverified, WrongChain
from core.hex import from_quantity, to_quantity
from core.rpc import wire
from core.rpc.client import Call, Rpc, Seat
from core.rpc.refusals import Kind, classify
from core.rpc.wire import UNREADABLE
from core.types import Block, BlockRange, BlockRef, Head
from core.verify.checks import NONE, Level, verify

BATCH_BLOCKS: Final = 10  # blocks with receipts a request; larger batches made anvil slower (reference figures, A)
BATCH_RECEIPTS: Final = 100
ASK_AGAIN: Final = 3  # times, for a block that came null or contradicts itself
ASK_AGAIN_S: Final = 0.2

Answers = tuple[Sequence[bytes], Sequence[bytes]]
# Told of a block that no endpoint served so that it passes: what each of them said.
OnUnverified = Callable[[Sequence[Unverified]], Awaitable[None]]


class RpcSource:
    """Blocks from a chain that must say that it is `chain_id` and, if known, start at `genesis_hash`.

    A block that is null although the endpoint has later ones, whose receipts are null or of another block, or that does
    not pass a check of `level`, is asked for again a few times, then of another endpoint, if there is one; then it is a
    BadAnswer.
    """

    def __init__(
        self,
        client: Rpc,
        chain_id: int,
        *,
        genesis_hash: bytes | None = None,
        batch_blocks: int = BATCH_BLOCKS,
        level: Level | None = None,
        on_unverified: OnUnverified | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._client = client
        self._chain_id = chain_id
        self._genesis_hash = genesis_hash
        self._batch_blocks = batch_blocks
        self._level = level or Level(NONE)
        self._on_unverified = on_unverified
        self._clock = clock or SystemClock()

    async def verify(self) -> None:
        """Raise WrongChain unless the node still serves the configured chain."""
        await self._client.answer(self._verify)

    async def head(self) -> Head:
        """Return the newest block the node has."""
        return await self._client.answer(_head, read="head")

    async def ref_at(self, number: int) -> BlockRef | None:
        """Return the canonical block at `number`, or None if the node has none there."""
        return await self._client.answer(partial(_ref_at, number), oldest=number, read="ref")

    async def blocks(self, wanted: BlockRange) -> tuple[Block, ...]:
        """Return the blocks of `wanted` that the node has, in order, with receipts."""
        found: list[Block] = []
        for part in _parts(wanted, self._batch_blocks):
            blocks = await self._verified(part)
            found += blocks
            if len(blocks) < len(part):
                break
        return tuple(found)

    async def answers(self, wanted: BlockRange) -> Answers:
        """Return the undecoded blocks of `wanted`, ascending, and the receipts of each, from one request if it can."""
        numbers = range(wanted.first, wanted.last + 1)
        return await self._client.answer(partial(self._answers, numbers), oldest=wanted.first, read="blocks")

    async def as_told(self, number: int, seat: Seat) -> Block | None:
        """Return the block at `number` as one endpoint tells it, not verified; None if it has none there."""
        (raw,), (receipts,) = await self._answers(range(number, number + 1), seat)
        return _read(number, raw, receipts, seat.host)

    async def _verified(self, part: BlockRange) -> list[Block]:
        """Return the blocks of `part` from an endpoint whose blocks pass; tell of them if there is none."""
        failed: list[Unverified] = []

        async def ask(seat: Seat) -> list[Block]:
            try:
                return await self._part(part, seat)
            except Unverified as error:
                failed.append(error)
                raise

        try:
            return await self._client.answer(ask, oldest=part.first, read="blocks")
        except Transient:
            if failed and self._on_unverified is not None:
                with suppress(Transient):  # what failed first is what to raise
                    await self._on_unverified(failed)
            raise

    async def _verify(self, seat: Seat) -> None:
        self._check_chain(await chain_id(seat), seat.host)
        genesis = await _ref_at(0, seat) if self._genesis_hash is not None else None
        if genesis is not None and genesis.hash != self._genesis_hash:
            raise WrongChain(f"{seat.host}: the chain now starts at {genesis}: it has been replaced")

    async def _part(self, part: BlockRange, seat: Seat) -> list[Block]:
        numbers = range(part.first, part.last + 1)
        raw_blocks, raw_receipts = await self._answers(numbers, seat)
        found: list[Block] = []
        for number, raw, receipts in zip(numbers, raw_blocks, raw_receipts, strict=True):
            block = await self._block(number, raw, receipts, seat)
            if block is None:
                break
            found.append(block)
            await asyncio.sleep(0)  # checking takes milliseconds: others get their turn between two blocks
        return found

    async def _block(self, number: int, raw: bytes, receipts: bytes, seat: Seat) -> Block | None:
        """Return the block, asked for again while it is missing or wrong; None where the endpoint's chain ends."""
        for _ in range(ASK_AGAIN):
            try:
                block = self._passing(_read(number, raw, receipts, seat.host))
            except BadAnswer:
                block = None
            if block is not None or (_is_null(raw) and (await _head(seat)).ref.number < number):
                return block
            await self._clock.sleep(ASK_AGAIN_S)
            (raw,), (receipts,) = await self._answers(range(number, number + 1), seat)
        block = self._passing(_read(number, raw, receipts, seat.host))
        if block is None and (await _head(seat)).ref.number >= number:
            raise BadAnswer(f"{seat.host}: block {number} is null, although later ones are not")
        return block

    def _passing(self, block: Block | None) -> Block | None:
        """Return the block with what it has passed. Raises Unverified."""
        checks = self._level.checks
        if block is None or not checks:
            return block
        verify(block, checks, self._chain_id)
        return replace(block, checks=int(checks))

    async def _answers(self, numbers: range, seat: Seat) -> Answers:
        if await self._has_block_receipts(numbers[0], seat):
            try:
                return await self._with_block_receipts(numbers, seat)
            except RpcRefused as error:
                if not _unsupported(error) or error.method != "eth_getBlockReceipts":
                    raise
                seat.sizes.block_receipts = False  # a balancer's other nodes may be older
        return await self._with_single_receipts(numbers, seat)

    async def _with_block_receipts(self, numbers: range, seat: Seat) -> Answers:
        calls: list[Call] = [("eth_getBlockByNumber", (to_quantity(n), True)) for n in numbers]
        calls += [("eth_getBlockReceipts", (to_quantity(n),)) for n in numbers]
        answers = await self._of_the_chain(calls, seat)
        return answers[: len(numbers)], answers[len(numbers) :]

    async def _with_single_receipts(self, numbers: range, seat: Seat) -> Answers:
        blocks = await self._of_the_chain([("eth_getBlockByNumber", (to_quantity(n), True)) for n in numbers], seat)
        receipts = []
        for raw in blocks:
            answers: list[msgspec.Raw] = []
            for hashes in _chunks(wire.transaction_hashes(raw), BATCH_RECEIPTS):
                answers += await seat.batch([("eth_getTransactionReceipt", (h,)) for h in hashes])
            receipts.append(wire.receipts_from_single(answers))
        return blocks, receipts

    async def _of_the_chain(self, calls: Sequence[Call], seat: Seat) -> list[msgspec.Raw]:
        """Return the answers to `calls`, which the same request proves to be of this chain. Raises WrongChain.

        An endpoint may begin to serve another chain between two requests, and what is fetched without its neighbours
        joins everything. Last in the batch: who refuses a batch as a whole does so in the name of its first call.
        """
        *answers, said = await seat.batch([*calls, ("eth_chainId", ())])
        self._check_chain(_chain_id(said, seat.host), seat.host)
        return answers

    def _check_chain(self, found: int, host: str) -> None:
        if found != self._chain_id:
            raise WrongChain(f"{host}: chain id is {found}, expected {self._chain_id}")

    async def _has_block_receipts(self, number: int, seat: Seat) -> bool:
        """Whether the endpoint knows eth_getBlockReceipts; asked once, on its own.

        On its own since a proxy refuses a whole batch for one method it does not pass on (MegaETH's, with HTTP 403).
        """
        if seat.sizes.block_receipts is None:
            async with seat.sizes.probing:  # the seat's own: who waits for one node must not hold up another
                if seat.sizes.block_receipts is None:
                    seat.sizes.block_receipts = await _probe(number, seat)
        return seat.sizes.block_receipts


async def chain_id(client: Rpc) -> int:
    """Return what the endpoint says of itself (eth_chainId, EIP-695)."""
    return _chain_id(await client.raw("eth_chainId"), client.host)


def _chain_id(raw: bytes | msgspec.Raw, host: str) -> int:
    try:
        return from_quantity(msgspec.json.decode(raw, type=str), 2**63 - 1)
    except UNREADABLE as error:
        raise RpcUnavailable(f"{host}: eth_chainId answered {bytes(raw)[:100]!r}: {error}") from None


async def finalized(client: Rpc) -> int | None:
    """Return the height of the `finalized` block; None from a node that does not know the tag, or has none yet."""
    try:
        found = wire.head(await client.raw("eth_getBlockByNumber", "finalized", False))
    except RpcRefused:
        return None
    return None if found is None else found.ref.number


async def _head(seat: Seat) -> Head:
    found = wire.head(await seat.raw("eth_getBlockByNumber", "latest", False))
    if found is None:
        raise BadAnswer(f"{seat.host}: latest block is null")
    return found


async def _ref_at(number: int, seat: Seat) -> BlockRef | None:
    found = wire.ref(await seat.raw("eth_getBlockByNumber", to_quantity(number), False))
    if found is not None and found.number != number:
        raise BadAnswer(f"{seat.host}: asked for block {number}, got {found.number}")
    return found


async def _probe(number: int, seat: Seat) -> bool:
    try:
        await seat.raw("eth_getBlockReceipts", to_quantity(number))
    except RpcRefused as error:
        if not _unsupported(error):
            raise
        return False
    return True


def _unsupported(error: RpcRefused) -> bool:
    return classify(error).kind is Kind.UNSUPPORTED


def _read(number: int, raw: bytes, receipts: bytes, host: str) -> Block | None:
    try:
        block = wire.block(raw, receipts)
    except Unverified:
        raise
    except BadAnswer as error:
        raise BadAnswer(f"{host}: {error}") from None
    if block is not None and block.number != number:
        raise BadAnswer(f"{host}: asked for block {number}, got {block.number}")
    return block


def _is_null(raw: bytes) -> bool:
    return len(raw) == 4 and bytes(raw) == b"null"  # the length first: a block's answer may be a megabyte


def _parts(wanted: BlockRange, size: int) -> Iterator[BlockRange]:
    for first in range(wanted.first, wanted.last + 1, size):
        yield BlockRange(first, min(first + size - 1, wanted.last))


def _chunks(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
