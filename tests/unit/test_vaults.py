"""The second look at vaults, and finality: what a node may answer, and what is made of it."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from core.errors import BadAnswer, RpcRefused
from core.rpc.client import Call, RpcClient
from core.rpc.finality import RpcFinality
from core.rpc.logs import RpcLogs
from core.store.derived import Row
from core.store.vaults import Unscanned
from core.types import BlockRange, BlockRef, Log, PlacedLog
from indexer import vaults
from indexer.decode.signed_vault import DEPOSIT
from indexer.vaults import VaultScan

VAULT = b"\x01" * 20
AT = datetime(2026, 11, 21, tzinfo=UTC)


def ref(number: int) -> BlockRef:
    return BlockRef(number, number.to_bytes(32))


def refused(method: str = "eth_getLogs", code: int = -32_020, message: str = "response too large") -> RpcRefused:
    return RpcRefused("node", method, code, message)


class Logs:
    """A node that answers for at most `most` blocks and has a deposit in every block."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.asked: list[BlockRange] = []

    async def logs(self, addresses: Sequence[bytes], wanted: BlockRange) -> tuple[Sequence[PlacedLog], BlockRef]:
        self.asked.append(wanted)
        if len(wanted) > self.most:
            raise refused()
        paid = Log(address=VAULT, topics=(DEPOSIT,), data=bytes(160), index=0)
        odd = Log(address=VAULT, topics=(DEPOSIT,), data=b"", index=1)
        numbers = range(wanted.first, wanted.last + 1)
        return [PlacedLog(ref(n), bytes(32), 0, log) for n in numbers for log in (paid, odd)], ref(wanted.last)


class Store:
    """Blocks 0 to 99, none of which was looked at."""

    def __init__(self, live_from: int = 100) -> None:
        self.live_from = live_from
        self.left = set(range(100))
        self.rows: list[Row] = []

    async def unscanned(self, vault: bytes) -> Sequence[Unscanned]:
        if not self.left:
            return []
        last = max(self.left)
        first = next(n for n in range(last, -2, -1) if n - 1 not in self.left)
        return [Unscanned(BlockRange(first, last), first >= self.live_from)]

    async def times(self, numbers: Collection[int]) -> Mapping[BlockRef, datetime]:
        return {ref(number): AT for number in numbers if number != 13}

    async def write(self, vault: bytes, rows: Sequence[Row], scanned: BlockRange, last: BlockRef) -> int:
        assert last == ref(scanned.last)
        self.left -= set(range(scanned.first, scanned.last + 1))
        self.rows += rows
        return len(rows)


async def test_every_block_is_looked_at_once_newest_first() -> None:
    source, store = Logs(1_000), Store()
    store.left -= set(range(20))
    scan = VaultScan(source, store, 1, [VAULT], name="test", range_blocks=30)
    while await scan.step(VAULT):
        pass
    assert [(span.first, span.last) for span in source.asked] == [(70, 99), (40, 69), (20, 39)]
    assert sorted(row[1] for row in store.rows) == list(range(20, 100))


async def test_a_node_that_refuses_is_asked_for_less() -> None:
    class Pausing(Exception):
        pass

    class Clock:
        def now(self) -> datetime:
            return AT

        def monotonic(self) -> float:
            return 0.0

        async def sleep(self, seconds: float) -> None:
            raise Pausing

    source, store = Logs(10), Store()
    store.left -= set(range(20))
    with pytest.raises(Pausing):
        await VaultScan(source, store, 1, [VAULT], name="test", range_blocks=64, clock=Clock()).run()
    assert store.left == set()
    assert [len(span) for span in source.asked][:4] == [64, 32, 16, 8]
    stubborn = Logs(0)
    with pytest.raises(Pausing):
        await VaultScan(stubborn, Store(), 1, [VAULT], name="test", range_blocks=4, clock=Clock()).run()
    assert [len(span) for span in stubborn.asked] == [4, 2, 1]


async def test_ranges_are_short_where_there_is_much_in_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vaults, "FIRST_BLOCKS", 10)
    monkeypatch.setattr(vaults, "MOST_ROWS", 30)  # two logs in every block: at most 15 blocks
    source, store = Logs(1_000), Store()
    scan = VaultScan(source, store, 1, [VAULT], name="test", range_blocks=64)
    store.left -= set(range(30))
    while await scan.step(VAULT):
        pass
    assert [len(span) for span in source.asked] == [10, 20, 10, 20, 10]
    assert store.left == set()


async def test_few_blocks_committed_with_the_vault_known_are_not_worth_a_request() -> None:
    source = Logs(1_000)
    assert not await VaultScan(source, Store(live_from=0), 1, [VAULT], name="test", range_blocks=101).step(VAULT)
    assert source.asked == []


async def test_a_log_of_a_block_that_is_not_stored_stores_nothing() -> None:
    store = Store()
    with pytest.raises(BadAnswer):
        await VaultScan(Logs(1_000), store, 1, [VAULT], name="test").step(VAULT)
    assert store.rows == []


def header(number: int) -> dict[str, Any]:
    return {
        "number": hex(number),
        "hash": "0x" + ref(number).hash.hex(),
        "parentHash": "0x" + "00" * 32,
        "timestamp": "0x1",
    }


class Node(RpcClient):
    """Answers by method and first parameter, with what a test put there."""

    def __init__(self, answers: Mapping[object, object]) -> None:
        super().__init__("http://node.test")
        self.answers = dict(answers)

    async def batch_each(self, calls: Sequence[Call]) -> list[msgspec.Raw | RpcRefused]:
        found = [self.answers[method if method == "eth_getLogs" else params[0]] for method, params in calls]
        return [each if isinstance(each, RpcRefused) else msgspec.Raw(msgspec.json.encode(each)) for each in found]

    async def raw(self, method: str, *params: object) -> msgspec.Raw:
        (answer,) = await self.batch([(method, params)])
        return answer


def tagged(safe: object, finalized: object) -> Node:
    return Node({"latest": header(100), "safe": safe, "finalized": finalized, hex(90): header(90), hex(80): header(80)})


NO_TAG = refused("eth_getBlockByNumber", -39_001, "finalized block not found")


@pytest.mark.parametrize(
    ("safe", "finalized", "expected"),
    [
        (header(98), header(97), (98, 97, False)),
        (None, None, (90, 80, True)),
        (NO_TAG, NO_TAG, (90, 80, True)),
        (header(98), NO_TAG, (98, 80, True)),
        (refused(code=-32_602, message="bad"), refused(message="unknown block"), (90, 80, True)),
    ],
)
async def test_depth_stands_in_only_where_there_is_no_tag(
    safe: object, finalized: object, expected: tuple[int, int, bool]
) -> None:
    found = await RpcFinality(tagged(safe, finalized), safe_depth=10, finalized_depth=20).finality()
    assert found.safe is not None and found.finalized is not None
    assert (found.safe.number, found.finalized.number, found.by_depth) == expected


async def test_a_busy_node_is_not_one_without_tags() -> None:
    busy = refused("eth_getBlockByNumber", -32_005, "too many requests")
    with pytest.raises(RpcRefused):
        await RpcFinality(tagged(busy, header(97)), safe_depth=10, finalized_depth=20).finality()


async def test_a_node_that_knew_a_tag_once_is_not_second_guessed_by_depth() -> None:
    node = tagged(header(98), header(97))
    source = RpcFinality(node, safe_depth=10, finalized_depth=20)
    await source.finality()
    node.answers["finalized"] = NO_TAG
    found = await source.finality()
    assert (found.finalized, found.by_depth) == (None, False)


def wire_log(**changes: object) -> dict[str, object]:
    given: dict[str, object] = {
        "address": "0x" + VAULT.hex(), "topics": [], "data": "0x", "logIndex": "0x0", "blockNumber": "0x5",
        "blockHash": "0x" + ref(5).hash.hex(), "transactionHash": "0x" + "22" * 32, "transactionIndex": "0x0",
        "removed": False,
    }  # fmt: skip
    return given | changes


async def test_logs_come_with_their_place() -> None:
    node = Node({"eth_getLogs": [wire_log()], "0x9": header(9)})
    (found,), last = await RpcLogs(node).logs([VAULT], BlockRange(0, 9))
    assert (found.block, found.tx_hash, found.log.address) == (ref(5), b"\x22" * 32, VAULT)
    assert last == ref(9)


@pytest.mark.parametrize(
    ("log", "last"),
    [
        (wire_log(), None),
        (wire_log(blockNumber="0xa"), header(9)),
        (wire_log(address="0x" + "02" * 20), header(9)),
        (wire_log(removed=True), header(9)),
        (wire_log(blockHash=None), header(9)),
        (wire_log(transactionIndex=None), header(9)),
        (wire_log(topics=["0x" + "00" * 32] * 5), header(9)),
        (wire_log(data="0xzz"), header(9)),
        ("log", header(9)),
    ],
)
async def test_logs_that_prove_nothing_are_a_bad_answer(log: object, last: object) -> None:
    with pytest.raises(BadAnswer):
        await RpcLogs(Node({"eth_getLogs": [log], "0x9": last})).logs([VAULT], BlockRange(0, 9))
