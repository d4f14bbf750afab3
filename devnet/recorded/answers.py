"""JSON-RPC over a recording: which pieces of the files answer which call, given how much of the chain is visible."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from core.errors import BadAnswer
from core.hex import from_hex, from_quantity, to_quantity
from devnet.recorded.filters import INVALID, LogFilter, Refused, read_filter, runs, selected
from devnet.recorded.folder import Recording
from devnet.recorded.layout import call_key

Piece = bytes | memoryview
Pieces = Sequence[Piece]

NULL: Final = (b"null",)
METHOD_NOT_FOUND: Final = -32601
REVERTED: Final = 3  # geth's code of an execution that reverted
MISSING: Final = -32000
SAFE_BLOCKS: Final = 32  # an Ethereum epoch
FINALIZED_BLOCKS: Final = 64


class _Topics(msgspec.Struct):
    topics: list[str]


_topics: Final = msgspec.json.Decoder(_Topics)


class Answers:
    """What the node says while `head` is the newest block it shows. Raises Refused, and nothing else, for bad calls.

    `finalized` is how many blocks below the head that tag names.
    """

    def __init__(self, recording: Recording, head: int | None = None, *, finalized: int = FINALIZED_BLOCKS) -> None:
        tip = recording.tip
        self._recording = recording
        self._finalized = finalized
        self.head = tip if head is None else head
        if not 0 <= self.head <= tip:
            raise ValueError(f"head: expected 0..{tip}, found {head}")
        chain_id = recording.meta.chain_id
        self._methods: Mapping[str, Callable[[Sequence[Any]], Pieces]] = {
            "eth_getBlockByNumber": self._block_by_number,
            "eth_getBlockReceipts": self._block_receipts,
            "eth_getLogs": self._logs,
            "eth_getTransactionReceipt": lambda params: self._tx(params, receipt=True),
            "eth_getTransactionByHash": lambda params: self._tx(params, receipt=False),
            "eth_getBlockByHash": self._block_by_hash,
            "eth_call": self._call,
            "eth_getCode": self._code,
            "eth_blockNumber": lambda _: _text(to_quantity(self.head)),
            "eth_chainId": lambda _: _text(to_quantity(chain_id)),
            "net_version": lambda _: _text(str(chain_id)),
            "web3_clientVersion": lambda _: _text(f"recorded/{recording.meta.client}"),
            "eth_syncing": lambda _: (b"false",),
        }

    def answer(self, method: str, params: Sequence[Any]) -> Pieces:
        """Return the JSON of the result, in pieces."""
        does = self._methods.get(method)
        if does is None:
            raise Refused(METHOD_NOT_FOUND, f"the method {method[:80]} does not exist/is not available")
        try:
            return does(params)
        except (IndexError, BadAnswer) as error:
            raise Refused(INVALID, f"{method}: {error or 'a parameter is missing'}") from None

    def header(self, number: int) -> bytes:
        """Return a block's header, as a newHeads notification carries it."""
        fields = msgspec.json.decode(self._recording.hashes(number), type=dict[str, msgspec.Raw])
        for name in ("transactions", "uncles", "size", "withdrawals"):
            fields.pop(name, None)
        return msgspec.json.encode(fields)

    def number(self, block: Any) -> int | None:
        """Return the number that a tag, a quantity or a hash names; None if the node does not show that block."""
        match block:
            case "latest" | "pending":
                return self.head
            case "earliest":
                return 0
            case "safe":
                found = self.head - min(SAFE_BLOCKS, self._finalized)
            case "finalized":
                found = self.head - self._finalized
            case {"blockHash": str(digest)}:
                return self._hashed(digest)
            case {"blockNumber": str(inner)}:
                return self.number(inner)
            case str(text) if len(text) == 66:
                return self._hashed(text)
            case str(text):
                found = from_quantity(text)
            case _:
                raise Refused(INVALID, f"block: expected a tag, a quantity or a hash, found {str(block)[:80]}")
        return found if 0 <= found <= self.head else None

    def _hashed(self, digest: str) -> int | None:
        found = self._recording.number_of(from_hex(digest, 32))
        return found if found is not None and found <= self.head else None

    def _block_by_number(self, params: Sequence[Any]) -> Pieces:
        return self._block(self.number(params[0]), params)

    def _block_by_hash(self, params: Sequence[Any]) -> Pieces:
        return self._block(self._hashed(str(params[0])), params)

    def _block(self, number: int | None, params: Sequence[Any]) -> Pieces:
        if number is None:
            return NULL
        full = len(params) > 1 and params[1] is True
        return (self._recording.block(number) if full else self._recording.hashes(number),)

    def _block_receipts(self, params: Sequence[Any]) -> Pieces:
        number = self.number(params[0])
        return NULL if number is None else (self._recording.receipts(number),)

    def _tx(self, params: Sequence[Any], *, receipt: bool) -> Pieces:
        found = self._recording.tx(from_hex(str(params[0]), 32))
        if found is None or found[0] > self.head:
            return NULL
        return (found[2] if receipt else found[1],)

    def _logs(self, params: Sequence[Any]) -> Pieces:
        asked = params[0]
        if not isinstance(asked, dict):
            raise Refused(INVALID, "eth_getLogs: expected an object")
        first, last = self._range(asked)
        wanted = read_filter(asked)
        starts = self._recording.first_log
        chosen = selected(self._recording.postings, self._recording.meta.keys, wanted, starts[first], starts[last + 1])
        if wanted.deep:
            chosen = list(self._deep(wanted, chosen))
        slices = [self._recording.logs(*run) for run in runs(chosen)]
        return (b"[", *_joined(slices), b"]")

    def _range(self, asked: Mapping[str, Any]) -> tuple[int, int]:
        """Return first and last block of a filter; an empty range past the head, as (head + 1, head)."""
        if asked.get("blockHash") is not None:
            number = self._hashed(str(asked["blockHash"]))
            if number is None:
                raise Refused(MISSING, "unknown block")
            return number, number
        ends = [self._end(asked.get(name)) for name in ("fromBlock", "toBlock")]
        if ends[0] > ends[1]:
            raise Refused(INVALID, f"invalid block range: fromBlock {ends[0]} is above toBlock {ends[1]}")
        last = min(ends[1], self.head)
        return min(ends[0], last + 1), last

    def _end(self, block: Any) -> int:
        if isinstance(block, str) and block.startswith("0x"):
            return from_quantity(block, 2**63)
        found = self.number("latest" if block is None else block)
        return 0 if found is None else found

    def _deep(self, wanted: LogFilter, ordinals: Sequence[int]) -> Iterator[int]:
        for ordinal in ordinals:
            if wanted.matches(_topics.decode(self._recording.logs(ordinal, ordinal)).topics):
                yield ordinal

    def _call(self, params: Sequence[Any]) -> Pieces:
        asked = params[0] if isinstance(params[0], dict) else {}
        data = asked.get("data") or asked.get("input") or ""
        return self._said(call_key("eth_call", str(asked.get("to")), str(data)))

    def _code(self, params: Sequence[Any]) -> Pieces:
        # Of a contract that was not recorded there is no code to show: a client then does without it.
        return _text(self._recording.meta.calls.get(call_key("eth_getCode", str(params[0]))) or "0x")

    def _said(self, key: str) -> Pieces:
        calls = self._recording.meta.calls
        if key not in calls:
            raise Refused(MISSING, "this node is a recording, and has no record of this call")
        said = calls[key]
        if said is None:
            raise Refused(REVERTED, "execution reverted")
        return _text(said)


def _text(value: str) -> Pieces:
    return (msgspec.json.encode(value),)


def _joined(slices: Sequence[Piece]) -> Iterator[Piece]:
    for index, piece in enumerate(slices):
        if index:
            yield b","
        yield piece
