"""`chainworkd backtest` over what is indexed, and over a CSV: what it finds out of a pool, and what it refuses."""

import json
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from eth_hash.auto import keccak

from builders.ticks import tick_at
from core.errors import BadConfig
from core.settings import Settings, load
from core.store.pg import PgStore
from core.store.pool import Pool, open_pool
from core.types import Block, Log
from daemon.backtest import run
from daemon.backtest_index import Found, indexed
from daemon.cli import parser
from daemon.droid_file import PoolTable, read
from indexer.decode.tables import LogTable, TransferTable
from tests.api import make
from tests.pools import DECIMALS, USDC, VENUE, WETH, initialize, mint, numbered, pool, sqrt_of, swap

CHAIN = 31_337
OF = pool(WETH, USDC, 500)
TRANSFER = keccak(b"Transfer(address,address,uint256)")
NAMES = {WETH: "WETH", USDC: "USDC"}
SQL_TOKEN = """
    insert into chain.token (chain_id, address, block_number, block_hash, symbol, name, decimals, read_at)
    values ($1, $2, 0, $3, $4, $4, $5, now())
"""
EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
HASTY = EXAMPLES / "demo-droid.toml"
PRICES = ["3200", "3210.5", "3190", "3150", "3100.25", "3140", "3230", "3300", "3290", "3275"] * 3


def moved(token: bytes, sender: bytes, recipient: bytes) -> Log:
    topics = (TRANSFER, sender.rjust(32, b"\0"), recipient.rjust(32, b"\0"))
    return Log(address=token, topics=topics, data=(5).to_bytes(32), index=0)


def traded(price: str) -> list[Log]:
    """What a swap logs: both transfers, and the pool's own word."""
    transfers = [moved(WETH, make.ALICE, OF.address), moved(USDC, OF.address, make.ALICE)]
    return [*transfers, swap(OF.address, sqrt_of(OF, WETH, price), liquidity=10**18)]


def chain() -> list[Block]:
    first = [initialize(OF.address, sqrt_of(OF, WETH, PRICES[0])), mint(OF.address, -20, 70, 10**18)]
    logs = [first, *(traded(price) for price in PRICES)]
    return [make.block(n, [make.tx(f"{n}", receipt_logs=numbered(each))]) for n, each in enumerate(logs)]


@pytest.fixture
async def pg(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url, role="chainworkd_indexer", size=2) as opened:
        store = PgStore(opened, CHAIN, derived=[TransferTable(lambda *_: None), LogTable("none")])
        await store.register("main", None)
        for token, name in NAMES.items():
            await opened.execute(SQL_TOKEN, CHAIN, token, make.block_hash(0), name, DECIMALS[token])
        await store.commit(chain(), after=None)
        yield opened


@pytest.fixture
def settings(database_url: str, tmp_path: Path, pg: Pool) -> Settings:
    return configured(database_url, tmp_path, venue=True)


def configured(url: str, folder: Path, *, venue: bool) -> Settings:
    text = f'[chains.main]\nchain_id = {CHAIN}\nhttp = "http://127.0.0.1:1"\n'
    if venue:
        text += (
            f'[chains.main.prices]\nfactory = "0x{VENUE.factory.hex()}"\nwrapper = "0x{WETH.hex()}"\n'
            f'stables = ["0x{USDC.hex()}"]\n'
        )
    file = folder / "own.toml"
    file.write_text(text)
    return load(config=file, environ={"CHAINWORKD_DATABASE__URL": url})


def arguments(*options: str) -> Any:
    return parser().parse_args(["backtest", "--droid", str(HASTY), *options])


async def found(settings: Settings, *options: str, said: PoolTable | None = None) -> Found:
    return await indexed(settings, arguments("--pool", f"0x{OF.address.hex()}", *options), said or PoolTable())


async def test_a_pool_of_the_venue_needs_nobody_to_describe_it(settings: Settings) -> None:
    made = await found(settings)
    market = made.market
    assert (market.fee, market.spacing) == (500, 10)
    assert market.base_is_token0 == (WETH < USDC)
    assert (market.base_decimals, market.quote_decimals) == (18, 6)
    assert made.title == "WETH/USDC at 0.05 %, main 0..30"
    prices = [f"{market.price(each.sqrt_x96):.2f}" for each in made.moments]
    assert prices == [f"{Decimal(price):.2f}" for price in [PRICES[0], *PRICES]]
    assert [each.liquidity for each in made.moments[1:]] == [10**18] * len(PRICES)
    assert all(tick_at(each.sqrt_x96) == each.tick for each in made.moments)
    assert made.until == make.GENESIS_TIME + 30 * make.BLOCK_S


async def test_a_range_begins_with_the_price_it_found(settings: Settings) -> None:
    made = await found(settings, "--from", "5", "--to", "7")
    assert [f"{made.market.price(each.sqrt_x96):.2f}" for each in made.moments] == [
        "3150.00", "3100.25", "3140.00", "3230.00",
    ]  # fmt: skip
    assert [each.at for each in made.moments] == [make.GENESIS_TIME + 12 * n for n in (5, 5, 6, 7)]
    by_time = await found(settings, "--from", "2026-04-30T12:01:12", "--to", "2026-04-30T12:01:40Z")
    assert by_time.moments == made.moments


@pytest.mark.parametrize(
    ("options", "said", "fault"),
    [
        (["--to", "31"], {}, "not all of blocks 0..31 are indexed; there are 0..30"),
        (["--from", "7", "--to", "5"], {}, "found blocks 7 and 5"),
        (["--from", "soon"], {}, "--from: expected a block number or a time"),
        (["--from", "2020-01-01"], {}, "--from: the block at 2020-01-01 is not indexed"),
        ([], {"fee": 3000}, "pool.fee: the pool's address is that of fee 500, found 3000"),
        ([], {"spacing": 7}, "pool.spacing: a position of the pool begins or ends at tick -20, no multiple of 7"),
        ([], {"decimals0": 1, "decimals1": 1}, "pool.decimals0: token "),
        ([], {"base": "DOGE"}, "pool.base: expected token0, token1 or one of "),
    ],
)  # fmt: skip
async def test_what_contradicts_the_index_is_refused(
    settings: Settings, options: list[str], said: dict[str, Any], fault: str
) -> None:
    with pytest.raises(BadConfig) as caught:
        await found(settings, *options, said=PoolTable(**said))
    assert fault in str(caught.value)


async def test_without_a_venue_the_file_describes_the_pool(database_url: str, tmp_path: Path, pg: Pool) -> None:
    plain = configured(database_url, tmp_path, venue=False)
    made = await found(plain, said=read(HASTY).pool)
    assert (made.market.fee, made.market.base_is_token0) == (500, WETH < USDC)
    with pytest.raises(BadConfig, match=r"pool\.fee: expected it"):
        await found(plain)
    with pytest.raises(BadConfig, match=r"pool\.base: expected it"):
        await found(plain, said=PoolTable(fee=500))


async def test_a_pool_that_is_not_watched_is_refused(settings: Settings, pg: Pool) -> None:
    await pg.execute("update chain.chain set watched = $2 where chain_id = $1", CHAIN, [make.BOB])
    with pytest.raises(BadConfig, match="main does not watch it"):
        await found(settings)
    await pg.execute("update chain.chain set watched = $2 where chain_id = $1", CHAIN, [OF.address])
    assert (await found(settings)).moments


async def test_gas_needs_the_native_coins_price_where_the_base_is_another(tmp_path: Path) -> None:
    text = (EXAMPLES / "droid.toml").read_text().replace("decimals0 = 18", "decimals0 = 8")
    (tmp_path / "droid.toml").write_text(text)
    lines = [f"{1767225600 + 600 * n},{3200 + n % 50}" for n in range(60)]
    file = csv_file(tmp_path, "\n".join(["time,price", *lines]))
    common = ["backtest", "--droid", str(tmp_path / "droid.toml"), "--csv", str(file)]
    with pytest.raises(BadConfig, match="--native-usd: expected"):
        await run(load(environ={}), parser().parse_args(common))
    for more in (["--native-usd", "3000"], ["--gas-gwei", "0"]):
        await run(load(environ={}), parser().parse_args([*common, *more]))


async def test_an_address_that_is_no_pool_is_refused(settings: Settings) -> None:
    with pytest.raises(BadConfig, match="expected two tokens of a pool, found 0"):
        await indexed(settings, arguments("--pool", "0x" + "11" * 20), PoolTable())


async def test_a_hole_within_the_range_is_refused(settings: Settings, pg: Pool) -> None:
    await pg.execute("delete from chain.coverage")
    await pg.execute("insert into chain.coverage values ($1, int8range(0, 10)), ($1, int8range(12, 31))", CHAIN)
    with pytest.raises(BadConfig, match=r"not all of blocks 5\.\.20 are indexed"):
        await found(settings, "--from", "5", "--to", "20")
    assert (await found(settings)).title.endswith("12..30")


async def test_the_same_run_writes_the_same_bytes(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers, files = [], []
    for name in ("one", "two"):
        out = tmp_path / name
        await run(settings, arguments("--pool", f"0x{OF.address.hex()}", "--out", str(out)))
        answers.append(capsys.readouterr().out)
        files.append({file.name: file.read_bytes() for file in out.iterdir()})
    assert answers[0] == answers[1]
    assert files[0] == files[1]
    assert sorted(files[0]) == ["backtest.html", "backtest.json", "backtest.png"]
    assert files[0]["backtest.png"].startswith(b"\x89PNG")
    page = files[0]["backtest.html"].decode()
    assert "<svg" in page and "Charm-style" in page and "<script" not in page
    report = json.loads(files[0]["backtest.json"])
    assert list(report["strategies"]) == ["droid", "hold", "full range", "Charm-style"]
    assert report["strategies"]["droid"]["rebalances"] > 2
    assert sum(report["decisions"].values()) == report["marks"] - 10  # the warm-up's 20 s, every 2 s
    for row in ("net return %", "against hold %", "fees - LVR - gas %", "time in range %"):
        assert f"\n{row}" in answers[0]


def csv_file(folder: Path, text: str) -> Path:
    file = folder / "prices.csv"
    file.write_text(text)
    return file


async def test_a_csv_needs_no_database(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"2026-01-01T{n // 60:02}:{n % 60:02}:00Z,{3200 + n % 50}" for n in range(600)]
    file = csv_file(tmp_path, "\n".join(["time,price", *lines]))
    options = parser().parse_args(["backtest", "--droid", str(EXAMPLES / "droid.toml"), "--csv", str(file), "--json"])
    await run(load(environ={}), options)
    report = json.loads(capsys.readouterr().out)
    assert report["from"] == "2026-01-01T03:00:00Z" and report["to"] == "2026-01-01T09:59:00Z"
    assert Decimal(report["strategies"]["droid"]["fees"]) > 0


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("when,price\n1,2\n", "expected columns time and sqrt_price_x96 or price, found price, when"),
        ("time,price\n1767225600,-3\n", "line 2: cannot be read: expected a price above 0, found -3"),
        ("time,price\n1767225600,3200\nnoon,3200\n", "line 3: cannot be read"),
        ("time,sqrt_price_x96\n1767225600,5\n", "line 2: cannot be read: a price that no pool can have"),
        ("time,price\n", "expected at least one price"),
        ("time,price\n1767225600,3200\n1767225660,3201\n", "the warm-up of 10800 s included, found 60 s"),
    ],
)
async def test_what_a_csv_lacks_is_named(tmp_path: Path, text: str, fault: str) -> None:
    file = csv_file(tmp_path, text)
    options = parser().parse_args(["backtest", "--droid", str(EXAMPLES / "droid.toml"), "--csv", str(file)])
    with pytest.raises(BadConfig) as caught:
        await run(load(environ={}), options)
    assert fault in str(caught.value)


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("fundingUSD = 1\n[pace]\nhurry = 1\n", ["tickBuckets: field required", "pace.hurry: no such field"]),
        ("a = \n", ["Invalid value"]),
        ("pool = 5\n", ["pool."]),
    ],
)
def test_a_bad_file_is_told_by_its_fields(tmp_path: Path, text: str, faults: list[str]) -> None:
    file = tmp_path / "droid.toml"
    file.write_text(text)
    with pytest.raises(BadConfig) as caught:
        read(file)
    assert all(fault in str(caught.value) for fault in [*faults, str(file)])


async def test_exactly_one_source_of_prices_is_needed() -> None:
    for options in ([], ["--pool", "0x" + "11" * 20, "--csv", "x.csv"]):
        with pytest.raises(BadConfig, match="--pool or --csv"):
            await run(load(environ={}), arguments(*options))
