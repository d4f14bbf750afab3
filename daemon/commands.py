"""The short commands: migrate, status, token."""

import argparse
import sys
from datetime import UTC, datetime, timedelta

import msgspec

from accounts import tokens
from accounts.audit import COMMAND_LINE, By
from api.times import iso
from core.errors import BadConfig
from core.settings import Settings
from core.store import migrate as migrations
from core.store import reader
from core.store.pool import Pool
from core.store.reader import Reader
from daemon.database import existing_database, open_database
from daemon.readiness import readiness_of
from daemon.schema import MIGRATIONS
from daemon.terminal import say


async def migrate(settings: Settings, arguments: argparse.Namespace) -> int | None:
    """Apply what is pending, or only say it."""
    async with existing_database(settings, start=True) as url:
        if not arguments.status:
            applied = await migrations.migrate(url, MIGRATIONS, wait_s=arguments.wait)
            say("\n".join(f"applied {name}" for name in applied) or "nothing to apply")
            return None
        found = await migrations.status(url, MIGRATIONS)
        for word, names in (("applied", found.applied), ("pending", found.pending), ("unknown", found.unknown)):
            for name in names:
                say(f"{word} {name}")
        return 1 if found.pending or found.unknown else 0


async def status(settings: Settings, arguments: argparse.Namespace) -> int | None:
    """Say per chain what is indexed; exit 1 when a chain is behind or silent."""
    async with open_database(settings) as pool:
        chains = [await _chain_status(pool, settings, name, id_) for name, id_ in (await reader.chains(pool)).items()]
    if arguments.json:
        say(msgspec.json.format(msgspec.json.encode({"chains": chains})).decode())
    else:
        say("\n".join(chain.line() for chain in chains) or "no chain is indexed yet")
    return 0 if chains and all(chain.ready for chain in chains) else 1


class ChainStatus(msgspec.Struct):
    """One chain in the answer of `chainworkd status --json`."""

    name: str
    chain_id: int
    ready: bool
    last_indexed_block: int | None
    chain_tip_block: int | None
    lag_seconds: float | None
    news_seconds_ago: float | None
    coverage: list[tuple[int, int]]
    backfill_paused: str | None

    def line(self) -> str:
        """The same for people."""
        ranges = ", ".join(f"{first}..{last}" for first, last in self.coverage) or "nothing"
        paused = f"; backfill is paused: {self.backfill_paused}" if self.backfill_paused else ""
        return (
            f"{self.name} (chain {self.chain_id}): block {self.last_indexed_block} of {self.chain_tip_block}, "
            f"{self.lag_seconds} s behind, last news {self.news_seconds_ago} s ago; indexed {ranges}{paused}"
        )


async def _chain_status(pool: Pool, settings: Settings, name: str, chain_id: int) -> ChainStatus:
    chain = Reader(pool, chain_id)
    lag = await chain.lag()
    readiness = readiness_of(settings, pool)
    return ChainStatus(
        name=name,
        chain_id=chain_id,
        ready=not readiness.faults(lag),
        last_indexed_block=lag.number,
        chain_tip_block=lag.tip,
        lag_seconds=lag.seconds,
        news_seconds_ago=None if lag.silence_s is None else round(lag.silence_s, 1),
        coverage=[(span.first, span.last) for span in await chain.coverage()],
        backfill_paused=await chain.backfill_paused(),
    )


async def token_create(settings: Settings, arguments: argparse.Namespace) -> int | None:
    """Print a new token; nobody can print it again."""
    if arguments.days is not None and not 1 <= arguments.days <= 36_500:
        raise BadConfig(f"--days: expected 1 to 36500, found {arguments.days}")
    expires = None if arguments.days is None else datetime.now(UTC) + timedelta(days=arguments.days)
    async with open_database(settings) as pool:
        say(await tokens.issue(pool, arguments.label, expires, by=By(COMMAND_LINE, datetime.now(UTC))))
    return None


async def token_list(settings: Settings, arguments: argparse.Namespace) -> int | None:
    """List tokens."""
    async with open_database(settings) as pool:
        for token in await tokens.every(pool):
            state = "revoked" if token.revoked_at else _expiry(token.expires_at)
            whose = token.label if token.user_id is None else f"user {token.user_id}"
            used = "never used" if token.last_used_at is None else f"last used {iso(token.last_used_at)}"
            say(f"{token.prefix}  {iso(token.created_at)}  {state:<28}  {used:<32}  {whose}")
    return None


def _expiry(at: datetime | None) -> str:
    if at is None:
        return "valid"
    return f"expires {iso(at)}" if at > datetime.now(UTC) else "expired"


async def token_revoke(settings: Settings, arguments: argparse.Namespace) -> int | None:
    """End a token."""
    async with open_database(settings) as pool:
        if await tokens.revoke(pool, arguments.prefix, by=By(COMMAND_LINE, datetime.now(UTC))):
            say(f"revoked {arguments.prefix[: tokens.SHOWN_CHARACTERS]}")
            return None
    sys.stderr.write(f"no valid token starts with {arguments.prefix[: tokens.SHOWN_CHARACTERS]}\n")
    return 1
