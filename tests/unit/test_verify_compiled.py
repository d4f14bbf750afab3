"""Compiled verification against core/verify: equal hashes and roots, and no block that the careful path refuses."""

import json
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from core.errors import BadAnswer
from core.keccak import keccak as keccak_of
from core.rpc import wire
from core.store.bulk import Unusual
from core.types import Block, Tx
from core.verify import trie as careful_trie
from core.verify.checks import ALL, NONE, OF_HEADER, Check, Level, verify
from indexer.compiled import build, keccak, trie
from indexer.decode.tables import LogTable, TransferTable
from indexer.eventpath import EventPath
from indexer.hotpath import HotPath
from indexer.verify import COMPILED
from tests import blocks, make, sealed
from tests.unit.test_hotpath import CHAIN
from tests.unit.test_hotpath_fuzz import changed_bytes, changed_leaf, changed_shape, encoded

CASES = int(os.environ.get("VERIFY_CASES", "1500"))
Dice = random.Random

# The functions that only compiled ones call, as those call them.
INNER = build.dispatchers(no_cpython_wrapper=False)
hash_all = INNER["indexer.compiled.keccak.hash_all"]
leaf_before, hash_messages, ordered_root = (
    INNER[f"indexer.compiled.trie.{name}"] for name in ("leaf_before", "hash_messages", "ordered_root")
)


def bench(size: int, messages: int, nodes: int = 0) -> trie.Bench:
    return trie.Bench(
        np.zeros(size, np.uint8), np.zeros((messages, 2), np.int32), np.zeros((messages, 32), np.uint8),
        np.zeros(keccak.STATE, np.uint64), np.zeros((keccak.LANES, 2), np.int32), np.zeros((nodes, 3), np.int32),
    )  # fmt: skip


def hashes(texts: Sequence[bytes]) -> list[bytes]:
    """What compiled code makes of these messages, hashed side by side."""
    room = bench(sum(map(len, texts)) + 8, len(texts) + 1)
    at = 3  # so that words lie across the words of memory
    for i, text in enumerate(texts):
        room.out[at : at + len(text)] = np.frombuffer(text, np.uint8)
        room.messages[i] = at, at + len(text)
        at += len(text)
    hash_all(room.out, room.messages, 0, len(texts), room.digests, room.state, room.lanes)
    return [digest.tobytes() for digest in room.digests[: len(texts)]]


def root(items: Sequence[bytes]) -> bytes:
    """The root that compiled code finds of a list."""
    room = bench(sum(map(len, items)) + 300 * len(items) + 100, 8 * len(items) + 8, len(items))
    at = room.out.size
    for i, item in enumerate(items):
        room.out[at - len(item) : at] = np.frombuffer(item, np.uint8)
        begin = leaf_before(room.out, at - len(item), at, i, len(items))
        room.messages[i] = begin, at
        at = begin
    hash_messages(room, 0, len(items))
    message, _ = ordered_root(room, at, 0, len(items), len(items))
    return bytes(room.digests[message])


def test_messages_of_every_length_have_their_hash() -> None:
    dice = Dice("keccak")
    texts = [dice.randbytes(size) for size in range(600)]
    assert hashes(texts) == [keccak_of(text) for text in texts]
    dice.shuffle(texts)
    for few in range(10):  # fewer messages than lanes, and lanes that end at different times
        assert hashes(texts[:few]) == [keccak_of(text) for text in texts[:few]]
    assert hashes([b""])[0].hex().startswith("c5d2460186f7233c927e7db2dcc703c0")


def test_lists_of_every_length_have_their_root() -> None:
    dice = Dice("trie")
    for count in (*range(300), *range(300, 1_000, 37), 4_096, 4_097, 65_536):
        # Short ones become nodes of less than 32 bytes, which their parents hold themselves.
        sizes = dice.choice(((1, 3), (1, 40), (20, 33), (1, 80)))
        items = [dice.randbytes(dice.randint(*sizes)) for _ in range(count)]
        assert root(items) == careful_trie.ordered_root(items), (count, sizes)
    assert root([]) == careful_trie.EMPTY_ROOT


class Path:
    """A hot path that makes some checks, and the careful path beside it."""

    def __init__(self, checks: Check = ALL, chain_id: int = CHAIN) -> None:
        self._checks, self._chain = checks, chain_id
        self._hot = HotPath(chain_id, TransferTable(lambda *_: None), LogTable("all"), level=Level(checks))

    def takes(self, raw: Sequence[bytes], receipts: Sequence[bytes]) -> bool:
        """Whether the hot path takes these answers."""
        try:
            piece = self._hot.encode(raw, receipts)
        except (Unusual, BadAnswer):
            return False
        assert {header.checks for header in piece.headers} == {int(self._checks)}
        return True

    def passes(self, made: Block | Sequence[Block]) -> bool:
        return self.takes(*blocks.answers([made] if isinstance(made, Block) else made))

    def refused(self, made: Block) -> str:
        """Why the hot path does not take a block."""
        with pytest.raises(Unusual) as caught:
            self._hot.encode(*blocks.answers([made]))
        return str(caught.value)

    def careful(self, raw: bytes, receipts: bytes) -> bool:
        """Whether the careful path takes these answers."""
        try:
            block = wire.block(raw, receipts)
            if block is not None:
                verify(block, self._checks, self._chain)
        except BadAnswer:
            return False
        return block is not None


@pytest.fixture(scope="module")
def path() -> Path:
    return Path()


def test_right_blocks_of_all_types_pass(path: Path) -> None:
    types: set[int] = set()
    extras = ""
    for seed in range(60):
        made = sealed.chain(seed, 4, CHAIN)
        for each in made:
            verify(each, ALL, CHAIN)
            types |= {tx.type for tx in each.txs}
            extras += "".join(tx.extra or "" for tx in each.txs)
        assert path.passes(made), seed
    assert types == set(range(5))
    assert all(f'"{name}": ["' in extras for name in ("storageKeys", "blobVersionedHashes")), "no lists"
    assert '"yParity"' in extras


@pytest.mark.parametrize("txs", [1, 2, 17, 127, 128, 129, 130, 200, 256, 257, 300])
def test_blocks_of_every_size_pass(path: Path, txs: int) -> None:
    made = make.block(7, txs=[make.tx(i, salt=txs, receipt=make.receipt()) for i in range(txs)])
    assert path.passes([sealed.sealed(made, CHAIN), sealed.sealed(make.block(8, txs=0), CHAIN)])


def one_block() -> Block:
    found = [
        each for seed in range(200) for each in sealed.chain(seed, 1, CHAIN)
        if {tx.type for tx in each.txs} >= {2, 3, 4} and any(tx.to is None for tx in each.txs)
        and sum(len(tx.receipt.logs) for tx in each.txs) > 3
    ]  # fmt: skip
    return found[0]


def with_tx(block: Block, which: Callable[[Tx], bool], **fields: Any) -> Block:
    at = next(i for i, tx in enumerate(block.txs) if which(tx))
    return replace(block, txs=(*block.txs[:at], replace(block.txs[at], **fields), *block.txs[at + 1 :]))


def with_receipt(block: Block, which: Callable[[Tx], bool], **fields: Any) -> Block:
    tx = next(filter(which, block.txs))
    return with_tx(block, lambda each: each is tx, receipt=replace(tx.receipt, **fields))


def has_logs(tx: Tx) -> bool:
    return bool(tx.receipt.logs)


OTHER = bytes([7]) * 256
WRONG: dict[Check, Callable[[Block], Block]] = {
    Check.GAS: lambda block: with_receipt(block, has_logs, gas_used=77),
    Check.RECEIPT_BLOOM: lambda block: with_receipt(block, has_logs, logs_bloom=OTHER),
    Check.HEADER_BLOOM: lambda block: replace(block, logs_bloom=OTHER),
    Check.RECEIPTS_ROOT: lambda block: replace(block, receipts_root=bytes(32)),
    Check.TRANSACTIONS_ROOT: lambda block: replace(block, transactions_root=bytes(32)),
    Check.BLOCK_HASH: lambda block: replace(block, timestamp=block.timestamp + 1),
    Check.TX_HASH: lambda block: with_tx(block, lambda tx: tx.type == 2, hash=bytes(32)),
    Check.DERIVED: lambda block: with_receipt(block, lambda tx: tx.to is None, contract_address=bytes(20)),
}


@pytest.mark.parametrize("check", WRONG, ids=lambda check: check.name.lower())
def test_each_check_refuses_what_it_is_for_and_nothing_else_does(check: Check) -> None:
    right = one_block()
    wrong = WRONG[check](right)
    said = Path(check).refused(wrong)
    assert f"block {right.number}" in said.replace("block block", "block")
    assert check.name is not None
    assert check.name in said.upper()
    assert Path(check).passes(right)
    assert Path(NONE).passes(wrong)
    # A bloom is in the receipt's encoding and in the header's union as well; of the rest only the block's hash tells.
    assert Path(ALL & ~check & ~Check.BLOCK_HASH).passes(wrong) == (check != Check.RECEIPT_BLOOM)


@pytest.mark.parametrize("price", ["gas_price", "effective_gas_price"])
def test_a_price_that_does_not_follow_from_the_bid_is_refused(price: str) -> None:
    right, only = one_block(), Path(Check.DERIVED)
    change = with_tx if price == "gas_price" else with_receipt
    # A legacy transaction whose receipt does not say what was paid contradicts nothing.
    said = [tx for tx in right.txs if tx.type >= 2 or tx.receipt.effective_gas_price is not None]
    assert said
    for tx in said:
        assert not only.passes(change(right, tx.__eq__, **{price: 12_345}))


def test_the_second_block_of_a_request_is_named(path: Path) -> None:
    first, second = one_block(), replace(one_block(), receipts_root=bytes(32))
    with pytest.raises(Unusual, match=f"block {second.number}: its header does not pass RECEIPTS_ROOT"):
        HotPath(CHAIN, TransferTable(lambda *_: None), LogTable("none"), level=Level(COMPILED)).encode(
            *blocks.answers([first, second])
        )


def test_transactions_of_unknown_types_pass_what_needs_no_encoding() -> None:
    alone = with_tx(one_block(), lambda tx: tx.type == 2, type=0x7E)
    assert not Path(Check.TRANSACTIONS_ROOT).passes(alone)
    assert not Path(Check.TX_HASH).passes(alone)
    assert not Path(Check.RECEIPTS_ROOT).passes(alone)
    assert Path(Check.GAS | Check.RECEIPT_BLOOM | Check.HEADER_BLOOM | Check.DERIVED).passes(alone)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"storageKeys":', '"storageKey":'), ('"address":', '"addres":'), ('"yParity":', '"v":'),
        ('"blobVersionedHashes":[', '"blobVersionedHashes":[null,'), ('"accessList":[', '"accessList":[7,'),
        ('"maxFeePerBlobGas":"', '"maxFeePerBlobGas":7,"other":"'),
        ('"authorizationList":[', '"authorizationList":[{},'),
    ],
)  # fmt: skip
def test_lists_of_another_form_are_left_to_the_careful_path(path: Path, old: str, new: str) -> None:
    for seed in range(400):
        (raw,), (receipts,) = blocks.answers(sealed.chain(seed, 1, CHAIN))
        raw = json.dumps(json.loads(raw), separators=(",", ":")).encode()
        if old.encode() in raw:
            assert path.takes([raw], [receipts])
            assert not path.takes([raw.replace(old.encode(), new.encode(), 1)], [receipts])
            return
    pytest.fail(f"no block with {old}")


def test_headers_of_events_mode_are_held_to_their_own_hash() -> None:
    made = one_block()
    (raw,), _ = blocks.answers([made])
    header = json.loads(raw)
    header["transactions"] = [tx["hash"] for tx in header["transactions"]]
    path = EventPath(CHAIN, TransferTable(lambda *_: None), LogTable("all"), level=Level(ALL))
    (found,) = path.encode([json.dumps(header).encode()], [b"[]"]).headers
    assert found.checks == OF_HEADER
    header["gasUsed"] = hex(made.gas_used + 1)
    with pytest.raises(Unusual, match="block_hash"):
        path.encode([json.dumps(header).encode()], [b"[]"])


def test_a_failed_creation_may_name_no_contract() -> None:
    right, only = one_block(), Path(Check.DERIVED)
    for status, passes in ((0, True), (1, False)):
        wrong = with_receipt(right, lambda tx: tx.to is None, status=status, root=None, contract_address=None)
        assert only.passes(wrong) == passes == only.careful(*(each[0] for each in blocks.answers([wrong])))


@pytest.mark.parametrize("change", [changed_leaf, changed_shape, changed_bytes])
def test_a_changed_block_never_passes_where_the_careful_path_refuses_it(path: Path, change: Callable[..., Any]) -> None:
    dice = Dice(f"verify {change.__name__}")
    ends = {True: 0, False: 0}
    for case in range(CASES):
        (raw,), (receipts,) = blocks.answers(sealed.chain(dice.randrange(80), 1, CHAIN, most_txs=3, most_logs=3))
        what = ""
        if change is changed_bytes:
            raw, receipts = (changed_bytes(dice, raw), receipts) if dice.random() < 0.5 else (raw, receipts)
            receipts = changed_bytes(dice, receipts) if len(receipts) > 200 else receipts
        else:
            whole = {"block": msgspec.json.decode(raw), "receipts": msgspec.json.decode(receipts)}
            what = change(dice, whole)
            raw, receipts = encoded(whole["block"]), encoded(whole["receipts"])
        taken = path.takes([raw], [receipts])
        assert not taken or path.careful(raw, receipts), f"case {case}: {what} {raw!r} {receipts!r}"
        ends[taken] += 1
    assert ends[False] > CASES // 2, ends
