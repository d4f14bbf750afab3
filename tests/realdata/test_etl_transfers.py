"""ethereum-etl's own cases of token transfers: ours are equal to theirs, field by field."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from core.hex import from_hex, from_quantity, to_hex
from core.types import Log, TokenTransfer
from indexer.decode import transfers
from tests.realdata.test_realdata import FOLDER

ETL = FOLDER / "etl"

pytestmark = pytest.mark.skipif(not ETL.is_dir(), reason=f"no real data in {ETL}: set REALDATA_DIR")


def as_etl(transfer: TokenTransfer) -> tuple[str, str, str, int, int]:
    """ethereum-etl has one `value`: the amount, or the id of an ERC-721 token."""
    value = transfer.amount if transfer.token_id is None else transfer.token_id
    return to_hex(transfer.token), to_hex(transfer.sender), to_hex(transfer.recipient), value, transfer.log_index


def expected(row: dict[str, Any]) -> tuple[str, str, str, int, int]:
    place = int(row["log_index"])
    return row["token_address"], row["from_address"], row["to_address"], int(row["value"]), place


def test_realdata_transfers_of_exported_logs_equal_those_of_ethereum_etl() -> None:
    folder = ETL / "test_extract_token_transfers_job" / "logs"
    ours = [as_etl(t) for row in rows(folder / "logs.csv") for t in transfers.decode(0, csv_log(row))]
    theirs = [expected(row) for row in rows(folder / "expected_token_transfers.csv")]
    print(f"realdata: {len(theirs)} transfers compared")
    assert theirs
    assert ours == theirs


def test_realdata_transfers_of_a_streamed_block_equal_those_of_ethereum_etl() -> None:
    folder = ETL / "test_stream" / "blocks_1755634_1755635"
    receipts = [json.loads(p.read_text())["result"] for p in sorted(folder.glob("*eth_getTransactionReceipt*"))]
    ours = [as_etl(t) for receipt in receipts for log in receipt["logs"] for t in transfers.decode(0, json_log(log))]
    theirs = [
        expected(json.loads(line)) for line in (folder / "expected_token_transfers.json").read_text().splitlines()
    ]
    print(f"realdata: {len(theirs)} transfers compared")
    assert theirs
    assert sorted(ours) == sorted(theirs)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def csv_log(row: dict[str, str]) -> Log:
    topics = tuple(from_hex(topic, 32) for topic in row["topics"].split(",") if topic)
    return Log(address=from_hex(row["address"]), topics=topics, data=from_hex(row["data"]), index=int(row["log_index"]))


def json_log(wire: dict[str, Any]) -> Log:
    return Log(
        address=from_hex(wire["address"], 20),
        topics=tuple(from_hex(topic, 32) for topic in wire["topics"]),
        data=from_hex(wire["data"]),
        index=from_quantity(wire["logIndex"]),
    )
