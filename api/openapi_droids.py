"""The description of droids: what is read follows from what validates it, what is sent from the structs."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from api.access import Scope
from api.droid_outlook import EstimateOf, PlanOf
from api.droids import (
    AccountList,
    Commanded,
    Configured,
    Created,
    Decisions,
    DroidDetail,
    DroidList,
    History,
    PoolList,
)
from api.openapi import Json, numbers
from api.openapi_people import Operation
from api.routes.droids import DAYS, DROIDS, MOST_DAYS, MOST_ID, MOST_PAGE, ONE, PAGE
from droids.commands import CHANGEABLE
from droids.droid import Droid

NEW_DROID: Final = "NewDroid"
COMMAND: Final = "DroidCommand"
CHANGES: Final = "DroidChanges"

_ID: Final[Json] = {
    "name": "id", "in": "path", "required": True, "description": "a droid's id",
    "schema": {"type": "string", "pattern": "^[0-9]{1,18}$"},
}  # fmt: skip


def _query(name: str, description: str, **schema: Any) -> Json:
    return {"name": name, "in": "query", "required": False, "description": description,
            "schema": {"type": "integer", **schema}}  # fmt: skip


_PAGE: Final = (
    _ID,
    _query("limit", "how many", minimum=1, maximum=MOST_PAGE, default=PAGE),
    _query("before", "those with a lower id: `next` of an earlier answer", minimum=1, maximum=MOST_ID),
)
_DAYS: Final = _query("days", "how many of the pool's last days", minimum=1, maximum=MOST_DAYS, default=DAYS)
_BY: Final = Scope.OPERATOR

OPERATIONS: Final[Mapping[tuple[str, str], Operation]] = {
    ("get", DROIDS): Operation("All droids, the oldest first", _BY, (DroidList,)),
    ("post", DROIDS): Operation("Make a droid, paused", Scope.ADMIN, (Created,), NEW_DROID),
    ("get", f"{DROIDS}/accounts"): Operation("The wallets that droids may use", _BY, (AccountList,)),
    ("get", f"{DROIDS}/pools"): Operation("The pools that droids may be in", _BY, (PoolList,)),
    ("get", ONE): Operation("A droid, its sessions and bots", _BY, (DroidDetail,), errors=(404,), parameters=(_ID,)),
    ("patch", f"{ONE}/active"): Operation(
        "Pause (0), run (1), reset (2) or close (3) a droid; the last two are an ADMIN's", _BY, (Commanded,), COMMAND,
        (404, 409), (_ID,),
    ),
    ("patch", f"{ONE}/config"): Operation(
        "Change some of a droid's fields, from its next decision on", Scope.ADMIN, (Configured,), CHANGES, (404, 409),
        (_ID,),
    ),
    ("get", f"{ONE}/history"): Operation(
        "What a droid was worth, newest first", _BY, (History,), errors=(404,), parameters=_PAGE
    ),
    ("get", f"{ONE}/decisions"): Operation(
        "What a droid decided and why, newest first", _BY, (Decisions,), errors=(404,), parameters=_PAGE
    ),
    ("get", f"{ONE}/plan"): Operation(
        "What a droid would do now, with gas and value; sends nothing", _BY, (PlanOf,), errors=(404,), parameters=(_ID,)
    ),
    ("get", f"{ONE}/estimate"): Operation(
        "How often a droid would have moved in its pool's last days, and what came of it", _BY, (EstimateOf,),
        errors=(404,), parameters=(_ID, _DAYS),
    ),
}  # fmt: skip
# What JSON Schema calls the bounds of pydantic's fields.
_BOUNDS: Final = {"gt": "exclusiveMinimum", "ge": "minimum", "lt": "exclusiveMaximum", "le": "maximum"}


def components() -> Json:
    """Return the schemas that the paths refer to."""
    structs = [answer for one in OPERATIONS.values() for answer in one.answers]
    _, schemas = msgspec.json.schema_components(structs, ref_template="#/components/schemas/{name}")
    fields = Droid.model_json_schema(by_alias=True)
    known = {name: _field(field) for name, field in fields["properties"].items()}
    place = {
        "poolId": {"type": "integer", "minimum": 1, "description": "one of GET /api/droids/pools"},
        "blockChain": {"type": "string", "description": "the pool's chain, which it is without this"},
        "accountId": {"type": "integer", "minimum": 1, "description": "the only one of that chain, without this"},
    }
    active = {"type": "integer", "minimum": 0, "maximum": 3, "description": "0 pause, 1 run, 2 reset, 3 close all"}
    made: Json = {
        NEW_DROID: _object(NEW_DROID, known | place, [*fields["required"], "poolId"]),
        COMMAND: _object(COMMAND, {"active": active}, ["active"]),
        CHANGES: {**_object(CHANGES, {name: known[name] for name in CHANGEABLE}, []), "minProperties": 1},
    }
    return made | dict(numbers(schemas))


def _object(title: str, properties: Json, required: list[str]) -> Json:
    return {
        "title": title, "type": "object", "properties": properties, "required": required,
        "additionalProperties": False,
    }  # fmt: skip


def _field(field: Json) -> Json:
    """Return a field as JSON has it: pydantic would take a text for a decimal, and names bounds by its own words."""
    kind = {"type": "number"} if "anyOf" in field else {}
    kept = {name: value for name, value in field.items() if name in ("type", "enum", "const", "default")}
    bounds = {said: _bound(field[name]) for name, said in _BOUNDS.items() if name in field}
    return {**kind, **kept, **bounds}


def _bound(found: Any) -> Any:
    return msgspec.json.decode(found) if isinstance(found, str) else found
