"""What a chain is made of, as this program sees it: frozen, bytes inside, integers exact.

Field names follow the execution-apis (github.com/ethereum/execution-apis) in snake case; where a field is
optional there, it is `None` here. Numbers are base units: wei, gas, seconds since 1970 (UTC).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, Literal, NamedTuple

ZERO_ADDRESS: Final = bytes(20)
U64_MAX: Final = 2**64 - 1
U256_MAX: Final = 2**256 - 1


@dataclass(frozen=True, slots=True)
class BlockRef:
    """A block's position and identity. A bare number names a block only inside a range."""

    number: int
    hash: bytes

    def __str__(self) -> str:
        return f"{self.number} (0x{self.hash[:4].hex()}…)"


@dataclass(frozen=True, slots=True)
class Finality:
    """The newest blocks a node calls safe and finalized, None where it cannot say.

    `by_depth`: it has no such tags, so one of them at least is only a block some depth below the head.
    """

    safe: BlockRef | None
    finalized: BlockRef | None
    by_depth: bool = False


HowFinal = Literal["latest", "safe", "finalized"]


def how_final(number: int, *, safe: int | None, finalized: int | None) -> HowFinal:
    """Return what a stored block at `number` is, given the safe and the finalized block; `latest` is neither."""
    if finalized is not None and number <= finalized:
        return "finalized"
    return "safe" if safe is not None and number <= safe else "latest"


@dataclass(frozen=True, slots=True)
class Head:
    """The newest block a node has announced, with its parent and its time."""

    ref: BlockRef
    parent_hash: bytes
    timestamp: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """One event. `topics` holds up to four words of 32 bytes; `index` counts within the block."""

    address: bytes
    topics: tuple[bytes, ...]
    data: bytes
    index: int


@dataclass(frozen=True, slots=True)
class PlacedLog:
    """A log with its block and its transaction."""

    block: BlockRef
    tx_hash: bytes
    tx_index: int
    log: Log


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a transaction did.

    `status` is 1 or 0, and None before Byzantium, where `root` holds the state root instead (EIP-658).
    `effective_gas_price` is None where an old node does not report it. `extra` is a JSON object, as text, of the
    fields that only some transaction types or chains have, exactly as the node sent them.
    """

    status: int | None
    root: bytes | None
    gas_used: int
    cumulative_gas_used: int
    effective_gas_price: int | None
    contract_address: bytes | None
    logs_bloom: bytes
    logs: tuple[Log, ...]
    extra: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tx:
    """One transaction of a block. `to` is None for a contract creation.

    `signature` is r ‖ s, 32 bytes each, and `v` what the node calls v; both are None for system transactions that
    carry none. `fee_cap` and `tip_cap` are maxFeePerGas and maxPriorityFeePerGas (EIP-1559).
    """

    index: int
    hash: bytes
    type: int
    sender: bytes
    to: bytes | None
    value: int
    nonce: int
    gas: int
    gas_price: int | None
    fee_cap: int | None
    tip_cap: int | None
    input: bytes
    v: int | None
    signature: bytes | None
    extra: str | None
    receipt: Receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A block with all its transactions and their receipts. `timestamp` is in seconds.

    `tx_total` is how many transactions it has where `txs` are only some of them, else None. `checks` are the bits of
    `core.verify.checks.Check` that it has passed as a whole.
    """

    number: int
    hash: bytes
    parent_hash: bytes
    timestamp: int
    miner: bytes
    state_root: bytes
    transactions_root: bytes
    receipts_root: bytes
    uncles_hash: bytes
    logs_bloom: bytes
    difficulty: int
    total_difficulty: int | None
    size: int
    extra_data: bytes
    gas_limit: int
    gas_used: int
    base_fee: int | None
    mix_hash: bytes | None
    nonce: bytes | None
    uncles: tuple[bytes, ...]
    extra: str | None
    txs: tuple[Tx, ...]
    tx_total: int | None = None
    checks: int = field(default=0, compare=False)  # of how it was looked at, not of what it is

    @property
    def tx_count(self) -> int:
        """How many transactions it has."""
        return len(self.txs) if self.tx_total is None else self.tx_total

    @property
    def ref(self) -> BlockRef:
        """Number and hash."""
        return BlockRef(self.number, self.hash)

    @property
    def head(self) -> Head:
        """The announcement that this block is the newest."""
        return Head(self.ref, self.parent_hash, self.timestamp)


class TokenStandard(IntEnum):
    """The ERC whose event announced a transfer, by its number."""

    ERC20 = 20
    ERC721 = 721
    ERC1155 = 1155


class TokenTransfer(NamedTuple):
    """One token movement that a log announced.

    `amount` is in the token's base units (1 for ERC-721), `token_id` None for ERC-20. `position` counts within the log:
    an ERC-1155 batch moves several. A tuple, for a page has hundreds, and a frozen dataclass takes five times as long.
    """

    tx_index: int
    log_index: int
    position: int
    standard: TokenStandard
    token: bytes
    sender: bytes
    recipient: bytes
    amount: int
    token_id: int | None


@dataclass(frozen=True, slots=True)
class BlockRange:
    """Block numbers `first` to `last`, both included; never empty."""

    first: int
    last: int

    def __post_init__(self) -> None:
        if not 0 <= self.first <= self.last:
            raise ValueError(f"empty or negative block range: {self.first}..{self.last}")

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __contains__(self, number: int) -> bool:
        return self.first <= number <= self.last

    def __str__(self) -> str:
        return f"{self.first}..{self.last}"


def joined(ranges: Iterable[BlockRange]) -> tuple[BlockRange, ...]:
    """Return `ranges` in ascending order, overlapping and adjacent ones made one."""
    result: list[BlockRange] = []
    for span in sorted(ranges, key=lambda each: each.first):
        if result and span.first <= result[-1].last + 1:
            result[-1] = BlockRange(result[-1].first, max(result[-1].last, span.last))
        else:
            result.append(span)
    return tuple(result)


@dataclass(frozen=True, slots=True)
class Step:
    """What one turn of the follower did: from which cursor to which."""

    kind: Literal["wait", "advance", "rewind"]
    before: BlockRef | None
    after: BlockRef | None
