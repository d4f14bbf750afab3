"""What people do to droids, pools and accounts: each change and its line in the audit log in one transaction."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from accounts import audit
from accounts.audit import By
from accounts.roles import Role
from core.store.pool import Connection, Pool, translated
from droids import records
from droids.droid import BadDroid, Droid, droid_of, require_fit
from droids.records import AccountRow, Command, DroidRow, PoolRow

# What of a droid can be changed, by the API's contract; with another of anything else it is another droid.
CHANGEABLE: Final = (
    "fallingRebalanceTrigger", "risingRebalanceTrigger", "maxBots", "maxPrice", "minPrice", "maxGasPrice", "txPriority",
    "fundingUSD", "derivativeThreshold", "ladderPercMargin",
)  # fmt: skip


class NoSuchDroid(LookupError):
    """No droid has this id."""


class Overruled(ValueError):
    """Somebody's command is under way, or their change came first; the message says which."""


async def add_pool(pool: Pool, row: PoolRow, by: By) -> None:
    """Make a pool known. Raises ValueError if its id, or the pool, is there already and differs."""
    async with _change(pool) as conn:
        known = await records.pools(conn)
        same = next((each for each in known if each.pool_id == row.pool_id), None)
        if same is not None:
            if (same.chain_id, same.address, same.manager, same.quote) != (
                row.chain_id, row.address, row.manager, row.quote
            ):  # fmt: skip
                raise ValueError(f"pool {row.pool_id}: expected {_pool(same)} as it was, found {_pool(row)}")
            return
        other = next((each for each in known if (each.chain_id, each.address) == (row.chain_id, row.address)), None)
        if other is not None:
            raise ValueError(f"pool {row.pool_id}: 0x{row.address.hex()} is pool {other.pool_id} already")
        await records.put_pool(conn, row)
        await audit.note(
            conn, by, "droid.pool", f"pool {row.pool_id}", chain_id=row.chain_id, address=f"0x{row.address.hex()}",
            manager=f"0x{row.manager.hex()}", quote=f"0x{row.quote.hex()}",
        )  # fmt: skip


async def add_account(pool: Pool, row: AccountRow, by: By) -> None:
    """Make an account known. Raises ValueError if its id, or the wallet, is there already and differs."""
    async with _change(pool) as conn:
        known = await records.accounts(conn)
        if row in known:
            return
        for each in known:
            if each.account_id == row.account_id or (each.chain_id, each.wallet) == (row.chain_id, row.wallet):
                raise ValueError(f"there is {_account(each)} already, found {_account(row)}")
        await records.put_account(conn, row)
        await audit.note(
            conn, by, "droid.account", f"account {row.account_id}", chain_id=row.chain_id,
            wallet=f"0x{row.wallet.hex()}",
        )  # fmt: skip


async def create(pool: Pool, droid: Droid, *, account_id: int, pool_id: int, by: By) -> int:
    """Make a droid, paused, and return its id. Raises LookupError if account and pool are of no one chain."""
    config = droid.model_dump(by_alias=True)
    async with _change(pool) as conn:
        made = await records.create(conn, config, account_id=account_id, pool_id=pool_id, by=by.actor)
        told = {name: str(value) for name, value in config.items()}
        await audit.note(
            conn, by, "droid.create", f"droid {made}", accountId=account_id, poolId=pool_id, **told
        )  # fmt: skip
    return made


async def configure(pool: Pool, droid_id: int, changes: Mapping[str, Any], by: By) -> Droid:
    """Change fields of a droid and return it.

    Raises BadDroid for what cannot be changed, contradicts its other fields or does not fit its pool, NoSuchDroid, and
    Overruled if somebody else changed it at the same time.
    """
    async with _change(pool) as conn:
        before = await _known(conn, droid_id)
        was = before.droid.model_dump(by_alias=True)
        droid = _changed(was, changes)
        await _require_fit(conn, droid, before.pool_id)
        now = droid.model_dump(by_alias=True)
        if not await records.configure(conn, before, now):
            raise Overruled(f"droid {droid_id}: somebody else changed it at the same time; read it and try again")
        told = {name: [str(was[name]), str(value)] for name, value in now.items() if was[name] != value}
        await audit.note(conn, by, "droid.config", f"droid {droid_id}", **told)
    return droid


async def command(pool: Pool, droid_id: int, active: Command, *, by: By, role: Role) -> None:
    """Command a droid.

    Raises NoSuchDroid, Taken, Overruled if it does an ADMIN's bidding and `role` is none, and BadDroid if it is to run
    and its ladder does not fit its pool: when it was made, the pool may not have been read yet.
    """
    async with _change(pool) as conn:
        before = await _known(conn, droid_id)
        if active in (Command.RUN, Command.RESET):
            await _require_fit(conn, before.droid, before.pool_id)
        number = await records.command(conn, droid_id, active, by.at, by=by.actor, role=role)
        if number is None:
            raise Overruled(f"active: an ADMIN's {before.active:d} is under way, only an ADMIN may command otherwise")
        await audit.note(conn, by, "droid.active", f"droid {droid_id}", active=int(active), command=number)


def _changed(was: Mapping[str, Any], changes: Mapping[str, Any]) -> Droid:
    fixed = tuple(
        f"{ascii(name)[1:-1][:60]}: cannot be changed ({', '.join(CHANGEABLE)} can)"
        for name in changes
        if name not in CHANGEABLE
    )
    try:
        droid = droid_of({**was, **{name: value for name, value in changes.items() if name in CHANGEABLE}})
    except BadDroid as error:
        raise BadDroid((*fixed, *error.faults)) from None
    if fixed:
        raise BadDroid(fixed)
    return droid


@asynccontextmanager
async def _change(pool: Pool) -> AsyncIterator[Connection]:
    with translated():
        async with pool.acquire() as conn, conn.transaction():
            yield conn


async def _require_fit(conn: Connection, droid: Droid, pool_id: int) -> None:
    place = next(each for each in await records.pools(conn) if each.pool_id == pool_id)
    if place.market is not None:
        require_fit(droid, place.market)


async def _known(conn: Connection, droid_id: int) -> DroidRow:
    found = await records.one(conn, droid_id)
    if found is None:
        raise NoSuchDroid(f"no droid {droid_id}")
    return found


def _pool(row: PoolRow) -> str:
    return (
        f"0x{row.address.hex()} of chain {row.chain_id} with manager 0x{row.manager.hex()} and quote "
        f"0x{row.quote.hex()}"
    )


def _account(row: AccountRow) -> str:
    return f"account {row.account_id}, 0x{row.wallet.hex()} of chain {row.chain_id}"
