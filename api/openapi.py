"""The API's own description, OpenAPI 3.1: response schemas come from the structs that are sent."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, Final

import msgspec

from api import candles, deposits, facts, params, reorgs, schemas
from api.errors import Envelope
from api.listings import DEFAULT_PAGE_SIZE, DIRECTIONS, MAX_PAGE_SIZE, STATUSES
from api.prices import TokenPrice

Json = dict[str, Any]

ANSWERS: Final[Sequence[type[msgspec.Struct]]] = (
    schemas.Health, schemas.Block, schemas.TransactionDetail, schemas.Page, schemas.Token,
    deposits.Deposit, deposits.DepositList, reorgs.Reorg, reorgs.ReorgList, reorgs.OrphanedBlockList,
    reorgs.OrphanedTransactionList, TokenPrice, candles.Candles, Envelope,
)  # fmt: skip
EVENTS: Final[Sequence[type[msgspec.Struct]]] = (
    facts.HelloEvent, facts.BlockEvent, facts.ReorgEvent, facts.FinalizeEvent, facts.FillEvent, facts.HeartbeatEvent,
    facts.EndEvent,
)  # fmt: skip
ERRORS: Final[Mapping[int, str]] = {
    400: "A parameter is wrong; the message names it",
    401: "No valid API token",
    404: "No such thing, or not indexed",
    409: "The block that the listing is anchored at is gone",
    410: "Facts after this number are not kept; the message says where to start over",
    429: "Too many requests with this token; Retry-After says when to come back",
    500: "A defect of the server",
    503: "Temporarily unavailable",
}
EVERYWHERE: Final = (400, 401, 429, 500, 503)

_ADDRESS: Final[Json] = {"type": "string", "pattern": "^0[xX][0-9a-fA-F]{40}$"}
_HASH: Final[Json] = {"type": "string", "pattern": "^0[xX][0-9a-fA-F]{64}$"}
_LOG: Final[Json] = {"type": "string", "pattern": "^[0-9]{1,18}-[0-9a-fA-F]{16}-[0-9]{1,9}$"}
_REORG: Final[Json] = {"type": "string", "pattern": "^[0-9]{1,16}-[0-9a-fA-F]{16}$"}
_NUMBER: Final[Json] = {"type": "integer", "minimum": 0, "maximum": params.MAX_BLOCK_NUMBER}
_TIME: Final[Json] = {"type": "string", "format": "date-time"}
_AMOUNT: Final[Json] = {"type": "string", "pattern": r"^[0-9]{1,60}(\.[0-9]{1,18})?$"}

# Name -> (schema, description) of every query parameter that some path takes.
QUERY: Final[Mapping[str, tuple[Json, str]]] = {
    "chain": ({"type": "string", "minLength": 1}, "name of a chain; the configured default without it"),
    "address": (_ADDRESS, "whose transactions: sender, recipient, created contract, or moved tokens"),
    "direction": ({"enum": list(DIRECTIONS)}, "as the address sees it"),
    "token": (_ADDRESS, "transactions that moved this token"),
    "from_date": (_TIME, "earliest block time, included; UTC without a zone"),
    "to_date": (_TIME, "latest block time, included"),
    "from_block": (_NUMBER, "first block, included"),
    "to_block": (_NUMBER, "last block, included"),
    "status": ({"enum": list(STATUSES)}, "what the receipt says"),
    "min_value": (_AMOUNT, "least native amount, in whole coins"),
    "max_value": (_AMOUNT, "greatest native amount, in whole coins"),
    "method": ({"type": "string", "pattern": "^0[xX][0-9a-fA-F]{8}$"}, "first four bytes of the input"),
    "sort": ({"enum": ["-timestamp", "timestamp"], "default": "-timestamp"}, "newest or oldest first"),
    "page": ({"type": "integer", "minimum": 1, "maximum": params.MAX_PAGE, "default": 1}, "page number"),
    "user": (_ADDRESS, "who deposited"),
    "resolver": (_ADDRESS, "whom the deposit is for"),
    "nonce": ({"type": "string", "pattern": "^[0-9]{1,78}$"}, "the deposit's nonce, below 2**256"),
    "vault": (_ADDRESS, "the contract, if several are watched"),
    "state": ({"enum": list(deposits.STATES)}, "how sure the deposit is"),
    "as_of_state": (
        {"type": "string", "pattern": r"^([0-9]{1,18}|none)\.([0-9]{1,18}|none)\.([0-9]{1,17}|none)$"},
        "what states are judged by, as links carry it",
    ),
    "page_size": (
        {"type": "integer", "minimum": 1, "maximum": MAX_PAGE_SIZE, "default": DEFAULT_PAGE_SIZE},
        "rows a page",
    ),
    "cursor": ({"type": "string", "pattern": "^[0-9]{1,18}-[0-9]{1,9}$"}, "next_cursor of an earlier answer"),
    "as_of": (_NUMBER, "block the listing is anchored at"),
    "at": ({"anyOf": [{"type": "string", "pattern": "^[0-9]{1,18}$"}, _TIME]}, "a block's number, or a time"),
    "pool": (_ADDRESS, "a Uniswap v3 pool"),
    "quote": (_ADDRESS, "the pool's other token; the wrapped native coin without it"),
    "fee": ({"type": "integer", "minimum": 1, "maximum": 999_999}, "the pool's fee in millionths; else the deepest"),
    "interval": ({"enum": list(candles.INTERVALS), "default": "1h"}, "the length of a candle"),
    "limit": (
        {"type": "integer", "minimum": 1, "maximum": candles.MOST, "default": candles.DEFAULT},
        "how many spans before to_date, if there is no from_date",
    ),
    "as_of_hash": (_HASH, "hash of that block"),
}
# What differs from QUERY on one path.
QUERY_OF: Final[Mapping[tuple[str, str], tuple[Json, str]]] = {
    ("/api/v1/vault/deposits", "cursor"): (_LOG, "next_cursor of an earlier answer"),
    ("/api/v1/vault/deposits", "token"): (_ADDRESS, "deposits of this token; the zero address is the native coin"),
    ("/api/v1/prices/candles", "token"): (_ADDRESS, "the token that is priced"),
    ("/api/v1/prices/candles", "from_date"): (_TIME, "time of the first candle"),
    ("/api/v1/prices/candles", "to_date"): (_TIME, "time of the last candle; now without it"),
    ("/api/v1/reorgs", "cursor"): (_REORG, "next_cursor of an earlier answer"),
    ("/api/v1/reorgs", "as_of"): (_REORG, "newest reorg that the listing speaks of, as links carry it"),
    ("/api/v1/reorgs/{id}/blocks", "cursor"): (_NUMBER, "next_cursor of an earlier answer"),
}
PATH: Final[Mapping[str, tuple[Json, str]]] = {
    "block_number": ({"type": "string", "pattern": "^([0-9]{1,18}|latest)$"}, "a block's number, or latest"),
    "hash": (_HASH, "a transaction's hash"),
    "address": (_ADDRESS, "an account or a contract, in any case"),
    "id": (_LOG, "a deposit's id"),
    "contract_address": (_ADDRESS, "a token's contract, in any case"),
}
# What differs from PATH below one path.
PATH_OF: Final[Mapping[str, tuple[Json, str]]] = {"/api/v1/reorgs/": (_REORG, "a reorg's id")}


def document(paths: Mapping[str, tuple[str, type[msgspec.Struct], Sequence[str]]], *, streams: Sequence[str]) -> Json:
    """Return the description of `paths` and `streams`: path -> (summary, answer, names of its query parameters)."""
    _, components = msgspec.json.schema_components((*ANSWERS, *EVENTS), ref_template="#/components/schemas/{name}")
    components["StreamMessage"] = {"oneOf": [{"$ref": f"#/components/schemas/{each.__name__}"} for each in EVENTS]}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "chainworkd",
            "version": version("chainworkd"),
            "description": "Blocks, transactions, token transfers and vault deposits of EVM chains. Amounts are exact. "
            "Sign-in, people and their tokens.",
        },
        "security": [{"token": []}],
        "paths": {
            **{path: {"get": _operation(path, *described)} for path, described in paths.items()},
            **{path: {"get": _stream(path)} for path in streams},
        },
        "components": {
            "schemas": numbers(components),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "hc_live_…"}},
        },
    }


def _operation(path: str, summary: str, answer: type[msgspec.Struct], query: Sequence[str]) -> Json:
    inside = [name for name in PATH if f"{{{name}}}" in path]
    errors = sorted({*EVERYWHERE, *([404] if inside or "pool" in query else []), *([409] if "as_of" in query else [])})
    below = next((described for start, described in PATH_OF.items() if path.startswith(start)), None)
    return {
        "summary": summary,
        "operationId": path.removeprefix("/api/v1/").replace("/", "_").replace("{", "").replace("}", ""),
        "parameters": [_parameter(name, "path", below or PATH[name]) for name in inside]
        + [_parameter(name, "query", QUERY_OF.get((path, name)) or QUERY[name]) for name in query],
        "responses": {
            "200": response("The answer", answer.__name__),
            **{str(status): response(ERRORS[status], Envelope.__name__) for status in errors},
        },
    }


# One event, as OpenAPI 3.2 describes streams of them: what is between two empty lines.
_EVENT: Final[Json] = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "pattern": "^[0-9]+$"},
        "event": {"enum": ["hello", *facts.KINDS, "end"]},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": "#/components/schemas/StreamMessage"},
        },
        "retry": {"type": "integer"},
    },
}


def _stream(path: str) -> Json:
    fact: Json = {"type": "string", "pattern": "^[0-9]{1,18}$"}
    returns: Json = {"type": "string", "pattern": "^[0-9]{0,18}$"}
    kinds: Json = {"type": "array", "items": {"enum": list(facts.KINDS)}, "minItems": 1}
    back = "the last fact that was received: as `from`, and stronger; what a browser sends when it returns"
    query = {
        "chain": QUERY["chain"],
        "from": (fact, "facts after this one; without it only what comes"),
        "kinds": (kinds, "only these kinds, separated by commas"),
    }
    parameters = [_parameter(name, "query", described) for name, described in query.items()]
    parameters[-1] |= {"style": "form", "explode": False}
    says = "Server-Sent Events without end: each `data` is a StreamMessage. As a WebSocket: each message is one"
    errors = sorted({*EVERYWHERE, 410})
    return {
        "summary": "What happens to the stored chain, in order",
        "operationId": path.removeprefix("/").replace("/", "_"),
        "parameters": [*parameters, _parameter("Last-Event-ID", "header", (returns, back))],
        "responses": {
            "200": {"description": says, "content": {"text/event-stream": {"schema": _EVENT}}},
            **{str(status): response(ERRORS[status], Envelope.__name__) for status in errors},
        },
    }


def _parameter(name: str, place: str, described: tuple[Json, str]) -> Json:
    schema, description = described
    return {"name": name, "in": place, "required": place == "path", "schema": schema, "description": description}


def response(description: str, name: str) -> Json:
    """Return an answer in JSON whose schema is called `name`."""
    schema = {"$ref": f"#/components/schemas/{name}"}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def numbers(node: Any) -> Any:
    """Return a schema that says number where msgspec says string: it sends decimals either way (`schemas.encode`)."""
    if isinstance(node, dict):
        if node.get("format") == "decimal":
            return {"type": "number"}
        return {key: numbers(value) for key, value in node.items()}
    return [numbers(item) for item in node] if isinstance(node, list) else node
