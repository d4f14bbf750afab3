"""A node that lies, in front of a real one: what it leaves out or changes is never stored, and it is blamed."""

# ruff: noqa: F811 - a fixture of a neighbour, imported to be used
import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from builders.call import Call
from core.errors import Unverified
from core.metrics import Metrics
from core.settings import BlockSpan, ChainSettings
from core.store.pool import Pool
from core.store.verified import PgVerified
from core.types import BlockRange, Head
from core.verify.checks import ALL, named
from daemon.chains import Chain, bulk, encoder, endpoints, introduced, second_look
from devnet.node import Draft, Node
from devnet.town import Devnet
from indexer.backfill import ASIDE_S, Backfill, WantedRange
from indexer.encoded import EncodedHead
from indexer.follow import Follower
from tests.anvil.test_tokens import pool  # noqa: F401 - a fixture
from tests.unit.clocks import FakeClock

# Emits 90 logs, each with its number as topic: push 90; repeat: dup, push 0, push 0, log1; subtract 1 until it is 0.
LOUD = bytes.fromhex("605a5b8060006000a16001900380600257" + "00")
LOUD_AT = b"\x10\xad" * 10
TXS, LOGS_EACH = 10, 90

Lie = Callable[[list[dict[str, Any]], list[dict[str, Any]]], None]  # changes transactions and receipts of a block


class Liar:
    """Passes requests on to a node, and tells blocks from `since` on as `lie` changes them."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.lie: Lie | None = None
        self.since = 0

    async def http(self, request: web.Request) -> web.Response:
        body = await request.read()
        async with aiohttp.ClientSession() as session, session.post(self._url, data=body, headers=JSON) as response:
            said = await response.json()
        calls = msgspec.json.decode(body)
        if isinstance(calls, list) and self.lie is not None:
            self._twist(calls, {reply["id"]: reply for reply in said})
        return web.Response(body=msgspec.json.encode(said), content_type="application/json")

    def _twist(self, calls: list[Any], replies: dict[int, Any]) -> None:
        blocks = {c["params"][0]: replies[c["id"]] for c in calls if c["method"] == "eth_getBlockByNumber"}
        done = {c["params"][0]: replies[c["id"]] for c in calls if c["method"] == "eth_getBlockReceipts"}
        for number in blocks.keys() & done.keys():
            told, receipts = blocks[number]["result"], done[number]["result"]
            if told and int(number, 16) >= self.since and len(receipts) == TXS:
                assert self.lie is not None
                self.lie(told["transactions"], receipts)


JSON = {"Content-Type": "application/json"}


@asynccontextmanager
async def serving(liar: Liar) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/{path:.*}", liar.http)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


# -- lies --------------------------------------------------------------------------------------------------------------


def renumber(receipts: list[dict[str, Any]]) -> None:
    logs = [log for receipt in receipts for log in receipt["logs"]]
    for index, log in enumerate(logs):
        log["logIndex"] = hex(index)


def one_log_less(txs: list[dict[str, Any]], receipts: list[dict[str, Any]]) -> None:
    del receipts[4]["logs"][33]


def one_log_less_renumbered(txs: list[dict[str, Any]], receipts: list[dict[str, Any]]) -> None:
    del receipts[4]["logs"][33]
    renumber(receipts)


def last_log_of_all_gone(txs: list[dict[str, Any]], receipts: list[dict[str, Any]]) -> None:
    del receipts[-1]["logs"][-1]


def a_receipt_emptied(txs: list[dict[str, Any]], receipts: list[dict[str, Any]]) -> None:
    receipts[4] |= {"logs": [], "logsBloom": "0x" + "00" * 256}
    renumber(receipts)


def two_swapped(txs: list[dict[str, Any]], receipts: list[dict[str, Any]]) -> None:
    txs[2], txs[3] = txs[3], txs[2]
    receipts[2], receipts[3] = receipts[3], receipts[2]


def two_swapped_with_their_numbers(txs: list[dict[str, Any]], receipts: list[dict[str, Any]]) -> None:
    two_swapped(txs, receipts)
    for at in (2, 3):
        txs[at]["transactionIndex"] = receipts[at]["transactionIndex"] = hex(at)
        for log in receipts[at]["logs"]:
            log["transactionIndex"] = hex(at)
    receipts[2]["cumulativeGasUsed"], receipts[3]["cumulativeGasUsed"] = (
        receipts[3]["cumulativeGasUsed"], receipts[2]["cumulativeGasUsed"],
    )  # fmt: skip
    renumber(receipts)


def receipts_cut_short(txs: list[dict[str, Any]], receipts: list[dict[str, Any]]) -> None:
    del receipts[-1]


def all_cut_short(txs: list[dict[str, Any]], receipts: list[dict[str, Any]]) -> None:
    del txs[-1]
    del receipts[-1]


def a_bloom_that_is_not_the_logs(txs: list[dict[str, Any]], receipts: list[dict[str, Any]]) -> None:
    receipts[4]["logsBloom"] = "0x" + "00" * 255 + "01"


def another_topic(txs: list[dict[str, Any]], receipts: list[dict[str, Any]]) -> None:
    receipts[4]["logs"][33]["topics"] = receipts[4]["logs"][34]["topics"]


def other_data(txs: list[dict[str, Any]], receipts: list[dict[str, Any]]) -> None:
    receipts[4]["logs"][33]["data"] = "0x01"


def another_value(txs: list[dict[str, Any]], receipts: list[dict[str, Any]]) -> None:
    txs[4]["value"] = "0x1"


def failed_that_did_not(txs: list[dict[str, Any]], receipts: list[dict[str, Any]]) -> None:
    receipts[4]["status"] = "0x0"


LIES: dict[Lie, str] = {
    one_log_less: "log_index",
    one_log_less_renumbered: "receipt_bloom",
    last_log_of_all_gone: "receipt_bloom",
    a_receipt_emptied: "receipts_root",  # other receipts have the same logs: no bloom can tell
    two_swapped: "counts",
    two_swapped_with_their_numbers: "transactions_root",
    receipts_cut_short: "counts",
    all_cut_short: "gas",
    a_bloom_that_is_not_the_logs: "receipt_bloom",
    another_topic: "receipt_bloom",
    other_data: "receipts_root",
    another_value: "transactions_root",
    failed_that_did_not: "receipts_root",
}


# -- a chain with a loud block, followed -------------------------------------------------------------------------------


class Unheard:
    """No announcements: tests step the follower themselves."""

    async def newest(self) -> Head:
        raise NotImplementedError

    async def changed(self, known: Head, *, timeout_s: float) -> None:
        raise NotImplementedError


@pytest.fixture
async def loud(devnet: Devnet, node: Node) -> Callable[[], Any]:
    """Makes a block of 10 transactions with 90 logs each."""
    await node.put_code(LOUD_AT, LOUD)

    async def made() -> int:
        sender = devnet.actors[0]
        await node.send([Draft(kind="loud", sender=sender, call=Call(LOUD_AT, b""), gas=200_000) for _ in range(TXS)])
        return await node.mine()

    await devnet.step()
    return made


@asynccontextmanager
async def connected(pool: Pool, *urls: str, metrics: Metrics | None = None) -> AsyncIterator[Chain]:
    of = ChainSettings(http=urls[:1], fallback_http=urls[1:], backfill=(BlockSpan(first=0),))
    shown = metrics or Metrics()
    async with endpoints("one", of, shown) as client:  # not sticky: always the first one first
        yield await introduced("one", of, client, pool, shown)


async def stepped(chain: Chain) -> None:
    follower = Follower(chain.source, chain.store, Unheard(), name="one")
    await follower.step(await chain.source.head())


async def stored_as_it_is(chain: Chain, number: int) -> None:
    """The block is stored with its 900 logs, and every row is as an honest node has it."""
    found = [part async for part in second_look(chain).look(BlockRange(number, number), every_log=True)]
    assert [(part.blocks, part.differences, part.unverified) for part in found] == [(1, [], [])]
    count = "select count(*) from chain.transaction where block_number = $1"
    assert await chain.pool.fetchval(count, number) == TXS


async def test_anvils_blocks_pass_every_check(pool: Pool, devnet: Devnet, loud: Callable[[], Any]) -> None:
    await loud()
    async with connected(pool, devnet.http_url) as chain:
        assert chain.level.checks == ALL
        known = await PgVerified(pool, chain.id).level()
        assert known is not None
        assert known.held == ALL


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
async def test_what_a_node_lies_about_is_taken_from_another_and_it_is_blamed(
    lie: Lie, pool: Pool, devnet: Devnet, loud: Callable[[], Any]
) -> None:
    liar, metrics = Liar(devnet.http_url), Metrics()
    async with serving(liar) as url, connected(pool, url, devnet.http_url, metrics=metrics) as chain:
        await stepped(chain)
        liar.lie = lie
        number = await loud()
        await stepped(chain)
        cursor = await chain.store.cursor()
        assert cursor is not None
        assert cursor.number == number
        liar.lie = None
        await stored_as_it_is(chain, number)
        name = chain.client.endpoints[0].name
    sample = {"chain": "one", "endpoint": name, "check": LIES[lie]}
    assert metrics.registry.get_sample_value("chainworkd_endpoint_unverified_blocks_total", sample) == 1.0
    assert await PgVerified(pool, 31_337).count_quarantined() == 0


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
async def test_what_the_only_node_lies_about_is_quarantined_until_it_tells_the_truth(
    lie: Lie, pool: Pool, devnet: Devnet, loud: Callable[[], Any]
) -> None:
    liar = Liar(devnet.http_url)
    verified = PgVerified(pool, 31_337)
    async with serving(liar) as url, connected(pool, url) as chain:
        await stepped(chain)
        before = await chain.store.cursor()
        liar.lie = lie
        number = await loud()
        for _ in range(2):
            with pytest.raises(Unverified):
                await stepped(chain)
        assert await chain.store.cursor() == before
        assert await pool.fetchval("select count(*) from chain.block where number = $1", number) == 0
        [held] = await verified.quarantined()
        assert (held.number, held.failed, held.times) == (number, LIES[lie], 2)
        assert held.endpoint in url
        assert named([held.failed]) in chain.level.checks
        liar.lie = None
        await stepped(chain)
        assert await verified.count_quarantined() == 0
        await stored_as_it_is(chain, number)
        assert (await verified.completeness()).share == 1.0


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
async def test_compiled_code_takes_no_lie_for_the_truth_at_the_head(
    lie: Lie, pool: Pool, devnet: Devnet, loud: Callable[[], Any]
) -> None:
    liar = Liar(devnet.http_url)
    async with serving(liar) as url, connected(pool, url) as chain:
        await stepped(chain)
        late = encoder(chain)
        await late.load()
        head = EncodedHead(chain.answers, late, chain.store, name="one")
        head_of = asyncio.create_task(head.run())
        await asyncio.sleep(0)  # the encoder is loaded: it is ready
        number = await loud()
        honest = await head.fetch(BlockRange(number, number))
        assert honest is not None
        assert [header.checks for header in honest.headers] == [int(ALL)]
        liar.lie = lie
        assert await head.fetch(BlockRange(number, number)) is None
        head_of.cancel()


@pytest.mark.parametrize("way", ["careful", "hot"])
async def test_history_is_filled_around_a_block_that_the_only_node_lies_about(
    way: str, pool: Pool, devnet: Devnet, loud: Callable[[], Any]
) -> None:
    number = await loud()
    for _ in range(3):
        await devnet.step()
    liar, clock = Liar(devnet.http_url), FakeClock()
    async with serving(liar) as url, connected(pool, url) as chain:
        await stepped(chain)
        liar.lie = one_log_less_renumbered
        filling = Backfill(
            chain.source, chain.store, [WantedRange(0)], name="one", chunk_blocks=4, settled_blocks=0, clock=clock,
            bulk=bulk(chain) if way == "hot" else None,
        )  # fmt: skip
        while await filling.step():
            pass
        covered = await chain.store.coverage()
        assert [(span.first, span.last) for span in covered] == [(0, number - 1), (number + 1, number + 3)]
        assert await PgVerified(pool, chain.id).count_quarantined() == 1
        liar.lie = None
        clock.seconds += ASIDE_S
        while await filling.step():
            pass
        assert [(span.first, span.last) for span in await chain.store.coverage()] == [(0, number + 3)]
        assert await PgVerified(pool, chain.id).count_quarantined() == 0
        await stored_as_it_is(chain, number)
        assert (await PgVerified(pool, chain.id).completeness()).share == 1.0


async def test_a_restart_with_a_node_that_lies_weakens_nothing(
    pool: Pool, devnet: Devnet, loud: Callable[[], Any]
) -> None:
    await loud()
    async with connected(pool, devnet.http_url):
        pass
    liar, metrics = Liar(devnet.http_url), Metrics()
    liar.lie = a_receipt_emptied
    async with serving(liar) as url, connected(pool, url, metrics=metrics) as chain:
        assert chain.level.checks == ALL
        assert chain.calibrator is not None
        found = await chain.calibrator.step()
        assert "receipts_root" in {str(error.check) for error in found.fails.values()}
        assert chain.level.checks == ALL
    shown = metrics.registry.get_sample_value("chainworkd_checks_weakened", {"chain": "one"})
    assert shown == len(found.fails) > 0
