"""The builder's HTTP face: fixed paths, one look-up each. WebSockets of the group are handed on."""

import re
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Receive, Send
from starlette.types import Scope as Connection
from typing_extensions import override

from api.access import SOCKET, Scope, ScopedGroup
from api.app import TEMPLATE
from api.builder import delegated, openapi
from api.builder.answers import encode, exchange_health, service_health
from api.builder.desk import ACTIONS, Desk, parsed, trader_of
from api.builder.exchange import ExchangeSocket
from api.builder.market import MarketSocket
from api.builder.quota import Quota
from api.builder.refusals import JSON, REQUEST_ID, rendered
from api.errors import ApiError, BadRequest, SwitchedOff, Unavailable, UpgradeRequired
from core.errors import Transient

PREFIXES: Final = ("/v1/exchange/", "/v1/auth/", "/v1/agent/", "/v1/market/", "/v1/balance/", "/openapi")
PATHS: Final = frozenset({"/v1/health", "/v1/agent"})
READ_AS_JSON: Final = frozenset({"", JSON, "text/plain"})
YAML: Final = "text/yaml"
# What is echoed: visible and harmless in a header and in a log.
OWN_ID: Final = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")

# Delegated mode's routes: method -> path -> (needs a key, checks a body, the body may be missing).
DELEGATED: Final[Mapping[str, Mapping[str, tuple[bool, Callable[[Any], None] | None, bool]]]] = {
    "POST": {
        "/v1/auth/create": (False, None, True),
        "/v1/auth/verify-auth": (True, None, True),
        "/v1/auth/cancel": (False, None, True),
        "/v1/auth/verify-cancel": (False, delegated.signed_message, False),
        "/v1/auth/revoke": (False, None, True),
        "/v1/auth/verify-revoke": (False, delegated.signed_message, False),
        "/v1/agent": (False, None, True),
        "/v1/agent/verify": (False, delegated.mode_request, True),
        "/v1/agent/revoke": (True, None, True),
        "/v1/agent/remove": (False, None, True),
    },
    "GET": {"/v1/agent/pending": (False, None, True), "/v1/agent/public": (False, None, True)},
}

Answer = Callable[["Asked"], Awaitable[Response]]


class Asked:
    """One HTTP request: its headers and query, each looked at once."""

    def __init__(self, scope: Connection, receive: Receive) -> None:
        self.path: str = scope["path"]
        self._scope = scope
        self._receive = receive
        self._headers: dict[bytes, bytes] = dict(scope["headers"])
        self._query: dict[str, str] | None = None

    def header(self, name: bytes) -> str | None:
        """Return a header, None if it is not there."""
        value = self._headers.get(name)
        return None if value is None else value.decode("latin-1")

    def query(self, name: str) -> str | None:
        """Return a query parameter, None if it is not there."""
        if self._query is None:
            text = self._scope["query_string"].decode("latin-1")
            self._query = dict(parse_qsl(text, keep_blank_values=True)) if text else {}
        return self._query.get(name)

    @property
    def trader(self) -> bytes:
        """The trader's address. Raises BadRequest or BadAddress."""
        return trader_of(self.header(b"x-trader-address"), self.query("address"))

    @property
    def simulate(self) -> bool:
        """Whether the transactions are to be tried on the chain."""
        text = self.query("simulate")
        if text not in (None, "true", "false"):
            raise BadRequest(f"simulate: expected true or false, found {text[:20]!r}")
        return text == "true"

    async def body(self) -> bytes:
        """Return the whole body, which is bounded. Raises BadRequest, TooLarge, TooSlow."""
        message = await self._receive()
        body: bytes = message.get("body", b"")
        while message.get("more_body"):
            message = await self._receive()
            body += message.get("body", b"")
        kind = (self.header(b"content-type") or "").partition(";")[0].strip().lower()
        if body and kind not in READ_AS_JSON:  # clients name some type for a body that is empty, too
            raise BadRequest(f"content-type: expected application/json or text/plain, found {kind[:60]!r}")
        return body


class Builder(ScopedGroup):
    """The group: one route of the application, which owns its paths, their errors included."""

    def __init__(self, desk: Desk, quota: Quota, exchange: ExchangeSocket, market: MarketSocket) -> None:
        self._desk = desk
        self._quota = quota
        self._sockets = {"/v1/exchange/ws": exchange.serve, "/v1/market/stream": market.serve}
        document = openapi.document()
        as_json, as_yaml = msgspec.json.encode(document), openapi.yaml(document).encode()
        self._answers: dict[str, dict[str, Answer]] = {
            "/v1/health": {"GET": _fixed(lambda: encode(service_health()))},
            "/v1/exchange/health": {"GET": _fixed(lambda: encode(exchange_health()))},
            "/v1/balance/usdc": {"GET": self._balance},
            "/openapi": {"GET": _fixed(lambda: as_json)},
            "/openapi.json": {"GET": _fixed(lambda: as_json)},
            "/openapi.yaml": {"GET": _fixed(lambda: as_yaml, f"{YAML}; charset=utf-8")},
            **{path: {"GET": _upgrade} for path in self._sockets},
            **{f"/v1/exchange/{action}": {"POST": self._exchange} for action in sorted(ACTIONS)},
        }
        for method, paths in DELEGATED.items():
            for path in paths:
                self._answers.setdefault(path, {})[method] = self._delegated
        places = [(method, path) for path, methods in self._answers.items() for method in methods]
        self._scopes = dict.fromkeys([*places, *((SOCKET, path) for path in self._sockets)], Scope.BUILDER)

    @override
    def scopes(self) -> Mapping[tuple[str, str], Scope]:
        return self._scopes

    def owns(self, path: str) -> bool:
        """Whether an answer under `path` is the builder's."""
        return path in PATHS or path.startswith(PREFIXES)

    def refusal(self, scope: Connection, error: ApiError) -> Response:
        """Render an error in the builder's envelope."""
        _identify(scope)
        return rendered(scope, error)

    @override
    def matches(self, scope: Connection) -> tuple[Match, Connection]:
        mine = scope["type"] in ("http", "websocket") and self.owns(scope["path"])
        return (Match.FULL if mine else Match.NONE), {}

    @override
    def url_path_for(self, name: str, /, **path_params: Any) -> Any:
        raise NotImplementedError("paths of this group are fixed and not looked up by name")

    @override
    async def handle(self, scope: Connection, receive: Receive, send: Send) -> None:
        _identify(scope)
        response = await self._answered(scope, receive, send)
        if response is not None:
            await response(scope, receive, send)

    async def _answered(self, scope: Connection, receive: Receive, send: Send) -> Response | None:
        """Return the answer; None once a WebSocket has ended."""
        limits: Mapping[str, str] = {}
        try:
            client = scope.get("client")
            left = await self._quota.spend_of(client[0] if client else "unknown")
            limits = {} if left is None else left.headers()
            if scope["path"] in self._answers:
                scope[TEMPLATE] = scope["path"]
            await self.admitted(scope, receive)
            if scope["type"] == "websocket":
                await self._sockets[scope["path"]](scope, receive, send)
                return None
            response = await self._dispatch(scope, receive)
            response.headers["x-request-id"] = scope[REQUEST_ID]
        except ApiError as error:
            response = rendered(scope, error)
        except Transient:
            response = rendered(scope, Unavailable("temporarily unavailable, try again"))
        if limits:
            response.headers.update(limits)
        return response

    async def _dispatch(self, scope: Connection, receive: Receive) -> Response:
        method = scope["method"]
        answer = self._answers[scope["path"]]["GET" if method == "HEAD" else method]
        return await answer(Asked(scope, receive))

    async def _exchange(self, asked: Asked) -> Response:
        trader, simulate = asked.trader, asked.simulate
        body = parsed(await asked.body())
        key = asked.header(b"x-api-key")
        action = asked.path.rpartition("/")[2]
        answer = await self._desk.exchange(action, trader, body, delegated=key is not None, simulate=simulate)
        return Response(encode(answer), media_type=JSON)

    async def _balance(self, asked: Asked) -> Response:
        return Response(encode(await self._desk.balance(asked.trader)), media_type=JSON)

    async def _delegated(self, asked: Asked) -> Response:
        """Check the request as if delegated mode were on, then say that it is not."""
        method = "GET" if asked.path in DELEGATED["GET"] else "POST"
        keyed, check, optional = DELEGATED[method][asked.path]
        asked.trader  # noqa: B018 - raises for a missing or malformed address
        body = await asked.body()
        if check is not None and (body or not optional):
            check(parsed(body))
        if keyed:
            delegated.require_key(asked.header(b"x-api-key"))
        raise SwitchedOff(delegated.DELEGATED_OFF)


def _identify(scope: Connection) -> None:
    """Give the request its id: the client's own if it is fit to be echoed, else a new one."""
    if REQUEST_ID not in scope:
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"").decode("latin-1")
        scope[REQUEST_ID] = given if OWN_ID.fullmatch(given) else str(uuid.uuid4())


def _fixed(body: Callable[[], bytes], media_type: str = JSON) -> Answer:
    async def answer(_: Asked) -> Response:
        return Response(body(), media_type=media_type)

    return answer


async def _upgrade(_: Asked) -> Response:
    raise UpgradeRequired("this is a WebSocket: connect with ws:// or wss://")
