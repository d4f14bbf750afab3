"""`chainworkd droid …`: pools, accounts and droids, from the command line of whoever may open the database."""

import argparse
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from accounts.audit import COMMAND_LINE, By
from accounts.roles import Role
from api import schemas
from api.droids import BotOf, DroidDetail, DroidList, DroidOf, SessionOf
from api.times import iso
from core.clock import SystemClock
from core.droid_places import DroidPoolSettings
from core.errors import BadConfig
from core.hex import to_hex
from core.settings import Settings
from core.store.pool import Pool
from daemon.backfill import chosen
from daemon.database import open_database
from daemon.droid_places import account_row, adopt, pool_row
from daemon.terminal import say
from droids import commands, records
from droids.commands import NoSuchDroid
from droids.droid import BadDroid
from droids.records import Command, DroidRow

SESSIONS = 10  # the newest of them


async def listed(settings: Settings, arguments: argparse.Namespace) -> int | None:
    """List droids."""
    async with _opened(settings) as pool:
        rows = await records.droids(pool)
    names = _names(settings)
    if arguments.json:
        say(schemas.encode(DroidList([DroidOf.of(row, _name(names, row)) for row in rows])).decode())
        return None
    for row in rows:
        droid = row.droid
        why = f"  ({row.note})" if row.note else ""
        say(
            f"{row.droid_id}  {iso(row.created_at)}  active {row.active:d}  pool {row.pool_id}  "
            f"account {row.account_id}  {droid.funding_usd:f} USD  {droid.max_bots} rungs{why}"
        )
    if not rows:
        say("no droids; POST /api/droids makes one (docs/droids.md)")
    return None


async def show(settings: Settings, arguments: argparse.Namespace) -> int | None:
    """Show one droid as JSON, as the API does; exit 1 if there is none."""
    async with _opened(settings) as pool:
        row = await records.one(pool, arguments.id)
        if row is None:
            return _none(arguments.id)
        place = next(each for each in await records.pools(pool) if each.pool_id == row.pool_id)
        sessions = await records.sessions(pool, row.droid_id, SESSIONS)
        bots = await records.bots(pool, row.droid_id)
    detail = DroidDetail(
        DroidOf.of(row, _name(_names(settings), row)), [SessionOf.of(each) for each in sessions],
        [BotOf.of(each, place.market) for each in bots],
    )  # fmt: skip
    say(schemas.encode(detail).decode())
    return None


async def active(settings: Settings, arguments: argparse.Namespace) -> int | None:
    """Pause, run, reset or close a droid; exit 1 if there is none."""
    async with _opened(settings) as pool:
        try:
            await commands.command(pool, arguments.id, Command(arguments.active), by=_by(), role=Role.ADMIN)
        except NoSuchDroid:
            return _none(arguments.id)
        except (records.Taken, BadDroid) as error:
            raise BadConfig(str(error)) from None
    say(f"droid {arguments.id}: told {arguments.active}; `chainworkd droid show {arguments.id}` says what came of it")
    return None


async def pools(settings: Settings, arguments: argparse.Namespace) -> int | None:
    """List pools that droids may be in."""
    async with _opened(settings) as pool:
        rows = await records.pools(pool)
    names = _names(settings)
    for row in rows:
        read = "not read yet" if row.market is None else f"fee {row.market.fee}  spacing {row.market.spacing}"
        chain = names.get(row.chain_id, str(row.chain_id))
        say(f"{row.pool_id}  {chain}  {to_hex(row.address)}  quote {to_hex(row.quote)}  {read}")
    if not rows:
        say("no pools; `chainworkd droid pools add` makes one known")
    return None


async def add_pool(settings: Settings, arguments: argparse.Namespace) -> int | None:
    """Make a pool known."""
    chain, _ = chosen(settings, arguments.chain)
    if not settings.chains[chain].chain_id:
        raise BadConfig(f"--chain: chains.{chain}.chain_id: expected the chain's id in the settings, found none")
    place = DroidPoolSettings(
        chain=chain, address=arguments.address, quote=arguments.quote, manager=arguments.manager or ""
    )
    async with _opened(settings) as pool:
        try:
            await commands.add_pool(pool, pool_row(settings, arguments.id, place), _by())
        except ValueError as error:
            raise BadConfig(str(error)) from None
    say(f"pool {arguments.id} is {arguments.address} of {chain}; the worker reads its contract")
    return None


async def accounts(settings: Settings, arguments: argparse.Namespace) -> int | None:
    """List wallets that droids may use."""
    async with _opened(settings) as pool:
        rows = await records.accounts(pool)
    names = _names(settings)
    for row in rows:
        say(f"{row.account_id}  {names.get(row.chain_id, str(row.chain_id))}  {to_hex(row.wallet)}")
    if not rows:
        say("no accounts; `chainworkd droid accounts add` makes one known")
    return None


async def add_account(settings: Settings, arguments: argparse.Namespace) -> int | None:
    """Make a wallet known, by its name in the settings."""
    if arguments.wallet not in settings.wallets:
        listed_ = ", ".join(settings.wallets) or "none, no wallets.<name> is configured"
        raise BadConfig(f"--wallet: expected one of {listed_}, found {arguments.wallet!r}")
    row = account_row(settings, arguments.id, arguments.wallet)
    async with _opened(settings) as pool:
        try:
            await commands.add_account(pool, row, _by())
        except ValueError as error:
            raise BadConfig(str(error)) from None
    say(f"account {arguments.id} is {to_hex(row.wallet)}, the wallet {arguments.wallet}")
    return None


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[Pool]:
    """Open the database with what the settings say of pools and accounts in it."""
    async with open_database(settings) as pool:
        await adopt(settings, pool, _by())
        yield pool


def _names(settings: Settings) -> Mapping[int, str]:
    return {chain.chain_id: name for name, chain in settings.chains.items()}


def _name(names: Mapping[int, str], row: DroidRow) -> str:
    return names.get(row.chain_id, str(row.chain_id))


def _none(droid_id: int) -> int:
    sys.stderr.write(f"no droid {droid_id}\n")
    return 1


def _by() -> By:
    return By(COMMAND_LINE, SystemClock().now())
