"""What several endpoints say of the head: whether two name the same block, and who lags or is on a fork.

See docs/adr/0018-endpoints-at-the-head.md.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Final, Generic, Protocol, Self, TypeVar

from core.clock import Clock, SystemClock
from core.errors import BadAnswer, RpcRefused
from core.hex import to_quantity
from core.rpc import wire
from core.rpc.client import Call, Seat
from core.rpc.endpoint import Aside, Endpoint
from core.rpc.pool import RpcPool
from core.rpc.refusals import Kind, classify
from core.types import BlockRef, Head

AGAIN_S: Final = (0.02, 0.2)  # pauses between two looks for a block that a node does not have yet
LAST_WORD_S: Final = 0.05  # for the word of the node that is read from, when two others agree already
LAG_BLOCKS: Final = 3  # a node that is behind by more lags; it keeps up again when it is behind by one at most
LAG_S: Final = 30.0  # or by two blocks that are this much of the chain's time
LOOK_S: Final = 5.0  # one look at all may take so long: who has not answered by then says nothing

T = TypeVar("T")


class PanelMeter(Protocol):
    """What is counted of new heads."""

    def voted(self, outcome: str) -> None:
        """Count a new head.

        `outcome`: `agreed` by two, `alone` with one word, or `split`: every word names another block.
        """
        ...


class HeadPanel:
    """The endpoints of a pool, asked about the head all at once (Agreement).

    Its `run` watches who keeps up (a Service). A head waits at most `agree_s` for the second word.
    """

    def __init__(
        self,
        pool: RpcPool,
        meter: PanelMeter,
        *,
        name: str,
        agree_s: float = 0.5,
        look_s: float = 2.0,
        clock: Clock | None = None,
    ) -> None:
        self.name = f"panel.{name}"
        self._pool = pool
        self._meter = meter
        self._agree_s = agree_s
        self._look_s = look_s
        self._clock = clock or SystemClock()
        self._taken: Head | None = None

    async def run(self) -> None:
        """Look at all endpoints again and again."""
        while True:
            await self.look()
            await self._clock.sleep(self._look_s)

    async def look(self) -> None:
        """Ask every endpoint for its newest block, and for the one where the last head was taken; judge by both."""
        taken, started, asked_of = self._taken, self._clock.monotonic(), self._pool.well()
        async with _Asked(asked_of, partial(self._newest, taken)) as asked:
            await asked.until(lambda: False, self._clock.sleep(LOOK_S))
            found, late = asked.found, asked.late
        for endpoint in late:
            endpoint.overtaken(started)
        judge_lag({each: latest for each, (latest, _) in found.items()})
        if taken is not None:
            judge_fork(taken.ref, {each: at.ref for each, (_, at) in found.items() if at is not None})

    async def agreed(self, head: Head) -> Head:
        """Return the block at the height of `head` that two endpoints have, or after a while what there is of it."""
        if self._taken is not None and self._taken.ref == head.ref:
            return head
        voters = [each for each in self._pool.well() if not each.aside]
        if len(voters) < 2:
            return self._take(head, "alone")
        reading = self._pool.preferred
        async with _Asked(voters, partial(self._at, head.ref.number)) as asked:
            await asked.until(lambda: most(asked.found) is not None, self._clock.sleep(self._agree_s))
            # Two others agree: is what blocks are read from on their side? Otherwise it would be read from once more.
            if most(asked.found) is not None and reading in voters:
                await asked.until(lambda: reading in asked.found, self._clock.sleep(LAST_WORD_S))
            words = asked.found
        majority = most(words)
        if majority is not None:
            judge_fork(majority.ref, {each: word.ref for each, word in words.items()})
            return self._take(majority, "agreed")
        # No majority: the word of what blocks are read from, so that head and blocks are of one chain.
        known = words.get(reading) or next(iter(words.values()), head)
        return self._take(known, "split" if len(words) > 1 else "alone")

    def _take(self, head: Head, outcome: str) -> Head:
        self._meter.voted(outcome)
        self._taken = head
        return head

    async def _newest(self, taken: Head | None, endpoint: Endpoint) -> tuple[Head, Head | None] | None:
        return await self._pool.word(endpoint, partial(_newest, taken))

    async def _at(self, number: int, endpoint: Endpoint) -> Head | None:
        """Return the block of an endpoint at `number` as soon as it has it, None if it cannot answer."""
        pause = AGAIN_S[0]
        while (found := await self._pool.word(endpoint, partial(_at, number))) == ():
            await self._clock.sleep(pause)
            pause = min(pause * 2, AGAIN_S[1])
        return found[0] if found else None


def most(words: Mapping[Endpoint, Head]) -> Head | None:
    """Return the block that most endpoints name, if two do and no other is named as often."""
    counted = Counter(word.ref for word in words.values()).most_common(2)
    if not counted or counted[0][1] < 2 or (len(counted) > 1 and counted[1][1] == counted[0][1]):
        return None
    return next(word for word in words.values() if word.ref == counted[0][0])


def judge_lag(heads: Mapping[Endpoint, Head]) -> None:
    """Note who lags: behind the higher of two, the second highest of more, so that one alone puts nobody aside."""
    ranked = sorted(heads.values(), key=lambda head: head.ref.number, reverse=True)
    if len(ranked) < 2:
        return
    reference = ranked[0] if len(ranked) == 2 else ranked[1]
    for endpoint, head in heads.items():
        blocks = reference.ref.number - head.ref.number
        if blocks > LAG_BLOCKS or (blocks > 1 and reference.timestamp - head.timestamp > LAG_S):
            endpoint.put_aside(Aside.LAGGING)
        elif blocks <= 1 and endpoint.aside is Aside.LAGGING:
            endpoint.put_aside(Aside.NO)


def judge_fork(taken: BlockRef, words: Mapping[Endpoint, BlockRef]) -> None:
    """Note who has another block than two others where the head was taken, and who no longer has."""
    with_it = sum(word == taken for word in words.values())
    for endpoint, word in words.items():
        if word == taken and endpoint.aside is Aside.FORKED:
            endpoint.put_aside(Aside.NO)
        elif word != taken and with_it > 1:
            endpoint.put_aside(Aside.FORKED)


async def _newest(taken: Head | None, seat: Seat) -> tuple[Head, Head | None]:
    calls: list[Call] = [("eth_getBlockByNumber", ("latest", False))]
    if taken is not None:
        calls.append(("eth_getBlockByNumber", (to_quantity(taken.ref.number), False)))
    answers = await seat.batch_each(calls)
    latest, *at = [None if isinstance(each, RpcRefused) else wire.head(each) for each in answers]
    if latest is None:
        raise BadAnswer(f"{seat.host}: latest block is null")
    return latest, at[0] if at else None


async def _at(number: int, seat: Seat) -> tuple[Head, ...]:
    """Return the block at `number`; nothing where the endpoint's chain has not come to it yet."""
    try:
        found = wire.head(await seat.raw("eth_getBlockByNumber", to_quantity(number), False))
    except RpcRefused as refused:
        if classify(refused).kind is not Kind.BEHIND:
            raise
        found = None
    return () if found is None else (found,)


class _Asked(Generic[T]):
    """Endpoints asked the same at once; at the end, those that have not answered are cancelled."""

    def __init__(self, endpoints: Iterable[Endpoint], ask: Callable[[Endpoint], Awaitable[T | None]]) -> None:
        self._endpoints = endpoints
        self._ask = ask
        self._pending: dict[asyncio.Future[Any], Endpoint] = {}
        self.found: dict[Endpoint, T] = {}

    async def __aenter__(self) -> Self:
        self._pending = {asyncio.ensure_future(self._ask(each)): each for each in self._endpoints}
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._pending:
            task.cancel()
        await asyncio.gather(*self._pending, return_exceptions=True)

    @property
    def late(self) -> list[Endpoint]:
        """Those that have said nothing yet."""
        return list(self._pending.values())

    async def until(self, enough: Callable[[], bool], end: Awaitable[None]) -> None:
        """Collect answers until there are `enough`, all are there, or `end` is over."""
        over: asyncio.Future[Any] = asyncio.ensure_future(end)
        try:
            while self._pending and not enough() and not over.done():
                done, _ = await asyncio.wait([*self._pending, over], return_when=asyncio.FIRST_COMPLETED)
                for task in [each for each in self._pending if each in done]:
                    answer, endpoint = task.result(), self._pending.pop(task)
                    if answer is not None:
                        self.found[endpoint] = answer
        finally:
            over.cancel()
            await asyncio.gather(over, return_exceptions=True)
