"""GET /api/auth/refresh sends browsers back to paths of this site, whatever is asked for."""

from urllib.parse import quote, urljoin, urlsplit

import pytest

from api.errors import BadRequest
from api.redirects import local_path
from tests.api.people import HERE, Town, refused

TRICKS = [
    "https://evil.example", "http:evil.example", "//evil.example", "///evil.example", "////evil.example/x",
    "/\\evil.example", "\\\\evil.example", "\\/evil.example", "/\\/evil.example", "/x\\@evil.example",
    "/\t/evil.example", "\t//evil.example", " //evil.example", "/ /evil.example", "/\n/evil.example",
    "/%2f/evil.example", "/%2fevil.example", "/%5cevil.example", "/%252fevil.example", "/%25255cevil.example",
    "/%09/evil.example", "/x%0d%0aSet-Cookie:a=b", "/x\r\nLocation: https://evil.example", "/..//evil.example",
    "/.//evil.example", "/%2e%2e/%2fevil.example", "/x/../../evil.example", "javascript:alert(1)",
    "data:text/html,x", "evil.example", "@evil.example", "?x=//evil.example", "", "#//evil.example",
    "/\u2044evil.example", "/\uff0fevil.example", "/\u0000x", "/%00", "/%ff%2f%2fevil.example",
    "/%e0%80%afevil.example",
    "/api/auth/refresh", "/API/auth/refresh?callbackUrl=/x", "/%61pi/auth/logout", "/" + "x" * 2_000,
    "https:///evil.example", "//127.0.0.1:8080@evil.example", "/;//evil.example", "file:///etc/passwd",
]  # fmt: skip
FINE = ["/", "/markets", "/markets?tab=1&q=a%20b", "/a/b/#top", "/x?next=https://evil.example", "/caf%C3%A9", "/100%"]


def test_there_are_thirty_tricks_and_more() -> None:
    assert len(set(TRICKS)) == len(TRICKS) >= 30


@pytest.mark.parametrize("trick", TRICKS)
def test_no_trick_is_a_path_of_ours(trick: str) -> None:
    with pytest.raises(BadRequest, match="callbackUrl"):
        local_path(trick)


@pytest.mark.parametrize("path", FINE)
def test_a_path_of_ours_is(path: str) -> None:
    assert local_path(path) == path
    assert urlsplit(urljoin(HERE, path)).netloc == urlsplit(HERE).netloc


async def test_the_route_refuses_every_trick_and_spends_no_token_on_it(people: Town) -> None:
    client = await people.signed_in("ann@example.org")
    before = dict(client.cookies)
    for trick in TRICKS:
        answer = await client.get(f"/api/auth/refresh?callbackUrl={quote(trick, safe='')}")
        assert "callbackUrl" in refused(answer, 400), trick
        assert "location" not in answer.headers
    refused(await client.get("/api/auth/refresh?callbackUrl=/a&callbackUrl=//evil.example"), 400)
    assert dict(client.cookies) == before


@pytest.mark.parametrize("path", FINE)
async def test_the_route_sends_browsers_to_ours(people: Town, path: str) -> None:
    client = await people.signed_in("ann@example.org")
    before = client.cookies["auth_token"]
    answer = await client.get(f"/api/auth/refresh?callbackUrl={quote(path, safe='')}")
    assert answer.status_code == 302
    assert urlsplit(urljoin(HERE, answer.headers["location"])).netloc == urlsplit(HERE).netloc
    assert client.cookies["auth_token"] != before
    assert (await client.get("/api/auth/me")).status_code == 200


async def test_without_a_session_there_is_no_redirect_and_dead_cookies_are_taken_away(people: Town) -> None:
    client = await people.signed_in("ann@example.org")
    people.clock.seconds += 20 * 86_400
    answer = await client.get("/api/auth/refresh?callbackUrl=/markets")
    refused(answer, 401)
    assert not client.cookies


async def test_a_second_tab_on_its_way_goes_on_with_the_same_session(people: Town) -> None:
    client = await people.signed_in("ann@example.org")
    other = people.client(dict(client.cookies))
    assert (await client.get("/api/auth/refresh?callbackUrl=/a")).status_code == 302
    answer = await other.get("/api/auth/refresh?callbackUrl=/b")
    assert (answer.status_code, answer.headers["location"]) == (302, "/b")
    assert answer.cookies["refresh_token"] == client.cookies["refresh_token"]
    for tab in (client, people.client(dict(answer.cookies))):
        assert (await tab.get("/api/auth/me")).status_code == 200
