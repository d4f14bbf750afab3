"""Who gets to what: every route of the daemon's API names a scope, and nobody else passes.

`WRITE_ACCESS=1 pytest tests/api/test_access.py` writes docs/access.md anew.
"""

import os
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.types import Message, Receive, Send
from starlette.types import Scope as Connection

from accounts import tokens
from accounts.roles import Role
from api.access import SOCKET, Gate, Scope, ScopedGroup, ScopedRoute, anybody, route
from api.app import application
from api.errors import ApiError, Forbidden, refusal
from core.errors import BadConfig
from core.metrics import Metrics
from core.settings import ApiSettings
from core.store.pool import Pool, open_pool
from tests.api.people import HERE, Town, refused, town

PAGE = Path(__file__).resolve().parents[2] / "docs" / "access.md"
PATHS = {"block_number": "1", "hash": "0x" + "0" * 64, "address": "0x" + "0" * 40, "contract_address": "0x" + "0" * 40}

# What somebody may carry, and the scopes that lets them through.
EVERYBODY = {Scope.PUBLIC, Scope.BUILDER, Scope.OPERATIONS}
CREDENTIALS: dict[str, set[Scope]] = {
    "nothing": EVERYBODY,
    "API key": EVERYBODY | {Scope.API_KEY},
    "PENDING": EVERYBODY | {Scope.SESSION, Scope.PENDING},
    "OPERATOR": EVERYBODY | {Scope.SESSION, Scope.PENDING, Scope.OPERATOR},
    "ADMIN": EVERYBODY | {Scope.SESSION, Scope.PENDING, Scope.OPERATOR, Scope.ADMIN},
    "API key as cookie": EVERYBODY,
    "access token as Bearer": EVERYBODY,
    "refresh token alone": EVERYBODY | {Scope.SESSION},
    "refresh token as auth_token": EVERYBODY,
    "key of somebody disabled": EVERYBODY,
    "cookie of somebody disabled": EVERYBODY | {Scope.SESSION},
}
SHOWN = ("nothing", "API key", "PENDING", "OPERATOR", "ADMIN", "API key as cookie", "access token as Bearer")


async def carriers(one: Town, owner: Pool) -> dict[str, httpx.AsyncClient]:
    """A client for each way to come, in the order of CREDENTIALS."""
    key = await tokens.issue(owner, "walk")
    admin, operator = await one.signed_in("a@example.org", Role.ADMIN), await one.signed_in("o@example.org")
    pending = await one.demoted("p@example.org")
    disabled = await one.signed_in("d@example.org")
    dead = (await disabled.post("/api/user/token")).json()["token"]
    await one.pool.execute("update accounts.person set status = 'DISABLED' where email = 'd@example.org'")
    access, refresh = admin.cookies["auth_token"], admin.cookies["refresh_token"]
    made = [
        one.client(), one.client(authorization=f"Bearer {key}"), pending, operator, admin,
        one.client({"auth_token": key, "refresh_token": key}), one.client(authorization=f"Bearer {access}"),
        one.client({"refresh_token": refresh}), one.client({"auth_token": refresh}),
        one.client(authorization=f"Bearer {dead}"), disabled,
    ]  # fmt: skip
    return dict(zip(CREDENTIALS, made, strict=True))


def path_of(one: ScopedRoute) -> str:
    return one.path.format(**{name: PATHS.get(name, "x" + secrets.token_hex(4)) for name in one.param_convertors})


def scoped(one: Town) -> list[ScopedRoute]:
    """The routes of one path each."""
    return [found for found in one.app.routes if isinstance(found, ScopedRoute)]


def groups(one: Town) -> list[ScopedGroup]:
    """The routes of many paths; there is no third kind."""
    found = [each for each in one.app.routes if isinstance(each, ScopedGroup)]
    assert len(found) + len(scoped(one)) == len(one.app.routes)
    return found


Walked = dict[tuple[str, str], tuple[Scope, dict[str, int]]]


async def walk(one: Town, owner: Pool) -> Walked:
    """(path, methods) -> scope and, for each way to come, the status; endpoints are replaced by ones that say 204."""
    clients = await carriers(one, owner)
    found: Walked = {}
    for each in scoped(one):
        each.app = Response(status_code=204)
        seen: dict[str, int] = {}
        for method in sorted(each.methods or ()):
            for name, client in clients.items():
                status = (await client.request(method, path_of(each))).status_code
                assert seen.setdefault(name, status) == status, (method, each.path)
        found[each.path, ", ".join(m for m in sorted(each.methods or ()) if m != "HEAD")] = (each.scope, seen)
    for group in groups(one):
        found |= await walk_group(one, group, clients)
    return found


async def walk_group(one: Town, group: ScopedGroup, clients: dict[str, httpx.AsyncClient]) -> Walked:
    """The same for a group, its sockets included."""

    async def handle(scope: Connection, receive: Receive, send: Send) -> None:
        try:
            await group.admitted(scope, receive)
            await Response(status_code=204)(scope, receive, send)
        except ApiError as error:
            await refusal(scope, error)(scope, receive, send)

    async def status(client: httpx.AsyncClient, method: str, path: str) -> int:
        if method == SOCKET:
            return await knock(one.app, path, client.build_request("GET", path).headers.raw)
        return (await client.request(method, path)).status_code

    group.handle = handle  # type: ignore[method-assign]
    return {
        (path, method): (scope, {name: await status(client, method, path) for name, client in clients.items()})
        for (method, path), scope in group.scopes().items()
    }


@pytest.fixture
async def owner(database_url: str) -> Any:
    async with open_pool(database_url, size=2) as pool:
        yield pool


async def test_every_route_lets_in_whom_its_scope_names_and_nobody_else(people: Town, owner: Pool) -> None:
    walked = await walk(people, owner)
    assert len(walked) > 20
    assert {scope for scope, _ in walked.values()} == set(Scope)
    wrong = {
        (place, name): status
        for place, (scope, seen) in walked.items()
        for name, status in seen.items()
        if (status == 204) is not (scope in CREDENTIALS[name]) or status not in (204, 401, 403)
    }
    assert wrong == {}
    text = matrix(walked)
    print(text)
    if os.environ.get("WRITE_ACCESS"):
        PAGE.write_text(text)
    assert PAGE.read_text() == text, "WRITE_ACCESS=1 pytest tests/api/test_access.py writes it anew"


def matrix(walked: dict[tuple[str, str], tuple[Scope, dict[str, int]]]) -> str:
    """The page docs/access.md."""
    lines = [
        "# Who gets to what", "",
        "Written by `tests/api/test_access.py`, which asks every route of the API in these ways and some more.",
        "`yes` is let in; 401 lacks credentials, 403 has those of somebody else's role.", "",
        "| route | scope | " + " | ".join(SHOWN) + " |", "|---" * (len(SHOWN) + 2) + "|",
    ]  # fmt: skip
    for (path, methods), (scope, seen) in walked.items():
        shown = ("yes" if seen[name] == 204 else str(seen[name]) for name in SHOWN)
        lines.append(f"| {methods} `{path}` | {scope.name} | " + " | ".join(shown) + " |")
    lines += ["", "| scope | asks for |", "|---|---|", *(f"| {scope.name} | {scope.value} |" for scope in Scope)]
    return "\n".join(lines) + "\n"


async def test_the_endpoints_themselves_answer_nobody_who_brings_nothing(people: Town) -> None:
    for one in scoped(people):
        if one.scope not in EVERYBODY:
            for method in one.methods or ():
                answer = await people.client().request(method, path_of(one))
                assert answer.status_code == 401, (method, one.path)
                assert method == "HEAD" or set(answer.json()) == {"error", "code"}


async def test_a_group_asks_the_gate_before_it_answers_anything_on_any_path(wide_pool: Pool) -> None:
    asked = []

    async def nobody(request: Request) -> None:
        asked.append((request.scope["path"], request.method))
        raise Forbidden("nobody")

    async with town(wide_pool) as one:
        checks = {scope: nobody for scope in Scope}
        for group in groups(one):
            asked.clear()
            app = application([group], Metrics(), gate=Gate(checks))
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url=HERE) as client:
                for method, path in group.scopes():
                    if method == SOCKET:
                        assert await knock(app, path) == 403
                    else:
                        assert (await client.request(method, path)).status_code == 403, (method, path)
            assert {(method, path) for path, method in asked} == set(group.scopes())
            assert {method for _, method in asked} >= {"GET", SOCKET}
        assert [len(group.scopes()) > 20 for group in groups(one)] == [True, False], "the builder's, and streams"


async def knock(app: Starlette, path: str, headers: Iterable[tuple[bytes, bytes]] = ()) -> int:
    """The status of a WebSocket that is refused, or is answered as a request is."""
    said: list[Any] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        said.append(message)

    scope = {
        "type": "websocket", "path": path, "raw_path": path.encode(), "query_string": b"",
        "extensions": {"websocket.http.response": {}}, "client": ("127.0.0.1", 1), "state": {},
        "headers": [(name.lower(), value) for name, value in headers],
    }  # fmt: skip
    await app(scope, receive, send)
    return int(said[0]["status"])


async def nothing(_: Request) -> Response:
    return Response(status_code=204)


class Empty(ScopedGroup):
    """A group that has forgotten its paths."""

    path = "/later"

    def scopes(self) -> dict[tuple[str, str], Scope]:
        return {}


UNNAMED: dict[str, Callable[[], BaseRoute]] = {
    "route": lambda: Route("/later", nothing),
    "socket": lambda: WebSocketRoute("/later", nothing),
    "mount": lambda: Mount("/later", routes=[route("/x", nothing, scope=Scope.PUBLIC)]),
    "empty group": Empty,
    "a scope that nobody checks": lambda: route("/later", nothing, scope=Scope.ADMIN),
}


@pytest.mark.parametrize("made", UNNAMED.values(), ids=UNNAMED)
def test_an_application_refuses_a_route_that_names_no_scope_or_one_nobody_checks(made: Callable[[], BaseRoute]) -> None:
    with pytest.raises(BadConfig, match="/later"):
        application([made()], Metrics(), gate=Gate({Scope.PUBLIC: anybody}))


async def test_off_loopback_nothing_of_operations_is_on_the_clients_port(wide_pool: Pool) -> None:
    async with town(wide_pool, api=ApiSettings(host="0.0.0.0")) as one:
        assert Scope.OPERATIONS not in {each.scope for each in scoped(one)}
        with pytest.raises(BadConfig):
            one.app.state.gate.require([route("/", nothing, scope=Scope.OPERATIONS)])


async def test_a_wrong_method_is_told_the_right_ones(people: Town) -> None:
    answer = await people.client().put("/api/user/token")
    refused(answer, 405)
    assert answer.headers["allow"] == "DELETE, GET, HEAD, POST"


@pytest.mark.parametrize("path", ["/api/auth/login/", "/api/auth/me/", "/api/admin/users/", "/api//auth/me"])
async def test_a_slash_too_many_is_no_redirect(people: Town, path: str) -> None:
    for method in ("GET", "POST"):
        refused(await people.client(host="evil.example").request(method, path), 404)


# -- foreign pages -----------------------------------------------------------------------------------------------------

FOREIGN: list[dict[str, str]] = [
    {"origin": "https://evil.example"}, {"origin": "null"}, {"origin": "http://127.0.0.1:8081"}, {"origin": ""},
    {"origin": "https://127.0.0.1:8080"}, {"origin": "http://127.0.0.1:8080.evil.example"},
    {"origin": "http://127.0.0.1:8080@evil.example"}, {"referer": "https://evil.example/x"},
    {"referer": "not a url"}, {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"},
]  # fmt: skip


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
async def test_foreign_pages_change_nothing_with_our_cookies(people: Town, headers: dict[str, str]) -> None:
    admin = await people.signed_in("a@example.org", Role.ADMIN)
    before = dict(admin.cookies)
    for one in scoped(people):
        for method in (one.methods or set()) - {"GET", "HEAD"}:
            refused(await admin.request(method, path_of(one), headers=headers, json={}), 403)
    assert dict(admin.cookies) == before
    assert (await admin.get("/api/auth/me", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "headers", [{}, {"origin": HERE}, {"referer": f"{HERE}/users"}, {"sec-fetch-site": "same-origin"}], ids=str
)
async def test_our_own_pages_and_programs_may(people: Town, headers: dict[str, str]) -> None:
    client = await people.signed_in("ann@example.org")
    assert (await client.post("/api/user/token", headers=headers)).status_code == 200


async def test_with_a_public_url_that_origin_is_ours_and_no_other(wide_pool: Pool) -> None:
    async with town(wide_pool, api=ApiSettings(public_url="https://api.example.com:443/x")) as one:
        for origin, status in (("https://api.example.com", 400), (HERE, 403), ("http://api.example.com", 403)):
            answer = await one.client(origin=origin).post("/api/auth/login")
            assert answer.status_code == status, origin


async def test_a_name_that_was_made_to_point_at_loopback_is_not_ours(people: Town) -> None:
    client = people.client(host="evil.example:8080", origin="http://evil.example:8080")
    refused(await client.post("/api/auth/register", json={"email": "e@x.org", "password": "long enough 1"}), 403)


async def test_forms_of_foreign_pages_are_no_bodies(people: Town) -> None:
    body = '{"email": "e@x.org", "password": "long enough 1"}'
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        answer = await people.client().post("/api/auth/register", content=body, headers={"content-type": kind})
        assert "content-type" in refused(answer, 400)


async def test_pages_that_may_ask_with_tokens_get_no_cookies(wide_pool: Pool) -> None:
    async with town(wide_pool) as one:
        app = application(list(one.app.routes), Metrics(), gate=one.app.state.gate, cors_origins=["https://x.example"])
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url=HERE) as client:
            answer = await client.post("/api/auth/login", headers={"origin": "https://x.example"})
        assert answer.status_code == 403
        assert "access-control-allow-credentials" not in answer.headers
