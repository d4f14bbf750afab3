"""What the tables should hold, computed from the node's own answers by other code than the program's.

Nothing of core.rpc.wire or core.store.copy is used here: a fault in them must not be on both sides of a comparison.
"""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import asyncpg
import msgspec

from core.rpc.client import RpcClient
from tests.e2e.moves import Move, moves

BATCH_BLOCKS = 25

# What repeats other fields: the sign of the signature, the chain, the block's time.
REPEATED = {"yParity", "chainId", "blockTimestamp"}
BLOCK_FIELDS = {
    "number", "hash", "parentHash", "timestamp", "miner", "stateRoot", "transactionsRoot", "receiptsRoot",
    "sha3Uncles", "logsBloom", "difficulty", "totalDifficulty", "size", "extraData", "gasLimit", "gasUsed",
    "baseFeePerGas", "mixHash", "nonce", "uncles", "transactions",
}  # fmt: skip
TX_FIELDS = {
    "blockHash", "blockNumber", "transactionIndex", "hash", "type", "from", "to", "value", "nonce", "gas", "input",
    "gasPrice", "maxFeePerGas", "maxPriorityFeePerGas", "v", "r", "s",
}  # fmt: skip
RECEIPT_FIELDS = {
    "blockHash", "blockNumber", "transactionHash", "transactionIndex", "type", "from", "to", "contractAddress",
    "gasUsed", "cumulativeGasUsed", "logsBloom", "effectiveGasPrice", "status", "root", "logs",
}  # fmt: skip

Rows = list[dict[str, Any]]
FROM, TO, CREATED, SENT, RECEIVED = 1, 2, 4, 8, 16

# Ordered by key. The tables also hold other chains in some tests.
SQL_ROWS = {
    "block": "select * from chain.block where chain_id = $1 order by number",
    "transaction": "select * from chain.transaction where chain_id = $1 order by block_number, tx_index",
    "tx_hash": "select * from chain.tx_hash where chain_id = $1 order by block_number, tx_index",
    "address_transaction": """
        select * from chain.address_transaction where chain_id = $1 order by block_number, tx_index, address
    """,
    "token_transfer": """
        select * from chain.token_transfer where chain_id = $1 order by block_number, log_index, position
    """,
}


@dataclass(slots=True)
class Tables:
    """The rows of the fact tables, ordered by key."""

    block: Rows = field(default_factory=list)
    transaction: Rows = field(default_factory=list)
    tx_hash: Rows = field(default_factory=list)
    address_transaction: Rows = field(default_factory=list)
    token_transfer: Rows = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        return {name: len(getattr(self, name)) for name in SQL_ROWS}


async def blocks_of(rpc: RpcClient, numbers: Sequence[int]) -> list[tuple[dict[str, Any], Rows]]:
    """The node's blocks with full transactions, and their receipts, as sent."""
    found = []
    for start in range(0, len(numbers), BATCH_BLOCKS):
        part = numbers[start : start + BATCH_BLOCKS]
        calls: list[tuple[str, Sequence[object]]] = [("eth_getBlockByNumber", (hex(n), True)) for n in part]
        calls += [("eth_getBlockReceipts", (hex(n),)) for n in part]
        answers = [msgspec.json.decode(answer) for answer in await rpc.batch(calls)]
        found += list(zip(answers[: len(part)], answers[len(part) :], strict=True))
    return found


async def expected(rpc: RpcClient, chain_id: int, first: int, last: int) -> Tables:
    """The rows of blocks `first`..`last` as the node's answers make them."""
    tables = Tables()
    for block, receipts in await blocks_of(rpc, range(first, last + 1)):
        tables.block.append(_block(chain_id, block))
        for tx, receipt in zip(block["transactions"], receipts, strict=True):
            tables.transaction.append(_transaction(chain_id, tx, receipt))
            place = {
                "chain_id": chain_id,
                "block_number": _int(tx["blockNumber"]),
                "tx_index": _int(tx["transactionIndex"]),
            }
            key = int.from_bytes(_bytes(tx["hash"])[:8], "big", signed=True)
            tables.tx_hash.append({"hash_key": key, **place})
            tables.token_transfer += [_transfer(move, place) for move in moves(receipt)]
            roles = _roles(tx, receipt)
            tables.address_transaction += [{"address": a, "roles": r, **place} for a, r in sorted(roles.items())]
    return tables


async def stored(connection: "asyncpg.Connection[asyncpg.Record]", chain_id: int) -> Tables:
    """What the database holds."""
    tables = Tables()
    for name, sql in SQL_ROWS.items():
        setattr(tables, name, [_plain(row) for row in await connection.fetch(sql, chain_id)])
    return tables


async def differences(rpc: RpcClient, url: str, chain_id: int) -> tuple[list[str], dict[str, int]]:
    """Compare everything stored of a chain with the node: what differs, and how many rows there are.

    Coverage must be one range without holes up to the cursor, and the cursor a block of the node's chain.
    """
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            spans = await connection.fetch(
                "select lower(blocks) as first, upper(blocks) - 1 as last from chain.coverage where chain_id = $1"
                " order by blocks", chain_id,
            )  # fmt: skip
            cursor = await connection.fetchrow("select number, hash from chain.cursor where chain_id = $1", chain_id)
            found = await stored(connection, chain_id)
    finally:
        await connection.close()
    if not spans or cursor is None:
        return [f"coverage {spans}, cursor {cursor}"], found.counts
    faults = [
        f"hole above {low['last']}" for low, high in itertools.pairwise(spans) if low["last"] + 1 != high["first"]
    ]
    if spans[-1]["last"] != cursor["number"]:
        faults.append(f"coverage ends at {spans[-1]['last']}, cursor is {cursor['number']}")
    wanted = await expected(rpc, chain_id, spans[0]["first"], spans[-1]["last"])
    if wanted.block[-1]["hash"] != cursor["hash"]:
        faults.append(f"cursor hash 0x{cursor['hash'].hex()} is not the node's")
    for name in SQL_ROWS:
        faults += _compared(name, getattr(wanted, name), getattr(found, name))
    return faults, found.counts


def _compared(table: str, wanted: Rows, found: Rows) -> list[str]:
    if wanted == found:
        return []
    faults = [f"{table}: {len(found)} rows, expected {len(wanted)}"]
    for want, have in zip(wanted, found, strict=False):
        if want != have:
            differ = {key: (want.get(key), have.get(key)) for key in want | have if want.get(key) != have.get(key)}
            faults.append(f"{table}: first difference (node, stored): {differ}")
            break
    return faults


def _block(chain_id: int, block: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "chain_id": chain_id,
        "number": _int(block["number"]),
        "block_time": datetime.fromtimestamp(_int(block["timestamp"]), UTC),
        "size": _int(block["size"]),
        "tx_count": len(block["transactions"]),
        "stored_tx_count": None,  # all of them are stored: the chain is not in watch mode
        "hash": _bytes(block["hash"]),
        "parent_hash": _bytes(block["parentHash"]),
        "miner": _bytes(block["miner"]),
        "state_root": _bytes(block["stateRoot"]),
        "transactions_root": _bytes(block["transactionsRoot"]),
        "receipts_root": _bytes(block["receiptsRoot"]),
        "uncles_hash": _bytes(block["sha3Uncles"]),
        "logs_bloom": _bytes(block["logsBloom"]),
        "extra_data": _bytes(block["extraData"]),
        "mix_hash": _maybe(_bytes, block.get("mixHash")),
        "nonce": _maybe(_bytes, block.get("nonce")),
        "difficulty": _int(block["difficulty"]),
        "total_difficulty": _maybe(_int, block.get("totalDifficulty")),
        "gas_limit": _int(block["gasLimit"]),
        "gas_used": _int(block["gasUsed"]),
        "base_fee": _maybe(_int, block.get("baseFeePerGas")),
        "uncles": [_bytes(uncle) for uncle in block["uncles"]],
        "extra": _rest(block, BLOCK_FIELDS),
    }


def _transaction(chain_id: int, tx: Mapping[str, Any], receipt: Mapping[str, Any]) -> dict[str, Any]:
    signature = _int(tx["r"]).to_bytes(32, "big") + _int(tx["s"]).to_bytes(32, "big")
    bloom = _bytes(receipt["logsBloom"])
    return {
        "chain_id": chain_id,
        "block_number": _int(tx["blockNumber"]),
        "tx_index": _int(tx["transactionIndex"]),
        "type": _int(tx["type"]),
        "status": _int(receipt["status"]),
        "hash": _bytes(tx["hash"]),
        "sender": _bytes(tx["from"]),
        "recipient": _maybe(_bytes, tx["to"]),
        "contract_address": _maybe(_bytes, receipt["contractAddress"]),
        "value": _int(tx["value"]),
        "nonce": _int(tx["nonce"]),
        "gas": _int(tx["gas"]),
        "gas_used": _int(receipt["gasUsed"]),
        "cumulative_gas_used": _int(receipt["cumulativeGasUsed"]),
        "gas_price": _maybe(_int, tx.get("gasPrice")),
        "effective_gas_price": _int(receipt["effectiveGasPrice"]),
        "fee_cap": _maybe(_int, tx.get("maxFeePerGas")),
        "tip_cap": _maybe(_int, tx.get("maxPriorityFeePerGas")),
        "v": _maybe(_int, tx.get("v")),
        "signature": signature,
        "receipt_root": _maybe(_bytes, receipt.get("root")),
        "logs_bloom": bloom if any(bloom) else None,
        "input": _bytes(tx["input"]),
        "extra": _rest(tx, TX_FIELDS),
        "receipt_extra": _rest(receipt, RECEIPT_FIELDS),
    }


def _transfer(move: Move, place: Mapping[str, int]) -> dict[str, Any]:
    return {
        "log_index": move.log_index,
        "position": move.position,
        "standard": move.standard,
        "token": _bytes(move.token),
        "sender": _bytes(move.sender),
        "recipient": _bytes(move.recipient),
        "amount": move.amount,
        "token_id": move.token_id,
        **place,
    }


def _roles(tx: Mapping[str, Any], receipt: Mapping[str, Any]) -> dict[bytes, int]:
    found: dict[bytes, int] = {}
    given = [(tx["from"], FROM), (tx["to"], TO), (receipt["contractAddress"], CREATED)]
    for move in moves(receipt):
        given += [(move.sender, SENT), (move.recipient, RECEIVED)]
    for text, role in given:
        if text is not None:
            found[_bytes(text)] = found.get(_bytes(text), 0) | role
    return found


def _rest(sent: Mapping[str, Any], known: set[str]) -> Any:
    return {key: value for key, value in sent.items() if key not in known | REPEATED} or None


def _plain(row: asyncpg.Record) -> dict[str, Any]:
    """A row as the maker of the expected rows writes it: whole numbers as int, JSON decoded."""
    found = dict(row)
    for name in ("extra", "receipt_extra"):
        if found.get(name) is not None:
            found[name] = json.loads(found[name])
    return {name: int(v) if type(v).__name__ == "Decimal" else v for name, v in found.items()}


def _maybe(read: Any, value: str | None) -> Any:
    return None if value is None else read(value)


def _int(text: str) -> int:
    return int(text, 16)


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text[2:])
