"""Exports hold what the database holds, take no memory for more of it, and appear whole or not at all."""

import asyncio
import csv
import json
import sys
import tracemalloc
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from core.errors import BadConfig, StoreUnavailable
from core.settings import load
from core.store import export, sinks
from core.store.pool import Pool, open_pool
from core.types import U256_MAX
from daemon.cli import parser
from daemon.export import run

CHAIN = 7
TOP = U256_MAX
SQL_BLOCKS = """
    insert into chain.block (chain_id, number, block_time, size, tx_count, hash, parent_hash, miner, state_root,
        transactions_root, receipts_root, uncles_hash, logs_bloom, extra_data, difficulty, gas_limit, gas_used, uncles)
    select 7, n, to_timestamp(1700000000 + n), 500, 10, sha256(int8send(n)), sha256(int8send(n - 1)), '\\x01', '\\x02',
        '\\x03', '\\x04', '\\x05', '\\x06', '', 0, 18446744073709551615, 21000, '{}'
    from generate_series($1::bigint, $2) as n
"""
SQL_TRANSACTIONS = """
    insert into chain.transaction (chain_id, block_number, tx_index, type, status, hash, sender, recipient, value,
        nonce, gas, gas_used, cumulative_gas_used, gas_price, input, extra)
    select 7, n, i, 2, 1, sha256(int8send(n) || int4send(i)), '\\xaa', case when i > 0 then '\\xbb'::bytea end,
        $3::numeric, i, 18446744073709551615, 21000, 21000, 1, decode(repeat('ab', 200), 'hex'), '{"a": "x,\\"y\\"\\n"}'
    from generate_series($1::bigint, $2) as n, generate_series(0, 9) as i
"""
SQL_TRANSFERS = """
    insert into chain.token_transfer (chain_id, block_number, log_index, position, tx_index, standard, token, sender,
        recipient, amount, token_id)
    select 7, n, 0, 0, 3, 20, '\\xcc', '\\xaa', '\\xbb', $3::numeric, null from generate_series($1::bigint, $2) as n
"""


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url, role="chainworkd_indexer", size=2) as pool:
        await pool.execute("insert into chain.chain (chain_id, name) values (7, 'seven')")
        yield pool


async def stored(pool: Pool, first: int, last: int) -> None:
    """Ten transactions and one transfer a block."""
    await pool.execute("select chain.ensure_partitions($1, $2)", first, last)
    await pool.execute(SQL_BLOCKS, first, last)
    await pool.execute(SQL_TRANSACTIONS, first, last, Decimal(TOP))
    await pool.execute(SQL_TRANSFERS, first, last, Decimal(TOP))
    await pool.execute("insert into chain.coverage values (7, int8range($1, $2 + 1))", first, last)
    await pool.execute(
        """
        insert into chain.cursor select 7, $1, sha256(int8send($1))
        on conflict (chain_id) do update set number = excluded.number
        """,
        last,
    )


async def exported(url: str, folder: Path, *options: str) -> dict[str, Any]:
    """Run the command; return its manifest."""
    arguments = parser().parse_args(["export", "--out", str(folder), *options])
    await run(load(environ={"CHAINWORKD_DATABASE__URL": url}), arguments)
    manifest: dict[str, Any] = json.loads((folder / "export.json").read_text())
    return manifest


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as opened:
        return list(csv.DictReader(opened))


def names(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir()] if folder.exists() else []


def begun(folder: Path) -> bool:
    return bool(list(folder.glob("out/.export-*/transactions.csv")))


async def test_csv_holds_the_rows_of_the_range_and_no_others(database_url: str, pool: Pool, tmp_path: Path) -> None:
    await stored(pool, 999_990, 1_000_020)  # over the seam of two partitions, in several statements
    manifest = await exported(database_url, tmp_path, "--from", "999995", "--to", "1000005")
    assert manifest["rows"] == {"blocks": 11, "transactions": 110, "transfers": 11}
    assert manifest["complete"] is True
    blocks, txs = rows(tmp_path / "blocks.csv"), rows(tmp_path / "transactions.csv")
    assert [int(b["number"]) for b in blocks] == list(range(999_995, 1_000_006))
    places = [(int(t["block_number"]), int(t["tx_index"])) for t in txs]
    assert places == [(n, i) for n in range(999_995, 1_000_006) for i in range(10)]
    hashes = await pool.fetch(
        """
        select hash from chain.transaction
        where block_number between 999995 and 1000005
        order by block_number, tx_index
        """
    )
    assert [t["hash"] for t in txs] == ["0x" + row["hash"].hex() for row in hashes]
    assert {t["value"] for t in txs} == {str(TOP)}
    assert {t["gas"] for t in txs} == {str(2**64 - 1)}
    assert json.loads(txs[0]["extra"]) == {"a": 'x,"y"\n'}
    assert [t["recipient"] for t in txs[:2]] == ["", "0xbb"]
    assert blocks[0]["block_time"] == datetime.fromtimestamp(1_700_999_995, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def test_parquet_holds_the_same_as_csv_with_types(database_url: str, pool: Pool, tmp_path: Path) -> None:
    await stored(pool, 0, 120)
    options = ("--from", "0", "--tables", ",".join(export.TABLES))
    await exported(database_url, tmp_path / "csv", *options)
    manifest = await exported(database_url, tmp_path / "parquet", *options, "--format", "parquet")
    for name, table in export.TABLES.items():
        found = parquet.read_table(tmp_path / "parquet" / f"{name}.parquet")
        assert found.schema.names == list(table.columns)
        assert found.num_rows == manifest["rows"][name]
        texts = [[_text(value) for value in row.values()] for row in found.to_pylist()]
        assert texts == [list(row.values()) for row in rows(tmp_path / "csv" / f"{name}.csv")]
    txs = parquet.read_table(tmp_path / "parquet" / "transactions.parquet")
    assert txs.schema.field("block_time").type == pyarrow.timestamp("us", tz="UTC")
    assert txs.schema.field("gas").type == pyarrow.uint64()
    assert txs["recipient"][0].as_py() is None


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    return "" if value is None else str(value)


async def test_a_range_with_holes_is_refused_and_the_holes_are_named(
    database_url: str, pool: Pool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await stored(pool, 10, 19)
    await stored(pool, 30, 39)
    with pytest.raises(BadConfig, match=r"blocks 5\.\.9, 20\.\.29 of 5\.\.39 are not indexed; --partial"):
        await exported(database_url, tmp_path, "--from", "5")
    assert names(tmp_path) == []
    manifest = await exported(database_url, tmp_path, "--from", "5", "--partial")
    assert (manifest["complete"], manifest["covered"]) == (False, [[10, 19], [30, 39]])
    assert [int(b["number"]) for b in rows(tmp_path / "blocks.csv")] == [*range(10, 20), *range(30, 40)]
    assert "5..9, 20..29" in capsys.readouterr().err
    with pytest.raises(BadConfig, match=r"no block of 50\.\.60 is indexed"):
        await exported(database_url, tmp_path, "--from", "50", "--to", "60", "--partial", "--force")


async def test_files_that_are_there_are_kept_unless_forced(database_url: str, pool: Pool, tmp_path: Path) -> None:
    await stored(pool, 0, 3)
    await exported(database_url, tmp_path, "--from", "0", "--to", "1")
    with pytest.raises(BadConfig, match=r"holds blocks\.csv, transactions\.csv"):
        await exported(database_url, tmp_path, "--from", "0")
    assert len(rows(tmp_path / "blocks.csv")) == 2
    await exported(database_url, tmp_path, "--from", "0", "--force")
    assert len(rows(tmp_path / "blocks.csv")) == 4


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--from", "0", "--tables", "blocks,nonsense"), "expected some of blocks, .* found nonsense"),
        (("--from", "3", "--to", "1"), "expected 0 <= from <= to, found 3 and 1"),
        (("--from", "0", "--chain", "eight"), "expected one of seven, found 'eight'"),
    ],
)
async def test_what_cannot_be_is_refused(
    database_url: str, pool: Pool, tmp_path: Path, options: tuple[str, ...], why: str
) -> None:
    await stored(pool, 0, 3)
    with pytest.raises(BadConfig, match=why):
        await exported(database_url, tmp_path / "out", *options)
    assert names(tmp_path / "out") == []


async def test_parquet_without_pyarrow_says_what_to_install(
    database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(BadConfig, match=r"chainworkd\[parquet\]"):
        await exported(database_url, tmp_path, "--from", "0", "--format", "parquet")


async def test_an_export_that_fails_leaves_nothing(database_url: str, pool: Pool, tmp_path: Path) -> None:
    await stored(pool, 0, 3)
    await pool.execute("delete from chain.transaction where block_number = 2 and tx_index = 5")
    for format_ in ("csv", "parquet"):
        with pytest.raises(StoreUnavailable, match=r"blocks 0\.\.3: 39 of 40 transactions are readable"):
            await exported(database_url, tmp_path, "--from", "0", "--format", format_)
        assert names(tmp_path) == []


async def test_a_killed_export_leaves_no_file_under_its_name(database_url: str, pool: Pool, tmp_path: Path) -> None:
    await stored(pool, 0, 30_000)
    program = (sys.executable, "-P", "-m", "daemon", "export", "--from", "0", "--out", str(tmp_path / "out"))
    process = await asyncio.create_subprocess_exec(*program, env={"CHAINWORKD_DATABASE__URL": database_url})
    async with asyncio.timeout(60):
        while not begun(tmp_path):  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.01)
        process.kill()
        await process.wait()
    assert [name for name in names(tmp_path / "out") if not name.startswith(".")] == []


async def test_a_rewind_during_an_export_does_not_mix_two_chains(database_url: str, pool: Pool, tmp_path: Path) -> None:
    await stored(pool, 0, 9)
    async with open_pool(database_url, size=1) as other, export.snapshot(other, CHAIN) as before:
        blocks, txs = export.TABLES["blocks"], export.TABLES["transactions"]
        wanted = (await before.coverage())[0]
        with (tmp_path / "kept").open("wb"):
            file = sinks.CsvFile(tmp_path / "blocks.csv", blocks.columns)
            assert [done async for done in before.write(blocks, wanted, file)] == [(9, 10)]
            await pool.execute("delete from chain.transaction where block_number > 4")
            await pool.execute("delete from chain.block where number > 4")
            assert [done async for done in before.write(txs, wanted, file)] == [(9, 100)]
            await before.check(wanted, 100)
            file.abandon()
        # What it has still to read cannot be dropped under it either.
        async with pool.acquire() as conn:
            await conn.execute("set lock_timeout = 100")
            with pytest.raises(Exception, match="lock timeout"):
                await conn.execute("drop table chain.log_p00000000")


@pytest.mark.parametrize("format_", ["csv", "parquet"])
async def test_memory_does_not_grow_with_the_range(database_url: str, pool: Pool, tmp_path: Path, format_: str) -> None:
    await stored(pool, 0, 7_999)
    peaks = []
    for last in (499, 7_999):
        tracemalloc.start()
        options = ("--from", "0", "--to", str(last), "--format", format_, "--force")
        manifest = await exported(database_url, tmp_path, *options)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    print(
        f"export {format_}: {manifest['rows']} rows, peaks {peaks}, arrow {pyarrow.default_memory_pool().max_memory()}"
    )
    assert manifest["rows"]["transactions"] == 80_000
    assert peaks[1] < peaks[0] * 1.5 + 1_000_000
    assert pyarrow.default_memory_pool().max_memory() < 8 * sinks.GROUP_BYTES
