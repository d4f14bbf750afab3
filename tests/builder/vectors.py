"""The cases of VECTORS_DIR/ostium.json (default ../shared/vectors beside the checkout)."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from builders.ostium.actions import (
    Action,
    AddCollateral,
    Approve,
    CancelClose,
    CancelLimit,
    CancelOpen,
    Close,
    Delegated,
    Deployment,
    EditLimit,
    RemoveCollateral,
    RemoveDelegate,
    SetDelegate,
    SetStopLoss,
    SetTakeProfit,
)
from tests.builder.face import Contracts

FOLDER = Path(os.environ.get("VECTORS_DIR", Path(__file__).resolve().parents[3] / "shared" / "vectors"))
FILE = FOLDER / "ostium.json"

needs_vectors = pytest.mark.skipif(not FILE.is_file(), reason=f"no {FILE}: set VECTORS_DIR")

EXCHANGE = "/v1/exchange/"


def load() -> Any:
    """The whole file; an empty one where there is none."""
    return json.loads(FILE.read_text()) if FILE.is_file() else {"meta": {}, "vectors": [], "invalid": []}


def over_the_wire() -> list[Any]:
    """Vectors that a client gets from an exchange route."""
    return [v for v in load()["vectors"] if v.get("request", {}).get("path", "").startswith(EXCHANGE)]


def by_hand() -> list[Any]:
    """The others: what delegated mode will answer, and calls without a route."""
    return [v for v in load()["vectors"] if not v.get("request", {}).get("path", "").startswith(EXCHANGE)]


def deployment(meta: Mapping[str, Any]) -> Deployment:
    names = ("trading", "tradingStorage", "usdc")
    return Deployment(meta["chainId"], *(bytes.fromhex(meta[name][2:]) for name in names))


def settings_of(meta: Mapping[str, Any], abi: str) -> dict[str, str]:
    """Settings of the deployment that the file is about."""
    return {
        "CHAIN_ID": str(meta["chainId"]), "TRADING": meta["trading"], "TRADING_STORAGE": meta["tradingStorage"],
        "USDC": meta["usdc"], "ABI": abi,
    }  # fmt: skip


# Words of the structs that TradingStorage returns, as far as a vector may speak of them.
WORDS = {
    "getOpenLimitOrder": ["collateral", "targetPrice", "tp", "sl", "trader", "leverage", "createdAt", "lastUpdated",
                          "pairIndex", "orderType", "index", "buy", "isDayTrade"],
    "getOpenTrade": ["collateral", "openPrice", "tp", "sl", "trader", "leverage", "pairIndex", "index", "buy",
                     "isDayTrade"],
    "getOpenTradeInfo": ["tradeId", "oiNotional", "initialLeverage", "tpLastUpdated", "slLastUpdated", "createdAt",
                         "beingMarketClosed"],
}  # fmt: skip


def chain_of(vector: Any, meta: Mapping[str, Any]) -> Contracts:
    """A chain in the state that the vector requires."""
    contracts = Contracts(chain_id=meta["chainId"])
    body = vector["request"]["body"]
    place = [int(vector["request"]["headers"]["X-Trader-Address"], 16), body.get("a", 0), body.get("i", 0)]
    for question, fields in vector.get("requires_chain_state", {}).items():
        name = question.split(".")[-1].split("(")[0]
        told = {"leverage": "1000", **fields}
        words = [_word(told.get(word, 0)) for word in WORDS[name]]
        contracts.on(meta["tradingStorage"], f"{name}(address,uint16,uint8)", place, words)
    return contracts


def _word(value: Any) -> int:
    return int(value) if isinstance(value, bool) else int(str(value), 0)


def action_of(decoded: Any) -> Action:
    """The action behind a decoded call of those that have no route yet."""
    numbers = [int(text, 0) if isinstance(text, str) else text for text in decoded["args"]]
    raw = [bytes.fromhex(text[2:]) if str(text).startswith("0x") else b"" for text in decoded["args"]]
    match decoded["function"]:
        case "approve":
            return Approve(numbers[1])
        case "setDelegate":
            return SetDelegate(raw[0])
        case "removeDelegate":
            return RemoveDelegate()
        case "delegatedAction":
            return Delegated(raw[0], raw[1])
        case name:
            kinds = {
                "closeTradeMarket": Close, "cancelOpenLimitOrder": CancelLimit, "openTradeMarketTimeout": CancelOpen,
                "updateOpenLimitOrder": EditLimit, "updateTp": SetTakeProfit, "updateSl": SetStopLoss,
                "topUpCollateral": AddCollateral, "removeCollateral": RemoveCollateral,
            }  # fmt: skip
            if name == "closeTradeMarketTimeout":
                return CancelClose(numbers[0])
            return kinds[name](*numbers)  # type: ignore[no-any-return]
