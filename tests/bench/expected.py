"""What an index of a range must hold: counted from the fixture's texts, by nothing that the product decodes with."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import msgspec

from core.types import BlockRange
from devnet.recorded.layout import BLOCKS, RECEIPTS

# keccak-256 of Transfer(address,address,uint256), TransferSingle(…) and TransferBatch(…): EIP-20, EIP-721, EIP-1155.
TRANSFER = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
SINGLE = "0xc3d58168c5ae7397731d063d5bbf3d657854427343f4c083240f7aacaa2d0f62"
BATCH = "0x4a39dc06d4c0dbc64b70af90fd698a233a518aa5d07e595d983b8c0526c8f7fb"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """Counts and sums over a range of blocks; None where a tool does not say. Money is in base units.

    `value`, `gas_used` and `nonce` are summed over transactions, `amount` over ERC-20 transfers. `announced` counts the
    events Transfer(address,address,uint256), which ERC-20 and ERC-721 share; `transfers` all token movements, those of
    ERC-1155 too. `addresses` counts (transaction, address) pairs: sender, recipient, contract created, and both sides
    of every token movement.
    """

    blocks: int | None = None
    txs: int | None = None
    value: int | None = None
    gas_used: int | None = None
    nonce: int | None = None
    failed: int | None = None
    created: int | None = None
    logs: int | None = None
    transfers: int | None = None
    announced: int | None = None
    erc20: int | None = None
    amount: int | None = None
    addresses: int | None = None

    def differences(self, other: "Sums") -> dict[str, tuple[int, int]]:
        """Return what both say and say differently: name -> (ours, theirs)."""
        pairs = {each.name: (getattr(self, each.name), getattr(other, each.name)) for each in fields(self)}
        return {name: (a, b) for name, (a, b) in pairs.items() if a is not None and b is not None and a != b}

    def only(self, names: Collection[str]) -> "Sums":
        """Return these figures alone."""
        return Sums(**{name: value for name, value in asdict(self).items() if name in names})

    def shared(self, other: "Sums") -> int:
        """Return how many figures both say."""
        mine, theirs = asdict(self), asdict(other)
        return sum(mine[name] is not None and theirs[name] is not None for name in mine)

    def said(self) -> dict[str, str]:
        """Return the figures for a JSON line; as text, because sums exceed what JSON readers keep exactly."""
        return {name: str(value) for name, value in asdict(self).items() if value is not None}


class _Tx(msgspec.Struct):
    value: str
    nonce: str
    from_: str = msgspec.field(name="from")
    to: str | None = None


class _Block(msgspec.Struct):
    transactions: list[_Tx]


class _Log(msgspec.Struct):
    address: str
    topics: list[str]
    data: str


class _Receipt(msgspec.Struct, rename="camel"):
    gas_used: str
    status: str
    logs: list[_Log]
    contract_address: str | None = None


@dataclass(frozen=True, slots=True)
class Movement:
    """A token movement: token and both sides as the log spells them, amount, and whether it is an ERC-20's."""

    token: str
    sender: str
    recipient: str
    amount: int
    erc20: bool


def counted(folder: Path, span: BlockRange, tokens: Sequence[str] | None = None) -> Sums:
    """Count the blocks of `span` in a recorded chain; `tokens` limits `erc20` and `amount` to these contracts."""
    total = dict.fromkeys((each.name for each in fields(Sums)), 0)
    for block, receipts in _read(folder, span):
        total["blocks"] += 1
        for tx, receipt in zip(block.transactions, receipts, strict=True):
            moved = [movement for log in receipt.logs for movement in movements(log)]
            wanted = [m for m in moved if m.erc20 and (tokens is None or m.token in tokens)]
            for name, more in _of_tx(tx, receipt, moved, wanted).items():
                total[name] += more
    return Sums(**total)


def _of_tx(tx: _Tx, receipt: _Receipt, moved: Sequence[Movement], wanted: Sequence[Movement]) -> dict[str, int]:
    parties = {tx.from_, tx.to, receipt.contract_address} | {side for m in moved for side in (m.sender, m.recipient)}
    return {
        "txs": 1,
        "value": int(tx.value, 16),
        "gas_used": int(receipt.gas_used, 16),
        "nonce": int(tx.nonce, 16),
        "failed": receipt.status == "0x0",
        "created": receipt.contract_address is not None,
        "logs": len(receipt.logs),
        "transfers": len(moved),
        "announced": sum(log.topics[:1] == [TRANSFER] for log in receipt.logs),
        "erc20": len(wanted),
        "amount": sum(m.amount for m in wanted),
        "addresses": len(parties - {None}),
    }


def _read(folder: Path, span: BlockRange) -> Iterator[tuple[_Block, list[_Receipt]]]:
    block, receipts = msgspec.json.Decoder(_Block), msgspec.json.Decoder(list[_Receipt])
    with (folder / BLOCKS).open("rb") as one, (folder / RECEIPTS).open("rb") as other:
        for number, (raw, raw_receipts) in enumerate(zip(one, other, strict=True)):
            if number > span.last:
                return
            if number >= span.first:
                yield block.decode(raw), receipts.decode(raw_receipts)


def movements(log: Any) -> list[Movement]:
    """Return the token movements a log announces."""
    topic = log.topics[0] if log.topics else None
    words = [log.data[i : i + 64] for i in range(2, len(log.data), 64)]
    if topic == TRANSFER and len(log.topics) == 3:
        return [Movement(log.address, *_sides(log.topics[1:3]), int(words[0], 16), erc20=True)]
    if topic == TRANSFER and len(log.topics) == 4:
        return [Movement(log.address, *_sides(log.topics[1:3]), 1, erc20=False)]
    if topic == SINGLE:
        return [Movement(log.address, *_sides(log.topics[2:4]), int(words[1], 16), erc20=False)]
    if topic == BATCH:
        amounts = int(words[1], 16) // 32
        count = int(words[amounts], 16)
        each = words[amounts + 1 : amounts + 1 + count]
        return [Movement(log.address, *_sides(log.topics[2:4]), int(word, 16), erc20=False) for word in each]
    return []


def _sides(topics: Sequence[str]) -> tuple[str, str]:
    sender, recipient = ("0x" + topic[-40:] for topic in topics)
    return sender, recipient
