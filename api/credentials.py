"""The checks of the gate that look at credentials: API keys, cookies of sessions, and where a page comes from."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request

from accounts import sessions, tokens
from accounts.people import Person
from accounts.signing import AccessTokens
from api import cookies
from api.access import ROLES, Check, Scope
from api.callers import caller_key
from api.errors import Forbidden, SignInRequired, Unauthorized
from api.limits import RateLimiter
from core.clock import Clock
from core.store.held import Held
from core.store.pool import Pool, translated
from core.together import Together

LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})  # RFC 9110, 9.2.1


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Who asks, by which session."""

    person: Person
    session_id: uuid.UUID


class ApiKeys:
    """Asks for a Bearer key and counts what it asks. Cookies mean nothing here."""

    def __init__(self, pool: Pool, limiter: RateLimiter) -> None:
        self._held = Held(pool)
        self._valid = Together(self._authenticated)
        self._limiter = limiter

    async def check(self, request: Request) -> tokens.ApiToken:
        """Return the token. Raises Unauthorized, TooManyRequests."""
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        digest = tokens.digest_of(key.strip()) if scheme.lower() == "bearer" else None
        token = None if digest is None else await self._valid.get(digest)
        if token is None:
            raise Unauthorized("authorization: expected Bearer with a valid API token")
        await self._limiter.spend(token.prefix)
        return token

    async def _authenticated(self, digests: Sequence[bytes]) -> dict[bytes, tokens.ApiToken]:
        with translated():
            async with self._held.connection() as conn:
                return await tokens.authenticated(conn, digests)


class Origins:
    """Knows which pages are ours: browsers name the page in every request that changes something (Fetch, 3.2.5).

    Programs name none, and carry no cookies that a foreign page could borrow. Without `public_url` ours is the host
    that was asked for; on loopback that host must be a loopback name, or a foreign name that is made to point
    here (DNS rebinding) would be ours.
    """

    def __init__(self, public_url: str, *, loopback: bool) -> None:
        self._ours = _origin(public_url) if public_url else None
        self._loopback = loopback

    def check(self, request: Request) -> None:
        """Raise Forbidden for a change that a foreign page asks for."""
        if request.method in SAFE:
            return
        named = request.headers.get("origin")
        if named is None and "referer" in request.headers:
            named = _origin(request.headers["referer"]) or "nothing"
        if named is None:
            if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
                raise Forbidden("origin: expected a page of this site")
        elif named != self._own(request):
            raise Forbidden(f"origin: expected a page of this site, found {named[:100]}")

    def _own(self, request: Request) -> str | None:
        if self._ours is not None:
            return self._ours
        if self._loopback and request.url.hostname not in LOOPBACK:
            return None
        return _origin(str(request.url))


class SessionCookies:
    """Asks for cookies of a session. API keys mean nothing here, nor does an access token in a header."""

    def __init__(self, pool: Pool, access: AccessTokens, origins: Origins, clock: Clock) -> None:
        self._pool = pool
        self._access = access
        self._origins = origins
        self._clock = clock

    def checks(self) -> Mapping[Scope, Check]:
        """Return the checks of PUBLIC, SESSION and the three roles."""
        return {
            Scope.PUBLIC: self.anybody,
            Scope.SESSION: self.session,
            **{scope: self._at_least(scope) for scope in ROLES},
        }

    async def anybody(self, request: Request) -> None:
        """Let everybody in but foreign pages: signing in sets cookies, too. Raises Forbidden."""
        self._origins.check(request)

    async def session(self, request: Request) -> uuid.UUID:
        """Return the session of either cookie, be it over or not. Raises Unauthorized, Forbidden."""
        self._origins.check(request)
        found = await sessions.family(self._pool, cookies.of(request, cookies.REFRESH) or "")
        if found is None:
            access = await self._access.read(cookies.of(request, cookies.ACCESS) or "")
            found = None if access is None else access.session_id
        if found is None:
            raise _unauthorized()
        return found

    def _at_least(self, scope: Scope) -> Check:
        async def check(request: Request) -> SignedIn:
            self._origins.check(request)
            caller = await self._signed_in(request)
            if not caller.person.role.reaches(ROLES[scope]):
                raise Forbidden(f"role: expected {ROLES[scope]}, found {caller.person.role}")
            return caller

        return check

    async def _signed_in(self, request: Request) -> SignedIn:
        access = await self._access.read(cookies.of(request, cookies.ACCESS) or "")
        person = None if access is None else await sessions.who(self._pool, access, self._clock.now())
        if access is None or person is None or not person.may_ask:
            raise _unauthorized()
        return SignedIn(person, access.session_id)


def client_of(request: Request) -> str:
    """Return what stands for a caller in counts."""
    return caller_key(request.client.host if request.client else "unknown")


def _unauthorized() -> SignInRequired:
    return SignInRequired("auth_token: expected the cookie of a session that is open; sign in at /api/auth/login")


def _origin(url: str) -> str | None:
    """Return scheme, host and port as browsers write an origin (RFC 6454, 6.2); None for what is no web address."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    usual = port in (None, 80 if parts.scheme == "http" else 443)
    return f"{parts.scheme}://{host}" if usual else f"{parts.scheme}://{host}:{port}"
