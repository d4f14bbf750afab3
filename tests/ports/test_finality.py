"""What is told of finality, and the alarm when what was final is orphaned: one suite for every store."""

import pytest

from core.alarm import AlarmLog
from core.facts import FactLog, FinalizeFact, Told
from core.store.port import ChainStore
from core.types import BlockRange, Finality
from indexer.finality import FinalityStore
from tests import make

A = make.chain(40)


@pytest.fixture
async def judged(store: ChainStore, finality: FinalityStore) -> ChainStore:
    """Blocks 10..30, of which 25 is safe and 20 finalized."""
    await store.commit(A[10:31], after=None)
    await store.saw(A[30].head)
    await finality.note(Finality(A[25].ref, A[20].ref))
    return store


async def newest(facts: FactLog) -> Told:
    tail = await facts.tail()
    return (await facts.after(tail.last - 1, 1))[0]


async def test_an_advance_of_finality_is_told_once(judged: ChainStore, finality: FinalityStore, facts: FactLog) -> None:
    assert (await newest(facts)).fact == FinalizeFact(safe=A[25].ref, finalized=A[20].ref, by_depth=False)
    told = await facts.tail()
    await finality.note(Finality(A[25].ref, A[20].ref))
    await finality.note(Finality(A[22].ref, A[11].ref))
    assert await facts.tail() == told
    await finality.note(Finality(A[26].ref, A[20].ref, by_depth=True))
    assert (await newest(facts)).fact == FinalizeFact(safe=A[26].ref, finalized=A[20].ref, by_depth=True)


async def test_a_block_that_is_not_stored_proves_nothing(
    judged: ChainStore, finality: FinalityStore, facts: FactLog
) -> None:
    told = await facts.tail()
    other = make.chain(5, onto=A[25], fork="b")
    await finality.note(Finality(other[3].ref, other[1].ref))
    await finality.note(Finality(A[35].ref, A[33].ref))
    assert await facts.tail() == told


async def test_a_reorg_above_what_is_final_raises_no_alarm(
    judged: ChainStore, finality: FinalityStore, facts: FactLog, alarms: AlarmLog
) -> None:
    await judged.rewind(A[30].ref, A[20].ref, reason="deep, but not too deep")
    assert await alarms.raised() == ()
    await judged.commit(A[21:24], after=A[20].ref)
    await finality.note(Finality(A[21].ref, A[20].ref))
    assert (await newest(facts)).fact == FinalizeFact(safe=A[21].ref, finalized=A[20].ref, by_depth=False)


async def test_a_reorg_of_a_final_block_raises_the_alarm_and_is_carried_out(
    judged: ChainStore, finality: FinalityStore, alarms: AlarmLog
) -> None:
    await judged.rewind(A[30].ref, A[19].ref, reason="a chain that nobody expected")
    assert await judged.cursor() == A[19].ref
    (alarm,) = await alarms.raised()
    assert (alarm.finalized, alarm.by_depth, alarm.orphans) == (20, False, BlockRange(20, 30))
    assert (alarm.tip_hash, alarm.reason) == (A[30].hash, "a chain that nobody expected")
    assert str(alarm).startswith("blocks 20..30 were orphaned at ")
    # Indexing goes on; that does not clear it.
    other = make.chain(8, onto=A[19], fork="b")
    await judged.commit(other, after=A[19].ref)
    await finality.note(Finality(other[5].ref, other[3].ref))
    assert await alarms.raised() == (alarm,)
    await judged.rewind(other[-1].ref, other[4].ref, reason="an everyday one")
    assert await alarms.raised() == (alarm,)


async def test_a_reorg_of_a_safe_block_makes_nothing_finalized(
    store: ChainStore, finality: FinalityStore, facts: FactLog, alarms: AlarmLog
) -> None:
    await store.commit(A[10:31], after=None)
    await store.saw(A[30].head)
    await finality.note(Finality(A[25].ref, None))
    await store.rewind(A[30].ref, A[20].ref, reason="deeper than what was called safe")
    await store.commit(A[21:28], after=A[20].ref)
    await finality.note(Finality(A[22].ref, None))
    assert (await newest(facts)).fact == FinalizeFact(safe=A[22].ref, finalized=None, by_depth=False)
    await store.rewind(A[27].ref, A[15].ref, reason="deeper still")
    assert await alarms.raised() == ()


async def test_history_that_is_discarded_below_what_is_final_raises_it_too(
    judged: ChainStore, facts: FactLog, alarms: AlarmLog
) -> None:
    await judged.fill(A[3:6], anchored=False)
    await judged.discard(4, A[5].ref, reason="does not join")
    (alarm,) = await alarms.raised()
    assert alarm.orphans == BlockRange(4, 5)
    # The blocks above are as final as they were.
    await judged.rewind(A[30].ref, A[20].ref, reason="fine")
    assert len(await alarms.raised()) == 1


async def test_an_alarm_is_cleared_once_by_somebody(judged: ChainStore, alarms: AlarmLog) -> None:
    assert await alarms.clear("nobody", "nothing to clear") == 0
    await judged.rewind(A[30].ref, A[19].ref, reason="one")
    await judged.rewind(A[19].ref, A[17].ref, reason="another")
    assert [alarm.orphans for alarm in await alarms.raised()] == [BlockRange(20, 30), BlockRange(18, 19)]
    assert await alarms.clear("ann", "compared with two public nodes") == 2
    assert await alarms.raised() == ()
    assert await alarms.clear("ann", "again") == 0
