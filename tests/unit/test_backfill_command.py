"""When `chainworkd backfill` tries again, and when it gives up."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from core.errors import RpcRefused, RpcUnavailable, StoreUnavailable
from core.store.lease import Lease
from core.types import Block, BlockRange
from daemon import backfill
from indexer.pipeline import Pipeline
from tests.unit.bulk import FakeHot
from tests.unit.test_backfill_bulk import A, Both, Store

REFUSED = RpcRefused("node", "eth_getBlockReceipts", -32000, "pruned")


class Failing(Both):
    """A node that does not give block 42, by either way."""

    def __init__(self, error: Exception) -> None:
        super().__init__(A)
        self.error = error
        self.raw.broken = {42: error}

    async def blocks(self, wanted: BlockRange) -> tuple[Block, ...]:
        if 42 in wanted:
            raise self.error
        return await super().blocks(wanted)


class NobodyElse:
    async def taken(self) -> list[BlockRange]:
        return []

    async def claim(self, blocks: BlockRange) -> Lease:
        return Lease(blocks, UUID(int=1))

    async def renew(self, lease: Lease) -> None: ...

    async def release(self, lease: Lease) -> None: ...


def job_of(node: Both, store: Store, last: int = 99) -> backfill.Job:
    pipeline = Pipeline(node.raw, node, FakeHot(node.raw), store, chunk_blocks=5)
    settings = SimpleNamespace(chunk_blocks=5)
    chain: Any = SimpleNamespace(source=node, store=store, name="t", settings=settings)
    return backfill.Job(chain, pipeline, BlockRange(0, last), last, NobodyElse())


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill, "PAUSES_S", (0, 0, 0))


async def test_what_the_node_cannot_serve_is_left_and_the_rest_is_reported() -> None:
    node, store = Failing(REFUSED), Store(headless=True)
    job = job_of(node, store)
    await backfill._fill(job)
    assert sorted(set(range(100)) - set(store.blocks)) == list(range(40, 45))
    assert job.pipeline.progress.blocks == 95


async def test_a_node_that_stays_away_is_an_error() -> None:
    node, store = Failing(RpcUnavailable("gone")), Store(headless=True)
    with pytest.raises(RpcUnavailable):
        await backfill._fill(job_of(node, store))


async def test_blocks_of_small_holes_are_counted_too() -> None:
    node, store = Both(A), Store(headless=True)
    job = job_of(node, store, last=3)
    await backfill._fill(job)
    progress = job.pipeline.progress
    assert (len(store.blocks), progress.blocks, progress.careful_blocks, progress.txs) == (4, 4, 4, 4)


class Forgetful(NobodyElse):
    async def release(self, lease: Lease) -> None:
        raise StoreUnavailable("the database is gone")


async def test_a_lease_that_cannot_be_given_up_hides_no_other_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill, "PAUSES_S", ())
    node, store = Failing(RpcUnavailable("gone")), Store(headless=True)
    with pytest.raises(RpcUnavailable):
        await backfill._fill(replace(job_of(node, store), leases=Forgetful()))
