"""What keeps backfill from filling: a closed gate, and blocks that are older than what is kept."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from core.store.memory import MemoryStore
from core.types import Block, BlockRange, BlockRef, Head
from indexer.backfill import Backfill, WantedRange
from indexer.retention import MARGIN_BLOCKS, prune_below, wanted_from


def made(number: int) -> Block:
    """An empty block of the only chain there is."""
    return Block(
        number=number, hash=_hash(number), parent_hash=_hash(number - 1), timestamp=1_700_000_000 + number,
        miner=bytes(20), state_root=bytes(32), transactions_root=bytes(32), receipts_root=bytes(32),
        uncles_hash=bytes(32), logs_bloom=bytes(256), difficulty=0, total_difficulty=None, size=500, extra_data=b"",
        gas_limit=30_000_000, gas_used=0, base_fee=7, mix_hash=None, nonce=None, uncles=(), extra=None, txs=(),
    )  # fmt: skip


def _hash(number: int) -> bytes:
    return number.to_bytes(32, signed=True)


class Chain:
    """A node whose chain never changes (ChainSource); it notes what it was asked for."""

    def __init__(self, height: int) -> None:
        self.height = height
        self.asked: list[BlockRange] = []

    async def verify(self) -> None:
        """It is the right one."""

    async def head(self) -> Head:
        return made(self.height).head

    async def ref_at(self, number: int) -> BlockRef | None:
        return made(number).ref if number <= self.height else None

    async def blocks(self, wanted: BlockRange) -> tuple[Block, ...]:
        self.asked.append(wanted)
        return tuple(made(number) for number in range(wanted.first, min(wanted.last, self.height) + 1))


class Scripted:
    """A gate that opens and closes as it is told."""

    def __init__(self, answers: Sequence[bool]) -> None:
        self._answers = list(answers)

    async def open(self) -> bool:
        return self._answers.pop(0)


async def at_head(height: int) -> MemoryStore:
    store = MemoryStore()
    await store.commit([made(height)], after=None)
    return store


async def test_nothing_is_fetched_while_the_gate_is_closed_and_the_head_goes_on() -> None:
    store, chain = await at_head(100), Chain(101)
    backfill = Backfill(
        chain, store, [WantedRange(0)], name="test", chunk_blocks=10, gate=Scripted([True, False, False, True])
    )
    assert await backfill.step()
    assert not await backfill.step()
    await store.commit([made(101)], after=made(100).ref)
    assert not await backfill.step()
    assert chain.asked == [BlockRange(90, 99)]
    assert await backfill.step()
    assert await store.coverage() == (BlockRange(80, 101),)


async def test_history_that_retention_would_take_away_is_not_fetched() -> None:
    store, chain = await at_head(1_000), Chain(1_000)
    backfill = Backfill(chain, store, [WantedRange(0)], name="test", chunk_blocks=100, retain_blocks=256)
    while await backfill.step():
        pass
    assert await store.coverage() == (BlockRange(745, 1_000),)
    assert min(span.first for span in chain.asked) == 745


@given(
    head=st.integers(0, 10**7),
    retain=st.integers(0, 10**7),
    back=st.integers(0, MARGIN_BLOCKS),
    final=st.none() | st.integers(0, 10**7),
)
def test_what_is_wanted_never_goes_even_when_the_head_goes_back(
    head: int, retain: int, back: int, final: int | None
) -> None:
    below = prune_below(head, final, retain)
    assert 0 <= below <= wanted_from(max(0, head - back), retain)
    assert final is None or below <= final
    assert retain or below == 0
