"""The upstream of live prices, polled or followed, and handed to the market tick by tick (a Service).

Shapes that are understood, each passed on without re-encoding: a tick {"feed_id": …}, an array of ticks (Ostium's
/PricePublish/latest-prices), {"type": "tick", "data": tick} and {"type": "snapshot", "data": [tick, …]} (its stream).
A lost upstream is told to readers and raised as Transient: the supervisor waits and starts the service again.
"""

import asyncio
import logging
from typing import Final, NoReturn

import aiohttp
import msgspec

from api.builder.market import Market
from core.errors import Transient
from core.rpc.client import redacted

log = logging.getLogger(__name__)

CONNECT_S: Final = 10.0
HEARTBEAT_S: Final = 20.0
MAX_BYTES: Final = 4 * 1024 * 1024
UNREADABLE: Final = (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError)


class FeedLost(Transient):
    """The upstream of prices is gone, silent, or sends something else."""


class _Tick(msgspec.Struct):
    feed_id: str


class _Wrapped(msgspec.Struct):
    type: str
    data: msgspec.Raw = msgspec.Raw(b"[]")


_ticks: Final = msgspec.json.Decoder(list[msgspec.Raw])
_tick: Final = msgspec.json.Decoder(_Tick)
_wrapped: Final = msgspec.json.Decoder(_Wrapped)


class Feed:
    """Reads `url`: http(s) is asked every `poll_s`, ws(s) is listened to, after `subscribe` is sent if it is not empty.

    An upstream that says nothing for `silence_s` counts as lost.
    """

    name = "market.feed"

    def __init__(
        self, url: str, market: Market, *, poll_s: float = 1.0, silence_s: float = 60.0, subscribe: str = ""
    ) -> None:
        self._url = url
        self._host = redacted(url)
        self._market = market
        self._poll_s = poll_s
        self._silence_s = silence_s
        self._subscribe = subscribe

    async def run(self) -> NoReturn:
        """Pass on prices for ever. Raises FeedLost."""
        try:
            async with aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S)
            ) as session:
                await (self._poll(session) if self._url.startswith("http") else self._follow(session))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # Not "from error": the library's text may hold the URL, which may hold a key.
            raise FeedLost(f"{self._host}: {type(error).__name__}") from None
        except UNREADABLE as error:
            raise FeedLost(f"{self._host}: not prices: {error}") from None
        finally:
            self._market.lost()

    async def _poll(self, session: aiohttp.ClientSession) -> NoReturn:
        while True:
            async with asyncio.timeout(self._silence_s):
                async with session.get(self._url) as answer:
                    if answer.status != 200:
                        raise FeedLost(f"{self._host}: HTTP {answer.status}")
                    body = await answer.content.read(MAX_BYTES + 1)
                    while not answer.content.at_eof() and len(body) <= MAX_BYTES:
                        body += await answer.content.readany()
            if len(body) > MAX_BYTES:
                raise FeedLost(f"{self._host}: more than {MAX_BYTES} bytes")
            self._market.publish(ticks(body))
            await asyncio.sleep(self._poll_s)

    async def _follow(self, session: aiohttp.ClientSession) -> NoReturn:
        async with asyncio.timeout(CONNECT_S):
            socket = await session.ws_connect(self._url, heartbeat=HEARTBEAT_S, max_msg_size=MAX_BYTES)
        async with socket:
            if self._subscribe:
                await socket.send_str(self._subscribe)
            while True:
                async with asyncio.timeout(self._silence_s):
                    message = await socket.receive()
                if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                    raise FeedLost(f"{self._host}: WebSocket ended: {message.type.name}")
                self._market.publish(ticks(message.data))


def ticks(message: bytes | str) -> list[tuple[str, str]]:
    """Return (feed, JSON text) of each tick in an upstream's message; one of another kind has none.

    Raises msgspec.DecodeError for what is no JSON or no tick. The texts are slices of the message.
    """
    raw = message.encode() if isinstance(message, str) else message
    if raw.lstrip()[:1] == b"[":
        return [_one(each) for each in _ticks.decode(raw)]
    try:
        return [_one(raw)]
    except msgspec.ValidationError:
        wrapped = _wrapped.decode(raw)
    match wrapped.type:
        case "tick":
            return [_one(wrapped.data)]
        case "snapshot":
            return [_one(each) for each in _ticks.decode(wrapped.data)]
        case _:
            return []


def _one(raw: bytes | msgspec.Raw) -> tuple[str, str]:
    text = bytes(raw)
    return _tick.decode(text).feed_id, text.decode()
