"""The builder's own description, OpenAPI 3.1: the seed's paths and shapes, and what is more, in our words. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final

import msgspec

from api.builder import agents, answers
from api.builder.requests import EXAMPLES, PARAMETERS, SCHEMAS

Json = dict[str, Any]

ERROR_CODES: Final = (
    "VALIDATION_ERROR", "INVALID_REQUEST", "INVALID_ACTION", "INVALID_ADDRESS", "NOT_FOUND", "UNAUTHORIZED",
    "RATE_LIMIT_EXCEEDED", "INTERNAL_ERROR", "SERVICE_UNAVAILABLE", "UPGRADE_REQUIRED", "UPGRADE_FAILED",
)  # fmt: skip
ANSWERS: Final[Sequence[type[msgspec.Struct]]] = (
    answers.TransactionResponse, answers.ServiceHealthResponse, answers.ExchangeHealthResponse,
    answers.BalanceResponse, answers.ErrorResponse, agents.AgentCreateResponse, agents.AgentVerifyResponse,
    agents.AgentActionMessageResponse, agents.AgentRevokeResponse, agents.AgentRevokeBundleResponse,
    agents.AgentPublicResponse, agents.AgentRemoveResponse, agents.AgentResetResponse, agents.AgentVerifyModeResponse,
    agents.AgentVerifyRevokeResponse, agents.AgentPendingResponse, agents.DelegatedTransactionResponse,
)  # fmt: skip
ERRORS: Final[Mapping[int, tuple[str, str]]] = {
    400: ("ValidationError", "The request is wrong; details.validationErrors names each field by its path"),
    401: ("UnauthorizedError", "No API key, or not a valid one"),
    404: ("NotFoundError", "No such trade or order"),
    413: ("TooLargeError", "A body of more than 65536 bytes"),
    429: ("RateLimitError", "Too many requests; Retry-After says when to come back"),
    500: ("InternalError", "A defect of the server"),
    503: ("UnavailableError", "Delegated mode is off, or this needs a node and none is configured or answers"),
}
QUOTA: Final = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
INTEGER: Final[Json] = {"schema": {"type": "integer"}}
# No format: a client's own id comes back although it may be no UUID.
ID: Final[Json] = {"description": "The request's own id, or a new UUID", "schema": {"type": "string"}}


@dataclass(frozen=True, slots=True)
class Operation:
    """One path and method: its name and tag, what it takes and answers (names of schemas)."""

    id: str
    tag: str
    summary: str
    answer: tuple[str, ...]
    body: str = ""
    body_required: bool = True
    key: str = ""
    simulate: bool = False
    more_errors: tuple[int, ...] = ()
    deprecated: bool = False


_TX: Final = ("TransactionResponse", "DelegatedTransactionResponse")
_MODES: Final = ("AgentVerifyResponse", "AgentVerifyModeResponse")
_SIGNED: Final = "AuthVerifyMessageRequest"


def _trade(id_: str, summary: str, body: str) -> Operation:
    return Operation(id_, "Trading", summary, _TX, body, key="ApiKey", simulate=True, more_errors=(404,))


# Every operation but health, sockets and the description itself.
OPERATIONS: Final[Mapping[tuple[str, str], Operation]] = {
    ("/v1/exchange/open", "post"): _trade("open", "Open a position", "OpenRequest"),
    ("/v1/exchange/close", "post"): _trade("close", "Close positions, whole or in part", "CloseRequest"),
    ("/v1/exchange/cancel", "post"): _trade("cancel", "Cancel orders", "CancelRequest"),
    ("/v1/exchange/modify", "post"): _trade("modify", "Modify an order or a position's exits", "ModifyRequest"),
    ("/v1/exchange/margin", "post"): _trade("updateMargin", "Add or remove collateral", "MarginRequest"),
    ("/v1/auth/create", "post"): Operation(
        "authCreate", "Auth", "Create a key and an agent wallet", ("AgentCreateResponse",)
    ),
    ("/v1/auth/verify-auth", "post"): Operation(
        "authVerify", "Auth", "Verify delegation and allowance", ("AgentVerifyResponse",), key="ApiKeyRequired"
    ),
    ("/v1/auth/cancel", "post"): Operation(
        "authCancel", "Auth", "Get the message that cancels", ("AgentActionMessageResponse",)
    ),
    ("/v1/auth/verify-cancel", "post"): Operation(
        "authVerifyCancel", "Auth", "Cancel with the signed message", ("AgentVerifyModeResponse",), _SIGNED
    ),
    ("/v1/auth/revoke", "post"): Operation(
        "authRevoke", "Auth", "Get what revokes a delegation", ("AgentRevokeBundleResponse",)
    ),
    ("/v1/auth/verify-revoke", "post"): Operation(
        "authVerifyRevoke", "Auth", "Revoke with the signed message", ("AgentVerifyRevokeResponse",), _SIGNED
    ),
    ("/v1/agent", "post"): Operation(
        "createAgent", "Agent", "Use /v1/auth/create", ("AgentCreateResponse",), deprecated=True
    ),
    ("/v1/agent/verify", "post"): Operation(
        "verifyAgent", "Agent", "Use /v1/auth/verify-auth", _MODES, "AgentVerifyModeRequest", body_required=False,
        key="ApiKey", deprecated=True,
    ),
    ("/v1/agent/revoke", "post"): Operation(
        "revokeAgent", "Agent", "Use /v1/auth/revoke", ("AgentRevokeResponse",), key="ApiKeyRequired", deprecated=True
    ),
    ("/v1/agent/pending", "get"): Operation(
        "agentPending", "Agent", "Use /v1/auth/cancel", ("AgentPendingResponse",), deprecated=True
    ),
    ("/v1/agent/public", "get"): Operation(
        "agentPublic", "Agent", "Addresses of the agent wallet", ("AgentPublicResponse",), deprecated=True
    ),
    ("/v1/agent/remove", "post"): Operation(
        "agentRemove", "Agent", "Use /v1/auth/revoke", ("AgentRemoveResponse",), deprecated=True
    ),
    ("/v1/balance/usdc", "get"): Operation("usdcBalance", "Balance", "USDC of the trader", ("BalanceResponse",)),
}  # fmt: skip


def document() -> Json:
    """Return the description."""
    _, components = msgspec.json.schema_components(ANSWERS, ref_template="#/components/schemas/{name}")
    components["ErrorResponse"]["properties"]["errorCode"]["enum"] = list(ERROR_CODES)
    components["AgentResetResponse"]["deprecated"] = True
    for name in ("ServiceHealthResponse", "ExchangeHealthResponse"):
        components[name]["properties"]["timestamp"]["format"] = "date-time"
    for part in (found for schema in components.values() for found in schema["properties"].values() if "enum" in found):
        part["type"] = "string"  # msgspec leaves it to the words
    paths: Json = _plain_paths()
    for (path, method), operation in OPERATIONS.items():
        paths.setdefault(path, {})[method] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "chainworkd: Ostium builder",
            "version": version("chainworkd"),
            "description": "Unsigned Ostium transactions. Numbers are exact: what a contract cannot hold is refused.",
        },
        "paths": paths,
        "components": {
            "parameters": PARAMETERS,
            "schemas": {**components, **SCHEMAS},
            "responses": {name: _error(name, text) for name, text in ERRORS.values()},
        },
    }


def yaml(value: Any, depth: int = 0) -> str:
    """Return a JSON value as YAML 1.2 in block style; every key and scalar is written as JSON, which YAML contains."""
    pad = "  " * depth
    if isinstance(value, Mapping) and value:
        return "".join(f"{pad}{json.dumps(key)}:{_nested(inner, depth)}" for key, inner in value.items())
    if isinstance(value, list) and value:
        return "".join(f"{pad}-{_nested(inner, depth)}" for inner in value)
    return f"{pad}{json.dumps(value)}\n"


def _nested(value: Any, depth: int) -> str:
    block = bool(value) and isinstance(value, Mapping | list)
    return "\n" + yaml(value, depth + 1) if block else f" {json.dumps(value)}\n"


def _operation(of: Operation) -> Json:
    names = ["TraderAddress", "TraderAddressQuery", *([of.key] if of.key else []), "RequestId"]
    names += ["Simulate"] if of.simulate else []
    errors = sorted({400, 429, 500, 503, *([401] if of.key or of.tag != "Balance" else []), *of.more_errors, 413})
    described: Json = {
        "tags": [of.tag],
        "summary": of.summary,
        "operationId": of.id,
        "parameters": [{"$ref": f"#/components/parameters/{name}"} for name in names],
        "responses": {
            "200": _answer("The answer", *of.answer),
            **{str(status): {"$ref": f"#/components/responses/{ERRORS[status][0]}"} for status in errors},
        },
    }
    if of.body:
        described["requestBody"] = _body(of)
    if of.deprecated:
        described["deprecated"] = True
    return described


def _body(of: Operation) -> Json:
    schema: Json = {"schema": {"$ref": f"#/components/schemas/{of.body}"}}
    if of.body in EXAMPLES:
        schema["example"] = EXAMPLES[of.body]
    return {"required": of.body_required, "content": {"application/json": schema}}


def _plain_paths() -> Json:
    """Describe the paths without parameters."""
    limited = {"429": {"$ref": "#/components/responses/RateLimitError"}}

    def got(id_: str, tag: str, summary: str, answer: Json) -> Json:
        responses = {"200": answer, **limited}
        return {"get": {"tags": [tag], "summary": summary, "operationId": id_, "responses": responses}}

    def socket(id_: str, tag: str, summary: str) -> Json:
        responses = {
            "101": {"description": "The connection is a WebSocket from here on"},
            "426": {"description": "Asked without an upgrade", "content": _json(_ref("ErrorResponse"))},
            **limited,
        }
        return {"get": {"tags": [tag], "summary": summary, "operationId": id_, "responses": responses}}

    described = {"description": "This description", "content": _json({"type": "object"})}
    as_yaml = {"description": "This description", "content": {"text/yaml": {"schema": {"type": ["string", "object"]}}}}
    return {
        "/v1/health": got("getHealth", "Health", "The service answers", _answer("It does", "ServiceHealthResponse")),
        "/v1/exchange/health": got(
            "getExchangeHealth", "Health", "The exchange routes answer", _answer("They do", "ExchangeHealthResponse")
        ),
        "/openapi": got("getOpenApi", "OpenAPI", "This description as JSON", described),
        "/openapi.json": got("getOpenApiJson", "OpenAPI", "This description as JSON", described),
        "/openapi.yaml": got("getOpenApiYaml", "OpenAPI", "This description as YAML", as_yaml),
        "/v1/exchange/ws": socket("exchangeWebSocket", "Trading", "Trade actions over a WebSocket (docs/builder.md)"),
        "/v1/market/stream": socket("marketStream", "Market", "Live ticks over a WebSocket, as they come"),
    }


def _answer(description: str, *names: str) -> Json:
    schema = _ref(names[0]) if len(names) == 1 else {"oneOf": [_ref(name) for name in names]}
    return {"description": description, "headers": _headers(), "content": _json(schema)}


def _headers() -> Json:
    return {"X-Request-ID": ID, **dict.fromkeys(QUOTA, INTEGER)}


def _error(name: str, text: str) -> Json:
    headers = _headers() | ({"Retry-After": INTEGER} if name == "RateLimitError" else {})
    return {"description": text, "headers": headers, "content": _json(_ref("ErrorResponse"))}


def _json(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}
