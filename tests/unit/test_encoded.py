"""Blocks at the head by the hot path: when it is taken, and what is left to the careful one."""

from collections.abc import Awaitable, Callable, Sequence

import pytest

from core.errors import BadAnswer
from core.store.bulk import Chunk, RowsRefused
from core.store.memory import MemoryStore
from core.types import Block, BlockRange, BlockRef, Head
from indexer.decode.tables import LogTable, TransferTable
from indexer.encoded import EncodedHead
from indexer.follow import Follower
from indexer.hotpath import HotPath
from indexer.late import LateEncoder
from tests import blocks
from tests.unit.test_follow import Unheard

MADE = blocks.chain("head", 30)
OTHER = blocks.chain("other", 30)


class Node:
    """Serves a chain both ways, and counts."""

    def __init__(self, chain: Sequence[Block], raw: Sequence[Block] | None = None) -> None:
        self.chain = chain
        self.raw = chain if raw is None else raw
        self.careful = 0
        self.change: Callable[[list[bytes], list[bytes]], None] = lambda *_: None

    async def verify(self) -> None:
        return

    async def head(self) -> Head:
        return self.chain[-1].head

    async def ref_at(self, number: int) -> BlockRef | None:
        return self.chain[number].ref if number < len(self.chain) else None

    async def blocks(self, wanted: BlockRange) -> tuple[Block, ...]:
        self.careful += 1
        return tuple(self.chain[wanted.first : wanted.last + 1])

    async def answers(self, wanted: BlockRange) -> tuple[Sequence[bytes], Sequence[bytes]]:
        found, receipts = blocks.answers(self.raw[wanted.first : wanted.last + 1])
        self.change(found, receipts)
        return found, receipts


class Store(MemoryStore):
    """Takes chunks as their headers."""

    def __init__(self) -> None:
        super().__init__()
        self.chunks = 0
        self.refuses = False

    async def begin(self, block: Block, *, after: BlockRef | None = None) -> None:
        raise AssertionError

    async def fill_chunk(self, chunk: Chunk, *, anchored: bool, lease: object = None) -> None:
        raise AssertionError

    async def commit_chunk(self, chunk: Chunk, *, after: BlockRef | None) -> None:
        if self.refuses:
            raise RowsRefused("no table holds this")
        await self.commit(chunk.headers, after=after)
        self.chunks += 1


def encoder() -> LateEncoder:
    return LateEncoder(lambda: HotPath(1, TransferTable(lambda *_: None), LogTable("all", ())))


async def following(node: Node, store: Store) -> tuple[Follower, EncodedHead]:
    encoded = EncodedHead(node, encoder(), store, name="t")
    await encoded._encoder.load()
    encoded._ready = True
    made = Follower(node, store, Unheard(), name="t", max_blocks=4, jump_blocks=1_000, encoded=encoded)
    await store.commit(MADE[:1], after=None)
    return made, encoded


async def to_the_end(follower: Follower, node: Node) -> None:
    while (await follower.step(node.chain[-1].head)).kind != "wait":
        pass


async def test_every_block_that_is_as_expected_goes_encoded() -> None:
    node, store = Node(MADE), Store()
    follower, _ = await following(node, store)
    await to_the_end(follower, node)
    assert await store.cursor() == MADE[-1].ref
    assert (store.chunks, node.careful) == (8, 0)


async def test_until_the_encoder_is_loaded_blocks_go_the_careful_way() -> None:
    node, store = Node(MADE), Store()
    follower, encoded = await following(node, store)
    encoded._ready = False
    await to_the_end(follower, node)
    assert await store.cursor() == MADE[-1].ref
    assert store.chunks == 0


def null_block(found: list[bytes], receipts: list[bytes]) -> None:
    found[-1] = b"null"


def null_receipts(found: list[bytes], receipts: list[bytes]) -> None:
    receipts[-1] = b"null"


def one_block_less(found: list[bytes], receipts: list[bytes]) -> None:
    del found[-1], receipts[-1]


def other_block(found: list[bytes], receipts: list[bytes]) -> None:
    (found[-1],), (receipts[-1],) = blocks.answers(MADE[:1])


def no_header(found: list[bytes], receipts: list[bytes]) -> None:
    found[-1] = b'{"transactions":[]}'


def no_json(found: list[bytes], receipts: list[bytes]) -> None:
    receipts[-1] = b"[{"


@pytest.mark.parametrize(
    "change", [null_block, null_receipts, one_block_less, other_block, no_header, no_json], ids=lambda f: f.__name__
)
async def test_what_is_not_as_expected_goes_the_careful_way(
    change: Callable[[list[bytes], list[bytes]], None],
) -> None:
    node, store = Node(MADE), Store()
    follower, _ = await following(node, store)
    node.change = change
    await to_the_end(follower, node)
    assert await store.cursor() == MADE[-1].ref
    assert store.chunks == 0


async def test_rows_that_the_database_refuses_are_fetched_again() -> None:
    node, store = Node(MADE), Store()
    follower, _ = await following(node, store)
    store.refuses = True
    await to_the_end(follower, node)
    assert await store.cursor() == MADE[-1].ref
    assert (store.chunks, node.careful) == (0, 8)


async def test_encoded_blocks_that_do_not_join_are_looked_at_as_any_others() -> None:
    fork = Node(OTHER)
    follower, _ = await following(fork, store := Store())
    step = await follower.step(OTHER[-1].head)
    assert (step.kind, step.after) == ("rewind", None)
    torn = Node(MADE, raw=[*MADE[:3], *OTHER[3:]])
    follower, _ = await following(torn, store := Store())
    with pytest.raises(BadAnswer, match="two chains"):
        await follower.step(MADE[-1].head)
    assert (await store.cursor(), store.chunks) == (MADE[0].ref, 0)


async def test_only_the_end_of_a_long_way_is_encoded_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []

    async def noted(encode: Callable[..., object], found: Sequence[bytes], receipts: Sequence[bytes]) -> object:
        threads.append(len(found))
        return encode(found, receipts)

    node, store = Node(MADE), Store()
    _, encoded = await following(node, store)
    monkeypatch.setattr(encoded, "_offload", noted)
    fetch: Callable[[BlockRange], Awaitable[Chunk | None]] = encoded.fetch
    for wanted in (BlockRange(1, 1), BlockRange(2, 3), BlockRange(4, 6)):
        found = await fetch(wanted)
        assert found is not None and found.blocks == wanted
    assert threads == [3]
