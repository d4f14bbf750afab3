"""ethereum-etl's own cases of exported files: where the columns correspond, ours hold the same."""

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from core.hex import from_hex
from core.store.derived import Derived
from core.store.pg import PgStore
from core.store.pool import open_pool
from core.types import Block
from indexer.decode.metadata import GETTERS, metadata
from indexer.decode.tables import LogTable, TransferTable
from tests.pg.test_export import exported
from tests.realdata.test_etl_transfers import ETL, rows
from tests.realdata.test_realdata import minimal_receipt, parsed

# theirs -> ours
BLOCK = {
    "number": "number", "hash": "hash", "parent_hash": "parent_hash", "nonce": "nonce", "sha3_uncles": "uncles_hash",
    "logs_bloom": "logs_bloom", "transactions_root": "transactions_root", "state_root": "state_root",
    "receipts_root": "receipts_root", "miner": "miner", "difficulty": "difficulty",
    "total_difficulty": "total_difficulty", "size": "size", "extra_data": "extra_data", "gas_limit": "gas_limit",
    "gas_used": "gas_used", "transaction_count": "tx_count", "base_fee_per_gas": "base_fee",
}  # fmt: skip
TRANSACTION = {
    "hash": "hash", "nonce": "nonce", "block_hash": "block_hash", "block_number": "block_number",
    "transaction_index": "tx_index", "from_address": "sender", "to_address": "recipient", "value": "value",
    "gas": "gas", "gas_price": "gas_price", "input": "input", "max_fee_per_gas": "fee_cap",
    "max_priority_fee_per_gas": "tip_cap", "transaction_type": "type",
}  # fmt: skip
RECEIPT = {
    "transaction_hash": "hash", "transaction_index": "tx_index", "block_hash": "block_hash",
    "block_number": "block_number", "cumulative_gas_used": "cumulative_gas_used", "gas_used": "gas_used",
    "contract_address": "contract_address", "root": "receipt_root", "status": "status",
    "effective_gas_price": "effective_gas_price",
}  # fmt: skip
LOG = {
    "log_index": "log_index", "transaction_hash": "tx_hash", "transaction_index": "tx_index",
    "block_number": "block_number", "address": "address", "data": "data",
}  # fmt: skip

pytestmark = pytest.mark.skipif(not ETL.is_dir(), reason=f"no real data in {ETL}: set REALDATA_DIR")


async def export_of(url: str, blocks: list[Block], folder: Path) -> dict[str, list[dict[str, str]]]:
    async with open_pool(url, role="chainworkd_indexer", size=2) as pool:
        tables: list[Derived] = [TransferTable(lambda *_: None), LogTable("all")]
        store = PgStore(pool, 1, derived=tables)
        await store.register("mainnet", None)
        await store.commit(blocks, after=None)
    names = ("blocks", "transactions", "transfers", "logs")
    await exported(url, folder, "--from", str(blocks[0].number), "--tables", ",".join(names))
    return {name: rows(folder / f"{name}.csv") for name in names}


def compare(ours: list[dict[str, str]], theirs: list[dict[str, str]], columns: Mapping[str, str]) -> int:
    assert [{t: row[o] for t, o in columns.items()} for row in ours] == [{t: row[t] for t in columns} for row in theirs]
    assert theirs
    return len(theirs) * len(columns)


def seconds(iso: str) -> str:
    return str(int(datetime.fromisoformat(iso).timestamp()))


def answers(folder: Path, what: str) -> list[dict[str, Any]]:
    return [json.loads(path.read_text())["result"] for path in sorted(folder.glob(f"*{what}*"))]


async def test_realdata_export_equals_that_of_ethereum_etl(database_url: str, tmp_path: Path) -> None:
    folder, done = ETL / "test_export_blocks_job" / "block_with_logs", ETL / "test_export_receipts_job"
    [block] = answers(folder, "eth_getBlockByNumber")
    receipts = answers(done / "receipts_with_logs", "eth_getTransactionReceipt")
    receipts.sort(key=lambda receipt: int(receipt["transactionIndex"], 16))
    found = await export_of(database_url, [parsed(block, receipts)], tmp_path)
    theirs = rows(folder / "expected_transactions.csv")
    compared = compare(found["blocks"], rows(folder / "expected_blocks.csv"), BLOCK)
    compared += compare(found["transactions"], theirs, TRANSACTION)
    assert [seconds(row["block_time"]) for row in found["transactions"]] == [row["block_timestamp"] for row in theirs]
    expected = sorted(rows(done / "receipts_with_logs" / "expected_receipts.csv"), key=lambda r: r["transaction_index"])
    compared += compare(found["transactions"], expected, RECEIPT)
    logs = sorted(rows(done / "receipts_with_logs" / "expected_logs.csv"), key=lambda row: int(row["log_index"]))
    compared += compare(found["logs"], logs, LOG)
    for mine, log in zip(found["logs"], logs, strict=True):
        assert ",".join(mine[f"topic{i}"] for i in range(4) if mine[f"topic{i}"]) == log["topics"]
    print(f"realdata: {compared} exported fields equal to ethereum-etl's")


async def test_realdata_export_of_two_blocks_equals_that_of_ethereum_etl(database_url: str, tmp_path: Path) -> None:
    folder = ETL / "test_export_blocks_job" / "blocks_with_transactions"
    blocks = answers(folder, "eth_getBlockByNumber")
    whole = [parsed(b, [minimal_receipt(b, tx) for tx in b["transactions"]]) for b in map(typed, blocks)]
    found = await export_of(database_url, whole, tmp_path)
    compared = compare(found["blocks"], rows(folder / "expected_blocks.csv"), BLOCK)
    compared += compare(found["transactions"], rows(folder / "expected_transactions.csv"), TRANSACTION)
    print(f"realdata: {compared} exported fields equal to ethereum-etl's")


def typed(block: dict[str, Any]) -> dict[str, Any]:
    return {**block, "transactions": [{"type": "0x0", **tx} for tx in block["transactions"]]}


async def test_realdata_export_of_a_streamed_range_equals_that_of_ethereum_etl(
    database_url: str, tmp_path: Path
) -> None:
    folder = ETL / "test_stream" / "blocks_1755634_1755635"
    receipts = {r["transactionHash"]: r for r in answers(folder, "eth_getTransactionReceipt")}
    blocks = [b for b in answers(folder, "eth_getBlockByNumber") if b["number"] in ("0x1ac9f2", "0x1ac9f3")]
    whole = [parsed(b, [receipts[tx["hash"]] for tx in b["transactions"]]) for b in map(typed, blocks)]
    found = await export_of(database_url, whole, tmp_path)
    streamed = {"transactions": TRANSACTION | STREAMED, "logs": LOG, "blocks": BLOCK}
    compared = 0
    for name, columns in streamed.items():
        theirs = lines(folder / f"expected_{name}.json")
        known = {their: our for their, our in columns.items() if their in theirs[0]}
        compared += compare(found[name], theirs, known)
    print(f"realdata: {compared} exported fields equal to ethereum-etl's")


# What ethereum-etl's stream joins to a transaction from its receipt.
STREAMED = {
    "receipt_cumulative_gas_used": "cumulative_gas_used", "receipt_gas_used": "gas_used",
    "receipt_contract_address": "contract_address", "receipt_root": "receipt_root", "receipt_status": "status",
    "receipt_effective_gas_price": "effective_gas_price",
}  # fmt: skip


def lines(path: Path) -> list[dict[str, str]]:
    """Rows of a file of JSON lines as CSV would have them: text, and nothing for null."""
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return [{name: "" if value is None else str(value) for name, value in row.items()} for row in found]


def test_realdata_token_that_answers_bytes32_reads_as_ethereum_etl_reads_it() -> None:
    folder = ETL / "test_export_tokens_job" / "token_with_alternative_return_type"
    [theirs] = rows(folder / "expected_tokens.csv")
    ours = metadata([call(folder, getter) for getter in GETTERS])
    assert (ours.symbol or "", ours.name or "", str(ours.decimals)) == (
        theirs["symbol"], theirs["name"], theirs["decimals"],
    )  # fmt: skip
    print("realdata: 1 token compared")


def call(folder: Path, getter: bytes) -> bytes | None:
    """The recorded answer to a getter; None where none was recorded."""
    found = sorted(folder.glob(f"*eth_call_data_0x{getter.hex()}_*"))
    answer = json.loads(found[0].read_text()).get("result") if found else None
    return None if answer is None else from_hex(answer)
