"""API tokens: `hc_live_` and 40 hex digits (160 random bits), shown once, kept only as SHA-256.

A fast hash is right for keys of full entropy; a slow one (argon2) is for what people make up.
"""

import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg

from accounts import audit
from accounts.audit import By
from core.store.pool import Connection, Pool, translated

KEY_PREFIX: Final = "hc_live_"
SHOWN_CHARACTERS: Final = 16
_KEY: Final = re.compile(r"hc_live_[0-9a-f]{40}")

SQL_ISSUE: Final = """
    insert into accounts.api_token (token_hash, prefix, label, expires_at, user_id) values ($1, $2, $3, $4, $5)
"""
SQL_LIST: Final = """
    select t.prefix, t.label, t.created_at, t.expires_at, t.revoked_at, t.last_used_at, t.user_id
    from accounts.api_token t
    order by t.created_at, t.prefix
"""
SQL_REVOKE: Final = """
    update accounts.api_token set revoked_at = now() where prefix = $1 and revoked_at is null
"""
SQL_LOCK_OWNER: Final = "select user_id from accounts.person where user_id = $1 for update"
SQL_REVOKE_OF: Final = """
    update accounts.api_token set revoked_at = $2 where user_id = $1 and revoked_at is null returning prefix
"""
SQL_OF: Final = """
    select prefix, label, created_at, expires_at, revoked_at, last_used_at, user_id
    from accounts.api_token
    where user_id = $1 and revoked_at is null and (expires_at is null or expires_at > $2)
"""
# A person's token is worth what the person is, now.
SQL_AUTHENTICATE: Final = """
    select t.prefix, t.label, t.created_at, t.expires_at, t.revoked_at, t.last_used_at, t.user_id,
        t.token_hash, t.last_used_at is null or t.last_used_at < now() - interval '1 minute' as due
    from accounts.api_token t
    left join accounts.person p on p.user_id = t.user_id
    where t.token_hash = any($1::bytea[]) and t.revoked_at is null and (t.expires_at is null or t.expires_at > now())
        and (t.user_id is null or (p.status = 'ACTIVE' and p.role <> 'PENDING'))
"""
# Noting use once a minute is precise enough for a person, and spares a write per request.
SQL_TOUCH: Final = """
    update accounts.api_token
    set last_used_at = now()
    where token_hash = $1 and (last_used_at is null or last_used_at < now() - interval '1 minute')
"""


@dataclass(frozen=True, slots=True)
class ApiToken:
    """What is kept of a token. `prefix` names it; the key cannot be recovered."""

    prefix: str
    label: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    user_id: str | None = None  # whose it is; None for those of the command line


async def issue(pool: Pool, label: str, expires_at: datetime | None = None, *, by: By | None = None) -> str:
    """Store a new token that is nobody's and return its key: the only time anyone sees it. `by` puts it on record."""
    key = _key()
    shown = key[:SHOWN_CHARACTERS]
    with translated():
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute(SQL_ISSUE, _digest(key), shown, label, expires_at, None)
            if by is not None:
                await audit.note(connection, by, "token.issue", shown, label=label)
    return key


async def replace(pool: Pool, user_id: str, expires_at: datetime | None, by: By) -> str:
    """Give a person a new token in place of the one they may have; return its key, for the only time."""
    key = _key()
    with translated():
        async with pool.acquire() as connection, connection.transaction():
            # One after the other, or the index that allows one token each refuses the second.
            await connection.fetchval(SQL_LOCK_OWNER, user_id)
            old = await connection.fetchval(SQL_REVOKE_OF, user_id, by.at)
            shown = key[:SHOWN_CHARACTERS]
            await connection.execute(SQL_ISSUE, _digest(key), shown, "", expires_at, user_id)
            await audit.note(connection, by, "token.issue", user_id, prefix=shown, instead_of=old)
    return key


async def of(pool: Pool, user_id: str, now: datetime) -> ApiToken | None:
    """Return a person's valid token, None if there is none."""
    with translated():
        row = await pool.fetchrow(SQL_OF, user_id, now)
    return None if row is None else _token(row)


async def revoke_of(pool: Pool, user_id: str, by: By) -> bool:
    """End a person's token at once; False if there is none."""
    with translated():
        async with pool.acquire() as connection, connection.transaction():
            prefix = await connection.fetchval(SQL_REVOKE_OF, user_id, by.at)
            if prefix is not None:
                await audit.note(connection, by, "token.revoke", user_id, prefix=prefix)
    return prefix is not None


async def every(pool: Pool) -> tuple[ApiToken, ...]:
    """Return all tokens, revoked ones too, oldest first."""
    with translated():
        rows = await pool.fetch(SQL_LIST)
    return tuple(_token(row) for row in rows)


async def revoke(pool: Pool, prefix: str, *, by: By | None = None) -> bool:
    """End a token at once, whoever's it is; False if there is no such valid token. `by` puts it on record."""
    shown = prefix[:SHOWN_CHARACTERS]
    with translated():
        async with pool.acquire() as connection, connection.transaction():
            ended = bool(await connection.execute(SQL_REVOKE, shown) == "UPDATE 1")
            if ended and by is not None:
                await audit.note(connection, by, "token.revoke", shown)
    return ended


async def authenticate(pool: Pool, key: str) -> ApiToken | None:
    """Return the valid token that `key` opens, noting its use; None for anything else."""
    digest = digest_of(key)
    return None if digest is None else (await authenticated(pool, [digest])).get(digest)


async def authenticated(pool: Pool | Connection, digests: Sequence[bytes]) -> dict[bytes, ApiToken]:
    """Return the valid tokens among those whose keys have these digests, noting their use."""
    with translated():
        rows = await pool.fetch(SQL_AUTHENTICATE, digests)
        for row in rows:
            if row["due"]:
                await pool.execute(SQL_TOUCH, row["token_hash"])
    return {row["token_hash"]: _token(row) for row in rows}


def digest_of(key: str) -> bytes | None:
    """Return what is kept of a key; None for what cannot be one."""
    return _digest(key) if _KEY.fullmatch(key) else None


def _token(row: asyncpg.Record) -> ApiToken:
    return ApiToken(
        row["prefix"], row["label"], row["created_at"], row["expires_at"], row["revoked_at"], row["last_used_at"],
        row["user_id"],
    )  # fmt: skip


def _key() -> str:
    return KEY_PREFIX + secrets.token_hex(20)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
