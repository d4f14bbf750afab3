"""Passwords: argon2id in a few threads, so that neither the event loop nor memory is what an attacker chooses.

Parameters: OWASP Password Storage Cheat Sheet (2024), the least it recommends: 19 MiB, 2 passes, 1 lane; about 30 ms.
"""

import asyncio
import secrets
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from core.errors import Transient

MIN_LENGTH: Final = 12
MAX_LENGTH: Final = 256  # characters; argon2 takes any length, a person needs no more
THREADS: Final = 2
WAITING: Final = 64  # at 30 ms each in two threads, the last one waits a second

T = TypeVar("T")


class TooBusy(Transient):
    """More passwords are waiting to be looked at than can be soon."""


def owasp() -> PasswordHasher:
    """Return the hasher of this module's first lines."""
    return PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a password is right; `rehash` is what to store instead, if the stored hash is of older parameters."""

    right: bool
    rehash: str | None = None


def faults(password: str, email: str) -> str | None:
    """Return what is wrong with a new password, None if it will do.

    Length is what counts, not kinds of characters (NIST SP 800-63B, 5.1.1.2).
    """
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        return f"expected {MIN_LENGTH} to {MAX_LENGTH} characters, found {len(password)}"
    if password.casefold() == email.casefold() or len(set(password)) < 4:
        return "too easy to guess"
    return None


class Passwords:
    """Hashes and verifies in threads of its own; at most WAITING calls at once."""

    def __init__(self, hasher: PasswordHasher) -> None:
        self._hasher = hasher
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="password")
        self._waiting = 0
        # Verified for people who do not exist, so that they take as long as those who do.
        self._dummy = hasher.hash(secrets.token_hex(16))

    async def hash(self, password: str) -> str:
        """Return what to store. Raises TooBusy."""
        return await self._in_thread(lambda: self._hasher.hash(_normal(password)))

    async def verify(self, stored: str | None, password: str) -> Verdict:
        """Compare with what is stored, or with a dummy that nothing matches. Raises TooBusy."""
        return await self._in_thread(lambda: self._verify(stored, _normal(password)))

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _verify(self, stored: str | None, password: bytes) -> Verdict:
        try:
            self._hasher.verify(stored or self._dummy, password)
        except (VerificationError, InvalidHashError):
            return Verdict(right=False)
        if stored is None:
            return Verdict(right=False)
        stale = self._hasher.check_needs_rehash(stored)
        return Verdict(right=True, rehash=self._hasher.hash(password) if stale else None)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._waiting >= WAITING:
            raise TooBusy("too many sign-ins at once")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1


def _normal(password: str) -> bytes:
    # One password, however the keyboard composes its accents (RFC 8265, OpaqueString).
    return unicodedata.normalize("NFC", password).encode()
