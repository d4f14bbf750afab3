"""`chainworkd user …`: people, from the command line of whoever may open the database."""

import argparse
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from typing import Final

from accounts import audit, passwords, people
from accounts.audit import COMMAND_LINE, By
from accounts.passwords import Passwords, owasp
from accounts.people import Person, Refused
from accounts.roles import Role, Status
from api.times import iso
from core.clock import SystemClock
from core.errors import BadConfig
from core.settings import Settings
from core.store.pool import Pool
from daemon.database import open_database
from daemon.terminal import say

GENERATED_BYTES: Final = 18  # 24 characters


async def listing(settings: Settings, arguments: argparse.Namespace) -> int | None:
    """List people."""
    async with open_database(settings) as pool:
        for one in await people.every(pool):
            say(f"{one.user_id}  {iso(one.created_at)}  {one.role:<8}  {one.status:<8}  {one.email}")
    return None


async def create(settings: Settings, arguments: argparse.Namespace) -> int | None:
    """Add somebody who is approved; print the password if it is a made-up one."""
    fault = people.email_fault(arguments.email)
    if fault is not None:
        raise BadConfig(f"--email: {fault}")
    password = _password(arguments)
    async with _refusing(settings) as pool:
        made = await people.create(pool, arguments.email, await _hashed(password), Role(arguments.role), _by())
        say(f"created {made.user_id} {made.role} {made.email}")
    _tell(password, arguments)
    return None


async def change(settings: Settings, arguments: argparse.Namespace) -> int | None:
    """Set somebody's role, status or both."""
    if arguments.role is None and arguments.status is None:
        raise BadConfig("--role, --status: expected one of them at least")
    role = None if arguments.role is None else Role(arguments.role)
    status = None if arguments.status is None else Status(arguments.status)
    async with _refusing(settings) as pool:
        who = await _of(pool, arguments.email)
        now = await people.change(pool, who.user_id, role=role, status=status, by=_by())
        say(f"{now.user_id} {now.role} {now.status} {now.email}")
    return None


async def reset_password(settings: Settings, arguments: argparse.Namespace) -> int | None:
    """Give somebody another password and end their sessions."""
    password = _password(arguments)
    async with _refusing(settings) as pool:
        who = await _of(pool, arguments.email)
        await people.set_password(pool, who.user_id, await _hashed(password), _by())
        say(f"{who.user_id} has a new password, and no sessions")
    _tell(password, arguments)
    return None


async def log(settings: Settings, arguments: argparse.Namespace) -> int | None:
    """Show who changed what, the latest first."""
    if not 1 <= arguments.limit <= 100_000:
        raise BadConfig(f"--limit: expected 1 to 100000, found {arguments.limit}")
    async with open_database(settings) as pool:
        for one in await audit.latest(pool, arguments.limit):
            detail = " ".join(f"{name}={value}" for name, value in one.detail.items())
            say(f"{iso(one.at)}  {one.actor:<25}  {one.action:<15}  {one.subject:<25}  {detail}".rstrip())
    return None


@asynccontextmanager
async def _refusing(settings: Settings) -> AsyncIterator[Pool]:
    """Open the database; what cannot be done is a fault of the arguments."""
    async with open_database(settings) as pool:
        try:
            yield pool
        except Refused as error:
            raise BadConfig(str(error)) from None


async def _of(pool: Pool, email: str) -> Person:
    known = await people.by_email(pool, email)
    if known is None:
        raise BadConfig(f"no user with the address {email!r}; `chainworkd user list` shows all")
    return known.person


def _password(arguments: argparse.Namespace) -> str:
    """Return one from standard input, where other users of the machine cannot see it, or a made-up one."""
    if not arguments.password_stdin:
        return secrets.token_urlsafe(GENERATED_BYTES)
    password = sys.stdin.readline().rstrip("\r\n")
    fault = passwords.faults(password, arguments.email)
    if fault is not None:
        raise BadConfig(f"password: {fault}")
    return password


async def _hashed(password: str) -> str:
    with closing(Passwords(owasp())) as hasher:
        return await hasher.hash(password)


def _tell(password: str, arguments: argparse.Namespace) -> None:
    if not arguments.password_stdin:
        say(f"password {password}")


def _by() -> By:
    return By(COMMAND_LINE, SystemClock().now())
