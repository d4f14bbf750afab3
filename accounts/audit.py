"""Who changed what, when: written in the transaction of the change, never altered."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec

from core.store.pool import Connection, Pool, translated

COMMAND_LINE: Final = "command line"

SQL_NOTE: Final = """
    insert into accounts.audit (audit_id, at, actor, action, subject, detail)
    values ($1, $2, $3, $4, $5, $6::text::jsonb)
"""
SQL_LATEST: Final = """
    select at, actor, action, subject, detail::text as detail
    from accounts.audit
    order by at desc, audit_id
    limit $1
"""


@dataclass(frozen=True, slots=True)
class By:
    """Who does something, and when: a user's id, or COMMAND_LINE."""

    actor: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the log. `subject` is whom it happened to, or a token that is nobody's; `detail` holds no secret."""

    at: datetime
    actor: str
    action: str
    subject: str
    detail: Mapping[str, Any]


async def note(connection: Connection, by: By, action: str, subject: str, **detail: Any) -> None:
    """Add a line, within the caller's transaction."""
    text = msgspec.json.encode(detail).decode()
    await connection.execute(SQL_NOTE, uuid.uuid4(), by.at, by.actor, action, subject, text)


async def latest(pool: Pool, limit: int) -> tuple[Entry, ...]:
    """Return the newest `limit` lines, newest first."""
    with translated():
        rows = await pool.fetch(SQL_LATEST, limit)
    return tuple(
        Entry(row["at"], row["actor"], row["action"], row["subject"], msgspec.json.decode(row["detail"]))
        for row in rows
    )
