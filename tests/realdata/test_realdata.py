"""Real mainnet blocks and receipts, there and back: wire -> types -> wire, and wire -> types -> database -> wire.

REALDATA_DIR names the folder (default ../shared/realdata beside the checkout); its README says where the data is from.
"""

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.rpc import encode, wire
from core.store.bulk import Chunk
from core.store.pg import PgStore
from core.store.pool import open_pool
from core.types import Block
from indexer.decode.tables import LogTable, TransferTable
from indexer.hotpath import HotPath
from tests import make
from tests.realdata.stored import stored_block

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("REALDATA_DIR", ROOT.parent / "shared" / "realdata"))
MAINNET = 1
# These repeat what other fields say: `v` of a typed transaction, the chain, the block's timestamp.
DERIVED = frozenset({"yParity", "chainId", "blockTimestamp"})

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no real data in {FOLDER}: set REALDATA_DIR")


def files(kind: str) -> list[Path]:
    found = sorted((FOLDER / kind).glob("*.json.gz"), key=lambda path: int(path.name.split(".")[0]))
    assert found, f"{FOLDER / kind} holds no files"
    return found


def read(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes())


def with_receipts(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A block's answer, and its receipts: the real ones where they are there, else minimal ones that belong to it."""
    block = json.loads(read(path))
    real = FOLDER / "receipts" / path.name
    if real.exists():
        return block, json.loads(read(real))
    return block, [minimal_receipt(block, tx) for tx in block["transactions"]]


def minimal_receipt(block: dict[str, Any], tx: dict[str, Any]) -> dict[str, Any]:
    return {
        "transactionHash": tx["hash"], "transactionIndex": tx["transactionIndex"], "blockHash": block["hash"],
        "blockNumber": block["number"], "cumulativeGasUsed": tx["gas"], "gasUsed": tx["gas"], "status": "0x1",
        "logsBloom": "0x" + "00" * 256, "contractAddress": None, "from": tx["from"], "to": tx["to"], "logs": [],
        "type": tx["type"],
    }  # fmt: skip


def block_around(receipts: list[dict[str, Any]], template: dict[str, Any]) -> dict[str, Any]:
    """A block for receipts that came without one: the header of another, transactions as the receipts imply."""
    first = receipts[0]
    txs = [
        {
            "hash": r["transactionHash"], "blockHash": r["blockHash"], "blockNumber": r["blockNumber"],
            "transactionIndex": r["transactionIndex"], "type": r["type"], "from": r["from"], "to": r["to"],
            "value": "0x0", "nonce": "0x0", "gas": r["gasUsed"], "gasPrice": "0x0", "input": "0x",
        }
        for r in receipts
    ]  # fmt: skip
    return {**template, "hash": first["blockHash"], "number": first["blockNumber"], "transactions": txs}


def parsed(block: dict[str, Any], receipts: list[dict[str, Any]]) -> Block:
    found = wire.block(json.dumps(block).encode(), json.dumps(receipts).encode())
    assert found is not None
    return found


def assert_same(ours: dict[str, Any], theirs: dict[str, Any], where: str) -> int:
    """Every field the node sent is in ours and equal; return how many were compared."""
    compared = 0
    for name, value in theirs.items():
        if name in DERIVED or name in ("transactions", "logs"):
            continue
        assert ours.get(name, "absent") == value, f"{where}: {name}"
        compared += 1
    return compared


def assert_block_same(block: Block, answer: dict[str, Any], receipts: list[dict[str, Any]]) -> int:
    ours = encode.encode_block(block)
    compared = assert_same(ours, answer, f"block {block.number}")
    for mine, theirs in zip(ours["transactions"], answer["transactions"], strict=True):
        compared += assert_same(mine, theirs, f"block {block.number} transaction {theirs['transactionIndex']}")
        assert_derived(mine, theirs, answer)
    for mine, theirs in zip(encode.encode_receipts(block), receipts, strict=True):
        where = f"block {block.number} receipt {theirs['transactionIndex']}"
        compared += assert_same(mine, theirs, where)
        for my_log, their_log in zip(mine["logs"], theirs["logs"], strict=True):
            compared += assert_same(my_log, their_log, f"{where} log {their_log['logIndex']}")
    return compared


def assert_derived(mine: dict[str, Any], theirs: dict[str, Any], block: dict[str, Any]) -> None:
    """What is left out of the comparison really does repeat other fields."""
    assert theirs.get("yParity", theirs.get("v")) == theirs.get("v")
    assert theirs.get("chainId", hex(MAINNET)) == hex(MAINNET)
    assert theirs.get("blockTimestamp", block["timestamp"]) == block["timestamp"]


def test_realdata_blocks_and_receipts_survive_parsing_and_encoding() -> None:
    compared, blocks = 0, 0
    for path in files("blocks"):
        answer, receipts = with_receipts(path)
        compared += assert_block_same(parsed(answer, receipts), answer, receipts)
        blocks += 1
    template = json.loads(read(FOLDER / "blocks" / "18000000.json.gz"))
    sets = 0
    for path in files("receipts"):
        receipts = json.loads(read(path))
        answer = block_around(receipts, template)
        compared += assert_block_same(parsed(answer, receipts), answer, receipts)
        sets += 1
    report(f"{blocks} blocks and {sets} receipt sets parsed and encoded, {compared} fields equal")
    assert blocks >= 30
    assert sets >= 9


@pytest.mark.parametrize("way", ["careful", "hot"])
async def test_realdata_blocks_come_back_from_the_database_equal_field_by_field(database_url: str, way: str) -> None:
    compared, blocks, txs = 0, 0, 0
    async with open_pool(database_url, role="chainworkd_indexer", size=2) as pool:
        transfers, logs = TransferTable(lambda *_: None), LogTable("all")
        store = PgStore(pool, MAINNET, derived=[transfers, logs])
        await store.begin(make.block(10**9, txs=0))  # a cursor: what is filled lies below it
        hot = HotPath(MAINNET, transfers, logs)
        for answer, receipts in every_answer():
            block = parsed(answer, receipts)
            if way == "hot":
                piece = hot.encode([json.dumps(answer).encode()], [json.dumps(receipts).encode()])
                await store.fill_chunk(Chunk([piece]), anchored=False)
            else:
                await store.fill([block], anchored=False)
            back = await stored_block(pool, MAINNET, block.number)
            # The types must be identical too, not only what a node encodes of them.
            assert back == block
            compared += assert_block_same(back, answer, receipts)
            blocks, txs = blocks + 1, txs + len(block.txs)
    report(f"{blocks} blocks with {txs} transactions stored ({way}) and read back, {compared} fields equal")
    assert blocks >= 38


def every_answer() -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Every block file once, then the receipt sets that have no block file."""
    template = json.loads(read(FOLDER / "blocks" / "18000000.json.gz"))
    for path in files("blocks"):
        yield with_receipts(path)
    known = {path.name for path in files("blocks")}
    for path in files("receipts"):
        if path.name not in known:
            receipts = json.loads(read(path))
            yield block_around(receipts, template), receipts


def report(line: str) -> None:
    print(f"realdata: {line}")
