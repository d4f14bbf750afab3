"""Defects put into the indexer on purpose. A simulator that cannot see them proves nothing."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from core.facts import BlockFact, Fact, FillFact, FinalizeFact, ReorgFact
from core.rpc import source
from core.rpc.client import Call, Seat
from core.store.facts import of_head
from core.store.memory import MemoryAlarms, MemoryFacts, MemoryStore
from core.types import Block, BlockRange, BlockRef, Finality, joined
from core.verify.checks import Check, verify
from indexer import ancestor, backfill, follow, retention
from indexer.link import Forked, Linked, Torn, link
from simulator import bulk
from simulator.stores import Keep, MemoryDatabase
from simulator.world import World

Patch = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Mutation:
    """A defect: something patched, a store that is not what it should be, or both.

    `near` is a seed that caught it once: of what few seeds see, the others need not be tried first every time.
    """

    name: str
    patch: Patch = lambda patch: None
    store: type[MemoryStore] = MemoryStore
    facts: type[MemoryFacts] = MemoryFacts
    near: int = 0

    def database(self, world: World) -> MemoryDatabase:
        """Return a database with the defect."""
        store, facts = self.store, self.facts

        class Defective(MemoryDatabase):
            def made(self, _: MemoryFacts, keep: Keep) -> MemoryStore:
                return store(facts=facts(), keep=keep)

        return Defective(world)


async def a_moment() -> None:
    await asyncio.sleep(0.05)


# -- what is checked of blocks -----------------------------------------------------------------------------------------


def first_seam_only(patch: pytest.MonkeyPatch) -> None:
    def first_only(cursor: BlockRef | None, blocks: Sequence[Block]) -> Linked | Forked | Torn:
        found = link(cursor, blocks[:1])
        return Linked(blocks[-1].ref) if isinstance(found, Linked) else found

    for module in (follow, backfill):
        patch.setattr(module, "link", first_only)
    # The store has a guard of its own.
    patch.setattr("core.store.memory.check_linked", lambda blocks: None)


def another_chain_is_believed(patch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: object) -> None:
        return None

    patch.setattr("core.rpc.pool.RpcPool._stranger", nothing)
    patch.setattr("core.rpc.source.RpcSource._check_chain", lambda *_: None)


def a_chain_is_not_asked_with_its_blocks(patch: pytest.MonkeyPatch) -> None:
    async def unproven(self: object, calls: Sequence[Call], seat: Seat) -> list[msgspec.Raw]:
        return await seat.batch(calls)

    patch.setattr("core.rpc.source.RpcSource._of_the_chain", unproven)


def only(*kept: Check) -> Patch:
    def patched(patch: pytest.MonkeyPatch) -> None:
        def verify_some(block: Block, checks: Check, chain_id: int) -> None:
            for check in kept:
                verify(block, check & checks, chain_id)

        for module in (source, bulk):
            patch.setattr(module, "verify", verify_some)

    return patched


# -- what a transaction holds together ---------------------------------------------------------------------------------


class CursorFirst(MemoryStore):
    """Moves the cursor in a transaction of its own."""

    async def commit(self, blocks: Sequence[Block], *, after: BlockRef | None) -> None:
        if self._cursor == after:
            self._cursor = blocks[-1].ref
            await a_moment()
            self._cursor = after
        await super().commit(blocks, after=after)


class CoverageFirst(MemoryStore):
    """Covers what it is about to fill."""

    async def fill(self, blocks: Sequence[Block], *, anchored: bool = True) -> None:
        span = BlockRange(blocks[0].number, blocks[-1].number)
        EARLY.append((id(self), span))
        await a_moment()
        EARLY.remove((id(self), span))
        await super().fill(blocks, anchored=anchored)

    async def coverage(self) -> tuple[BlockRange, ...]:
        early = [span for store, span in EARLY if store == id(self)]
        return joined([*await super().coverage(), *early])


EARLY: list[tuple[int, BlockRange]] = []


class RowsLost(MemoryStore):
    """Loses the first block of a fill, and covers it all the same."""

    async def fill(self, blocks: Sequence[Block], *, anchored: bool = True) -> None:
        await super().fill(blocks, anchored=anchored)
        if len(blocks) > 2:
            self.blocks[blocks[0].number] = replace(self.blocks[blocks[0].number], txs=(), tx_total=0)


class NoCompareAndSet(MemoryStore):
    """Rewinds from wherever the cursor is."""

    async def rewind(self, cursor: BlockRef, ancestor: BlockRef | None, *, reason: str) -> None:
        found = self._cursor
        self._cursor = cursor
        try:
            await super().rewind(cursor, ancestor, reason=reason)
        except BaseException:
            self._cursor = found
            raise


class RowLeftBehind(MemoryStore):
    """Rewinds, but not the block above the ancestor."""

    def _remove(self, orphans: BlockRange, below: bytes | None, tip: bytes, reason: str) -> None:
        left = self.blocks.get(orphans.first)
        super()._remove(orphans, below, tip, reason)
        if left is not None:
            self.blocks[left.number] = left


# -- what is told ------------------------------------------------------------------------------------------------------


def mute(kind: type) -> type[MemoryFacts]:
    class Mute(MemoryFacts):
        def tell(self, facts: Sequence[Fact]) -> None:
            super().tell([fact for fact in facts if not isinstance(fact, kind)])

    return Mute


class FactFirst(MemoryStore):
    """Tells of blocks before it has stored them."""

    async def commit(self, blocks: Sequence[Block], *, after: BlockRef | None) -> None:
        if await self.cursor() != after:
            self.facts.tell(of_head(blocks))
        await super().commit(blocks, after=after)


class FactAfterwards(MemoryStore):
    """Tells of a fill in a transaction of its own."""

    async def fill(self, blocks: Sequence[Block], *, anchored: bool = True) -> None:
        facts, late = self.facts, list[Fact]()
        self.facts = SimpleNamespace(tell=late.extend)  # type: ignore[assignment]
        try:
            await super().fill(blocks, anchored=anchored)
        finally:
            self.facts = facts
        await a_moment()
        facts.tell(late)


# -- finality ----------------------------------------------------------------------------------------------------------


def no_alarm(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryAlarms, "sound", lambda self, alarm: None)


class Credulous(MemoryStore):
    """Takes a number for proof: what the node calls final need not be stored."""

    async def note(self, found: Finality) -> None:
        await super().note(found)
        if self.newest is not None and found.finalized is not None:
            self._finalized = max(found.finalized.number, self._finalized or 0)


def prunes_what_is_wanted(patch: pytest.MonkeyPatch) -> None:
    def too_much(head: int, finalized: int | None, retain_blocks: int, *, margin_blocks: int) -> int:
        return head - retain_blocks // 2

    patch.setattr(retention, "prune_below", too_much)


# -- where a fork begins -----------------------------------------------------------------------------------------------


def ancestor_too_high(patch: pytest.MonkeyPatch) -> None:
    async def one_too_high(*given: Any) -> BlockRef | None:
        found = await ancestor.common_ancestor(*given)
        above = None if found is None else await given[1].ref_at(found.number + 1)
        return above or found

    patch.setattr(follow, "common_ancestor", one_too_high)


def orphans_below_are_kept(patch: pytest.MonkeyPatch) -> None:
    async def never(*_: object) -> bool:
        return False

    patch.setattr("indexer.backfill.Backfill._below_is_orphaned", never)
    patch.setattr(MemoryStore, "_check_below", lambda self, first: None)


MUTATIONS = (
    Mutation("only the first seam of a batch is checked", first_seam_only),
    Mutation("an endpoint of another chain is believed", another_chain_is_believed),
    Mutation("which chain it is is not asked with the blocks", a_chain_is_not_asked_with_its_blocks, near=18),
    Mutation("blocks are not verified", only()),
    Mutation("no bloom and no root is checked", only(Check.COUNTS, Check.LOG_INDEX, Check.GAS, Check.TX_HASH)),
    Mutation("receipts are not held to their root", only(*(each for each in Check if each is not Check.RECEIPTS_ROOT))),
    Mutation("headers are not held to their hash", only(*(each for each in Check if each is not Check.BLOCK_HASH))),
    Mutation("the cursor moves outside of the transaction", store=CursorFirst),
    Mutation("coverage is written before the rows", store=CoverageFirst),
    Mutation("rows are lost", store=RowsLost),
    Mutation("no compare-and-set on the cursor", store=NoCompareAndSet),
    Mutation("a rewind leaves a row behind", store=RowLeftBehind),
    Mutation("a block is not told", facts=mute(BlockFact)),
    Mutation("a filled range is not told", facts=mute(FillFact)),
    Mutation("a reorg is not told", facts=mute(ReorgFact)),
    Mutation("finality is not told", facts=mute(FinalizeFact)),
    Mutation("a fact is told before the transaction", store=FactFirst),
    Mutation("a fact is told after the transaction", store=FactAfterwards),
    Mutation("no alarm when finalized blocks are orphaned", no_alarm),
    Mutation("what is not stored is called finalized", store=Credulous),
    Mutation("retention takes what is wanted", prunes_what_is_wanted),
    Mutation("the common ancestor is one too high", ancestor_too_high),
    Mutation("history is joined to orphans", orphans_below_are_kept, near=30),
)
