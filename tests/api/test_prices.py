"""USD values over HTTP: rounded products of exact prices, null with a reason where nothing can be stood for."""

import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import httpx
import pytest

from accounts import tokens
from api.addresses import checksum
from api.prices import decimal, usd
from core.store.pg import PgStore
from core.store.pool import Pool
from core.types import Block, BlockRef, Log
from indexer.decode.tables import LogTable, TransferTable
from prices.judge import Price
from tests.api import make
from tests.api.conftest import CHAIN, client_of
from tests.api.make import ALICE, BOB
from tests.pools import DAI, LINK, USDC, VENUE, WETH, initialize, numbered, pool, sqrt_of, swap
from tests.unit.test_transfers import topic

V1 = "/api/v1"
HOURLY = replace(VENUE, max_age=timedelta(hours=1))
TRANSFER = bytes.fromhex("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef")
SQL_TOKEN = """
    insert into chain.token (chain_id, address, block_number, block_hash, symbol, name, decimals, read_at)
    values ($1, $2, 0, $3, $4, $4, $5, now())
"""
SYMBOLS = {WETH: ("WETH", 18), USDC: ("USDC", 6), DAI: ("DAI", 18), LINK: ("LINK", 18)}
JUNK = bytes([0x70]) * 20
UNIT = 10**18
LINK_WETH, WETH_USDC, WETH_DAI = pool(LINK, WETH), pool(WETH, USDC), pool(WETH, DAI)


@dataclass(frozen=True)
class Desk:
    store: PgStore
    client: httpx.AsyncClient

    async def get(self, path: str, status: int = 200) -> Any:
        answer = await self.client.get(V1 + path)
        assert answer.status_code == status, answer.text
        return json.loads(answer.text, parse_float=Decimal)


@pytest.fixture
async def desk(pool: Pool, api_pool: Pool) -> AsyncIterator[Desk]:
    store = PgStore(pool, CHAIN, derived=[TransferTable(lambda *_: None), LogTable("none")])
    await store.register("main", None)
    for token, (symbol, decimals) in SYMBOLS.items():
        await pool.execute(SQL_TOKEN, CHAIN, token, make.block_hash(0), symbol, decimals)
    key = await tokens.issue(pool, "test")
    async with client_of(api_pool, key, venues={"main": HOURLY}) as client:
        yield Desk(store, client)


def moved(token: bytes, amount: int, *, sender: bytes = ALICE, to: bytes = BOB) -> Log:
    topics = (TRANSFER, topic(sender), topic(to))
    return Log(address=token, topics=topics, data=amount.to_bytes(32), index=0)


def market(link: str = "0.005") -> list[Log]:
    """A swap of LINK with the transfers that come with it, and one in each of two pools of dollars."""
    return [
        moved(LINK, 3 * UNIT, to=LINK_WETH.address), moved(WETH, UNIT, sender=LINK_WETH.address),
        swap(LINK_WETH.address, sqrt_of(LINK_WETH, LINK, link), liquidity=10**24, **sides(3 * UNIT, -UNIT)),
        swap(WETH_USDC.address, sqrt_of(WETH_USDC, WETH, "3000"), liquidity=10**18),
        swap(WETH_DAI.address, sqrt_of(WETH_DAI, WETH, "3000"), liquidity=10**24),
    ]  # fmt: skip


def sides(link: int, weth: int) -> dict[str, int]:
    """What the pool of LINK received, by the order of its tokens."""
    return {"amount0": link, "amount1": weth} if LINK_WETH.token0 == LINK else {"amount0": weth, "amount1": link}


PAID = make.tx(
    "paid", value=3 * UNIT // 2,
    receipt_logs=numbered([moved(LINK, 21 * UNIT // 2), moved(JUNK, 7), moved(USDC, 2_500_000)]),
)  # fmt: skip


def chain(last: int, logs: Mapping[int, Sequence[Log]]) -> list[Block]:
    said = {n: [make.tx(f"market {n}", receipt_logs=numbered(found))] for n, found in logs.items()}
    return [make.block(n, [*said.get(n, []), *([PAID] if n == 200 else [])]) for n in range(last + 1)]


PATH = f"/transactions/0x{PAID.hash.hex()}"


async def test_a_transaction_says_what_it_was_worth_at_its_block_and_why(desk: Desk) -> None:
    await desk.store.commit(chain(205, {10: market(), 201: market("0.1")}), after=None)
    found = await desk.get(PATH)
    assert (found["value_usd"], found["gas_fee_usd"]) == (Decimal("4500.00"), Decimal("0.79"))
    assert [each["amount_usd"] for each in found["token_transfers"]] == [Decimal("157.50"), None, Decimal("2.50")]
    assert (found["price_source"], found["price_timestamp"]) == ("uniswap_v3", found["block_timestamp"])
    native, (link, junk, dollar) = found["price"], [each["price"] for each in found["token_transfers"]]
    assert abs(native["value"] / 3000 - 1) < Decimal("1e-9")
    assert (native["confidence"], native["doubts"], native["reason"]) == ("pinned", ["pinned"], None)
    assert native["pools"] == []
    assert {each["address"] for each in native["stables"]} == {checksum(USDC), checksum(DAI)}
    assert (native["block_number"], native["block_hash"]) == (200, "0x" + make.block_hash(200).hex())
    assert link["pools"] == [
        {
            "address": checksum(LINK_WETH.address),
            "token0": checksum(LINK_WETH.token0),
            "token1": checksum(LINK_WETH.token1),
            "fee": 500,
            "block_number": 10,
            "sqrt_price_x96": str(sqrt_of(LINK_WETH, LINK, "0.005")),
            "tick": link["pools"][0]["tick"],
        }
    ]
    assert abs(link["value"] / 15 - 1) < Decimal("1e-9")
    assert abs(dollar["value"] - 1) < Decimal("1e-6")
    assert (junk["value"], junk["reason"], junk["source"]) == (None, "no_route", None)
    assert link["method"] == HOURLY.method


async def test_a_listing_says_the_same(desk: Desk) -> None:
    await desk.store.commit(chain(205, {10: market()}), after=None)
    detail = await desk.get(PATH)
    (listed,) = [each for each in (await desk.get("/transactions"))["data"] if each["hash"] == detail["hash"]]
    assert (listed["value_usd"], listed["gas_fee_usd"]) == (detail["value_usd"], detail["gas_fee_usd"])
    amounts = [each["amount_usd"] for each in detail["token_transfers"]]
    assert [each["amount_usd"] for each in listed["token_transfers"]] == amounts


async def test_the_status_page_says_what_the_native_coin_is_worth(desk: Desk) -> None:
    await desk.store.commit(chain(205, {10: market()}), after=None)
    (shown,) = json.loads((await desk.client.get("/status.json")).text)["chains"]
    price = shown["native_price"]
    assert abs(Decimal(price.pop("usd")) / 3000 - 1) < Decimal("1e-9")
    assert price == {"reason": None, "confidence": "pinned", "source": "uniswap_v3", "block": 205}
    assert "native_price" in (await desk.client.get("/")).text


async def test_a_hole_in_coverage_gives_null_and_heals(desk: Desk) -> None:
    blocks = chain(405, {10: market()})
    with_gap = [replace(block, txs=()) if block.number != 200 else block for block in blocks[120:]]
    await desk.store.commit(with_gap, after=None)
    found = await desk.get(PATH)
    assert (found["value_usd"], found["price"]["reason"]) == (None, "not_covered")
    assert (found["price_source"], found["price_timestamp"]) == (None, None)
    await desk.store.fill(blocks[:120])
    assert (await desk.get(PATH))["value_usd"] == Decimal("4500.00")


async def test_a_token_is_priced_at_a_block_and_at_a_time(desk: Desk) -> None:
    await desk.store.commit(chain(300, {10: market(), 250: market("0.0051")}), after=None)
    await desk.store.saw(make.head(300))
    path = f"/tokens/{checksum(LINK)}/price"
    values = [
        (await desk.get(path + query))["price"] for query in ("", "?at=249", "?at=250", "?at=2026-04-30T12:48:00Z")
    ]
    assert [round(each["value"], 6) for each in values] == [Decimal(v) for v in ("15.3", "15", "15.3", "15")]
    assert [each["block_number"] for each in values] == [300, 249, 250, 239]
    native = await desk.get(f"/tokens/0x{'00' * 20}/price?at=240")
    assert round(native["price"]["value"]) == 3000
    assert (await desk.get(f"{path}?at=301", 404))["error"].startswith("at: 301 is not indexed")
    assert "at: expected a time" in (await desk.get(f"{path}?at=yesterday", 400))["error"]
    unknown = (await desk.get(f"/tokens/0x{'99' * 20}/price"))["price"]
    assert (unknown["value"], unknown["reason"]) == (None, "no_route")


async def test_a_token_whose_decimals_are_not_read_yet_has_no_price_yet(desk: Desk, pool: Pool) -> None:
    await desk.store.commit(chain(205, {10: market(), 201: market("0.1")}), after=None)
    await pool.execute("delete from chain.token where address = $1", LINK)
    price = (await desk.get(f"/tokens/{checksum(LINK)}/price?at=200"))["price"]
    found = await desk.get(PATH)
    for each in (price, found["token_transfers"][0]["price"]):
        assert (each["value"], each["spot"], each["confidence"], each["reason"]) == (None, None, None, "not_covered")
    assert found["token_transfers"][0]["amount_usd"] == Decimal("157.50"), "an amount needs no decimals"
    assert "are not read yet" in (await desk.get(f"/prices/candles?token={checksum(LINK)}", 503))["error"]


async def test_candles_are_what_the_pool_did(desk: Desk) -> None:
    logs = {n: market(price) for n, price in ((10, "0.005"), (11, "0.0052"), (12, "0.0049"), (40, "0.0051"))}
    await desk.store.commit(chain(60, logs), after=None)
    asked = "from_date=2026-04-30T12:00:00Z&to_date=2026-04-30T12:10:00Z"
    found = await desk.get(
        f"/prices/candles?pool={checksum(LINK_WETH.address)}&token={checksum(LINK)}&interval=5m&{asked}"
    )
    rows = [
        {name: str(round(v, 6)) if isinstance(v, Decimal) else v for name, v in c.items()} for c in found["candles"]
    ]
    assert rows == [
        {
            "time": "2026-04-30T12:00:00Z", "open": "0.005000", "high": "0.005200", "low": "0.004900",
            "close": "0.004900", "volume": 9, "quote_volume": 3, "swaps": 3,
        },
        {
            "time": "2026-04-30T12:05:00Z", "open": "0.005100", "high": "0.005100", "low": "0.005100",
            "close": "0.005100", "volume": 3, "quote_volume": 1, "swaps": 1,
        },
    ]  # fmt: skip
    assert (found["token"], found["quote"], found["fee"]) == (checksum(LINK), checksum(WETH), 500)
    for fee in ("", "&fee=500"):
        assert await desk.get(f"/prices/candles?token={checksum(LINK)}&interval=5m&{asked}{fee}") == found
    other = await desk.get(f"/prices/candles?token={checksum(LINK)}&interval=5m&{asked}&fee=777")
    assert (other["fee"], other["candles"]) == (777, [])
    turned = await desk.get(f"/prices/candles?token={checksum(WETH)}&quote={checksum(LINK)}&interval=5m&{asked}")
    assert [round(turned["candles"][0][name], 3) for name in ("open", "high", "low", "close")] == [
        200, Decimal("204.082"), Decimal("192.308"), Decimal("204.082"),
    ]  # fmt: skip


async def test_a_price_that_nobody_swapped_at_is_in_no_candle(desk: Desk) -> None:
    first = initialize(LINK_WETH.address, sqrt_of(LINK_WETH, LINK, "0.9"))
    await desk.store.commit(chain(60, {5: [first], 8: [first, *market()], 40: [first]}), after=None)
    found = await desk.get(
        f"/prices/candles?token={checksum(LINK)}&interval=5m&from_date=2026-04-30T12:00:00Z&to_date=2026-04-30T12:10:00Z"
    )
    (candle,) = found["candles"]
    assert (round(candle["open"], 6), round(candle["high"], 6), candle["swaps"]) == (
        Decimal("0.005"),
        Decimal("0.005"),
        1,
    )


async def test_candles_know_no_block_that_a_reorg_took(desk: Desk) -> None:
    blocks = chain(60, {30: market(), 50: market("0.9")})
    await desk.store.commit(blocks, after=None)
    path = f"/prices/candles?token={checksum(LINK)}&interval=1d&from_date=2026-04-30&to_date=2026-04-30"
    (before,) = (await desk.get(path))["candles"]
    await desk.store.rewind(blocks[-1].ref, blocks[49].ref, reason="test")
    (after,) = (await desk.get(path))["candles"]
    assert (round(before["high"], 6), round(after["high"], 6)) == (Decimal("0.9"), Decimal("0.005"))
    assert (before["swaps"], after["swaps"]) == (2, 1)


@pytest.mark.parametrize("eth", ["0.000000000123", "123000000000"])
async def test_tiny_and_huge_prices_are_written_out(desk: Desk, eth: str) -> None:
    await desk.store.commit(chain(205, {10: market(eth)}), after=None)
    for path, name, price in (
        (f"/tokens/{checksum(LINK)}/price?at=200", "spot", Decimal(eth) * 3000),
        (f"/prices/candles?token={checksum(LINK)}&interval=1d&to_date=2026-04-30", "open", Decimal(eth)),
    ):
        answer = (await desk.client.get(V1 + path)).text
        (found,) = re.findall(rf'"{name}":([^,]*),', answer)
        assert set(found) <= set("0123456789."), found
        assert abs(Decimal(found) / price - 1) < Decimal("1e-9")


async def test_candles_say_whether_blocks_are_missing(desk: Desk) -> None:
    blocks = chain(60, {30: market()})
    await desk.store.commit(blocks[20:], after=None)
    path = f"/prices/candles?token={checksum(LINK)}&interval=1m&to_date=2026-04-30T12:11:00Z&from_date="
    assert (await desk.get(path + "2026-04-30T12:05:00Z"))["complete"] is True
    assert (await desk.get(path + "2026-04-30T12:01:00Z"))["complete"] is False
    assert (await desk.get("/prices/candles?token=" + checksum(LINK)))["candles"] == []


@pytest.mark.parametrize(
    ("query", "status", "error"),
    [
        ("", 400, "pool, token: one of the two"),
        ("pool=0x" + "11" * 20, 404, "pool: no swap"),
        ("token=0x" + "11" * 20, 404, "token, quote: no swap"),
        (f"token={checksum(WETH)}", 400, "token, quote: expected two"),
        (f"token={checksum(LINK)}&interval=2h", 400, "interval: expected one of"),
        (f"token={checksum(LINK)}&interval=1m&from_date=2026-01-01", 400, "at most 1000 candles"),
        (f"token={checksum(LINK)}&from_date=2026-01-02&to_date=2026-01-01", 400, "later than"),
        (f"token={checksum(LINK)}&limit=0", 400, "limit: expected an integer"),
        (f"pool=0x{'11' * 20}&fee=500", 400, "quote, fee: not together"),
    ],
)
async def test_what_no_candles_can_be_of_is_refused(desk: Desk, query: str, status: int, error: str) -> None:
    await desk.store.commit(chain(12, {10: market()}), after=None)
    assert error in (await desk.get(f"/prices/candles?{query}", status))["error"]


def test_dollars_are_rounded_half_even_from_the_exact_product() -> None:
    at = Price(token=LINK, block=BlockRef(1, bytes(32)), usd=Fraction(1, 1000))
    assert [usd(amount, at) for amount in (5, 15, 25, 14, 16)] == [
        Decimal(text) for text in ("0.00", "0.02", "0.02", "0.01", "0.02")
    ]
    assert str(usd(250_000, at)) == "250.00"
    assert usd(2**256 - 1, replace(at, usd=Fraction(10**20))) == Decimal((2**256 - 1) * 10**20)
    assert usd(1, replace(at, usd=None)) is None


def test_prices_are_shown_to_28_digits() -> None:
    assert str(decimal(Fraction(1, 3))) == "0." + "3" * 28
    assert str(decimal(Fraction(3000))) == "3000"
    assert str(decimal(Fraction(10**40))) == "1" + "0" * 40
