"""Each defect put in on purpose is seen by one of the seeds that tests run; with -s, which one is printed."""

import logging
from collections.abc import Iterator

import pytest

from simulator.run import simulate
from tests.sim.mutations import MUTATIONS, Mutation
from tests.sim.test_sim import SEEDS


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Nobody reads what thousands of services log."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda each: each.name)
def test_a_defect_is_caught(mutation: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation.patch(monkeypatch)
    for seed in (*SEEDS[mutation.near :], *SEEDS[: mutation.near]):
        found = simulate(seed, make_database=mutation.database).diverged
        if found is not None:
            print(f"{mutation.name}: seed {seed}: {found}")
            assert found.startswith("Diverged: "), "it fell over its own feet"
            return
    pytest.fail(f"none of {len(SEEDS)} seeds caught it")
