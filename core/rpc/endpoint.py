"""One endpoint of a pool: as many requests at once as it bears, and what is known of it."""

import asyncio
import hashlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from typing import Any, Final, Protocol, TypeVar

import msgspec

from core.clock import Clock
from core.errors import BadAnswer, RpcLimited, RpcRefused, RpcTimedOut, RpcUnavailable, Transient, Unverified
from core.rpc.client import Call, RpcClient, Seat, Sizes
from core.rpc.limits import NARROW, TRUSTED, Breaker, Latency, Learned, Rate, Trust, Window
from core.rpc.refusals import Kind, classify
from core.rpc.wire import UNREADABLE

log = logging.getLogger(__name__)

SOON_S: Final = 2.0  # an endpoint that wants to be left alone for longer is passed over
PAUSE_S: Final = (0.05, 1.0)  # after a refusal that names no time, more for each in a row
ENDURE_S: Final = 5.0  # refused for its number of requests and nothing else for so long: the endpoint is out
MOST_PAUSE_S: Final = 60.0  # a longer Retry-After is asked about again after this
# What needs the state of a block, which nodes prune long before they prune the block.
OF_STATE: Final = frozenset({"eth_call", "eth_getCode", "eth_getBalance", "eth_getStorageAt"})
TROUBLE: Final = frozenset({Kind.DENIED, Kind.OVERLOADED})  # refusals that say more of the endpoint than of the call

T = TypeVar("T")


class Aside(StrEnum):
    """Why an endpoint is passed over at the head; the value is a metric's label."""

    NO = ""
    LAGGING = "lagging"  # its head is behind
    FORKED = "forked"  # it has another block where most have the same


class EndpointMeter(Protocol):
    """What is shown of one endpoint."""

    def answered(self, seconds: float) -> None:
        """Note an answered request."""
        ...

    def failed(self, kind: str) -> None:
        """Count a request that brought no result; `kind` is one of few words."""
        ...

    def window(self, width: int) -> None:
        """Show how many requests may be under way at once."""
        ...

    def out(self, is_out: bool) -> None:
        """Show whether the endpoint is left alone."""
        ...

    def unverified(self, check: str, trust: float) -> None:
        """Count a block that did not pass a check, and show how far the endpoint is still believed."""
        ...

    def aside(self, why: str) -> None:
        """Show why the endpoint is passed over at the head; "": it is not."""
        ...


class Unmetered:
    """Shows nothing (EndpointMeter)."""

    def answered(self, seconds: float) -> None:
        """Note nothing."""

    def failed(self, kind: str) -> None:
        """Count nothing."""

    def window(self, width: int) -> None:
        """Show nothing."""

    def out(self, is_out: bool) -> None:
        """Show nothing."""

    def unverified(self, check: str, trust: float) -> None:
        """Count nothing."""

    def aside(self, why: str) -> None:
        """Show nothing."""


class Endpoint:
    """One endpoint, held back to what it bears (Seat). It waits for its turn; it does not ask again.

    `verified` is whether it has shown since it was last out that it serves the chain; `expelled` why it is not asked
    any more, once it has shown that it does not.
    """

    def __init__(self, client: RpcClient, name: str, *, clock: Clock, meter: EndpointMeter | None = None) -> None:
        self.client = client
        self.name = name
        self.key = hashlib.sha256(client.url.encode()).digest()
        self.sizes: Sizes = client.sizes
        self.verified = False
        self.expelled: str | None = None
        self.aside = Aside.NO
        self.probing = asyncio.Lock()
        self.probes = 0
        self.under_way = 0  # those that wait for the rate included
        self._sent = 0
        self.queued: deque[asyncio.Future[None]] = deque()
        self._clock = clock
        self._meter = meter or Unmetered()
        self._window, self._rate, self._latency, self._breaker = Window(), Rate(), Latency(), Breaker()
        self._trust = Trust()
        self._paused_until = 0.0
        self._answered_at = clock.monotonic()
        self._in_a_row = 0  # refusals for the number of requests, with hardly any under way
        self._unsupported: set[str] = set()
        self._pruned_below = {True: 0, False: 0}  # whether it is about state -> lowest block that may be there
        self._meter.window(self._window.width)
        self._meter.out(False)
        self._meter.aside(self.aside)

    @property
    def host(self) -> str:
        """Scheme, host and port."""
        return self.client.host

    # -- asking --------------------------------------------------------------------------------------------------------

    async def call(self, method: str, *params: object) -> Any:
        """Return the decoded result of one call."""
        raw = await self.raw(method, *params)
        try:
            return msgspec.json.decode(raw)
        except UNREADABLE as error:
            raise BadAnswer(f"{self.host}: {method}: {error}") from None

    async def raw(self, method: str, *params: object) -> msgspec.Raw:
        """Return the undecoded result of one call."""
        sent_at = await self._enter(1)
        try:
            found = await self.client.raw(method, *params)
            self._answered(sent_at, len(found), 1)
        except (RpcUnavailable, RpcRefused, BadAnswer) as error:
            raise self._judged(error, sent_at) from None
        finally:
            self._leave()
        return found

    async def batch(self, calls: Sequence[Call]) -> list[msgspec.Raw]:
        """Return the results of `calls`, in their order. Raises RpcRefused for the first refused call."""
        answers = []
        for answer in await self.batch_each(calls):
            if isinstance(answer, RpcRefused):
                raise answer
            answers.append(answer)
        return answers

    async def batch_each(self, calls: Sequence[Call]) -> list[msgspec.Raw | RpcRefused]:
        """Return the results of `calls`, in their order, in as many batches as the endpoint's limit demands."""
        most = self.sizes.batch.most
        if most is not None and len(calls) > most:
            answers: list[msgspec.Raw | RpcRefused] = []
            for start in range(0, len(calls), most):
                answers += await self.batch_each(calls[start : start + most])
            return answers
        try:
            return await self._batch(calls)
        except RpcRefused as refused:
            found = classify(refused)
            if found.kind is not Kind.BATCH or len(calls) == 1:
                raise
            self.sizes.batch.too_many(len(calls), found.limit)
            log.info("batches are smaller now", extra={"node": self.host, "calls": self.sizes.batch.most})
        return await self.batch_each(calls)

    async def answer(self, ask: Callable[[Seat], Awaitable[T]], *, oldest: int | None = None, read: str = "") -> T:
        """Return what `ask` makes of this endpoint."""
        del oldest, read
        return await ask(self)

    async def _batch(self, calls: Sequence[Call]) -> list[msgspec.Raw | RpcRefused]:
        sent_at = await self._enter(len(calls))
        try:
            answers = await self.client.batch_each(calls)
            size = 0
            for answer in answers:
                if isinstance(answer, RpcRefused):
                    _raise_for_all(answer, len(calls))
                else:
                    size += len(answer)
            self.sizes.batch.taken(len(calls))
            self._answered(sent_at, size, len(calls))
        except (RpcUnavailable, RpcRefused, BadAnswer) as error:
            raise self._judged(error, sent_at) from None
        finally:
            self._leave()
        return answers

    # -- holding back --------------------------------------------------------------------------------------------------

    @property
    def width(self) -> int:
        """Requests that may be under way at once."""
        return self._window.width

    @property
    def load(self) -> float:
        """Requests under way and waiting, as a share of those that may be under way."""
        return (self.under_way + len(self.queued)) / self._window.width

    async def _enter(self, calls: int) -> float:
        """Wait until `calls` calls may be sent in one request; return when that was. `_leave` must follow."""
        if self.under_way < self._window.width and not self.queued:
            self.under_way += 1
        else:
            await self._turn()
        try:
            now = self._clock.monotonic()
            wait = min(max(self._rate.take(calls, now), self._paused_until - now), MOST_PAUSE_S)
            if wait > 0:
                await self._clock.sleep(wait)
                now = self._clock.monotonic()
        except BaseException:
            self._give_way()
            raise
        self._sent += 1
        return now

    async def _turn(self) -> None:
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.queued.append(mine)
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled() and mine.exception() is None:
                self._give_way()  # its turn came together with the cancellation: on to the next
            raise

    def _leave(self) -> None:
        self._sent -= 1
        self._give_way()

    def _give_way(self) -> None:
        self.under_way -= 1
        while self.queued and self.under_way < self._window.width:
            waiting = self.queued.popleft()
            if not waiting.done():
                waiting.set_result(None)
                self.under_way += 1

    # -- learning ------------------------------------------------------------------------------------------------------

    @property
    def wait_s(self) -> float:
        """For how many seconds it had better be left alone."""
        now = self._clock.monotonic()
        return max(self._breaker.wait_s(now), self._paused_until - now, 0.0)

    @property
    def well(self) -> bool:
        """Whether to ask it before others; of one that was out, one request at a time finds out if it still is."""
        if self._breaker.open:
            return self.wait_s == 0.0 and not self.probing.locked()
        return self.wait_s <= SOON_S

    @property
    def out(self) -> bool:
        """Whether it has failed so often, or so badly, that it is left alone."""
        return self._breaker.open or self.expelled is not None

    def failed(self, error: Transient, sent_at: float) -> None:
        """Note a failure, of a request sent at `sent_at`, that is the endpoint's."""
        was_out = self._breaker.open
        self._breaker.failed(sent_at, self._clock.monotonic())
        if not self._breaker.open:
            return
        self.verified = False
        while self.queued:  # they need not wait for a time-out each: others may answer
            waiting = self.queued.popleft()
            if not waiting.done():
                waiting.set_exception(RpcUnavailable(f"{self.host}: is out: {error}"))
        if not was_out:
            self._meter.out(True)
            log.warning("endpoint is out", extra={"node": self.host, "why": str(error)})

    @property
    def trusted(self) -> bool:
        """Whether to believe it before others that have not served blocks that fail their checks."""
        return self._trust.score(self._clock.monotonic()) >= TRUSTED

    def blamed(self, error: Unverified) -> None:
        """Note a block of it that did not pass."""
        now = self._clock.monotonic()
        self._trust.failed(now)
        error.endpoint = self.name
        self._meter.unverified(error.check, self._trust.score(now))
        log.warning(
            "block does not pass its checks",
            extra={"node": self.host, "trust": round(self._trust.score(now), 2), "why": str(error)},
        )

    def overtaken(self, sent_at: float) -> None:
        """Note that another endpoint answered a read that this one, asked at `sent_at`, had not.

        Now and then that is chance; in a row it is an outage, which no time-out would tell of: the read was cancelled.
        """
        self._meter.failed("overtaken")
        self.failed(RpcTimedOut(f"{self.host}: another endpoint answers sooner, again and again"), sent_at)

    def put_aside(self, why: Aside) -> None:
        """Note whether it lags or is on a fork: it is then asked last at the head."""
        if why is self.aside:
            return
        self.aside = why
        self._meter.aside(why)
        if why:
            log.warning("endpoint stands aside", extra={"node": self.host, "why": why})
        else:
            log.info("endpoint keeps up again", extra={"node": self.host})

    def recognised(self) -> None:
        """Note that it serves the right chain."""
        if self.out:
            log.info("endpoint is back", extra={"node": self.host})
        self._breaker.answered()
        self.verified = True
        self._unsupported.clear()  # it may have been upgraded while it was out
        self._meter.out(False)

    def expel(self, why: str) -> None:
        """Never ask it again."""
        self.expelled = why
        self._meter.failed("wrong_chain")
        self._meter.out(True)
        log.error("endpoint of another chain is not asked any more", extra={"node": self.host, "why": why})

    def lacks(self, kind: Kind, method: str, oldest: int | None) -> None:
        """Note that it refused for what it does not have."""
        if kind is Kind.UNSUPPORTED:
            self._unsupported.add(method)
        elif kind in (Kind.PRUNED, Kind.STATE) and oldest is not None:
            state = method in OF_STATE  # by what was asked: some call old blocks "archive requests", too
            self._pruned_below[state] = max(self._pruned_below[state], oldest + 1)

    @property
    def lacking(self) -> bool:
        """Whether it is known to lack anything."""
        return bool(self._unsupported) or any(self._pruned_below.values())

    def suits(self, method: str | None, oldest: int | None) -> bool:
        """Whether nothing is known against asking it `method` about blocks from `oldest` on."""
        if method in self._unsupported:
            return False
        return oldest is None or oldest >= self._pruned_below[method in OF_STATE]

    def recall(self, learned: Learned) -> None:
        """Start with what was learned before."""
        if learned.window is not None:
            self._window = Window(learned.window)
        self._rate = Rate(learned.rate)
        sizes = Sizes(
            batch_calls=learned.batch_calls, log_blocks=learned.log_blocks, block_receipts=learned.block_receipts
        )
        self.sizes.batch, self.sizes.logs, self.sizes.block_receipts = sizes.batch, sizes.logs, sizes.block_receipts
        self._meter.window(self._window.width)

    def learned(self) -> Learned:
        """Return what is worth remembering."""
        return Learned(
            window=self._window.width * 1.0 if self._window.learned else None,
            rate=None if self._rate.per_s is None else round(self._rate.per_s, 1),
            batch_calls=self.sizes.batch.most,
            log_blocks=self.sizes.logs.most,
            block_receipts=self.sizes.block_receipts,
        )

    def _answered(self, sent_at: float, size: int, calls: int) -> None:
        now = self._clock.monotonic()
        seconds = now - sent_at
        queueing = self._latency.took(seconds, size, now)
        width = self._window.width
        self._window.answered(self._sent, queueing=queueing)
        self._rate.answered(calls, now)
        if self._window.width != width:
            self._meter.window(self._window.width)
        self._breaker.answered()
        self._answered_at, self._in_a_row = now, 0
        self._meter.answered(seconds)

    def _judged(self, error: Transient, sent_at: float) -> Transient:
        """Learn from a request that brought no result; return what to raise for it."""
        if isinstance(error, RpcRefused):
            found = classify(error)
            self._meter.failed(found.kind)
            if found.kind is Kind.LIMITED:
                error = RpcLimited(str(error), found.retry_s)
            elif found.kind in TROUBLE:
                self.failed(error, sent_at)
                return error
            else:
                self._breaker.answered()
                return error
        else:
            self._meter.failed(_word(error))
        if isinstance(error, RpcLimited):
            self.limited(error, sent_at)
            return error
        if isinstance(error, RpcTimedOut):
            self._overloaded(sent_at)
        self.failed(error, sent_at)
        return error

    def limited(self, error: RpcLimited, sent_at: float) -> None:
        """Note a refusal, of a request sent at `sent_at`, for the number of requests."""
        now = self._clock.monotonic()
        width = self._window.width
        cut = self._overloaded(sent_at)
        if (cut and width <= NARROW) or error.retry_s is not None or self._rate.per_s is not None:
            self._rate.refused(sent_at, now)
        if error.retry_s is not None:
            self._pause(now, min(error.retry_s, MOST_PAUSE_S))
        elif width <= NARROW:
            self._in_a_row += 1
            self._pause(now, min(PAUSE_S[0] * 2 ** min(self._in_a_row, 16), PAUSE_S[1]))
        if width <= 1 and now - self._answered_at > ENDURE_S:
            # Fewer at once is not possible: its limit is of another kind, such as a day's quota.
            self.failed(error, sent_at)

    def _pause(self, now: float, seconds: float) -> None:
        self._paused_until = max(self._paused_until, now + seconds)

    def _overloaded(self, sent_at: float) -> bool:
        cut = self._window.overloaded(sent_at, self._clock.monotonic(), self._latency.smoothed or 0.0)
        self._meter.window(self._window.width)
        return cut


def _raise_for_all(refused: RpcRefused, calls: int) -> None:
    """Raise a refusal of one call that concerns the whole batch: some send it with each call, or with the last ones."""
    kind = classify(refused).kind
    if kind is Kind.LIMITED or (kind is Kind.BATCH and calls > 1):
        raise refused


def _word(error: Transient) -> str:
    if isinstance(error, RpcLimited):
        return Kind.LIMITED
    if isinstance(error, RpcTimedOut):
        return "timeout"
    return "bad_answer" if isinstance(error, BadAnswer) else "unavailable"
