"""Deposits of a real vault on a real chain, through the Follower, the real database and the reader."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest

from builders import signed_vault
from builders.call import Call, create, invoke
from builders.signed_vault import ETHER
from core.hex import to_hex
from core.rpc.client import RpcClient
from core.rpc.finality import RpcFinality
from core.rpc.logs import RpcLogs
from core.rpc.source import RpcSource
from core.store.deposits import DepositFilter, DepositPage, Deposits, DepositWindow, Place, StoredDeposit
from core.store.finality import PgFinality
from core.store.pg import PgStore
from core.store.pool import Pool, open_pool
from core.store.vaults import PgVaults
from core.types import BlockRange, Head
from devnet.anvil import Anvil
from devnet.artifacts import Artifacts
from devnet.node import Draft, Node
from indexer.decode.tables import VaultTable
from indexer.follow import Follower
from indexer.vaults import VaultScan

CHAIN = 31_337
NONCE = 1_700_000_000
LARGEST = 2**256 - 1
ALL = DepositWindow(limit=1_000, oldest_first=True)


class OneHead:
    """Heads for a follower that is stepped by hand."""

    async def newest(self) -> Head:
        raise NotImplementedError

    async def changed(self, known: Head, *, timeout_s: float) -> None:
        raise NotImplementedError


@dataclass
class House:
    """A vault on a chain of its own, and what follows it."""

    rpc: RpcClient
    node: Node
    pool: Pool
    vault: bytes
    users: Sequence[bytes]
    resolver: bytes
    other: bytes

    def __post_init__(self) -> None:
        self.source = RpcSource(self.rpc, CHAIN)
        self.deposits = Deposits(self.pool, CHAIN)
        self.vaults = PgVaults(self.pool, CHAIN)
        self.watch(self.vault)

    def watch(self, *vaults: bytes) -> None:
        """Commit blocks from now on with `vaults` in the settings."""
        self.store = PgStore(self.pool, CHAIN, derived=[VaultTable(vaults, lambda *_: None)])
        self.follower = Follower(self.source, self.store, OneHead(), name="test", max_blocks=3)

    async def follow(self) -> None:
        """Follow up to the node's head, and note what is final there."""
        head = await self.source.head()
        await self.store.saw(head)
        while (await self.follower.step(head)).kind != "wait":
            pass
        cursor = await self.store.cursor()
        assert cursor == head.ref
        await PgFinality(self.pool, CHAIN).note(await RpcFinality(self.rpc).finality())

    async def send(self, *acts: tuple[bytes, Call]) -> list[int]:
        drafts = [Draft(kind="vault", sender=who, call=call, gas=500_000) for who, call in acts]
        return [receipt.status for receipt in await self.node.settle(drafts)]

    def pays(self, user: int, amount: int, nonce: int = NONCE, resolver: bytes | None = None) -> tuple[bytes, Call]:
        to = resolver or self.resolver
        return self.users[user], signed_vault.deposit_eth(self.vault, to, nonce, amount)

    async def mine(self, blocks: int) -> None:
        await self.rpc.call("anvil_mine", hex(blocks))

    async def page(self, window: DepositWindow = ALL, **wanted: Any) -> DepositPage:
        return await self.deposits.page(DepositFilter(**wanted), window)

    async def all(self, **wanted: Any) -> tuple[StoredDeposit, ...]:
        return (await self.page(**wanted)).deposits


@pytest.fixture
async def house(artifacts: Artifacts, database_url: str) -> AsyncIterator[House]:
    async with (
        Anvil(artifacts) as anvil,
        RpcClient(anvil.http_url) as rpc,
        open_pool(database_url, role="chainworkd_indexer", size=4) as pool,
    ):
        node = Node(rpc)
        owner, other, *users = await node.accounts()
        made = Draft(kind="", sender=owner, call=create(artifacts.bytecode("TestVault")), gas=5_000_000)
        (receipt,) = await node.settle([made])
        assert receipt.contract is not None
        house = House(rpc, node, pool, receipt.contract, users, owner, other)
        await house.vaults.watch([house.vault])
        head = await house.source.head()
        await house.store.commit(await house.source.blocks(BlockRange(0, head.ref.number)), after=None)
        yield house


def amounts(found: Sequence[StoredDeposit]) -> list[int]:
    return [each.amount for each in found]


async def test_of_three_logs_of_one_key_only_the_one_with_an_amount_counts(house: House) -> None:
    assert await house.send(*(house.pays(0, paid) for paid in (0, 0, 5, 5))) == [1, 1, 1, 0]
    await house.follow()
    page = await house.page(nonce=NONCE)
    assert amounts(page.deposits) == [0, 0, 5]
    assert [each.counts for each in page.deposits] == [False, False, True]
    (total,) = page.totals
    assert (total.resolver, total.token.address) == (house.resolver, ETHER)
    assert sum(each.count for each in total.by_state.values()) == 1
    assert sum(each.amount for each in total.by_state.values()) == 5
    assert page.complete


async def test_two_users_with_one_nonce_are_two_deposits(house: House) -> None:
    await house.send(house.pays(0, 3), house.pays(1, 4))
    await house.follow()
    assert amounts(await house.all(resolver=house.resolver, nonce=NONCE)) == [3, 4]
    assert amounts(await house.all(user=house.users[1], nonce=NONCE)) == [4]


async def test_older_generations_are_kept_and_never_count(house: House) -> None:
    user = house.users[0]
    old = invoke(house.vault, "depositETHBeforeResolvers(uint256)", NONCE, value=7)
    oldest = invoke(house.vault, "depositETHBeforeNonces()", value=8)
    assert await house.send((user, old), (user, oldest), house.pays(0, 9)) == [1, 1, 1]
    await house.follow()
    page = await house.page()
    assert [(d.generation, d.resolver is None, d.nonce, d.amount, d.counts) for d in page.deposits] == [
        (2, True, NONCE, 7, False),
        (1, True, None, 8, False),
        (3, False, NONCE, 9, True),
    ]
    assert sum(each.amount for total in page.totals for each in total.by_state.values()) == 9


async def test_another_resolver_is_another_total(house: House) -> None:
    await house.send(house.pays(0, 3), house.pays(0, 4, resolver=house.other))
    await house.follow()
    assert amounts(await house.all(resolver=house.other)) == [4]
    assert {total.resolver for total in (await house.page()).totals} == {house.resolver, house.other}


async def test_the_largest_nonce_is_kept_whole(house: House) -> None:
    await house.send(house.pays(0, 3, nonce=LARGEST))
    await house.follow()
    (found,) = await house.all(nonce=LARGEST)
    assert found.nonce == LARGEST
    assert await house.all(nonce=LARGEST - 1) == ()


async def test_a_deposit_is_seen_then_confirmed_then_finalized(house: House) -> None:
    await house.send(house.pays(0, 5))
    states = []
    for _ in range(10):
        await house.follow()
        (found,) = await house.all()
        assert await house.all(state=found.state) == (found,)
        states.append(found.state)
        await house.mine(1)
    # anvil: safe is four blocks behind the head, finalized eight.
    assert states == ["seen"] * 4 + ["confirmed"] * 4 + ["finalized"] * 2


async def test_a_deposit_that_a_reorg_moves_is_orphaned_and_seen_anew(house: House) -> None:
    """Same key, but in another block and with another amount: the old log stays, orphaned."""
    await house.mine(2)
    await house.send(house.pays(0, 5))
    await house.follow()
    (before,) = await house.all()
    await house.rpc.call("anvil_reorg", 2, [])
    await house.mine(1)
    await house.follow()
    (gone,) = await house.all()
    assert (gone.place, gone.state, gone.counts) == (before.place, "orphaned", False)
    assert gone.orphaned_at is not None and gone.reason
    assert (await house.page()).totals == ()
    await house.send(house.pays(0, 8))
    await house.mine(3)
    await house.follow()
    page = await house.page(nonce=NONCE)
    assert [(d.amount, d.state) for d in page.deposits] == [(5, "orphaned"), (8, "seen")]
    assert await house.deposits.find(before.place) == gone
    (total,) = page.totals
    assert total.by_state["seen"].amount == 8
    assert amounts(await house.all(state="orphaned")) == [5]
    assert amounts(await house.all(state="seen")) == [8]


async def test_an_orphan_whose_block_comes_back_is_shown_once_and_not_orphaned(house: House) -> None:
    await house.send(house.pays(0, 5))
    await house.follow()
    (before,) = await house.all()
    for _ in range(2):
        cursor, ancestor = await house.store.cursor(), await house.store.ref_at(before.block_number - 1)
        assert cursor is not None
        await house.store.rewind(cursor, ancestor, reason="test")
        (gone,) = await house.all()
        assert (gone.place, gone.state) == (before.place, "orphaned")
        assert (await house.page()).total == 1
        await house.follow()
        assert await house.all() == (before,)
        assert await house.deposits.find(before.place) == before
    assert await house.pool.fetchval("select count(*) from chain.orphan_vault_event") == 2


async def test_a_discard_of_history_archives_as_well(house: House) -> None:
    await house.send(house.pays(0, 5))
    await house.follow()
    (found,) = await house.all()
    cursor = await house.store.cursor()
    assert cursor is not None and cursor.number == found.block_number
    await house.mine(5)
    head = await house.source.head()
    await house.store.commit(await house.source.blocks(BlockRange(head.ref.number, head.ref.number)), after=cursor)
    await house.store.discard(found.block_number, cursor, reason="another fork")
    (gone,) = await house.all()
    assert (gone.place, gone.state, gone.reason) == (found.place, "orphaned", "another fork")


async def test_finality_never_comes_from_a_number_alone_and_a_rewind_takes_it_back(house: House) -> None:
    await house.send(house.pays(0, 5))
    await house.mine(9)
    await house.follow()
    (found,) = await house.all()
    assert found.state == "finalized"
    cursor, ancestor = await house.store.cursor(), await house.store.ref_at(found.block_number - 1)
    assert cursor is not None and ancestor is not None
    await house.store.rewind(cursor, ancestor, reason="test")
    # The node's final block is not stored any more: its number proves nothing for what is.
    await PgFinality(house.pool, CHAIN).note(await RpcFinality(house.rpc).finality())
    assert (await house.page()).standing.finalized == ancestor.number
    await house.store.commit(await house.source.blocks(BlockRange(found.block_number, cursor.number)), after=ancestor)
    assert [each.state for each in await house.all()] == ["seen"]
    await house.follow()
    assert [each.state for each in await house.all()] == ["finalized"]


async def test_an_upgrade_shows_on_the_deposits_after_it(house: House) -> None:
    first, second = b"\x11" * 20, b"\x22" * 20
    await house.send(house.pays(0, 1, 1))
    await house.send((house.resolver, invoke(house.vault, "upgradeTo(address)", first)), house.pays(0, 2, 2))
    await house.mine(1)
    await house.follow()
    await house.send((house.resolver, invoke(house.vault, "upgradeTo(address)", second)), house.pays(0, 3, 3))
    await house.follow()
    assert [(d.amount, d.implementation) for d in await house.all()] == [(1, None), (2, first), (3, second)]
    await house.rpc.call("anvil_reorg", 1, [])
    await house.mine(1)
    await house.follow()
    await house.send(house.pays(0, 4, 4))
    await house.follow()
    shown = [(d.amount, d.state, d.implementation) for d in await house.all()]
    assert shown[-2:] == [(3, "orphaned", second), (4, "seen", first)]


async def test_withdrawals_and_cancelled_nonces_are_kept_but_are_no_deposits(house: House) -> None:
    await house.send((house.resolver, signed_vault.cancel(house.vault, 77)))
    await house.follow()
    assert await house.all() == ()
    row = await house.pool.fetchrow("select kind, resolver, nonce from chain.vault_event")
    assert row is not None and (row["kind"], row["resolver"], int(row["nonce"])) == (
        "nonce_cancelled",
        house.resolver,
        77,
    )


async def test_what_another_contract_emits_is_nothing(house: House) -> None:
    house.watch(b"\x99" * 20)
    await house.vaults.watch([b"\x99" * 20])
    await house.send(house.pays(0, 5))
    await house.follow()
    assert await house.all() == ()
    assert await house.pool.fetchval("select count(*) from chain.vault_event") == 0


async def scan(house: House, range_blocks: int = 2_000) -> None:
    service = VaultScan(RpcLogs(house.rpc), house.vaults, CHAIN, [house.vault], name="test", range_blocks=range_blocks)
    while await service.step(house.vault):
        pass


@pytest.mark.parametrize("range_blocks", [1, 3, 2_000])
async def test_deposits_from_before_the_vault_was_watched_are_found(house: House, range_blocks: int) -> None:
    house.watch()
    await house.vaults.watch([])
    await house.send(house.pays(0, 5))
    await house.send(house.pays(1, 6), house.pays(1, 0, 2))
    await house.mine(9)
    await house.follow()
    assert await house.all() == ()
    # The settings name it now.
    house.watch(house.vault)
    await house.vaults.watch([house.vault])
    assert not (await house.page()).complete
    await house.send(house.pays(2, 7))
    await house.mine(9)
    await house.follow()
    assert amounts(await house.all()) == [7]
    await scan(house, range_blocks)
    page = await house.page()
    assert amounts(page.deposits) == [5, 6, 0, 7]
    assert page.complete
    # Equal to what would have been committed with the vault known all along.
    seen = await house.pool.fetch("select * from chain.vault_event order by block_number, log_index")
    cursor = await house.store.cursor()
    assert cursor is not None
    await house.store.rewind(cursor, await house.store.ref_at(0), reason="test")
    await house.follow()
    assert await house.pool.fetch("select * from chain.vault_event order by block_number, log_index") == seen


async def test_a_scan_forgets_what_a_rewind_takes_away(house: House) -> None:
    await house.send(house.pays(0, 5))
    await house.mine(9)
    await house.follow()
    await scan(house, 1)
    cursor = await house.store.cursor()
    assert cursor is not None
    assert await house.vaults.unscanned(house.vault) == []
    await house.store.rewind(cursor, await house.store.ref_at(1), reason="test")
    scanned = await house.pool.fetchval("select upper(scanned) from chain.watched_vault")
    assert scanned == 2


async def test_a_log_that_was_missed_is_found_by_the_second_look(house: House) -> None:
    await house.send(house.pays(0, 5))
    await house.mine(9)
    await house.follow()
    await house.pool.execute("delete from chain.vault_event")
    await scan(house, 2)
    assert amounts(await house.all()) == [5]


async def paged(house: House, size: int, oldest_first: bool) -> tuple[list[Place], list[Place]]:
    """All places of the listing, by page numbers and by cursors, anchored at the first answer."""
    first = await house.page(DepositWindow(limit=size, oldest_first=oldest_first))
    assert first.anchor is not None
    anchored: dict[str, Any] = {
        "as_of": first.anchor.number,
        "as_of_hash": first.anchor.hash,
        "standing": first.standing,
    }
    numbered: list[Place] = []
    for page in range(-(-first.total // size)):
        window = DepositWindow(limit=size, offset=page * size, oldest_first=oldest_first)
        found = await house.deposits.page(DepositFilter(), window, **anchored)
        assert found.total == first.total
        numbered += [each.place for each in found.deposits]
    walked = [each.place for each in first.deposits]
    while True:
        window = DepositWindow(limit=size, after=walked[-1], oldest_first=oldest_first)
        found = await house.deposits.page(DepositFilter(), window, **anchored)
        if not found.deposits:
            return numbered, walked
        walked += [each.place for each in found.deposits]


async def test_every_deposit_is_on_one_page_in_order_orphans_included(house: House) -> None:
    for turn in range(4):
        await house.send(*(house.pays(user, turn + user + 1, 100 * turn + user) for user in range(3)))
        await house.follow()
        await house.rpc.call("anvil_reorg", 1, [])
        await house.send(*(house.pays(user, turn + user + 1, 100 * turn + 50 + user) for user in range(2)))
        await house.follow()
    for oldest_first in (True, False):
        expected = [each.place for each in await house.all()][:: 1 if oldest_first else -1]
        assert len(set(expected)) == len(expected) > 16
        assert all((a < b) == oldest_first for a, b in pairwise(expected))
        for size in (1, 2, 3, 7, 100):
            assert await paged(house, size, oldest_first) == (expected, expected)
    shown = await house.all()
    assert {each.state for each in shown} >= {"seen", "orphaned"}


async def test_pages_stand_still_while_the_chain_goes_on(house: House) -> None:
    for turn in range(6):
        await house.send(house.pays(turn % 3, turn + 1, turn))
    await house.follow()
    first = await house.page(DepositWindow(limit=3))
    assert first.anchor is not None
    await house.send(house.pays(0, 99, 99))
    await house.follow()
    await house.rpc.call("anvil_reorg", 1, [])
    await house.mine(6)
    await house.follow()
    assert "orphaned" in {each.state for each in await house.all()}
    second = await house.deposits.page(
        DepositFilter(), DepositWindow(limit=3, offset=3),
        as_of=first.anchor.number, as_of_hash=first.anchor.hash, standing=first.standing,
    )  # fmt: skip
    assert second.total == first.total == 6
    assert amounts(first.deposits) + amounts(second.deposits) == [6, 5, 4, 3, 2, 1]
    assert {each.state for each in second.deposits} <= {"seen", "confirmed"}


async def test_a_node_without_tags_is_judged_by_depth(house: House) -> None:
    await house.mine(20)
    head = await house.source.head()

    class Tagless(RpcClient):
        async def batch_each(self, calls):  # type: ignore[no-untyped-def]
            latest, *_ = await super().batch_each(
                [(m, ("0xfffff", False) if p[0] != "latest" else p) for m, p in calls]
            )
            return [latest, *(await super().batch_each([("eth_getBlockByNumber", ("0xfffff", False))] * 2))]

    async with Tagless(house.rpc.url) as rpc:
        found = await RpcFinality(rpc, safe_depth=5, finalized_depth=12).finality()
        assert found.safe is not None and found.finalized is not None
        assert (found.safe.number, found.finalized.number) == (head.ref.number - 5, head.ref.number - 12)
        assert found.by_depth
        never = await RpcFinality(rpc).finality()
        assert (never.safe, never.finalized) == (None, None)
    tagged = await RpcFinality(house.rpc, safe_depth=1, finalized_depth=1).finality()
    assert tagged.safe is not None and tagged.safe.number == head.ref.number - 4
    assert not tagged.by_depth
    assert to_hex(tagged.safe.hash).startswith("0x")
