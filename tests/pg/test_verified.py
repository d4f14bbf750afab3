"""What stored blocks have passed is kept with them, and what is stored otherwise than the node says is found."""

import dataclasses
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

import pytest

from core.errors import Unverified
from core.store.audit import TABLES, Difference, PgAudit
from core.store.bulk import Chunk, Piece
from core.store.copy import header_row
from core.store.derived import Derived, TableRows
from core.store.pg import PgStore
from core.store.pool import Pool, open_pool
from core.store.prune import Pruner
from core.store.verified import MOST_FAILED, PgVerified
from core.types import Block, BlockRange
from core.verify.checks import ALL, NONE, Check, Level
from indexer.decode.tables import EventTransactionTable, LogTable, TransferTable, VaultTable
from indexer.recheck import AGAIN_S, Found, Recheck, SecondLook
from tests import make
from tests.truthful import one_of_each, truthful
from tests.unit.clocks import FakeClock

CHAIN = 7
MINUTE = timedelta(minutes=1)
TOKEN = make.address("token")
TRANSFER = make.log(
    address=TOKEN,
    topics=(
        bytes.fromhex("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"),
        bytes(12) + make.address("from"),
        bytes(12) + make.address("to"),
    ),
    data=(5).to_bytes(32),
)


def chain(length: int, checks: Check = ALL) -> list[Block]:
    found: list[Block] = []
    for number in range(length):
        txs = one_of_each()
        txs[2] = dataclasses.replace(txs[2], receipt=make.receipt([TRANSFER]))
        block = truthful(number, found[-1].hash if found else make.NOWHERE, txs)
        found.append(dataclasses.replace(block, checks=int(checks)))
    return found


A = chain(30)
DERIVED: list[Derived] = [TransferTable(lambda *_: None), LogTable("all")]


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url, role="chainworkd_indexer", size=4) as opened:
        yield opened


@pytest.fixture
async def store(pool: Pool) -> PgStore:
    made = PgStore(pool, CHAIN, derived=DERIVED)
    await made.register("one", None)
    return made


@pytest.fixture
def verified(pool: Pool) -> PgVerified:
    return PgVerified(pool, CHAIN)


def weak(blocks: Sequence[Block], checks: Check = NONE) -> list[Block]:
    return [dataclasses.replace(block, checks=int(checks)) for block in blocks]


def spans(ranges: Sequence[BlockRange]) -> list[str]:
    return [str(each) for each in ranges]


# -- the level of what is stored ---------------------------------------------------------------------------------------


async def test_the_level_is_kept_with_the_blocks_by_every_way_in_and_out(
    pool: Pool, store: PgStore, verified: PgVerified
) -> None:
    await verified.calibrated(ALL, NONE)
    await store.commit(A[10:12], after=None)
    await store.commit(weak(A[12:13]), after=A[11].ref)
    await store.commit(A[13:20], after=A[12].ref)
    await store.fill(weak(A[5:10], Check.COUNTS))
    header = dataclasses.replace(A[4], txs=(), tx_total=len(A[4].txs))
    rows = {"block": [header_row(CHAIN, header, 6, stored=0)]}
    await store.fill_chunk(Chunk([Piece([header], {}, {}, rows)]), anchored=True)
    assert spans(await verified.below_level(ALL)) == ["12..12", "5..9"]
    assert spans(await verified.below_level(Check.COUNTS)) == ["12..12"]
    found = await verified.completeness()
    assert (found.checks, found.stored, found.verified, found.share) == (ALL, 16, 10, 10 / 16)

    await store.rewind(A[19].ref, A[14].ref, reason="test")
    assert (await verified.completeness()).verified == 5
    await Pruner(pool, CHAIN, derived=DERIVED).prune(6, 100)
    found = await verified.completeness()
    assert (found.stored, found.verified) == (9, 4)
    assert await pool.fetchval("select sum(upper(r) - lower(r)) from chain.verified, unnest(blocks) r") == 9 - 1


async def test_the_chains_level_only_grows_and_settings_leave_out_of_it(store: PgStore, verified: PgVerified) -> None:
    assert await verified.level() is None
    assert (await verified.completeness()).share is None
    await verified.calibrated(Check.COUNTS | Check.GAS, NONE)
    known = await verified.calibrated(Check.BLOCK_HASH, Check.GAS)
    assert known.held == Check.COUNTS | Check.GAS | Check.BLOCK_HASH
    assert known.wanted == Check.COUNTS | Check.BLOCK_HASH
    assert await verified.level() == known
    await store.register("one", None)
    assert await verified.level() == known


async def test_blocks_that_checks_failed_at_are_remembered_once_and_not_without_end(
    store: PgStore, verified: PgVerified
) -> None:
    assert (await verified.calibrated(Check.GAS, NONE, [8, 3])).failed_at == (3, 8)
    assert (await verified.calibrated(Check.GAS, NONE, [8, 5])).failed_at == (3, 5, 8)
    known = await verified.calibrated(NONE, NONE, range(100, 200))
    assert known.failed_at == (3, 5, 8, *range(100, 100 + MOST_FAILED - 3))
    assert await verified.level() == known


async def test_quarantine_counts_and_is_resolved_when_a_verified_block_is_stored(
    store: PgStore, verified: PgVerified
) -> None:
    failed = Unverified(A[3].ref, "receipts_root", "receiptsRoot", "0x" + "01" * 500, "0x02")
    failed.endpoint = "node:8545"
    for _ in range(3):
        await verified.quarantine([failed])
    [held] = await verified.quarantined()
    assert (held.number, held.hash, held.endpoint, held.failed, held.times) == (
        3, A[3].hash, "node:8545", "receipts_root", 3,
    )  # fmt: skip
    assert len(held.expected) == 300
    assert held.first_seen_at < held.last_seen_at
    await store.commit(weak(A[3:4]), after=None)
    assert await verified.count_quarantined() == 1
    await store.rewind(A[3].ref, None, reason="test")
    await store.commit(A[2:5], after=None)
    assert (await verified.count_quarantined(), await verified.quarantined()) == (0, [])
    assert not await verified.refused(3, MINUTE)
    await verified.quarantine([failed])
    assert await verified.refused(3, MINUTE)
    assert not await verified.refused(4, MINUTE)
    assert not await verified.refused(3, -MINUTE), "it was before"
    assert await verified.count_quarantined() == 1


# -- the second look ---------------------------------------------------------------------------------------------------


class Node:
    """A ChainSource of one chain; `refuse` are blocks that no endpoint serves right."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self.chain = list(blocks)
        self.refuse: set[int] = set()

    async def blocks(self, wanted: BlockRange) -> tuple[Block, ...]:
        for number in sorted(self.refuse):
            if number in wanted:
                raise Unverified(self.chain[number].ref, "gas", "gasUsed", "1", "2")
        return tuple(self.chain[wanted.first : wanted.last + 1])

    async def verify(self) -> None: ...

    async def head(self) -> Any: ...

    async def ref_at(self, number: int) -> Any: ...


def second_look(pool: Pool, store: PgStore, verified: PgVerified, node: Node) -> SecondLook:
    def possible(blocks: Sequence[Block]) -> TableRows:
        table = LogTable("all")
        return TableRows("log", table.columns, [row for block in blocks for row in table.derive(CHAIN, block).rows])

    return SecondLook(node, PgAudit(pool, CHAIN, store.rows_of, possible), store.coverage, verified.quarantine)


async def all_of(look: SecondLook, span: BlockRange, *, every_log: bool = True) -> Found:
    total = Found()
    async for found in look.look(span, every_log=every_log):
        total.blocks += found.blocks
        total.rows += found.rows
        total.lookups.update(found.lookups)
        total.differences += found.differences
        total.unverified += found.unverified
    total.differences += await look.count_lookups(span, total.lookups)
    return total


async def test_what_is_stored_as_the_node_has_it_is_found_equal_and_its_level_rises(
    pool: Pool, store: PgStore, verified: PgVerified
) -> None:
    await verified.calibrated(ALL, NONE)
    await store.commit(weak(A), after=None)
    assert (await verified.completeness()).share == 0.0
    found = await all_of(second_look(pool, store, verified, Node(A)), BlockRange(0, 29))
    assert (found.blocks, found.differences, found.unverified) == (30, [], [])
    assert found.rows == 30 * (1 + 6 + 6 + 14 + 1 + 6)  # block, transactions, hashes, addresses, transfer, logs
    assert (await verified.completeness()).share == 1.0


# One statement each, and what of block 17 it changes.
MOVED = "block_number = 17 and tx_index = 2"
TAMPERED = {
    "update chain.block set gas_used = 1 where number = 17": ("block", "17", "gas_used"),
    "update chain.block set extra = '{\"blobGasUsed\":\"0x1\"}' where number = 17": ("block", "17", "extra"),
    f"update chain.transaction set value = 1 where {MOVED}": ("transaction", "17, 2", "value"),
    f"update chain.transaction set input = '' where {MOVED}": ("transaction", "17, 2", "input"),
    "delete from chain.transaction where block_number = 17 and tx_index = 2": ("transaction", "17, 2", "missing row"),
    "delete from chain.tx_hash where block_number = 17 and tx_index = 2": ("tx_hash", "", "missing row"),
    "delete from chain.address_transaction where block_number = 17 and tx_index = 2 and roles = 1": (
        "address_transaction", "", "missing row",
    ),
    "update chain.address_transaction set roles = 31 where block_number = 17 and tx_index = 2 and roles = 1": (
        "address_transaction", "", "roles",
    ),
    "update chain.token_transfer set amount = 6 where block_number = 17": ("token_transfer", "17, ", "amount"),
    "delete from chain.token_transfer where block_number = 17": ("token_transfer", "17, ", "missing row"),
    "insert into chain.token_transfer select chain_id, block_number, 99, position, tx_index, standard, token, sender, "
    "recipient, amount, token_id from chain.token_transfer where block_number = 17": (
        "token_transfer", "17, 99, 0", "extra row",
    ),
    "update chain.log set data = '\\x' where block_number = 17 and log_index = 0": ("log", "17, 0", "data"),
    "delete from chain.log where block_number = 17 and log_index = 0": ("log", "17, 0", "missing row"),
}  # fmt: skip


@pytest.mark.parametrize("statement", TAMPERED)
async def test_a_row_that_was_changed_is_named_and_its_block_is_not_verified_any_more(
    pool: Pool, store: PgStore, verified: PgVerified, statement: str
) -> None:
    await verified.calibrated(ALL, NONE)
    await store.commit(A, after=None)
    assert (await pool.execute(statement)).endswith(" 1")
    found = await all_of(second_look(pool, store, verified, Node(A)), BlockRange(0, 29))
    table, key, what = TAMPERED[statement]
    [first, *others] = found.differences
    assert (first.block, first.table, first.what) == (17, table, what)
    assert first.key.startswith(key)
    assert [(each.table, each.what) for each in others] in ([], [(table, "number of rows")])
    assert spans(await verified.below_level(ALL)) == ["17..17"]
    [held] = await verified.quarantined()
    assert (held.number, held.failed) == (17, "stored")
    assert table in held.which


async def test_rows_too_many_in_a_look_up_table_are_counted(pool: Pool, store: PgStore, verified: PgVerified) -> None:
    await store.commit(A, after=None)
    await pool.execute("insert into chain.tx_hash values ($1, 42, 17, 2)", CHAIN)
    found = await all_of(second_look(pool, store, verified, Node(A)), BlockRange(0, 29))
    assert found.differences == [Difference(0, "tx_hash", "0..29", "number of rows", "180", "181")]


async def test_another_block_in_the_place_of_a_stored_one_differs(
    pool: Pool, store: PgStore, verified: PgVerified
) -> None:
    await store.commit(A, after=None)
    other = [*A[:29], truthful(29, A[28].hash, txs=(), extra_data=b"other")]
    found = await all_of(second_look(pool, store, verified, Node(other)), BlockRange(25, 29))
    assert ("block", "hash") in {(each.table, each.what) for each in found.differences}
    assert {each.block for each in found.differences if each.table == "block"} == {29}


async def test_what_nodes_leave_out_is_no_difference(pool: Pool, store: PgStore, verified: PgVerified) -> None:
    await store.commit(A, after=None)
    poorer = [
        dataclasses.replace(
            block,
            total_difficulty=None,
            extra=(block.extra or "").replace('"blobGasUsed":"0x0",', ""),
            txs=tuple(
                dataclasses.replace(tx, receipt=dataclasses.replace(tx.receipt, effective_gas_price=None))
                for tx in block.txs
            ),
        )
        for block in A
    ]
    found = await all_of(second_look(pool, store, verified, Node(poorer)), BlockRange(0, 29))
    assert (found.blocks, found.differences) == (30, [])


async def test_logs_that_settings_did_not_keep_are_no_difference_for_the_slow_look(
    pool: Pool, store: PgStore, verified: PgVerified
) -> None:
    await store.commit(A, after=None)
    await pool.execute("delete from chain.log where block_number < 10")
    look = second_look(pool, store, verified, Node(A))
    assert (await all_of(look, BlockRange(0, 29), every_log=False)).differences == []
    found = await all_of(look, BlockRange(0, 29))
    assert len(found.differences) == 60
    fewer = PgStore(pool, CHAIN, derived=[TransferTable(lambda *_: None), LogTable("none")])
    assert (await all_of(second_look(pool, fewer, verified, Node(A)), BlockRange(0, 29))).differences == []


async def test_a_block_that_nobody_serves_right_is_reported_and_the_others_are_compared(
    pool: Pool, store: PgStore, verified: PgVerified
) -> None:
    await store.commit(A, after=None)
    node = Node(A)
    node.refuse = {4}
    found = await all_of(second_look(pool, store, verified, node), BlockRange(0, 29))
    assert (found.blocks, [each.at.number for each in found.unverified]) == (29, [4])


async def test_the_slow_look_goes_for_what_is_below_the_level_first_and_then_round(
    pool: Pool, store: PgStore, verified: PgVerified
) -> None:
    await verified.calibrated(ALL, NONE)
    await store.commit(A[:5], after=None)
    await store.commit(weak(A[5:8]), after=A[4].ref)
    await store.commit(A[8:], after=A[7].ref)
    await store.saw(A[29].head)
    done: list[tuple[int, int]] = []
    node, clock = Node(A), FakeClock()
    recheck = Recheck(
        second_look(pool, store, verified, node), verified, Level(ALL), name="one", blocks_per_hour=600,
        on_rechecked=lambda blocks, differences: done.append((blocks, differences)), clock=clock,
    )  # fmt: skip
    assert await recheck.step() == 0  # nothing is final
    await pool.execute("update chain.head set finalized_number = 27")
    assert (await recheck.step(), spans(await verified.below_level(ALL))) == (3, [])
    assert [await recheck.step() for _ in range(4)] == [10, 10, 8, 10]
    assert await pool.fetchval("select rechecked_to from chain.chain") == 18
    await pool.execute("update chain.transaction set value = 1 where block_number = 9 and tx_index = 2")
    assert [await recheck.step() for _ in range(2)] == [10, 8]
    assert done[-2:] == [(10, 1), (8, 0)]
    assert spans(await verified.below_level(ALL)) == ["9..9"]
    await recheck.step()
    assert await pool.fetchval("select rechecked_to from chain.chain") == 18  # not the same block again and again
    await pool.execute(
        "update chain.transaction set value = $1 where block_number = 9 and tx_index = 2", A[9].txs[2].value
    )
    clock.seconds += AGAIN_S
    await recheck.step()
    assert (spans(await verified.below_level(ALL)), await verified.count_quarantined()) == ([], 0)


def test_every_table_of_blocks_is_compared() -> None:
    derived = {TransferTable.table, LogTable.table, VaultTable.table, EventTransactionTable.table}
    assert set(TABLES) == {"block", "transaction", "tx_hash", "address_transaction", *derived}
