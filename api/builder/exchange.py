"""Trade actions over WebSocket: the envelope around what HTTP answers, with the same rules.

Envelope of the Builder Service: {id?, action, headers, payload} to {id?, ok, data} or {id?, ok, error}. Messages of one
connection are answered in their order.
"""

import itertools
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec
from starlette.types import Receive, Scope, Send

from api.builder.answers import encode, exchange_health
from api.builder.desk import ACTIONS, Desk, parsed, trader_of
from api.builder.quota import Quota
from api.errors import ApiError, BadAction, BadRequest, Unavailable
from core.errors import Transient
from core.metrics import BuilderMetrics

MAX_ID: Final = 128  # characters of a message's id
HEALTH: Final = "health"


class Failure(msgspec.Struct, rename="camel", omit_defaults=True):
    """The error of a reply."""

    message: str
    code: int
    error_code: str
    details: dict[str, Any] = {}


class Good(msgspec.Struct, omit_defaults=True):
    """A reply with data. `id` is the message's own, if it had one."""

    ok: bool
    data: Any
    id: Any = msgspec.UNSET


class Bad(msgspec.Struct, omit_defaults=True):
    """A reply to a message that could not be carried out; the connection goes on."""

    ok: bool
    error: Failure
    id: Any = msgspec.UNSET


class ExchangeSocket:
    """Serves the WebSocket. `quota` counts messages by connection."""

    def __init__(self, desk: Desk, quota: Quota, metrics: BuilderMetrics) -> None:
        self._desk = desk
        self._quota = quota
        self._metrics = metrics
        self._numbers = itertools.count()

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer messages until the client leaves or the server stops."""
        await receive()  # websocket.connect
        await send({"type": "websocket.accept"})
        client = scope.get("client")
        exempt = self._quota.exempts(client[0] if client else "")
        connection = None if exempt else f"socket {next(self._numbers)}"
        with self._metrics.socket("exchange"):
            while (message := await receive())["type"] == "websocket.receive":
                data: str | bytes = message.get("text") or message.get("bytes") or ""
                reply = await self._reply(connection, data)
                try:
                    await send({"type": "websocket.send", "text": reply.decode()})
                except OSError:
                    return  # the client left without waiting for its answer

    async def _reply(self, connection: str | None, data: str | bytes) -> bytes:
        name: Any = msgspec.UNSET
        good = False
        try:
            if connection is not None:
                await self._quota.spend(connection)
            message = parsed(data)
            if not isinstance(message, Mapping):
                raise BadRequest("the message must be a JSON object")
            name = _id(message)
            reply = encode(Good(True, await self._carried_out(message), name))
            good = True
        except ApiError as error:
            reply = _failed(error, name)
        except Transient:
            reply = _failed(Unavailable("temporarily unavailable, try again"), name)
        self._metrics.message(ok=good)
        return reply

    async def _carried_out(self, message: Mapping[str, Any]) -> Any:
        action = message.get("action")
        if action == HEALTH:
            return exchange_health()
        if not isinstance(action, str) or action not in ACTIONS:
            expected = ", ".join(sorted({*ACTIONS, HEALTH}))
            raise BadAction(f"action: expected one of {expected}, found {str(action)[:40]!r}")
        headers = _headers(message)
        if "payload" not in message:
            raise BadRequest("payload: expected the request's body, found none")
        simulate = message.get("simulate", False)
        if not isinstance(simulate, bool):
            raise BadRequest(f"simulate: expected true or false, found {str(simulate)[:20]!r}")
        trader = trader_of(headers.get("x-trader-address"), None)
        keyed = "x-api-key" in headers
        return await self._desk.exchange(action, trader, message["payload"], delegated=keyed, simulate=simulate)


def _headers(message: Mapping[str, Any]) -> dict[str, str]:
    given = message.get("headers")
    if not isinstance(given, Mapping):
        raise BadRequest("headers: expected an object with X-Trader-Address")
    wrong = [str(name)[:40] for name, value in given.items() if not isinstance(value, str)]
    if wrong:
        raise BadRequest(f"headers.{wrong[0]}: expected a string")
    return {name.lower(): value for name, value in given.items()}


def _id(message: Mapping[str, Any]) -> Any:
    found = message.get("id", msgspec.UNSET)
    if found is None or found is msgspec.UNSET:
        return msgspec.UNSET
    if isinstance(found, bool) or not isinstance(found, str | int | Decimal) or len(str(found)) > MAX_ID:
        raise BadRequest(f"id: expected a string or a number of at most {MAX_ID} characters")
    return found


def _failed(error: ApiError, name: Any) -> bytes:
    return encode(Bad(False, Failure(str(error), error.status, error.kind, dict(error.details)), name))
