"""The ABI that ostium-python-sdk ships reads in our calldata what was asked (`make test-ostium-sdk`).

The SDK pins half of the Ethereum libraries, so it has an environment of its own: OSTIUM_SDK_PYTHON, or var/ostium-sdk.
"""

import json
import os
import random
import subprocess
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from api.builder.bodies import read
from api.builder.desk import parsed
from builders.ostium import calldata
from builders.ostium.actions import Action, Approve, Deployment, Generation, RemoveDelegate, SetDelegate

ROOT = Path(__file__).resolve().parents[2]
PYTHON = Path(os.environ.get("OSTIUM_SDK_PYTHON", ROOT / "var" / "ostium-sdk" / "bin" / "python"))
pytestmark = pytest.mark.skipif(
    not PYTHON.is_file(), reason=f"ostium-python-sdk has no environment at {PYTHON}: run `make test-ostium-sdk`"
)

ON = Deployment(42_161, b"\x01" * 20, b"\x02" * 20, b"\x03" * 20)
TRADER = bytes.fromhex("15d34aaf54267db7d7c367839aaf71a00a2c6a65")
KINDS = ["market", "limit", "stop"]


def decoded(calls: list[bytes]) -> list[Any]:
    """What the SDK's ABI reads in each call."""
    script = Path(__file__).with_name("decode.py")
    lines = "".join(f"0x{data.hex()}\n" for data in calls)
    done = subprocess.run(
        [str(PYTHON), "-I", str(script)], input=lines, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def built(action: str, body: Any) -> bytes:
    (found,) = read(action, parsed(json.dumps(body))).actions
    return calldata.call(found, ON, TRADER, Generation.V3).data


def opens(chance: random.Random, count: int) -> list[dict[str, Any]]:
    """Bodies with the numbers that floats get wrong."""
    found = []
    for _ in range(count):
        price = Decimal(chance.randint(1, 10**9)).scaleb(-chance.randint(0, 7))
        terms = {
            "a": chance.randint(0, 65_535), "b": chance.random() < 0.5, "t": chance.choice(KINDS), "p": f"{price:f}",
            "s": f"{Decimal(chance.randint(5_000_000, 10**12)).scaleb(-6):f}",
            "l": f"{Decimal(chance.randint(100, 20_000)).scaleb(-2):f}", "d": chance.random() < 0.5,
        }  # fmt: skip
        fee = {"b": "0x" + chance.randbytes(20).hex(), "f": chance.randint(0, 50) / 100}
        found.append({"open": terms, "bd": fee, "sp": chance.randint(1, 9_999) / 100})
    return found


def scaled(number: Any, places: int) -> int:
    """By Decimal, which is not how the builder does it."""
    exact = Decimal(str(number)).scaleb(places)
    assert exact == exact.to_integral_value()
    return int(exact)


def test_the_sdk_reads_in_an_open_what_was_asked() -> None:
    bodies = opens(random.Random(7), 300)
    for body, found in zip(bodies, decoded([built("open", body) for body in bodies]), strict=True):
        asked, trade, fee = body["open"], found["arguments"]["t"], found["arguments"]["bf"]
        assert found["function"] == "openTrade"
        assert trade["collateral"] == scaled(asked["s"], 6)
        assert trade["openPrice"] == scaled(asked["p"], 18)
        assert trade["leverage"] == scaled(asked["l"], 2)
        assert (trade["pairIndex"], trade["buy"], trade["isDayTrade"]) == (asked["a"], asked["b"], asked["d"])
        assert (trade["tp"], trade["sl"], trade["index"]) == (0, 0, 0)
        assert trade["trader"].lower() == "0x" + TRADER.hex()
        assert (fee["builder"].lower(), fee["builderFee"]) == (body["bd"]["b"], scaled(body["bd"]["f"], 6))
        assert found["arguments"]["orderType"] == KINDS.index(asked["t"])
        assert found["arguments"]["slippageP"] == (scaled(body["sp"], 2) if asked["t"] == "market" else 0)


PLACE = {"pairIndex": 3, "index": 2}
OTHERS: list[tuple[str, Any, str, dict[str, Any]]] = [
    ("close", {"closes": [{"a": 3, "t": 2, "p": "43000.25", "r": 33.33}], "sp": 0.57}, "closeTradeMarket",
     {**PLACE, "closePercentage": 3_333, "marketPrice": 4_300_025 * 10**16, "slippageP": 57}),
    ("cancel", {"cancels": [{"t": "limit", "a": 3, "i": 2}]}, "cancelOpenLimitOrder", PLACE),
    ("cancel", {"cancels": [{"t": "open", "o": 2**256 - 1}]}, "openTradeMarketTimeout", {"_order": 2**256 - 1}),
    ("cancel", {"cancels": [{"t": "close", "o": 5}]}, "closeTradeMarketTimeout", {"_order": 5, "retry": False}),
    ("modify", {"a": 3, "i": 2, "p": "1.1", "tp": "1.3", "sl": "0"}, "updateOpenLimitOrder",
     {**PLACE, "price": 11 * 10**17, "tp": 13 * 10**17, "sl": 0}),
    ("modify", {"a": 3, "i": 2, "tp": "46000"}, "updateTp", {**PLACE, "newTp": 46_000 * 10**18}),
    ("modify", {"a": 3, "i": 2, "sl": "45000.1"}, "updateSl", {**PLACE, "newSl": 450_001 * 10**17}),
    ("margin", {"a": 3, "i": 2, "amount": "12.345678"}, "topUpCollateral", {**PLACE, "topUpAmount": 12_345_678}),
    ("margin", {"a": 3, "i": 2, "amount": "-25"}, "removeCollateral", {**PLACE, "removeAmount": 25_000_000}),
]  # fmt: skip


def test_the_sdk_reads_in_the_other_calls_what_was_asked() -> None:
    found = decoded([built(action, body) for action, body, _, _ in OTHERS])
    assert [(one["function"], one["arguments"]) for one in found] == [(name, wanted) for _, _, name, wanted in OTHERS]


def test_the_sdk_reads_delegation_and_approval() -> None:
    actions: list[Action] = [SetDelegate(b"\x0d" * 20), RemoveDelegate(), Approve(10**12)]
    found = decoded([calldata.call(each, ON, TRADER, Generation.V3).data for each in actions])
    assert [one["function"] for one in found] == ["setDelegate", "removeDelegate", "approve"]
    assert found[0]["arguments"]["delegate"].lower() == "0x" + "0d" * 20
    assert 10**12 in found[2]["arguments"].values()
