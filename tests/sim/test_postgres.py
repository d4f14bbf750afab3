"""The simulator over a real PostgreSQL: fewer seeds, and defects that only its transactions can have."""

import logging
from collections.abc import Callable, Iterator

import pytest

from core.store.pool import Pool, open_pool
from simulator.clock import run_leaping
from simulator.run import simulated
from simulator.weather import plan_of
from simulator.world import World
from tests.sim.postgres import PgDatabase, working

SEEDS = range(6)
WITHIN = 12


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Nobody reads what hundreds of services log."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


Make = Callable[[Pool, int, World], PgDatabase]


def first_diverged(url: str, seeds: range, make: Make = PgDatabase) -> tuple[int, str] | None:
    """Return the first seed that diverges, and how."""

    async def all_of_them() -> tuple[int, str] | None:
        with working():
            opened = open_pool(url, role="chainworkd_indexer", size=12)
            pool = await opened.__aenter__()
        try:
            for seed in seeds:
                outcome = await simulated(seed, plan_of(seed, {}), lambda world, n=seed: make(pool, n + 1, world))  # type: ignore[misc]
                if outcome.diverged is not None:
                    return seed, outcome.diverged
            return None
        finally:
            with working():
                await opened.__aexit__(None, None, None)

    return run_leaping(all_of_them())


def test_every_table_equals_a_fresh_index_after_every_storm(database_url: str) -> None:
    assert first_diverged(database_url, SEEDS) is None
