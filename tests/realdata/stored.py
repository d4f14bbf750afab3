"""Whole blocks back from the chain tables: the inverse of core/store/copy.py, for proofs that nothing was lost."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import asyncpg

from core.store.pool import Pool
from core.types import Block, Log, Receipt, Tx

SQL_BLOCK = "select * from chain.block where chain_id = $1 and number = $2"
SQL_TRANSACTIONS = "select * from chain.transaction where chain_id = $1 and block_number = $2 order by tx_index"
SQL_LOGS = "select * from chain.log where chain_id = $1 and block_number = $2 order by log_index"


async def stored_block(pool: Pool, chain_id: int, number: int) -> Block:
    row = await pool.fetchrow(SQL_BLOCK, chain_id, number)
    assert row is not None, f"block {number} is not stored"
    rows = await pool.fetch(SQL_TRANSACTIONS, chain_id, number)
    assert len(rows) == row["tx_count"]
    logs: dict[int, list[Log]] = defaultdict(list)
    for log in await pool.fetch(SQL_LOGS, chain_id, number):
        logs[log["tx_index"]].append(stored_log(log))
    return Block(
        number=row["number"],
        hash=row["hash"],
        parent_hash=row["parent_hash"],
        timestamp=int(row["block_time"].timestamp()),
        miner=row["miner"],
        state_root=row["state_root"],
        transactions_root=row["transactions_root"],
        receipts_root=row["receipts_root"],
        uncles_hash=row["uncles_hash"],
        logs_bloom=row["logs_bloom"],
        difficulty=int(row["difficulty"]),
        total_difficulty=whole(row["total_difficulty"]),
        size=row["size"],
        extra_data=row["extra_data"],
        gas_limit=int(row["gas_limit"]),
        gas_used=int(row["gas_used"]),
        base_fee=whole(row["base_fee"]),
        mix_hash=row["mix_hash"],
        nonce=row["nonce"],
        uncles=tuple(row["uncles"]),
        extra=row["extra"],
        txs=tuple(stored_tx(tx, logs[tx["tx_index"]]) for tx in rows),
    )


def stored_log(row: asyncpg.Record) -> Log:
    topics = tuple(row[name] for name in ("topic0", "topic1", "topic2", "topic3") if row[name] is not None)
    return Log(address=row["address"], topics=topics, data=row["data"], index=row["log_index"])


def stored_tx(row: asyncpg.Record, logs: Iterable[Log]) -> Tx:
    return Tx(
        index=row["tx_index"],
        hash=row["hash"],
        type=row["type"],
        sender=row["sender"],
        to=row["recipient"],
        value=int(row["value"]),
        nonce=int(row["nonce"]),
        gas=int(row["gas"]),
        gas_price=whole(row["gas_price"]),
        fee_cap=whole(row["fee_cap"]),
        tip_cap=whole(row["tip_cap"]),
        input=row["input"],
        v=whole(row["v"]),
        signature=row["signature"],
        extra=row["extra"],
        receipt=Receipt(
            status=row["status"],
            root=row["receipt_root"],
            gas_used=int(row["gas_used"]),
            cumulative_gas_used=int(row["cumulative_gas_used"]),
            effective_gas_price=whole(row["effective_gas_price"]),
            contract_address=row["contract_address"],
            logs_bloom=bytes(256) if row["logs_bloom"] is None else row["logs_bloom"],
            logs=tuple(logs),
            extra=row["receipt_extra"],
        ),
    )


def whole(value: Any) -> int | None:
    return None if value is None else int(value)
