"""The explorer's answers, field by field, and every way to be refused."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import httpx
import pytest

from accounts import tokens
from api.addresses import checksum
from core.errors import Unverified
from core.store.finality import PgFinality
from core.store.pool import Pool
from core.store.verified import PgVerified
from core.types import BlockRef, Finality
from core.verify.checks import NONE, Check
from tests.api import make
from tests.api.conftest import BASE, CHAIN, Bench, client_of
from tests.api.make import ALICE, BOB, CAROL

V1 = "/api/v1"
ROUTES = [
    f"{V1}/health",
    f"{V1}/blocks/7",
    f"{V1}/blocks/latest",
    f"{V1}/transactions/0x{make.digest('tx', 'pay').hex()}",
    f"{V1}/transactions/address/0x{ALICE.hex()}",
]


def exactly(answer: httpx.Response) -> Any:
    return json.loads(answer.text, parse_float=Decimal)


async def fill(bench: Bench) -> None:
    """Block 7 with a payment, a creation and an old failure; block 8, empty; the node is at 9."""
    created = bytes([0xCE]) * 20
    await bench.store.commit(
        [
            make.block(7, [
                make.tx("pay", value=1_500_000_000_000_000_001),
                make.tx("create", to=None, receipt_contract_address=created, receipt_gas_used=65_000),
                make.tx("fail", sender=BOB, to=CAROL, receipt_status=0, receipt_effective_gas_price=None),
                make.tx("old", sender=BOB, to=BOB, receipt_status=None),
            ]),
            make.block(8),
        ],
        after=None,
    )  # fmt: skip
    await bench.store.saw(make.head(9))


async def test_health_says_how_far_the_index_is(bench: Bench) -> None:
    await fill(bench)
    assert exactly(await bench.get(f"{V1}/health")) == {
        "status": "ok",
        "last_indexed_block": 8,
        "last_indexed_timestamp": "2026-04-30T12:01:48Z",
        "chain_tip_block": 9,
        "ingestion_lag_seconds": Decimal("12.0"),
        "alarm": None,
        "completeness": None,
        "quarantined": [],
    }


async def test_health_says_how_much_is_verified_and_what_is_in_quarantine(bench: Bench) -> None:
    await fill(bench)
    known = PgVerified(bench.pool, CHAIN)
    await known.calibrated(Check.GAS, NONE)
    await bench.pool.execute(
        "insert into chain.verified values ($1, $2, '{[7,8)}')", CHAIN, int(Check.GAS | Check.COUNTS)
    )
    failed = Unverified(BlockRef(9, b"\x0a" * 32), "gas", "gasUsed of the header", "1", "2")
    failed.endpoint = "node:8545"
    await known.quarantine([failed])
    health = exactly(await bench.get(f"{V1}/health"))
    assert health["completeness"] == Decimal(1) / 2
    assert health["quarantined"] == ["block 9 (0x0a0a0a0a…) from node:8545 fails gas: gasUsed of the header"]
    assert (await bench.get(f"{V1}/blocks/7")).json()["checks"] == ["counts", "gas"]
    assert (await bench.get(f"{V1}/blocks/8")).json()["checks"] == []


async def test_health_is_starting_without_a_block_and_stale_without_news_or_far_behind(bench: Bench) -> None:
    assert (await bench.get(f"{V1}/health")).json()["status"] == "starting"
    await fill(bench)
    await bench.store.saw(make.head(14))
    assert (await bench.get(f"{V1}/health")).json()["status"] == "stale"
    await bench.store.saw(make.head(13))
    assert (await bench.get(f"{V1}/health")).json()["status"] == "ok"
    await bench.pool.execute("update chain.head set seen_at = now() - interval '121 seconds'")
    assert (await bench.get(f"{V1}/health")).json()["status"] == "stale"


async def test_a_block_lists_its_transactions_in_order(bench: Bench) -> None:
    await fill(bench)
    assert exactly(await bench.get(f"{V1}/blocks/7")) == {
        "block_number": 7,
        "block_timestamp": "2026-04-30T12:01:36Z",
        "transaction_count": 4,
        "transaction_hashes": ["0x" + make.digest("tx", name).hex() for name in ("pay", "create", "fail", "old")],
        "block_hash": "0x" + make.block_hash(7).hex(),
        "mode": "full",
        "finality": "latest",
        "checks": [],
    }
    assert (await bench.get(f"{V1}/blocks/8")).json()["transaction_hashes"] == []
    assert (await bench.get(f"{V1}/blocks/latest")).json()["block_number"] == 8


async def test_a_transaction_is_told_in_exact_numbers(bench: Bench) -> None:
    await fill(bench)
    text = (await bench.get(ROUTES[3])).text
    assert '"gas_fee_eth":0.0002625' in text
    assert json.loads(text, parse_float=Decimal) == {
        "hash": "0x" + make.digest("tx", "pay").hex(),
        "block_number": 7,
        "block_timestamp": "2026-04-30T12:01:36Z",
        "from_address": checksum(ALICE),
        "to_address": checksum(BOB),
        "contract_address": None,
        "value_native": "1.500000000000000001 ETH",
        "value_usd": None,
        "gas_used": 21_000,
        "gas_price_gwei": Decimal("12.5"),
        "gas_fee_usd": None,
        "status": "success",
        "finality": "latest",
        "gas_fee_eth": Decimal("0.0002625"),
        "token_transfers": [],
        "price_source": None,
        "price_timestamp": None,
        "price": {
            **dict.fromkeys(("value", "confidence", "source", "timestamp", "spot", "mean_30m", "deviation", "depth")),
            "reason": "not_configured",
            "doubts": [],
            "pools": [],
            "stables": [],
            "block_number": 7,
            "block_hash": "0x" + make.block_hash(7).hex(),
            "method": None,
        },
    }


async def test_creations_failures_and_unknown_outcomes_are_told_apart(bench: Bench) -> None:
    await fill(bench)

    async def told(name: str) -> Any:
        return exactly(await bench.get(f"{V1}/transactions/0x{make.digest('tx', name).hex()}"))

    created = await told("create")
    assert (created["to_address"], created["contract_address"]) == (None, checksum(bytes([0xCE]) * 20))
    failed = await told("fail")
    assert (failed["status"], failed["gas_price_gwei"]) == ("failed", Decimal("12.5"))
    assert (await told("old"))["status"] is None


async def test_the_smallest_and_the_largest_amounts_are_exact(bench: Bench) -> None:
    largest = make.tx("largest", value=2**256 - 1, gas_price=2**200 + 1, receipt_effective_gas_price=2**200 + 1)
    smallest = make.tx("smallest", value=1, receipt_effective_gas_price=1, receipt_gas_used=1)
    await bench.store.commit([make.block(1, [largest, smallest])], after=None)
    path = f"{V1}/transactions/0x"
    big = exactly(await bench.get(path + largest.hash.hex()))
    assert big["value_native"] == f"{(2**256 - 1) // 10**18}.{(2**256 - 1) % 10**18:018d} ETH"
    assert f"{big['gas_fee_eth']:f}".replace(".", "") == str((2**200 + 1) * 21_000).rstrip("0")
    small = await bench.get(path + smallest.hash.hex())
    assert exactly(small)["value_native"] == "0.000000000000000001 ETH"
    assert exactly(small)["gas_price_gwei"] == Decimal("0.000000001")
    assert exactly(small)["gas_fee_eth"] == Decimal("0.000000000000000001")


# -- who may ask -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", "Basic dXNlcjpwdw==", "Bearer garbage", "Bearer hc_live_" + "0" * 40, "hc_live_x",
     "Bearer hc_live_" + "ä" * 40],
)  # fmt: skip
@pytest.mark.parametrize("path", ROUTES)
async def test_without_a_valid_token_nothing_is_answered(bench: Bench, path: str, header: str | None) -> None:
    headers = [] if header is None else [(b"authorization", header.encode("latin-1"))]
    bench.client.headers.pop("authorization")
    answer = await bench.client.get(path, headers=headers)
    assert answer.status_code == 401
    assert answer.json() == {"error": "authorization: expected Bearer with a valid API token", "code": "401"}
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_revoked_or_expired_token_opens_nothing(bench: Bench, pool: Pool) -> None:
    expired = await tokens.issue(pool, "old", datetime.now(UTC) - timedelta(seconds=1))
    answer = await bench.client.get(ROUTES[0], headers={"authorization": f"Bearer {expired}"})
    assert answer.status_code == 401
    await bench.get(ROUTES[0])
    assert await tokens.revoke(pool, bench.token)
    await bench.get(ROUTES[0], 401)


async def test_the_scheme_may_have_any_case(bench: Bench) -> None:
    answer = await bench.client.get(ROUTES[0], headers={"authorization": f"bearer {bench.token}"})
    assert answer.status_code == 200


# -- what may be asked -----------------------------------------------------------------------------------------------

ADDRESS = f"{V1}/transactions/address/0x{ALICE.hex()}"


@pytest.mark.parametrize(
    ("path", "names"),
    [
        (f"{V1}/blocks/abc", "block_number: "),
        (f"{V1}/blocks/-1", "block_number: "),
        (f"{V1}/blocks/0x7", "block_number: "),
        (f"{V1}/blocks/1.5", "block_number: "),
        (f"{V1}/blocks/99999999999999999999", "block_number: "),
        (f"{V1}/blocks/9223372036854775807", "block_number: "),
        (f"{V1}/blocks/٣", "block_number: "),
        (f"{V1}/transactions/0x12", "hash: "),
        (f"{V1}/transactions/{'1' * 64}", "hash: "),
        (f"{V1}/transactions/0x{'g' * 64}", "hash: "),
        (f"{V1}/transactions/address/0x12", "address: "),
        (f"{V1}/transactions/address/0x{'a' * 64}", "address: "),
        (f"{V1}/transactions/address/vitalik.eth", "address: "),
        (f"{ADDRESS}?page=0", "page: "),
        (f"{ADDRESS}?page=-1", "page: "),
        (f"{ADDRESS}?page=1000001", "page: "),
        (f"{ADDRESS}?page=two", "page: "),
        (f"{ADDRESS}?page=", "page: "),
        (f"{ADDRESS}?page=1_0", "page: "),
        (f"{ADDRESS}?page_size=0", "page_size: "),
        (f"{ADDRESS}?page_size=201", "page_size: "),
        (f"{ADDRESS}?page_size=1e2", "page_size: "),
        (f"{ADDRESS}?page_size=99999999999999999999999", "page_size: "),
        (f"{ADDRESS}?page=1&page=2", "page: given more than once"),
        (f"{ADDRESS}?sort=-value", "sort: expected one of -timestamp, timestamp"),
        (f"{ADDRESS}?colour=red", "colour: unknown parameter; known are as_of, as_of_hash, chain"),
        (f"{V1}/health?page=1", "page: unknown parameter"),
        (f"{V1}/blocks/7?x=1", "x: unknown parameter"),
        (f"{V1}/health?chain=moon", "chain: expected one of main, found 'moon'"),
        (f"{V1}/health?chain=", "chain: expected one of main, found ''"),
        (f"{V1}/health?chain=main&chain=main", "chain: given more than once"),
    ],
)
async def test_a_wrong_parameter_is_refused_by_name(bench: Bench, path: str, names: str) -> None:
    await fill(bench)
    assert (await bench.refused(path)).startswith(names)


async def test_addresses_and_hashes_are_taken_in_any_case(bench: Bench) -> None:
    await fill(bench)
    for form in (ALICE.hex(), ALICE.hex().upper(), checksum(ALICE)[2:]):
        for prefix in ("0x", "0X"):
            assert (await bench.get(f"{V1}/transactions/address/{prefix}{form}")).json()["total_results"] == 2
    assert (await bench.get(f"{V1}/transactions/0x{make.digest('tx', 'pay').hex().upper()}")).json()[
        "block_number"
    ] == 7


async def test_what_is_missing_is_told_together_with_what_is_indexed(bench: Bench) -> None:
    absent = "0x" + "12" * 32
    assert await bench.refused(f"{V1}/blocks/latest", 404) == "block_number: nothing is indexed yet"
    assert "the index, which is empty so far" in await bench.refused(f"{V1}/blocks/1", 404)
    await fill(bench)
    assert await bench.refused(f"{V1}/blocks/9", 404) == "block_number: 9 is not indexed; indexed blocks 7..8"
    assert await bench.refused(f"{V1}/blocks/0", 404) == "block_number: 0 is not indexed; indexed blocks 7..8"
    assert (
        await bench.refused(f"{V1}/transactions/{absent}", 404)
        == f"hash: no transaction {absent} in indexed blocks 7..8"
    )


async def test_other_methods_and_paths_are_refused_in_the_same_envelope(bench: Bench) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        answer = await bench.client.request(method, f"{V1}/health")
        assert (answer.status_code, answer.json()["code"]) == (405, "405")
        assert "GET" in answer.headers["allow"]
    assert await bench.refused(f"{V1}/nothing", 404) == f"no such path: {V1}/nothing"


@pytest.mark.parametrize("path", [*ROUTES, "/", "/livez", "/status.json", "/metrics"])
async def test_head_says_what_get_says_without_a_body(bench: Bench, path: str) -> None:
    await fill(bench)
    wanted, answer = await bench.client.get(path), await bench.client.head(path)
    assert (wanted.status_code, answer.status_code) == (200, 200)
    assert answer.headers["content-type"] == wanted.headers["content-type"]


# -- pages -----------------------------------------------------------------------------------------------------------


async def many(bench: Bench, count: int) -> list[str]:
    """Several blocks whose transactions are all Alice's; returns their hashes, newest first."""
    txs = [make.tx(f"n{n}", to=ALICE if n % 5 == 0 else BOB) for n in range(count)]
    blocks = [make.block(i, txs[i * 4 : i * 4 + 4]) for i in range(-(-count // 4))]
    await bench.store.commit(blocks, after=None)
    return ["0x" + one.hash.hex() for one in reversed(txs)]


@pytest.mark.parametrize("size", [1, 3, 4, 20, 23, 200])
async def test_pages_followed_by_their_urls_hold_every_row_once_in_order(bench: Bench, size: int) -> None:
    wanted = await many(bench, 23)
    url: str | None = f"{ADDRESS}?page_size={size}"
    found, pages = [], []
    while url:
        body = (await bench.get(url)).json()
        assert (body["total_results"], body["page_size"]) == (23, size)
        assert body["total_pages"] == -(-23 // size)
        found += [tx["hash"] for tx in body["data"]]
        pages.append(body)
        url = body["next_page_url"]
        assert url is None or url.startswith(BASE)
    assert found == wanted
    for earlier, later in pairwise(pages):
        assert (await bench.get(later["prev_page_url"])).json()["data"] == earlier["data"]
    assert pages[0]["prev_page_url"] is None


async def test_a_page_past_the_end_is_empty_and_leads_back(bench: Bench) -> None:
    await many(bench, 5)
    body = (await bench.get(f"{ADDRESS}?page=1000000&page_size=2")).json()
    assert (body["data"], body["next_page_url"]) == ([], None)
    assert (await bench.get(body["prev_page_url"])).json()["page"] == 3


async def test_an_address_without_transactions_has_no_pages(bench: Bench) -> None:
    await many(bench, 5)
    body = (await bench.get(f"{V1}/transactions/address/0x{'00' * 20}")).json()
    assert body == {"data": [], "page": 1, "page_size": 20, "total_results": 0, "total_is_exact": True,
                    "total_pages": 0, "next_page_url": None, "prev_page_url": None, "next_cursor": None, "as_of": 1,
                    "complete": True, "covered": [[0, 1]]}  # fmt: skip


async def test_page_urls_keep_the_other_parameters_and_use_the_public_address(bench: Bench, api_pool: Pool) -> None:
    await many(bench, 5)
    async with client_of(api_pool, bench.token, public_url="https://api.example.org/") as client:
        body = (await client.get(f"{ADDRESS}?chain=main&page_size=2")).json()
    anchored = f"as_of=1&as_of_hash=0x{make.block_hash(1).hex()}"
    assert body["next_page_url"] == f"https://api.example.org{ADDRESS}?chain=main&page_size=2&{anchored}&page=2"


async def test_a_body_larger_than_any_path_reads_is_refused(bench: Bench) -> None:
    answer = await bench.client.request("GET", f"{V1}/health", content=b"x" * 70_000)
    assert (answer.status_code, answer.json()["code"]) == (413, "413")
    assert (await bench.client.request("GET", f"{V1}/health", content=b"x" * 100)).status_code == 200


async def test_every_row_says_how_final_it_is(bench: Bench) -> None:
    blocks = [make.block(n, [make.tx(f"t{n}")]) for n in range(4)]
    await bench.store.commit(blocks, after=None)

    async def told() -> list[tuple[str, str, str]]:
        listed = (await bench.get(f"{V1}/transactions?sort=timestamp")).json()["data"]
        found = []
        for number, row in enumerate(listed):
            detail = (await bench.get(f"{V1}/transactions/{row['hash']}")).json()["finality"]
            block = (await bench.get(f"{V1}/blocks/{number}")).json()["finality"]
            found.append((row["finality"], detail, block))
        return found

    assert await told() == [("latest",) * 3] * 4
    await bench.store.saw(make.head(3))
    assert await told() == [("latest",) * 3] * 4
    finality = PgFinality(bench.pool, CHAIN)
    await finality.note(Finality(blocks[1].ref, None))
    assert await told() == [("safe",) * 3] * 2 + [("latest",) * 3] * 2
    await finality.note(Finality(blocks[2].ref, blocks[0].ref))
    assert await told() == [("finalized",) * 3, *[("safe",) * 3] * 2, ("latest",) * 3]
    await bench.store.rewind(blocks[3].ref, blocks[1].ref, reason="test")
    await bench.store.commit([make.block(2, fork="")], after=blocks[1].ref)
    assert [block for *_, block in await told()] == ["finalized", "safe"]
    assert (await bench.get(f"{V1}/blocks/2")).json()["finality"] == "latest"
