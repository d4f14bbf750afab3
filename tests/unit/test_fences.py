"""Compiled code checks no index: here every array it works on ends at a fence, and no input may touch one.

Arrays are made exactly as large as was asked for, so that what asks for too little is seen with the first byte.
"""

import json
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from core.errors import BadAnswer
from core.store.bulk import Unusual
from core.verify.checks import Level
from indexer.decode.tables import LogTable, TransferTable
from indexer.hotpath import HotPath
from indexer.logpath import Scratch
from indexer.verify import COMPILED
from tests import blocks, make, sealed
from tests.unit.test_hotpath import CHAIN
from tests.unit.test_hotpath_fuzz import changed_bytes, changed_leaf, changed_shape, encoded

FENCE = 4_096  # bytes
POST = 0xA5
CASES = 400
SHORT: tuple[Any, ...] = ("", "0x", "0x0", 0, None, [], {}, [""], {"a": ""})
NESTED = ("accessList", "blobVersionedHashes", "authorizationList")


class Fences:
    """Arrays between fences, in the place of Scratch's own."""

    def __init__(self) -> None:
        self.fenced: list[tuple[str, npt.NDArray[Any]]] = []

    def take(self, name: str, shape: int | tuple[int, ...], kind: type[Any] = np.int32) -> npt.NDArray[Any]:
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        whole = np.full(size + 2 * FENCE, POST, np.uint8)
        self.fenced.append((name, whole))
        room: npt.NDArray[Any] = whole[FENCE : FENCE + size].view(kind)
        return room.reshape(shape)

    def touched(self) -> list[str]:
        """Names of arrays beside which something was written; they are forgotten."""
        found = [
            name for name, whole in self.fenced
            if (whole[:FENCE] != POST).any() or (whole[len(whole) - FENCE :] != POST).any()
        ]  # fmt: skip
        self.fenced.clear()
        return found


@pytest.fixture
def fences(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fences]:
    made = Fences()
    monkeypatch.setattr(Scratch, "take", lambda _, *asked: made.take(*asked))
    yield made
    assert made.touched() == []


def path() -> HotPath:
    """A hot path that makes all compiled checks, and not those of headers, which would end what is wrong before."""
    return HotPath(CHAIN, TransferTable(lambda *_: None), LogTable("all"), level=Level(COMPILED))


def read(hot: HotPath, raw: bytes, receipts: bytes) -> bool:
    """Let compiled code work on answers; whether it took them."""
    try:
        hot.encode([raw], [receipts])
    except (Unusual, BadAnswer):
        return False
    return True


def test_a_fence_that_is_touched_is_seen() -> None:
    made = Fences()
    taken = made.take("rows", (2, 3))
    taken[:] = 7
    assert made.fenced[0][1].size == 2 * FENCE + 24
    assert made.touched() == []
    made.take("rows", 2)
    made.fenced[0][1][FENCE + 8] = 0
    assert made.touched() == ["rows"]


def test_right_blocks_stay_within(fences: Fences) -> None:
    hot = path()
    for seed in range(80):
        for raw, receipts in zip(*blocks.answers(sealed.chain(seed, 2, CHAIN)), strict=True):
            assert read(hot, raw, receipts)
            assert fences.touched() == [], seed


@pytest.mark.parametrize("txs", [1, 2, 16, 17, 127, 128, 129, 257, 1_000])
@pytest.mark.parametrize("logs", [0, 1, 5])
def test_blocks_of_many_transactions_stay_within(fences: Fences, txs: int, logs: int) -> None:
    topics = (make.digest("a"),) * 4
    many = [
        make.tx(at, salt=txs, receipt=make.receipt([make.log(at * logs + i, topics=topics) for i in range(logs)]))
        for at in range(txs)
    ]
    (raw,), (receipts,) = blocks.answers([sealed.sealed(make.block(7, txs=many), CHAIN)])
    assert read(path(), raw, receipts)
    assert fences.touched() == []


def test_transactions_that_say_as_little_as_they_may_stay_within(fences: Fences) -> None:
    (raw,), (receipts,) = blocks.answers([make.block(7, txs=[make.tx(i) for i in range(300)])])
    whole, done = json.loads(raw), json.loads(receipts)
    for tx in whole["transactions"]:
        tx.update(dict.fromkeys(("nonce", "gas", "gasPrice", "value", "v", "r", "s"), "0x0"), input="0x")
    read(path(), encoded(whole), encoded(done))
    assert fences.touched() == []


@pytest.mark.parametrize("name", NESTED)
@pytest.mark.parametrize("short", SHORT, ids=repr)
@pytest.mark.parametrize("deep", [None, "storageKeys", "address", "yParity"])
def test_lists_of_very_short_things_stay_within(fences: Fences, name: str, short: object, deep: str | None) -> None:
    (raw,), (receipts,) = blocks.answers([make.block(7, txs=[make.tx(0)])])
    hot = path()
    for kind in ("0x1", "0x2", "0x3", "0x4"):
        whole = json.loads(raw)
        many = [short] * 5_000
        (tx,) = whole["transactions"]
        tx |= {"type": kind, "accessList": [], name: many if deep is None else [{deep: many}, {deep: short}] * 3}
        read(hot, encoded(whole), receipts)
        assert fences.touched() == [], kind


@pytest.mark.parametrize("change", [changed_leaf, changed_shape, changed_bytes])
def test_changed_answers_stay_within(fences: Fences, change: Callable[..., Any]) -> None:
    dice, hot, taken = random.Random(f"fences {change.__name__}"), path(), 0
    for case in range(CASES):
        (raw,), (receipts,) = blocks.answers(sealed.chain(dice.randrange(80), 1, CHAIN, most_txs=3, most_logs=3))
        if change is changed_bytes:
            raw = changed_bytes(dice, raw)
            receipts = changed_bytes(dice, receipts) if len(receipts) > 200 else receipts
        else:
            whole = {"block": msgspec.json.decode(raw), "receipts": msgspec.json.decode(receipts)}
            with suppress(IndexError):
                change(dice, whole)
            raw, receipts = encoded(whole["block"]), encoded(whole["receipts"])
        taken += read(hot, raw, receipts)
        assert fences.touched() == [], case
    assert taken < CASES, "changes that nothing refuses change nothing"
