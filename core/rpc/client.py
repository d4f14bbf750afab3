"""JSON-RPC 2.0 over HTTP, singly and in batches, with deadlines: one endpoint, asked once.

Specification: JSON-RPC 2.0 (jsonrpc.org/specification). Results stay undecoded (`msgspec.Raw`) until their reader
knows what they should be. Asking again, and asking another endpoint, is the pool's (core/rpc/pool.py).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, Final, Protocol, Self, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

import aiohttp
import msgspec

from core.errors import BadAnswer, RpcLimited, RpcRefused, RpcTimedOut, RpcUnavailable
from core.rpc import wire
from core.rpc.limits import BatchSize, LogSpan
from core.rpc.refusals import retry_s
from core.rpc.wire import UNREADABLE

JSON: Final = "application/json"
MAX_BODY_BYTES: Final = 256 * 1024 * 1024  # 50 full mainnet blocks with receipts are about 60 MB
KEY_CHARACTERS: Final = 8  # a shorter part of a path or query is a name such as "v3" or "rpc"
RETRY_STATUS: Final = frozenset({408, 425, 429, 500, 502, 503, 504})

Call = tuple[str, Sequence[object]]
T = TypeVar("T")


class Sizes:
    """What one endpoint takes, as far as it is known: kept by whoever asks it."""

    def __init__(
        self, *, batch_calls: int | None = None, log_blocks: int | None = None, block_receipts: bool | None = None
    ) -> None:
        self.batch = BatchSize(batch_calls)
        self.logs = LogSpan(log_blocks)
        self.probing = asyncio.Lock()  # held while that is asked
        self.block_receipts = block_receipts  # whether it has eth_getBlockReceipts; None: it has not been asked


class Rpc(Protocol):
    """Who answers JSON-RPC: one endpoint, or a pool of them."""

    @property
    def host(self) -> str:
        """The answering party's name, without anything secret, for logs and errors."""
        ...

    async def call(self, method: str, *params: object) -> Any:
        """Return the decoded result of one call. Raises RpcRefused, RpcUnavailable or BadAnswer."""
        ...

    async def raw(self, method: str, *params: object) -> msgspec.Raw:
        """Return the undecoded result of one call. Raises as `call`."""
        ...

    async def batch(self, calls: Sequence[Call]) -> list[msgspec.Raw]:
        """Return the results of `calls` in order, all from one endpoint. Raises RpcRefused for the first refused."""
        ...

    async def batch_each(self, calls: Sequence[Call]) -> list[msgspec.Raw | RpcRefused]:
        """Return the results of `calls` in their order, all from one endpoint, with the refusals among them."""
        ...

    async def answer(self, ask: "Callable[[Seat], Awaitable[T]]", *, oldest: int | None = None, read: str = "") -> T:
        """Return what `ask` makes of one endpoint, which it may ask several times.

        A pool calls it with another endpoint if it raises BadAnswer, RpcUnavailable, or a refusal that is the
        endpoint's (`core.rpc.refusals.ELSEWHERE`). `oldest` is the lowest block it needs: endpoints known to have
        pruned it are asked last. `read` names the kind of a read that may be asked of a second endpoint as well when
        the first one is late.
        """
        ...


class Seat(Rpc, Protocol):
    """One endpoint, while it is asked."""

    @property
    def sizes(self) -> Sizes:
        """What it takes at once; whoever learns more notes it there."""
        ...


class _ErrorObject(msgspec.Struct):
    code: int = 0
    message: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")


class _Reply(msgspec.Struct):
    id: int | str | None = None
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: _ErrorObject | None = None


_replies = msgspec.json.Decoder(list[_Reply])
_reply = msgspec.json.Decoder(_Reply)


def redacted(url: str) -> str:
    """Return scheme, host and port of `url`; credentials, path and query may hold keys and are left out."""
    parts = urlsplit(url)
    host = parts.hostname or "?"
    if ":" in host:
        host = f"[{host}]"
    port = f":{parts.port}" if parts.port else ""
    hidden = "/…" if parts.path.strip("/") or parts.query else ""
    return f"{parts.scheme}://{host}{port}{hidden}"


def scrubbed(text: str, url: str) -> str:
    """Return `text`, which a node or a library wrote, without what of `url` may be a key: many echo the path."""
    parts = urlsplit(url)
    keys = {parts.username, parts.password}
    pieces = [*parts.path.split("/"), *(value for _, value in parse_qsl(parts.query))]
    keys |= {piece for piece in pieces if len(piece) >= KEY_CHARACTERS}
    keys |= {unquote(key) for key in keys if key}
    for key in sorted((key for key in keys if key), key=len, reverse=True):
        text = text.replace(key, "…")
    return text


class RpcClient:
    """One HTTP endpoint. Use as an async context manager; it owns its connections.

    `deadline_s` bounds one request. Nothing is asked twice here (see core/rpc/pool.py).
    """

    def __init__(self, url: str, *, deadline_s: float = 20.0, connections: int = 64) -> None:
        self.url = url
        self.host = redacted(url)
        self.sizes = Sizes()
        self._timeout = aiohttp.ClientTimeout(total=deadline_s, sock_connect=min(deadline_s, 5.0))
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            timeout=self._timeout,
            connector=aiohttp.TCPConnector(limit=self._connections),
            headers={"content-type": JSON, "accept": JSON},
            read_bufsize=1 << 20,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def call(self, method: str, *params: object) -> Any:
        """Return the decoded result of one call. Raises RpcRefused, RpcUnavailable or BadAnswer."""
        raw = await self.raw(method, *params)
        try:
            return msgspec.json.decode(raw)
        except UNREADABLE as error:
            raise BadAnswer(f"{self.host}: {method}: {error}") from None

    async def raw(self, method: str, *params: object) -> msgspec.Raw:
        """Return the undecoded result of one call. Raises RpcRefused or RpcUnavailable."""
        body = msgspec.json.encode({"jsonrpc": "2.0", "id": 0, "method": method, "params": params})
        try:
            reply = _reply.decode(await self.post(body))
        except UNREADABLE as error:
            raise BadAnswer(f"{self.host}: {method}: not a JSON-RPC reply: {error}") from error
        return self._result(method, reply)

    async def answer(self, ask: Callable[[Seat], Awaitable[T]], *, oldest: int | None = None, read: str = "") -> T:
        """Return what `ask` makes of this endpoint."""
        del oldest, read
        return await ask(self)

    async def batch(self, calls: Sequence[Call]) -> list[msgspec.Raw]:
        """Return the undecoded results of `calls`, in their order, from one HTTP request.

        Raises RpcRefused for the first refused call, RpcUnavailable, or BadAnswer when replies are missing.
        """
        answers = []
        for answer in await self.batch_each(calls):
            if isinstance(answer, RpcRefused):
                raise answer
            answers.append(answer)
        return answers

    async def batch_each(self, calls: Sequence[Call]) -> list[msgspec.Raw | RpcRefused]:
        """Return the results of `calls`, in their order, with the refusals among them. Raises as `batch` otherwise."""
        body = msgspec.json.encode(
            [{"jsonrpc": "2.0", "id": i, "method": m, "params": p} for i, (m, p) in enumerate(calls)]
        )
        data = await self.post(body)
        try:
            # A node that refuses the batch as a whole answers with one object instead of a list.
            replies = _replies.decode(data) if data[:64].lstrip()[:1] == b"[" else [_reply.decode(data)]
        except UNREADABLE as error:
            raise BadAnswer(f"{self.host}: batch of {len(calls)}: not a JSON-RPC reply: {error}") from error
        return self._in_order(calls, replies)

    def _in_order(self, calls: Sequence[Call], replies: list[_Reply]) -> list[msgspec.Raw | RpcRefused]:
        by_id = {reply.id: reply for reply in replies}
        for i, (method, _) in enumerate(calls):
            if i not in by_id and len(replies) == 1:
                self._result(method, replies[0])
            if i not in by_id:
                raise BadAnswer(f"{self.host}: batch of {len(calls)}: no reply to call {i} ({method})")
        return [self._outcome(method, by_id[i]) for i, (method, _) in enumerate(calls)]

    def _outcome(self, method: str, reply: _Reply) -> msgspec.Raw | RpcRefused:
        try:
            return self._result(method, reply)
        except RpcRefused as refused:
            return refused

    def _result(self, method: str, reply: _Reply) -> msgspec.Raw:
        if reply.error is not None:
            error = reply.error
            raise RpcRefused(
                self.host, method, error.code, scrubbed(error.message, self.url), wire.revert_data(error.data)
            )
        if isinstance(reply.result, msgspec.UnsetType):
            raise BadAnswer(f"{self.host}: {method}: reply has neither result nor error")
        return reply.result

    async def post(self, body: bytes) -> bytes:
        """Send a request's body and return the answer's: all that touches the network (the simulator has its own).

        Raises RpcUnavailable, RpcLimited, RpcTimedOut, BadAnswer, and RpcRefused for a page in the place of an answer.
        """
        if self._session is None:
            raise RpcUnavailable(f"{self.host}: client is closed")
        try:
            async with self._session.post(self.url, data=body) as response:
                return self._checked(response, await self._body(response))
        except TimeoutError as error:
            raise RpcTimedOut(f"{self.host}: {type(error).__name__}: {self._plain(error)}") from None
        except (aiohttp.ClientError, OSError) as error:
            # Not "from error": the library's text may hold the full URL, and tracebacks are logged.
            raise RpcUnavailable(f"{self.host}: {type(error).__name__}: {self._plain(error)}") from None

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        """Read the answer, but not one that would not fit: a node may send without end."""
        if (response.content_length or 0) > MAX_BODY_BYTES:
            raise BadAnswer(f"{self.host}: answer of {response.content_length} bytes, more than {MAX_BODY_BYTES}")
        if response.content_length is not None:
            return await response.read()
        body = bytearray()
        async for piece in response.content.iter_any():
            body += piece
            if len(body) > MAX_BODY_BYTES:
                raise BadAnswer(f"{self.host}: answer of more than {MAX_BODY_BYTES} bytes")
        return bytes(body)

    def _checked(self, response: aiohttp.ClientResponse, data: bytes) -> bytes:
        status = response.status
        if status == 429:
            said = f"HTTP {status}: {self._excerpt(data)}"
            raise RpcLimited(f"{self.host}: {said}", _seconds(response.headers.get("retry-after")) or retry_s(said))
        if status in RETRY_STATUS and not (status == 500 and _is_refusal(data)):
            raise RpcUnavailable(f"{self.host}: HTTP {status}: {self._excerpt(data)}")
        # Some nodes send JSON-RPC errors with 4xx and 500; those are answers. Anything else is not this protocol.
        if status >= 400 and data[:64].lstrip()[:1] not in (b"{", b"["):
            raise RpcRefused(self.host, "request", -status, f"HTTP {status}: {self._excerpt(data)}")
        return data

    def _excerpt(self, data: bytes) -> str:
        return scrubbed(data[:2_000].decode("utf-8", "replace").strip(), self.url)[:200]

    def _plain(self, error: BaseException) -> str:
        """Return the error's text unless it holds a URL, keys included, as some of aiohttp's do."""
        text = str(error)
        return scrubbed(text, self.url) if "://" not in text else "no answer"


def _seconds(retry_after: str | None) -> float | None:
    """Read a Retry-After header in seconds (RFC 9110, 10.2.3); its form with a date is left alone."""
    text = (retry_after or "").strip()
    return int(text) * 1.0 if text.isascii() and text.isdigit() else None


def _is_refusal(data: bytes) -> bool:
    """Whether a body is a JSON-RPC error (MegaETH's proxy sends "backend response too large" with HTTP 500)."""
    try:
        replies = _replies.decode(data) if data[:64].lstrip()[:1] == b"[" else [_reply.decode(data)]
        return bool(replies) and all(reply.error is not None for reply in replies)
    except UNREADABLE:
        return False
