"""What a backtest compares: the droid, holding, full range, and a strategy as Charm's Alpha Vaults have it. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Protocol

from builders.liquidity import Amounts, amounts, liquidity_of
from builders.ticks import MAX_TICK, floored, sqrt_at
from droids import ladder
from droids.course import Mark
from droids.decide import DAY_S, Memory, Reason, Rebalance, decide, trigger_price
from droids.droid import Droid, Pace
from droids.ladder import Share
from droids.market import Market, Span
from droids.trend import begun, followed

# Of Charm's first vaults: half width of the base order, width of the limit order.
CHARM_BASE: Final = 3_600
CHARM_LIMIT: Final = 1_200
CHARM_PERIOD_S: Final = DAY_S


class Strategy(Protocol):
    """Looks at every mark; from the start on it may answer with the positions that it wants instead of what it has."""

    @property
    def name(self) -> str:
        """What it is called in tables."""

    def watch(self, mark: Mark) -> None:
        """Learn what happened; called for every mark, the warm-up's too."""

    def move(self, mark: Mark, available: Amounts) -> Sequence[Share] | None:
        """Return what to open once all is closed and `available` is there; None to leave everything as it is."""


class Holding:
    """Buys nothing, sells nothing."""

    name = "hold"

    def watch(self, mark: Mark) -> None:
        """Learn nothing."""

    def move(self, mark: Mark, available: Amounts) -> Sequence[Share] | None:
        """Leave everything as it is."""
        return None


class FullRange:
    """One position over all ticks, opened once."""

    name = "full range"

    def __init__(self, market: Market) -> None:
        edge = floored(MAX_TICK, market.spacing)
        self._span = Span(-edge, edge)
        self._opened = False

    def watch(self, mark: Mark) -> None:
        """Learn nothing."""

    def move(self, mark: Mark, available: Amounts) -> Sequence[Share] | None:
        """Open the position at the first mark."""
        if self._opened:
            return None
        self._opened = True
        return [_most(self._span, mark, available)]


class Charm:
    """A wide base order around the price, and what is left over as a limit order beside it; anew once a day.

    Source: AlphaVault.rebalance of charmfinance/alpha-vaults-contracts, without its guard against manipulation.
    """

    name = "Charm-style"

    def __init__(self, market: Market) -> None:
        self._spacing = market.spacing
        self._acted: int | None = None

    def watch(self, mark: Mark) -> None:
        """Learn nothing."""

    def move(self, mark: Mark, available: Amounts) -> Sequence[Share] | None:
        """Place both orders anew when a day is over."""
        at = mark.spot.at
        if self._acted is not None and at - self._acted < CHARM_PERIOD_S:
            return None
        self._acted = at
        spacing, bucket = self._spacing, floored(mark.spot.tick, self._spacing)
        half, limit = (max(spacing, floored(wide, spacing)) for wide in (CHARM_BASE, CHARM_LIMIT))
        edge = floored(MAX_TICK, spacing)
        base = _most(Span(max(-edge, bucket - half), min(edge, bucket + spacing + half)), mark, available)
        left = available[0] - base.amounts[0], available[1] - base.amounts[1]
        sides = (
            _most(Span(bucket + spacing, min(edge, bucket + spacing + limit)), mark, (left[0], 0)),
            _most(Span(max(-edge, bucket - limit), bucket), mark, (0, left[1])),
        )
        return [share for share in (base, max(sides, key=lambda share: share.liquidity)) if share.liquidity]


class DroidStrategy:
    """A droid: decides at every mark as the daemon does, by the mean price since the last one."""

    name = "droid"

    def __init__(self, droid: Droid, pace: Pace, market: Market) -> None:
        self._droid, self._pace, self._market = droid, pace, market
        self._memory: Memory | None = None
        self.reasons: Counter[Reason] = Counter()

    def watch(self, mark: Mark) -> None:
        """Follow the average of the price."""
        price, at = self._market.mean_price(mark.ticks, mark.seconds), mark.spot.at
        if self._memory is None:
            self._memory = Memory(trend=begun(price, at))
        else:
            trend = followed(self._memory.trend, price, at, tau_s=self._pace.tau_s)
            self._memory = replace(self._memory, trend=trend)

    def move(self, mark: Mark, available: Amounts) -> Sequence[Share] | None:
        """Decide, and size the rungs of a new ladder."""
        assert self._memory is not None, "a mark is watched before it is acted upon"
        droid, market, spot = self._droid, self._market, mark.spot
        decision = decide(droid, self._pace, market, self._memory, spot)
        self.reasons[decision.reason] += 1
        anchor = trigger_price(droid, market, self._memory, spot)
        if not isinstance(decision, Rebalance):
            if decision.reanchor:
                self._memory = replace(self._memory, anchor=anchor)
            return None
        recent = tuple(at for at in self._memory.acted if spot.at - at < DAY_S)
        self._memory = replace(self._memory, anchor=anchor, spans=decision.spans, acted=(*recent, spot.at))
        funding = int(droid.funding_usd.scaleb(market.quote_decimals))
        return ladder.sized(
            decision.spans, ladder.linear(len(decision.spans)), sqrt_x96=spot.sqrt_x96,
            funding=market.in_token1(funding, spot.sqrt_x96), available=available,
        )  # fmt: skip


def _most(span: Span, mark: Mark, of: Amounts) -> Share:
    """Return the largest share that both amounts allow."""
    edges = sqrt_at(span.lower), sqrt_at(span.upper)
    size = liquidity_of(mark.spot.sqrt_x96, *edges, of)
    return Share(span, size, amounts(mark.spot.sqrt_x96, *edges, size, up=True))
