"""The simulator over a real PostgreSQL: fewer seeds, and the defects that only its transactions can have."""

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from core.facts import Fact
from core.store import counts, erase, facts, finality, pg, prune
from core.store.pg import PgStore
from core.store.pool import Connection, Pool, open_pool
from core.types import Block, BlockRef
from simulator.clock import run_leaping
from simulator.run import Outcome, simulated
from simulator.weather import plan_of
from simulator.world import World
from tests.sim.postgres import PgDatabase, working

SEEDS = range(6)
WITHIN = 20

Make = Callable[[Pool, int, World], PgDatabase]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Nobody reads what hundreds of services log."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def first_diverged(url: str, seeds: Sequence[int], make: Make = PgDatabase) -> Outcome | None:
    """Return how the first seed that diverges ended."""

    async def in_turn() -> Outcome | None:
        async with AsyncExitStack() as resources:
            with working():
                pool = await resources.enter_async_context(open_pool(url, role="chainworkd_indexer", size=12))
            for seed in seeds:
                outcome = await simulated(seed, plan_of(seed, {}), lambda world: make(pool, world.seed + 1, world))
                if outcome.diverged is not None:
                    return outcome
        return None

    return run_leaping(in_turn())


def test_every_table_equals_a_fresh_index_after_every_storm(database_url: str) -> None:
    assert first_diverged(database_url, SEEDS) is None


# -- defects put in on purpose -----------------------------------------------------------------------------------------


class CursorFirst(PgStore):
    """Moves the cursor in a transaction of its own."""

    async def _move_cursor(self, conn: Connection, before: BlockRef | None, after: BlockRef | None) -> None:
        async with self._pool.acquire() as other:
            await super()._move_cursor(other, before, after)


class CoverageFirst(PgStore):
    """Covers a range in a transaction of its own before its rows are there."""

    async def fill(self, blocks: Sequence[Block], *, anchored: bool = True) -> None:
        await self._pool.execute(pg.SQL_COVER, self._chain, blocks[0].number, blocks[-1].number)
        await super().fill(blocks, anchored=anchored)


@dataclass(frozen=True)
class Mutation:
    """A statement in the place of another one, or a store that is not what it should be."""

    name: str
    module: Any = None
    statement: str = ""
    instead: str = ""
    store: type[PgStore] = PgStore
    near: int = 0  # a seed that caught it once

    def database(self, pool: Pool, chain: int, world: World) -> PgDatabase:
        """Return a database with the defect."""
        made = self.store

        class Defective(PgDatabase):
            def store(self, pool: Pool, chain: int) -> PgStore:
                return made(pool, chain, derived=self.derived, keep=self.keep)

        return Defective(pool, chain, world)


ANYWHERE = """
    update chain.cursor
    set number = $2, hash = $3, updated_at = now()
    where chain_id = $1 and $4::bigint is not null and $5::bytea is not null
"""
LEAST = """
    update chain.head
    set safe_number = least(safe_number, $2), finalized_number = least(finalized_number, $2)
    where chain_id = $1 and safe_number > $2
"""
NOTHING_OF_TWO = "select $1::bigint, $2::bigint"
NOTHING_OF_THREE = "select $1::bigint, $2::bigint, $3::bigint"
HASHES_STAY = "select $1::bigint, $2::bigint, $3::bigint, $4::bigint[]"
COUNTS_STAY = "select $1::bigint, $2::bigint, $3::bigint, $4::bigint"
MUTATIONS = (
    Mutation("the cursor moves in a transaction of its own", store=CursorFirst),
    Mutation("coverage is written in a transaction of its own", store=CoverageFirst),
    Mutation("the cursor is not compared", pg, "SQL_MOVE_CURSOR", ANYWHERE, near=11),
    Mutation("a rewind does not uncover", pg, "SQL_UNCOVER_TOP", NOTHING_OF_TWO),
    Mutation("a rewind forgets a table", erase, "SQL_DELETE_HASHES", HASHES_STAY),
    Mutation("counts outlive what they count", counts, "SQL_UNCOUNT", COUNTS_STAY),
    Mutation(
        "a reorg makes finalized what never was", finality, "SQL_LOWER", LEAST, near=27
    ),  # it did, until a seed said so
    Mutation("retention does not uncover", prune, "SQL_UNCOVER_BOTTOM", NOTHING_OF_THREE),
)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda each: each.name)
def test_a_defect_is_caught(mutation: Mutation, monkeypatch: pytest.MonkeyPatch, database_url: str) -> None:
    if mutation.module is not None:
        monkeypatch.setattr(mutation.module, mutation.statement, mutation.instead)
    seeds = (mutation.near, *range(WITHIN))
    caught(first_diverged(database_url, seeds, mutation.database), mutation.name)


def test_facts_told_in_a_transaction_of_their_own_are_caught(
    monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    tell, pools = facts.tell, list[Pool]()

    async def apart(conn: Connection, chain_id: int, told: Sequence[Fact], at: Any) -> None:
        async with pools[-1].acquire() as other:
            await tell(other, chain_id, told, at)

    def database(pool: Pool, chain: int, world: World) -> PgDatabase:
        pools.append(pool)
        return PgDatabase(pool, chain, world)

    monkeypatch.setattr(facts, "tell", apart)
    caught(first_diverged(database_url, range(WITHIN), database), "facts are told in a transaction of their own")


def test_an_alarm_that_is_not_raised_is_caught(monkeypatch: pytest.MonkeyPatch, database_url: str) -> None:
    async def silence(*_: object, **__: object) -> None:
        pass

    monkeypatch.setattr("core.store.alarm.sound", silence)
    caught(first_diverged(database_url, range(WITHIN)), "no alarm is raised")


def caught(outcome: Outcome | None, name: str) -> None:
    assert outcome is not None, f"none of {WITHIN} seeds caught it"
    assert outcome.diverged is not None
    sys.stdout.write(f"{name}: seed {outcome.seed}: {outcome.diverged}\n")
    assert outcome.diverged.startswith("Diverged: "), "it fell over its own feet"
