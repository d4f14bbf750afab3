"""The user's own document of the trading app's API: every example of its V1 section is answered in its shape.

SEEDS_DIR names the folder (default ../shared/seeds beside the checkout).
"""

import json
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from tests.api import make
from tests.api.conftest import Bench
from tests.api.make import ALICE
from tests.api.test_listing import TOKEN, scene

FOLDER = Path(os.environ.get("SEEDS_DIR", Path(__file__).resolve().parents[3] / "shared" / "seeds"))
DOCUMENT = FOLDER / "trading-app-api.txt"

pytestmark = pytest.mark.skipif(not DOCUMENT.is_file(), reason=f"no {DOCUMENT}: set SEEDS_DIR")

# The document's made-up things stand for ours.
OURS = {
    "block_number": "2",
    "contract_address": "0x" + TOKEN.hex(),
    "hash": "0x" + make.digest("tx", "token").hex(),
    "address": "0x" + ALICE.hex(),
}


def examples() -> dict[str, tuple[str, Any]]:
    """Path template -> (example request, example answer), of every operation under V1."""
    text = DOCUMENT.read_text() if DOCUMENT.is_file() else ""
    section = text[text.rindex("\nV1\n") :] if text else ""
    found = {}
    for part in re.split(r"\nGET(?=/v1/)", section)[1:]:
        request, answer = part.split("Example Request")[1].split("Example Response")
        found[part.split("\n")[0].strip()] = (request, json.loads(re.sub(r"/\*.*?\*/", "", answer)))
    return found


def path_of(template: str, request: str) -> str:
    """The example's own request, with our block, transaction, address and token in it."""
    for name, value in OURS.items():
        template = template.replace(f"{{{name}}}", value)
    query = dict(re.findall(r'--data-urlencode "(\w+)=([^"]*)"', request))
    url = re.search(r"https://<host>(\S+?)[\"\s]", request)
    query |= dict(parse_qsl(urlsplit(url[1]).query)) if url else {}
    if "address" in query:
        query["address"] = OURS["address"]
    return f"/api{template}" + (f"?{urlencode(query)}" if query else "")


def test_the_document_has_all_six_operations() -> None:
    assert sorted(examples()) == [
        "/v1/blocks/{block_number}", "/v1/health", "/v1/tokens/{contract_address}", "/v1/transactions",
        "/v1/transactions/address/{address}", "/v1/transactions/{hash}",
    ]  # fmt: skip


@pytest.mark.parametrize("operation", list(examples()))
async def test_an_example_of_the_document_is_answered_in_its_shape(bench: Bench, operation: str) -> None:
    await scene(bench)
    await bench.store.saw(make.head(3))
    request, theirs = examples()[operation]
    answer = await bench.get(path_of(operation, request))
    assert shape_faults(theirs, answer.json()) == []


# What the document shows with a value and we answer with null until there is a source of prices.
NO_PRICES = {"value_usd", "gas_fee_usd", "amount_usd", "price_source", "price_timestamp"}
# Null until a token has been read, on the first and last page, for a creation, and before Byzantium.
NULLABLE = {
    "to_address",
    "status",
    "token_symbol",
    "token_name",
    "symbol",
    "name",
    "decimals",
    "next_page_url",
    "prev_page_url",
    "token_id",
}


def shape_faults(theirs: Any, ours: Any, where: str = "") -> list[str]:
    """Every field of the document is in our answer, with a value of the same JSON type."""
    match theirs, ours:
        case dict(), dict():
            faults = [f"{where}.{name}: missing" for name in theirs if name not in ours]
            for name in theirs.keys() & ours.keys():
                faults += shape_faults(theirs[name], ours[name], f"{where}.{name}")
            return sorted(faults)
        case list(), list():
            return [fault for item in ours if theirs for fault in shape_faults(theirs[0], item, f"{where}[]")]
        case _:
            name = where.rsplit(".", 1)[-1]
            empty = ours is None and (theirs is None or name in NO_PRICES | NULLABLE)
            fits = empty or theirs is None or kind(ours) == kind(theirs)
            return [] if fits else [f"{where}: expected {kind(theirs)}, found {ours!r}"]


def kind(value: Any) -> str:
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


def test_a_missing_or_mistyped_field_is_noticed() -> None:
    assert shape_faults({"a": 1, "b": [{"c": "x"}]}, {"a": "1", "b": [{}]}) == [
        ".a: expected number, found '1'",
        ".b[].c: missing",
    ]
