"""Access tokens: JWTs of a few minutes, HMAC-SHA256 by keys that the database keeps and the API rotates (ADR 0030).

A token only says which session it belongs to. Whether that session lives, and what its person may do, is looked up at
every request. The algorithm is fixed here and never taken from a token (RFC 8725, 3.1).
"""

import secrets
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import jwt

from core.clock import Clock
from core.store.pool import Pool, translated

ALGORITHM: Final = "HS256"
ISSUER: Final = "chainworkd"
AUDIENCE: Final = "chainworkd-api"
CLAIMS: Final = ("iss", "aud", "sub", "sid", "iat", "exp", "jti")
LONGEST: Final = 1_024  # characters; ours have about 400

ROTATE: Final = timedelta(days=1)
# Every process reads the keys again after RELOAD; a new one signs only when all have surely seen it.
RELOAD: Final = timedelta(seconds=60)
HEADSTART: Final = timedelta(seconds=150)

_LOCK: Final = int.from_bytes(b"cw-sign\0")  # advisory lock: one process at a time makes a key

SQL_LOCK: Final = "select pg_advisory_xact_lock($1)"
SQL_KEYS: Final = "select kid, secret, created_at from accounts.signing_key order by created_at desc, kid"
SQL_ADD: Final = "insert into accounts.signing_key (kid, secret, created_at) values ($1, $2, $3)"
SQL_DROP: Final = "delete from accounts.signing_key where created_at < $1"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One key."""

    kid: str
    secret: bytes
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Access:
    """What an access token says: which session, and whose it was."""

    user_id: str
    session_id: uuid.UUID


def signing(keys: Sequence[SigningKey], now: datetime) -> SigningKey:
    """Return which of `keys` (newest first, at least one) signs: the newest that every process knows. Pure."""
    return next((key for key in keys if key.created_at <= now - HEADSTART), keys[-1])


class AccessTokens:
    """Issues and reads access tokens that live for `lifetime`."""

    def __init__(self, pool: Pool, clock: Clock, *, lifetime: timedelta) -> None:
        self._pool = pool
        self._clock = clock
        self._lifetime = lifetime
        self._keys: tuple[SigningKey, ...] = ()
        self._read_at: datetime | None = None

    @property
    def lifetime(self) -> timedelta:
        """How long a token is good for."""
        return self._lifetime

    async def issue(self, access: Access) -> str:
        """Return a signed token."""
        now = self._clock.now()
        key = signing(await self._current(now), now)
        claims = {
            "iss": ISSUER, "aud": AUDIENCE, "sub": access.user_id, "sid": access.session_id.hex,
            "iat": int(now.timestamp()), "exp": int((now + self._lifetime).timestamp()), "jti": secrets.token_hex(8),
        }  # fmt: skip
        return jwt.encode(claims, key.secret, algorithm=ALGORITHM, headers={"kid": key.kid})

    async def read(self, token: str) -> Access | None:
        """Return what a valid token says, None for anything else."""
        if len(token) > LONGEST or not token.isascii():
            return None
        now = self._clock.now()
        try:
            kid = jwt.get_unverified_header(token).get("kid")
            key = next((key for key in await self._current(now) if key.kid == kid), None)
            return None if key is None else _access(self._claims(token, key), now)
        except (jwt.InvalidTokenError, ValueError, RecursionError):
            return None

    def _claims(self, token: str, key: SigningKey) -> dict[str, Any]:
        # The times are compared with our clock, in _access.
        options: Any = {"require": list(CLAIMS), "verify_exp": False, "verify_iat": False, "verify_nbf": False}
        return jwt.decode(
            token, key.secret, algorithms=[ALGORITHM], issuer=ISSUER, audience=AUDIENCE, options=options
        )  # fmt: skip

    async def _current(self, now: datetime) -> tuple[SigningKey, ...]:
        """Return the keys, newest first, from the database once a minute; make a new one when it is time."""
        if self._read_at is None or not self._read_at <= now < self._read_at + RELOAD:
            self._keys = await self._rotated(now)
            self._read_at = now
        return self._keys

    async def _rotated(self, now: datetime) -> tuple[SigningKey, ...]:
        with translated():
            keys = _keys(await self._pool.fetch(SQL_KEYS))
            if keys and keys[0].created_at > now - ROTATE:
                return keys
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute(SQL_LOCK, _LOCK)
                keys = _keys(await connection.fetch(SQL_KEYS))
                if not keys or keys[0].created_at <= now - ROTATE:
                    await connection.execute(SQL_ADD, secrets.token_hex(8), secrets.token_bytes(32), now)
                    if keys:
                        # The last one signs on for its successor's head start; those before it are long done.
                        await connection.execute(SQL_DROP, keys[0].created_at)
                return _keys(await connection.fetch(SQL_KEYS))


def _keys(rows: Sequence[Any]) -> tuple[SigningKey, ...]:
    return tuple(SigningKey(row["kid"], row["secret"], row["created_at"]) for row in rows)


def _access(claims: dict[str, Any], now: datetime) -> Access | None:
    issued, expires, sid = claims["iat"], claims["exp"], claims["sid"]
    times = isinstance(issued, int) and isinstance(expires, int)
    if not times or not isinstance(sid, str) or not int(now.timestamp()) < expires:
        return None
    return Access(str(claims["sub"]), uuid.UUID(hex=sid))
