"""What is meant to be sent, what was signed for it, and what the chain says of it: frozen, bytes inside.

Amounts are wei or a token's base units, fees wei for each gas.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, Literal
from uuid import UUID

from builders.call import Call
from core.types import BlockRef, Log

NATIVE: Final = b""  # the asset that the chain itself knows; every other one is its contract's address

AttemptKind = Literal["send", "cancel"]


class State(StrEnum):
    """Where an intent is. QUEUED, PENDING and MINED are open; the others are final."""

    QUEUED = "queued"  # has no nonce, and nothing was signed for it
    PENDING = "pending"  # has a nonce and at least one attempt; whether a node knows it is the chain's business
    MINED = "mined"  # one of its attempts is in a block that a reorg may still take away
    SETTLED = "settled"  # that block is deep enough
    DROPPED = "dropped"  # never had a nonce, and never will
    REHEARSED = "rehearsed"  # dry-run: all was done but signing and sending
    LOST = "lost"  # something else used its nonce, deep enough: whoever has the key sent past us


OPEN: Final = frozenset({State.QUEUED, State.PENDING, State.MINED})
FINAL: Final = frozenset(State) - OPEN


class Outcome(StrEnum):
    """What a mined attempt did."""

    DONE = "done"
    REVERTED = "reverted"  # mined and paid for, without effect
    CANCELLED = "cancelled"  # the transfer to oneself was mined in its place


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A call that `owner` (a feature) wants sent from `wallet`, at the latest at `deadline`.

    `id` is the caller's: the same one queued twice is one intent. `priority` 1 is the fastest, 5 the cheapest.
    `kind` is the owner's word for it, for people. `max_fee` is the most for each gas that the owner wants paid, None
    for what the wallet's settings allow.
    """

    id: UUID
    chain_id: int
    wallet: bytes
    owner: str
    kind: str
    call: Call
    priority: int
    deadline: datetime
    max_fee: int | None = None

    def __post_init__(self) -> None:
        if self.call.to is None:
            raise ValueError(f"intent {self.id}: expected a contract or an account to call, found a creation")
        if not 1 <= self.priority <= 5:
            raise ValueError(f"intent {self.id}: expected a priority from 1 to 5, found {self.priority}")
        if self.deadline.tzinfo is None:
            raise ValueError(f"intent {self.id}: expected a deadline with a time zone, found {self.deadline}")


@dataclass(frozen=True, slots=True)
class Fees:
    """Both fields of EIP-1559, wei for each gas: `cap` is maxFeePerGas, `tip` maxPriorityFeePerGas."""

    cap: int
    tip: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsigned:
    """All that a signature covers (EIP-1559, type 2)."""

    chain_id: int
    nonce: int
    call: Call
    gas: int
    fees: Fees


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A signed transaction for an intent. `block` is the head when it was signed."""

    hash: bytes
    raw: bytes
    kind: AttemptKind
    fees: Fees
    gas: int
    block: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What an attempt did in a block. `fee` is all that was paid for it, a rollup's share for L1 included."""

    hash: bytes
    block: BlockRef
    ok: bool
    gas_used: int
    fee: int
    logs: tuple[Log, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """An intent that has a nonce, with all attempts in the order they were signed, and where it is mined, if it is."""

    intent: Intent
    state: State
    nonce: int
    attempts: tuple[Attempt, ...]
    cancel: bool = False
    mined: tuple[bytes, BlockRef] | None = None  # hash of the attempt, and its block

    def attempt(self, hash_: bytes) -> Attempt:
        """Return the attempt of this hash."""
        return next(each for each in self.attempts if each.hash == hash_)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one node said of a wallet, in this order: `head`, `nonce`, `settled_nonce`, then `receipts`.

    `nonce` is how many transactions of the wallet are in the chain up to `head`, `settled_nonce` up to the block that
    is settled below it. Receipts are of the canonical chain, by the hash of the attempt.
    """

    head: BlockRef
    nonce: int
    settled_nonce: int
    receipts: Mapping[bytes, Receipt] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Movement:
    """An asset that came to the wallet (positive) or left it (negative) with one mined attempt."""

    asset: bytes
    amount: int
