"""Types back to the JSON a node would send: for tests, the recorded node and proofs that nothing was lost. Pure."""

from typing import Any

import msgspec

from core.hex import to_hex, to_quantity
from core.types import Block, Log, Tx


def encode_block(block: Block) -> dict[str, Any]:
    """Return the answer to eth_getBlockByNumber(n, true) that `block` was read from, as JSON-able values.

    Fields that a node leaves out when it has nothing to say are left out; `yParity`, `chainId` and `blockTimestamp`,
    which repeat what other fields say, are left out too.
    """
    return {
        "number": to_quantity(block.number),
        "hash": to_hex(block.hash),
        "parentHash": to_hex(block.parent_hash),
        "timestamp": to_quantity(block.timestamp),
        "miner": to_hex(block.miner),
        "stateRoot": to_hex(block.state_root),
        "transactionsRoot": to_hex(block.transactions_root),
        "receiptsRoot": to_hex(block.receipts_root),
        "sha3Uncles": to_hex(block.uncles_hash),
        "logsBloom": to_hex(block.logs_bloom),
        "difficulty": to_quantity(block.difficulty),
        "size": to_quantity(block.size),
        "extraData": to_hex(block.extra_data),
        "gasLimit": to_quantity(block.gas_limit),
        "gasUsed": to_quantity(block.gas_used),
        "uncles": [to_hex(uncle) for uncle in block.uncles],
        **_present(totalDifficulty=block.total_difficulty, baseFeePerGas=block.base_fee),
        **_present_data(mixHash=block.mix_hash, nonce=block.nonce),
        **_json(block.extra),
        "transactions": [encode_tx(block, tx) for tx in block.txs],
    }


def encode_tx(block: Block, tx: Tx) -> dict[str, Any]:
    """Return one transaction as it stands in the answer to eth_getBlockByNumber(n, true)."""
    signed: dict[str, Any] = {}
    if tx.signature is not None:
        signed["r"] = to_quantity(int.from_bytes(tx.signature[:32]))
        signed["s"] = to_quantity(int.from_bytes(tx.signature[32:]))
    return {
        "blockHash": to_hex(block.hash),
        "blockNumber": to_quantity(block.number),
        "transactionIndex": to_quantity(tx.index),
        "hash": to_hex(tx.hash),
        "type": to_quantity(tx.type),
        "from": to_hex(tx.sender),
        "to": None if tx.to is None else to_hex(tx.to),
        "value": to_quantity(tx.value),
        "nonce": to_quantity(tx.nonce),
        "gas": to_quantity(tx.gas),
        "input": to_hex(tx.input),
        **_present(gasPrice=tx.gas_price, maxFeePerGas=tx.fee_cap, maxPriorityFeePerGas=tx.tip_cap, v=tx.v),
        **signed,
        **_json(tx.extra),
    }


def encode_receipts(block: Block) -> list[dict[str, Any]]:
    """Return the answer to eth_getBlockReceipts(n) that `block` was read from, as JSON-able values."""
    return [_encode_receipt(block, tx) for tx in block.txs]


def _encode_receipt(block: Block, tx: Tx) -> dict[str, Any]:
    receipt = tx.receipt
    created = receipt.contract_address
    return {
        "blockHash": to_hex(block.hash),
        "blockNumber": to_quantity(block.number),
        "transactionHash": to_hex(tx.hash),
        "transactionIndex": to_quantity(tx.index),
        "type": to_quantity(tx.type),
        "from": to_hex(tx.sender),
        "to": None if tx.to is None else to_hex(tx.to),
        "contractAddress": None if created is None else to_hex(created),
        "gasUsed": to_quantity(receipt.gas_used),
        "cumulativeGasUsed": to_quantity(receipt.cumulative_gas_used),
        "logsBloom": to_hex(receipt.logs_bloom),
        **_present(effectiveGasPrice=receipt.effective_gas_price, status=receipt.status),
        **_present_data(root=receipt.root),
        **_json(receipt.extra),
        "logs": [_encode_log(block, tx, log) for log in receipt.logs],
    }


def _encode_log(block: Block, tx: Tx, log: Log) -> dict[str, Any]:
    return {
        "address": to_hex(log.address),
        "topics": [to_hex(topic) for topic in log.topics],
        "data": to_hex(log.data),
        "blockHash": to_hex(block.hash),
        "blockNumber": to_quantity(block.number),
        "transactionHash": to_hex(tx.hash),
        "transactionIndex": to_quantity(tx.index),
        "logIndex": to_quantity(log.index),
        "removed": False,
    }


def _present(**quantities: int | None) -> dict[str, str]:
    return {name: to_quantity(value) for name, value in quantities.items() if value is not None}


def _present_data(**values: bytes | None) -> dict[str, str]:
    return {name: to_hex(value) for name, value in values.items() if value is not None}


def _json(extra: str | None) -> dict[str, Any]:
    if extra is None:
        return {}
    found: dict[str, Any] = msgspec.json.decode(extra)
    return found
