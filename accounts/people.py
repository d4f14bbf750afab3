"""People: registering, approving, changing. The first one becomes ADMIN, and one active ADMIN always remains.

Whatever depends on who else there is holds one advisory lock, so that the database puts it in an order.
"""

import re
import secrets
import string
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg

from accounts import audit
from accounts.audit import By
from accounts.roles import Role, Status, may_sign_in
from core.store.pool import Connection, Pool, translated

LONGEST_EMAIL: Final = 254  # RFC 5321, 4.5.3.1.3 less its brackets (RFC 3696, erratum 1690)
# Printable ASCII around one @: letters that only look alike would make two accounts of one name.
EMAIL_PATTERN: Final = "^[!-?A-~]{1,64}@[!-?A-~]{1,190}$"
_EMAIL: Final = re.compile(EMAIL_PATTERN)
_LETTERS: Final = string.ascii_lowercase + string.digits
_LOCK: Final = int.from_bytes(b"cw-peopl")  # advisory lock: one change of who is who at a time

SQL_LOCK: Final = "select pg_advisory_xact_lock($1)"
SQL_ANYONE: Final = "select exists (select 1 from accounts.person)"
SQL_ADD: Final = """
    insert into accounts.person (user_id, email, email_key, password_hash, role, status, created_at, updated_at)
    values ($1, $2, $3, $4, $5, $6, $7, $7)
    on conflict (email_key) do nothing
    returning user_id, email, role, status, created_at, password_hash
"""
SQL_LIST: Final = """
    select user_id, email, role, status, created_at, password_hash
    from accounts.person
    order by created_at, user_id
"""
SQL_BY_ID: Final = """
    select user_id, email, role, status, created_at, password_hash
    from accounts.person
    where user_id = $1
"""
SQL_BY_EMAIL: Final = """
    select user_id, email, role, status, created_at, password_hash
    from accounts.person
    where email_key = $1
"""
SQL_OTHER_ADMINS: Final = """
    select exists (select 1 from accounts.person where role = 'ADMIN' and status = 'ACTIVE' and user_id <> $1)
"""
SQL_CHANGE: Final = """
    update accounts.person set role = $2, status = $3, updated_at = $4 where user_id = $1
"""
SQL_SET_HASH: Final = """
    update accounts.person set password_hash = $2, updated_at = $3 where user_id = $1
"""
SQL_REHASH: Final = """
    update accounts.person set password_hash = $3 where user_id = $1 and password_hash = $2
"""
SQL_END_SESSIONS: Final = """
    update accounts.session set ended_at = $2, ended_because = $3 where user_id = $1 and ended_at is null
"""


class Refused(Exception):
    """A change that cannot be; the message says why."""


class EmailTaken(Refused):
    """There is an account with this address."""


class LastAdmin(Refused):
    """Nobody could approve anybody any more."""


class NoSuchPerson(Refused):
    """No account has this id or address."""


@dataclass(frozen=True, slots=True)
class Person:
    """An account."""

    user_id: str
    email: str
    role: Role
    status: Status
    created_at: datetime

    @property
    def may_sign_in(self) -> bool:
        """Whether this person may have a session."""
        return may_sign_in(self.role, self.status)

    @property
    def may_ask(self) -> bool:
        """Whether an open session of this person still counts."""
        return self.status is Status.ACTIVE


@dataclass(frozen=True, slots=True)
class Known:
    """A person and the password's hash, for whoever verifies it."""

    person: Person
    password_hash: str


def email_fault(email: str) -> str | None:
    """Return what is wrong with an address, None if it will do."""
    if len(email) <= LONGEST_EMAIL and _EMAIL.fullmatch(email):
        return None
    return f"expected an address like ann@example.org of at most {LONGEST_EMAIL} ASCII characters"


async def register(pool: Pool, email: str, password_hash: str, at: datetime) -> Person:
    """Add somebody who came by themselves: ADMIN if the first, else PENDING. Raises EmailTaken."""
    async with _in_order(pool) as connection:
        first = not await connection.fetchval(SQL_ANYONE)
        standing = (Role.ADMIN, Status.ACTIVE) if first else (Role.PENDING, Status.PENDING)
        person = await _add(connection, email, password_hash, standing, at)
        await audit.note(
            connection, By(person.user_id, at), "user.register", person.user_id, role=person.role, status=person.status
        )
        return person


async def create(pool: Pool, email: str, password_hash: str, role: Role, by: By) -> Person:
    """Add somebody who is approved from the start. Raises EmailTaken."""
    async with _in_order(pool) as connection:
        person = await _add(connection, email, password_hash, (role, Status.ACTIVE), by.at)
        await audit.note(connection, by, "user.create", person.user_id, role=role, status=Status.ACTIVE)
        return person


async def every(pool: Pool) -> tuple[Person, ...]:
    """Return everybody, the oldest account first."""
    with translated():
        return tuple(person_of(row) for row in await pool.fetch(SQL_LIST))


async def by_email(pool: Pool, email: str) -> Known | None:
    """Return whose address this is, None if nobody's."""
    with translated():
        row = await pool.fetchrow(SQL_BY_EMAIL, email.lower())
    return None if row is None else Known(person_of(row), row["password_hash"])


async def change(pool: Pool, user_id: str, *, role: Role | None = None, status: Status | None = None, by: By) -> Person:
    """Set role, status or both; who may not sign in any more loses all sessions. Raises NoSuchPerson, LastAdmin."""
    async with _in_order(pool) as connection:
        row = await connection.fetchrow(SQL_BY_ID, user_id)
        if row is None:
            raise NoSuchPerson(f"no user {user_id[:40]!r}")
        old = person_of(row)
        new = Person(old.user_id, old.email, role or old.role, status or old.status, old.created_at)
        if new == old:
            return old
        if _governs(old) and not _governs(new) and not await connection.fetchval(SQL_OTHER_ADMINS, user_id):
            raise LastAdmin(f"{old.email} is the last active ADMIN: make somebody else one first")
        await connection.execute(SQL_CHANGE, user_id, new.role, new.status, by.at)
        if not new.may_sign_in:
            await connection.execute(SQL_END_SESSIONS, user_id, by.at, "not approved any more")
        await audit.note(
            connection, by, "user.change", user_id, role=[old.role, new.role], status=[old.status, new.status]
        )
        return new


async def set_password(pool: Pool, user_id: str, password_hash: str, by: By) -> None:
    """Set another password and end all sessions of the old one. Raises NoSuchPerson."""
    async with _in_order(pool) as connection:
        if await connection.execute(SQL_SET_HASH, user_id, password_hash, by.at) != "UPDATE 1":
            raise NoSuchPerson(f"no user {user_id[:40]!r}")
        await connection.execute(SQL_END_SESSIONS, user_id, by.at, "password reset")
        await audit.note(connection, by, "user.password", user_id)


async def rehash(pool: Pool, known: Known, password_hash: str) -> None:
    """Store the same password under newer parameters, unless another password has come in between."""
    with translated():
        await pool.execute(SQL_REHASH, known.person.user_id, known.password_hash, password_hash)


def person_of(row: asyncpg.Record) -> Person:
    """Return the person of a row."""
    return Person(row["user_id"], row["email"], Role(row["role"]), Status(row["status"]), row["created_at"])


def _governs(person: Person) -> bool:
    return person.role is Role.ADMIN and person.status is Status.ACTIVE


async def _add(
    connection: Connection, email: str, password_hash: str, standing: tuple[Role, Status], at: datetime
) -> Person:
    # Nothing can be learned from it about anybody else, and the contract's examples begin with c, too.
    user_id = "c" + "".join(secrets.choice(_LETTERS) for _ in range(24))
    row: Any = await connection.fetchrow(SQL_ADD, user_id, email, email.lower(), password_hash, *standing, at)
    if row is None:
        raise EmailTaken("email: there is an account with this address")
    return person_of(row)


@asynccontextmanager
async def _in_order(pool: Pool) -> AsyncIterator[Connection]:
    """Yield a connection within a transaction that no other change of people runs beside."""
    with translated():
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute(SQL_LOCK, _LOCK)
            yield connection
