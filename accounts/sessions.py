"""Sessions: a family of refresh tokens, each good once; one that comes back ends its family.

Refresh tokens are 256 bits, kept as SHA-256 (RFC 9700, 4.14.2: rotation, and what to do about reuse). Two tabs may send
the same token in the same moment, and a browser sends it again when an answer was lost: within `grace`, and while the
successor is unused, the same successor is the answer again. There never is a second one. It is HMAC-SHA256 of a random
salt under the token itself, so that it can be said again by who brings the token, and by nobody who reads the database.
"""

import base64
import hashlib
import hmac
import re
import secrets
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from accounts import audit
from accounts.audit import By
from accounts.people import Known, Person, person_of
from accounts.signing import Access
from core.store.pool import Connection, Pool, translated

_SHAPE: Final = re.compile(r"[A-Za-z0-9_-]{43}")

# Held until the session is there: a change of the person either comes first and is seen, or ends the session.
SQL_PROVEN: Final = """
    select user_id, email, role, status, created_at
    from accounts.person
    where user_id = $1 and password_hash = $2
    for share
"""
SQL_START: Final = """
    insert into accounts.session (session_id, user_id, created_at, expires_at) values ($1, $2, $3, $4)
"""
SQL_ADD: Final = """
    insert into accounts.refresh_token (token_hash, session_id, generation, expires_at, salt)
    values ($1, $2, $3, $4, $5)
"""
# Only one of any number of concurrent callers finds it unused.
SQL_USE: Final = """
    update accounts.refresh_token
    set used_at = $2
    where token_hash = $1 and used_at is null and expires_at > $2
    returning session_id, generation, salt
"""
# A token whose successor was used is never answered again; nothing to do so stays.
SQL_UNSALT: Final = "update accounts.refresh_token set salt = null where session_id = $1 and generation = $2"
SQL_LIVE: Final = """
    select p.user_id, p.email, p.role, p.status, p.created_at, s.expires_at
    from accounts.session s
    join accounts.person p on p.user_id = s.user_id
    where s.session_id = $1 and s.ended_at is null and s.expires_at > $2
"""
SQL_FOUND: Final = """
    select t.session_id, t.used_at, t.salt, s.ended_at, n.expires_at as successor_until
    from accounts.refresh_token t
    join accounts.session s on s.session_id = t.session_id
    left join accounts.refresh_token n
        on n.session_id = t.session_id and n.generation = t.generation + 1 and n.used_at is null
    where t.token_hash = $1
"""
SQL_FAMILY: Final = "select session_id from accounts.refresh_token where token_hash = $1"
SQL_END: Final = """
    update accounts.session
    set ended_at = $2, ended_because = $3
    where session_id = $1 and ended_at is null
    returning user_id
"""
SQL_FORGET_TOKENS: Final = """
    delete from accounts.refresh_token
    where session_id in (select session_id from accounts.session where expires_at < $1)
"""
SQL_FORGET: Final = "delete from accounts.session where expires_at < $1"


@dataclass(frozen=True, slots=True)
class Lives:
    """How long things last: `idle` without a refresh, `whole` at most; `grace` for one refresh asked for twice."""

    idle: timedelta
    whole: timedelta
    grace: timedelta


@dataclass(frozen=True, slots=True)
class Opened:
    """A session that may go on: whose, and the token for the next time; `until` is when that expires.

    `again` if another request has had the same answer.
    """

    person: Person
    session_id: uuid.UUID
    refresh_token: str
    until: datetime
    again: bool = False

    @property
    def access(self) -> Access:
        """What an access token of this session says."""
        return Access(self.person.user_id, self.session_id)


@dataclass(frozen=True, slots=True)
class Replayed:
    """The token was used long ago: somebody has a copy. The session is over."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """No such token, an expired one, or one of a session that is over."""


Refreshed = Opened | Replayed | Unknown


async def start(pool: Pool, known: Known, lives: Lives, now: datetime) -> Opened | None:
    """Open a session for somebody who has just proved to know a password; it has nothing of any earlier session.

    None if the password or the person's standing has changed since.
    """
    session_id, ends = uuid.uuid4(), now + lives.whole
    async with _transaction(pool) as connection:
        row = await connection.fetchrow(SQL_PROVEN, known.person.user_id, known.password_hash)
        if row is None or not person_of(row).may_sign_in:
            return None
        person = person_of(row)
        await connection.execute(SQL_START, session_id, person.user_id, now, ends)
        await audit.note(connection, By(person.user_id, now), "session.start", person.user_id)
        token, until = secrets.token_urlsafe(32), min(now + lives.idle, ends)
        await _add(connection, token, session_id, 0, until)
        return Opened(person, session_id, token, until)


async def refresh(pool: Pool, token: str, lives: Lives, now: datetime) -> Refreshed:
    """Exchange a refresh token for its successor; for the same one if asked again at once."""
    if not _SHAPE.fullmatch(token):
        return Unknown()
    digest = _digest(token)
    async with _transaction(pool) as connection:
        used = await connection.fetchrow(SQL_USE, digest, now)
        if used is None:
            return await _judge(connection, token, lives, now)
        # A session that ends in this moment may get a successor yet: one that opens nothing, like the session.
        row = await connection.fetchrow(SQL_LIVE, used["session_id"], now)
        if row is None or not person_of(row).may_sign_in:
            return Unknown()
        session_id, generation = used["session_id"], used["generation"]
        until, successor = min(now + lives.idle, row["expires_at"]), _successor(token, used["salt"])
        await connection.execute(SQL_UNSALT, session_id, generation - 1)
        await _add(connection, successor, session_id, generation + 1, until)
        return Opened(person_of(row), session_id, successor, until)


async def who(pool: Pool, access: Access, now: datetime) -> Person | None:
    """Return whose living session this is, as the database has them now; None if it is over."""
    with translated():
        row = await pool.fetchrow(SQL_LIVE, access.session_id, now)
    person = None if row is None else person_of(row)
    return person if person is not None and person.user_id == access.user_id else None


async def end(pool: Pool, session_id: uuid.UUID, now: datetime) -> None:
    """End a session on its person's request; nothing happens if it is over."""
    async with _transaction(pool) as connection:
        await _end(connection, session_id, now, "session.end", "signed out")


async def family(pool: Pool, token: str) -> uuid.UUID | None:
    """Return which session a refresh token belongs to, used or not."""
    if not _SHAPE.fullmatch(token):
        return None
    with translated():
        found: uuid.UUID | None = await pool.fetchval(SQL_FAMILY, _digest(token))
    return found


async def forget(pool: Pool, before: datetime) -> None:
    """Remove sessions that expired before a time, with their tokens."""
    async with _transaction(pool) as connection:
        await connection.execute(SQL_FORGET_TOKENS, before)
        await connection.execute(SQL_FORGET, before)


async def _judge(connection: Connection, token: str, lives: Lives, now: datetime) -> Refreshed:
    """Say what a token is that cannot be used."""
    row = await connection.fetchrow(SQL_FOUND, _digest(token))
    if row is None or row["used_at"] is None or row["ended_at"] is not None:
        return Unknown()
    if row["successor_until"] is not None and now - row["used_at"] < lives.grace:
        live = await connection.fetchrow(SQL_LIVE, row["session_id"], now)
        if live is None or not person_of(live).may_sign_in:
            return Unknown()
        successor = _successor(token, row["salt"])
        return Opened(person_of(live), row["session_id"], successor, row["successor_until"], again=True)
    await _end(connection, row["session_id"], now, "session.replay", "a used refresh token came back")
    return Replayed()


async def _end(connection: Connection, session_id: uuid.UUID, now: datetime, action: str, why: str) -> None:
    user_id = await connection.fetchval(SQL_END, session_id, now, why)
    if user_id is not None:
        await audit.note(connection, By(user_id, now), action, user_id)


async def _add(connection: Connection, token: str, session_id: uuid.UUID, generation: int, until: datetime) -> None:
    await connection.execute(SQL_ADD, _digest(token), session_id, generation, until, secrets.token_bytes(32))


def _successor(token: str, salt: bytes) -> str:
    return base64.urlsafe_b64encode(hmac.digest(token.encode(), salt, "sha256")).decode().rstrip("=")


@asynccontextmanager
async def _transaction(pool: Pool) -> AsyncIterator[Connection]:
    with translated():
        async with pool.acquire() as connection, connection.transaction():
            yield connection


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
