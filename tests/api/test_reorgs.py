"""The archive of reorgs, field by field, page by page."""

import re
from typing import Any

import pytest

from core.types import Block
from tests.api import make
from tests.api.conftest import Bench

ALL = "/api/v1/reorgs"


def block(number: int, fork: str, parent: Block | None = None, txs: int = 1) -> Block:
    """A block of a fork above `parent`."""
    made = make.block(number, [make.tx(f"{fork}{number}.{n}") for n in range(txs)], fork=fork)
    if parent is None:
        return made
    return type(made)(**{name: getattr(made, name) for name in made.__slots__} | {"parent_hash": parent.hash})


async def scene(bench: Bench) -> None:
    """Two reorgs: blocks 3..4 of fork a replaced, then block 4 of fork b; and a discard of block 0."""
    base = [make.block(n, [make.tx(f"base{n}")]) for n in range(3)]
    await bench.store.commit([*base, first := block(3, "a", base[2], 2), tip := block(4, "a", None)], after=None)
    assert tip.parent_hash == first.hash
    await bench.store.rewind(tip.ref, base[2].ref, reason="block 4 has parent 0xb")
    await bench.store.commit([left := block(3, "b", base[2]), gone := block(4, "b")], after=base[2].ref)
    await bench.store.rewind(gone.ref, left.ref, reason="the node's chain has another block at 4")
    await bench.store.commit([make.block(8)], after=left.ref)
    await bench.store.discard(2, left.ref, reason="does not join")


async def listed(bench: Bench, query: str = "") -> Any:
    return (await bench.get(f"{ALL}{query}")).json()


async def test_reorgs_are_told_newest_first_with_their_blocks(bench: Bench) -> None:
    await scene(bench)
    body = await listed(bench)
    assert (body["total_results"], body["total_pages"], body["page"]) == (3, 1, 1)
    discard, second, first = body["data"]
    assert first == {
        "id": first["id"],
        "detected_at": first["detected_at"],
        "ancestor_block": 2,
        "ancestor_hash": "0x" + make.block_hash(2).hex(),
        "tip_block": 4,
        "tip_hash": "0x" + make.block_hash(4, "a").hex(),
        "depth": 2,
        "reason": "block 4 has parent 0xb",
        "orphaned_blocks": 2,
        "orphaned_transactions": 3,
        "blocks": [
            {
                "block_number": n,
                "block_hash": "0x" + make.block_hash(n, "a").hex(),
                "parent_hash": "0x" + (make.block_hash(3, "a") if n == 4 else make.block_hash(2)).hex(),
                "block_timestamp": f"2026-04-30T12:0{'1:00' if n == 4 else '0:48'}Z",
                "transaction_count": 1 if n == 4 else 2,
            }
            for n in (4, 3)
        ],
    }
    assert re.fullmatch(r"\d{16}-[0-9a-f]{16}", first["id"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", first["detected_at"])
    assert (second["ancestor_block"], second["depth"], second["orphaned_blocks"]) == (3, 1, 1)
    assert (discard["ancestor_block"], discard["tip_block"], discard["reason"]) == (1, 3, "does not join")
    for each in body["data"]:
        assert await listed(bench, f"/{each['id']}") == each


@pytest.mark.parametrize("size", [1, 2, 3])
async def test_pages_and_cursors_hold_every_reorg_once_even_if_another_comes(bench: Bench, size: int) -> None:
    await scene(bench)
    wanted = [each["id"] for each in (await listed(bench))["data"]]
    for start, expected in ((f"?page_size={size}", wanted), (f"?page_size={size}&sort=timestamp", wanted[::-1])):
        found, url = [], f"{ALL}{start}"
        body: Any = {}
        while url:
            body = (await bench.get(url)).json()
            found += [each["id"] for each in body["data"]]
            assert body["total_results"] == 3
            url = body["next_page_url"]
        assert found == expected
    first = await listed(bench, "?page_size=1")
    head = make.block(8)
    await bench.store.rewind(head.ref, make.block(1).ref, reason="one more")
    (second,) = (await bench.get(first["next_page_url"])).json()["data"]
    assert second["id"] == wanted[1]
    by_cursor = await listed(bench, f"?page_size=2&cursor={first['next_cursor']}&as_of={first['as_of']}")
    assert [each["id"] for each in by_cursor["data"]] == wanted[1:]
    assert by_cursor["page"] is None
    assert (await listed(bench))["total_results"] == 4


async def test_blocks_and_transactions_of_a_reorg_are_pages_too(bench: Bench) -> None:
    await scene(bench)
    first = (await listed(bench))["data"][2]
    blocks = await listed(bench, f"/{first['id']}/blocks?page_size=1")
    assert (blocks["total_results"], blocks["data"]) == (2, first["blocks"][:1])
    assert (await bench.get(blocks["next_page_url"])).json()["data"] == first["blocks"][1:]
    assert (await listed(bench, f"/{first['id']}/blocks?cursor={blocks['next_cursor']}"))["data"] == first["blocks"][1:]
    found, url = [], f"{ALL}/{first['id']}/transactions?page_size=2"
    while url:
        page = (await bench.get(url)).json()
        assert page["total_results"] == 3
        found += page["data"]
        url = page["next_page_url"]
    names = ["a4.0", "a3.1", "a3.0"]
    assert [each["hash"] for each in found] == ["0x" + make.digest("tx", name).hex() for name in names]
    assert [(each["block_number"], each["transaction_index"]) for each in found] == [(4, 0), (3, 1), (3, 0)]
    assert (found[0]["status"], found[0]["gas_price_gwei"], found[0]["value_native"]) == ("success", 12.5, "0.00 ETH")
    after = await listed(bench, f"/{first['id']}/transactions?cursor=3-1")
    assert [each["hash"] for each in after["data"]] == [found[2]["hash"]]
    # The chain has none of them any more.
    await bench.get(f"/api/v1/transactions/{found[0]['hash']}", 404)


async def test_a_deep_reorg_shows_its_highest_blocks(bench: Bench) -> None:
    blocks = [make.block(n) for n in range(40)]
    await bench.store.commit(blocks, after=None)
    await bench.store.rewind(blocks[-1].ref, None, reason="everything")
    (deep,) = (await listed(bench))["data"]
    assert (deep["ancestor_block"], deep["ancestor_hash"], deep["depth"], deep["orphaned_blocks"]) == (
        None,
        None,
        40,
        40,
    )
    assert [each["block_number"] for each in deep["blocks"]] == list(range(39, 19, -1))
    assert len((await listed(bench, f"/{deep['id']}/blocks?page_size=200"))["data"]) == 40


async def test_without_a_reorg_the_archive_is_empty(bench: Bench) -> None:
    assert await listed(bench) == {
        "data": [], "as_of": None, "page": 1, "page_size": 20, "total_results": 0, "total_pages": 0,
        "next_page_url": None, "prev_page_url": None, "next_cursor": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "says", "status"),
    [
        ("?cursor=7", "cursor: expected the id of a reorg", 400),
        ("?as_of=7-", "as_of: expected the id of a reorg", 400),
        ("?cursor=1-00112233445566ff&page=2", "page: either page or cursor", 400),
        ("?sort=depth", "sort: expected one of", 400),
        ("?depth=3", "depth: unknown parameter", 400),
        ("/7", "id: expected the id of a reorg", 400),
        ("/1-00112233445566ff", "id: no reorg 1-00112233445566ff in the archive", 404),
        ("/9999999999999999-00112233445566ff/blocks", "id: no reorg", 404),
        ("/1-00112233445566ff/transactions?cursor=x", "id: no reorg", 404),
    ],
)
async def test_what_does_not_exist_is_refused_by_name(bench: Bench, path: str, says: str, status: int) -> None:
    await scene(bench)
    assert (await bench.refused(f"{ALL}{path}", status)).startswith(says)
