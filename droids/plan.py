"""From a decision to one transaction: close what is held, open what is wanted, all of it or nothing. Pure.

Nothing is swapped and nothing is left half done: collect pays the wallet and mint takes from it within one multicall of
the position manager.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from builders import uniswap_v3
from builders.call import Call
from builders.liquidity import Amounts, amounts, least_burned, least_minted, liquidity_of
from builders.ticks import sqrt_at
from builders.uniswap_v3 import Range
from droids import ladder
from droids.ladder import Share
from droids.market import Market, Span

MOST_SLIP_BPS: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a droid's positions are: the manager, the pool's tokens, and the wallet that owns them."""

    manager: bytes
    token0: bytes
    token1: bytes
    wallet: bytes


@dataclass(frozen=True, slots=True)
class Held:
    """A position as of one block: its NFT, span, liquidity, and the fees that collecting it now would pay."""

    token_id: int
    span: Span
    liquidity: int
    fees: Amounts


@dataclass(frozen=True, slots=True)
class Closing:
    """A position to end: what it gives at this price, fees included, and the least that it may give without them."""

    held: Held
    gives: Amounts
    least: Amounts


@dataclass(frozen=True, slots=True)
class Opening:
    """A position to open: what is offered for it, what the manager takes of that at this price, and at least."""

    span: Span
    liquidity: int
    offered: Amounts
    takes: Amounts
    least: Amounts


@dataclass(frozen=True, slots=True)
class Plan:
    """One transaction and what it does at the price it was made for.

    `idle` is what of the droid's own is left in the wallet after it; `before` and `after` are what all that it has is
    worth, in base units of the quote.
    """

    call: Call
    closings: tuple[Closing, ...]
    openings: tuple[Opening, ...]
    idle: Amounts
    before: int
    after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How far the price may slip until a plan is mined, in hundredths of a percent, and its last second (Unix time).

    Raises ValueError for a slip beyond MOST_SLIP_BPS.
    """

    slip_bps: int = 50
    deadline: int

    def __post_init__(self) -> None:
        if not 0 <= self.slip_bps <= MOST_SLIP_BPS:
            raise ValueError(f"slip_bps: expected 0 to {MOST_SLIP_BPS}, found {self.slip_bps}")


def moved(
    market: Market, place: Place, held: Sequence[Held], spans: Sequence[Span], *, sqrt_x96: int, funding: int,
    idle: Amounts, terms: Terms,
) -> Plan | None:  # fmt: skip
    """Return the plan that closes `held` and opens a ladder of `spans`, centre first, by the LINEAR curve.

    `funding` is in base units of token1, `idle` is what of the wallet is the droid's own. None if it would open just
    the spans that are held, or nothing at all.
    """
    closings = tuple(_closing(each, sqrt_x96, terms) for each in held)
    have = _sum([idle, *(each.gives for each in closings)])
    shares = ladder.sized(
        spans, ladder.linear(len(spans)), sqrt_x96=sqrt_x96, funding=funding, available=have
    )  # fmt: skip
    if not shares or {share.span for share in shares} == {each.span for each in held}:
        return None
    openings = tuple(_opening(share, sqrt_x96, terms) for share in shares)
    return _plan(market, place, closings, openings, sqrt_x96=sqrt_x96, idle=idle, terms=terms)


def ended(
    market: Market, place: Place, held: Sequence[Held], *, sqrt_x96: int, idle: Amounts, terms: Terms
) -> Plan | None:  # fmt: skip
    """Return the plan that closes all of `held`; None if there is nothing to close."""
    closings = tuple(_closing(each, sqrt_x96, terms) for each in held)
    if not closings:
        return None
    return _plan(market, place, closings, (), sqrt_x96=sqrt_x96, idle=idle, terms=terms)


def _plan(
    market: Market, place: Place, closings: tuple[Closing, ...], openings: tuple[Opening, ...], *, sqrt_x96: int,
    idle: Amounts, terms: Terms,
) -> Plan:  # fmt: skip
    calls = [call for each in closings for call in _calls_to_close(place, each, terms)]
    calls += [_call_to_open(market, place, each, terms) for each in openings]
    have = _sum([idle, *(each.gives for each in closings)])
    taken = _sum([each.takes for each in openings])
    left = have[0] - taken[0], have[1] - taken[1]
    gone = [amounts(sqrt_x96, *_edges(each.span), each.liquidity, up=False) for each in openings]
    return Plan(
        uniswap_v3.multicall(place.manager, calls), closings, openings, left,
        before=market.worth(have, sqrt_x96), after=market.worth(_sum([left, *gone]), sqrt_x96),
    )  # fmt: skip


def _closing(held: Held, sqrt_x96: int, terms: Terms) -> Closing:
    at = (sqrt_x96, *_edges(held.span), held.liquidity)
    return Closing(held, _sum([amounts(*at, up=False), held.fees]), least_burned(*at, terms.slip_bps))


def _opening(share: Share, sqrt_x96: int, terms: Terms) -> Opening:
    edges = _edges(share.span)
    # What the manager makes of the amounts: not quite the liquidity they were computed from.
    size = liquidity_of(sqrt_x96, *edges, share.amounts)
    takes = amounts(sqrt_x96, *edges, size, up=True)
    return Opening(
        share.span, size, share.amounts, takes, least_minted(sqrt_x96, *edges, share.amounts, terms.slip_bps)
    )


def _calls_to_close(place: Place, closing: Closing, terms: Terms) -> list[Call]:
    held, manager = closing.held, place.manager
    calls = [
        uniswap_v3.collect(manager, held.token_id, recipient=place.wallet),
        uniswap_v3.burn(manager, held.token_id),
    ]
    if held.liquidity:  # the manager reverts for none
        least = closing.least
        calls.insert(
            0, uniswap_v3.decrease(manager, held.token_id, held.liquidity, least=least, deadline=terms.deadline)
        )
    return calls


def _call_to_open(market: Market, place: Place, opening: Opening, terms: Terms) -> Call:
    span = opening.span
    where = Range(
        token0=place.token0, token1=place.token1, fee=market.fee, tick_lower=span.lower, tick_upper=span.upper
    )
    return uniswap_v3.mint(
        place.manager, where, *opening.offered, recipient=place.wallet, deadline=terms.deadline, least=opening.least
    )  # fmt: skip


def _edges(span: Span) -> tuple[int, int]:
    return sqrt_at(span.lower), sqrt_at(span.upper)


def _sum(of: Sequence[Amounts]) -> Amounts:
    return sum(one for one, _ in of), sum(other for _, other in of)
