"""A real server of streams with an indexer's store behind it, and clients of both wires."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp

from accounts import tokens
from api.access import Gate, Scope
from api.app import application
from api.credentials import ApiKeys
from api.hub import FactHub
from api.limits import Budget, RateLimiter
from api.prices import Prices
from api.readiness import Readiness
from api.routes.explorer import Explorer
from api.server import HttpServer, listen, url_of
from api.stream import Stream
from core.metrics import Metrics
from core.store.pg import PgStore
from core.store.pool import Pool

CHAIN = 31_337


@dataclass
class House:
    """A server with its hub, an indexer's store, and a client with a key."""

    url: str
    store: PgStore
    pool: Pool
    session: aiohttp.ClientSession
    server: "asyncio.Task[None]"
    hub_task: "asyncio.Task[None]"
    metrics: Metrics
    key: str

    @contextlib.asynccontextmanager
    async def sse(self, query: str = "", **headers: str) -> AsyncIterator["Sse"]:
        async with self.session.get(f"{self.url}/stream{query}", headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            yield Sse(answer)

    async def ws(self, query: str = "", **headers: str) -> aiohttp.ClientWebSocketResponse:
        return await self.session.ws_connect(f"{self.url}/stream{query}", headers=headers)

    def metric(self, name: str) -> float:
        lines = self.metrics.render().decode().splitlines()
        return next((float(line.split()[-1]) for line in lines if line.startswith(f"chainworkd_{name} ")), 0.0)


class Sse:
    """Events of one answer, parsed as the specification of EventSource says."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer
        self.last_id = ""
        self.comments: list[str] = []

    async def event(self) -> tuple[str, Any]:
        """The next event: its name and its data; ("", None) at the end."""
        name, data = "", []
        while True:
            async with asyncio.timeout(20):
                raw = await self.answer.content.readline()
            if not raw:
                return "", None
            line = raw.decode().rstrip("\n")
            field, _, value = line.partition(": ")
            match field:
                case "id":
                    self.last_id = value
                case "event":
                    name = value
                case "data":
                    data.append(value)
                case "" if line:
                    self.comments.append(value)
                case "" if data:
                    return name, json.loads("\n".join(data))
                case _:
                    pass

    async def events(self, count: int) -> list[tuple[str, Any]]:
        return [await self.event() for _ in range(count)]


@contextlib.asynccontextmanager
async def streaming(pool: Pool, api_pool: Pool, *, most: int = 100) -> AsyncIterator[House]:
    """Serve so many connections; the hub may have four readers."""
    store = PgStore(pool, CHAIN)
    await store.register("main", None)
    key = await tokens.issue(pool, "reader")
    metrics = Metrics()
    hub = FactHub(api_pool, metrics.for_streams(), max_streams=4)
    explorer = Explorer(
        api_pool, Readiness(api_pool, chains=(), ready_lag_s=60, silence_s=120), default_chain="main",
        native_symbols={}, public_url="", prices=Prices(api_pool, {}),
    )  # fmt: skip
    gate = Gate({Scope.API_KEY: ApiKeys(api_pool, RateLimiter(Budget(""))).check})
    routes = [*explorer.routes(), Stream(hub, metrics.for_streams(), explorer.named)]
    with contextlib.closing(listen("127.0.0.1", 0, "test")) as bound:
        server = HttpServer(application(routes, metrics, gate=gate), bound, name="api", sockets=True, most=most)
        serving, reading = asyncio.create_task(server.run()), asyncio.create_task(hub.run())
        headers = {"authorization": f"Bearer {key}"}
        async with aiohttp.ClientSession(headers=headers, read_bufsize=1024) as session:
            yield House(url_of(bound), store, pool, session, serving, reading, metrics, key)
        for task in (serving, reading):
            task.cancel()
        await asyncio.gather(serving, reading, return_exceptions=True)
