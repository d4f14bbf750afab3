"""kill -9 of workers and senders at any step, under reorgs, lost broadcasts and commands; then the node alone is asked.

`python -m tests.robots.crash --runs 200 --seed 1` prints a line of JSON, and exits 1 if a position was lost or opened
twice, or a base unit is not where the ledger says. A run is one droid with a wallet of its own; those of a batch share
two workers, two senders and their kills. Batches take turns between the two token orders. The seed decides what is
wanted and where processes are killed, not the timing.
"""

import argparse
import asyncio
import json
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, Final

import msgspec
from aiohttp import web
from eth_account import Account
from eth_account.signers.local import LocalAccount

from core.hex import from_hex, to_hex
from core.store.embedded import EmbeddedPostgres
from core.store.migrate import migrate
from core.store.pool import Pool, open_pool
from core.store.schema import THROW_AWAY, scratch_folder
from daemon.schema import MIGRATIONS
from droids import records
from droids.records import AccountRow, Command
from tests.robots.chain_truth import truth_of
from tests.robots.ground import BUSY, CHAIN, Ground, broken, chain
from tests.wallet import proxy
from tests.wallet.crash import Process
from tests.wallet.proxy import Proxy, Weather
from wallet import activation
from wallet.node import Node

SETTLE: Final = 3
DROIDS: Final = 8  # of one batch
STORM_S: Final = (8.0, 40.0)
LADDERS: Final = 2  # that each droid has to have laid before its storm is over
FINAL_S: Final = 120.0
REORG_SHARE: Final = 0.2
DROPPED_SHARE: Final = 0.6
QUEUE_S: Final = 0.04  # within so long after a simulation was answered, what follows from it is stored
# Of the worker: as it looks, as it has simulated and queues, and at any time, its transactions included.
POINTS: Final = (*proxy.POINTS, "look", "queue", "queue")

SQL_BUSY: Final = """
    select count(*)
    from droid.droid d
    left join droid.session s on s.droid_id = d.droid_id and s.stopped_at is null
    where d.droid_id = any($1)
        and (
            d.answered < d.command or s.status not in ('PAUSED')
            or exists (select 1 from droid.move m where m.droid_id = d.droid_id and m.state = 'open')
        )
"""
SQL_WHERE: Final = """
    select d.droid_id, d.active, d.command, d.answered, d.note, s.status, s.note as why, m.kind, i.state, i.note as said
    from droid.droid d
    left join droid.session s on s.droid_id = d.droid_id and s.stopped_at is null
    left join droid.move m on m.droid_id = d.droid_id and m.state = 'open'
    left join wallet.intent i on i.intent_id = m.intent_id
    where d.droid_id = any($1)
"""
SQL_BEGUN: Final = "select count(distinct droid_id) from droid.ledger where droid_id = any($1)"
SQL_RIPE: Final = """
    select count(*)
    from (
        select droid_id
        from droid.move
        where droid_id = any($1) and kind = 'rebalance' and outcome = 'done'
        group by droid_id
        having count(*) >= $2
    ) as ripe
"""
SQL_COUNTS: Final = "select kind || '/' || outcome as what, count(*) as count from droid.move group by 1 order by 1"
SQL_REOPENED: Final = "select coalesce(sum(reopened), 0) from wallet.intent"
SQL_POSITIONS: Final = "select count(*) from droid.position"


class Report(msgspec.Struct, kw_only=True):
    """What a campaign did and saw."""

    seed: int
    runs: int
    mutant: bool
    kills: dict[str, int]
    starts: int
    reorgs: int
    reopened: int
    moves: dict[str, int]
    positions: int
    minted: int
    lost: int
    doubled: int
    took_s: float
    faults: list[str]


class WorkerProxy(Proxy):
    """A node for a worker, which is killed by what it asks."""

    async def _answer(self, request: web.Request) -> web.Response:
        asked = json.loads(await request.read())
        calls = asked if isinstance(asked, list) else [asked]
        weather = self._weather
        weather.asked.set()
        if weather.chance.random() < 0.01:
            self._strike("anywhere", None)
        method = calls[0]["method"]
        if method == "eth_getBalance":
            self._strike("look", from_hex(calls[0]["params"][0]))
        reply = await self._ask(asked)
        if method == "eth_call" and len(calls) == 1 and "from" in (of := calls[0]["params"][0]):
            delay, who = weather.chance.uniform(0, QUEUE_S), from_hex(of["from"])
            asyncio.get_running_loop().call_later(delay, self._strike, "queue", who)
        return web.json_response(reply)


class Campaign:
    """One chain, one database, and batches of droids."""

    def __init__(
        self, folder: Path, url: str, store: Pool, grounds: Sequence[Ground], *, workers: Sequence[Process],
        senders: Sequence[Process], seed: int, storm_s: tuple[float, float],
    ) -> None:  # fmt: skip
        self.folder, self.url, self.store, self.grounds = folder, url, store, grounds
        self.workers, self.senders, self.chance = workers, senders, Random(seed)
        self.storm_s = storm_s
        self.kills: Counter[str] = Counter({point: 0 for point in (*POINTS, "timer")})
        self.faults: list[str] = []
        self.runs = self.reorgs = self.lost = self.doubled = self.minted = 0
        self._weather = Weather(self.chance, SETTLE)
        self._on = grounds[0]

    async def batch(self, number: int, count: int) -> None:
        """Let `count` droids work in the storm, stop them, look; close all, look again."""
        self._weather = weather = Weather(self.chance, SETTLE)
        weather.modes = {8: "stuck", 20: "stuck"}  # items of a multicall: two rungs moved, and five
        self._on = self.grounds[number % 2]
        accounts = [await self._on.wallet() for _ in range(count)]
        await self._on.mine(8)  # no reorg reaches what was given
        await self._settings(accounts)
        proxies = await self._proxies()
        settings = self.folder / "settings.toml"
        kept = [asyncio.create_task(each.keep(settings)) for each in (*self.workers, *self.senders)]
        tasks = [asyncio.create_task(each) for each in (self._mine(), self._push(), self._kill())]
        try:
            droids = [await self._droid(account, number % 2) for account in accounts]
            weather.points = {wallet: self.chance.choice(POINTS) for _, wallet in droids}
            await self._command(droids, Command.RUN)
            await self._storm(droids)
            for last in (Command.PAUSE, Command.CLOSE):
                await self._command(droids, last)
                await self._quiet([each for each, _ in droids])
                async with weather.moving:
                    await self._compare(droids, empty=last is Command.CLOSE)
        finally:
            weather.over = True
            for process in (*self.workers, *self.senders):
                process.stop()
            await asyncio.gather(*tasks, *kept)
            for each in proxies:
                await each.stop()
        self.kills += weather.kills
        self.runs += count

    async def _settings(self, accounts: Sequence[LocalAccount]) -> None:
        named = {"manager": to_hex(self._on.pool.manager), "folder": str(self.folder), "settle": SETTLE}
        text = [CHAIN_SETTINGS.format(chain=CHAIN, wrapper=to_hex(self._on.base))]
        (self.folder / "pass").write_text("open sesame")
        (self.folder / "pass").chmod(0o600)
        for place, account in enumerate(accounts):
            keystore = self.folder / f"key{place}.json"
            keystore.write_text(json.dumps(Account.encrypt(account.key, "open sesame", kdf="pbkdf2", iterations=2)))
            keystore.chmod(0o600)
            text.append(WALLET_SETTINGS.format(place=place, address=account.address, **named))
            text += [TOKEN_SETTINGS.format(place=place, token=to_hex(token)) for token in self._on.pool.tokens]
        (self.folder / "settings.toml").write_text("\n".join(text))

    async def _proxies(self) -> list[Proxy]:
        made: list[Proxy] = []
        for kind, processes in ((WorkerProxy, self.workers), (Proxy, self.senders)):
            for process in processes:
                each = kind(self._on.rpc.url, self._weather, process.kill)
                await each.start()
                process.env = {
                    "PATH": os.environ["PATH"], "HOME": str(self.folder), "CHAINWORKD_DATABASE__URL": self.url,
                    "CHAINWORKD_OPS__SENDER_PORT": "0", "CHAINWORKD_OPS__WORKER_PORT": "0",
                    "CHAINWORKD_RPC_URL": each.url,
                }  # fmt: skip
                made.append(each)
        return made

    async def _droid(self, account: LocalAccount, order: int) -> tuple[int, bytes]:
        wallet, on = from_hex(account.address), self._on
        pool = on.pool_row(42 + order)
        await records.put_pool(self.store, pool)
        number = len(await records.accounts(self.store)) + 1
        await records.put_account(self.store, AccountRow(account_id=number, chain_id=CHAIN, wallet=wallet))
        node = Node(on.rpc, wallet)
        code = await node.code_hashes([*on.pool.tokens, on.pool.manager], await node.head())
        await activation.activate(self.store, CHAIN, wallet, code, datetime.now(UTC), by="crash", because="test")
        config = BUSY | {"maxBots": self.chance.choice((1, 2, 5)), "tickBuckets": self.chance.choice((1, 2, 3))}
        made = await records.create(self.store, config, account_id=number, pool_id=pool.pool_id, by="crash")
        return made, wallet

    async def _command(self, droids: Sequence[tuple[int, bytes]], what: Command) -> None:
        for number, _ in droids:
            await records.command(self.store, number, what, datetime.now(UTC), by="crash", role="ADMIN")

    async def _storm(self, droids: Sequence[tuple[int, bytes]]) -> None:
        """Let it blow until everybody planned for was hit, with commands meanwhile."""
        least, most = self.storm_s
        async with asyncio.timeout(FINAL_S):
            while await self.store.fetchval(SQL_BEGUN, [number for number, _ in droids]) < len(droids):  # noqa: ASYNC110
                await asyncio.sleep(0.2)
        started = time.monotonic()
        while (now := time.monotonic() - started) < most and (now < least or await self._unripe(droids)):
            await asyncio.sleep(self.chance.uniform(0.5, 2))
            one = self.chance.choice(droids)
            await self._command([one], self.chance.choice((Command.PAUSE, Command.RESET, Command.CLOSE)))
            await asyncio.sleep(self.chance.uniform(0, 1))
            await self._command([one], Command.RUN)

    async def _unripe(self, droids: Sequence[tuple[int, bytes]]) -> bool:
        ripe = await self.store.fetchval(SQL_RIPE, [number for number, _ in droids], LADDERS)
        return bool(self._weather.points) or ripe < len(droids)

    async def _quiet(self, droids: list[int]) -> None:
        until = time.monotonic() + FINAL_S
        while await self.store.fetchval(SQL_BUSY, droids):
            if time.monotonic() > until:
                where = [dict(row) for row in await self.store.fetch(SQL_WHERE, droids)]
                self.faults.append(f"not quiet within {FINAL_S:.0f} s: {where}")
                return
            await asyncio.sleep(0.2)

    async def _compare(self, droids: Sequence[tuple[int, bytes]], *, empty: bool) -> None:
        for number, wallet in droids:
            found = await truth_of(self._on, self.store, number, wallet)
            self.faults += found.faults
            self.lost += found.lost
            self.doubled += found.doubled
            if empty:
                self.minted += found.minted
                if owned := await self._on.nfts(wallet):
                    self.faults.append(f"droid {number}: it is closed, and owns {sorted(owned)}")

    async def _mine(self) -> None:
        """Make blocks, and take some away again, never as many as settle."""
        while not self._weather.over:
            await asyncio.sleep(self.chance.uniform(0.2, 0.6))
            async with self._weather.moving:
                if self.chance.random() >= REORG_SHARE:
                    await self._on.rpc.call("anvil_mine", "0x1")
                    continue
                await self._on.rpc.call("anvil_reorg", self.chance.randint(1, SETTLE - 1), [])
                self.reorgs += 1
                if self.chance.random() < DROPPED_SHARE:
                    await self._on.rpc.call("anvil_dropAllTransactions")

    async def _push(self) -> None:
        """Move the price."""
        while not self._weather.over:
            await asyncio.sleep(self.chance.uniform(0.5, 1.5))
            async with self._weather.moving:
                await self._on.push(self.chance)

    async def _kill(self) -> None:
        """End a worker at any time, whatever it is at."""
        while not self._weather.over:
            await asyncio.sleep(self.chance.uniform(2, 6))
            self._weather.kills["timer"] += 1
            self.chance.choice(self.workers).kill()


CHAIN_SETTINGS: Final = """
[chains.local]
chain_id = {chain}
[chains.local.prices]
wrapper = "{wrapper}"
[log]
style = "json"
[droids]
sample_s = 1
tau_s = 5
warm_up_s = 0
cooldown_s = 1
daily_cap = 10000
twap_s = 2
twap_ticks = 200
slip_bps = 300
poll_s = 0.05
snapshot_s = 2
"""
WALLET_SETTINGS: Final = """
[wallets.w{place}]
chain = "local"
address = "{address}"
live = true
keystore = "{folder}/key{place}.json"
passphrase = "{folder}/pass"
max_fee_wei = 1000000000000
max_gas = 20000000
each_wei = 1000000000000000000
day_wei = 1000000000000000000000
position_managers = ["{manager}"]
settle_blocks = {settle}
poll_s = 0.05
"""
TOKEN_SETTINGS: Final = """
[wallets.w{place}.tokens.{token}]
each = 1000000000000000000000000000000
day = 1000000000000000000000000000000000000
"""


async def campaign(
    *, runs: int, seed: int, mutant: bool = False, storm_s: tuple[float, float] = STORM_S
) -> Report:  # fmt: skip
    """Run `runs` droids, in batches."""
    started = time.monotonic()
    with scratch_folder() as folder:
        made: dict[str, Any] = {"mutant": mutant, "role": "worker", "nursery": "tests.robots.nursery"}
        async with (
            EmbeddedPostgres(folder / "data", settings=THROW_AWAY) as server,
            chain() as town,
            Process("worker one", folder / "w1.log", **made) as one,
            Process("worker two", folder / "w2.log", **made) as two,
            Process("sender one", folder / "s1.log", mutant=False) as three,
            Process("sender two", folder / "s2.log", mutant=False) as four,
        ):
            await migrate(server.url(), MIGRATIONS)
            grounds = [await broken(*town, base_is_token0=order) for order in (True, False)]
            processes = (one, two, three, four)
            async with open_pool(server.url(), size=4) as store:
                work = Campaign(
                    folder,
                    server.url(),
                    store,
                    grounds,
                    workers=(one, two),
                    senders=(three, four),
                    seed=seed,
                    storm_s=storm_s,
                )
                for number, first in enumerate(range(0, runs, DROIDS)):
                    await work.batch(number, min(DROIDS, runs - first))
                moves = {row["what"]: row["count"] for row in await store.fetch(SQL_COUNTS)}
                reopened, positions = await store.fetchval(SQL_REOPENED), await store.fetchval(SQL_POSITIONS)
        work.faults += [f"{each.name} ended with {each.ended}" for each in processes if each.ended]
        if work.faults and (keep := os.environ.get("KEEP_LOGS")):
            shutil.copytree(folder, keep, dirs_exist_ok=True, ignore=shutil.ignore_patterns("data"))
    return Report(
        seed=seed, runs=work.runs, mutant=mutant, kills=dict(work.kills), starts=sum(each.starts for each in processes),
        reorgs=work.reorgs, reopened=reopened, moves=moves, positions=positions, minted=work.minted, lost=work.lost,
        doubled=work.doubled, took_s=round(time.monotonic() - started, 1), faults=work.faults,
    )  # fmt: skip


def main() -> None:
    """Run a campaign from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mutant", action="store_true", help="let moves count before they are settled")
    asked = parser.parse_args()
    report = asyncio.run(campaign(runs=asked.runs, seed=asked.seed, mutant=asked.mutant))
    sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    sys.exit(1 if report.faults else 0)


if __name__ == "__main__":
    main()
