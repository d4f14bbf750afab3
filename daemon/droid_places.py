"""Pools and accounts of droids from settings, and the pace of all droids."""

from accounts.audit import By
from contracts import deployments
from core.droid_places import DroidPoolSettings
from core.droid_settings import DroidSettings
from core.errors import BadConfig
from core.settings import Settings
from core.store.pool import Pool
from droids import commands
from droids.droid import Pace
from droids.records import AccountRow, PoolRow

SETTINGS = "settings"  # who put something there, in the audit log
MANAGER = "uniswap_v3_position_manager"


def pace_of(of: DroidSettings) -> Pace:
    """Return how often droids look and act."""
    return Pace.model_validate({name: getattr(of, name) for name in Pace.model_fields})


async def adopt(settings: Settings, pool: Pool, by: By) -> None:
    """Put the configured pools and accounts into the database.

    Raises BadConfig for an id that stands for something else there: droids refer to it.
    """
    for number, place in settings.droids.pools.items():
        try:
            await commands.add_pool(pool, pool_row(settings, number, place), by)
        except ValueError as error:
            raise BadConfig(f"droids.pools.{number}: {error}") from None
    for number, account in settings.droids.accounts.items():
        try:
            await commands.add_account(pool, account_row(settings, number, account.wallet), by)
        except ValueError as error:
            raise BadConfig(f"droids.accounts.{number}: {error}") from None


def pool_row(settings: Settings, number: int, place: DroidPoolSettings) -> PoolRow:
    """Return a pool as it is stored. Raises ValueError where nobody knows the chain's position manager."""
    chain_id = settings.chains[place.chain].chain_id
    manager = bytes.fromhex(place.manager[2:]) or deployments(chain_id).get(MANAGER)
    if manager is None:
        raise ValueError(f"manager: expected the NonfungiblePositionManager, none is known of chain {chain_id}")
    return PoolRow(
        pool_id=number, chain_id=chain_id, address=bytes.fromhex(place.address[2:]), manager=manager,
        quote=bytes.fromhex(place.quote[2:]),
    )  # fmt: skip


def account_row(settings: Settings, number: int, wallet: str) -> AccountRow:
    """Return an account as it is stored: the wallet of that name."""
    of = settings.wallets[wallet]
    chain_id = settings.chains[of.chain].chain_id
    return AccountRow(account_id=number, chain_id=chain_id, wallet=bytes.fromhex(of.address[2:]))
