"""Blocks out of thin air: linked, with whatever transactions a test wants."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from core.types import Block, BlockRef, Head, Receipt, Tx

GENESIS_TIME = 1_777_550_412  # 2026-04-30T12:00:12Z
BLOCK_S = 12
ALICE, BOB, CAROL = (bytes([n]) * 20 for n in (0xAA, 0xBB, 0xCC))


def digest(*parts: object) -> bytes:
    return hashlib.sha256(repr(parts).encode()).digest()


def tx(name: str, *, sender: bytes = ALICE, to: bytes | None = BOB, value: int = 0, **changes: object) -> Tx:
    """A transaction; its hash is made from `name`. Changes of the receipt have the prefix `receipt_`."""
    receipt = Receipt(
        status=1, root=None, gas_used=21_000, cumulative_gas_used=21_000, effective_gas_price=12_500_000_000,
        contract_address=None, logs_bloom=bytes(256), logs=(), extra=None,
    )  # fmt: skip
    of_receipt = {k.removeprefix("receipt_"): v for k, v in changes.items() if k.startswith("receipt_")}
    made = Tx(
        index=0, hash=digest("tx", name), type=2, sender=sender, to=to, value=value, nonce=0, gas=21_000,
        gas_price=12_500_000_000, fee_cap=20_000_000_000, tip_cap=1_000_000_000, input=b"", v=0, signature=bytes(64),
        extra=None, receipt=replace(receipt, **of_receipt),  # type: ignore[arg-type]
    )  # fmt: skip
    return replace(made, **{k: v for k, v in changes.items() if not k.startswith("receipt_")})  # type: ignore[arg-type]


def block(number: int, txs: Sequence[Tx] = (), *, fork: str = "") -> Block:
    """A block at `number`; its parent is the block that this function makes at `number` - 1 on the same fork."""
    return Block(
        number=number, hash=block_hash(number, fork), parent_hash=block_hash(number - 1, fork),
        timestamp=GENESIS_TIME + number * BLOCK_S, miner=CAROL, state_root=bytes(32), transactions_root=bytes(32),
        receipts_root=bytes(32), uncles_hash=bytes(32), logs_bloom=bytes(256), difficulty=0, total_difficulty=None,
        size=1_000, extra_data=b"", gas_limit=30_000_000, gas_used=0, base_fee=1, mix_hash=None, nonce=None, uncles=(),
        extra=None, txs=tuple(replace(one, index=index) for index, one in enumerate(txs)),
    )  # fmt: skip


def block_hash(number: int, fork: str = "") -> bytes:
    return digest("block", fork, number)


def head(number: int) -> Head:
    return Head(BlockRef(number, block_hash(number)), block_hash(number - 1), GENESIS_TIME + number * BLOCK_S)
