"""FactLog: one suite for every store; what is stored is told, once, in order, and only if it was stored."""

from datetime import UTC, datetime, timedelta

import pytest

from core.errors import CursorMoved, SeamBroken
from core.facts import BlockFact, Fact, FactLog, FactsGone, FillFact, ReorgFact, Tail
from core.store.port import ChainStore
from core.types import BlockRange
from tests import make

A = make.chain(40, txs=2)
LATER, EARLIER = (datetime.now(UTC) + timedelta(days=days) for days in (1, -1))


async def told(facts: FactLog, after: int = 0) -> list[Fact]:
    """The facts after a number, which must follow it without a gap."""
    found = await facts.after(after, 1_000)
    assert [each.seq for each in found] == list(range(after + 1, after + 1 + len(found)))
    return [each.fact for each in found]


def of(number: int) -> BlockFact:
    block = A[number]
    return BlockFact(block=block.ref, parent_hash=block.parent_hash, timestamp=block.timestamp, tx_count=len(block.txs))


async def test_nothing_is_told_of_an_empty_store(facts: FactLog) -> None:
    assert (await facts.tail(), await facts.after(0, 10)) == (Tail(0, 0), ())


async def test_every_block_of_a_commit_is_a_fact(store: ChainStore, facts: FactLog) -> None:
    await store.commit(A[3:6], after=None)
    await store.commit(A[6:7], after=A[5].ref)
    assert await told(facts) == [of(3), of(4), of(5), of(6)]
    assert await facts.tail() == Tail(0, 4)


async def test_a_filled_range_is_one_fact(store: ChainStore, facts: FactLog) -> None:
    await store.commit(A[20:21], after=None)
    await store.fill(A[12:20])
    fill = FillFact(blocks=BlockRange(12, 19), parent_hash=A[12].parent_hash, tip_hash=A[19].hash)
    assert await told(facts, 1) == [fill]


async def test_a_rewind_tells_what_is_gone_and_why(store: ChainStore, facts: FactLog) -> None:
    await store.commit(A[18:25], after=None)
    await store.rewind(A[24].ref, A[19].ref, reason="another block at 20")
    gone = ReorgFact(
        orphans=BlockRange(20, 24), ancestor_hash=A[19].hash, tip_hash=A[24].hash, reason="another block at 20"
    )
    assert await told(facts, 7) == [gone]
    await store.rewind(A[19].ref, None, reason="all")
    (nothing,) = await told(facts, 8)
    assert nothing == ReorgFact(orphans=BlockRange(0, 19), ancestor_hash=None, tip_hash=A[19].hash, reason="all")


async def test_a_discard_of_history_is_a_reorg_too(store: ChainStore, facts: FactLog) -> None:
    await store.commit(A[10:13], after=None)
    await store.commit(A[30:31], after=A[12].ref)
    await store.discard(12, A[12].ref, reason="orphaned history")
    await store.discard(10, A[11].ref, reason="more of it")
    assert await told(facts, 4) == [
        ReorgFact(orphans=BlockRange(12, 12), ancestor_hash=A[11].hash, tip_hash=A[12].hash, reason="orphaned history"),
        ReorgFact(orphans=BlockRange(10, 11), ancestor_hash=None, tip_hash=A[11].hash, reason="more of it"),
    ]


async def test_what_was_refused_is_not_told(store: ChainStore, facts: FactLog) -> None:
    await store.commit(A[:5], after=None)
    before = await told(facts)
    with pytest.raises(CursorMoved):
        await store.commit(A[5:6], after=A[3].ref)
    with pytest.raises(SeamBroken):
        await store.fill(A[2:3])
    with pytest.raises(SeamBroken):
        await store.discard(4, A[4].ref, reason="no")
    assert await told(facts) == before
    await store.commit(A[5:6], after=A[4].ref)
    assert await told(facts, 5) == [of(5)]


async def test_facts_are_read_in_parts(store: ChainStore, facts: FactLog) -> None:
    await store.commit(A[:5], after=None)
    assert [each.seq for each in await facts.after(1, 2)] == [2, 3]
    assert await facts.after(5, 2) == ()


async def test_a_number_that_was_never_told_is_refused(store: ChainStore, facts: FactLog) -> None:
    await store.commit(A[:2], after=None)
    with pytest.raises(FactsGone, match="no facts after 3: the newest fact is 2"):
        await facts.after(3, 10)


async def test_pruned_facts_are_refused_and_numbers_go_on(store: ChainStore, facts: FactLog) -> None:
    await store.commit(A[:5], after=None)
    assert await facts.prune(EARLIER, 100) == 0
    assert await facts.prune(LATER, 3) == 3
    with pytest.raises(FactsGone, match="facts up to 3 are not kept any more") as gone:
        await facts.after(2, 10)
    assert gone.value.tail == Tail(3, 5)
    assert [each.seq for each in await facts.after(3, 10)] == [4, 5]
    assert await facts.prune(LATER, 100) == 2
    assert await facts.after(5, 10) == ()
    await store.commit(A[5:6], after=A[4].ref)
    assert await facts.tail() == Tail(5, 6)
    assert await told(facts, 5) == [of(5)]
    with pytest.raises(FactsGone):
        await facts.after(4, 10)
