"""A provider to talk to: a node with limits, in the words of real ones."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol

import msgspec
from aiohttp import web

from core.rpc.encode import encode_receipts
from core.types import Block
from tests.ports.node import Chain

Refusal = dict[str, Any]
Refuse = Callable[[str, list[Any]], Refusal | None]


def refusal(code: int, message: str) -> Refusal:
    return {"code": code, "message": message}


class Answering(Protocol):
    """What a server can be made of."""

    async def http(self, request: web.Request) -> web.StreamResponse:
        """Answer a request."""
        ...


class Provider(Chain):
    """A chain behind a provider's limits; `refuse` says no to single calls, the others to whole requests."""

    def __init__(self, blocks: list[Block]) -> None:
        super().__init__(blocks)
        self.refuse: Refuse = lambda method, params: None
        self.latency_s = 0.0
        self.most_at_once = 1_000
        self.most_a_second = 100_000
        self.batch_most = 1_000
        self.batch_refusal: Callable[[list[Any]], web.Response] = too_large_by_geth
        self.second, self.in_second = 0.0, 0
        self.under_way = self.highest = self.limited = self.requests = 0
        self.log_ranges: list[tuple[int, int]] = []

    def answer(self, call: dict[str, Any]) -> dict[str, Any]:
        refused = self.refuse(call["method"], call["params"])
        if refused is not None:
            self.asked.append(call["method"])
            return {"jsonrpc": "2.0", "id": call["id"], "error": refused}
        return super().answer(call)

    def _result(self, method: str, params: list[Any]) -> Any:
        if params and params[0] in ("safe", "finalized"):
            return None
        if method != "eth_getLogs":
            return super()._result(method, params)
        first, last = int(params[0]["fromBlock"], 16), int(params[0]["toBlock"], 16)
        self.log_ranges.append((first, last))
        wanted = params[0].get("address")
        return [
            log
            for block in self.blocks[first : last + 1]
            for receipt in encode_receipts(block)
            for log in receipt["logs"]
            if not wanted or log["address"] in wanted
        ]

    async def http(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        now = time.monotonic()
        if now - self.second >= 1.0:
            self.second, self.in_second = now, 0
        self.in_second += 1
        if self.under_way >= self.most_at_once or self.in_second > self.most_a_second:
            self.limited += 1
            return web.Response(status=429, text="too many requests")
        self.under_way += 1
        self.highest = max(self.highest, self.under_way)
        try:
            await asyncio.sleep(self.latency_s)
            body = msgspec.json.decode(await request.read())
            if isinstance(body, list) and len(body) > self.batch_most:
                return self.batch_refusal(body)
            return await super().http(request)
        finally:
            self.under_way -= 1


def too_large_by_geth(body: list[Any]) -> web.Response:
    return web.json_response({"jsonrpc": "2.0", "id": None, "error": refusal(-32600, "batch too large")})


def too_large_for_each(body: list[Any]) -> web.Response:
    error = refusal(31, "Batch of more than 3 requests are not allowed on free tier")
    return web.json_response([{"jsonrpc": "2.0", "id": call["id"], "error": error} for call in body], status=500)


def too_large_by_http(body: list[Any]) -> web.Response:
    return web.Response(status=413, text="Request Entity Too Large")


@asynccontextmanager
async def provided(provider: Answering, port: int = 0) -> AsyncIterator[str]:
    """Yield the URL of a server for `provider`, on `port` or a free one."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", provider.http)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, reuse_address=True).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
        await asyncio.sleep(0)


def port_of(url: str) -> int:
    return int(url.rsplit(":", 1)[1])
