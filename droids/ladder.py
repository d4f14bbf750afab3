"""The ladder: where its rungs lie, and how much each gets of what there is. Pure.

Spans are in ticks of the pool; the centre is the first. Liquidity and amounts are exact integers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from builders.liquidity import BPS, MAX_LIQUIDITY, Amounts, amounts
from builders.ticks import MAX_TICK, floored, sqrt_at
from droids.droid import Droid
from droids.market import Market, Span

UNIT: Final = 10**24  # liquidity that rungs are measured with
HAIRCUT_BPS: Final = 10  # of what there is: a multicall must not fail for a missing wei
Q192: Final = 1 << 192


@dataclass(frozen=True, slots=True)
class Share:
    """What one rung gets: liquidity, and at most these amounts for it."""

    span: Span
    liquidity: int
    amounts: Amounts


def rungs(droid: Droid, market: Market, tick: int, slope: Decimal) -> tuple[Span, ...]:
    """Return the spans of the ladder around the pool's `tick`, centre first, then outwards, leaning side first.

    The slope (per hour) leans the ladder: beyond derivativeThreshold the centre lies on one side of the price's bucket,
    else around it. A rung that reaches out of minPrice to maxPrice, or of the pool's ticks, is left out.
    """
    spacing = market.spacing
    lower = floored(tick, spacing)
    bucket = market.turned(Span(lower, lower + spacing))
    centre = _centre(droid, spacing, bucket.lower, slope)
    step = (droid.bucket_offset or droid.tick_buckets) * spacing * (1 if slope >= 0 else -1)
    turns = [(k + 1) // 2 * (1 if k % 2 else -1) for k in range(droid.max_bots)]
    spans = (market.turned(Span(centre.lower + k * step, centre.upper + k * step)) for k in turns)
    return tuple(span for span in spans if _within(droid, market, span))


def _centre(droid: Droid, spacing: int, bucket: int, slope: Decimal) -> Span:
    width = droid.tick_buckets * spacing
    if slope > droid.derivative_threshold:
        lower = bucket
    elif slope < -droid.derivative_threshold:
        lower = bucket + spacing - width
    else:
        # The other buckets alternate around the price's own, the leaning side first.
        trailing, leading = (droid.tick_buckets - 1) // 2, droid.tick_buckets // 2
        lower = bucket - (trailing if slope >= 0 else leading) * spacing
    return Span(lower, lower + width)


def _within(droid: Droid, market: Market, span: Span) -> bool:
    if span.lower < -MAX_TICK or span.upper > MAX_TICK:
        return False
    low, high = market.prices(span)
    return droid.min_price <= low and high <= droid.max_price


def linear(count: int) -> tuple[int, ...]:
    """Return the weights of a LINEAR curve: count, count - 1, … 1, the centre's first."""
    return tuple(range(count, 0, -1))


def worth_replacing(spans: Sequence[Span], tick: int, new: Span, margin: Decimal) -> bool:
    """Return whether `new` holds the price, and so much nearer to its middle than the worst of `spans` does.

    How far off a span is: abs(x - 1/2), where x is the price's place in it, 0 at its lower end and 1 at its upper. The
    price is taken to be in the middle of its tick, so that it is the same with the tokens in the other order.
    """
    return tick in new and max(_off(span, tick) for span in spans) > _off(new, tick) + margin


def _off(span: Span, tick: int) -> Decimal:
    place = Decimal(2 * (tick - span.lower) + 1) / (2 * (span.upper - span.lower))
    return abs(place - Decimal("0.5"))


@dataclass(frozen=True, slots=True)
class _Rung:
    """A span with its weight, and the token0 and token1 of UNIT liquidity in it."""

    span: Span
    weight: int
    unit: Amounts

    @property
    def sides(self) -> tuple[int, ...]:
        return tuple(side for side in (0, 1) if self.unit[side])


def sized(
    spans: Sequence[Span], weights: Sequence[int], *, sqrt_x96: int, funding: int, available: Amounts
) -> tuple[Share, ...]:
    """Return what each rung gets: together at most `available`, and at most `funding` of base units of token1.

    Funding is spread by weight. A side that is short scales its rungs down; what the other side has left over joins the
    rungs of its own side by the same weights. Rungs that get nothing are left out.
    """
    made = [_rung(span, weight, sqrt_x96) for span, weight in zip(spans, weights, strict=True)]
    have = [max(0, each * (BPS - HAIRCUT_BPS) // BPS - 2 * len(made)) for each in available]
    whole = sum(weights)
    wanted = [funding * UNIT * rung.weight // (whole * _worth(rung.unit, sqrt_x96)) for rung in made]
    need = [_needed(made, wanted, side) for side in (0, 1)]
    held = [
        min((each * have[side] // need[side] if need[side] > have[side] else each for side in rung.sides), default=0)
        for rung, each in zip(made, wanted, strict=True)
    ]
    # Of a few base units each rung's part is rounded up: together they may be more than there is.
    left = [max(0, have[side] - _needed(made, held, side)) for side in (0, 1)]
    placed = [_needed(made, held, side) for side in (0, 1)]
    room = max(0, funding - _worth((placed[0], placed[1]), sqrt_x96))
    more = _joined(made, left, room, sqrt_x96)
    shares = (
        Share(rung.span, size, amounts(sqrt_x96, *_edges(rung.span), size, up=True))
        for rung, size in zip(made, (min(a + b, MAX_LIQUIDITY) for a, b in zip(held, more, strict=True)), strict=True)
    )
    return tuple(share for share in shares if share.liquidity and any(share.amounts))


def _joined(made: Sequence[_Rung], left: Sequence[int], room: int, sqrt_x96: int) -> list[int]:
    """Return the liquidity that the leftovers make in the rungs of one side, worth at most `room`."""
    total = [sum(rung.weight for rung in made if rung.sides == (side,)) for side in (0, 1)]
    usable = [each if of else 0 for each, of in zip(left, total, strict=True)]
    worth = _worth((usable[0], usable[1]), sqrt_x96)
    if worth > room:
        usable = [each * room // worth for each in usable]
    found = []
    for rung in made:
        if len(rung.sides) == 1:
            (side,) = rung.sides
            found.append(usable[side] * rung.weight * UNIT // (total[side] * rung.unit[side]))
        else:
            found.append(0)
    return found


def _rung(span: Span, weight: int, sqrt_x96: int) -> _Rung:
    return _Rung(span, weight, amounts(sqrt_x96, *_edges(span), UNIT, up=True))


def _edges(span: Span) -> tuple[int, int]:
    return sqrt_at(span.lower), sqrt_at(span.upper)


def _worth(of: Amounts, sqrt_x96: int) -> int:
    """Return amounts in base units of token1, rounded up."""
    return -(-of[0] * sqrt_x96 * sqrt_x96 // Q192) + of[1]


def _needed(made: Sequence[_Rung], sizes: Sequence[int], side: int) -> int:
    return sum(-(-size * rung.unit[side] // UNIT) for rung, size in zip(made, sizes, strict=True))
