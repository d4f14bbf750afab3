"""Exports of a real chain's traffic: every file holds what the node said, whatever the format."""
# ruff: noqa: F811 - fixtures of a neighbour, imported to be used

import csv
from pathlib import Path

from pyarrow import parquet

from core.rpc.client import RpcClient
from core.store.pool import Pool
from tests.anvil.test_tokens import announced, indexed, pool, read_tokens, receipts  # noqa: F401 - two are fixtures
from tests.pg.test_export import exported

ALL = "blocks,transactions,transfers,logs,tokens"


async def test_exported_transfers_are_those_the_node_announced(
    indexed: object,
    rpc: RpcClient,
    pool: Pool,
    database_url: str,
    tmp_path: Path,
) -> None:
    await read_tokens(rpc, pool)
    await pool.execute("insert into chain.chain (chain_id, name) values (31337, 'local')")
    options = ("--chain", "local", "--from", "0", "--tables", ALL)
    manifest = await exported(database_url, tmp_path / "csv", *options)
    await exported(database_url, tmp_path / "parquet", *options, "--format", "parquet")
    with (tmp_path / "csv" / "transfers.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    told = [(r["transactionHash"], *each) for r in await receipts(rpc) for each in announced(r)]
    token_id = [int(row["token_id"]) if row["token_id"] else None for row in rows]
    assert told == [
        (row["tx_hash"], row["token"], int(row["amount"]), id_) for row, id_ in zip(rows, token_id, strict=True)
    ]
    assert len(told) > 50
    found = parquet.read_table(tmp_path / "parquet" / "transfers.parquet").to_pylist()
    assert [(row["tx_hash"], row["amount"]) for row in found] == [(row["tx_hash"], row["amount"]) for row in rows]
    assert manifest["rows"]["tokens"] == await pool.fetchval("select count(*) from chain.token_seen")
