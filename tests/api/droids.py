"""The API with a pool and an account to make droids of, and the blocks that a pool spoke in."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx

from core.droid_settings import DroidSettings
from core.price_settings import PriceSettings
from core.settings import ChainSettings
from core.store.pg import PgStore
from core.store.pool import Pool
from core.types import Block, Log
from droids import records
from droids.records import AccountRow, PoolRow
from indexer.decode.tables import LogTable, TransferTable
from tests.api import make
from tests.api.people import Town, town
from tests.pools import USDC, VENUE, WETH, initialize, numbered, pool, sqrt_of, swap

CHAIN = 31_337
NAME = "ethereum"
OF = pool(WETH, USDC, 3000)
MANAGER = make.digest("manager")[:20]
PLACE = PoolRow(pool_id=42, chain_id=CHAIN, address=OF.address, manager=MANAGER, quote=USDC)
ACCOUNT = AccountRow(account_id=1, chain_id=CHAIN, wallet=make.ALICE)
SPARE = AccountRow(account_id=2, chain_id=5, wallet=make.BOB)
# The contract's example of POST /api/droids.
NEW: dict[str, Any] = {
    "poolId": 42, "fundingUSD": 50000, "triggerType": "EMA", "tickBuckets": 10, "bucketOffset": 0,
    "fundingCurveType": "LINEAR", "maxBots": 5, "maxPrice": 4000.00, "minPrice": 2500.00, "gasBudgetLimit": 100,
    "maxGasPrice": 50, "txPriority": 1, "derivativeThreshold": 0.01, "ladderPercMargin": 0.02,
    "fallingRebalanceTrigger": 0.03, "risingRebalanceTrigger": 0.05,
}  # fmt: skip
# A price a block of 12 s, which a droid of this pace has seen enough of after a minute.
HASTY = DroidSettings(sample_s=12, tau_s=60, warm_up_s=60, cooldown_s=12, daily_cap=1_000)
SQL_READ = """
    update droid.pool set token0 = $2, token1 = $3, decimals0 = $4, decimals1 = $5, fee = 3000, spacing = 60
    where pool_id = $1
"""


def chains() -> dict[str, ChainSettings]:
    """The one chain, with a venue whose pools of any depth have prices."""
    venue = PriceSettings(
        factory=f"0x{VENUE.factory.hex()}", wrapper=f"0x{WETH.hex()}", stables=(f"0x{USDC.hex()}",), fees=(3000,),
        min_depth=0,
    )  # fmt: skip
    return {NAME: ChainSettings(chain_id=CHAIN, prices=venue)}


async def known(owner: Pool) -> None:
    """Make pool and accounts known, and let the worker have read the contract."""
    await records.put_pool(owner, PLACE)
    for account in (ACCOUNT, SPARE):
        await records.put_account(owner, account)
    await read(owner)


async def read(owner: Pool, *, number: int = 42) -> None:
    """What the worker writes of a pool's contract."""
    decimals = (18, 6) if OF.token0 == WETH else (6, 18)
    await owner.execute(SQL_READ, number, OF.token0, OF.token1, *decimals)


@asynccontextmanager
async def droid_town(api: Pool, owner: Pool, *, pace: DroidSettings = HASTY) -> AsyncIterator[Town]:
    """A town with pool 42 and account 1 on `ethereum`."""
    await known(owner)
    async with town(api, chains=chains(), droids=pace) as made:
        yield made


def spoken(prices: Sequence[str], *, first: int = 0) -> list[Block]:
    """A block for each price of whole WETH, from `first` on; the chain's own first block sets the pool up."""
    made = []
    for number, price in enumerate(prices, start=first):
        root = sqrt_of(OF, WETH, price)
        logs: list[Log] = [swap(OF.address, root, liquidity=10**20)] if number else [initialize(OF.address, root)]
        made.append(make.block(number, [make.tx(f"{number}", receipt_logs=numbered(logs))]))
    return made


async def stored(owner: Pool, blocks: Sequence[Block]) -> None:
    """Index blocks that follow one another."""
    store = PgStore(owner, CHAIN, derived=[TransferTable(lambda *_: None), LogTable("none")])
    await store.register(NAME, None)
    await store.commit(list(blocks), after=None)


async def made(client: httpx.AsyncClient, **fields: Any) -> int:
    """A new droid's id."""
    answer = await client.post("/api/droids", json=NEW | fields)
    assert answer.status_code == 200, answer.text
    return int(answer.json()["id"])
