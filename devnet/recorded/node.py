"""The recorded node: a recording, a head that may move, and who is told of it."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from devnet.recorded.answers import FINALIZED_BLOCKS, Answers, Pieces
from devnet.recorded.filters import INVALID, Refused
from devnet.recorded.folder import Recording
from devnet.recorded.http import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """How the node differs from one that knows everything and answers at once.

    `head` is the newest block shown at the start, None for the recording's last; `pace` how many blocks a second it
    then advances; `latency_s` passes before each answer, of all connections at the same time; requests beyond
    `limit_rps` a second are answered 429; `finalized` is how many blocks below the head that tag names.
    """

    head: int | None = None
    finalized: int = FINALIZED_BLOCKS
    pace: float = 0.0
    latency_s: float = 0.0
    limit_rps: float = 0.0


class RecordedNode:
    """Answers for all its connections. Beside a node's methods it knows its own, `recorded_…`, for whoever measures."""

    def __init__(self, recording: Recording, behaviour: Behaviour | None = None) -> None:
        behaviour = behaviour or Behaviour()
        self._answers = Answers(recording, behaviour.head, finalized=behaviour.finalized)
        self._tip = recording.tip
        self.latency_s = behaviour.latency_s
        self._limit_rps = behaviour.limit_rps
        self._allowance, self._counted_at = behaviour.limit_rps, time.monotonic()
        self.connections: set[Connection] = set()
        self._announced: list[tuple[int, int]] = []
        self._calls = 0
        self._names = 0
        self._pace = behaviour.pace
        self._paced = asyncio.Event()

    def answer(self, method: str, params: Sequence[Any], who: Connection) -> Pieces:
        """Return the JSON of a result, in pieces. Raises Refused."""
        self._calls += 1
        match method:
            case "eth_subscribe":
                return self._subscribe(params, who)
            case "eth_unsubscribe":
                found = bool(params) and params[0] in who.subscriptions
                who.subscriptions.discard(str(params[0]) if params else "")
                return (b"true" if found else b"false",)
            case "recorded_announced":
                return (msgspec.json.encode(self._announced),)
            case "recorded_calls":
                return (msgspec.json.encode(self._calls),)
            case "recorded_setPace":
                return self._set_pace(params)
        return self._answers.answer(method, params)

    def admit(self) -> bool:
        """Whether one more request is within the limit."""
        if not self._limit_rps:
            return True
        now = time.monotonic()
        earned = (now - self._counted_at) * self._limit_rps
        self._allowance, self._counted_at = min(self._limit_rps, self._allowance + earned), now
        if self._allowance < 1:
            return False
        self._allowance -= 1
        return True

    def advance(self) -> None:
        """Show one block more, and tell everybody who asked to be told."""
        self._answers.head += 1
        header = self._answers.header(self._answers.head)
        self._announced.append((self._answers.head, time.monotonic_ns()))
        for connection in list(self.connections):
            connection.announce(header)

    async def walk(self) -> None:
        """Advance at the pace that was asked for, to the end of the recording; a late block does not delay the next."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while self._answers.head < self._tip:
            if not self._pace:
                self._paced.clear()
                await self._paced.wait()
                due = loop.time()
            due += 1 / self._pace
            await asyncio.sleep(max(0.0, due - loop.time()))
            self.advance()

    def _subscribe(self, params: Sequence[Any], who: Connection) -> Pieces:
        if not params or params[0] != "newHeads":
            raise Refused(INVALID, f"eth_subscribe: this node offers newHeads alone, asked for {str(params)[:80]}")
        self._names += 1
        name = hex(self._names)
        who.subscriptions.add(name)
        return (msgspec.json.encode(name),)

    def _set_pace(self, params: Sequence[Any]) -> Pieces:
        if not params or not isinstance(params[0], int | float) or params[0] < 0:
            raise Refused(INVALID, "recorded_setPace: expected blocks a second")
        self._pace = params[0]
        if self._pace:
            self._paced.set()
        return (b"true",)


@asynccontextmanager
async def serving(node: RecordedNode, *, port: int = 0) -> AsyncIterator[int]:
    """Serve `node` on a loopback port, and yield the port; 0 takes a free one."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(node), "127.0.0.1", port, backlog=256)
    walking = loop.create_task(node.walk(), name="pace")  # awaited below, through its cancellation
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        walking.cancel()
        server.close()
        for connection in list(node.connections):
            connection.close()
        await asyncio.gather(walking, return_exceptions=True)
        await server.wait_closed()
