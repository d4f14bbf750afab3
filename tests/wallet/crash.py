"""kill -9 of senders at every step, under reorgs, losses and deadlines; then the chain is compared with the ledger.

`python -m tests.wallet.crash --runs 200 --seed 1` prints a line of JSON for each run and one for all of them, and
exits 1 if anything was lost or doubled. The seed decides what is wanted and where processes are killed, not the timing.
A run is one wallet with its intents; those of a batch share the two processes, and so each other's kills.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Self
from uuid import UUID

import msgspec
from eth_account import Account

from builders.call import create, invoke
from builders.erc20 import transfer
from core.hex import to_hex
from core.rpc.client import RpcClient
from core.store.embedded import EmbeddedPostgres
from core.store.migrate import migrate
from core.store.pool import Pool, open_pool
from core.store.schema import THROW_AWAY, scratch_folder
from daemon.schema import MIGRATIONS
from devnet.anvil import Anvil
from devnet.artifacts import Artifacts
from devnet.node import Draft
from devnet.node import Node as Devnode
from tests.make import address
from tests.wallet.proxy import POINTS, Proxy, Weather
from tests.wallet.truth import Account as Books
from tests.wallet.truth import Expected, faults_of
from wallet import activation, records
from wallet.node import Node
from wallet.types import OPEN, Intent, State

CHAIN: Final = 31_337
FRIEND: Final = address("friend")
ETHER: Final = 10**18
TOKENS: Final = 10**12
SETTLE: Final = 3
WALLETS: Final = 8  # of one batch
FINAL_S: Final = 120.0
MODES: Final = ("plain", "plain", "stuck", "expire", "cancel")
REORG_SHARE: Final = 0.3  # of moves of the chain
DROPPED_SHARE: Final = 0.6  # of reorgs after which no pool has the transactions that were in the blocks
ROOT: Final = Path(__file__).parents[2]

SQL_OPEN: Final = "select count(*) from wallet.intent where state = any($1)"


class Report(msgspec.Struct, kw_only=True):
    """What a campaign did and saw."""

    seed: int
    runs: int
    intents: int
    mutant: bool
    kills: dict[str, int]
    starts: int
    reorgs: int
    reopened: int
    happened: dict[str, int]
    states: dict[str, int]
    lost: int
    doubled: int
    took_s: float
    faults: list[str]


class Process:
    """One role, which is killed and started again. Use as an async context manager."""

    def __init__(
        self, name: str, log: Path, *, mutant: bool, role: str = "sender", nursery: str = "tests.wallet.nursery"
    ) -> None:
        self.name = name
        self.env: dict[str, str] = {}
        self.starts = 0
        self.ended: list[int] = []
        self._log = log
        self._mutant = mutant
        self._role = role
        self._from = nursery
        self._pid: int | None = None
        self._stopping = False

    async def __aenter__(self) -> Self:
        self._nursery = await asyncio.create_subprocess_exec(
            sys.executable, "-m", self._from, *(["mutant"] if self._mutant else []), cwd=ROOT,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        return self

    async def __aexit__(self, *_: object) -> None:
        self._nursery.kill()
        await self._nursery.wait()

    async def keep(self, settings: Path) -> None:
        """Start it whenever it is not there, until `stop`."""
        stdin, stdout = self._nursery.stdin, self._nursery.stdout
        assert stdin is not None and stdout is not None
        order = {"arguments": ["--config", str(settings), "run", self._role], "env": self.env, "log": str(self._log)}
        self._stopping = False
        while not self._stopping:
            stdin.write(json.dumps(order).encode() + b"\n")
            self._pid = int(await stdout.readline())
            self.starts += 1
            if self._stopping:
                self.kill()
            code = int(await stdout.readline())
            self._pid = None
            if code != -signal.SIGKILL:
                self.ended.append(code)
                await asyncio.sleep(1.0)

    def stop(self) -> None:
        """End it, and start it no more."""
        self._stopping = True
        self.kill()

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)


class Campaign:
    """One chain, one database, and batches of wallets."""

    def __init__(
        self, folder: Path, url: str, pool: Pool, rpc: RpcClient, *, processes: Sequence[Process], seed: int
    ) -> None:
        self.folder, self.url, self.pool, self.rpc = folder, url, pool, rpc
        self.chance = random.Random(seed)
        self.processes = processes
        self.token = b""
        self.amounts = 0
        self.runs = self.reorgs = self.intents = self.reopened = 0
        self.kills: Counter[str] = Counter({point: 0 for point in POINTS})
        self.happened: Counter[str] = Counter()
        self.states: Counter[str] = Counter()
        self.faults: list[str] = []
        self.lost = self.doubled = 0

    async def begin(self) -> None:
        """Deploy the token."""
        self.devnode = Devnode(self.rpc)
        self.owner = (await self.devnode.accounts())[0]
        code = create(Artifacts().bytecode("DemoToken"), ("string", "string", "uint8"), ("Demo", "DMO", 6))
        (made,) = await self.devnode.settle([Draft(kind="deploy", sender=self.owner, call=code, gas=3_000_000)])
        assert made.contract is not None
        self.token = made.contract
        # The first token somebody gets takes 17,100 gas more than later ones. A reorg that takes the first transfer
        # away would leave those behind it, whose gas was estimated after it, without enough, and they revert.
        first = invoke(self.token, "mint(address,uint256)", FRIEND, 1)
        await self.devnode.settle([Draft(kind="give", sender=self.owner, call=first, gas=200_000)])
        await self.rpc.call("anvil_mine", "0x8")

    async def batch(self, count: int) -> None:
        """Let `count` wallets send under the weather, wait until all is final, and look."""
        weather = Weather(self.chance, SETTLE)
        wallets = await self._wallets(count)
        proxies = await self._proxies(weather)
        settings = self.folder / "settings.toml"
        kept = [asyncio.create_task(each.keep(settings)) for each in self.processes]
        tasks: list[asyncio.Task[None]] = []
        expected: list[list[Expected]] = []
        try:
            await asyncio.wait_for(weather.asked.wait(), FINAL_S)
            weather.points = {wallet: self.chance.choice(POINTS) for wallet in wallets}
            expected = [await self._queue(wallet, weather) for wallet in wallets]
            tasks = [asyncio.create_task(self._mine(weather)), asyncio.create_task(self._cancel(expected, weather))]
            await self._final(wallets)
        finally:
            weather.over = True
            for process in self.processes:
                process.stop()
            await asyncio.gather(*tasks, *kept)
            for proxy in proxies:
                await proxy.stop()
        self.kills += weather.kills
        self.happened += weather.counts
        for wallet, wanted in zip(wallets, expected, strict=True):
            await self._compare(wallet, wanted)

    async def _wallets(self, count: int) -> list[bytes]:
        settings = [f'[chains.local]\nchain_id = {CHAIN}\n\n[log]\nstyle = "json"\n']
        (self.folder / "pass").write_text("open sesame")
        (self.folder / "pass").chmod(0o600)
        found = []
        for place in range(count):
            account = Account.create()
            wallet = bytes.fromhex(account.address[2:])
            keystore = self.folder / f"key{place}.json"
            keystore.write_text(json.dumps(Account.encrypt(account.key, "open sesame", kdf="pbkdf2", iterations=2)))
            keystore.chmod(0o600)
            named = {"address": to_hex(wallet), "token": to_hex(self.token), "friend": to_hex(FRIEND)}
            settings.append(SETTINGS.format(place=place, folder=self.folder, settle=SETTLE, **named))
            await self.rpc.call("anvil_setBalance", to_hex(wallet), hex(ETHER))
            give = invoke(self.token, "mint(address,uint256)", wallet, TOKENS)
            await self.devnode.settle([Draft(kind="give", sender=self.owner, call=give, gas=200_000)])
            node = Node(self.rpc, wallet)
            code = await node.code_hashes([self.token], await node.head())
            await activation.activate(self.pool, CHAIN, wallet, code, datetime.now(UTC), by="crash", because="test")
            found.append(wallet)
        (self.folder / "settings.toml").write_text("\n".join(settings))
        await self.rpc.call("anvil_mine", "0x8")  # no reorg reaches what was given
        return found

    async def _queue(self, wallet: bytes, weather: Weather) -> list[Expected]:
        wanted = []
        for _ in range(self.chance.randint(2, 4)):
            self.amounts += 1
            mode = self.chance.choice(MODES)
            weather.modes[self.amounts] = mode
            deadline = timedelta(seconds=self.chance.uniform(4, 14) if mode == "expire" else 600)
            intent = Intent(
                id=UUID(int=self.chance.getrandbits(128)), chain_id=CHAIN, wallet=wallet, owner="crash", kind=mode,
                call=transfer(self.token, FRIEND, self.amounts), priority=3, deadline=datetime.now(UTC) + deadline,
            )  # fmt: skip
            async with self.pool.acquire() as conn:
                await records.queue(conn, intent)
            wanted.append(Expected(intent, self.amounts, surely=mode in ("plain", "stuck")))
        self.intents += len(wanted)
        return wanted

    async def _proxies(self, weather: Weather) -> list[Proxy]:
        proxies = []
        for process in self.processes:
            proxy = Proxy(self.rpc.url, weather, process.kill)
            await proxy.start()
            process.env = {
                "PATH": os.environ["PATH"], "HOME": str(self.folder), "CHAINWORKD_DATABASE__URL": self.url,
                "CHAINWORKD_OPS__SENDER_PORT": "0", "CHAINWORKD_RPC_URL": proxy.url,
            }  # fmt: skip
            proxies.append(proxy)
        return proxies

    async def _mine(self, weather: Weather) -> None:
        """Make blocks, and take some away again, never as many as settle; until it is over, and not in between."""
        while not weather.over:
            await asyncio.sleep(self.chance.uniform(0.2, 0.7))
            async with weather.moving:
                if self.chance.random() >= REORG_SHARE:
                    await self.rpc.call("anvil_mine", "0x1")
                    continue
                await self.rpc.call("anvil_reorg", self.chance.randint(1, SETTLE - 1), [])
                self.reorgs += 1
                if self.chance.random() < DROPPED_SHARE:
                    await self.rpc.call("anvil_dropAllTransactions")

    async def _cancel(self, expected: list[list[Expected]], weather: Weather) -> None:
        """Ask that some of the intents not happen, at any moment."""
        doomed = [each for wanted in expected for each in wanted if weather.modes[each.amount] == "cancel"]
        for each in doomed:
            await asyncio.sleep(self.chance.uniform(0, 2))
            await records.cancel(self.pool, each.intent.id, datetime.now(UTC), by="crash", because="test")

    async def _final(self, wallets: list[bytes]) -> None:
        until = time.monotonic() + FINAL_S
        while await self.pool.fetchval(SQL_OPEN, list(OPEN)):
            if time.monotonic() > until:
                self.faults.append(f"not final within {FINAL_S:.0f} s: {[to_hex(each) for each in wallets]}")
                return
            await asyncio.sleep(0.2)

    async def _compare(self, wallet: bytes, wanted: list[Expected]) -> None:
        """Compare one run with the chain, and report it as a line of JSON."""
        books = Books(wallet, self.token, FRIEND, ether=ETHER, tokens=TOKENS)
        became = []
        for each in wanted:
            found = await records.status(self.pool, each.intent.id)
            assert found is not None
            became.append(f"{found.state}/{found.outcome}" if found.outcome else str(found.state))
            self.lost += found.state is State.LOST
            self.reopened += found.reopened
        faults, doubled = await faults_of(self.rpc, self.pool, books, wanted)
        self.states.update(became)
        self.faults += faults
        self.doubled += doubled
        self.runs += 1
        run = {"run": self.runs, "wallet": to_hex(wallet), "intents": became, "doubled": doubled, "faults": faults}
        sys.stdout.write(json.dumps(run) + "\n")
        sys.stdout.flush()


SETTINGS: Final = """
[wallets.w{place}]
chain = "local"
address = "{address}"
live = true
keystore = "{folder}/key{place}.json"
passphrase = "{folder}/pass"
max_fee_wei = 1000000000000
each_wei = 100000000000000000
day_wei = 1000000000000000000
recipients = ["{friend}"]
settle_blocks = {settle}
poll_s = 0.05

[wallets.w{place}.tokens.{token}]
each = 1000000
day = 1000000000
"""


async def campaign(*, runs: int, seed: int, mutant: bool = False) -> Report:
    """Run `runs` wallets, in batches."""
    started = time.monotonic()
    with scratch_folder() as folder:
        async with (
            EmbeddedPostgres(folder / "data", settings=THROW_AWAY) as server,
            Anvil(Artifacts(), chain_id=CHAIN) as anvil,
            RpcClient(anvil.http_url) as rpc,
            Process("one", folder / "one.log", mutant=mutant) as one,
            Process("two", folder / "two.log", mutant=mutant) as two,
        ):
            await migrate(server.url(), MIGRATIONS)
            async with open_pool(server.url(), size=4) as pool:
                work = Campaign(folder, server.url(), pool, rpc, processes=(one, two), seed=seed)
                await work.begin()
                for first in range(0, runs, WALLETS):
                    await work.batch(min(WALLETS, runs - first))
        work.faults += [f"process {each.name} ended with {each.ended}" for each in (one, two) if each.ended]
    return Report(
        seed=seed, runs=runs, intents=work.intents, mutant=mutant, kills=dict(work.kills),
        starts=one.starts + two.starts,
        reorgs=work.reorgs, reopened=work.reopened, happened=dict(work.happened), states=dict(work.states),
        lost=work.lost, doubled=work.doubled, took_s=round(time.monotonic() - started, 1), faults=work.faults,
    )  # fmt: skip


def main() -> None:
    """Run a campaign from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mutant", action="store_true", help="let the sender ask for receipts before the nonce")
    asked = parser.parse_args()
    report = asyncio.run(campaign(runs=asked.runs, seed=asked.seed, mutant=asked.mutant))
    sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    sys.exit(1 if report.faults else 0)


if __name__ == "__main__":
    main()
