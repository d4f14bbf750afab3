"""Logs by address and topic (eth_getLogs), in ranges of as many blocks as the endpoint takes."""

from collections.abc import Collection, Sequence
from functools import partial

import msgspec

from core.clock import Clock, SystemClock
from core.errors import BadAnswer, RpcRefused, RpcTimedOut
from core.hex import from_hex, from_quantity, to_hex, to_quantity
from core.rpc import wire
from core.rpc.client import Rpc, Seat
from core.rpc.limits import LogSpan
from core.rpc.refusals import Kind, Refusal, classify
from core.types import BlockRange, BlockRef, Log, PlacedLog

MAX_INDEX = 2**31 - 1


class _WireLog(msgspec.Struct, rename="camel"):
    address: str
    topics: list[str]
    data: str
    log_index: str | None
    block_hash: str | None
    block_number: str | None
    transaction_hash: str | None
    transaction_index: str | None
    removed: bool = False


_decoder = msgspec.json.Decoder(list[_WireLog])

Topics = Sequence[Collection[bytes]]  # for each position, what may stand there; an empty collection: anything


class RpcLogs:
    """Logs from a chain's endpoints (LogSource)."""

    def __init__(self, client: Rpc, clock: Clock | None = None) -> None:
        self._client = client
        self._clock = clock or SystemClock()

    async def logs(
        self, addresses: Sequence[bytes], wanted: BlockRange, *, topics: Topics = ()
    ) -> tuple[Sequence[PlacedLog], BlockRef]:
        """Return the logs of `addresses` (none: of any) in `wanted`, and the last block of it as the same node has it.

        `topics` narrows them down by position, as eth_getLogs does. What an endpoint does not take at once is asked in
        parts. Raises BadAnswer when the node lacks the last block: what it did not find then proves nothing; RpcRefused
        naming the block when even one is refused.
        """
        where, of = _filter(addresses, topics), frozenset(addresses)
        found: list[PlacedLog] = []
        first, last = wanted.first, BlockRef(-1, b"")
        while first <= wanted.last:
            part, last = await self._client.answer(partial(self._part, where, first, wanted.last), oldest=first)
            for each in part:
                if not _asked_for(each.log, of, topics):
                    raise BadAnswer(f"log {each.log.index} of block {each.block} was not asked for")
            found += part
            first = last.number + 1
        return found, last

    async def _part(
        self, where: dict[str, object], first: int, last: int, seat: Seat
    ) -> tuple[Sequence[PlacedLog], BlockRef]:
        """Return the logs of as many blocks from `first` on as the endpoint gives at once, and the last of those."""
        span = seat.sizes.logs
        while True:
            asked = BlockRange(first, min(last, first + span.size - 1))
            started = self._clock.monotonic()
            try:
                raw, raw_last = await seat.batch(_calls(where, asked))
            except RpcTimedOut:
                if len(asked) > 1:
                    span.too_much(len(asked), None)  # for whoever asks next: the endpoint may be out by now
                raise
            except RpcRefused as error:
                _narrow(span, asked, error, seat)
                continue
            span.answered(len(asked), self._clock.monotonic() - started, len(raw))
            return _read(raw, raw_last, asked, seat.host)


class EventAnswers:
    """Headers and events of some contracts from a chain's endpoints, undecoded."""

    def __init__(self, client: Rpc, contracts: Sequence[bytes], clock: Clock | None = None) -> None:
        self._client = client
        self._where = _filter(contracts, ())
        self._clock = clock or SystemClock()

    async def answers(self, wanted: BlockRange) -> tuple[Sequence[bytes], Sequence[bytes]]:
        """Return the blocks of `wanted` without transactions, ascending, and answers that hold the contracts' logs."""
        return await self._client.answer(partial(self._answers, wanted), oldest=wanted.first)

    async def _answers(self, wanted: BlockRange, seat: Seat) -> tuple[Sequence[bytes], Sequence[bytes]]:
        span, first = seat.sizes.logs, wanted.first
        headers: list[bytes] = []
        logs: list[bytes] = []
        while first <= wanted.last:
            asked = BlockRange(first, min(wanted.last, first + span.size - 1))
            numbers = range(asked.first, asked.last + 1)
            started = self._clock.monotonic()
            try:
                # In one batch: a node that lacks a block has not looked at it for logs.
                found, *blocks = await seat.batch(
                    [
                        _log_call(self._where, asked),
                        *(("eth_getBlockByNumber", (to_quantity(n), False)) for n in numbers),
                    ]
                )
            except RpcRefused as error:
                _narrow(span, asked, error, seat)
                continue
            span.answered(len(asked), self._clock.monotonic() - started, len(found))
            headers += blocks
            logs.append(found)
            first = asked.last + 1
        return headers, logs


def _filter(addresses: Sequence[bytes], topics: Topics) -> dict[str, object]:
    where: dict[str, object] = {}
    if addresses:
        where["address"] = [to_hex(address) for address in addresses]
    if topics:
        where["topics"] = [[to_hex(each) for each in sorted(some)] or None for some in topics]
    return where


def _calls(where: dict[str, object], asked: BlockRange) -> list[tuple[str, Sequence[object]]]:
    # The header in the same batch: a node that lacks the block has not looked at it for logs (execution-apis 534).
    return [_log_call(where, asked), ("eth_getBlockByNumber", (to_quantity(asked.last), False))]


def _log_call(where: dict[str, object], asked: BlockRange) -> tuple[str, Sequence[object]]:
    filled = where | {"fromBlock": to_quantity(asked.first), "toBlock": to_quantity(asked.last)}
    return "eth_getLogs", (filled,)


def _narrow(span: LogSpan, asked: BlockRange, error: RpcRefused, seat: Seat) -> None:
    """Make `span` smaller than what was refused. Raises the refusal if it is not about that, or cannot be helped."""
    found = classify(error)
    if found.kind not in (Kind.RANGE, Kind.RESULTS):
        raise error
    if len(asked) == 1:
        raise RpcRefused(seat.host, error.method, error.code, f"block {asked.first} alone: {error.message}") from error
    if found.kind is Kind.RANGE:
        span.too_wide(len(asked), found.limit, _suggested(found, asked))
    else:
        span.too_much(len(asked), _suggested(found, asked))


def _suggested(found: Refusal, asked: BlockRange) -> int | None:
    """Return how many blocks the endpoint promises to answer, if it is about the blocks that were asked."""
    if found.suggested is None or found.suggested[0] != asked.first:
        return None
    return found.suggested[1] - found.suggested[0] + 1


def _read(
    raw: msgspec.Raw, raw_last: msgspec.Raw, asked: BlockRange, host: str
) -> tuple[Sequence[PlacedLog], BlockRef]:
    last = wire.ref(raw_last)
    if last is None:
        raise BadAnswer(f"{host}: asked for logs up to block {asked.last}, which it does not have")
    if last.number != asked.last:
        raise BadAnswer(f"{host}: asked for block {asked.last}, got {last.number}")
    try:
        found = _decoder.decode(raw)
    except wire.UNREADABLE as error:
        raise BadAnswer(f"{host}: logs: {error}") from None
    placed = [_placed(each) for each in found]
    for each in placed:
        if each.block.number not in asked:
            raise BadAnswer(f"{host}: log {each.log.index} of block {each.block} was not asked for")
    return placed, last


def _asked_for(log: Log, addresses: Collection[bytes], topics: Topics) -> bool:
    if addresses and log.address not in addresses:
        return False
    if len(log.topics) < len(topics):
        return False
    return all(not some or topic in some for some, topic in zip(topics, log.topics, strict=False))


def _placed(found: _WireLog) -> PlacedLog:
    place = (found.block_hash, found.block_number, found.transaction_hash, found.transaction_index, found.log_index)
    if found.removed or None in place or len(found.topics) > 4:
        raise BadAnswer(f"log of transaction {found.transaction_hash}: removed, pending, or with more than four topics")
    block_hash, number, tx_hash, tx_index, log_index = (each or "" for each in place)
    log = Log(
        address=from_hex(found.address, 20),
        topics=tuple(from_hex(topic, 32) for topic in found.topics),
        data=from_hex(found.data),
        index=from_quantity(log_index, MAX_INDEX),
    )
    block = BlockRef(from_quantity(number, wire.MAX_NUMBER), from_hex(block_hash, 32))
    return PlacedLog(block, from_hex(tx_hash, 32), from_quantity(tx_index, MAX_INDEX), log)
