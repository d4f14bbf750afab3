"""The builder as its clients meet it: a real server on a loopback port, and a node with made-up contracts."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from api.access import Gate, Scope, anybody
from api.app import application
from api.routes.builder import Builder
from api.server import HttpServer, listen, url_of
from builders.call import selector
from builders.ostium.actions import Generation
from builders.ostium.layout import OPEN
from core.metrics import Metrics
from core.service import supervise
from core.settings import Settings, load
from daemon.builder import builder_of

TRADER = "0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65"
OPEN_BODY = {"open": {"a": 0, "b": True, "t": "market", "p": "42500.00", "s": "100", "l": "10"}}


@dataclass(slots=True)
class Reply:
    """An HTTP answer that has been read."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def body(self) -> Any:
        return json.loads(self.text)


@dataclass(slots=True)
class Face:
    """Where the server is, and a client for it."""

    url: str
    session: aiohttp.ClientSession
    server: "asyncio.Task[None]"
    metrics: Metrics
    group: Builder

    async def ask(
        self, method: str, path: str, data: Any = None, *, trader: str | None = TRADER, **headers: str
    ) -> Reply:
        """Ask; header names are written with underscores."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if trader is not None:
            sent["X-Trader-Address"] = trader
        if data is not None:
            sent.setdefault("content-type", "application/json")
        async with self.session.request(method, self.url + path, data=data, headers=sent) as answer:
            return Reply(answer.status, answer.headers, await answer.text())

    async def post(self, path: str, body: Any, *, trader: str | None = TRADER, **headers: str) -> Reply:
        return await self.ask("POST", path, json.dumps(body), trader=trader, **headers)

    async def get(self, path: str, *, trader: str | None = TRADER, **headers: str) -> Reply:
        return await self.ask("GET", path, trader=trader, **headers)

    async def socket(self, path: str = "/v1/exchange/ws", **headers: str) -> aiohttp.ClientWebSocketResponse:
        return await self.session.ws_connect(self.url + path, headers=headers)


@asynccontextmanager
async def serving(**environment: str) -> AsyncIterator[Face]:
    """Serve with settings CHAINWORKD_BUILDER__… (`API__…` for the API's); loopback is not limited unless asked for."""
    given = {"RATE_LIMIT_WHITELIST": '["127.0.0.1"]', **environment}
    names = {name: name if name.startswith("API__") else f"BUILDER__{name}" for name in given}
    settings = load(environ={f"CHAINWORKD_{names[name]}": value for name, value in given.items()})
    metrics = Metrics()
    with contextlib.closing(listen("127.0.0.1", 0, "test")) as bound:
        async with _served(settings, metrics, bound) as face:
            yield face


@asynccontextmanager
async def _served(settings: Settings, metrics: Metrics, bound: socket.socket) -> AsyncIterator[Face]:
    async with builder_of(settings, metrics) as built, asyncio.TaskGroup() as tasks:
        groups = [each for each in built.groups if isinstance(each, Builder)]
        gate = Gate({Scope.BUILDER: anybody})
        app = application(groups, metrics, gate=gate, groups=groups, cors_origins=settings.api.cors_origins)
        server = HttpServer(
            app,
            bound,
            name="api",
            sockets=True,
            proxies=settings.api.trusted_proxies,
            most=settings.api.max_connections,
        )
        running = [tasks.create_task(_until_cancelled(server.run()))]
        if built.services:
            running.append(tasks.create_task(_until_cancelled(supervise(built.services, metrics))))
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
                yield Face(url_of(bound), session, running[0], metrics, groups[0])
        finally:
            for task in running:
                task.cancel()


async def _until_cancelled(running: Coroutine[Any, Any, None]) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        await running


@dataclass(slots=True)
class Contracts:
    """A node of some chain whose contracts answer what a test wants; what it does not know reverts."""

    chain_id: int = 42_161
    answers: dict[tuple[str, str], bytes] = field(default_factory=dict)  # (contract, calldata) -> returned
    reverts: dict[str, Any] = field(default_factory=dict)  # first ten characters of calldata -> the error's data
    generation: Generation | None = Generation.V3
    asked: list[dict[str, Any]] = field(default_factory=list)

    def on(self, contract: str, function: str, arguments: list[int], words: list[int]) -> None:
        """Let a call of `function` on `contract` return words."""
        data = selector(function) + b"".join(value.to_bytes(32, "big") for value in arguments)
        self.answers[contract.lower(), "0x" + data.hex()] = b"".join(word.to_bytes(32, "big") for word in words)

    def reply(self, call: Mapping[str, Any]) -> dict[str, Any]:
        """Answer one JSON-RPC call."""
        self.asked.append(dict(call))
        base = {"jsonrpc": "2.0", "id": call["id"]}
        match call["method"]:
            case "eth_chainId":
                return base | {"result": hex(self.chain_id)}
            case "eth_getBlockByNumber":
                head = {"number": "0x10", "hash": "0x" + "11" * 32, "parentHash": "0x" + "22" * 32, "timestamp": "0x1"}
                return base | {"result": head}
            case "eth_getStorageAt":
                return base | {"result": "0x" + "00" * 32}
            case "eth_getCode":
                mine = call["params"][0].lower() == "0x6d0ba1f9996dbd8885827e1b2e8f6593e7702411"
                code = b"\x63" + OPEN[self.generation].selector if mine and self.generation else b""
                return base | {"result": "0x" + code.hex()}
            case "eth_call":
                return base | self._called(call["params"][0])
        return base | {"error": {"code": -32601, "message": "the method does not exist"}}

    def _called(self, of: Mapping[str, str]) -> dict[str, Any]:
        found = self.answers.get((of["to"].lower(), of["data"]))
        if found is not None:
            return {"result": "0x" + found.hex()}
        data = self.reverts.get(of["data"][:10], "0x")
        return {"error": {"code": 3, "message": "execution reverted", "data": data}}


@asynccontextmanager
async def node_of(contracts: Contracts) -> AsyncIterator[str]:
    """Serve the contracts' JSON-RPC; yields its URL."""

    async def answer(request: web.Request) -> web.Response:
        asked = await request.json()
        found = [contracts.reply(each) for each in asked] if isinstance(asked, list) else contracts.reply(asked)
        return web.json_response(found)

    app = web.Application()
    app.router.add_post("/", answer)
    async with running(app) as url:
        yield url


@asynccontextmanager
async def running(app: web.Application) -> AsyncIterator[str]:
    """Run an aiohttp application on a free loopback port; yields its URL."""
    runner = web.AppRunner(app)
    await runner.setup()
    bound = listen("127.0.0.1", 0, "test")
    await web.SockSite(runner, bound).start()
    try:
        yield url_of(bound)
    finally:
        await runner.cleanup()


async def said(socket: aiohttp.ClientWebSocketResponse, message: Any) -> Any:
    """Send a message, return the reply."""
    await socket.send_str(message if isinstance(message, str) else json.dumps(message))
    return json.loads(await socket.receive_str(timeout=10))
