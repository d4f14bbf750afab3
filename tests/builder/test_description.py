"""Our OpenAPI against the seed's: every path, parameter, required field, enum and response schema of it is in ours."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from api.builder import openapi
from tests.builder.face import OPEN_BODY, Contracts, node_of, serving

FOLDER = Path(os.environ.get("SEEDS_DIR", Path(__file__).resolve().parents[3] / "shared" / "seeds"))
SEED = FOLDER / "ostium-builder-openapi.json"
OURS = openapi.document()
needs_seed = pytest.mark.skipif(not SEED.is_file(), reason=f"no {SEED}: set SEEDS_DIR")


def theirs() -> Any:
    return json.loads(SEED.read_text())


def resolved(document: Any, node: Any) -> Any:
    """The node, or what it refers to."""
    while isinstance(node, dict) and "$ref" in node:
        found = document
        for part in node["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        node = found
    return node


class Faults:
    """What the seed has and we lack."""

    def __init__(self, seed: Any, ours: Any) -> None:
        self.seed, self.ours = seed, ours
        self.found: list[str] = []

    def schema(self, seed: Any, ours: Any, where: str, *, answer: bool) -> None:
        seed, ours = resolved(self.seed, seed), resolved(self.ours, ours)
        if "anyOf" in ours and "anyOf" not in seed:  # nullable: the seed says so in the manner of OpenAPI 3.0
            ours = next(resolved(self.ours, one) for one in ours["anyOf"] if one.get("type") != "null")
        for word in ("type", "pattern", "format", "minimum", "default", "minItems", "enum"):
            mine = ours.get(word)
            if word in seed and mine != seed[word] and not (isinstance(mine, list) and seed[word] in mine):
                self.found.append(f"{where}: {word} is {ours.get(word)!r}, expected {seed[word]!r}")
        if "maximum" in seed and ours.get("maximum") != seed["maximum"]:
            self.found.append(f"{where}: maximum is {ours.get('maximum')!r}, expected {seed['maximum']}")
        missing = set(seed.get("required", ())) - set(ours.get("required", ()))
        more = set() if answer else set(ours.get("required", ())) - set(seed.get("required", ()))
        if missing or more:
            self.found.append(f"{where}: required lacks {missing}, demands {more}")
        for name, part in seed.get("properties", {}).items():
            if name not in ours.get("properties", {}):
                self.found.append(f"{where}.{name}: missing")
            else:
                self.schema(part, ours["properties"][name], f"{where}.{name}", answer=answer)
        if "items" in seed:
            self.schema(seed["items"], ours.get("items", {}), f"{where}[]", answer=answer)
        for seed_one, our_one in zip(seed.get("oneOf", ()), ours.get("oneOf", ()), strict=True):
            self.schema(seed_one, our_one, where, answer=answer)

    def operation(self, seed: Any, ours: Any, where: str) -> None:
        known = {(p["name"], p["in"]): p for p in (resolved(self.ours, one) for one in ours.get("parameters", ()))}
        for one in seed.get("parameters", ()):
            parameter = resolved(self.seed, one)
            mine = known.pop((parameter["name"], parameter["in"]), None)
            if mine is None or mine["required"] != parameter["required"]:
                self.found.append(f"{where}: parameter {parameter['name']} is {mine}")
            else:
                self.schema(parameter["schema"], mine["schema"], f"{where} {parameter['name']}", answer=False)
        self.found += [f"{where}: demands {name}" for name, more in known.items() if more["required"]]
        if "requestBody" in seed:
            body = ours.get("requestBody", {})
            if body.get("required") != seed["requestBody"]["required"]:
                self.found.append(f"{where}: body required is {body.get('required')}")
            self._content(seed["requestBody"], body, f"{where} body", answer=False)
        for status, one in seed["responses"].items():
            if status not in ours["responses"]:
                self.found.append(f"{where}: no {status}")
                continue
            answer, mine = resolved(self.seed, one), resolved(self.ours, ours["responses"][status])
            self.found += [
                f"{where} {status}: header {h}" for h in answer.get("headers", {}) if h not in mine["headers"]
            ]
            self._content(answer, mine, f"{where} {status}", answer=True)

    def _content(self, seed: Any, ours: Any, where: str, *, answer: bool) -> None:
        for kind, content in seed.get("content", {}).items():
            mine = ours.get("content", {}).get(kind)
            if mine is None:
                self.found.append(f"{where}: no {kind}")
            else:
                self.schema(content["schema"], mine["schema"], where, answer=answer)


@needs_seed
def test_the_seeds_paths_and_shapes_are_a_subset_of_ours() -> None:
    seed = theirs()
    faults = Faults(seed, OURS)
    operations = [(path, method) for path, item in seed["paths"].items() for method in item]
    for path, method in operations:
        if method not in OURS["paths"].get(path, {}):
            faults.found.append(f"{method} {path}: missing")
        else:
            mine = OURS["paths"][path][method]
            faults.operation(seed["paths"][path][method], mine, f"{method} {path}")
            assert mine["operationId"] == seed["paths"][path][method]["operationId"]
    for name, schema in seed["components"]["schemas"].items():
        answer = not name.endswith(("Request", "Open", "Item", "Config"))
        faults.schema(schema, OURS["components"]["schemas"].get(name, {}), name, answer=answer)
    assert faults.found == []
    assert len(operations) == 25


@needs_seed
def test_the_comparison_notices_what_is_missing() -> None:
    seed, broken = theirs(), json.loads(json.dumps(OURS))
    del broken["paths"]["/v1/exchange/open"]["post"]["parameters"][0]
    broken["components"]["schemas"]["Open"]["required"].remove("l")
    broken["components"]["schemas"]["Open"]["properties"]["t"]["enum"].remove("stop")
    faults = Faults(seed, broken)
    faults.operation(seed["paths"]["/v1/exchange/open"]["post"], broken["paths"]["/v1/exchange/open"]["post"], "open")
    assert len(faults.found) == 3


async def test_the_description_is_served_in_three_places() -> None:
    async with serving() as face:
        short, whole, block = [await face.get(f"/openapi{end}", trader=None) for end in ("", ".json", ".yaml")]
    assert short.body == whole.body == OURS == yaml.safe_load(block.text)
    assert block.headers["Content-Type"].startswith("text/yaml")


@needs_seed
async def test_every_example_of_the_seed_is_answered() -> None:
    """With a node that knows nothing: what needs an order there is told that there is none."""
    asked = 0
    async with node_of(Contracts()) as node, serving(RPC_URL=node) as face:
        for path, item in theirs()["paths"].items():
            content = item.get("post", {}).get("requestBody", {}).get("content", {}).get("application/json", {})
            examples = [content["example"]] if "example" in content else []
            examples += [one["value"] for one in content.get("examples", {}).values()]
            for example in examples:
                answer = await face.post(path, example)
                assert answer.status == 200, (path, example, answer.text)
                asked += 1
    assert asked == 9


@needs_seed
@pytest.mark.parametrize("path", ["/v1/exchange/open", "/v1/health", "/v1/exchange/health"])
async def test_answers_have_the_fields_that_the_seed_requires(path: str) -> None:
    seed = theirs()
    async with serving() as face:
        answer = await (face.post(path, OPEN_BODY) if path.endswith("open") else face.get(path))
    item = seed["paths"][path]["post" if path.endswith("open") else "get"]
    schema = resolved(seed, resolved(seed, item["responses"]["200"])["content"]["application/json"]["schema"])
    schema = resolved(seed, schema["oneOf"][0]) if "oneOf" in schema else schema
    assert set(schema["required"]) <= set(answer.body)
