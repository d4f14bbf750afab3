"""What USD values cost: `make bench-prices` prints JSON.

PostgreSQL is the embedded one with the settings users get. BENCH_BLOCKS blocks of 12 seconds are stored, 12 swaps in
each: those of the pools of native coin and stables, of one token, and of pools that nobody asks for. What is measured:
prices of native coin and token, of blocks that nobody has asked for, in a process that has just begun (`cold`) and in
one that has seen blocks near them (`near`), and again (`again`); a page is 20 blocks. `stall_ms` is the longest time
for which the event loop answered nobody else meanwhile.
"""

import asyncio
import contextlib
import json
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from pathlib import Path
from random import Random

from builders.ticks import tick_at
from core.store.embedded import EmbeddedPostgres
from core.store.migrate import migrate
from core.store.pg import PgStore
from core.store.pool import Pool, open_pool
from core.store.schema import scratch_folder
from core.types import Block, BlockRef, Log
from daemon.schema import MIGRATIONS
from indexer.decode.tables import LogTable
from prices.pricer import Pricer
from tests.api import make
from tests.pools import DAI, DECIMALS, LINK, SWAP, USDC, USDT, VENUE, WETH, numbered, pool, sqrt_of

CHAIN = 1
BLOCKS = int(os.environ.get("BENCH_BLOCKS", "15000"))
PAGE = 20
ROUNDS = 30
# Fee, swaps in a hundred blocks, liquidity and price; the rest of a block's twelve are of pools that nobody asks for.
MARKET = (
    (WETH, USDC, 500, 500, 10**18, "3000"), (WETH, USDC, 3000, 100, 10**18, "3000"),
    (WETH, USDT, 500, 300, 10**18, "3000"), (WETH, DAI, 3000, 5, 10**24, "3000"),
    (LINK, WETH, 3000, 50, 10**24, "0.005"),
)  # fmt: skip
SQL_TOKEN = """
    insert into chain.token (chain_id, address, block_number, block_hash, symbol, name, decimals, read_at)
    values ($1, $2, 0, $3, 'S', 'S', $4, now())
"""


def swap(of: bytes, sqrt_x96: int, liquidity: int) -> Log:
    words = (1, 2**256 - 1, sqrt_x96, liquidity, tick_at(sqrt_x96) % 2**256)
    return Log(address=of, topics=(SWAP, bytes(32), bytes(32)), data=b"".join(w.to_bytes(32) for w in words), index=0)


def blocks(first: int, end: int, dice: Random, market: Sequence[tuple[float, Log]]) -> list[Block]:
    """Blocks of twelve swaps each."""
    made = []
    for n in range(first, end):
        logs = [log for share, log in market for _ in range(int(share) + (dice.random() < share % 1))][:12]
        logs += [swap(make.digest("other", n % 50)[:20], 2**96, 1)] * (12 - len(logs))
        made.append(make.block(n, [make.tx(f"{n}", receipt_logs=numbered(logs))]))
    return made


@contextlib.asynccontextmanager
async def stored() -> AsyncIterator[Pool]:
    """A database with the blocks in it."""
    market = []
    for one, other, fee, share, liquidity, price in MARKET:
        of = pool(one, other, fee)
        market.append((share / 100, swap(of.address, sqrt_of(of, one, price), liquidity)))
    dice = Random(1)
    with scratch_folder() as folder:
        server = EmbeddedPostgres(Path(folder) / "data")
        await server.start()
        try:
            await migrate(server.url(), MIGRATIONS)
            async with open_pool(server.url(), size=2) as connections:
                store = PgStore(connections, CHAIN, derived=[LogTable("none")])
                await store.register("bench", None)
                for token, decimals in DECIMALS.items():
                    await connections.execute(SQL_TOKEN, CHAIN, token, bytes(32), decimals)
                for first in range(0, BLOCKS, 200):
                    cursor = await store.cursor()
                    await store.commit(blocks(first, min(first + 200, BLOCKS), dice, market), after=cursor)
                await connections.execute("analyze")
                yield connections
        finally:
            await server.stop()


async def stalls(longest: list[float]) -> None:
    """Note for how long the event loop lets nobody else run."""
    while True:
        before = time.perf_counter()
        await asyncio.sleep(0.001)
        longest.append(time.perf_counter() - before - 0.001)


async def ask(pricer: Pricer, numbers: Collection[int]) -> float:
    """Ask for the prices at these blocks; return the seconds it took."""
    wanted: Mapping[BlockRef, Collection[bytes]] = {
        BlockRef(n, make.block_hash(n)): [WETH, LINK] for n in numbers
    }  # fmt: skip
    before = time.perf_counter()
    found = await pricer.prices(wanted)
    took = time.perf_counter() - before
    bad = {key: price.reason for key, price in found.items() if price.usd is None}
    if len(found) != 2 * len(numbers) or bad:
        raise RuntimeError(f"expected {2 * len(numbers)} prices, found {len(found)} of which without value: {bad}")
    return took


async def measure(connections: Pool) -> dict[str, object]:
    """Return what prices cost, in milliseconds."""
    dice, low = Random(2), BLOCKS // 2
    seen: dict[str, list[float]] = {
        name: [] for name in ("block cold", "page cold", "block near", "page near", "page again")
    }
    warm = Pricer(connections, CHAIN, VENUE)
    await ask(warm, [low])
    for _ in range(ROUNDS):
        seen["block cold"].append(await ask(Pricer(connections, CHAIN, VENUE), [dice.randrange(low, BLOCKS)]))
        page = range(first := dice.randrange(low, BLOCKS - PAGE), first + PAGE)
        seen["page cold"].append(await ask(Pricer(connections, CHAIN, VENUE), page))
    every = list(range(low, BLOCKS, 25))
    for n in every:
        await ask(warm, [n])
    for n in every[:-2]:
        seen["block near"].append(await ask(warm, [n + 1]))
    for n in every[:-2:4][:ROUNDS]:
        seen["page near"].append(await ask(warm, range(n + 2, n + 2 + PAGE)))
        seen["page again"].append(await ask(warm, range(n + 2, n + 2 + PAGE)))
    return {name: {"mean_ms": _ms(statistics.mean(took)), "worst_ms": _ms(max(took))} for name, took in seen.items()}


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 3)


async def main() -> None:
    """Store, measure and print."""
    async with stored() as connections:
        longest: list[float] = []
        watching = asyncio.create_task(stalls(longest))  # ended below
        found = await measure(connections)
        watching.cancel()
        json.dump({"blocks": BLOCKS, **found, "stall_ms": round(max(longest) * 1e3, 3)}, sys.stdout, indent=2)
        sys.stdout.write("\n")


if __name__ == "__main__":
    asyncio.run(main())
