"""A droid through many steps of its price, in both token orders, with all four commands; rows against chain each time.

`python -m tests.robots.run --steps 500 --seed 1` prints a line of JSON, and exits 1 if a wei or an NFT is not where the
ledger says, if gas went beyond the budget, or if something was sent that should not have been. Steps are shared out
between the two token orders. The loop is a new one at every look: it knows nothing but the rows.
"""

import argparse
import asyncio
import sys
import time
from collections import Counter
from decimal import Decimal
from random import Random
from typing import Any, Final

import msgspec

from builders.call import invoke
from core.store.embedded import EmbeddedPostgres
from core.store.migrate import migrate
from core.store.pool import Pool, open_pool
from core.store.schema import THROW_AWAY, scratch_folder
from daemon.schema import MIGRATIONS
from droids import records
from droids.records import Command, Status
from tests.robots.ground import BUSY, Ground, broken, chain
from tests.robots.robot import Robot

GIFT: Final = 1_234_567_891  # base units of the quote that somebody gives meanwhile
CALM_S: Final = 400  # after a step: the mean of 300 s has followed
JUMP_SHARE: Final = 0.1  # of steps, at which the droid looks before the mean has followed


SQL_GAS: Final = """
    select m.kind, count(*), min(r.gas_used) as least, max(r.gas_used) as most
    from droid.move m
    join wallet.receipt r on r.intent_id = m.intent_id
    group by m.kind
"""


class Report(msgspec.Struct, kw_only=True):
    """What a run did and saw."""

    seed: int
    steps: int
    orders: list[str]
    moves: dict[str, int]
    decisions: dict[str, int]
    opened: int
    closed: int
    sessions: int
    ticks: list[int]
    gas_usd: str
    gas: dict[str, list[int]]
    worth: list[dict[str, str]]
    took_s: float
    faults: list[str]


class Course:
    """One droid's way through its steps."""

    def __init__(self, robot: Robot, chance: Random, steps: int) -> None:
        self.robot, self.ground, self.chance, self.steps = robot, robot.ground, chance, steps
        self.faults: list[str] = []
        self.ticks: list[int] = []
        self.worth: dict[str, str] = {}
        self._at = 0

    async def run(self) -> None:
        """Go all the way: run, pause, reset twice, close, run again, run out of budget, close."""
        part = self.steps // 6
        await self.robot.command(Command.RUN)
        await self.go(part)
        await self.pause(max(2, part // 4))
        await self.robot.command(Command.RUN)
        await self.go(part - part // 4)
        await self.reset()
        await self.configure(triggerType="EMA")
        await self.go(part)
        await self.give()
        await self.go(part)
        await self.close()
        await self.configure(triggerType="PRICE")
        await self.robot.command(Command.RUN)
        await self.go(part)
        await self.starve()
        await self.go(self.steps - self._at)
        await self.measure()
        await self.close()

    async def go(self, steps: int, *, least: int = 20) -> None:
        """Let the price step, and the droid answer."""
        for _ in range(steps):
            self._at += 1
            if self.chance.random() < JUMP_SHARE:
                self.ticks.append(await self.ground.nudge(self.chance, least=150, most=300))
                await self.robot.look()
            else:
                self.ticks.append(await self.ground.nudge(self.chance, least=least))
            await self.ground.wait(CALM_S)
            await self.robot.settle()
            await self.check()

    async def check(self) -> None:
        """Hold rows against the chain, and gas against its budget."""
        self.faults += [f"step {self._at}: {each}" for each in await self.robot.differences()]
        session, row = await self.robot.session(), await self.robot.row()
        if session.gas_usd > row.droid.gas_budget_limit:
            self.faults.append(f"step {self._at}: {session.gas_usd} USD of gas, {row.droid.gas_budget_limit} allowed")
        if session.status is Status.HALTED:
            self.faults.append(f"step {self._at}: halted: {session.note}")

    async def pause(self, steps: int) -> None:
        """Nothing is sent while the price goes on."""
        await self.robot.command(Command.PAUSE)
        before = list(self.robot.meter.moves)
        await self.go(steps)
        if self.robot.meter.moves != before or (await self.robot.session()).status is not Status.PAUSED:
            self.faults.append("something was sent while it was paused")

    async def reset(self) -> None:
        """Two resets are two sessions more, and positions stay."""
        before = await self.ground.nfts(self.robot.wallet)
        sessions = len(await records.sessions(self.robot.store, self.robot.number, 99))
        for _ in range(2):
            await self.robot.command(Command.RESET)
            await self.robot.look()
            kept = await self.ground.nfts(self.robot.wallet)
            if not before or kept != before:
                self.faults.append(f"a reset was to keep positions {sorted(before)}, and there are {sorted(kept)}")
            # Without a warm-up the new session acts at once.
            await self.robot.settle()
            before = await self.ground.nfts(self.robot.wallet)
            await self.check()
        found = len(await records.sessions(self.robot.store, self.robot.number, 99))
        if found != sessions + 2:
            self.faults.append(f"two resets made {found - sessions} sessions")

    async def configure(self, **fields: Any) -> None:
        """Change fields."""
        row = await self.robot.row()
        if not await records.configure(self.robot.store, row, {**row.config, **fields}):
            self.faults.append(f"fields were not taken: {fields}")

    async def give(self) -> None:
        """Somebody pays into the wallet: that is no profit."""
        await self.ground.pool.send(invoke(self.ground.quote, "mint(address,uint256)", self.robot.wallet, GIFT))

    async def starve(self) -> None:
        """Leave room in the budget for less than a rebalance more."""
        spent = (await self.robot.session()).gas_usd
        # A ladder of five costs some 5 USD here, and leaving it 3: less than both, and enough to leave.
        await self.configure(gasBudgetLimit=(spent + 6).quantize(Decimal("0.01")))
        before = len(self.robot.meter.words)
        for _ in range(5):
            await self.go(1, least=80)
            if ("Hold", "gas_budget") in self.robot.meter.words[before:]:
                return
        self.faults.append("the budget never held it back")

    async def close(self) -> None:
        """Everything is closed, whatever the budget says, and the wallet is given back."""
        await self.robot.command(Command.CLOSE)
        for _ in range(3):
            await self.robot.settle()
            await self.ground.wait(CALM_S)
        await self.check()
        row, session = await self.robot.row(), await self.robot.session()
        if session.status is not Status.STOPPED or row.holds or row.active is not Command.PAUSE:
            self.faults.append(f"it was to be closed and is {session.status} ({await self.robot.word()})")
        if left := await self.ground.nfts(self.robot.wallet):
            self.faults.append(f"it is closed, and the wallet has positions {sorted(left)}")

    async def measure(self) -> None:
        """Note what the last snapshot says."""
        shot = (await records.snapshots(self.robot.store, self.robot.number, 1))[0]
        names = ("aum", "hold", "fees_earned", "il", "lvr", "gas_usd", "price")
        self.worth = {name: f"{getattr(shot, name):.2f}" for name in names}
        await self.audit()

    async def audit(self) -> None:
        """Hold the ledger against what was given: nothing else came from outside."""
        lines = await records.ledger(self.robot.store, self.robot.number)
        found = [(each.asset, each.amount) for each in lines if each.kind == "external"]
        if found != [(self.ground.quote, GIFT)]:
            self.faults.append(f"given {GIFT}, and the ledger says that from outside came {found}")


async def one(store: Pool, on: Ground, chance: Random, steps: int, pool_id: int) -> Course:
    """Run one droid on its ground."""
    robot = Robot(on, store, await on.wallet())
    await robot.born(BUSY | {"gasBudgetLimit": 5_000}, pool_id=pool_id)
    async with robot.awake():
        made = Course(robot, chance, steps)
        await made.run()
    return made


async def run(*, steps: int, seed: int) -> Report:
    """Run half of the steps in each token order."""
    started = time.monotonic()
    courses: list[Course] = []
    counts: Counter[str] = Counter()
    opened = closed = sessions = 0
    gas, used = Decimal(0), []
    with scratch_folder() as folder:
        async with EmbeddedPostgres(folder / "data", settings=THROW_AWAY) as server, chain() as town:
            await migrate(server.url(), MIGRATIONS)
            async with open_pool(server.url(), size=6) as store:
                for place, order in enumerate((True, False)):
                    on = await broken(*town, base_is_token0=order)
                    courses.append(await one(store, on, Random(seed + place), steps // 2, 42 + place))
                opened = await store.fetchval("select count(*) from droid.position")
                closed = await store.fetchval("select count(*) from droid.position where closed_by is not null")
                sessions = await store.fetchval("select count(*) from droid.session")
                gas = await store.fetchval("select sum(gas_usd) from droid.session")
                rows = await store.fetch("select decided, word, count(*) from droid.decision group by 1, 2")
                used = await store.fetch(SQL_GAS)
                counts.update({f"{row['decided']}/{row['word']}": row["count"] for row in rows})
    moves = Counter(f"{kind}/{outcome}" for each in courses for kind, outcome in each.robot.meter.moves)
    faults = [fault for each in courses for fault in each.faults]
    ticks = [tick for each in courses for tick in each.ticks]
    if opened != closed or not opened:
        faults.append(f"{opened} positions were opened, {closed} closed")
    return Report(
        seed=seed, steps=len(ticks), orders=["base_is_token0", "base_is_token1"], moves=dict(moves),
        decisions=dict(sorted(counts.items())), opened=opened, closed=closed, sessions=sessions,
        ticks=[min(ticks), max(ticks)], gas_usd=str(gas.quantize(Decimal("0.01"))),
        gas={row["kind"]: [row["count"], row["least"], row["most"]] for row in used},
        worth=[each.worth for each in courses], took_s=round(time.monotonic() - started, 1), faults=faults,
    )  # fmt: skip


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    report = asyncio.run(run(steps=asked.steps, seed=asked.seed))
    sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    sys.exit(1 if report.faults else 0)


if __name__ == "__main__":
    main()
