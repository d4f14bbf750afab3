"""Several endpoints of one chain as if they were one: failover, identity, and the retry around one request.

The first endpoint is asked as long as it answers; the others in their order when it cannot. What one call or one batch
asks is answered by one endpoint whole. See docs/adr/0010-endpoints.md.
"""

import logging
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
from core.rpc.limits import Learned
from core.rpc.refusals import ELSEWHERE, classify

log = logging.getLogger(__name__)

ATTEMPTS: Final = 4
PATIENCE_S: Final = 60.0  # how long a request is asked again that was refused only for the number of requests

T = TypeVar("T")
About = Sequence[Call] | int | None  # what is asked, or its oldest block: read only where some endpoint lacks some


class RpcPool:
    """Endpoints of one chain, the preferred first (Rpc). Use as an async context manager; it owns the clients.

    `chain_id` 0 means whatever the first endpoint that answers says. `sticky`: stay with the endpoint that answers
    until it fails, so that a reader at the head does not see two nodes' views in turn; otherwise go back to the first
    one as soon as it is well. `attempts` bounds how often a request is asked of all endpoints before RpcUnavailable,
    `patience_s` for how long it is while they refuse it for the number of requests.
    """

    def __init__(
        self,
        clients: Sequence[RpcClient],
        *,
        chain_id: int = 0,
        genesis_hash: bytes | None = None,
        sticky: bool = False,
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
        self._sticky = sticky
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
        return self._preferred().host

    @property
    def width(self) -> int:
        """How many requests the endpoint that would be asked now takes at once.

        It grows only while it is full: who wants all there is keeps `width` requests under way, or more. Those beyond
        wait here, in their order.
        """
        return self._preferred().width

    @property
    def room(self) -> int:
        """How many more requests would be sent at once."""
        return self._preferred().room

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

    async def answer(self, ask: Callable[[Seat], Awaitable[T]], *, oldest: int | None = None) -> T:
        """Return what `ask` makes of one endpoint; it is called with the next one if that one cannot answer."""
        return await self._answer(ask, None, oldest)

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

    async def _answer(self, ask: Callable[[Seat], Awaitable[T]], method: str | None, about: About) -> T:
        try:
            return await self._round(ask, method, about)
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
                return await self._round(ask, method, about)
        raise AssertionError("unreachable: AsyncRetrying re-raises")

    async def _round(self, ask: Callable[[Seat], Awaitable[T]], method: str | None, about: About) -> T:
        """Ask the endpoints in turn until one answers. Raises what the last of them said."""
        failed: Transient | None = None
        for endpoint in self._order(method, about):
            try:
                if not endpoint.verified and not await self._recognise(endpoint):
                    continue
                found = await ask(endpoint)
            except RpcLimited as error:
                if endpoint.well:
                    raise
                failed = error
            except RpcRefused as error:
                kind = classify(error).kind
                if kind not in ELSEWHERE:
                    raise
                endpoint.lacks(kind, error.method, _oldest(about))
                failed = error
            except (RpcUnavailable, BadAnswer) as error:
                failed = _blaming(endpoint, error)
            except WrongChain as error:
                endpoint.expel(str(error))
            else:
                self._stay_with(endpoint)
                return found
        raise failed or self._nobody()

    def _nobody(self) -> WrongChain | RpcUnavailable:
        """Return what to raise when all that could be asked serve another chain."""
        left = [each.host for each in self.endpoints if not each.expelled]
        if left:
            return RpcUnavailable(f"{', '.join(left)}: out, and what else was asked serves another chain")
        return WrongChain("; ".join(each.expelled for each in self.endpoints if each.expelled))

    # -- whom to ask ---------------------------------------------------------------------------------------------------

    def _order(self, method: str | None, about: About) -> Sequence[Endpoint]:
        """Return whom to ask, in which order: never an expelled one, one that is out only if all are."""
        if len(self.endpoints) == 1:
            return () if self.endpoints[0].expelled else self.endpoints
        usable = [each for each in self.endpoints if each.expelled is None]
        if self._sticky and self._current in usable:
            usable.sort(key=lambda each: each is not self._current)
        well = [each for each in usable if each.well] or sorted(usable, key=lambda each: each.wait_s)[:1]
        if not all(each.trusted for each in well):
            well.sort(key=lambda each: not each.trusted)
        if not any(each.lacking for each in well):
            return well
        oldest = _oldest(about)
        return sorted(well, key=lambda each: not each.suits(method, oldest))

    def _preferred(self) -> Endpoint:
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


def _blaming(endpoint: Endpoint, error: Transient) -> Transient:
    if isinstance(error, Unverified):
        endpoint.blamed(error)
    return error


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
