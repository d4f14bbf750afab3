"""Random kill -9 of every process of a working daemon, under load; then everything stored is compared with the node.

`python -m tests.e2e.kills --runs 200 --seed 1` prints a report as JSON and exits 1 if anything was lost or doubled.
"""

import argparse
import asyncio
import os
import random
import signal
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import msgspec

from core.errors import RpcUnavailable
from core.rpc.client import RpcClient
from core.store.embedded import EmbeddedPostgres
from core.store.schema import scratch_folder
from devnet.town import Devnet
from tests.e2e.daemon import Daemon, environment, run
from tests.e2e.story import CHAIN, client_of, head_of
from tests.e2e.truth import differences
from tests.e2e.waiting import until

TARGETS = ("parent", "api", "backfill", "postgres")
CRASHED_EXITS = {1, -signal.SIGKILL}
LULL_S = (0.0, 0.8)  # between the daemon's being back and the next kill: some hit its start, some its work
HISTORY = 100  # blocks there before the first start, for backfill to work on
EARLY_SHARE = 0.15  # of restarts that are killed again before the daemon is back
EARLY_S = (0.0, 2.5)
REORG_SHARE = 0.3
SETTLE_S = 120.0


class Report(msgspec.Struct, kw_only=True):
    """What a campaign did and saw."""

    seed: int
    runs: int
    kills: dict[str, int]
    killed_while_starting: int
    restarts: int
    reorgs: int
    rows: dict[str, int]
    verified: dict[str, object]  # what `chainworkd verify` printed
    recovery_s: dict[str, list[float]]
    took_s: float
    faults: list[str]


class Campaign:
    """One daemon with its embedded database, one chain that grows, and a killer."""

    def __init__(self, folder: Path, town: Devnet, rpc: RpcClient, chance: random.Random) -> None:
        env = environment(
            folder, RPC_URL=town.http_url, WS_URL=town.ws_url, BACKFILL="0..", DEFAULTS__CHUNK_BLOCKS="4",
            DEFAULTS__JUMP_BLOCKS="6",
        )  # fmt: skip
        self.daemon = Daemon(folder, "run", env=env)
        self.env = env
        self.kills: Counter[str] = Counter({target: 0 for target in TARGETS})
        self.recovery_s: dict[str, list[float]] = {target: [] for target in TARGETS}
        self.early = self.restarts = self.reorgs = 0
        self.faults: list[str] = []
        self.verified: dict[str, object] = {}
        self._folder = folder
        self._town = town
        self._rpc = rpc
        self._chance = chance

    async def load(self) -> None:
        """Make blocks without a pause, and reorgs now and then."""
        while True:
            # A busy node resets an idle connection of the traffic's now and then; the next step has a new one.
            with suppress(RpcUnavailable):
                await self._town.step()
            if self._chance.random() < REORG_SHARE / 4:
                await self._rpc.call("anvil_reorg", self._chance.randint(1, 5), [])
                self.reorgs += 1
            await asyncio.sleep(self._chance.uniform(0.02, 0.2))

    async def kill(self) -> None:
        """Wait a little, kill one process, and start the daemon again if that ended it."""
        target = self._chance.choice(TARGETS)
        await asyncio.sleep(self._chance.uniform(*LULL_S))
        pid = await self._pid(target)
        started = time.monotonic()
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        self.kills[target] += 1
        if target in ("parent", "postgres"):
            code = await self.daemon.ended(within_s=30)
            if code not in CRASHED_EXITS:
                self.faults.append(f"{target} was killed: exit code {code}")
            await self.start()
            while self._chance.random() < EARLY_SHARE:
                await self._kill_early()
            await self.daemon.logged("advanced")
        else:
            await until(lambda: self._replaced(target, pid))
        self.recovery_s[target].append(round(time.monotonic() - started, 2))

    async def _kill_early(self) -> None:
        """Kill the parent, or the database if it is there already, somewhere in the start."""
        await asyncio.sleep(self._chance.uniform(*EARLY_S))
        server = self.daemon.lines("database is up")
        pid = int(server[-1]["pid"]) if server and self._chance.random() < 0.5 else self.daemon.pid
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        self.early += 1
        if await self.daemon.ended(within_s=30) not in CRASHED_EXITS:
            self.faults.append(f"pid {pid} was killed at the start: exit code {self.daemon.code}")
        await self.start()

    async def start(self) -> None:
        await self.daemon.start()
        self.restarts += 1

    async def _replaced(self, role: str, pid: int) -> bool:
        return await self.daemon.child(role) != pid

    async def _pid(self, target: str) -> int:
        if target == "parent":
            return self.daemon.pid
        if target == "postgres":
            return int((await self.daemon.logged("database is up"))["pid"])
        return await self.daemon.child(target)

    async def _last_head(self) -> tuple[int, str]:
        """The head once it stays: the node may still be mining what the load asked for when it was stopped."""
        while True:
            found = await head_of(self._rpc)
            await asyncio.sleep(1.0)
            if await head_of(self._rpc) == found:
                return found

    async def settle(self) -> dict[str, int]:
        """Let the daemon finish, as its API tells it; then compare everything stored with the node."""
        number, block_hash = await self._last_head()
        async with client_of(self.daemon, self._folder, self.env) as client:
            await client.serves(number, block_hash, within_s=SETTLE_S)

            async def whole() -> bool:
                _, body = await client.get("/status.json")
                return bool(body["chains"][0]["coverage"] == [[0, number]])

            await until(whole, within_s=SETTLE_S)
            url = await EmbeddedPostgres(self._folder / "data" / "postgres").running_url()
            assert url is not None, "the embedded server runs"
            faults, rows = await differences(self._rpc, url, CHAIN)
            self.faults += [*faults, *await self._verified(number)]
        code = await self.daemon.stop()
        if code != 0:
            self.faults.append(f"stopped with {code}")
        return rows

    async def _verified(self, last: int) -> list[str]:
        """What `chainworkd verify` has against what is stored; what compares above shares no code with it."""
        code, out, err = await run(
            self._folder, "verify", "--from", "0", "--to", str(last), "--json", env=self.env, within_s=SETTLE_S
        )
        self.verified = msgspec.json.decode(out) if code in (0, 1) else {}
        return [] if code == 0 else [f"chainworkd verify: exit code {code}: {(out or err)[-2000:]}"]


async def campaign(*, runs: int, seed: int) -> Report:
    """Kill `runs` times."""
    started = time.monotonic()
    chance = random.Random(seed)
    with scratch_folder() as folder:
        async with Devnet(seed=seed) as town, RpcClient(town.http_url) as rpc:
            for _ in range(HISTORY // 10):
                await town.step()
                await rpc.call("anvil_mine", "0x9")
            work = Campaign(folder, town, rpc, chance)
            async with work.daemon:
                load = asyncio.create_task(work.load())
                try:
                    for _ in range(runs):
                        await work.kill()
                finally:
                    load.cancel()
                    with suppress(asyncio.CancelledError):
                        await load
                rows = await work.settle()
    return Report(
        seed=seed, runs=runs, kills=dict(work.kills), killed_while_starting=work.early, restarts=work.restarts,
        reorgs=work.reorgs, rows=rows, verified=work.verified, recovery_s=work.recovery_s,
        took_s=round(time.monotonic() - started, 1), faults=work.faults,
    )  # fmt: skip


def main() -> None:
    """Run a campaign from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    report = asyncio.run(campaign(runs=asked.runs, seed=asked.seed))
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(report)).decode() + "\n")
    sys.exit(1 if report.faults else 0)


if __name__ == "__main__":
    main()
