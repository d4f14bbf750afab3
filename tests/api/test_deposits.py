"""Vault deposits over HTTP: shape, filters, refusals, links that lead on, rights."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from eth_abi.abi import encode

from api.addresses import checksum
from core.store.finality import PgFinality
from core.store.pg import PgStore
from core.store.pool import Pool
from core.store.tokens import PgTokens
from core.store.vaults import PgVaults
from core.types import BlockRef, Finality, Log
from indexer.decode.metadata import Metadata
from indexer.decode.signed_vault import DEPOSIT, DEPOSIT_OLD, DEPOSIT_OLDEST, UPGRADED
from indexer.decode.tables import VaultTable
from tests.api import make
from tests.api.conftest import CHAIN, Bench
from tests.api.make import ALICE, BOB, CAROL

ALL = "/api/v1/vault/deposits"
VAULT, CODE, USDC, ETHER = b"\x77" * 20, b"\x66" * 20, b"\x55" * 20, bytes(20)
LARGEST = 2**256 - 1


@pytest.fixture
async def bench(bench: Bench, pool: Pool) -> AsyncIterator[Bench]:
    """A store that watches a vault, as the daemon's does."""
    object.__setattr__(bench, "store", PgStore(pool, CHAIN, derived=[VaultTable([VAULT], lambda *_: None)]))
    await PgVaults(pool, CHAIN).watch([VAULT])
    yield bench


def paid(amount: int, nonce: int, *, user: bytes = ALICE, token: bytes = ETHER, to: bytes = BOB, index: int = 0) -> Log:
    data = encode(["address", "address", "address", "uint256", "uint256"], [user, token, to, amount, nonce])
    return Log(address=VAULT, topics=(DEPOSIT,), data=data, index=index)


def older(topic: bytes, *words: Any, index: int) -> Log:
    types = ["address", "address", *["uint256"] * (len(words) - 2)]
    return Log(address=VAULT, topics=(topic,), data=encode(types, words), index=index)


async def scene(bench: Bench, pool: Pool) -> None:
    """Blocks 0 to 9; 0 to 3 hold deposits, block 1 is finalized, block 2 safe."""
    upgraded = Log(address=VAULT, topics=(UPGRADED, CODE.rjust(32, b"\0")), data=b"", index=0)
    logs = [
        (paid(15 * 10**17, 1),),
        (upgraded, paid(2_500_000, 2, token=USDC, index=1)),
        (paid(0, 3, user=CAROL), paid(7, LARGEST, to=CAROL, index=1)),
        (older(DEPOSIT_OLD, ALICE, ETHER, 8, 4, index=0), older(DEPOSIT_OLDEST, ALICE, ETHER, 9, index=1)),
    ]
    blocks = [make.block(n, [make.tx(f"tx{n}", receipt_logs=each)]) for n, each in enumerate(logs)]
    blocks += [make.block(n) for n in range(len(logs), 10)]
    await bench.store.commit(blocks, after=None)
    await bench.store.saw(make.head(9))
    await PgFinality(pool, CHAIN).note(Finality(ref(2), ref(1)))


def ref(number: int) -> BlockRef:
    return BlockRef(number, make.block_hash(number))


async def rows(bench: Bench, query: str = "") -> list[dict[str, Any]]:
    body = (await bench.get(f"{ALL}?{query}")).json()
    assert body["total_results"] == len(body["data"])
    data: list[dict[str, Any]] = body["data"]
    return data


async def test_a_deposit_is_answered_field_for_field(bench: Bench, pool: Pool) -> None:
    await scene(bench, pool)
    *_, first = await rows(bench)
    assert first == {
        "id": f"0-{make.block_hash(0)[:8].hex()}-0",
        "state": "finalized",
        "finality": "finalized",
        "counts": True,
        "generation": "current",
        "vault": checksum(VAULT),
        "user": checksum(ALICE),
        "token": checksum(ETHER),
        "token_symbol": "ETH",
        "resolver": checksum(BOB),
        "nonce": "1",
        "amount": "1500000000000000000",
        "amount_display": "1.50 ETH",
        "block_number": 0,
        "block_hash": "0x" + make.block_hash(0).hex(),
        "block_timestamp": "2026-04-30T12:00:12Z",
        "transaction_hash": "0x" + make.digest("tx", "tx0").hex(),
        "log_index": 0,
        "implementation": None,
        "orphaned_at": None,
        "orphaned_because": None,
    }
    assert (await bench.get(f"{ALL}/{first['id']}")).json() == first


async def test_what_no_log_says_is_null_and_what_is_unknown_is_shown(bench: Bench, pool: Pool) -> None:
    await scene(bench, pool)
    oldest, old, other, nothing, token, _ = await rows(bench)
    assert (oldest["generation"], oldest["resolver"], oldest["nonce"]) == ("oldest", None, None)
    assert (old["generation"], old["resolver"], old["nonce"]) == ("old", None, "4")
    assert (other["nonce"], other["amount"]) == (str(LARGEST), "7")
    assert (token["token_symbol"], token["implementation"]) == (None, checksum(CODE))
    assert token["amount_display"].startswith("2500000 0x5555…")
    assert [each["counts"] for each in (oldest, old, other, nothing, token)] == [False, False, True, False, True]


async def test_a_known_token_scales_its_amounts(bench: Bench, pool: Pool) -> None:
    await scene(bench, pool)
    assert await PgTokens(pool, CHAIN).write_tokens([(USDC, Metadata("USDC", "USD Coin", 6))], ref(9))
    (found,) = await rows(bench, f"token=0x{USDC.hex()}")
    assert (found["token_symbol"], found["amount"], found["amount_display"]) == ("USDC", "2500000", "2.50 USDC")


@pytest.mark.parametrize(
    ("query", "nonces"),
    [
        ("", [None, "4", str(LARGEST), "3", "2", "1"]),
        ("sort=timestamp", ["1", "2", "3", str(LARGEST), "4", None]),
        (f"user=0x{CAROL.hex()}", ["3"]),
        (f"resolver=0x{CAROL.hex()}", [str(LARGEST)]),
        (f"token=0x{ETHER.hex()}&resolver=0x{BOB.hex()}", ["3", "1"]),
        (f"nonce={LARGEST}", [str(LARGEST)]),
        ("nonce=0004", ["4"]),
        (f"vault=0x{VAULT.hex()}&nonce=1", ["1"]),
        (f"vault=0x{CODE.hex()}", []),
        ("state=finalized", ["2", "1"]),
        ("state=confirmed", [str(LARGEST), "3"]),
        ("state=seen", [None, "4"]),
        ("state=orphaned", []),
        ("as_of=1", ["2", "1"]),
    ],
)
async def test_a_filter_lets_through_what_it_says(
    bench: Bench, pool: Pool, query: str, nonces: list[str | None]
) -> None:
    await scene(bench, pool)
    assert [each["nonce"] for each in await rows(bench, query)] == nonces


async def test_totals_are_per_resolver_and_token_by_state(bench: Bench, pool: Pool) -> None:
    await scene(bench, pool)
    body = (await bench.get(ALL)).json()
    found = {(each["resolver"], each["token"]): each for each in body["totals"]}
    assert set(found) == {
        (checksum(BOB), checksum(ETHER)),
        (checksum(BOB), checksum(USDC)),
        (checksum(CAROL), checksum(ETHER)),
    }
    ether = found[checksum(BOB), checksum(ETHER)]
    assert ether == {
        "resolver": checksum(BOB),
        "token": checksum(ETHER),
        "token_symbol": "ETH",
        "count": 1,
        "amount": "1500000000000000000",
        "amount_display": "1.50 ETH",
        "seen": {"count": 0, "amount": "0"},
        "confirmed": {"count": 0, "amount": "0"},
        "finalized": {"count": 1, "amount": "1500000000000000000"},
    }
    assert found[checksum(CAROL), checksum(ETHER)]["confirmed"] == {"count": 1, "amount": "7"}
    assert body["all_totals"]
    assert body["finality"] == {"safe_block": 2, "finalized_block": 1, "by": "tags"}
    assert body["vaults"] == [checksum(VAULT)]
    assert (body["as_of"], body["complete"], body["covered"]) == (9, True, [[0, 9]])


async def test_links_lead_through_every_deposit_once(bench: Bench, pool: Pool) -> None:
    await scene(bench, pool)
    expected = [each["id"] for each in await rows(bench)]
    for start in (f"{ALL}?page_size=2", f"{ALL}?page_size=2&cursor=9-{'f' * 16}-0"):
        walked, link, answers = [], start, []
        while link:
            body = (await bench.get(link)).json()
            answers.append(body)
            walked += [each["id"] for each in body["data"]]
            link = body["next_page_url"]
            if link:
                asked = parse_qs(urlsplit(link).query)
                assert asked["as_of"] == ["9"]
                assert asked["as_of_hash"] == ["0x" + make.block_hash(9).hex()]
                assert asked["as_of_state"] == ["2.1.none"]
        assert walked == expected
    body = (await bench.get(f"{ALL}?page_size=2&page=2")).json()
    assert (body["page"], body["total_pages"]) == (2, 3)
    before = (await bench.get(body["prev_page_url"])).json()
    assert [each["id"] for each in before["data"]] == expected[:2]


async def test_an_orphan_stays_and_says_why_and_the_anchor_tells_of_the_reorg(bench: Bench, pool: Pool) -> None:
    await scene(bench, pool)
    first = (await bench.get(f"{ALL}?page_size=1")).json()
    await bench.store.rewind(ref(9), ref(2), reason="the node's chain has another block")
    gone = await rows(bench, "state=orphaned")
    assert [each["nonce"] for each in gone] == [None, "4"]
    assert gone[0]["orphaned_because"] == "the node's chain has another block"
    assert gone[0]["orphaned_at"] is not None
    assert gone[0]["finality"] is None
    assert (await bench.get(f"{ALL}/{gone[0]['id']}")).json() == gone[0]
    await bench.refused(first["next_page_url"], 409)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("user=0x12", "user: expected 0x and 40 hex digits"),
        ("resolver=bob", "resolver: "),
        ("token=ETH", "token: "),
        ("vault=1", "vault: "),
        ("nonce=-1", "nonce: expected a decimal integer below 2**256"),
        ("nonce=0x1", "nonce: "),
        (f"nonce={2**256}", "nonce: "),
        ("nonce=\u0661", "nonce: "),
        ("state=final", "state: expected one of seen, confirmed, finalized, orphaned"),
        ("states=seen", "states: unknown parameter"),
        ("user=0x" + "11" * 20 + "&user=0x" + "11" * 20, "user: given more than once"),
        ("page=0", "page: "),
        ("page_size=201", "page_size: "),
        ("cursor=3-0", "cursor: "),
        (f"cursor=3-{'0' * 16}-0&page=2", "page: either page or cursor"),
        ("sort=amount", "sort: "),
        ("as_of_hash=0x" + "11" * 32, "as_of_hash: needs as_of"),
        ("as_of_state=1.2.3", "as_of_state: needs as_of"),
        ("as_of=1&as_of_state=x", "as_of_state: expected what"),
        ("as_of=1&as_of_state=1.2.999999999999999999", "as_of_state: "),
    ],
)
async def test_a_refusal_names_the_parameter(bench: Bench, pool: Pool, query: str, says: str) -> None:
    await scene(bench, pool)
    assert says in await bench.refused(f"{ALL}?{query}")


async def test_an_id_that_is_none_and_one_that_is_nowhere(bench: Bench, pool: Pool) -> None:
    await scene(bench, pool)
    assert "id: expected" in await bench.refused(f"{ALL}/12")
    assert "blocks 0..9" in await bench.refused(f"{ALL}/0-{'0' * 16}-0", 404)
    assert "unknown parameter" in await bench.refused(f"{ALL}/0-{'0' * 16}-0?user=1")


async def test_a_link_cannot_make_a_deposit_more_final_than_it_is(bench: Bench, pool: Pool) -> None:
    await scene(bench, pool)
    body = (await bench.get(f"{ALL}?as_of=9&as_of_state=9.9.none")).json()
    assert body["finality"] == {"safe_block": 2, "finalized_block": 1, "by": "tags"}
    assert [each["state"] for each in body["data"]] == [
        state for state in ("seen", "confirmed", "finalized") for _ in range(2)
    ]
    assert [each["finality"] for each in body["data"]] == [
        finality for finality in ("latest", "safe", "finalized") for _ in range(2)
    ]


async def test_a_key_is_needed(bench: Bench) -> None:
    bare = httpx.AsyncClient(transport=bench.client._transport, base_url="http://api.test")
    assert (await bare.get(ALL)).status_code == 401
    assert (await bare.get(f"{ALL}/0-{'0' * 16}-0")).status_code == 401


async def test_nothing_indexed_and_nothing_watched_are_not_complete(bench: Bench, pool: Pool) -> None:
    empty = (await bench.get(ALL)).json()
    assert (empty["data"], empty["as_of"], empty["complete"], empty["next_page_url"]) == ([], None, False, None)
    await scene(bench, pool)
    await PgVaults(pool, CHAIN).watch([])
    body = (await bench.get(ALL)).json()
    assert (body["data"], body["vaults"], body["complete"], body["covered"]) == ([], [], False, [])


async def test_the_description_has_both_paths(bench: Bench) -> None:
    document = (await bench.get("/api/openapi.json")).json()
    listing = document["paths"][ALL]["get"]
    assert {each["name"] for each in listing["parameters"]} >= {
        "user",
        "resolver",
        "token",
        "nonce",
        "state",
        "as_of_state",
    }
    assert document["paths"][f"{ALL}/{{id}}"]["get"]["parameters"][0]["name"] == "id"
    cursor = next(each for each in listing["parameters"] if each["name"] == "cursor")
    assert "16" in cursor["schema"]["pattern"]
    assert {"Deposit", "DepositList", "ResolverTotal", "DepositSum"} <= set(document["components"]["schemas"])
