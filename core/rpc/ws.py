"""New heads over WebSocket (eth_subscribe "newHeads", geth's pub/sub; every client follows it)."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, Final

import aiohttp
import msgspec

from core.errors import BadAnswer, RpcRefused, RpcUnavailable, WrongChain
from core.hex import from_quantity
from core.rpc import wire
from core.rpc.client import redacted, scrubbed
from core.types import Head

CONNECT_S: Final = 10.0
# Some endpoints end a connection whose client is silent for 30 s (MegaETH's documentation), so it says something.
KEEP_ALIVE_S: Final = 20.0
MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024


class _Params(msgspec.Struct):
    subscription: str
    result: msgspec.Raw


class _Error(msgspec.Struct):
    code: int = 0
    message: str = ""


class _Message(msgspec.Struct):
    id: int | None = None
    method: str | None = None
    params: _Params | None = None
    result: Any = None
    error: _Error | None = None


_decoder = msgspec.json.Decoder(_Message)


async def new_heads(url: str, chain_id: int) -> AsyncGenerator[Head, None]:
    """Yield each head the node announces, until the connection ends.

    Raises WrongChain if the node serves another chain, RpcUnavailable when it cannot be reached or hangs up, RpcRefused
    when it does not offer the subscription.
    """
    host = redacted(url)
    try:
        async with aiohttp.ClientSession() as session, asyncio.timeout(None) as deadline:
            deadline.reschedule(asyncio.get_running_loop().time() + CONNECT_S)
            async with session.ws_connect(url, heartbeat=KEEP_ALIVE_S, max_msg_size=MAX_MESSAGE_BYTES) as socket:
                await _subscribe(socket, host, chain_id)
                deadline.reschedule(None)
                async for head in _heads(socket, host):
                    yield head
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        # Not "from error": a failed handshake's text holds the full URL, and tracebacks are logged.
        raise RpcUnavailable(f"{host}: {type(error).__name__}") from None
    except RpcRefused as error:
        raise RpcRefused(host, error.method, error.code, scrubbed(error.message, url)) from None


async def _subscribe(socket: aiohttp.ClientWebSocketResponse, host: str, chain_id: int) -> None:
    found = await _ask(socket, host, 1, "eth_chainId")
    if not isinstance(found, str) or from_quantity(found) != chain_id:
        raise WrongChain(f"{host}: chain id is {found}, expected {chain_id}")
    await _ask(socket, host, 2, "eth_subscribe", "newHeads")


async def _ask(socket: aiohttp.ClientWebSocketResponse, host: str, id_: int, method: str, *params: object) -> Any:
    await socket.send_bytes(msgspec.json.encode({"jsonrpc": "2.0", "id": id_, "method": method, "params": params}))
    while True:
        message = await _receive(socket, host)
        if message.id == id_:
            if message.error is not None:
                raise RpcRefused(host, method, message.error.code, message.error.message)
            return message.result


async def _heads(socket: aiohttp.ClientWebSocketResponse, host: str) -> AsyncGenerator[Head, None]:
    while True:
        try:
            async with asyncio.timeout(KEEP_ALIVE_S):
                message = await _receive(socket, host)
        except TimeoutError:
            await socket.send_bytes(b'{"jsonrpc":"2.0","id":3,"method":"eth_chainId","params":[]}')
            continue
        if message.params is not None:
            head = wire.head(message.params.result)
            if head is not None:
                yield head


async def _receive(socket: aiohttp.ClientWebSocketResponse, host: str) -> _Message:
    received = await socket.receive()
    if received.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
        raise RpcUnavailable(f"{host}: WebSocket ended: {received.type.name} {socket.close_code or ''}".rstrip())
    try:
        return _decoder.decode(received.data)
    except msgspec.DecodeError as error:
        raise BadAnswer(f"{host}: not a JSON-RPC message: {error}") from None
