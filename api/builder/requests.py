"""Schemas of the builder's requests, as the seed has them; `bodies` reads by these and by rules a schema cannot say."""

from typing import Any, Final

Json = dict[str, Any]

ADDRESS: Final = "^0x[a-fA-F0-9]{40}$"
NUMBER: Final = r"^[+-]?[0-9]+(\.[0-9]+)?$"
LONGEST: Final = 82  # 80 digits, a sign and a point


def _text(description: str, **more: Any) -> Json:
    return {"type": "string", "description": description, **more}


def _number(description: str) -> Json:
    return _text(description, pattern=NUMBER, maxLength=LONGEST)


def _index(description: str, most: int | None) -> Json:
    return {"type": "integer", "minimum": 0, "description": description, **({} if most is None else {"maximum": most})}


def _object(required: list[str], description: str, **properties: Json) -> Json:
    return {"type": "object", "description": description, "required": required, "properties": properties}


def _array(item: str, description: str) -> Json:
    return {"type": "array", "minItems": 1, "description": description, "items": _ref(item)}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _slippage(description: str) -> Json:
    return {"type": "number", "minimum": 0, "maximum": 100, "default": 0.25, "description": description}


_PAIR: Final = _index("Index of the pair", 65_535)
_PLACE: Final = _index("Index of the trade or order on its pair", 255)
_PRICE: Final = _number("Price in the pair's quote, at most 18 decimals: 42500.00")

SCHEMAS: Final[dict[str, Json]] = {
    "OpenRequest": _object(
        ["open"], "Open one position",
        open=_ref("Open"), bd=_ref("BuilderConfig"),
        sp=_slippage("Slippage in percent, at most 2 decimals. Market orders only: above 0 and below 100"),
    ),
    "Open": _object(
        ["a", "b", "t", "p", "s", "l"], "What to open",
        a=_PAIR,
        b={"type": "boolean", "description": "true is long, false is short"},
        t={"type": "string", "enum": ["market", "limit", "stop"], "description": "When to open"},
        p=_PRICE,
        s=_number("Collateral in USD, at least 5, at most 6 decimals"),
        l=_number("Leverage, at least 1, at most 2 decimals"),
        tp=_number("Take profit; 0 leaves it to the contract: 900 % of the collateral"),
        sl=_number("Stop loss; 0 leaves it to liquidation"),
        d={"type": "boolean", "default": False, "description": "Additive: open as a day trade (isDayTrade)"},
    ),
    "BuilderConfig": _object(
        ["b", "f"], "A fee for whoever brought the trade",
        b=_text("Who gets it", pattern=ADDRESS),
        f={"type": "number", "minimum": 0, "maximum": 0.5, "description": "Percent, at most 6 decimals: 0.1 is 0.1 %"},
    ),
    "CloseRequest": _object(
        ["closes"], "Close positions, each with a transaction of its own",
        closes=_array("CloseItem", "What to close"),
        sp=_slippage("Slippage in percent, above 0, at most 2 decimals"),
    ),
    "CloseItem": _object(
        ["a", "t", "p", "r"], "A position to close",
        a=_PAIR, t=_PLACE, p=_PRICE,
        r={"type": "number", "minimum": 1, "maximum": 100, "description": "Percent to close, at most 2 decimals"},
    ),
    "CancelRequest": _object(
        ["cancels"], "Cancel orders, each with a transaction of its own", cancels=_array("CancelItem", "What to cancel")
    ),
    "CancelItem": _object(
        ["t"], "A limit order needs a and i; a market order that timed out needs o",
        t={"type": "string", "enum": ["limit", "close", "open"], "description": "Kind of order"},
        a=_PAIR, i=_PLACE, o=_index("Order id", None),
    ),
    "ModifyRequest": _object(
        ["a", "i"],
        "With p a limit order's price, and tp and sl if given; without p one of tp and sl of an open trade",
        a=_PAIR, i=_PLACE, p=_PRICE,
        tp=_number("New take profit. 0: none for an order, the farthest possible for a trade (read from the chain)"),
        sl=_number("New stop loss; 0: none"),
    ),
    "MarginRequest": _object(
        ["a", "i", "amount"], "Add collateral to a position, or remove it",
        a=_PAIR, i=_PLACE, amount=_number("USD, at most 6 decimals: positive adds, negative removes"),
    ),
    "AgentVerifyModeRequest": _object(
        ["mode", "nonce", "expiresAt", "signature"], "A signed message of the legacy route",
        mode={"type": "string", "enum": ["cancel", "reset"]},
        nonce={"type": "string"}, expiresAt={"type": "string", "format": "date-time"}, signature={"type": "string"},
    ),
    "AuthVerifyMessageRequest": _object(
        ["message", "signature"], "A signed message", message={"type": "string"}, signature={"type": "string"}
    ),
}  # fmt: skip

PARAMETERS: Final[dict[str, Json]] = {
    "TraderAddress": {
        "name": "X-Trader-Address", "in": "header", "required": False,
        "description": "The trader, in any case. It beats the query parameter; one of the two is needed",
        "schema": {"type": "string", "pattern": ADDRESS},
    },
    "TraderAddressQuery": {
        "name": "address", "in": "query", "required": False, "description": "The trader, where no header can be set",
        "schema": {"type": "string", "pattern": ADDRESS},
    },
    "RequestId": {
        "name": "X-Request-ID", "in": "header", "required": False,
        "description": "Comes back with the answer; made if it is missing",
        "schema": {"type": "string", "format": "uuid"},
    },
    "ApiKey": {
        "name": "X-API-Key", "in": "header", "required": False,
        "description": "Asks for delegated mode, which is off: 503", "schema": {"type": "string"},
    },
    "ApiKeyRequired": {
        "name": "X-API-Key", "in": "header", "required": True, "description": "Key of delegated mode",
        "schema": {"type": "string"},
    },
    "Simulate": {
        "name": "simulate", "in": "query", "required": False,
        "description": "Additive: try the transactions on the newest block; needs a node",
        "schema": {"type": "boolean", "default": False},
    },
}  # fmt: skip

EXAMPLES: Final[dict[str, Json]] = {
    "OpenRequest": {
        "open": {
            "a": 0,
            "b": True,
            "t": "market",
            "p": "42500.00",
            "s": "100",
            "l": "10",
            "tp": "45000",
            "sl": "40000",
        },
        "bd": {"b": "0x742d35Cc6634c0532925A3b844BC9e7595F5bE21", "f": 0.1},
        "sp": 0.25,
    },
    "CloseRequest": {"closes": [{"a": 0, "t": 0, "p": "43000.00", "r": 100}], "sp": 0.25},
    "CancelRequest": {"cancels": [{"t": "limit", "a": 0, "i": 1}, {"t": "open", "o": 12345}]},
    "ModifyRequest": {"a": 0, "i": 1, "p": "41000.00", "tp": "46000.00", "sl": "38000.00"},
    "MarginRequest": {"a": 0, "i": 0, "amount": "50.00"},
}
