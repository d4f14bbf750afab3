"""What a droid does next, from what it is told, what it remembers and what it sees. Pure: time is an argument.

Every decision says why, Hold too: a word for programs and a sentence for people.
"""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final

from droids import ladder
from droids.droid import Droid, Pace
from droids.market import Market, Span
from droids.trend import Trend

DAY_S: Final = 86_400
SHOWN: Final = Decimal("0.0001")


class Reason(StrEnum):
    """Why a droid acts, or why it does not."""

    FIRST = "first"  # it has no positions yet
    FELL = "fell"  # the price fell as far as fallingRebalanceTrigger says
    ROSE = "rose"
    LEFT = "left"  # the price left the centre
    WARMING = "warming"
    PRICE_BAND = "price_band"  # the spot is outside of minPrice to maxPrice
    STEADY = "steady"  # nothing triggers
    COOLDOWN = "cooldown"
    DAILY_CAP = "daily_cap"
    SAME_LADDER = "same_ladder"
    HYSTERESIS = "hysteresis"
    NO_ROOM = "no_room"  # no rung lies within minPrice to maxPrice


@dataclass(frozen=True, slots=True)
class Hold:
    """Send nothing. `reanchor`: the ladder is where it should be, so the price moves count from now."""

    reason: Reason
    why: str
    reanchor: bool = False


@dataclass(frozen=True, slots=True)
class Rebalance:
    """Close what is there and open these spans, the centre first."""

    reason: Reason
    why: str
    spans: tuple[Span, ...]


Decision = Hold | Rebalance


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What a droid knows of itself.

    `anchor` is the trigger price at the last centring, `spans` are what it holds, centre first, `acted` is when it
    rebalanced, the latest last (Unix seconds).
    """

    trend: Trend
    anchor: Decimal | None = None
    spans: tuple[Span, ...] = ()
    acted: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Spot:
    """The pool's state at one block, at this time in Unix seconds."""

    at: int
    sqrt_x96: int
    tick: int


def trigger_price(droid: Droid, market: Market, memory: Memory, spot: Spot) -> Decimal:
    """Return the price that triggers look at: the EMA, or the spot for triggerType PRICE."""
    return memory.trend.value if droid.trigger_type == "EMA" else market.price(spot.sqrt_x96)


def decide(droid: Droid, pace: Pace, market: Market, memory: Memory, spot: Spot) -> Decision:
    """Return what to do now. `memory.trend` already knows this spot's sample."""
    warm = memory.trend.at - memory.trend.since
    if warm < pace.warm_up_s:
        return Hold(Reason.WARMING, f"the average is {warm} s old, expected {pace.warm_up_s} s")
    price = market.price(spot.sqrt_x96)
    if not droid.min_price <= price <= droid.max_price:
        why = f"the price {price:.6g} is outside of {droid.min_price} to {droid.max_price}"
        return Hold(Reason.PRICE_BAND, why)
    due = _trigger(droid, market, memory, spot)
    if due[0] is Reason.STEADY:
        return Hold(*due)
    return _paused(pace, memory, spot, due[1]) or _recentred(droid, market, memory, spot, due)


def _trigger(droid: Droid, market: Market, memory: Memory, spot: Spot) -> tuple[Reason, str]:
    if not memory.spans or memory.anchor is None:
        return Reason.FIRST, "there is no ladder yet"
    value = trigger_price(droid, market, memory, spot)
    low, high = market.prices(memory.spans[0])
    # Who was never in the centre cannot leave it: the average lags, and behind a fast move the new centre lies ahead of
    # it. Taking that for leaving moved ladders by a bucket after each cooldown (ADR 60).
    if value < low <= memory.anchor or value > high >= memory.anchor:
        return Reason.LEFT, f"{droid.trigger_type} {value:.6g} left the centre, {low:.6g} to {high:.6g}"
    if droid.trigger_mode == "DEVIATION":
        moved = value / memory.anchor - 1
        falling, rising = -droid.falling_rebalance_trigger, droid.rising_rebalance_trigger
        what = f"{droid.trigger_type} moved by {moved.quantize(SHOWN)} since the last centring"
    else:
        moved = (value - low) / (high - low)
        falling, rising = droid.ratios
        what = f"{droid.trigger_type} is at {moved.quantize(SHOWN)} of the centre"
    if moved <= falling:
        return Reason.FELL, f"{what}, the trigger is {falling}"
    if moved >= rising:
        return Reason.ROSE, f"{what}, the trigger is {rising}"
    return Reason.STEADY, f"{what}, between {falling} and {rising}"


def _paused(pace: Pace, memory: Memory, spot: Spot, why: str) -> Hold | None:
    if memory.acted and spot.at - memory.acted[-1] < pace.cooldown_s:
        since = spot.at - memory.acted[-1]
        return Hold(Reason.COOLDOWN, f"{why}; the last rebalance is {since} s old, expected {pace.cooldown_s} s")
    today = sum(1 for at in memory.acted if spot.at - at < DAY_S)
    if today >= pace.daily_cap:
        return Hold(Reason.DAILY_CAP, f"{why}; {today} rebalances within a day, at most {pace.daily_cap}")
    return None


def _recentred(droid: Droid, market: Market, memory: Memory, spot: Spot, due: tuple[Reason, str]) -> Decision:
    reason, why = due
    spans = ladder.rungs(droid, market, spot.tick, memory.trend.slope)
    if not spans:
        return Hold(Reason.NO_ROOM, f"{why}; no rung lies within {droid.min_price} to {droid.max_price}")
    if set(spans) == set(memory.spans):
        return Hold(Reason.SAME_LADDER, f"{why}; the ladder would be the same", reanchor=True)
    full = len(memory.spans) >= droid.max_bots
    margin = droid.ladder_perc_margin
    if full and not ladder.worth_replacing(memory.spans, spot.tick, spans[0], margin):
        return Hold(Reason.HYSTERESIS, f"{why}; the new centre is not nearer to the price by {margin}")
    return Rebalance(reason, why, spans)
