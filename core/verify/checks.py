"""What can be checked of a block from itself alone, and checking it. Pure.

Of what a node sends with a block, `from` of a transaction, `size`, `totalDifficulty` and what a layer 2 adds to
receipts are in no root: no check covers them. See docs/adr/0015-verification.md.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import IntFlag
from functools import cached_property
from typing import Final

from core.errors import Unverified
from core.hex import to_hex
from core.keccak import keccak
from core.types import Block, Tx
from core.verify import bloom, encode, rlp
from core.verify.trie import ordered_root


class Check(IntFlag):
    """What is checked of a block: the bits of `chain.verified.checks`, of which none ever changes its meaning."""

    COUNTS = 1  # a receipt per transaction, indexes in order
    LOG_INDEX = 2  # log indexes of a block run from 0 without gaps
    GAS = 4  # cumulativeGasUsed grows by gasUsed, and the last one is the header's gasUsed
    RECEIPT_BLOOM = 8  # each receipt's logsBloom is that of its logs
    HEADER_BLOOM = 16  # the header's logsBloom is the union of its receipts'
    RECEIPTS_ROOT = 32
    TRANSACTIONS_ROOT = 64
    BLOCK_HASH = 128
    TX_HASH = 256  # each transaction's hash is that of its encoding
    DERIVED = 512  # contractAddress, gasPrice and effectiveGasPrice follow from what is in the roots
    WITHDRAWALS_ROOT = 1024


@dataclass(slots=True)
class Level:
    """What every block of a chain has to pass; shared by all who fetch its blocks, so that a change reaches them."""

    checks: Check


NONE: Final = Check(0)
ALL: Final = Check(2047)
OF_HEADER: Final = Check.BLOCK_HASH | Check.WITHDRAWALS_ROOT  # what a block without its transactions can be held to


def verify(block: Block, checks: Check, chain_id: int) -> None:
    """Raise Unverified for the first of `checks` that `block`, whole, of chain `chain_id` does not pass.

    A transaction or header that has no known encoding does not pass the checks that need one. Of a block without its
    transactions, ask for `OF_HEADER` at most.
    """
    evidence = _Evidence(block, chain_id)
    for check, passes in _CHECKS.items():
        if check in checks:
            try:
                passes(evidence)
            except encode.Unencodable as unknown:
                raise evidence.unverified(check, "block", "an encoding that is known", str(unknown)) from None


def can_tell(block: Block) -> Check:
    """Return what `block` can tell of its chain: an empty one passes most checks whatever its node makes of them."""
    found = Check.BLOCK_HASH
    if block.txs:
        found |= Check.COUNTS | Check.GAS | Check.HEADER_BLOOM | Check.DERIVED
        found |= Check.RECEIPTS_ROOT | Check.TRANSACTIONS_ROOT | Check.TX_HASH
    if any(tx.receipt.logs for tx in block.txs):
        found |= Check.LOG_INDEX | Check.RECEIPT_BLOOM
    if block.extra is not None and '"withdrawalsRoot"' in block.extra:
        found |= Check.WITHDRAWALS_ROOT
    return found


def passed(block: Block, checks: Check, chain_id: int) -> Check:
    """Return those of `checks` that `block` passes."""
    evidence, found = _Evidence(block, chain_id), NONE
    for check, passes in _CHECKS.items():
        if check in checks:
            with suppress(Unverified, encode.Unencodable):
                passes(evidence)
                found |= check
    return found


def named(checks: Iterable[str]) -> Check:
    """Return the checks of these names, as `names` gives them."""
    found = NONE
    for name in checks:
        found |= Check[name.upper()]
    return found


def names(checks: Check) -> list[str]:
    """Return the names of `checks` in lower case, weakest first."""
    return [str(check.name).lower() for check in Check if check in checks]


class _Evidence:
    """A block with what several checks need of it, computed once."""

    def __init__(self, block: Block, chain_id: int) -> None:
        self.block = block
        self.chain_id = chain_id

    @cached_property
    def transactions(self) -> list[bytes]:
        return [encode.transaction(tx, self.chain_id) for tx in self.block.txs]

    def unverified(self, check: Check, which: str, expected: object, found: object) -> Unverified:
        return Unverified(self.block.ref, names(check)[0], which, _text(expected), _text(found))

    def require(self, check: Check, which: str, expected: object, found: object) -> None:
        if expected != found:
            raise self.unverified(check, which, expected, found)


def _text(value: object) -> str:
    return to_hex(value) if isinstance(value, bytes) else str(value)


def _counts(of: _Evidence) -> None:
    for i, tx in enumerate(of.block.txs):
        of.require(Check.COUNTS, f"index of transaction {i}", i, tx.index)


def _log_index(of: _Evidence) -> None:
    indexes = (log.index for tx in of.block.txs for log in tx.receipt.logs)
    for i, index in enumerate(indexes):
        of.require(Check.LOG_INDEX, f"index of log {i}", i, index)


def _gas(of: _Evidence) -> None:
    total = 0
    for tx in of.block.txs:
        total += tx.receipt.gas_used
        of.require(Check.GAS, f"cumulativeGasUsed of receipt {tx.index}", total, tx.receipt.cumulative_gas_used)
    of.require(Check.GAS, "gasUsed of the header", total, of.block.gas_used)


def _receipt_bloom(of: _Evidence) -> None:
    for tx in of.block.txs:
        expected = bloom.of_logs(tx.receipt.logs).to_bytes(256)
        of.require(Check.RECEIPT_BLOOM, f"logsBloom of receipt {tx.index}", expected, tx.receipt.logs_bloom)


def _header_bloom(of: _Evidence) -> None:
    union = 0
    for tx in of.block.txs:
        union |= int.from_bytes(tx.receipt.logs_bloom)
    of.require(Check.HEADER_BLOOM, "logsBloom of the header", union.to_bytes(256), of.block.logs_bloom)


def _receipts_root(of: _Evidence) -> None:
    receipts = [encode.receipt(tx.receipt, tx.type) for tx in of.block.txs]
    of.require(Check.RECEIPTS_ROOT, "receiptsRoot", ordered_root(receipts), of.block.receipts_root)


def _transactions_root(of: _Evidence) -> None:
    root = ordered_root(of.transactions)
    of.require(Check.TRANSACTIONS_ROOT, "transactionsRoot", root, of.block.transactions_root)


def _block_hash(of: _Evidence) -> None:
    of.require(Check.BLOCK_HASH, "hash of the header", keccak(encode.header(of.block)), of.block.hash)


def _tx_hash(of: _Evidence) -> None:
    for tx, encoded in zip(of.block.txs, of.transactions, strict=True):
        of.require(Check.TX_HASH, f"hash of transaction {tx.index}", keccak(encoded), tx.hash)


def _derived(of: _Evidence) -> None:
    for tx in of.block.txs:
        for name, expected, found in _implied(tx, of.block.base_fee):
            of.require(Check.DERIVED, f"{name} of transaction {tx.index}", expected, found)


def _implied(tx: Tx, base_fee: int | None) -> Iterator[tuple[str, object, object]]:
    """Yield what follows from a transaction that passed: what it is called, what it must be and what it is."""
    created, found = None, tx.receipt.contract_address
    if tx.to is None and (found is not None or tx.receipt.status == 1):  # of a failed creation some nodes name none
        created = keccak(rlp.sequence((b"\x94" + tx.sender, rlp.integer(tx.nonce))))[12:]  # Yellow Paper, section 7
    yield "contractAddress", created, found
    price = tx.gas_price
    if tx.fee_cap is not None and tx.tip_cap is not None and base_fee is not None:
        price = min(tx.fee_cap, base_fee + tx.tip_cap)  # EIP-1559
    yield "gasPrice", price, tx.gas_price
    if tx.receipt.effective_gas_price is not None:
        yield "effectiveGasPrice", price, tx.receipt.effective_gas_price


def _withdrawals_root(of: _Evidence) -> None:
    found = encode.withdrawals(of.block)
    if found is not None:
        of.require(Check.WITHDRAWALS_ROOT, "withdrawalsRoot", ordered_root(found[1]), found[0])


# In this order: what is cheap, and says best what is wrong, comes first.
_CHECKS: Final[dict[Check, Callable[[_Evidence], None]]] = {
    Check.COUNTS: _counts,
    Check.LOG_INDEX: _log_index,
    Check.GAS: _gas,
    Check.RECEIPT_BLOOM: _receipt_bloom,
    Check.HEADER_BLOOM: _header_bloom,
    Check.RECEIPTS_ROOT: _receipts_root,
    Check.TRANSACTIONS_ROOT: _transactions_root,
    Check.TX_HASH: _tx_hash,
    Check.BLOCK_HASH: _block_hash,
    Check.DERIVED: _derived,
    Check.WITHDRAWALS_ROOT: _withdrawals_root,
}
