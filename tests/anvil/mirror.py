"""A node's mirror: passes JSON-RPC on, late or about an older head if the test wants it so."""

import asyncio
from typing import Any

import msgspec
from aiohttp import web

from core.rpc.client import RpcClient


class Mirror:
    """Stands before a node; `behind` is how many blocks of it are not seen here yet, `late_s` when it answers."""

    def __init__(self, node: RpcClient) -> None:
        self._node = node
        self.behind = 0
        self.late_s = 0.0
        self.asked: list[str] = []

    async def http(self, request: web.Request) -> web.Response:
        """Answer a call or a batch."""
        body = msgspec.json.decode(await request.read())
        calls = body if isinstance(body, list) else [body]
        self.asked += [call["method"] for call in calls]
        await asyncio.sleep(self.late_s)
        head = int(await self._node.call("eth_blockNumber"), 16) - self.behind
        replies = [{"jsonrpc": "2.0", "id": call["id"], "result": await self._answer(call, head)} for call in calls]
        found = replies if isinstance(body, list) else replies[0]
        return web.Response(body=msgspec.json.encode(found), content_type="application/json")

    async def _answer(self, call: dict[str, Any], head: int) -> Any:
        params = list(call["params"])
        if call["method"] in ("eth_getBlockByNumber", "eth_getBlockReceipts"):
            params[0] = hex(head) if params[0] == "latest" else params[0]
            if params[0].startswith("0x") and int(params[0], 16) > head:
                return None
        return await self._node.call(call["method"], *params)
