"""Made-up prices for a demo: what Ostium's price feed looks like, from a random walk on loopback."""

import asyncio
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

import msgspec
from aiohttp import web

from devnet.ostium import PAIRS

STARTS: Final = {"BTC-USD": 6_500_000, "EUR-USD": 10_876, "NVDA-USD": 18_230}  # in the last digit shown
PLACES: Final = {"BTC-USD": 2, "EUR-USD": 4, "NVDA-USD": 2}
EVERY_S: Final = 0.5
STEP: Final = 0.0004  # of the price, at most, per tick


class Tick(msgspec.Struct, rename="camel"):
    """A price as the upstream writes it; `bid`, `mid` and `ask` are JSON numbers with the digits given here."""

    feed_id: str = msgspec.field(name="feed_id")
    bid: msgspec.Raw
    mid: msgspec.Raw
    ask: msgspec.Raw
    is_market_open: bool
    is_day_trading_closed: bool
    seconds_to_toggle_is_day_trading_closed: int
    from_: str = msgspec.field(name="from")
    to: str
    timestamp_seconds: int


@dataclass(slots=True)
class Walk:
    """One price, in units of its last digit."""

    name: str
    price: int

    def step(self, chance: Random, now: int) -> Tick:
        """Move, and say where it is."""
        reach = max(1, round(self.price * STEP))
        self.price = max(reach + 2, self.price + chance.randint(-reach, reach))
        base, quote = self.name.split("-")
        return Tick(self.name, self._shown(-1), self._shown(0), self._shown(1), True, False, 0, base, quote, now)

    def _shown(self, away: int) -> msgspec.Raw:
        digits = str(self.price + away).rjust(PLACES[self.name] + 1, "0")
        return msgspec.Raw(f"{digits[: -PLACES[self.name]]}.{digits[-PLACES[self.name] :]}".encode())


class LocalFeed:
    """Streams ticks to every WebSocket that connects to `bound` (a Service)."""

    name = "devnet.feed"

    def __init__(self, bound: socket.socket, *, seed: int | None = None) -> None:
        self._bound = bound
        self._chance = Random(seed)  # noqa: S311 - invents prices, protects nothing
        self._walks = [Walk(pair.feed, STARTS[pair.feed]) for pair in PAIRS]
        self._readers: set[web.WebSocketResponse] = set()

    async def run(self) -> None:
        """Serve and tick until cancelled."""
        app = web.Application()
        app.router.add_get("/", self._stream)
        runner = web.AppRunner(app, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.SockSite(runner, self._bound).start()
            while True:
                await self._tell([walk.step(self._chance, int(time.time())) for walk in self._walks])
                await asyncio.sleep(EVERY_S)
        finally:
            await runner.cleanup()

    async def _stream(self, request: web.Request) -> web.WebSocketResponse:
        reader = web.WebSocketResponse(heartbeat=20.0)
        await reader.prepare(request)
        self._readers.add(reader)
        try:
            async for _ in reader:
                pass
        finally:
            self._readers.discard(reader)
        return reader

    async def _tell(self, ticks: Sequence[Tick]) -> None:
        for reader in tuple(self._readers):
            for tick in ticks:
                try:
                    await reader.send_str(msgspec.json.encode(tick).decode())
                except ConnectionError:
                    self._readers.discard(reader)
                    break
