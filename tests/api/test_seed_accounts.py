"""The user's own document again: every example of its sections Auth, Admin and User, answered in its shape."""

import json
import re
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from accounts.roles import Role
from tests.api.people import PASSWORD, Town, refused, register
from tests.api.test_seed import DOCUMENT, kind

pytestmark = pytest.mark.skipif(not DOCUMENT.is_file(), reason=f"no {DOCUMENT}: set SEEDS_DIR")

# Beside the document's fields: null is never (docs/accounts.md).
ADDITIVE = {"expiresAt", "lastUsedAt"}
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@dataclass(frozen=True)
class Example:
    """One example: what to send, and every answer the document shows for it."""

    method: str
    path: str
    body: Any
    answers: tuple[Any, ...]


def sections() -> str:
    """The text of Admin, Auth and User; between them Devbe, Droids and Orders are other people's."""
    text = DOCUMENT.read_text() if DOCUMENT.is_file() else ""
    found = [re.search(rf"\n{name}\n(.*?)\n{after}\n", text, re.S) for name, after in
             (("Admin", "Auth"), ("Auth", "Devbe"), ("User", "V1"))]  # fmt: skip
    return "\n".join(match[1] for match in found if match)


def examples() -> dict[str, Example]:
    """ "METHOD /path" -> its example."""
    found = {}
    parts = re.split(r"^(GET|POST|PATCH|DEL)(?=/)", sections(), flags=re.M)[1:]
    for method, part in zip(parts[::2], parts[1::2], strict=True):
        request, answer = part.split("Example Request")[1].split("Example Response")
        body = re.search(r"-d '(.*?)'", request, re.S)
        shown = [json.loads(one) for one in re.findall(r"^\{.*?^\}", answer, re.M | re.S)]
        name = f"{method.replace('DEL', 'DELETE')} {part.splitlines()[0].strip()}"
        url = re.search(r"https://<host>(\S+)|GET (/api\S+)", request)
        assert url is not None, name
        path = (url[1] or url[2]).rstrip("\\").strip()
        found[name] = Example(name.split(maxsplit=1)[0], path, json.loads(body[1]) if body else None, tuple(shown))
    return found


def test_the_document_has_all_eleven_operations() -> None:
    assert sorted(examples()) == [
        "DELETE /user/token", "GET /admin/users", "GET /auth/me", "GET /auth/refresh", "GET /user/token",
        "PATCH /admin/users/{userId}", "POST /auth/login", "POST /auth/logout", "POST /auth/refresh",
        "POST /auth/register", "POST /user/token",
    ]  # fmt: skip


def faults(theirs: Any, ours: Any, where: str = "") -> list[str]:
    """Where two answers differ in fields or kinds; no field more and none less."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        names = theirs.keys() ^ (ours.keys() - ADDITIVE)
        found = [f"{where}.{name}: on one side only" for name in sorted(names)]
        for name in theirs.keys() & ours.keys():
            found += faults(theirs[name], ours[name], f"{where}.{name}")
        return found
    if isinstance(theirs, list) and isinstance(ours, list):
        return [fault for item in ours for fault in faults(theirs[0], item, f"{where}[]")]
    if kind(theirs) != kind(ours):
        return [f"{where}: expected {kind(theirs)}, found {ours!r}"]
    dated = isinstance(theirs, str) and INSTANT.fullmatch(theirs)
    return [f"{where}: {ours!r} is no time"] if dated and not INSTANT.fullmatch(ours) else []


async def send(one: Town, client: httpx.AsyncClient, example: Example) -> httpx.Response:
    """The document's own request; the made-up id stands for the person whom the same document registers."""
    path = example.path
    if "cm1def456uvw" in path:
        await register(one.client(), "pending@havencap.io")
        wanted = "select user_id from accounts.person where status = 'PENDING'"
        path = path.replace("cm1def456uvw", await one.pool.fetchval(wanted))
    return await client.request(example.method, path, **({} if example.body is None else {"json": example.body}))


@pytest.mark.parametrize(
    "name", [name for name in examples() if name not in ("POST /auth/register", "GET /auth/refresh")]
)
async def test_an_example_is_answered_in_its_shape(people: Town, name: str) -> None:
    example = examples()[name]
    await people.person("admin@havencap.io", Role.ADMIN)
    client = await people.signed_in("trader@havencap.io", Role.ADMIN)
    if name in ("GET /user/token", "DELETE /user/token"):
        await client.post("/api/user/token")
    answer = await send(people, client, example)
    assert answer.status_code == 200, answer.text
    assert faults(example.answers[0], answer.json()) == []


async def test_registering_answers_the_first_and_the_others_as_shown(people: Town) -> None:
    example = examples()["POST /auth/register"]
    for shown, email in zip(example.answers, ("first@havencap.io", "second@havencap.io"), strict=True):
        answer = await people.client().post(example.path, json={**example.body, "email": email})
        assert answer.status_code == 200
        assert faults(shown, answer.json()) == []
        if "message" in shown:
            assert answer.json() == shown
    assert (await people.client().post(example.path, json=example.body)).json() == example.answers[1]


async def test_the_redirect_flow_goes_where_it_is_shown_to_go(people: Town) -> None:
    example = examples()["GET /auth/refresh"]
    client = await people.signed_in("trader@havencap.io")
    answer = await client.get(example.path)
    assert (answer.status_code, answer.headers["location"]) == (302, "/markets")
    assert "auth_token" in answer.cookies


async def test_what_the_document_says_literally_is_said_literally(people: Town) -> None:
    client = await people.signed_in("trader@havencap.io", Role.ADMIN)
    assert (await client.get("/api/user/token")).json() == examples()["GET /user/token"].answers[1]
    await client.post("/api/user/token")
    for name in ("DELETE /user/token", "POST /auth/logout"):
        assert (await send(people, client, examples()[name])).json() == examples()[name].answers[0]


STATUSES = {
    400: ("POST", "/api/auth/login", {"email": 1}), 401: ("GET", "/api/auth/me", None),
    403: ("GET", "/api/admin/users", None), 404: ("DELETE", "/api/user/token", None),
    409: ("POST", "/api/auth/register", {"email": "trader@havencap.io", "password": PASSWORD}),
}  # fmt: skip


@pytest.mark.parametrize("status", STATUSES)
async def test_every_error_of_the_document_has_its_envelope(people: Town, status: int) -> None:
    client = await people.signed_in("trader@havencap.io")
    method, path, body = STATUSES[status]
    asking = people.client() if status == 401 else client
    refused(await asking.request(method, path, **({} if body is None else {"json": body})), status)  # type: ignore[arg-type]


def test_a_field_too_many_or_too_few_is_noticed() -> None:
    assert faults({"a": "x"}, {"b": "x"}) == [".a: on one side only", ".b: on one side only"]
    assert faults({"at": "2026-05-01T09:00:00.000Z"}, {"at": "2026-05-01T09:00:00Z"}) != []
    assert faults({"a": "x"}, {"a": 1}) == [".a: expected str, found 1"]
