"""Clients that send too much, too deep, too slowly or not at all, against the real server on a real socket."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response

from api.access import Gate, Scope, anybody, route
from api.app import MAX_BODY_BYTES, Bounded, application
from api.bodies import MAX_DEPTH, depth
from api.connection import MAX_HEAD_BYTES, BoundedConnection
from api.server import HttpServer, listen
from core.metrics import Metrics
from tests.api.people import Town, refused

LOGIN = "/api/auth/login"
SOON_S = 60.0  # how long a busy machine may take; nothing here is expected to


async def length(request: Request) -> Response:
    """How many bytes came."""
    return Response(str(len(await request.body())))


async def much(_: Request) -> Response:
    """More than any socket's buffer takes."""
    return Response(b"x" * 50_000_000)


@asynccontextmanager
async def served(most: int = 100, metrics: Metrics | None = None) -> AsyncIterator[int]:
    """The port of a server of our own."""
    routes = [
        route("/length", length, scope=Scope.PUBLIC, methods=["GET", "POST"]),
        route("/much", much, scope=Scope.PUBLIC),
    ]
    app = application(routes, metrics or Metrics(), gate=Gate({Scope.PUBLIC: anybody}))
    bound = listen("127.0.0.1", 0, "test")
    serving = asyncio.create_task(HttpServer(app, bound, name="test", most=most).run())
    try:
        yield bound.getsockname()[1]
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        bound.close()


class Caller:
    """A connection by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def say(self, *parts: bytes) -> None:
        for part in parts:
            self.writer.write(part)
        await self.writer.drain()

    async def rest(self) -> bytes:
        """Everything until the server hangs up."""
        async with asyncio.timeout(SOON_S):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""


@asynccontextmanager
async def call(port: int, source: str = "127.0.0.1") -> AsyncIterator[Caller]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
    try:
        yield Caller(reader, writer)
    finally:
        writer.transport.abort()


def envelope(answer: bytes, status: int) -> str:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer[:300]
    assert b"connection: close" in head.lower()
    found = json.loads(body)
    assert (set(found), found["code"]) == ({"error", "code"}, str(status))
    return str(found["error"])


# -- answers -----------------------------------------------------------------------------------------------------------


async def test_the_head_of_an_answer_comes_with_its_body() -> None:
    async with served() as port, call(port) as caller, asyncio.timeout(SOON_S):
        for _ in range(50):
            await caller.say(b"GET /length HTTP/1.1\r\nhost: here\r\n\r\n")
            head, _, body = (await caller.reader.read(65_536)).partition(b"\r\n\r\n")
            assert (head[:15], body) == (b"HTTP/1.1 200 OK", b"0")


async def test_a_head_alone_does_not_wait_for_a_body() -> None:
    async with served() as port, call(port) as caller, asyncio.timeout(SOON_S):
        await caller.say(b"HEAD /length HTTP/1.1\r\nhost: here\r\n\r\n")
        assert b"content-length: 1" in await caller.reader.readuntil(b"\r\n\r\n")
        await caller.say(b"POST /length HTTP/1.1\r\nhost: here\r\ncontent-length: 3\r\n\r\nabc")
        await caller.reader.readuntil(b"\r\n\r\n")
        assert await caller.reader.readexactly(1) == b"3"


# -- bodies ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "chunked"])
async def test_ten_megabytes_are_refused_and_not_kept(people: Town, announced: bool) -> None:
    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(160):
            sent += 65_536
            yield b"x" * 65_536

    headers = {"content-type": "application/json"} | ({"content-length": str(160 * 65_536)} if announced else {})
    answer = await people.client().post(LOGIN, content=body(), headers=headers)
    assert str(MAX_BODY_BYTES) in refused(answer, 413)
    assert answer.headers["connection"] == "close"
    assert people.passwords.verified == []


async def test_ten_megabytes_over_a_socket_end_the_connection() -> None:
    async with served() as port, call(port) as caller:
        await caller.say(b"POST /length HTTP/1.1\r\nhost: x\r\ncontent-length: 10485760\r\n\r\n")
        assert "10485760" in envelope(await caller.rest(), 413)
    async with served() as port, call(port) as caller:
        await caller.say(b"POST /length HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        await caller.say(b"%x\r\n" % (MAX_BODY_BYTES + 1), b"x" * (MAX_BODY_BYTES + 1))
        envelope(await caller.rest(), 413)


async def test_the_largest_body_is_read_whole() -> None:
    async with served() as port, httpx.AsyncClient() as client:
        for size, status in ((MAX_BODY_BYTES, 200), (MAX_BODY_BYTES + 1, 413)):
            answer = await client.post(f"http://127.0.0.1:{port}/length", content=b"x" * size)
            assert answer.status_code == status


@pytest.mark.parametrize(
    "make",
    [
        lambda n: "[" * n, lambda n: '{"a":' * n, lambda n: "[" * n + "]" * n,
        lambda n: '{"email":' + "[" * n + "]" * n + "}", lambda n: '{"x":"\\\\"' + ',"y":[' * n,
    ],
)  # fmt: skip
@pytest.mark.parametrize("n", [MAX_DEPTH + 1, 1_000, 9_000])
async def test_deep_json_is_refused_by_its_depth(people: Town, make: Callable[[int], str], n: int) -> None:
    answer = await people.client().post(LOGIN, content=make(n), headers={"content-type": "application/json"})
    assert "nested" in refused(answer, 400)


def test_brackets_in_strings_are_no_depth() -> None:
    assert depth(b'{"a": "[[[[\\"[[", "b": [1]}') == 2
    assert depth(b"1") == 0


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"[]", b'"x"', b"{", b"\xff\xfe", b'{"email": "\\ud800", "password": "\\ud800"}', b"NaN",
        b'{"email": "a@b"}', b'{"email": "a@b", "password": null}',
        b'{"email": "a@b", "password": "x", "role": "ADMIN"}', b'{"email": {"$ne": 1}, "password": "x"}', b"1" * 60_000,
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", [LOGIN, "/api/auth/register"])
async def test_what_is_no_such_json_is_a_400_that_says_so(people: Town, path: str, body: bytes) -> None:
    answer = await people.client().post(path, content=body, headers={"content-type": "application/json"})
    assert refused(answer, 400).startswith(("body", "email"))


async def test_routes_without_a_body_take_none(people: Town) -> None:
    client = await people.signed_in("ann@example.org")
    for method, path in (("POST", "/api/user/token"), ("DELETE", "/api/user/token"), ("POST", "/api/auth/logout")):
        assert "body" in refused(await client.request(method, path, content=b"[1]"), 400)
    assert (await client.post("/api/auth/logout", content=b"{}")).status_code == 200


async def test_a_body_that_does_not_arrive_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bounded.__init__, "__kwdefaults__", {"body_s": 0.05})
    async with served() as port, call(port) as caller:
        await caller.say(b"POST /length HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nx")
        assert "body" in envelope(await caller.rest(), 408)


# -- heads -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flood",
    [
        b"".join(b"x-%d: y\r\n" % n for n in range(10_000)), b"x: " + b"y" * 200_000, b"cookie: " + b"a=b; " * 50_000,
        b"x" * 200_000,
    ],
    ids=["many", "long", "cookies", "name"],
)  # fmt: skip
@pytest.mark.parametrize("ended", [True, False], ids=["ended", "endless"])
async def test_a_flood_of_headers_is_refused(flood: bytes, ended: bool) -> None:
    async with served() as port, call(port) as caller:
        await caller.say(b"GET /length HTTP/1.1\r\nhost: x\r\n", flood, b"\r\n\r\n" if ended else b"")
        answer = await caller.rest()
    if answer:  # a reset may overtake it while we are still sending
        status = 431 if answer.startswith(b"HTTP/1.1 431") else 400
        assert answer.startswith(b"HTTP/1.1 %d" % status)
        assert b"200 OK" not in answer


async def test_a_long_address_is_refused_and_a_head_of_usual_size_is_not() -> None:
    async with served() as port, call(port) as caller:
        await caller.say(b"GET /length?" + b"x" * MAX_HEAD_BYTES + b" HTTP/1.1\r\nhost: x\r\n\r\n")
        assert str(MAX_HEAD_BYTES) in envelope(await caller.rest(), 431)
    async with served() as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        for _ in range(3):  # on one connection: what one request took is not held against the next
            assert (await client.get("/length", headers={"x": "y" * (MAX_HEAD_BYTES // 2)})).status_code == 200


@pytest.mark.parametrize("begun", [b"", b"GET /length HT", b"GET /length HTTP/1.1\r\nhost: x\r\nx: "])
async def test_a_head_that_does_not_arrive_is_given_up(monkeypatch: pytest.MonkeyPatch, begun: bytes) -> None:
    monkeypatch.setattr(BoundedConnection, "head_s", 0.05)
    async with served() as port, call(port) as caller:
        await caller.say(begun)
        assert "head" in envelope(await caller.rest(), 408)


async def test_dripping_a_head_buys_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoundedConnection, "head_s", 0.2)
    async with served() as port, call(port) as caller:
        await caller.say(b"GET /length HTTP/1.1\r\nhost: x\r\n")
        answer = asyncio.create_task(caller.rest())
        while not answer.done():
            caller.writer.write(b"x: y\r\n")
            await asyncio.sleep(0.02)
        assert b"200 OK" not in await answer


async def test_a_kept_connection_may_be_idle_for_longer_than_a_head_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoundedConnection, "head_s", 0.2)
    async with served() as port, call(port) as caller:
        for _ in range(2):
            await caller.say(b"GET /length HTTP/1.1\r\nhost: x\r\n\r\n")
            async with asyncio.timeout(SOON_S):
                assert b"200 OK" in await caller.reader.readuntil(b"\r\n\r\n0")
            await asyncio.sleep(0.5)


async def test_a_client_that_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    gone, lost = asyncio.Event(), BoundedConnection.connection_lost

    def noting(self: BoundedConnection, error: Exception | None) -> None:
        lost(self, error)
        gone.set()

    monkeypatch.setattr(BoundedConnection, "write_s", 0.1)
    monkeypatch.setattr(BoundedConnection, "connection_lost", noting)
    async with served() as port, call(port) as caller:
        await caller.say(b"GET /much HTTP/1.1\r\nhost: x\r\n\r\n")
        async with asyncio.timeout(SOON_S):
            await gone.wait()  # and read nothing; what comes then is what the buffers held
        assert len(await caller.rest()) < 50_000_000


# -- connections -------------------------------------------------------------------------------------------------------


async def test_a_flood_of_idle_connections_shuts_nobody_out() -> None:
    metrics = Metrics()
    async with served(most=20, metrics=metrics) as port, AsyncExitStack() as stack:
        idle = [await stack.enter_async_context(call(port)) for _ in range(20)]
        for _ in range(5):
            async with call(port) as caller:
                await caller.say(b"GET /length HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                assert b"200 OK" in await caller.rest()
        assert await idle[0].rest() == b""  # the one that has waited longest
        assert 'chainworkd_connections_turned_away_total{server="test"}' in metrics.render().decode()


async def test_making_room_is_not_done_anew_for_each_of_a_flood(monkeypatch: pytest.MonkeyPatch) -> None:
    made, make_room = 0, BoundedConnection._make_room

    def counted(self: BoundedConnection) -> None:
        nonlocal made
        made += 1
        make_room(self)

    monkeypatch.setattr(BoundedConnection, "_make_room", counted)
    async with served(most=200) as port, AsyncExitStack() as stack:
        for _ in range(600):
            await stack.enter_async_context(call(port))
        async with call(port) as caller:
            await caller.say(b"GET /length HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            assert b"200 OK" in await caller.rest()
    assert 0 < made <= 400 / (1 + 200 // 20) + 2


async def test_where_every_connection_is_at_work_one_more_is_told_so() -> None:
    async with served(most=3) as port, AsyncExitStack() as stack:
        busy = [await stack.enter_async_context(call(port)) for _ in range(3)]
        for one in busy:
            await one.say(b"POST /length HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nx")
        await asyncio.sleep(0.1)
        async with call(port) as caller:
            assert "at most 3" in envelope(await caller.rest(), 503)
        for one in busy:
            await one.say(b"x")
            async with asyncio.timeout(SOON_S):
                assert (await one.reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")


async def test_a_kept_connection_of_somebody_who_has_few_outlives_those_of_who_has_many() -> None:
    async with served(most=10) as port, AsyncExitStack() as stack:
        few = await stack.enter_async_context(call(port, "127.0.0.2"))
        await few.say(b"GET /length HTTP/1.1\r\nhost: x\r\n\r\n")
        async with asyncio.timeout(SOON_S):
            await few.reader.readuntil(b"\r\n\r\n0")
        for _ in range(30):
            await stack.enter_async_context(call(port))
        await asyncio.sleep(0.1)
        await few.say(b"GET /length HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert b"200 OK" in await few.rest()
