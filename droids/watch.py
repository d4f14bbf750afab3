"""One look: from what a block says to a decision, and to the intent that follows from it.

observe -> reconcile -> average -> decide -> guards -> plan -> simulate -> value before and after -> queue.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import Protocol
from uuid import uuid4

from builders import erc20
from builders.call import Call
from builders.liquidity import Amounts, amounts
from builders.ticks import sqrt_at
from core.clock import Clock
from core.rpc.client import Rpc
from droids import guards, plan
from droids.decide import Hold, Memory, Reason, Rebalance, decide, trigger_price
from droids.droid import Droid, Pace
from droids.guards import Refusal, Word
from droids.journal import Journal, Known, Move, Noted, Remembered, at_time
from droids.market import Market, Span
from droids.observe import Asked, Sight, Simulated, look, simulate
from droids.plan import Place, Plan
from droids.records import Status
from droids.trend import begun, followed
from droids.worth import Books, Worth, lvr_of, worth
from wallet.fees import TooHigh, quote
from wallet.node import Node, Reverts
from wallet.policy import Rules
from wallet.types import NATIVE, Intent

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What settings of the sender let a wallet do. Fees are wei for each gas."""

    rules: Rules
    max_fee: int
    min_tip: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What holds for a droid beside its own fields. `wrapper` is the token of the native coin, None if unknown.

    `means` is None, and `complaint` says why, if settings know nothing of the wallet. Times are seconds.
    """

    pace: Pace
    limits: guards.Limits
    deadline_s: int
    poll_s: float
    wrapper: bytes | None
    means: Means | None
    complaint: str = ""


class Meter(Protocol):
    """What is counted of looks."""

    def decided(self, decided: str, word: str) -> None:
        """Count a decision."""
        ...

    def worth(self, aum: int, positions: int) -> None:
        """Show what all is worth."""
        ...


class Watch:
    """A look at one block, and what follows from it. Methods may raise Transient errors."""

    def __init__(
        self, journal: Journal, client: Rpc, known: Known, droid: Droid, terms: Terms, *, clock: Clock, meter: Meter
    ) -> None:
        assert known.session is not None, "who looks has a session"
        self._journal = journal
        self._client = client
        self._known = known
        self._session = known.session
        self._droid = droid
        self._terms = terms
        self._clock = clock
        self._meter = meter
        self._place = place_of(known)
        self._market = market_of(known)

    async def look(self, *, snapshot: bool) -> bool:
        """Look, and act upon it; return whether a snapshot was taken."""
        trend = self._known.memory.trend
        asked = Asked(
            market=self._market, place=self._place, pool=self._known.pool.address, twap_s=self._terms.limits.twap_s,
            known=frozenset(each.token_id for each in self._known.positions),
            since=None if trend is None else trend.at, last=self._known.last,
        )  # fmt: skip
        sight = await look(self._client, asked)
        memory = self._sampled(sight)
        if self._known.move is not None:
            await self._journal.remember(memory)
            return False
        memory = self._marked(memory, sight)
        await self._journal.remember(memory)
        halted = await self._reconcile(sight)
        if snapshot:
            await self._journal.snapshot(at_time(sight.spot.at), sight.block, await self._worth(sight, memory))
        if not halted:
            await self._act(sight, memory)
        return snapshot

    def _sampled(self, sight: Sight) -> Remembered:
        """Return the memory with this look's price in its average."""
        memory, at = self._known.memory, sight.spot.at
        price = self._market.price(sight.spot.sqrt_x96)
        if memory.trend is not None and at <= memory.trend.at:
            return memory
        if memory.trend is None or sight.ticks is None:
            # A pool that does not remember since the last look: the average of what nobody saw begins anew.
            return replace(memory, trend=begun(price, at))
        mean = self._market.mean_price(sight.ticks, sight.seconds)
        return replace(memory, trend=followed(memory.trend, mean, at, tau_s=self._terms.pace.tau_s))

    def _marked(self, memory: Remembered, sight: Sight) -> Remembered:
        """Return the memory with what arbitrage took since the last mark."""
        now = sight.spot.sqrt_x96
        more = 0 if memory.mark is None else lvr_of(self._market, sight.held, memory.mark, now)
        return replace(memory, mark=now, lvr=memory.lvr + more)

    async def _worth(self, sight: Sight, memory: Remembered) -> Worth:
        assert self._known.pool.tokens is not None, "the pool is known"
        wei, usd = await self._journal.spent()
        put = [each.put for each in self._known.positions if each.token_id not in sight.gone]
        books = Books(
            flows=await self._journal.flows(), past=await self._journal.past(), gas_wei=wei, gas_usd=usd,
            put=(sum(one for one, _ in put), sum(other for _, other in put)), lvr=memory.lvr,
        )  # fmt: skip
        found = worth(
            self._market, self._known.pool.tokens, books, sight.held, sqrt_x96=sight.spot.sqrt_x96, idle=sight.idle,
            native=sight.native,
        )  # fmt: skip
        self._meter.worth(found.aum, len(sight.held))
        return found

    async def _reconcile(self, sight: Sight) -> bool:
        """Hold the rows against the chain; return whether a person has to look before anything else is sent."""
        await self._journal.reconciled(self._known, sight.gone, sight.strangers)
        place, sums = self._place, await self._journal.sums()
        there = {place.token0: sight.idle[0], place.token1: sight.idle[1], NATIVE: sight.native}
        other = {asset: amount - sums.get(asset, 0) for asset, amount in there.items() if amount != sums.get(asset, 0)}
        if other and sight.rooted:
            await self._journal.found(sight.block, "external" if sums else "opening", other)
        why = ""
        if not sight.rooted:
            why = f"block {self._known.last}, in which the last move was settled, is not in the chain any more"
        elif sight.gone:
            why = f"positions {sorted(sight.gone)} are not the wallet's any more, and no intent closed them"
        if why and self._session.status is not Status.HALTED:
            log.error("droid halts", extra={"droid": self._known.row.droid_id, "why": why})
            await self._journal.turn(self._session.session_id, Status.HALTED, why)
        return bool(why)

    # Deciding.

    async def _act(self, sight: Sight, memory: Remembered) -> None:
        match self._session.status:
            case Status.CLOSING:
                await self._close(sight, memory)
            case Status.WARMING | Status.RUNNING:
                await self._decide(sight, memory)
            case _:
                pass

    async def _decide(self, sight: Sight, memory: Remembered) -> None:
        assert memory.trend is not None, "there is a sample"
        known = self._known
        mind = Memory(trend=memory.trend, anchor=memory.anchor, spans=known.spans, acted=known.acted)
        decision = decide(self._droid, self._terms.pace, self._market, mind, sight.spot)
        warming = isinstance(decision, Hold) and decision.reason is Reason.WARMING
        status = Status.WARMING if warming else Status.RUNNING
        if status is not self._session.status:
            await self._journal.turn(self._session.session_id, status)
        trigger = trigger_price(self._droid, self._market, mind, sight.spot)
        if isinstance(decision, Hold):
            await self._hold(sight, memory, decision.reason, decision.why, trigger if decision.reanchor else None)
        else:
            await self._rebalance(sight, memory, decision, trigger)

    async def _hold(
        self, sight: Sight, memory: Remembered, word: str, why: str, anchor: Decimal | None = None
    ) -> None:  # fmt: skip
        noted = self._noted("Hold", word, why, sight, memory)
        self._meter.decided(noted.decided, noted.word)
        await self._journal.note(self._known, sight.block, noted, anchor=anchor)

    def _noted(self, decided: str, word: str, why: str, sight: Sight, memory: Remembered) -> Noted:
        price = self._market.price(sight.spot.sqrt_x96)
        return Noted(decided=decided, word=str(word), sentence=why, price=price, trend=memory.trend)

    async def _rebalance(self, sight: Sight, memory: Remembered, decision: Rebalance, anchor: Decimal) -> None:
        against = await self._guarded(sight, leaving=False)
        if against is not None:
            await self._hold(sight, memory, against.word, f"{decision.why}; {against.why}")
            return
        made = plan.moved(
            self._market, self._place, sight.held, decision.spans, sqrt_x96=sight.spot.sqrt_x96, idle=sight.idle,
            funding=self._market.in_token1(self._ceiling, sight.spot.sqrt_x96), terms=self._slip(sight),
        )  # fmt: skip
        if made is None:
            same = bool(sight.held)
            word, why = (
                (Reason.SAME_LADDER, "the ladder would be the same")
                if same else (Word.NO_TOKENS, "the wallet has nothing to open a position with")
            )  # fmt: skip
            await self._hold(sight, memory, word, f"{decision.why}; {why}", anchor if same else None)
            return
        approval = self._approval(sight, made)
        if isinstance(approval, Call):
            noted = self._noted(
                "Approve", decision.reason, f"{decision.why}; the manager may take too little", sight, memory
            )
            await self._send(sight, "approve", approval, noted)
            return
        refusal = approval or await self._affordable(sight, made, leaving=False) or await self._simulated(sight, made)
        if refusal is not None:
            await self._hold(sight, memory, refusal.word, f"{decision.why}; {refusal.why}")
            return
        noted = self._noted("Rebalance", decision.reason, decision.why, sight, memory)
        await self._send(sight, "rebalance", made.call, noted, spans=decision.spans, anchor=anchor)

    async def _close(self, sight: Sight, memory: Remembered) -> None:
        made = plan.ended(
            self._market,
            self._place,
            sight.held,
            sqrt_x96=sight.spot.sqrt_x96,
            idle=sight.idle,
            terms=self._slip(sight),
        )
        if made is None or self._too_soon(sight):
            return
        refusal = (
            await self._guarded(sight, leaving=True)
            or await self._affordable(sight, made, leaving=True)
            or await self._simulated(sight, made)
        )
        if refusal is not None:
            await self._hold(sight, memory, refusal.word, f"closing waits; {refusal.why}")
            return
        noted = self._noted(
            "Close", "close", f"{len(made.closings)} positions, since somebody asked for it", sight, memory
        )
        await self._send(sight, "close", made.call, noted)

    def _too_soon(self, sight: Sight) -> bool:
        if self._known.refused is None:
            return False
        at, outcome = self._known.refused
        pace = self._terms.pace
        return sight.spot.at - at < (pace.cooldown_s if outcome == "rehearsed" else pace.sample_s)

    def _slip(self, sight: Sight) -> plan.Terms:
        return plan.Terms(slip_bps=self._terms.limits.slip_bps, deadline=sight.spot.at + self._terms.deadline_s)

    @property
    def _max_fee(self) -> int:
        return int(self._droid.max_gas_price * guards.GWEI)

    @property
    def _ceiling(self) -> int:
        return int(self._droid.funding_usd.scaleb(self._market.quote_decimals))

    # Guards.

    async def _guarded(self, sight: Sight, *, leaving: bool) -> Refusal | None:
        if self._terms.means is None:
            return Refusal(Word.NO_WALLET, self._terms.complaint)
        halted, alarmed = await self._journal.against(self._known.row.chain_id)
        scene = guards.Scene(
            halted=halted, alarmed=alarmed, head_age_s=int(self._clock.now().timestamp()) - sight.spot.at,
            tick=sight.spot.tick, twap_tick=sight.twap_tick, native=sight.native,
        )  # fmt: skip
        return guards.now(scene, self._terms.limits, leaving=leaving)

    def _approval(self, sight: Sight, made: Plan) -> Call | Refusal | None:
        """Return what has to be approved first, None if nothing has."""
        assert self._terms.means is not None, "guards have asked for them"
        for side, token in enumerate((self._place.token0, self._place.token1)):
            wanted = sum(each.offered[side] for each in made.openings)
            if wanted <= sight.allowed[side]:
                continue
            most = self._terms.means.rules.bound(token).each
            if most < wanted:
                why = f"token 0x{token.hex()}: {wanted} are needed at once, settings of its wallet allow {most}"
                return Refusal(Word.NO_WALLET, why)
            return erc20.approve(token, self._place.manager, most)
        return None

    async def _affordable(self, sight: Sight, made: Plan, *, leaving: bool) -> Refusal | None:
        """Hold a plan against what gas costs now, and against the session's budget; estimating it also simulates it."""
        assert self._terms.means is not None, "guards have asked for them"
        means, node = self._terms.means, Node(self._client, self._place.wallet)
        history = await node.history()
        fees = quote(history, self._droid.tx_priority, min_tip=means.min_tip, cap=min(means.max_fee, self._max_fee))
        if isinstance(fees, TooHigh):
            return Refusal(Word.GAS_PRICE, str(fees))
        if leaving:
            return None
        wanted = history.next_base_fee + fees.tip
        price = self._native_price(sight)
        if price is None:
            return Refusal(Word.GAS_BUDGET, "the native coin has no price: its wrapper is no token of the pool")
        gas = await node.estimate(made.call, sight.block)
        if isinstance(gas, Reverts):
            return Refusal(Word.REVERTS, str(gas))
        exit_gas = guards.exit_gas(len(made.openings))
        cost = guards.Cost(
            gas=gas, exit_gas=exit_gas, gas_price=wanted, native_price=price, spent_usd=self._session.gas_usd
        )
        return guards.budget(cost, self._droid.gas_budget_limit)

    async def _simulated(self, sight: Sight, made: Plan) -> Refusal | None:
        """Let the node carry the plan out on the block it was made for, and hold what comes of it against before."""
        done = await simulate(self._client, self._place, made.call, sight.block)
        if isinstance(done, str):
            return Refusal(Word.REVERTS, done)
        sqrt = sight.spot.sqrt_x96
        placed = _sum([taken for _, taken in done.opened])
        refusal = guards.funding(self._market.worth(placed, sqrt), self._ceiling)
        after = self._market.worth(_after(sight, made, done), sqrt)
        return refusal or guards.value(made.before, after, self._terms.limits.slip_bps)

    def _native_price(self, sight: Sight) -> Decimal | None:
        base = self._place.token0 if self._market.base_is_token0 else self._place.token1
        return self._market.price(sight.spot.sqrt_x96) if base == self._terms.wrapper else None

    # Sending.

    async def _send(
        self, sight: Sight, kind: str, call: Call, noted: Noted, *, spans: Sequence[Span] = (),
        anchor: Decimal | None = None,
    ) -> None:  # fmt: skip
        row, now = self._known.row, self._clock.now()
        intent = Intent(
            id=uuid4(), chain_id=row.chain_id, wallet=row.wallet, owner=f"droid.{row.droid_id}", kind=kind, call=call,
            priority=self._droid.tx_priority, deadline=now + timedelta(seconds=self._terms.deadline_s),
            max_fee=self._max_fee,
        )  # fmt: skip
        move = Move(
            intent_id=intent.id, session_id=self._session.session_id, kind=kind, at=at_time(sight.spot.at),
            block=sight.block, sqrt_x96=sight.spot.sqrt_x96, spans=tuple(spans), anchor=anchor,
            native_price=self._native_price(sight) or Decimal(0),
        )  # fmt: skip
        self._meter.decided(noted.decided, noted.word)
        await self._journal.queue(self._known, move, intent, noted)
        log.info("move queued", extra={"droid": row.droid_id, "kind": kind, "why": noted.sentence})


def place_of(known: Known) -> Place:
    """Return where a droid's positions are; its pool has to be known."""
    assert known.pool.tokens is not None, "the pool was introduced"
    token0, token1 = known.pool.tokens
    return Place(manager=known.pool.manager, token0=token0, token1=token1, wallet=known.row.wallet)


def market_of(known: Known) -> Market:
    """Return a droid's market; its pool has to be known."""
    assert known.pool.market is not None, "the pool was introduced"
    return known.pool.market


def _after(sight: Sight, made: Plan, done: Simulated) -> Amounts:
    """Return what there would be after a plan: idle, and in the positions that it opens."""
    price = sight.spot.sqrt_x96
    taken = _sum([each for _, each in done.opened])
    inside = [
        amounts(price, sqrt_at(each.span.lower), sqrt_at(each.span.upper), liquidity, up=False)
        for each, (liquidity, _) in zip(made.openings, done.opened, strict=True)
    ]
    one, other = _sum([sight.idle, done.paid, *inside])
    return one - taken[0], other - taken[1]


def _sum(of: Sequence[Amounts]) -> Amounts:
    return sum(one for one, _ in of), sum(other for _, other in of)
