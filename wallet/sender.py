"""The loop that sends from one wallet: it looks at what is open, then takes the next intent that may go.

simulate -> nonce -> sign -> store hash and bytes, commit -> broadcast -> follow all attempts -> apply, in one
transaction. A crash between any two of these is a restart: everything is decided from rows and from the chain.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, assert_never

from builders.call import Call
from core.clock import Clock
from core.errors import BadConfig, RpcUnavailable
from core.store.pool import Pool
from core.types import BlockRef
from wallet import judge
from wallet.activation import differences
from wallet.fees import TooHigh, cancel_cap, gas_limit, quote, replacement
from wallet.judge import next_nonce
from wallet.ledger import movements
from wallet.node import Node, Reverts
from wallet.outbox import Leave, Outbox, Overtaken, leased
from wallet.policy import Denied, Rules, Spend, over_a_day, spend_of, with_fee
from wallet.signer import Signer, hash_of
from wallet.types import NATIVE, Attempt, AttemptKind, Fees, Intent, Opened, Outcome, Receipt, Seen, State, Unsigned

log = logging.getLogger(__name__)

CANCEL_PRIORITY: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How a wallet sends. Fees are wei for each gas, blocks those of its chain.

    `settle_blocks`: depth from which no reorg is expected. `bump_blocks`: how long an attempt may wait before it is
    replaced. `kill_file`: while it exists, nothing is signed or broadcast.
    """

    max_fee: int
    min_tip: int
    max_gas: int
    settle_blocks: int
    bump_blocks: int
    poll_s: float
    kill_file: Path | None = None


class Meter(Protocol):
    """What is counted of sending."""

    def waiting(self, queued: int, pending: int, mined: int) -> None:
        """Show how many intents are open."""
        ...

    def broadcast(self, kind: str) -> None:
        """Count a signed transaction that went out for the first time."""
        ...

    def ended(self, state: str, fee: int) -> None:
        """Count an intent that is final, and what it cost in wei."""
        ...

    def reopened(self) -> None:
        """Count an intent whose block a reorg took."""
        ...

    def blocked(self, why: bool) -> None:
        """Show whether something keeps the wallet from sending."""
        ...


class Sender:
    """Sends from one wallet (a Service). Without a `signer` it rehearses: everything but signing and sending."""

    def __init__(
        self, name: str, pool: Pool, node: Node, rules: Rules, limits: Limits, *, chain_id: int, clock: Clock,
        meter: Meter, signer: Signer | None, beat: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        if signer is not None and signer.address != rules.wallet:
            raise BadConfig(
                f"wallets.{name}.address: the key is that of 0x{signer.address.hex()}, not 0x{rules.wallet.hex()}"
            )
        self.name = f"sender.{name}"
        self._pool = pool
        self._node = node
        self._rules = rules
        self._limits = limits
        self._chain = chain_id
        self._clock = clock
        self._meter = meter
        self._signer = signer
        self._beat = beat
        self._sent: dict[bytes, int] = {}  # attempt -> head at which it was broadcast last

    async def run(self) -> None:
        """Send for ever, as the only process that does for this wallet."""
        async with leased(self._pool, self._chain, self._rules.wallet, self._clock, self._beat) as outbox:
            log.info("sender has the lease", extra={"wallet": self.name, "live": self._signer is not None})
            while True:
                await self.step(outbox)
                self._beat()
                await self._clock.sleep(self._limits.poll_s)

    async def step(self, outbox: Outbox) -> None:
        """Look after what is open, then send what may go."""
        opened = await outbox.opened()
        if opened:
            seen = await self._node.observe(opened, self._limits.settle_blocks)
            for each in opened:
                await self._follow(outbox, each, seen)
            opened = await outbox.opened()
        waiting = await self._still_wanted(outbox)
        pending = sum(each.state is State.PENDING for each in opened)
        self._meter.waiting(len(waiting), pending, len(opened) - pending)
        # One at a time: the next one waits until this one is mined.
        if not waiting or pending:
            return
        against = "" if self._signer is None else await self._against(outbox, await self._node.head())
        for intent in waiting:
            if against:
                await outbox.note(intent.id, against)
            elif await self._take(outbox, intent):
                return

    async def _still_wanted(self, outbox: Outbox) -> list[Intent]:
        """Return what is queued, and end what is not wanted any more."""
        wanted = []
        for intent, cancelled in await outbox.queued():
            if cancelled:
                await self._end(outbox, intent, State.DROPPED, "cancelled before anything was signed")
            elif self._clock.now() > intent.deadline:
                await self._end(outbox, intent, State.DROPPED, "its deadline passed in the queue")
            else:
                wanted.append(intent)
        return wanted

    # What is open.

    async def _follow(self, outbox: Outbox, opened: Opened, seen: Seen) -> None:
        limits = self._limits
        verdict = judge.judge(
            opened, seen, self._clock.now(), settle_blocks=limits.settle_blocks, bump_blocks=limits.bump_blocks
        )
        match verdict:
            case judge.Hold(why):
                await outbox.note(opened.intent.id, why)
            case judge.Include(receipt):
                await self._include(outbox, opened, receipt)
            case judge.Settle(depth):
                await outbox.settle(opened, depth)
                self._ended(opened, State.SETTLED, seen)
            case judge.Reopen(why):
                log.warning("a reorg took a transaction", extra=self._about(opened.intent, why=why))
                await outbox.reopen(opened, why)
                self._meter.reopened()
            case judge.Send():
                await self._broadcast(outbox, opened, seen)
            case judge.Bump():
                await self._bump(outbox, opened, seen)
            case judge.Cancel(why):
                await self._cancel(outbox, opened, seen, why)
            case judge.Lose():
                log.error("nonce used by somebody else", extra=self._about(opened.intent, nonce=opened.nonce))
                await outbox.lose(opened, f"nonce {opened.nonce} was used by a transaction that is not ours")
                self._meter.ended(State.LOST, 0)
            case never:
                assert_never(never)

    async def _include(self, outbox: Outbox, opened: Opened, receipt: Receipt) -> None:
        attempt = opened.attempt(receipt.hash)
        call = opened.intent.call if attempt.kind == "send" else self._nothing()
        outcome = Outcome.CANCELLED if attempt.kind == "cancel" else Outcome.DONE if receipt.ok else Outcome.REVERTED
        await outbox.include(opened, receipt, outcome, movements(self._rules.wallet, call, receipt))
        log.info(
            "mined", extra=self._about(opened.intent, outcome=outcome, block=receipt.block.number, fee=receipt.fee)
        )

    async def _broadcast(self, outbox: Outbox, opened: Opened, seen: Seen) -> None:
        """Give the newest attempt to a node, once for each new head: nodes forget what waits for long."""
        attempt = opened.attempts[-1]
        if self._sent.get(attempt.hash) != seen.head.number:
            await self._out(outbox, opened.intent, attempt, seen.head)

    async def _bump(self, outbox: Outbox, opened: Opened, seen: Seen) -> None:
        last = opened.attempts[-1]
        most = self._most(opened.intent) if last.kind == "send" else self._limits.max_fee
        cap = most if last.kind == "send" else cancel_cap(most)
        fees = replacement(last.fees, await self._quote(opened.intent.priority, most), cap=cap)
        spend = self._replaced(opened, last.gas, fees) if fees is not None else None
        if fees is None or spend is None:
            await outbox.note(opened.intent.id, f"waits at {last.fees.cap} wei for each gas: the caps allow no more")
            await self._broadcast(outbox, opened, seen)
            return
        call = opened.intent.call if last.kind == "send" else self._nothing()
        unsigned = self._unsigned(call, opened.nonce, last.gas, fees)
        await self._replace(outbox, opened, seen, unsigned, kind=last.kind, spend=spend)

    async def _cancel(self, outbox: Outbox, opened: Opened, seen: Seen, why: str) -> None:
        last = opened.attempts[-1]
        fees = replacement(
            last.fees, await self._quote(CANCEL_PRIORITY, self._limits.max_fee), cap=cancel_cap(self._limits.max_fee)
        )
        gas = await self._node.estimate(self._nothing(), seen.head)
        if fees is None or not isinstance(gas, int):
            await outbox.note(
                opened.intent.id, f"cannot be cancelled now: {gas if fees else 'its fees are at the cap'}"
            )
            await self._broadcast(outbox, opened, seen)
            return
        log.info("cancelling", extra=self._about(opened.intent, why=why))
        unsigned = self._unsigned(self._nothing(), opened.nonce, gas_limit(gas), fees)
        await self._replace(outbox, opened, seen, unsigned, kind="cancel", spend={})

    async def _replace(
        self, outbox: Outbox, opened: Opened, seen: Seen, unsigned: Unsigned, *, kind: AttemptKind, spend: Spend
    ) -> None:
        against = await self._against(outbox, seen.head)
        if against:
            await outbox.note(opened.intent.id, against)
            return
        attempt = await self._signed(unsigned, kind, seen.head)
        await outbox.replace(opened, attempt, spend)
        await self._out(outbox, opened.intent, attempt, seen.head)

    # What is queued.

    async def _take(self, outbox: Outbox, intent: Intent) -> bool:
        """Send a queued intent; False if it waits, or was ended, and the next one may be looked at."""
        try:
            plan = await self._plan(intent, await outbox.spent())
        except Denied as denied:
            return await self._end(outbox, intent, State.DROPPED, f"policy: {denied}")
        except _Fails as error:
            return await self._end(outbox, intent, State.DROPPED, str(error))
        except _Later as error:
            return await self._wait(outbox, intent, str(error))
        return await self._first(outbox, intent, plan)

    async def _plan(self, intent: Intent, spent: Spend) -> "_Plan":
        """Return how to send an intent now. Raises Denied, _Fails, _Later."""
        spend = spend_of(intent.call, self._rules)
        self._within_a_day(spend, spent)
        fees = await self._quote(intent.priority, self._most(intent))
        if isinstance(fees, TooHigh):
            raise _Later(str(fees))
        head = await self._node.head()
        balance = await self._node.balance(head)
        _enough(balance, intent.call.value)
        used = await self._node.estimate(intent.call, head)
        if isinstance(used, Reverts):
            raise _Fails(str(used))
        gas = gas_limit(used)
        if gas > self._limits.max_gas:
            raise Denied(f"gas: {gas} is more than the {self._limits.max_gas} of one transaction")
        spend = with_fee(spend, gas * fees.cap, self._rules)
        self._within_a_day(spend, spent)
        # A node would refuse it, and its cancellation too: a nonce would be given away for nothing.
        _enough(balance, spend[NATIVE])
        return _Plan(gas, fees, spend)

    def _within_a_day(self, spend: Spend, spent: Spend) -> None:
        too_much = over_a_day(spend, spent, self._rules)
        if too_much is not None:
            raise _Later(too_much)

    async def _first(self, outbox: Outbox, intent: Intent, plan: "_Plan") -> bool:
        # Asked only now: what was mined since the look at what is open has its nonce in this number.
        seen = await self._node.observe((), self._limits.settle_blocks)
        nonce = next_nonce(seen.nonce, await outbox.next_nonce())
        if nonce is None:
            return await self._wait(outbox, intent, f"the node is at nonce {seen.nonce}, behind what was mined before")
        if self._signer is None:
            said = f"dry-run: would be sent with nonce {nonce}, gas {plan.gas}, at most {plan.fees.cap} wei for each"
            return await self._end(outbox, intent, State.REHEARSED, said)
        attempt = await self._signed(self._unsigned(intent.call, nonce, plan.gas, plan.fees), "send", seen.head)
        try:
            await outbox.claim(intent, nonce, attempt, plan.spend)
        except Overtaken:
            return False  # somebody cancelled it just now: what was signed is stored nowhere, and nobody has seen it
        await self._out(outbox, intent, attempt, seen.head)
        return True

    def _most(self, intent: Intent) -> int:
        """Return the most for each gas that may be paid for an intent; its cancellation has the wallet's own limit."""
        most = self._limits.max_fee
        return most if intent.max_fee is None else min(most, intent.max_fee)

    async def _quote(self, priority: int, cap: int) -> Fees | TooHigh:
        return quote(await self._node.history(), priority, min_tip=self._limits.min_tip, cap=cap)

    # Signing and broadcasting.

    def _unsigned(self, call: Call, nonce: int, gas: int, fees: Fees) -> Unsigned:
        return Unsigned(chain_id=self._chain, nonce=nonce, call=call, gas=gas, fees=fees)

    async def _signed(self, unsigned: Unsigned, kind: AttemptKind, head: BlockRef) -> Attempt:
        assert self._signer is not None, "nothing is signed in dry-run"
        raw = await self._signer.sign(unsigned)
        return Attempt(hash=hash_of(raw), raw=raw, kind=kind, fees=unsigned.fees, gas=unsigned.gas, block=head.number)

    async def _against(self, outbox: Outbox, head: BlockRef) -> str:
        """Return why nothing may be signed, "" if it may: asked before every signature."""
        leave = await self._leave(outbox)
        against = leave.against
        if not against:
            code = await self._node.code_hashes(self._rules.contracts, head)
            against = differences(leave.code_hashes or {}, code)
        self._meter.blocked(bool(against))
        return against

    async def _leave(self, outbox: Outbox) -> Leave:
        if self._signer is None:
            return Leave("dry-run: wallets.<name>.live is false", None)
        file = self._limits.kill_file
        # A file, so that it works without the database; looked at by the event loop: it is one stat of a local file.
        if file is not None and file.exists():
            return Leave(f"halted: there is a file {file.name}", None)
        return await outbox.leave()

    async def _out(self, outbox: Outbox, intent: Intent, attempt: Attempt, head: BlockRef) -> None:
        """Broadcast what is stored. Whether a node took it is decided by looking at the chain, never by its answer."""
        leave = await self._leave(outbox)
        self._meter.blocked(bool(leave.against))
        if leave.against:
            await outbox.note(intent.id, leave.against)
            return
        if attempt.hash not in self._sent:
            self._meter.broadcast(attempt.kind)
        self._sent[attempt.hash] = head.number
        try:
            said = await self._node.broadcast(attempt.raw, attempt.hash)
        except RpcUnavailable as error:
            said = str(error)
            del self._sent[attempt.hash]
        await outbox.answered(attempt, said)
        await outbox.note(intent.id, said)
        log.info("broadcast", extra=self._about(intent, kind=attempt.kind, tx="0x" + attempt.hash.hex(), said=said))

    # What is over.

    async def _end(self, outbox: Outbox, intent: Intent, state: State, why: str) -> bool:
        await outbox.end(intent, state, why)
        self._meter.ended(state, 0)
        log.info("ended", extra=self._about(intent, state=state, why=why))
        return False

    async def _wait(self, outbox: Outbox, intent: Intent, why: str) -> bool:
        await outbox.note(intent.id, why)
        return False

    def _ended(self, opened: Opened, state: State, seen: Seen) -> None:
        fee = sum(seen.receipts[each.hash].fee for each in opened.attempts if each.hash in seen.receipts)
        self._meter.ended(state, fee)
        for each in opened.attempts:
            self._sent.pop(each.hash, None)
        log.info("settled", extra=self._about(opened.intent, fee=fee))

    def _replaced(self, opened: Opened, gas: int, fees: Fees) -> Spend | None:
        """Return what a replacement may spend, None if that is more than one transaction may."""
        if opened.attempts[-1].kind == "cancel":
            return {NATIVE: gas * fees.cap}
        try:
            return with_fee({NATIVE: opened.intent.call.value}, gas * fees.cap, self._rules)
        except Denied:
            return None

    def _nothing(self) -> Call:
        return Call(self._rules.wallet)

    def _about(self, intent: Intent, **more: object) -> dict[str, object]:
        return {"wallet": self.name, "intent": str(intent.id), "kind": intent.kind, **more}


class _Later(Exception):
    """An intent cannot be sent now, and may be later."""


class _Fails(Exception):
    """An intent would have no effect."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """How to send an intent: its gas limit, its fees, and the most that it may take out of the wallet."""

    gas: int
    fees: Fees
    spend: Spend


def _enough(balance: int, wanted: int) -> None:
    if balance < wanted:
        raise _Later(f"the wallet is short of wei: it has {balance}, and may need {wanted}")
