"""Real mainnet blocks pass every check that their data allows, and no changed one does."""

import dataclasses

import pytest

from core.errors import Unverified
from core.types import Block
from core.verify.checks import ALL, Check, names, passed, verify
from tests.realdata.test_realdata import FOLDER, MAINNET, files, parsed, report, with_receipts

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no real data in {FOLDER}: set REALDATA_DIR")
# What a block passes whose receipts are not there.
WITHOUT_RECEIPTS = Check.TRANSACTIONS_ROOT | Check.TX_HASH | Check.BLOCK_HASH | Check.WITHDRAWALS_ROOT


def whole_block() -> Block:
    [path] = [path for path in files("receipts") if path.name == "18000000.json.gz"]
    return parsed(*with_receipts(FOLDER / "blocks" / path.name))


def test_realdata_roots_and_hashes_of_every_block_are_computed_again() -> None:
    types: set[int] = set()
    for path in files("blocks"):
        block = parsed(*with_receipts(path))
        verify(block, WITHOUT_RECEIPTS, MAINNET)
        types |= {tx.type for tx in block.txs}
    report(f"{len(files('blocks'))} blocks with transactions of types {sorted(types)} verified")
    assert {0, 1, 2, 3} <= types


def test_realdata_block_with_its_receipts_passes_all_checks() -> None:
    assert passed(whole_block(), ALL, MAINNET) == ALL


def test_realdata_block_that_lost_one_log_fails_by_its_blooms_or_its_root() -> None:
    block = whole_block()
    index = next(tx.index for tx in block.txs if len(tx.receipt.logs) > 2)
    tx = block.txs[index]
    poorer = dataclasses.replace(tx, receipt=dataclasses.replace(tx.receipt, logs=tx.receipt.logs[:-1]))
    found = dataclasses.replace(block, txs=(*block.txs[:index], poorer, *block.txs[index + 1 :]))
    with pytest.raises(Unverified, match="fails"):
        verify(found, ALL, MAINNET)
    lost = ALL & ~passed(found, ALL, MAINNET)
    assert Check.RECEIPTS_ROOT in lost
    report(f"a lost log fails {', '.join(names(lost))}")
