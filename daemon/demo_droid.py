"""The demo's droid: a wallet on the local chain, worker and sender in dry-run, and the lines that show it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from accounts.audit import By
from accounts.roles import Role
from core.hex import to_hex
from core.sending import TokenSettings, WalletSettings
from core.service import Service
from core.settings import Settings
from core.store.pool import open_pool
from daemon.droid_file import DroidFile
from daemon.family import Child
from daemon.processes import ALONE
from daemon.roles import announce, bind
from daemon.run import House
from droids import commands, records
from droids.records import AccountRow, Command, PoolRow, Taken

POOL: Final = "pool_weth_usdc_500"  # among the local chain's contracts
WALLET: Final = "demo"
EMAIL: Final = "demo@example.org"
PASSWORD: Final = "correct horse 1"  # noqa: S105 - of a demo on this machine, printed
ETHER: Final = 10**18
SNAPSHOT_S: Final = 30
TWAP_S: Final = 20


def settings_of(settings: Settings, chain: str, at: Mapping[str, bytes], robot: bytes, file: DroidFile) -> Settings:
    """Return the settings with a wallet that is in dry-run, and the pace of the droid's file."""
    most = TokenSettings(each=10**30, day=10**30)
    wallet = WalletSettings(
        chain=chain, address=to_hex(robot), each_wei=ETHER, day_wei=100 * ETHER,
        tokens={to_hex(at["weth"]): most, to_hex(at["usdc"]): most},
        position_managers=(to_hex(at["uniswap_v3_position_manager"]),),
    )  # fmt: skip
    hasty = {**file.pace.model_dump(), "snapshot_s": SNAPSHOT_S, "twap_s": TWAP_S}
    changes: dict[str, Any] = {"wallets": {WALLET: wallet}, "droids": settings.droids.model_copy(update=hasty)}
    return settings.model_copy(update=changes)


@contextmanager
def workers(house: House) -> Iterator[list[Service]]:
    """Yield worker and sender, each a process of its own; a wallet that is not live needs no key."""
    bound = {role: bind(house.settings, role) for role in ALONE}
    try:
        for role, sockets in bound.items():
            announce(role, sockets)
        yield [Child(role, house.settings, house.url, sockets) for role, sockets in bound.items()]
    finally:
        for sockets in bound.values():
            sockets.close()


async def made(house: House, chain_id: int, at: Mapping[str, bytes], robot: bytes, file: DroidFile) -> int:
    """Return the demo's droid, a new one that runs if there is none yet."""
    by, manager = By("demo", datetime.now(UTC)), at["uniswap_v3_position_manager"]
    async with open_pool(house.url, size=1) as pool:
        # Of a chain that was deployed anew, the pool that the last demo knew is another one.
        pools = {row.address: row.pool_id for row in await records.pools(pool)}
        pool_id = pools.get(at[POOL], len(pools) + 1)
        place = PoolRow(pool_id=pool_id, chain_id=chain_id, address=at[POOL], manager=manager, quote=at["usdc"])
        await commands.add_pool(pool, place, by)
        await commands.add_account(pool, AccountRow(account_id=1, chain_id=chain_id, wallet=robot), by)
        for row in await records.droids(pool):
            if row.pool_id == pool_id:
                return row.droid_id
        droid_id = await commands.create(pool, file.droid, account_id=1, pool_id=pool_id, by=by)
        with suppress(Taken):  # by the one in that other pool
            await commands.command(pool, droid_id, Command.RUN, by=by, role=Role.ADMIN)
        return droid_id


def line(api: str, folder: Path, droid_id: int) -> str:
    """Return a line that signs in, registering the first person there is, and asks what the droid decided."""
    jar, body = folder / "demo.cookies", f'{{"email": "{EMAIL}", "password": "{PASSWORD}"}}'
    enter = " || ".join(
        f"curl -sf -o /dev/null -c {jar} {api}/api/auth/{way} -H 'content-type: application/json' -d '{body}'"
        for way in ("login", "register")
    )
    return f"({enter}); curl -s -b {jar} '{api}/api/droids/{droid_id}/decisions?limit=3'"
