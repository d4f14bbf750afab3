"""Real mainnet blocks pass every check of the hot path that their data allows, and do not when one byte is another."""

import json
import random
from typing import Any

import pytest

from core.store.bulk import Unusual
from core.verify.checks import ALL, Check, Level
from indexer.decode.tables import LogTable, TransferTable
from indexer.hotpath import HotPath
from tests.realdata.test_realdata import FOLDER, MAINNET, files, report, with_receipts
from tests.realdata.test_verify import WITHOUT_RECEIPTS

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no real data in {FOLDER}: set REALDATA_DIR")


def hot_path(checks: Check) -> HotPath:
    return HotPath(MAINNET, TransferTable(lambda *_: None), LogTable("none"), level=Level(checks))


def encode(path: HotPath, block: Any, receipts: Any) -> int:
    return len(path.encode([json.dumps(block).encode()], [json.dumps(receipts).encode()]).headers)


def test_realdata_every_block_passes_on_the_hot_path() -> None:
    path, txs = hot_path(WITHOUT_RECEIPTS), 0
    for each in files("blocks"):
        block, receipts = with_receipts(each)
        assert encode(path, block, receipts) == 1, each
        txs += len(receipts)
    report(f"{len(files('blocks'))} blocks with {txs} transactions verified by compiled code")


def test_realdata_block_with_its_receipts_passes_all_checks_of_the_hot_path() -> None:
    assert encode(hot_path(ALL), *with_receipts(FOLDER / "blocks" / "18000000.json.gz")) == 1


# What is in no root, and is not stored or follows from the signature: of a transaction, and of a receipt or a log.
BESIDE = ({"from", "chainId", "yParity", "blockTimestamp"}, {"from", "to", "type", "blockNumber", "blockTimestamp"})


def test_realdata_one_digit_changed_anywhere_is_refused() -> None:
    path, dice = hot_path(ALL), random.Random("digits")
    block, receipts = with_receipts(FOLDER / "blocks" / "18000000.json.gz")
    seen: set[str] = set()
    for _ in range(150):
        index = dice.randrange(len(receipts))
        beside, of = dice.choice(
            [(BESIDE[0], block["transactions"][index])]
            + [(BESIDE[1], each) for each in (receipts[index], *receipts[index]["logs"])]
        )
        name = dice.choice([n for n, v in of.items() if v and isinstance(v, str) and v != "0x" and n not in beside])
        old = of[name]
        at = dice.randrange(2, len(old))
        of[name] = old[:at] + dice.choice("0123456789abcdef".replace(old[at].lower(), "")) + old[at + 1 :]
        with pytest.raises(Unusual):
            encode(path, block, receipts)
            report(f"{name} of {index}: {old} passed as {of[name]}")
        of[name] = old
        seen.add(name)
    assert encode(path, block, receipts) == 1
    report(f"one digit of each of {', '.join(sorted(seen))}")
