"""What the API should say of a block, a transaction and an address, computed from the node's own answers."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from core.keccak import keccak
from tests.e2e.moves import Move, moves

STATUS = {"0x1": "success", "0x0": "failed"}


def block_face(block: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "block_number": int(block["number"], 16),
        "block_timestamp": _time(block),
        "transaction_count": len(block["transactions"]),
        "transaction_hashes": [tx["hash"] for tx in block["transactions"]],
        "block_hash": block["hash"],
        "mode": "full",
    }


def detail_face(block: Mapping[str, Any], tx: Mapping[str, Any], receipt: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer to /transactions/{hash}."""
    gas, price = int(receipt["gasUsed"], 16), int(receipt["effectiveGasPrice"], 16)
    return {
        **listed_face(block, tx, receipt),
        "gas_fee_eth": Decimal(gas * price) / 10**18,
        "token_transfers": [_moved(move) for move in moves(receipt)],
        "price_source": None,
        "price_timestamp": None,
    }


def listed_face(block: Mapping[str, Any], tx: Mapping[str, Any], receipt: Mapping[str, Any]) -> dict[str, Any]:
    """Return one transaction of a listing."""
    return {
        "hash": tx["hash"],
        "block_number": int(block["number"], 16),
        "block_timestamp": _time(block),
        "from_address": mixed(tx["from"]),
        "to_address": mixed(tx["to"]),
        "contract_address": mixed(receipt["contractAddress"]),
        "value_native": _ether(int(tx["value"], 16)),
        "value_usd": None,
        "gas_used": int(receipt["gasUsed"], 16),
        "gas_price_gwei": Decimal(int(receipt["effectiveGasPrice"], 16)) / 10**9,
        "gas_fee_usd": None,
        "status": STATUS[receipt["status"]],
        "token_transfers": len(moves(receipt)),
    }


def told(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return an answer without what changes by itself.

    That is what tokens say of themselves, which is read a moment after their transfers, how final it is, and which
    checks it has passed. No prices are set up in these tests; tests/anvil/test_prices.py is about them.
    """
    answer = {name: value for name, value in answer.items() if name not in ("finality", "checks", "price")}
    if "token_transfers" not in answer:
        return answer
    found = answer["token_transfers"]
    if any("contract_address" not in each for each in found):
        return {**answer, "token_transfers": len(found)}
    own = ("token_symbol", "token_name", "amount_display", "amount_usd", "price")
    kept = [{name: value for name, value in each.items() if name not in own} for each in found]
    return {**answer, "token_transfers": kept if "gas_fee_eth" in answer else len(kept)}


def _moved(move: Move) -> dict[str, Any]:
    return {
        "contract_address": mixed(move.token),
        "token_standard": f"ERC-{move.standard}",
        "from_address": mixed(move.sender),
        "to_address": mixed(move.recipient),
        "token_id": None if move.token_id is None else str(move.token_id),
    }


def mixed(address: str | None) -> str | None:
    """EIP-55, written from its text: a letter is large where the hash of the small letters has a nibble above 7."""
    if address is None:
        return None
    small = address[2:].lower()
    nibbles = keccak(small.encode()).hex()
    return "0x" + "".join(c.upper() if int(n, 16) > 7 else c for c, n in zip(small, nibbles, strict=False))


def _ether(wei: int) -> str:
    whole, part = divmod(wei, 10**18)
    return f"{whole}.{f'{part:018d}'.rstrip('0').ljust(2, '0')} ETH"


def _time(block: Mapping[str, Any]) -> str:
    return datetime.fromtimestamp(int(block["timestamp"], 16), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
