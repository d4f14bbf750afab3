"""Blocks that no chain ever had, with true hashes, roots and blooms: whatever a node changes in one is found out.

What is in a block follows from its number and its fork alone. Forks hold the same transactions again, some of them a
block later, as real ones do (cowprotocol/services#2069); what they do there is another thing on each fork.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from core.keccak import keccak
from core.types import Block, Log, Receipt, Tx
from core.verify import bloom, encode
from core.verify.trie import EMPTY_ROOT, ordered_root
from indexer.decode.transfers import TRANSFER

CHAIN_ID: Final = 7
STRANGER_ID: Final = 8
GENESIS_TIME: Final = 1_700_000_000
BLOCK_TIME: Final = 12
GAS: Final = 21_000
PRICE: Final = 7
NO_UNCLES: Final = bytes.fromhex("1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347")  # keccak(0xc0)


def digest(*parts: object) -> bytes:
    """Return 32 bytes that depend on `parts` alone."""
    return hashlib.sha256(repr(parts).encode()).digest()


def address(*parts: object) -> bytes:
    """Return an address that depends on `parts` alone."""
    return digest("address", *parts)[:20]


TOKEN: Final = address("token")  # emits most of the logs
WATCHED: Final = (TOKEN, address("person", 0))  # what is kept in modes that do not keep everything


@dataclass(frozen=True, slots=True)
class Fork:
    """Which blocks are made: those of one name are one another's children.

    Where a fork is `late`, its first block, at `base`, is empty, and each later one holds the transactions that others
    have a block earlier.
    """

    name: str = ""
    base: int = 0
    late: bool = False


MAIN: Final = Fork()


def chain(length: int, *, onto: Block | None = None, fork: Fork = MAIN, chain_id: int = CHAIN_ID) -> list[Block]:
    """Return `length` linked blocks: from genesis, or on top of `onto`."""
    made: list[Block] = []
    below = onto
    for _ in range(length):
        below = _block(0 if below is None else below.number + 1, below, fork, chain_id)
        made.append(below)
    return made


@lru_cache(maxsize=4)
def history(length: int, chain_id: int = CHAIN_ID) -> tuple[Block, ...]:
    """Return the blocks from genesis that all seeds have in common."""
    return tuple(chain(length, chain_id=chain_id))


def _block(number: int, below: Block | None, fork: Fork, chain_id: int) -> Block:
    name = digest("block", number, fork.name, b"" if below is None else below.hash)
    txs = _transactions(number, name, fork, chain_id)
    blooms = [int.from_bytes(tx.receipt.logs_bloom) for tx in txs]
    draft = Block(
        number=number,
        hash=bytes(32),
        parent_hash=bytes(32) if below is None else below.hash,
        timestamp=GENESIS_TIME + BLOCK_TIME * number,
        miner=address("miner", name[0] % 4),
        state_root=digest("state", name),
        transactions_root=ordered_root([encode.transaction(tx, chain_id) for tx in txs]) if txs else EMPTY_ROOT,
        receipts_root=ordered_root([encode.receipt(tx.receipt, tx.type) for tx in txs]) if txs else EMPTY_ROOT,
        uncles_hash=NO_UNCLES,
        logs_bloom=_union(blooms),
        difficulty=0,
        total_difficulty=None,
        size=1_000 + number,
        extra_data=b"simulated",
        gas_limit=30_000_000,
        gas_used=GAS * len(txs),
        base_fee=PRICE,
        mix_hash=digest("mix", name),
        nonce=bytes(8),
        uncles=(),
        extra=None,
        txs=txs,
    )
    return replace(draft, hash=keccak(encode.header(draft)))


def _union(blooms: Sequence[int]) -> bytes:
    union = 0
    for each in blooms:
        union |= each
    return union.to_bytes(256)


def _transactions(number: int, name: bytes, fork: Fork, chain_id: int) -> tuple[Tx, ...]:
    if fork.late and number == fork.base:
        return ()
    unmined = _unmined(number - fork.late, chain_id)
    made, logs_before = [], 0
    for tx in unmined:
        logs = _logs(name, tx.index, logs_before)
        logs_before += len(logs)
        made.append(replace(tx, receipt=_receipt(tx.index, logs)))
    return tuple(made)


@lru_cache(maxsize=2_048)
def _unmined(number: int, chain_id: int) -> tuple[Tx, ...]:
    """Return what waits to be mined at this height; the receipts are still to be written."""
    return tuple(_tx(index, number, chain_id) for index in range(digest("count", number)[0] % 4))


def _tx(index: int, number: int, chain_id: int) -> Tx:
    name = digest("tx", number, index)
    # Only typed transactions name their chain (EIP-2718): a stranger's look like anybody's.
    tx_type = 0 if chain_id == STRANGER_ID else (0, 2, 2)[name[0] % 3]
    typed = tx_type == 2
    draft = Tx(
        index=index,
        hash=bytes(32),
        type=tx_type,
        sender=address("person", name[1] % 5),
        to=address("person", name[2] % 5),
        value=10**18 + name[3],
        nonce=number,
        gas=2 * GAS,
        gas_price=PRICE + 1 if typed else PRICE + 2,
        fee_cap=PRICE + 5 if typed else None,
        tip_cap=1 if typed else None,
        input=name[: name[4] % 32],
        v=name[5] % 2 if typed else 37,
        signature=b"\x01" + name[1:] + b"\x02" + name[1:],
        extra='{"accessList":[]}' if typed else None,
        receipt=_receipt(index, ()),
    )
    return replace(draft, hash=keccak(encode.transaction(draft, chain_id)))


def _receipt(index: int, logs: tuple[Log, ...]) -> Receipt:
    return Receipt(
        status=1, root=None, gas_used=GAS, cumulative_gas_used=GAS * (index + 1), effective_gas_price=None,
        contract_address=None, logs_bloom=bloom.of_logs(logs).to_bytes(256), logs=logs, extra=None,
    )  # fmt: skip


def _logs(name: bytes, tx_index: int, first: int) -> tuple[Log, ...]:
    """Return transfers of a token, and now and then a log that says nothing to us."""
    made = []
    for place in range(name[tx_index] % 3):
        drawn = digest("log", name, tx_index, place)
        topics = (TRANSFER, _person(drawn[0]), _person(drawn[1])) if drawn[2] % 4 else (digest("topic"),)
        emitter = TOKEN if drawn[3] % 4 else address("other token")
        made.append(Log(address=emitter, topics=topics, data=drawn, index=first + place))
    return tuple(made)


def _person(number: int) -> bytes:
    return bytes(12) + address("person", number % 5)
