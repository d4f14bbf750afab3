"""What a droid would do, from the index alone: its next move, and its last days had it run then. Sends nothing.

The state of the pool is that of the newest stored block. Decisions, ladders and figures are those of the daemon and of
the backtest: the same functions.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final, Literal

import msgspec

from api.droids import plain, rounded, whole
from api.errors import BadRequest, NotCovered
from api.prices import Prices
from api.times import precise
from builders.liquidity import Amounts
from core.store import swaps, ticks
from core.store.pool import Connection, Pool, translated
from core.store.reader import snapshot
from core.types import BlockRange
from droids import backtest, records
from droids.backtest import Costs, Figures, Outcome
from droids.course import Course, Moment, course
from droids.decide import DAY_S, Memory, Reason, Rebalance, Spot, decide
from droids.droid import Droid, Pace
from droids.market import Market
from droids.plan import Closing, Held, Opening, Place, Plan, Terms, ended, moved
from droids.records import Command, DroidRow, PoolRow
from droids.strategies import DroidStrategy
from droids.trend import Trend, begun, followed
from droids.worth import principal

GWEI: Final = 10**9
MOST_MOMENTS: Final = 100_000  # of a pool's prices in one replay: with 30 days of looks eight seconds, 70 MB
MOST_MARKS: Final = 60_000  # looks of a droid in one replay: 41 days of a minute each
SQL_BASE_FEE: Final = "select base_fee from chain.block where chain_id = $1 and number = $2"


class PositionOf(msgspec.Struct, kw_only=True, rename="camel"):
    """A position that a plan closes or opens: its prices, and what it gives or takes in whole tokens."""

    position_id: str | None
    lower_tick: int
    upper_tick: int
    min_price: Decimal
    max_price: Decimal
    base: Decimal
    quote: Decimal

    @classmethod
    def of(cls, one: Closing | Opening, market: Market) -> "PositionOf":
        """Make it from a plan's part."""
        span = one.held.span if isinstance(one, Closing) else one.span
        low, high = sorted(market.prices(span))
        base, quote = market.split(one.gives if isinstance(one, Closing) else one.takes)
        return cls(
            position_id=hex(one.held.token_id) if isinstance(one, Closing) else None, lower_tick=span.lower,
            upper_tick=span.upper, min_price=rounded(low), max_price=rounded(high),
            base=whole(base, market.base_decimals), quote=whole(quote, market.quote_decimals),
        )  # fmt: skip


class PlanOf(msgspec.Struct, kw_only=True, rename="camel"):
    """GET /api/droids/{id}/plan: what a droid would do at `block` if it ran. Nothing is sent.

    `average` is where the EMA is from: the droid's own `memory`, or the `index` if it never ran. `funds` is how it is
    known what there is: by the `ledger`, without the fees that positions are owed, or `assumed` to be the funding,
    half of it in each token. `gas` is a
    measured gas of as many positions, priced at the block's base fee; `gasUSD` is null where the native coin has no
    price. `valueBefore` and `valueAfter` are all that it has, in quote.
    """

    time_stamp: str
    block: int
    active: int
    price: Decimal
    ema: Decimal
    slope: Decimal
    average: Literal["memory", "index"]
    decision: str
    reason: str
    why: str
    closes: list[PositionOf]
    opens: list[PositionOf]
    gas: int
    gas_price_gwei: Decimal | None
    gas_usd: Decimal | None = msgspec.field(name="gasUSD")
    funds: Literal["ledger", "assumed"]
    value_before: Decimal
    value_after: Decimal


class EstimateOf(msgspec.Struct, kw_only=True, rename="camel"):
    """GET /api/droids/{id}/estimate: what became of the funding in the pool's last days, by a backtest.

    Money is in quote, shares are of the funding. It runs from `from`, once the average was warm, and `to` the newest
    block. `gasUSD` is at the newest block's base fee, null where the native coin has no price: then no figure has any
    gas in it. `decisions` counts what was decided, by reason. What it does not say: docs/droids.md.
    """

    from_: str = msgspec.field(name="from")
    to: str
    from_block: int
    to_block: int
    seconds: int
    swaps: int
    rebalances: int
    rebalances_per_day: Decimal
    gas_price_gwei: Decimal | None
    gas_usd: Decimal | None = msgspec.field(name="gasUSD")
    fees: Decimal
    il: Decimal
    lvr: Decimal
    net_return: Decimal
    vs_hold: Decimal
    time_in_range: Decimal
    decisions: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Past:
    """What the index has of a pool in `blocks`: its prices, oldest first, the newest block's time and its base fee."""

    blocks: BlockRange
    moments: tuple[Moment, ...]
    now: datetime
    base_fee: int | None

    @property
    def spot(self) -> Spot:
        newest = self.moments[-1]
        return Spot(int(self.now.timestamp()), newest.sqrt_x96, newest.tick)


@dataclass(frozen=True, slots=True)
class _Gas:
    """What gas costs: wei for a unit, and the native coin in USD; None where nobody says."""

    wei: int | None
    native: Decimal | None

    @property
    def gwei(self) -> Decimal | None:
        return None if self.wei is None else plain(Decimal(self.wei) / GWEI)

    def usd(self, gas: int) -> Decimal | None:
        if self.wei is None or self.native is None:
            return None
        return rounded(self.native * gas * self.wei / 10**18)


class Outlook:
    """Computes plans and estimates. `pace` is that of the daemon, `slip_bps` and `deadline_s` those of its plans."""

    def __init__(self, pool: Pool, prices: Prices, pace: Pace, *, slip_bps: int, deadline_s: int) -> None:
        self._pool = pool
        self._prices = prices
        self._pace = pace
        self._slip_bps = slip_bps
        self._deadline_s = deadline_s
        # A replay is seconds of a processor: one at a time leaves the others to everybody else.
        self._replaying = asyncio.Semaphore(1)

    async def plan(self, row: DroidRow, place: PoolRow, chain: str) -> PlanOf:
        """Return what the droid would do now. Raises NotCovered where the index does not say enough."""
        market, pace = _market(place), self._pace
        async with self._reading() as conn:
            past = await _past(conn, place, pace.warm_up_s + 2 * pace.sample_s)
            known = await records.memory(conn, row.droid_id, past.now - timedelta(seconds=DAY_S))
            held = await records.held(conn, row.droid_id)
            there = await records.balances(conn, row.droid_id)
        gas = await self._gas(chain, place, past)
        memory = known or Memory(trend=await asyncio.to_thread(_trend, market, past, pace))
        droid, spot = row.droid, past.spot
        where = _place(row, place)
        idle = (there.get(where.token0, 0), there.get(where.token1, 0)) if there else _assumed(droid, market, spot)
        terms = Terms(slip_bps=self._slip_bps, deadline=spot.at + self._deadline_s)
        move = _Move(droid, market, where, held, idle, spot, terms)
        decided, reason, why, made = move.close() if row.active is Command.CLOSE else move.decide(pace, memory)
        closes, opens = (made.closings, made.openings) if made else ((), ())
        units = backtest.gas_of(len(closes), len(opens))
        have = move.worth()
        return PlanOf(
            time_stamp=precise(past.now), block=past.blocks.last, active=int(row.active),
            price=rounded(market.price(spot.sqrt_x96)), ema=rounded(memory.trend.value),
            slope=rounded(memory.trend.slope), average="memory" if known else "index", decision=decided, reason=reason,
            why=why, closes=[PositionOf.of(each, market) for each in closes],
            opens=[PositionOf.of(each, market) for each in opens], gas=units, gas_price_gwei=gas.gwei,
            gas_usd=gas.usd(units), funds="ledger" if there else "assumed",
            value_before=whole(made.before if made else have, market.quote_decimals),
            value_after=whole(made.after if made else have, market.quote_decimals),
        )  # fmt: skip

    async def estimate(self, row: DroidRow, place: PoolRow, chain: str, days: int) -> EstimateOf:
        """Return what became of the droid's funding in the last `days`, after the warm-up, without its positions.

        Raises NotCovered where the index does not have all of it, BadRequest where that is too much.
        """
        market, pace, droid = _market(place), self._pace, row.droid
        async with self._replaying:
            async with self._reading() as conn:
                past = await _past(conn, place, days * DAY_S + pace.warm_up_s, whole=True)
            gas = await self._gas(chain, place, past)
            priced = gas.wei is not None and gas.native is not None
            costs = Costs(gas.wei or 0, gas.native) if priced else Costs(0, Decimal(0))
            way, figures, reasons = await asyncio.to_thread(_replayed, market, past, pace, droid, costs)
        return EstimateOf(
            from_=precise(datetime.fromtimestamp(way.first.at, UTC)), to=precise(past.now),
            from_block=past.blocks.first, to_block=past.blocks.last, seconds=figures.seconds, swaps=len(past.moments),
            rebalances=figures.rebalances,
            rebalances_per_day=rounded(Decimal(figures.rebalances * DAY_S) / figures.seconds),
            gas_price_gwei=gas.gwei, gas_usd=plain(figures.gas) if priced else None, fees=plain(figures.fees),
            il=plain(figures.il), lvr=plain(figures.lvr), net_return=rounded(figures.net_return),
            vs_hold=rounded(figures.vs_hold), time_in_range=rounded(figures.time_in_range),
            decisions={str(reason): count for reason, count in sorted(reasons.items())},
        )  # fmt: skip

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[Connection]:
        with translated():
            async with snapshot(self._pool) as conn:
                yield conn

    async def _gas(self, chain: str, place: PoolRow, past: "_Past") -> "_Gas":
        """Return what gas costs; the native coin by the pool itself where it is its base, as in a backtest."""
        pricer = self._prices.pricer(chain, place.chain_id)
        if pricer is None or place.tokens is None or place.market is None:
            return _Gas(past.base_fee, None)
        if place.tokens[not place.market.base_is_token0] == pricer.venue.wrapper:
            return _Gas(past.base_fee, place.market.price(past.spot.sqrt_x96))
        native = await self._prices.native(chain, place.chain_id)
        usd = None if native is None or native["usd"] is None else Decimal(str(native["usd"]))
        return _Gas(past.base_fee, usd)


@dataclass(frozen=True, slots=True)
class _Move:
    """A droid with what it has, at one block."""

    droid: Droid
    market: Market
    place: Place
    held: Sequence[Held]
    idle: Amounts
    spot: Spot
    terms: Terms

    def decide(self, pace: Pace, memory: Memory) -> tuple[str, str, str, Plan | None]:
        """Return what is decided, the word and the sentence why, and the transaction that would do it, if any."""
        decision = decide(self.droid, pace, self.market, memory, self.spot)
        if not isinstance(decision, Rebalance):
            return "Hold", decision.reason, decision.why, None
        funding = int(self.droid.funding_usd.scaleb(self.market.quote_decimals))
        made = moved(
            self.market, self.place, self.held, decision.spans, sqrt_x96=self.spot.sqrt_x96,
            funding=self.market.in_token1(funding, self.spot.sqrt_x96), idle=self.idle, terms=self.terms,
        )  # fmt: skip
        return "Rebalance", decision.reason, decision.why, made

    def close(self) -> tuple[str, str, str, Plan | None]:
        """Return the transaction that closes everything, if there is anything."""
        at = self.spot.sqrt_x96
        made = ended(self.market, self.place, self.held, sqrt_x96=at, idle=self.idle, terms=self.terms)
        return "Close", "closing", "it was told to close all of its positions", made

    def worth(self) -> int:
        """Return what all that it has is worth, in base units of the quote."""
        at = self.spot.sqrt_x96
        return self.market.worth(principal(self.held, at), at) + self.market.worth(self.idle, at)


async def _past(conn: Connection, place: PoolRow, seconds: int, *, whole: bool = False) -> _Past:
    """Return what the pool said in the last `seconds` before the newest stored block; `whole`: nothing may be missing.

    Raises NotCovered where the index has a hole, BadRequest for more than can be gone through.
    """
    chain_id, address = place.chain_id, place.address
    watched = await ticks.watched(conn, chain_id)
    if watched is not None and address not in watched:
        raise NotCovered(f"not_covered: only some of the swaps of 0x{address.hex()} are stored: it is not watched")
    head = await ticks.block_at(conn, chain_id, None)
    span = next((each for each in await swaps.covered(conn, chain_id) if head and head.number in each), None)
    if head is None or span is None:
        raise NotCovered("not_covered: nothing of the chain is indexed yet")
    now = await _time(conn, chain_id, head.number)
    begin = await _begin(conn, chain_id, span, now - timedelta(seconds=seconds), whole=whole)
    blocks = BlockRange(begin, head.number)
    moments = await _moments(conn, place, blocks, since=span.first)
    if not moments:
        raise NotCovered(f"not_covered: 0x{address.hex()} said nothing of its price in blocks {span}")
    return _Past(blocks, tuple(moments), now, _fee(await conn.fetchval(SQL_BASE_FEE, chain_id, head.number)))


async def _begin(conn: Connection, chain_id: int, span: BlockRange, since: datetime, *, whole: bool) -> int:
    """Return the first block to look at. A chain that is younger than asked for is looked at from its first block."""
    found = await ticks.block_at(conn, chain_id, since)
    if found is not None and found.number in span:
        return found.number
    if whole and span.first > 0:
        first = precise(await _time(conn, chain_id, span.first))
        raise NotCovered(
            f"not_covered: blocks before {span.first} ({first}) are not indexed, expected all since {precise(since)}"
        )
    return span.first


async def _moments(conn: Connection, place: PoolRow, blocks: BlockRange, *, since: int) -> list[Moment]:
    """Return the price that was there at first, and all that followed."""
    chain_id, address = place.chain_id, place.address
    before = (await ticks.newest(conn, chain_id, [address], since, blocks.first - 1)).get(address)
    found: list[Moment] = []
    if before is not None:
        at = await _time(conn, chain_id, blocks.first)
        found.append(Moment(int(at.timestamp()), before.sqrt_x96, before.tick, before.liquidity))
    async for each in swaps.ticks_of(conn, chain_id, address, blocks):
        found.append(Moment(int(each.time.timestamp()), each.sqrt_x96, each.tick, each.liquidity))
        if len(found) > MOST_MOMENTS:
            raise BadRequest(f"days: the pool has more than {MOST_MOMENTS} prices in that time; ask for fewer days")
    return found


async def _time(conn: Connection, chain_id: int, number: int) -> datetime:
    found = await swaps.time_of(conn, chain_id, number)
    assert found is not None, "covered blocks are stored"
    return found


def _fee(found: object) -> int | None:
    return None if found is None else int(str(found))


def _trend(market: Market, past: _Past, pace: Pace) -> Trend:
    """Return the average that the daemon would have, had it looked on since the first of these prices."""
    way = course(market, past.moments, sample_s=pace.sample_s, warm_up_s=0, funding=1, until=past.spot.at)
    found: Trend | None = None
    for mark in way.marks:
        price, at = market.mean_price(mark.ticks, mark.seconds), mark.spot.at
        found = begun(price, at) if found is None else followed(found, price, at, tau_s=pace.tau_s)
    assert found is not None, "a course has marks"
    return found


def _course(market: Market, past: _Past, pace: Pace, droid: Droid) -> Course:
    marks = (past.spot.at - past.moments[0].at) // pace.sample_s
    if marks > MOST_MARKS:
        raise BadRequest(f"days: expected at most {MOST_MARKS} looks of {pace.sample_s} s each, found {marks}")
    funding = int(droid.funding_usd.scaleb(market.quote_decimals))
    try:
        return course(
            market, past.moments, sample_s=pace.sample_s, warm_up_s=pace.warm_up_s, funding=funding, until=past.spot.at
        )
    except ValueError as error:
        raise NotCovered(f"not_covered: {error}") from None


def _replayed(
    market: Market, past: _Past, pace: Pace, droid: Droid, costs: Costs
) -> tuple[Course, Figures, Mapping[Reason, int]]:
    """Return what a droid would have made of the past, and how often it would have decided what."""
    way, strategy = _course(market, past, pace, droid), DroidStrategy(droid, pace, market)
    steps = backtest.run(way, strategy, costs)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            outcome: Outcome = done.value
            return way, outcome.figures, strategy.reasons


def _market(place: PoolRow) -> Market:
    if place.market is None:
        raise NotCovered(f"pool_not_read: the worker has not read the contract of pool {place.pool_id} yet")
    return place.market


def _place(row: DroidRow, place: PoolRow) -> Place:
    assert place.tokens is not None, "known with the market"
    return Place(manager=place.manager, token0=place.tokens[0], token1=place.tokens[1], wallet=row.wallet)


def _assumed(droid: Droid, market: Market, spot: Spot) -> Amounts:
    """Return the funding, half of it in each token: what a droid has of which nothing else is known."""
    return backtest.halves(market, int(droid.funding_usd.scaleb(market.quote_decimals)), spot.sqrt_x96)
