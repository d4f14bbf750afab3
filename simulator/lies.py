"""What nodes get wrong in a block and its receipts, each so that the shape of the answer is right. Pure.

A lie changes the decoded answers to eth_getBlockByNumber and eth_getBlockReceipts in place and returns True, or returns
False where there is nothing to lie about. Each kind was seen in the field (docs/reliability.md).
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

Json = dict[str, Any]
Lie = Callable[[Json, list[Json]], bool]

ZERO_BLOOM: Final = "0x" + "00" * 256


def log_missing(block: Json, receipts: list[Json]) -> bool:
    """Leave one log out, and number the others as if it had never been."""
    del block
    holder = next((receipt for receipt in receipts if receipt["logs"]), None)
    if holder is None:
        return False
    del holder["logs"][0]
    _number_logs(receipts)
    return True


def receipts_without_logs(block: Json, receipts: list[Json]) -> bool:
    """Empty every receipt, as nodes do near the head."""
    del block
    if not any(receipt["logs"] for receipt in receipts):
        return False
    for receipt in receipts:
        receipt["logs"], receipt["logsBloom"] = [], ZERO_BLOOM
    return True


def receipt_missing(block: Json, receipts: list[Json]) -> bool:
    """Leave the last receipt out."""
    del block
    return bool(receipts) and bool(receipts.pop())


def transaction_missing(block: Json, receipts: list[Json]) -> bool:
    """Leave the last transaction out, and its receipt."""
    if not receipts:
        return False
    block["transactions"].pop()
    receipts.pop()
    return True


def transactions_swapped(block: Json, receipts: list[Json]) -> bool:
    """Swap the first two transactions, with their receipts, and number everything as if that were right."""
    if len(receipts) < 2:
        return False
    txs = block["transactions"]
    txs[0], txs[1] = txs[1], txs[0]
    receipts[0], receipts[1] = receipts[1], receipts[0]
    for index in (0, 1):
        txs[index]["transactionIndex"] = receipts[index]["transactionIndex"] = hex(index)
    _number_logs(receipts)
    return True


def value_changed(block: Json, receipts: list[Json]) -> bool:
    """Say another value of a transaction."""
    del receipts
    if not block["transactions"]:
        return False
    first = block["transactions"][0]
    first["value"] = hex(int(first["value"], 16) + 1)
    return True


def log_changed(block: Json, receipts: list[Json]) -> bool:
    """Say another amount of a transfer: no bloom shows it, only the root."""
    del block
    log = next((log for receipt in receipts for log in receipt["logs"]), None)
    if log is None:
        return False
    log["data"] = "0x" + "11" * 32
    return True


def bloom_emptied(block: Json, receipts: list[Json]) -> bool:
    """Empty the header's bloom."""
    del receipts
    lied: bool = block["logsBloom"] != ZERO_BLOOM
    block["logsBloom"] = ZERO_BLOOM
    return lied


def header_changed(block: Json, receipts: list[Json]) -> bool:
    """Say another time of the block, under the hash that it has."""
    del receipts
    block["timestamp"] = hex(int(block["timestamp"], 16) + 1)
    return True


def parent_changed(block: Json, receipts: list[Json]) -> bool:
    """Say another parent of the block."""
    del receipts
    block["parentHash"] = "0x" + "ee" * 32
    return True


def hash_null(block: Json, receipts: list[Json]) -> bool:
    """Leave the block's hash out of a receipt, as of a pending one."""
    del block
    if not receipts:
        return False
    receipts[0]["blockHash"] = None
    return True


def status_failed(block: Json, receipts: list[Json]) -> bool:
    """Say that a transaction failed."""
    del block
    if not receipts:
        return False
    receipts[0]["status"] = "0x0"
    return True


LIES: Final[Mapping[str, Lie]] = {
    "log missing": log_missing,
    "receipts without logs": receipts_without_logs,
    "receipt missing": receipt_missing,
    "transaction missing": transaction_missing,
    "transactions swapped": transactions_swapped,
    "value changed": value_changed,
    "log changed": log_changed,
    "bloom emptied": bloom_emptied,
    "header changed": header_changed,
    "parent changed": parent_changed,
    "null blockHash": hash_null,
    "status changed": status_failed,
}


def _number_logs(receipts: list[Json]) -> None:
    index = 0
    for receipt in receipts:
        for log in receipt["logs"]:
            log["logIndex"], log["transactionIndex"] = hex(index), receipt["transactionIndex"]
            index += 1
