"""API tokens: `hc_live_` and 40 hex digits (160 random bits), shown once, kept only as SHA-256.

A fast hash is right for keys of full entropy; a slow one (argon2) is for what people make up.
"""

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg

from core.store.pool import Pool, translated

KEY_PREFIX: Final = "hc_live_"
SHOWN_CHARACTERS: Final = 16
_KEY: Final = re.compile(r"hc_live_[0-9a-f]{40}")

SQL_ISSUE: Final = """
    insert into accounts.api_token (token_hash, prefix, label, expires_at) values ($1, $2, $3, $4)
"""
SQL_LIST: Final = """
    select prefix, label, created_at, expires_at, revoked_at, last_used_at
    from accounts.api_token
    order by created_at, prefix
"""
SQL_REVOKE: Final = """
    update accounts.api_token set revoked_at = now() where prefix = $1 and revoked_at is null
"""
SQL_AUTHENTICATE: Final = """
    select prefix, label, created_at, expires_at, revoked_at, last_used_at,
        last_used_at is null or last_used_at < now() - interval '1 minute' as due
    from accounts.api_token
    where token_hash = $1 and revoked_at is null and (expires_at is null or expires_at > now())
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


async def issue(pool: Pool, label: str, expires_at: datetime | None = None) -> str:
    """Store a new token and return its key: the only time anyone sees it."""
    key = KEY_PREFIX + secrets.token_hex(20)
    with translated():
        await pool.execute(SQL_ISSUE, _digest(key), key[:SHOWN_CHARACTERS], label, expires_at)
    return key


async def every(pool: Pool) -> tuple[ApiToken, ...]:
    """Return all tokens, revoked ones too, oldest first."""
    with translated():
        rows = await pool.fetch(SQL_LIST)
    return tuple(_token(row) for row in rows)


async def revoke(pool: Pool, prefix: str) -> bool:
    """End a token at once; False if there is no such valid token."""
    with translated():
        return bool(await pool.execute(SQL_REVOKE, prefix[:SHOWN_CHARACTERS]) == "UPDATE 1")


async def authenticate(pool: Pool, key: str) -> ApiToken | None:
    """Return the valid token that `key` opens, noting its use; None for anything else."""
    if not _KEY.fullmatch(key):
        return None
    digest = _digest(key)
    with translated():
        row = await pool.fetchrow(SQL_AUTHENTICATE, digest)
        if row is None:
            return None
        if row["due"]:
            await pool.execute(SQL_TOUCH, digest)
    return _token(row)


def _token(row: asyncpg.Record) -> ApiToken:
    return ApiToken(
        row["prefix"], row["label"], row["created_at"], row["expires_at"], row["revoked_at"], row["last_used_at"]
    )


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
