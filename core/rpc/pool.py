"""Several endpoints of one chain as if they were one: failover, identity, and the retry around one request.

Primary endpoints are asked as long as they answer; fallbacks in their order when none of them can. What one call or one
batch asks is answered by one endpoint whole. See docs/adr/0010-endpoints.md and 0018-endpoints-at-the-head.md.
"""

import asyncio
import logging
import math
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from urllib.parse import urlsplit

import msgspec
import tenacity

from core.clock import Clock, SystemClock
from core.errors import BadAnswer, RpcLimited, RpcRefused, RpcUnavailable, Transient, Unverified, WrongChain
from core.hex import from_quantity
from core.rpc import wire
from core.rpc.client import Call, RpcClient, Seat
from core.rpc.endpoint import Endpoint, EndpointMeter
from core.rpc.hedge import Hedges
from core.rpc.limits import Learned
from core.rpc.refusals import ELSEWHERE, classify

log = logging.getLogger(__name__)

ATTEMPTS: Final = 4
PATIENCE_S: Final = 60.0  # how long a request is asked again that was refused only for the number of requests

T = TypeVar("T")
Ask = Callable[[Seat], Awaitable[T]]
About = Sequence[Call] | int | None  # what is asked, or its oldest block: read only where some endpoint lacks some


class _Elsewhere(Exception):
    """One endpoint cannot answer, the next one may; `why` is its error, None if it serves another chain."""

    def __init__(self, why: Transient | None) -> None:
        super().__init__(str(why))
        self.why = why


class RpcPool:
    """Endpoints of one chain, the preferred first (Rpc). Use as an async context manager; it owns the clients.

    The first `primaries` of them share the load, those after them are fallbacks. `chain_id` 0 means whatever the first
    endpoint that answers says. `sticky`: stay with the endpoint that answers until it fails, so that a reader at the
    head does not see two nodes' views in turn; otherwise go back to a primary as soon as one is well, the least busy
    first. `hedges`: ask a second endpoint when a read is late that allows it (`answer`). `attempts` bounds how often a
    request is asked of all endpoints before RpcUnavailable, `patience_s` for how long it is while they refuse it for
    the number of requests.
    """

    def __init__(
        self,
        clients: Sequence[RpcClient],
        *,
        chain_id: int = 0,
        genesis_hash: bytes | None = None,
        primaries: int = 1,
        sticky: bool = False,
        hedges: Hedges | None = None,
        attempts: int = ATTEMPTS,
        patience_s: float = PATIENCE_S,
        meter: Callable[[str], EndpointMeter] | None = None,
        clock: Clock | None = None,
        dice: random.Random | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._dice = dice or random.Random()  # noqa: S311 - spreads requests, guards nothing
        names = labels([client.url for client in clients])
        self.endpoints = tuple(
            Endpoint(client, name, clock=self._clock, meter=meter(name) if meter else None)
            for client, name in zip(clients, names, strict=True)
        )
        self._chain_id = chain_id
        self._genesis_hash = genesis_hash
        self._primaries = self.endpoints[:primaries]
        self._sticky = sticky
        self._hedges = hedges
        self._current = self.endpoints[0]
        self._attempts = attempts
        self._patience_s = patience_s
        self._resources = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for endpoint in self.endpoints:
            await self._resources.enter_async_context(endpoint.client)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._resources.aclose()

    @property
    def host(self) -> str:
        """Scheme, host and port of the endpoint that would be asked now."""
        return self.preferred.host

    @property
    def width(self) -> int:
        """How many requests the endpoint that would be asked now takes at once.

        It grows only while it is full: who wants all there is keeps `width` requests under way, or more. Those beyond
        wait here, in their order.
        """
        return self.preferred.width

    def expect(self, chain_id: int, genesis_hash: bytes | None) -> None:
        """Hold every endpoint against this chain from here on, those that were asked already included."""
        if (chain_id, genesis_hash) == (self._chain_id, self._genesis_hash):
            return
        self._chain_id, self._genesis_hash = chain_id, genesis_hash
        for endpoint in self.endpoints:
            endpoint.verified = False

    def recall(self, known: Mapping[bytes, Learned]) -> None:
        """Start with what was learned before, by key of the endpoint."""
        for endpoint in self.endpoints:
            if endpoint.key in known:
                endpoint.recall(known[endpoint.key])

    def learned(self) -> dict[bytes, Learned]:
        """Return what is worth remembering, by key of the endpoint."""
        return {each.key: found for each in self.endpoints if not (found := each.learned()).nothing}

    # -- asking --------------------------------------------------------------------------------------------------------

    async def call(self, method: str, *params: object) -> Any:
        """Return the decoded result of one call. Raises RpcRefused, RpcUnavailable, BadAnswer or WrongChain."""
        return await self._answer(lambda seat: seat.call(method, *params), method, ((method, params),))

    async def raw(self, method: str, *params: object) -> msgspec.Raw:
        """Return the undecoded result of one call. Raises as `call`."""
        return await self._answer(lambda seat: seat.raw(method, *params), method, ((method, params),))

    async def batch(self, calls: Sequence[Call]) -> list[msgspec.Raw]:
        """Return the results of `calls` in order, all from one endpoint. Raises RpcRefused for the first refused."""
        return await self._answer(lambda seat: seat.batch(calls), calls[0][0] if calls else None, calls)

    async def batch_each(self, calls: Sequence[Call]) -> list[msgspec.Raw | RpcRefused]:
        """Return the results of `calls` in order, all from one endpoint, with the refusals among them.

        Refusals that are the endpoint's are returned only when no other one has done better.
        """
        kept: list[list[msgspec.Raw | RpcRefused]] = []

        async def ask(seat: Seat) -> list[msgspec.Raw | RpcRefused]:
            answers = await seat.batch_each(calls)
            for answer in answers:
                if isinstance(answer, RpcRefused) and classify(answer).kind in ELSEWHERE:
                    kept.append(answers)
                    raise answer
            return answers

        try:
            return await self._answer(ask, calls[0][0] if calls else None, calls)
        except RpcRefused:
            if not kept:
                raise
            return kept[0]

    async def answer(self, ask: Callable[[Seat], Awaitable[T]], *, oldest: int | None = None, read: str = "") -> T:
        """Return what `ask` makes of one endpoint; it is called with the next one if that one cannot answer.

        With `read`, the kind of this read, also if that one is late and the pool hedges: the first answer counts.
        """
        return await self._answer(ask, None, oldest, read)

    async def each(self, ask: Callable[[Seat], Awaitable[T]]) -> list[T]:
        """Return what `ask` makes of every endpoint that can answer now, so that they can be held against each other.

        Raises what the last one said if none can.
        """
        found: list[T] = []
        failed: Transient | None = None
        for endpoint in self.endpoints:
            if endpoint.expelled is not None or not endpoint.well:
                continue
            try:
                if endpoint.verified or await self._recognise(endpoint):
                    found.append(await ask(endpoint))
            except Transient as error:
                failed = error
        if not found and failed is not None:
            raise failed
        return found

    async def _answer(self, ask: Ask[T], method: str | None, about: About, read: str = "") -> T:
        try:
            return await self._round(ask, method, about, read)
        except RpcUnavailable as error:
            first: RpcUnavailable | None = error
        # Only from here on tenacity: it costs more than all the rest of a request that is answered.
        patience = _Patience(self._attempts, self._patience_s, self._dice)
        async for attempt in tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(RpcUnavailable),
            stop=patience.is_over, wait=patience.pause_s, sleep=self._clock.sleep, reraise=True,
        ):  # fmt: skip
            with attempt:
                if first is not None:
                    failed, first = first, None
                    raise failed
                return await self._round(ask, method, about, read)
        raise AssertionError("unreachable: AsyncRetrying re-raises")

    async def _round(self, ask: Ask[T], method: str | None, about: About, read: str) -> T:
        """Ask the endpoints in turn until one answers. Raises what the last of them said."""
        failed: Transient | None = None
        left = list(self._order(method, about))
        while left:
            endpoint = left.pop(0)
            try:
                if read and left and self._hedges is not None:
                    return await self._hedged(self._hedges, endpoint, left, ask, oldest=_oldest(about), read=read)
                found = await self._ask(endpoint, ask, about)
            except _Elsewhere as elsewhere:
                failed = elsewhere.why or failed
            else:
                self._stay_with(endpoint)
                return found
        raise failed or self._nobody()

    async def word(self, endpoint: Endpoint, ask: Ask[T]) -> T | None:
        """Return what `ask` makes of this endpoint and no other, None if it cannot answer now."""
        try:
            return await self._ask(endpoint, ask, None)
        except (_Elsewhere, Transient):
            return None

    async def _ask(self, endpoint: Endpoint, ask: Ask[T], about: About) -> T:
        """Return what `ask` makes of this endpoint. Raises _Elsewhere if another one may do better."""
        try:
            if not endpoint.verified and not await self._recognise(endpoint):
                raise _Elsewhere(None)
            return await ask(endpoint)
        except RpcLimited as error:
            if endpoint.well:
                raise
            raise _Elsewhere(error) from None
        except RpcRefused as error:
            kind = classify(error).kind
            if kind not in ELSEWHERE:
                raise
            endpoint.lacks(kind, error.method, _oldest(about))
            raise _Elsewhere(error) from None
        except Unverified as error:
            endpoint.blamed(error)
            raise _Elsewhere(error) from None
        except (RpcUnavailable, BadAnswer) as error:
            raise _Elsewhere(error) from None
        except WrongChain as error:
            endpoint.expel(str(error))
            raise _Elsewhere(None) from None

    async def _hedged(
        self, hedges: Hedges, first: Endpoint, others: list[Endpoint], ask: Ask[T], *, oldest: int | None, read: str
    ) -> T:
        """Ask `first`, and if it is late the first of `others`, which is then taken from them; the first answer counts.

        The other one is cancelled. Raises what `first` raised if neither answers.
        """
        started = self._clock.monotonic()
        leading = asyncio.create_task(self._ask(first, ask, oldest), name=f"{read} at {first.name}")
        late = asyncio.create_task(self._clock.sleep(hedges.late_after_s(first.name, read)), name=f"{read} is late")
        tasks: list[asyncio.Task[Any]] = [leading, late]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if leading.done() or others[0].aside or not hedges.spend():
                found = await leading
                hedges.took(first.name, read, self._clock.monotonic() - started)
                self._stay_with(first)
                return found
            second = others.pop(0)
            trailing = asyncio.create_task(self._ask(second, ask, oldest), name=f"{read} at {second.name}")
            tasks.append(trailing)
            winner = await _first_good(leading, trailing)
            hedges.took(first.name, read, self._clock.monotonic() - started)
            hedges.ended("failed" if winner is None else "won" if winner is trailing else "lost")
            if winner is trailing and not leading.done():
                first.overtaken(started)
            if winner is not None:
                self._stay_with(second if winner is trailing else first)
            return (winner or leading).result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _nobody(self) -> WrongChain | RpcUnavailable:
        """Return what to raise when all that could be asked serve another chain."""
        left = [each.host for each in self.endpoints if not each.expelled]
        if left:
            return RpcUnavailable(f"{', '.join(left)}: out, and what else was asked serves another chain")
        return WrongChain("; ".join(each.expelled for each in self.endpoints if each.expelled))

    # -- whom to ask ---------------------------------------------------------------------------------------------------

    def _order(self, method: str | None, about: About) -> Sequence[Endpoint]:
        """Return whom to ask, in which order.

        Never an expelled one, one that is out only if all are; one that lags or is on a fork after those that do not.
        """
        if len(self.endpoints) == 1:
            return () if self.endpoints[0].expelled else self.endpoints
        well = self.well()
        if not any(each.lacking for each in well):
            return well
        oldest = _oldest(about)
        return sorted(well, key=lambda each: not each.suits(method, oldest))

    def well(self) -> list[Endpoint]:
        """Return the endpoints that may be asked now, the preferred first; one at least, if one serves the chain."""
        usable = [each for each in self.endpoints if each.expelled is None]
        well = [each for each in usable if each.well] or sorted(usable, key=lambda each: each.wait_s)[:1]
        if self._sticky:
            well.sort(key=lambda each: (bool(each.aside), each is not self._current))
        elif len(self._primaries) > 1:
            well.sort(key=lambda each: each.load if each in self._primaries else math.inf)
        if not all(each.trusted for each in well):
            well.sort(key=lambda each: not each.trusted)
        return well

    @property
    def preferred(self) -> Endpoint:
        """The endpoint that would be asked now."""
        return next(iter(self._order(None, None)), self.endpoints[0])

    def _stay_with(self, endpoint: Endpoint) -> None:
        if endpoint is not self._current and (self._current.out or not self._sticky):
            log.info("asking another endpoint", extra={"node": endpoint.host, "before": self._current.host})
            self._current = endpoint

    # -- identity ------------------------------------------------------------------------------------------------------

    async def _recognise(self, endpoint: Endpoint) -> bool:
        """Ask an endpoint that is new, or was out, which chain it serves; False, and never again, if another.

        One asks; the others wait for what it finds. Raises RpcUnavailable if it cannot say.
        """
        probes = endpoint.probes
        async with endpoint.probing:
            if endpoint.verified or endpoint.expelled:
                return endpoint.verified
            if endpoint.probes != probes:
                raise RpcUnavailable(f"{endpoint.host}: does not answer yet")
            endpoint.probes += 1
            sent_at = self._clock.monotonic()
            try:
                why = await self._stranger(endpoint.client)
            except RpcLimited as error:
                endpoint.limited(error, sent_at)
                raise
            except (RpcUnavailable, RpcRefused, BadAnswer) as error:
                endpoint.failed(error, sent_at)
                raise RpcUnavailable(str(error)) from None
            if why is not None:
                endpoint.expel(f"{endpoint.host}: {why}")
                return False
            endpoint.recognised()
            return True

    async def _stranger(self, client: RpcClient) -> str | None:
        """Return why the endpoint does not serve the expected chain, None if it does."""
        said = await client.call("eth_chainId")
        found = from_quantity(said, 2**63 - 1) if isinstance(said, str) else None
        if found is None:
            raise RpcUnavailable(f"{client.host}: eth_chainId answered {said!r}")
        self._chain_id = self._chain_id or found
        if found != self._chain_id:
            return f"serves chain {found}, expected {self._chain_id}"
        if self._genesis_hash is None:
            return None
        try:
            genesis = wire.ref(await client.raw("eth_getBlockByNumber", "0x0", False))
        except RpcRefused:
            return None  # pruned: it cannot tell, and its chain id is right
        if genesis is not None and genesis.hash != self._genesis_hash:
            return f"the chain now starts at {genesis}: it has been replaced"
        return None


class _Patience:
    """When to ask again, and when to give up (tenacity's stop and wait)."""

    def __init__(self, attempts: int, seconds: float, dice: random.Random) -> None:
        self._attempts = attempts
        self._seconds = seconds
        self._dice = dice
        self._failed = 0

    def is_over(self, state: tenacity.RetryCallState) -> bool:
        if self._limited(state):
            return (state.seconds_since_start or 0.0) > self._seconds
        self._failed += 1
        return self._failed >= self._attempts

    def pause_s(self, state: tenacity.RetryCallState) -> float:
        # Who is refused for the number of requests waits at the endpoint for its turn; this only spreads them.
        ceiling = 0.1 if self._limited(state) else min(0.1 * 2**self._failed, 5.0)
        return self._dice.uniform(0.0, ceiling)

    @staticmethod
    def _limited(state: tenacity.RetryCallState) -> bool:
        return state.outcome is not None and isinstance(state.outcome.exception(), RpcLimited)


async def _first_good(*tasks: "asyncio.Task[T]") -> "asyncio.Task[T] | None":
    """Wait for the first task that ends without an error and return it; None if all fail."""
    pending = set(tasks)
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task in done and task.exception() is None:
                return task
    return None


def _oldest(about: About) -> int | None:
    return about if about is None or isinstance(about, int) else oldest_block(about)


def oldest_block(calls: Sequence[Call]) -> int | None:
    """Return the lowest block number that `calls` name, None if they name none."""
    found = [number for method, params in calls if (number := _block_of(method, params)) is not None]
    return min(found, default=None)


def _block_of(method: str, params: Sequence[object]) -> int | None:
    if method == "eth_getLogs" and params and isinstance(params[0], Mapping):
        named = params[0].get("fromBlock")
    elif method in ("eth_getBlockByNumber", "eth_getBlockReceipts"):
        named = params[0] if params else None
    else:
        named = params[-1] if params else None
    if not isinstance(named, str) or not named.startswith("0x") or len(named) > 18:
        return None  # a tag, a hash, or nothing
    return int(named, 16)


def labels(urls: Sequence[str]) -> list[str]:
    """Return a name for each endpoint, for metrics: host and port, numbered where several share them."""
    seen: Counter[str] = Counter()
    names = []
    for url in urls:
        parts = urlsplit(url)
        host = f"{parts.hostname or '?'}{f':{parts.port}' if parts.port else ''}"
        seen[host] += 1
        names.append(host if seen[host] == 1 else f"{host}#{seen[host]}")
    return names
