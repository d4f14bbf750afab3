"""Listings of transactions: what passes which filter, in which order, and that pages neither shift nor lie."""

import random
from dataclasses import replace
from typing import Any

import httpx
import pytest

from api.access import Gate
from api.app import application
from core.errors import ChainworkdError
from core.metrics import Metrics
from core.store.listing import AnchorGone, Filter, Window
from core.store.pool import Pool
from core.store.reader import Reader
from core.types import Block, Log
from indexer.decode.transfers import TRANSFER
from tests.api import make
from tests.api.conftest import CHAIN, Bench, client_of
from tests.api.make import ALICE, BOB, CAROL

V1 = "/api/v1"
ALL = f"{V1}/transactions"
TOKEN = bytes([0x70]) * 20
TRANSFER_SELECTOR = bytes.fromhex("a9059cbb")


def moved(sender: bytes, recipient: bytes, amount: int, index: int = 0) -> Log:
    topics = (TRANSFER, sender.rjust(32, b"\0"), recipient.rjust(32, b"\0"))
    return Log(address=TOKEN, topics=topics, data=amount.to_bytes(32), index=index)


async def scene(bench: Bench) -> None:
    """Blocks 0 to 3 with one transaction each that differs from the others in every way a filter can see."""
    send = make.tx("ether", sender=ALICE, to=BOB, value=10**18)
    fail = make.tx("failed", sender=BOB, to=CAROL, value=5 * 10**17, receipt_status=0)
    token = make.tx("token", sender=CAROL, to=TOKEN, input=TRANSFER_SELECTOR + bytes(64),
                    receipt_logs=(moved(CAROL, ALICE, 7),))  # fmt: skip
    old = make.tx("old", sender=ALICE, to=None, receipt_status=None, receipt_contract_address=bytes([9]) * 20)
    await bench.store.commit([make.block(n, [tx]) for n, tx in enumerate((send, fail, token, old))], after=None)


NAMES = {"0x" + make.digest("tx", name).hex(): name for name in ("ether", "failed", "token", "old")}


async def names(bench: Bench, query: str) -> list[str]:
    body = (await bench.get(f"{ALL}?{query}")).json()
    assert body["total_results"] == len(body["data"])
    return [NAMES[tx["hash"]] for tx in body["data"]]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["old", "token", "failed", "ether"]),
        ("sort=timestamp", ["ether", "failed", "token", "old"]),
        (f"address=0x{ALICE.hex()}", ["old", "token", "ether"]),
        (f"address=0x{ALICE.hex()}&direction=in", ["token"]),
        (f"address=0x{ALICE.hex()}&direction=out", ["old", "ether"]),
        (f"address=0x{CAROL.hex()}&direction=in", ["failed"]),
        (f"address=0x{CAROL.hex()}&direction=out", ["token"]),
        (f"token=0x{TOKEN.hex()}", ["token"]),
        (f"token=0x{BOB.hex()}", []),
        (f"token=0x{TOKEN.hex()}&address=0x{ALICE.hex()}", ["token"]),
        (f"token=0x{TOKEN.hex()}&address=0x{BOB.hex()}", []),
        ("status=success", ["token", "ether"]),
        ("status=failed", ["failed"]),
        ("status=unknown", ["old"]),
        ("min_value=0.5", ["failed", "ether"]),
        ("min_value=0.500000000000000001", ["ether"]),
        ("max_value=0.5&min_value=0.1", ["failed"]),
        ("method=0xA9059CBB", ["token"]),
        ("from_block=1&to_block=2", ["token", "failed"]),
        ("from_block=4", []),
        ("from_date=2026-04-30T12:00:24Z", ["old", "token", "failed"]),
        ("to_date=2026-04-30T12:00:24Z", ["failed", "ether"]),
        ("from_date=2026-04-30T14:00:24%2B02:00&to_date=2026-04-30T12:00:24", ["failed"]),
        ("from_date=2026-05-01", []),
        ("to_date=2026-04-29", []),
        (f"address=0x{ALICE.hex()}&status=success&from_block=1", ["token"]),
        ("as_of=1", ["failed", "ether"]),
    ],
)
async def test_a_filter_lets_through_what_it_says(bench: Bench, query: str, expected: list[str]) -> None:
    await scene(bench)
    assert await names(bench, query) == expected


@pytest.mark.parametrize(
    ("query", "names_"),
    [
        ("address=0x12", "address: expected 0x and 40 hex digits"),
        ("direction=in", "direction: needs address"),
        (f"direction=up&address=0x{ALICE.hex()}", "direction: expected one of in, out"),
        ("token=usdc", "token: "),
        ("status=ok", "status: expected one of success, failed, unknown"),
        ("min_value=-1", "min_value: "),
        ("min_value=1e3", "min_value: "),
        ("min_value=0.1234567890123456789", "min_value: expected a decimal amount with at most 18 places"),
        ("min_value=2&max_value=1", "min_value, max_value: "),
        ("method=0xa9059c", "method: "),
        ("from_block=-1", "from_block: "),
        ("from_block=2&to_block=1", "from_block, to_block: "),
        ("from_date=yesterday", "from_date: expected a time like"),
        ("from_date=2026-05-02&to_date=2026-05-01", "from_date, to_date: "),
        ("from_date=9999-12-31T23:59:59-23:59", "from_date: "),
        ("cursor=x", "cursor: "),
        ("cursor=3-0&page=2", "page: either page or cursor"),
        ("as_of=latest", "as_of: "),
        ("as_of_hash=0x" + "00" * 32, "as_of_hash: needs as_of"),
        ("as_of=1&as_of_hash=0x00", "as_of_hash: "),
    ],
)
async def test_a_wrong_filter_is_refused_by_name(bench: Bench, query: str, names_: str) -> None:
    await scene(bench)
    assert (await bench.refused(f"{ALL}?{query}")).startswith(names_)


async def test_a_transfer_is_shown_in_base_units_until_its_token_has_been_read(bench: Bench) -> None:
    await scene(bench)
    (listed,) = (await bench.get(f"{ALL}?token=0x{TOKEN.hex()}")).json()["data"]
    assert listed["token_transfers"] == [{"token_symbol": None, "amount_display": "7 0x7070…7070", "amount_usd": None}]
    detail = (await bench.get(f"{ALL}/{listed['hash']}")).json()
    assert detail["token_transfers"][0]["token_standard"] == "ERC-20"
    assert detail["token_transfers"][0]["token_id"] is None


async def test_a_page_that_a_reorg_took_away_is_a_conflict(bench: Bench) -> None:
    await scene(bench)
    first = (await bench.get(f"{ALL}?page_size=1")).json()
    await bench.store.rewind(make.block(3).ref, make.block(2).ref, reason="test")
    assert "start again" in await bench.refused(first["next_page_url"], 409)
    await bench.store.commit(
        [replace(make.block(3, fork="b", txs=[]), parent_hash=make.block(2).hash)], after=make.block(2).ref
    )
    assert "replaced by a reorg" in await bench.refused(first["next_page_url"], 409)


async def test_what_is_asked_for_and_not_indexed_is_said(bench: Bench) -> None:
    await bench.store.commit([make.block(n) for n in (5, 6)], after=None)
    body = (await bench.get(f"{ALL}?from_block=3")).json()
    assert (body["complete"], body["covered"], body["as_of"]) == (False, [[5, 6]], 6)
    assert (await bench.get(f"{ALL}?from_block=5")).json()["complete"] is True


async def test_pages_return_every_row_once_and_in_order_while_the_chain_moves(bench: Bench) -> None:
    """Random commits and rewinds between the pages: a walk ends whole, or is told to start again."""
    whole = 0
    for seed in range(25):
        dice = random.Random(seed)
        chain = Moving(bench, dice)
        await chain.grow(dice.randrange(3, 8))
        expected = chain.hashes(newest_first=(newest := dice.random() < 0.5))
        sort = "-timestamp" if newest else "timestamp"
        found = await walk(bench, chain, f"sort={sort}&page_size={dice.randrange(1, 6)}", by_cursor=dice.random() < 0.5)
        if found is not None:
            assert found == expected
            whole += 1
        await chain.clear()
    assert whole >= 8


async def walk(bench: Bench, chain: "Moving", query: str, *, by_cursor: bool) -> list[str] | None:
    """Follow the links to the end, moving the chain between pages; None if a reorg broke the walk off."""
    url: str | None = f"{ALL}?{query}"
    found: list[str] = []
    while url is not None:
        answer = await bench.client.get(url)
        if answer.status_code == 409:
            return None
        body: dict[str, Any] = answer.json()
        found += [tx["hash"] for tx in body["data"]]
        anchor = f"as_of={body['as_of']}"
        url = body["next_page_url"]
        if by_cursor and url is not None:
            url = f"{ALL}?{query}&{anchor}&cursor={body['next_cursor']}" + hash_of(url)
        await chain.move()
    return found


def hash_of(url: str) -> str:
    return "&as_of_hash=" + url.split("as_of_hash=")[1].split("&", maxsplit=1)[0]


class Moving:
    """A chain in the store that grows and is rewound at random."""

    def __init__(self, bench: Bench, dice: random.Random) -> None:
        self._store = bench.store
        self._dice = dice
        self._blocks: list[Block] = []
        self._made = 0

    async def grow(self, blocks: int) -> None:
        after = self._blocks[-1].ref if self._blocks else None
        new: list[Block] = []
        for _ in range(blocks):
            self._made += 1
            number = len(self._blocks) + len(new)
            txs = [make.tx(f"{id(self)}-{self._made}-{i}") for i in range(self._dice.randrange(4))]
            above = make.block(number, txs, fork=f"{id(self)}-{self._made}")
            below = (new or self._blocks)[-1:]
            new.append(replace(above, parent_hash=below[0].hash) if below else above)
        await self._store.commit(new, after=after)
        self._blocks += new

    async def move(self) -> None:
        if self._dice.random() < 0.15 and len(self._blocks) > 2:
            depth = self._dice.randrange(1, len(self._blocks) - 1)
            await self._store.rewind(self._blocks[-1].ref, self._blocks[-1 - depth].ref, reason="test")
            del self._blocks[-depth:]
        await self.grow(self._dice.randrange(1, 3))

    async def clear(self) -> None:
        await self._store.rewind(self._blocks[-1].ref, None, reason="test")

    def hashes(self, *, newest_first: bool) -> list[str]:
        found = ["0x" + tx.hash.hex() for block in self._blocks for tx in block.txs]
        return found[::-1] if newest_first else found


async def test_an_anchor_above_the_head_is_refused(bench: Bench) -> None:
    await scene(bench)
    with pytest.raises(AnchorGone, match="above the newest indexed block 3"):
        await Reader(bench.pool, CHAIN).transactions(Filter(), Window(limit=1), as_of=4)
    assert issubclass(AnchorGone, ChainworkdError)


async def test_a_token_has_so_many_requests_and_no_more(bench: Bench, api_pool: Pool) -> None:
    await scene(bench)
    async with client_of(api_pool, bench.token, rate_limit="3/minute") as client:
        answers = [await client.get(f"{V1}/health") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
    assert answers[-1].json()["code"] == "429"


async def test_pages_of_other_origins_may_ask_only_if_configured() -> None:
    open_app = application([], Metrics(), gate=Gate({}), cors_origins=["https://app.example.com"])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(open_app), base_url="http://api.test") as client:
        asked = {"origin": "https://app.example.com", "access-control-request-method": "GET",
                 "access-control-request-headers": "authorization"}  # fmt: skip
        assert (await client.options("/x", headers=asked)).headers["access-control-allow-origin"] == asked["origin"]
        refused = await client.options("/x", headers={**asked, "origin": "https://evil.example"})
        assert "access-control-allow-origin" not in refused.headers
