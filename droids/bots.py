"""Slots of a ladder as people see them: they follow from the open positions and the move under way. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from droids.market import Span
from droids.records import BotStatus
from wallet.types import State


@dataclass(frozen=True, slots=True)
class Placed:
    """A position in a slot."""

    token_id: int
    span: Span
    liquidity: int


@dataclass(frozen=True, slots=True)
class Slot:
    """A slot that has a position, or is to have one."""

    slot: int
    position_id: int | None
    span: Span
    liquidity: int
    status: BotStatus


def slots(placed: Mapping[int, Placed], kind: str, spans: Sequence[Span], state: State | None) -> tuple[Slot, ...]:
    """Return all slots in their order; `state` is that of the open move's intent, None if there is no move.

    `spans` is the ladder that the move means, empty for one that only closes.
    """
    leaving = kind != "approve" and state not in (None, State.QUEUED)
    coming = BotStatus.PLANNED if state is State.QUEUED else BotStatus.OPENING
    found = [
        Slot(slot, each.token_id, each.span, each.liquidity, BotStatus.CLOSING if leaving else BotStatus.ACTIVE)
        for slot, each in placed.items()
    ]
    if kind == "rebalance" and state is not None:
        found += [Slot(slot, None, span, 0, coming) for slot, span in enumerate(spans) if slot not in placed]
    return tuple(sorted(found, key=lambda each: each.slot))
