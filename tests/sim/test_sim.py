"""Seeds that must not diverge, seeds that once did, and mutants that must."""

import asyncio
import random
from collections import Counter

import pytest

from core.store.memory import MemoryStore
from core.store.pg import PgStore
from core.store.pool import open_pool
from core.store.port import ChainStore
from core.types import Block, BlockRef
from indexer import ancestor, backfill, follow
from indexer.link import Linked, link
from tests.sim.run import MakeStore, in_memory, simulate
from tests.sim.stores import Look, look_into_memory, look_into_postgres

SEEDS = range(100)
BULK_SEEDS = range(40)
PG_SEEDS = range(5)

# What each of them found, in the order of finding; see the commit that added it.
ONCE_DIVERGED = {
    81: "a fill that arrived after a rewind stored blocks above the cursor",
    286: "a discard took the block away that the cursor had meanwhile been rewound to",
    629: "the node went back to the stored block while its orphans were looked for",
    881: "a discard cut the cursor's own range",
    887: "the same, and a discard of nothing ended the process",
    10707: "an ancestor was found above the cursor, where another follower had gone on meanwhile",
}


async def test_the_stored_chain_equals_the_canonical_one_after_every_storm() -> None:
    outcomes = [await simulate(seed) for seed in SEEDS]
    assert [(o.seed, o.diverged) for o in outcomes if o.diverged] == []


async def test_the_stored_chain_equals_the_canonical_one_when_history_is_filled_in_bulk() -> None:
    outcomes = [await simulate(seed, bulk=True) for seed in BULK_SEEDS]
    assert [(o.seed, o.diverged) for o in outcomes if o.diverged] == []
    faults = sum((o.faults for o in outcomes), Counter[str]())
    assert faults["(fill_chunk)"] > 5 * len(BULK_SEEDS)
    assert min(faults["rows refused"], faults["unusual blocks"], faults["(fill)"]) > 0


@pytest.mark.parametrize("seed", ONCE_DIVERGED, ids=lambda seed: f"{seed} {ONCE_DIVERGED[seed]}")
async def test_a_seed_that_once_diverged_stays_right(seed: int) -> None:
    assert (await simulate(seed)).diverged is None


async def test_a_seed_has_the_same_fate_every_time() -> None:
    assert await simulate(7) == await simulate(7)


async def test_the_stored_chain_equals_the_canonical_one_on_postgres(database_url: str) -> None:
    dice = random.Random("pauses")

    async def pause() -> None:
        await asyncio.sleep(dice.choice((0, 0, 0.001)))

    async with open_pool(database_url, role="chainworkd_indexer", size=8) as pool:
        for seed in PG_SEEDS:
            chain = seed + 1

            def make(chain: int = chain) -> tuple[ChainStore, Look]:
                return PgStore(pool, chain), look_into_postgres(pool, chain)

            assert (await simulate(seed, make, pause=pause)).diverged is None, seed


# -- mutants: a harness that cannot see these defects proves nothing ---------------------------------------------------


async def seeds_until_caught(make_store: MakeStore = in_memory, *, within: int = 40, bulk: bool = False) -> int:
    for seed in range(within):
        if (await simulate(seed, make_store, bulk=bulk)).diverged is not None:
            return seed + 1
    pytest.fail(f"not caught within {within} seeds")


async def test_checking_only_the_first_seam_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def first_seam_only(cursor: BlockRef | None, blocks: list[Block]) -> object:
        found = link(cursor, blocks[:1])
        return Linked(blocks[-1].ref) if isinstance(found, Linked) else found

    for module in (follow, backfill):
        monkeypatch.setattr(module, "link", first_seam_only)
    # The store has a guard of its own.
    monkeypatch.setattr("core.store.memory.check_linked", lambda blocks: None)
    await seeds_until_caught()


async def test_a_missing_compare_and_set_is_caught() -> None:
    class Careless(MemoryStore):
        async def rewind(self, cursor: BlockRef, ancestor: BlockRef | None, *, reason: str) -> None:
            found = self._cursor
            self._cursor = cursor
            try:
                await super().rewind(cursor, ancestor, reason=reason)
            except BaseException:
                self._cursor = found
                raise

    def make() -> tuple[ChainStore, Look]:
        store = Careless()
        return store, look_into_memory(store)

    await seeds_until_caught(make)


@pytest.mark.parametrize("bulk", [False, True])
async def test_coverage_without_rows_is_caught(bulk: bool) -> None:
    class Forgetful(MemoryStore):
        """Loses the first block of a fill, and covers it all the same."""

        async def fill(self, blocks: list[Block], *, anchored: bool = True) -> None:  # type: ignore[override]
            await super().fill(blocks, anchored=anchored)
            if len(blocks) > 2:
                lost.add(blocks[0].number)

    lost: set[int] = set()

    def make() -> tuple[ChainStore, Look]:
        store = Forgetful()
        lost.clear()
        whole = look_into_memory(store)

        async def look() -> object:
            seen = await whole()
            return type(seen)({n: b for n, b in seen.blocks.items() if n not in lost}, seen.coverage, seen.cursor)

        return store, look  # type: ignore[return-value]

    await seeds_until_caught(make, bulk=bulk)


async def test_an_ancestor_that_is_off_by_one_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    async def one_too_high(*given: object) -> BlockRef | None:
        found = await ancestor.common_ancestor(*given)  # type: ignore[arg-type]
        store: ChainStore = given[1]  # type: ignore[assignment]
        above = None if found is None else await store.ref_at(found.number + 1)
        return above or found

    monkeypatch.setattr(follow, "common_ancestor", one_too_high)
    await seeds_until_caught()
