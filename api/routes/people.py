"""People and their API tokens: /api/admin/users and /api/user/token (docs/accounts.md)."""

from datetime import timedelta
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from accounts import people, tokens
from accounts.audit import By
from accounts.people import LastAdmin, NoSuchPerson, Person
from accounts.roles import Role, Status
from api.access import Scope, caller_of, route
from api.bodies import json_of, nothing
from api.credentials import SignedIn
from api.errors import BadRequest, Conflict, NotFound
from api.params import refuse_unknown
from api.routes.accounts import Message, answer
from api.times import precise
from core.clock import Clock
from core.store.pool import Pool

USERS: Final = "/api/admin/users"
TOKEN: Final = "/api/user/token"  # noqa: S105 - a path


class Change(msgspec.Struct, forbid_unknown_fields=True):
    """What an ADMIN may change of somebody; at least one of them."""

    role: Role | msgspec.UnsetType = msgspec.UNSET
    status: Status | msgspec.UnsetType = msgspec.UNSET


class FullUser(msgspec.Struct, rename="camel"):
    """A person as an ADMIN sees them."""

    user_id: str
    email: str
    role: str
    status: str
    created_at: str

    @classmethod
    def of(cls, person: Person) -> "FullUser":
        """Make it from a person."""
        return cls(person.user_id, person.email, person.role, person.status, precise(person.created_at))


class Users(msgspec.Struct):
    """Everybody, the oldest account first."""

    users: list[FullUser]


class Changed(msgspec.Struct):
    """Somebody after a change."""

    user: FullUser


class NoToken(msgspec.Struct):
    """There is no valid token."""

    exists: bool = False


class HasToken(msgspec.Struct, rename="camel"):
    """What is kept of a token. `expiresAt` and `lastUsedAt` are additive; null is never."""

    exists: bool
    created_at: str
    expires_at: str | None
    last_used_at: str | None


class NewToken(msgspec.Struct):
    """A token, for the only time."""

    token: str


class People:
    """Answers /api/admin/users and /api/user/token; new tokens live for `token_life`, None for ever."""

    def __init__(self, pool: Pool, clock: Clock, *, token_life: timedelta | None) -> None:
        self._pool = pool
        self._clock = clock
        self._token_life = token_life

    def routes(self) -> list[Route]:
        """Return the group's routes."""
        return [
            route(USERS, self.users, scope=Scope.ADMIN),
            route(f"{USERS}/{{userId}}", self.change, scope=Scope.ADMIN, methods=["PATCH"]),
            route(TOKEN, self.token, scope=Scope.OPERATOR),
            route(TOKEN, self.new_token, scope=Scope.OPERATOR, methods=["POST"]),
            route(TOKEN, self.revoke_token, scope=Scope.OPERATOR, methods=["DELETE"]),
        ]

    async def users(self, request: Request) -> Response:
        """Everybody."""
        refuse_unknown(request, frozenset())
        return answer(Users([FullUser.of(person) for person in await people.every(self._pool)]))

    async def change(self, request: Request) -> Response:
        """Set somebody's role, status or both; it counts from their next request on."""
        asked = await json_of(request, Change)
        role = None if asked.role is msgspec.UNSET else asked.role
        status = None if asked.status is msgspec.UNSET else asked.status
        if role is None and status is None:
            raise BadRequest("body: expected role, status or both")
        try:
            person = await people.change(
                self._pool, request.path_params["userId"].replace("\0", ""), role=role, status=status,
                by=self._by(request),
            )  # fmt: skip
        except NoSuchPerson as error:
            raise NotFound(f"userId: {error}") from None
        except LastAdmin as error:
            raise Conflict(str(error)) from None
        return answer(Changed(FullUser.of(person)))

    async def token(self, request: Request) -> Response:
        """Whether the caller has a token; never the token."""
        refuse_unknown(request, frozenset())
        found = await tokens.of(self._pool, caller_of(request, SignedIn).person.user_id, self._clock.now())
        if found is None:
            return answer(NoToken())
        expires, used = (None if at is None else precise(at) for at in (found.expires_at, found.last_used_at))
        return answer(HasToken(True, precise(found.created_at), expires, used))

    async def new_token(self, request: Request) -> Response:
        """Make a token in place of the one there is."""
        await nothing(request)
        by = self._by(request)
        expires = None if self._token_life is None else by.at + self._token_life
        return answer(NewToken(await tokens.replace(self._pool, by.actor, expires, by)))

    async def revoke_token(self, request: Request) -> Response:
        """End the caller's token at once."""
        await nothing(request)
        by = self._by(request)
        if not await tokens.revoke_of(self._pool, by.actor, by):
            raise NotFound("token: there is none")
        return answer(Message("Token revoked"))

    def _by(self, request: Request) -> By:
        return By(caller_of(request, SignedIn).person.user_id, self._clock.now())
