"""Sign-in of the trading app's API: /api/auth/* (docs/accounts.md). Envelope {"error", "code"}."""

import logging
import uuid
from dataclasses import dataclass
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from accounts import passwords, people, sessions
from accounts.passwords import Passwords
from accounts.people import EmailTaken, Known, Person
from accounts.sessions import Lives, Opened, Replayed, Unknown
from accounts.signing import AccessTokens
from api import cookies
from api.access import Scope, caller_of, route
from api.bodies import json_of, nothing
from api.cookies import Cookies
from api.credentials import SignedIn, client_of
from api.errors import BadRequest, Conflict, Forbidden, SignInRequired, envelope
from api.limits import RateLimiter
from api.params import refuse_unknown
from api.redirects import local_path
from api.times import precise
from core.clock import Clock
from core.metrics import Metrics
from core.store.pool import Pool

log = logging.getLogger(__name__)

PREFIX: Final = "/api/auth"
HOME: Final = "/"


class Credentials(msgspec.Struct, forbid_unknown_fields=True):
    """What register and login take."""

    email: str
    password: str


class UserOf(msgspec.Struct, rename="camel"):
    """A person as they see themselves."""

    user_id: str
    email: str
    role: str
    created_at: str

    @classmethod
    def of(cls, person: Person) -> "UserOf":
        """Make it from a person."""
        return cls(person.user_id, person.email, person.role, precise(person.created_at))


class Me(msgspec.Struct):
    """Who is signed in."""

    user: UserOf


class Entered(msgspec.Struct, rename="camel"):
    """Who has signed in, and the access token that the cookie holds, too."""

    user: UserOf
    access_token: str


class Message(msgspec.Struct):
    """What happened, for people."""

    message: str


@dataclass(frozen=True, slots=True)
class SignInLimits:
    """How often: sign-ins of one caller and to one account, registrations of one caller."""

    client: RateLimiter
    account: RateLimiter
    register: RateLimiter


@dataclass(frozen=True, slots=True)
class Desk:
    """What signing in needs."""

    pool: Pool
    passwords: Passwords
    access: AccessTokens
    cookies: Cookies
    lives: Lives
    limits: SignInLimits
    clock: Clock
    metrics: Metrics


class SignIn:
    """Answers /api/auth/*."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[Route]:
        """Return the group's routes."""
        return [
            route(f"{PREFIX}/register", self.register, scope=Scope.PUBLIC, methods=["POST"]),
            route(f"{PREFIX}/login", self.login, scope=Scope.PUBLIC, methods=["POST"]),
            route(f"{PREFIX}/logout", self.logout, scope=Scope.SESSION, methods=["POST"]),
            route(f"{PREFIX}/me", self.me, scope=Scope.PENDING),
            route(f"{PREFIX}/refresh", self.refresh_and_return, scope=Scope.SESSION),
            route(f"{PREFIX}/refresh", self.refresh, scope=Scope.SESSION, methods=["POST"]),
        ]

    async def register(self, request: Request) -> Response:
        """Add an account: the first one becomes ADMIN and is signed in, others wait for approval."""
        desk = self._desk
        await desk.limits.register.spend(client_of(request))
        asked = await json_of(request, Credentials)
        for name, fault in (
            ("email", people.email_fault(asked.email)),
            ("password", passwords.faults(asked.password, asked.email)),
        ):
            if fault is not None:
                raise BadRequest(f"{name}: {fault}")
        hashed = await desk.passwords.hash(asked.password)
        try:
            person = await people.register(desk.pool, asked.email, hashed, desk.clock.now())
        except EmailTaken as error:
            raise Conflict(str(error)) from None
        log.info("registered", extra={"user": person.user_id, "role": person.role})
        if not person.may_sign_in:
            return answer(Message("Registration successful. Your account is pending admin approval."))
        return await self._enter(request, Known(person, hashed))

    async def login(self, request: Request) -> Response:
        """Open a session. An unknown address and a wrong password look and take the same."""
        desk = self._desk
        await desk.limits.client.spend(client_of(request))
        asked = await json_of(request, Credentials)
        await desk.limits.account.spend(asked.email.lower()[: people.LONGEST_EMAIL])
        known = await self._proven(asked)
        if known is None:
            desk.metrics.signed_in("wrong")
            log.warning("sign-in refused", extra={"client": client_of(request)})
            raise _wrong()
        if not known.person.may_sign_in:
            desk.metrics.signed_in("not_approved")
            # Only who knows the password learns that the account exists.
            raise Forbidden(f"account: status is {known.person.status}, role {known.person.role}; ask an ADMIN")
        return await self._enter(request, known)

    async def logout(self, request: Request) -> Response:
        """End the session and take its cookies away."""
        await nothing(request)
        await sessions.end(self._desk.pool, caller_of(request, uuid.UUID), self._desk.clock.now())
        done = answer(Message("Logged out"))
        self._desk.cookies.clear(done)
        return done

    async def me(self, request: Request) -> Response:
        """Who is signed in."""
        refuse_unknown(request, frozenset())
        return answer(Me(UserOf.of(caller_of(request, SignedIn).person)))

    async def refresh(self, request: Request) -> Response:
        """Go on with the session: new cookies for the old ones."""
        await nothing(request)
        match await self._refreshed(request):
            case Opened() as opened:
                done = answer(Me(UserOf.of(opened.person)))
                await self._give(done, opened)
                return done
            case Replayed() | Unknown():
                return self._over()

    async def refresh_and_return(self, request: Request) -> Response:
        """The same for a browser on its way to a page of ours."""
        refuse_unknown(request, frozenset({"callbackUrl"}))
        target = local_path(request.query_params.get("callbackUrl", HOME))
        match await self._refreshed(request):
            case Opened() as opened:
                done = no_store(RedirectResponse(target, status_code=302))
                await self._give(done, opened)
                return done
            case Replayed() | Unknown():
                return self._over()

    async def _proven(self, asked: Credentials) -> Known | None:
        """Return whose password it is; every path through here verifies exactly one hash."""
        desk = self._desk
        usable = people.email_fault(asked.email) is None and len(asked.password) <= passwords.MAX_LENGTH
        known = await people.by_email(desk.pool, asked.email) if usable else None
        given = asked.password[: passwords.MAX_LENGTH]
        verdict = await desk.passwords.verify(None if known is None else known.password_hash, given)
        if known is None or not verdict.right:
            return None
        if verdict.rehash is None:
            return known
        await people.rehash(desk.pool, known, verdict.rehash)
        return Known(known.person, verdict.rehash)

    async def _enter(self, request: Request, known: Known) -> Response:
        """Open a new session, never one that the request brought along; that one ends."""
        desk, now = self._desk, self._desk.clock.now()
        old = await sessions.family(desk.pool, cookies.of(request, cookies.REFRESH) or "")
        opened = await sessions.start(desk.pool, known, desk.lives, now)
        if opened is None:
            raise _wrong()
        if old is not None:
            await sessions.end(desk.pool, old, now)
        desk.metrics.signed_in("ok")
        token = await desk.access.issue(opened.access)
        done = answer(Entered(UserOf.of(opened.person), token))
        await self._give(done, opened, token)
        return done

    async def _refreshed(self, request: Request) -> sessions.Refreshed:
        token = cookies.of(request, cookies.REFRESH) or ""
        outcome = await sessions.refresh(self._desk.pool, token, self._desk.lives, self._desk.clock.now())
        match outcome:
            case Opened(again=again):
                self._desk.metrics.refreshed("again" if again else "ok")
            case Replayed():
                self._desk.metrics.refreshed("replayed")
                log.warning("refresh token replayed, session ended", extra={"client": client_of(request)})
            case Unknown():
                self._desk.metrics.refreshed("over")
        return outcome

    async def _give(self, response: Response, opened: Opened, token: str | None = None) -> None:
        access = token if token is not None else await self._desk.access.issue(opened.access)
        left = opened.until - self._desk.clock.now()
        self._desk.cookies.set(
            response, access, opened.refresh_token, access_s=self._desk.access.lifetime, refresh_s=left
        )

    def _over(self) -> Response:
        gone = no_store(envelope(401, "refresh_token: not valid; sign in at /api/auth/login"))
        self._desk.cookies.clear(gone)
        return gone


def answer(body: msgspec.Struct) -> Response:
    """Return a JSON answer that nothing between us and the caller may keep."""
    return no_store(Response(msgspec.json.encode(body), media_type="application/json"))


def no_store(response: Response) -> Response:
    """Say that nobody may keep this answer (RFC 9111, 5.2.2.5)."""
    response.headers["cache-control"] = "no-store"
    return response


def _wrong() -> SignInRequired:
    return SignInRequired("email, password: no account with these")
