"""Whatever a client sends to sign-in, people and tokens, the answer is one that the description promises.

The short form runs with the tests; FUZZ_EXAMPLES per operation makes it longer, as in test_fuzz.py.
"""

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from accounts.audit import By
from accounts.roles import Role
from api import openapi_droids, openapi_people
from api.access import SOCKET, scopes_of
from api.routes.description import document
from core.store.pool import Pool
from droids import commands
from droids.droid import droid_of
from tests.api.droids import known, spoken, stored
from tests.api.people import HERE, Town, login, register
from tests.api.test_fuzz import CHECKS, EXAMPLES, run_each
from tests.droids import SEED

OPERATIONS = {**openapi_people.OPERATIONS, **openapi_droids.OPERATIONS}
ME = "/api/auth/me"
ADMIN = "admin@example.org"
SAYS = document()
# Credentials have tests of their own (test_access.py); here every request has valid ones.
for item in SAYS["paths"].values():
    for described in item.values():
        described.pop("security", None)
del SAYS["security"], SAYS["components"]["securitySchemes"]
SCHEMA = schemathesis.openapi.from_dict(SAYS)


def test_every_route_under_api_is_described_by_its_scope_and_nothing_else_is(people: Town) -> None:
    served = {
        (method.lower(), path): scope
        for one in people.app.routes
        for (method, path), scope in scopes_of(one).items()
        if method != SOCKET
    }
    served = {
        place: scope
        for place, scope in served.items()
        if place[0] != "head"
        and place[1].startswith(("/api/", "/stream"))
        and place[1] not in ("/api/openapi.json", "/api/docs")
    }
    said = document()
    assert served.keys() == {(method, path) for path, item in said["paths"].items() for method in item}
    assert {place: one.scope for place, one in OPERATIONS.items()}.items() <= served.items()
    keyed = [scope for place, scope in served.items() if place not in OPERATIONS]
    assert {scope.name for scope in keyed} == {"API_KEY"}


@pytest.mark.parametrize("place", OPERATIONS, ids=" ".join)
async def test_every_answer_is_one_that_the_description_promises(
    people: Town, pool: Pool, place: tuple[str, str]
) -> None:
    method, path = place
    if path.startswith("/api/droids"):
        await with_droids(pool)
    await people.person(ADMIN, Role.ADMIN)
    await people.person("ann@example.org", Role.ADMIN)
    client = people.client()
    modes = [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE]
    operation = SCHEMA[path][method.upper()]
    # What has neither parameters nor a body has nothing that could be wrong.
    open_to_faults = bool(OPERATIONS[place].body or OPERATIONS[place].parameters)
    cases = st.one_of(
        [operation.as_strategy(generation_mode=mode) for mode in (modes if open_to_faults else modes[:1])]
    )
    seen: list[int] = []

    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck), derandomize=True,
    )  # fmt: skip
    @given(case=cases)
    async def each(case: Any) -> None:
        await signed_in(client)
        sent = case.as_transport_kwargs(base_url=HERE)
        if "data" in sent:
            sent["content"] = sent.pop("data")
        known = ("params", "json", "content")
        answer = await client.request(
            sent["method"],
            sent["url"],
            headers=headers_of(sent),
            **{name: sent[name] for name in known if name in sent},
        )
        assert answer.status_code < 500, (sent, answer.text)
        case.validate_response(schemathesis.Response.from_httpx(answer, verify=True), checks=CHECKS)
        seen.append(answer.status_code)

    await run_each(each)
    assert len(seen) >= (EXAMPLES // 2 if open_to_faults else 1)


async def with_droids(owner: Pool) -> None:
    """Droids 1 to 9 in a pool that spoke, so that a made-up id is now and then that of one."""
    await known(owner)
    await stored(owner, spoken(["3200", "3210", "3190"] * 320))
    droid = droid_of(SEED)
    for _ in range(9):
        await commands.create(owner, droid, account_id=1, pool_id=42, by=By("fuzz", datetime.now(UTC)))


def headers_of(sent: dict[str, Any]) -> dict[str, str]:
    """The request's own, but for those of the library that would have sent it."""
    return {name: value for name, value in sent.get("headers", {}).items() if name.lower() == "content-type"}


async def signed_in(client: httpx.AsyncClient) -> None:
    """Sign in again where the last example has ended the session."""
    if (await client.get(ME)).status_code != 200:
        client.cookies.clear()
        assert (await login(client, ADMIN)).status_code == 200


async def test_what_is_promised_of_both_answers_of_register_is_answered(people: Town) -> None:
    schemas = document()["components"]["schemas"]
    for email, name in (("first@example.org", "Entered"), ("second@example.org", "Message")):
        answer = await register(people.client(), email)
        assert set(answer.json()) == set(schemas[name]["required"])
