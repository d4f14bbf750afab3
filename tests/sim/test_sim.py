"""Storms of faults: what is stored afterwards is the node's chain, and nothing else was stored at any time."""

import asyncio
import itertools
import logging
from collections import Counter
from collections.abc import Iterator

import pytest

from simulator.campaign import campaign
from simulator.run import Outcome, simulate
from simulator.weather import Given, plan_of
from simulator.world import FAULTS

SEEDS = range(100)

# What each of them found when it was new; see the commit that added it.
ONCE_DIVERGED = {
    18: "an endpoint began to serve another chain between two requests, and history was filled with a block of that",
    143: "orphans stayed below what is retained, under a hole that a jump had left",
}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Nobody reads what thousands of services log."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_what_is_stored_equals_the_canonical_chain_after_every_storm() -> None:
    report = asyncio.run(campaign(SEEDS, {}, jobs=2))
    assert report.failing == []
    assert [kind for kind, count in report.faults.items() if not count] == [], "what never strikes proves nothing"
    assert report.writes.keys() >= {"commit", "fill", "fill_chunk", "rewind", "discard", "note", "prune"}


@pytest.mark.parametrize("seed", ONCE_DIVERGED, ids=lambda seed: f"{seed} {ONCE_DIVERGED[seed]}")
def test_a_seed_that_once_diverged_stays_right(seed: int) -> None:
    assert simulate(seed).diverged is None


def one_of_each_kind() -> Iterator[int]:
    """Yield a seed of each level, with and without encoded paths, of which endpoints are several."""
    for level, encoded in itertools.product(("objects", "wire"), (True, False)):
        plans = ((seed, plan_of(seed, {})) for seed in itertools.count())
        yield next(seed for seed, of in plans if (of.level, of.encoded) == (level, encoded) and of.endpoints > 2)


@pytest.mark.parametrize("seed", list(one_of_each_kind()))
def test_a_seed_has_the_same_fate_every_time(seed: int) -> None:
    assert _of(simulate(seed)) == _of(simulate(seed))


def _of(outcome: Outcome) -> tuple[object, ...]:
    return outcome.diverged, outcome.faults, outcome.writes, outcome.errors


def test_settings_decide_what_they_say() -> None:
    given = Given(max_blocks=20, jump_blocks=60, chunk_blocks=50, finalized_depth=24, retain_blocks=64, mode="watch")
    plan = plan_of(5, given)
    assert (plan.max_blocks, plan.retain_blocks, plan.mode) == (20, 64, "watch")
    assert plan.writers == plan_of(5, {}).writers
    assert [found for seed in range(8) if (found := simulate(seed, given).diverged)] == []


def test_a_campaign_counts_what_its_processes_saw() -> None:
    report = asyncio.run(campaign(range(20, 24), {}, jobs=2))
    outcomes = [simulate(seed) for seed in range(20, 24)]
    assert (report.seeds, report.seed_start, report.diverged, report.failing) == (4, 20, 0, [])
    assert report.faults.keys() == FAULTS
    assert +Counter(report.faults) == sum((each.faults for each in outcomes), Counter[str]())
    assert +Counter(report.writes) == sum((each.writes for each in outcomes), Counter[str]())
