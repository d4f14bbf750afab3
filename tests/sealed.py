"""Random blocks as of tests/blocks.py that pass every check: their roots, blooms and hashes are computed from them."""

import json
import random
from collections.abc import Sequence
from dataclasses import replace

from core.hex import to_hex, to_quantity
from core.keccak import keccak
from core.types import Block, Receipt, Tx
from core.verify import bloom, encode, rlp
from core.verify.trie import ordered_root
from tests import blocks, make

Dice = random.Random
PRICES = (0, 1, 127, 128, 255, 256, 10**9, 2**40, 2**58)


def hexed(dice: Dice, size: int) -> str:
    return to_hex(dice.randbytes(size))


def access_list(dice: Dice) -> list[dict[str, object]]:
    return [
        {"address": hexed(dice, 20), "storageKeys": [hexed(dice, 32) for _ in range(dice.choice((0, 1, 2, 30)))]}
        for _ in range(dice.choice((0, 0, 1, 2, 3)))
    ]


def grants(dice: Dice) -> list[dict[str, str]]:
    names = ["chainId", "address", "nonce", "yParity", "r", "s"]
    dice.shuffle(names)
    return [
        {
            name: hexed(dice, 20) if name == "address" else to_quantity(dice.choice((0, 1, 128, blocks.U64)))
            for name in names
        }
        for _ in range(dice.choice((0, 1, 3)))
    ]


def extra(dice: Dice, kind: int) -> str | None:
    """What only some types have; of an older node without it, too."""
    found: dict[str, object] = {}
    if kind and dice.random() < 0.9:
        found["accessList"] = access_list(dice)
    if kind == 3:
        found["maxFeePerBlobGas"] = to_quantity(dice.choice(PRICES))
        found["blobVersionedHashes"] = [hexed(dice, 32) for _ in range(dice.choice((0, 1, 6)))]
    if kind == 4:
        found["authorizationList"] = grants(dice)
    indent = dice.choice((None, None, 1))
    return json.dumps(found, indent=indent) if found else None


def sealed_tx(dice: Dice, tx: Tx, chain_id: int, base_fee: int | None, used: int) -> Tx:
    """Return `tx`, of a known type, with prices and hash that are right, and a receipt that is, after `used` gas."""
    kind = dice.randrange(5) if base_fee is not None else dice.randrange(2)
    price, cap, tip = dice.choice(PRICES), None, None
    if kind >= 2 and base_fee is not None:
        cap, tip = dice.choice(PRICES), dice.choice(PRICES)
        price = min(cap, base_fee + tip)
    signature = b"".join(dice.choice((0, 1, 255, 256, 2**255, blocks.U256)).to_bytes(32) for _ in range(2))
    made = replace(
        tx, type=kind, gas_price=price, fee_cap=cap, tip_cap=tip, signature=signature, extra=extra(dice, kind),
        v=dice.choice((0, 1, 27, 28, 37, 2 * chain_id + 35)),
    )  # fmt: skip
    made = replace(made, hash=keccak(encode.transaction(made, chain_id)))
    return replace(made, receipt=sealed_receipt(dice, made, price, used))


def sealed_receipt(dice: Dice, tx: Tx, price: int, used: int) -> Receipt:
    gas = dice.choice((0, 1, 21_000, 2**40))
    created = keccak(rlp.sequence((b"\x94" + tx.sender, rlp.integer(tx.nonce))))[12:]
    return replace(
        tx.receipt, gas_used=gas, cumulative_gas_used=used + gas, contract_address=created if tx.to is None else None,
        effective_gas_price=dice.choice((None, price)), logs_bloom=bloom.of_logs(tx.receipt.logs).to_bytes(256),
    )  # fmt: skip


def sealed(block: Block, chain_id: int) -> Block:
    """Return `block` with transactions of known types, that passes all checks."""
    dice = Dice(f"sealed {block.hash.hex()}")
    base_fee = dice.choice((None, 0, 7, 10**9, 2**58))
    txs: list[Tx] = []
    used = union = 0
    for tx in block.txs:
        txs.append(sealed_tx(dice, tx, chain_id, base_fee, used))
        used = txs[-1].receipt.cumulative_gas_used
        union |= int.from_bytes(txs[-1].receipt.logs_bloom)
    roots = [
        ordered_root([encode.transaction(tx, chain_id) for tx in txs]),
        ordered_root([encode.receipt(tx.receipt, tx.type) for tx in txs]),
    ]
    made = replace(
        block, txs=tuple(txs), base_fee=base_fee, transactions_root=roots[0], receipts_root=roots[1], gas_used=used,
        logs_bloom=union.to_bytes(256), mix_hash=make.digest("mix"), nonce=bytes(8), extra=None,
    )  # fmt: skip
    return replace(made, hash=keccak(encode.header(made)))


def chain(
    seed: object, length: int, chain_id: int, *, first: int = 0, most_txs: int = 8, most_logs: int = 6
) -> Sequence[Block]:
    """Return `length` linked blocks."""
    made: list[Block] = []
    for each in blocks.chain(seed, length, first=first, most_txs=most_txs, most_logs=most_logs):
        parent = made[-1].hash if made else each.parent_hash
        made.append(sealed(replace(each, parent_hash=parent), chain_id))
    return made
