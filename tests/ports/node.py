"""A node to talk to: JSON-RPC over HTTP and WebSocket on a loopback port, over blocks the test gives it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiohttp import WSMsgType, web

from core.hex import to_hex
from core.rpc.encode import encode_block, encode_receipts
from core.types import Block

CHAIN_ID = 7


class Chain:
    """What the node knows, and how it misbehaves."""

    def __init__(self, blocks: list[Block]) -> None:
        self.blocks = blocks
        self.block_receipts = True
        self.asked: list[str] = []
        self.responses: list[web.Response] = []  # sent before anything else
        self.twist: Callable[[str, Any], Any] = lambda method, result: result
        self.sockets: list[web.WebSocketResponse] = []
        self.greeting: list[dict[str, Any]] = []  # what a new socket is sent instead of answers
        self.chain_id = CHAIN_ID
        self.subscribed = asyncio.Event()

    def answer(self, call: dict[str, Any]) -> dict[str, Any]:
        """Return the reply to one call."""
        method, params = call["method"], call["params"]
        self.asked.append(method)
        if method == "eth_getBlockReceipts" and not self.block_receipts:
            error = {"code": -32601, "message": f"the method {method} does not exist/is not available"}
            return {"jsonrpc": "2.0", "id": call["id"], "error": error}
        return {"jsonrpc": "2.0", "id": call["id"], "result": self.twist(method, self._result(method, params))}

    def _result(self, method: str, params: list[Any]) -> Any:
        match method:
            case "eth_chainId":
                return hex(self.chain_id)
            case "eth_subscribe":
                self.subscribed.set()
                return "0x1"
            case "eth_getTransactionReceipt":
                every = [receipt for block in self.blocks for receipt in encode_receipts(block)]
                return next((r for r in every if r["transactionHash"] == params[0]), None)
        number = len(self.blocks) - 1 if params[0] == "latest" else int(params[0], 16)
        if number >= len(self.blocks):
            return None
        block = self.blocks[number]
        if method == "eth_getBlockReceipts":
            return encode_receipts(block)
        found = encode_block(block)
        return found if params[1] else found | {"transactions": [to_hex(tx.hash) for tx in block.txs]}

    async def http(self, request: web.Request) -> web.StreamResponse:
        """Answer a call or a batch, or upgrade to a WebSocket."""
        if request.headers.get("upgrade", "").lower() == "websocket":
            return await self._socket(request)
        if self.responses:
            return self.responses.pop(0)
        body = msgspec.json.decode(await request.read())
        replies = [self.answer(call) for call in body] if isinstance(body, list) else self.answer(body)
        return web.Response(body=msgspec.json.encode(replies), content_type="application/json")

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        for said in self.greeting:
            await socket.send_bytes(msgspec.json.encode(said))
        async for message in socket:
            if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                await socket.send_bytes(msgspec.json.encode(self.answer(msgspec.json.decode(message.data))))
        return socket

    async def announce(self, result: object) -> None:
        """Tell every socket of a new head."""
        params = {"subscription": "0x1", "result": result}
        said = {"jsonrpc": "2.0", "method": "eth_subscription", "params": params}
        for socket in self.sockets:
            await socket.send_bytes(msgspec.json.encode(said))


@asynccontextmanager
async def serving(chain: Chain) -> AsyncIterator[str]:
    """Yield the http:// URL of a server for `chain`."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", chain.http)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        yield f"http://127.0.0.1:{port}"
    finally:
        for socket in chain.sockets:
            await socket.close()
        await runner.cleanup()
        await asyncio.sleep(0)


@asynccontextmanager
async def refusing() -> AsyncIterator[str]:
    """Yield the ws:// URL of a server that answers every handshake with a page."""

    async def forbidden(_: web.Request) -> web.Response:
        return web.Response(status=403, text="no")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", forbidden)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"ws://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
