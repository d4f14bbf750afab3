"""Makers of intents, attempts and what a node says, with defaults."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from builders.call import Call
from core.types import BlockRef
from tests.make import address, digest
from wallet.types import Attempt, Fees, Intent, Opened, Receipt, Seen, State

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
WALLET = address("wallet")


def intent(number: int = 1, **fields: Any) -> Intent:
    given: dict[str, Any] = {
        "id": UUID(int=number), "chain_id": 31_337, "wallet": WALLET, "owner": "test", "kind": "pay", "priority": 3,
        "call": Call(address("token"), b"\x01"), "deadline": NOW + timedelta(minutes=5),
    }  # fmt: skip
    return Intent(**given | fields)


def attempt(number: int = 0, **fields: Any) -> Attempt:
    given: dict[str, Any] = {
        "hash": digest("attempt", number), "raw": b"\x02", "kind": "send", "gas": 50_000, "block": 100,
        "fees": Fees(cap=100, tip=10),
    }  # fmt: skip
    return Attempt(**given | fields)


def opened(**fields: Any) -> Opened:
    given: dict[str, Any] = {
        "intent": intent(), "state": State.PENDING, "nonce": 7, "attempts": (attempt(),),
    }  # fmt: skip
    return Opened(**given | fields)


def block(number: int = 100, fork: object = "") -> BlockRef:
    return BlockRef(number, digest("block", number, fork))


def receipt(of: Attempt | None = None, **fields: Any) -> Receipt:
    given: dict[str, Any] = {
        "hash": (of or attempt()).hash, "block": block(), "ok": True, "gas_used": 21_000, "fee": 21_000 * 7, "logs": (),
    }  # fmt: skip
    return Receipt(**given | fields)


def seen(head: int = 101, nonce: int = 7, settled: int = 7, receipts: Iterable[Receipt] = ()) -> Seen:
    return Seen(head=block(head), nonce=nonce, settled_nonce=settled, receipts={each.hash: each for each in receipts})
