"""Facts as the stream sends them: one JSON object each, the same over Server-Sent Events and WebSocket."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec

from api.reorgs import id_of
from api.times import iso
from core.facts import BlockFact, FillFact, FinalizeFact, ReorgFact, Told
from core.hex import to_hex
from core.store.copy import block_time
from core.types import BlockRef

Kind = Literal["block", "reorg", "finalize", "fill"]
KINDS: Final[tuple[Kind, ...]] = ("block", "reorg", "finalize", "fill")


class BlockEvent(msgspec.Struct, kw_only=True, tag_field="kind", tag="block"):
    """The head reached a block."""

    seq: int
    told_at: str
    block_number: int
    block_hash: str
    parent_hash: str
    block_timestamp: str
    transaction_count: int


class ReorgEvent(msgspec.Struct, kw_only=True, tag_field="kind", tag="reorg"):
    """Blocks `first_block` to `last_block` are not part of the chain; `reorg_id` names them in /api/v1/reorgs.

    `parent_hash` is that of the block below them, null if it is not stored; `last_hash` that of the highest.
    """

    seq: int
    told_at: str
    reorg_id: str
    first_block: int
    last_block: int
    last_hash: str
    parent_hash: str | None
    reason: str


class FinalBlock(msgspec.Struct):
    """A block that is safe or finalized."""

    block_number: int
    block_hash: str

    @classmethod
    def of(cls, ref: BlockRef | None) -> "FinalBlock | None":
        """Make it from a block's ref."""
        return None if ref is None else cls(ref.number, to_hex(ref.hash))


class FinalizeEvent(msgspec.Struct, kw_only=True, tag_field="kind", tag="finalize"):
    """What is safe and finalized has risen; `by` is tags of the node, or depth where it has none."""

    seq: int
    told_at: str
    safe: FinalBlock | None
    finalized: FinalBlock | None
    by: Literal["tags", "depth"]


class FillEvent(msgspec.Struct, kw_only=True, tag_field="kind", tag="fill"):
    """Blocks of history are indexed now: `parent_hash` is the first one's, `last_hash` that of the last."""

    seq: int
    told_at: str
    first_block: int
    last_block: int
    last_hash: str
    parent_hash: str


FactEvent = BlockEvent | ReorgEvent | FinalizeEvent | FillEvent


class HelloEvent(msgspec.Struct, kw_only=True, tag_field="kind", tag="hello"):
    """The first message: facts after `seq` follow. `from` may be anything from `oldest_from` to `newest`."""

    seq: int
    chain: str
    chain_id: int
    oldest_from: int
    newest: int


class HeartbeatEvent(msgspec.Struct, kw_only=True, tag_field="kind", tag="heartbeat"):
    """Nothing that was asked for has happened up to fact `seq`."""

    seq: int


class EndEvent(msgspec.Struct, kw_only=True, tag_field="kind", tag="end"):
    """The last message: why, and the last fact that was sent or passed over."""

    seq: int
    why: str
    message: str


@dataclass(frozen=True, slots=True)
class Line:
    """A fact that is ready to be sent."""

    seq: int
    kind: str
    told_at: datetime
    json: bytes


def line_of(told: Told) -> Line:
    """Return a fact as it is sent."""
    event = event_of(told)
    return Line(told.seq, str(event.__struct_config__.tag), told.told_at, _encoder.encode(event))


def encode(message: FactEvent | HelloEvent | HeartbeatEvent | EndEvent) -> bytes:
    """Return a message's JSON text."""
    return _encoder.encode(message)


def event_of(told: Told) -> FactEvent:
    """Return a fact as the stream shows it."""
    seq, at, fact = told.seq, told.told_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"), told.fact
    match fact:
        case BlockFact(block=block):
            return BlockEvent(
                seq=seq, told_at=at, block_number=block.number, block_hash=to_hex(block.hash),
                parent_hash=to_hex(fact.parent_hash), block_timestamp=iso(block_time(fact.timestamp)),
                transaction_count=fact.tx_count,
            )  # fmt: skip
        case ReorgFact(orphans=span):
            return ReorgEvent(
                seq=seq, told_at=at, reorg_id=id_of(told.told_at, fact.tip_hash), first_block=span.first,
                last_block=span.last, last_hash=to_hex(fact.tip_hash),
                parent_hash=None if fact.ancestor_hash is None else to_hex(fact.ancestor_hash), reason=fact.reason,
            )  # fmt: skip
        case FinalizeFact():
            return FinalizeEvent(
                seq=seq, told_at=at, safe=FinalBlock.of(fact.safe), finalized=FinalBlock.of(fact.finalized),
                by="depth" if fact.by_depth else "tags",
            )  # fmt: skip
        case FillFact(blocks=span):
            return FillEvent(
                seq=seq, told_at=at, first_block=span.first, last_block=span.last, last_hash=to_hex(fact.tip_hash),
                parent_hash=to_hex(fact.parent_hash),
            )  # fmt: skip


_encoder: Final = msgspec.json.Encoder()
