"""Which check catches what: a block that is right in every field, and every way to change one."""

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import pytest

from core.errors import Unverified
from core.keccak import keccak
from core.types import Block, Log, Tx
from core.verify import bloom, encode, rlp
from core.verify.checks import ALL, NONE, OF_HEADER, Check, can_tell, named, names, passed, verify
from core.verify.trie import EMPTY_ROOT, ordered_root
from tests.truthful import CHAIN_ID, truthful

BLOCK = truthful()
EMPTY = truthful(txs=())


def with_tx(at: int, /, **fields: Any) -> Block:
    return _with(BLOCK, at, dataclasses.replace(BLOCK.txs[at], **fields))


def with_receipt(at: int, /, **fields: Any) -> Block:
    return with_tx(at, receipt=dataclasses.replace(BLOCK.txs[at].receipt, **fields))


def with_log(**fields: Any) -> Block:
    first, *rest = BLOCK.txs[1].receipt.logs
    return with_receipt(1, logs=(dataclasses.replace(first, **fields), *rest))


def with_header(**fields: Any) -> Block:
    return dataclasses.replace(BLOCK, **fields)


def _with(block: Block, index: int, tx: Tx) -> Block:
    return dataclasses.replace(block, txs=(*block.txs[:index], tx, *block.txs[index + 1 :]))


def with_extra(old: str, new: str) -> Block:
    return with_header(extra=replaced(BLOCK.extra, old, new))


def with_tx_extra(at: int, old: str, new: str) -> Block:
    return with_tx(at, extra=replaced(BLOCK.txs[at].extra, old, new))


def replaced(extra: str | None, old: str, new: str) -> str:
    """Replace what must be there; dots are any characters."""
    assert extra is not None
    result, count = re.subn(re.escape(old).replace(r"\.\.", ".."), new, extra, count=1)
    assert count == 1, f"{old} is not in {extra}"
    return result


def swapped() -> Block:
    one, two, *rest = BLOCK.txs
    moved = (dataclasses.replace(two, index=0), dataclasses.replace(one, index=1))
    return dataclasses.replace(BLOCK, txs=(*moved, *rest))


HASH = Check.BLOCK_HASH
TX = Check.TRANSACTIONS_ROOT | Check.TX_HASH
DONE = Check.RECEIPTS_ROOT
LOGS = DONE | Check.RECEIPT_BLOOM
OTHER = bytes(range(32))

MUTATIONS: dict[str, tuple[Block, Check]] = {
    "header: parent": (with_header(parent_hash=OTHER), HASH),
    "header: timestamp": (with_header(timestamp=BLOCK.timestamp + 1), HASH),
    "header: number": (with_header(number=BLOCK.number + 1), HASH),
    "header: miner": (with_header(miner=OTHER[:20]), HASH),
    "header: state root": (with_header(state_root=OTHER), HASH),
    "header: transactions root": (with_header(transactions_root=OTHER), HASH | Check.TRANSACTIONS_ROOT),
    "header: receipts root": (with_header(receipts_root=OTHER), HASH | DONE),
    "header: uncles": (with_header(uncles_hash=OTHER), HASH),
    "header: bloom": (with_header(logs_bloom=b"\x01" * 256), HASH | Check.HEADER_BLOOM),
    "header: difficulty": (with_header(difficulty=1), HASH),
    "header: extra data": (with_header(extra_data=b"me"), HASH),
    "header: gas limit": (with_header(gas_limit=1), HASH),
    "header: gas used": (with_header(gas_used=BLOCK.gas_used - 1), HASH | Check.GAS),
    "header: base fee": (with_header(base_fee=8), HASH | Check.DERIVED),
    "header: mix hash": (with_header(mix_hash=OTHER), HASH),
    "header: nonce": (with_header(nonce=OTHER[:8]), HASH),
    "header: hash": (with_header(hash=OTHER), HASH),
    "header: no mix hash": (with_header(mix_hash=None), HASH),
    "header: withdrawals": (with_extra('"amount":"0x5"', '"amount":"0x6"'), Check.WITHDRAWALS_ROOT),
    "header: withdrawals gone": (with_extra('"withdrawals":', '"withdrawn":'), Check.WITHDRAWALS_ROOT),
    "header: withdrawals root": (
        with_extra('"withdrawalsRoot":"0x..', '"withdrawalsRoot":"0xff'),
        HASH | Check.WITHDRAWALS_ROOT,
    ),
    "header: excess blob gas": (with_extra('"excessBlobGas":"0x0"', '"excessBlobGas":"0x1"'), HASH),
    "header: beacon root": (with_extra('Root":"0x0404', 'Root":"0x0405'), HASH),
    "header: requests": (with_extra('"requestsHash":"0x05', '"requestsHash":"0x06'), HASH),
    "transaction: to": (with_tx(0, to=OTHER[:20]), TX),
    "transaction: value": (with_tx(0, value=1), TX),
    "transaction: nonce": (with_tx(0, nonce=99), TX),
    "transaction: gas": (with_tx(0, gas=1), TX),
    "transaction: input": (with_tx(0, input=b"\x00"), TX),
    "transaction: v": (with_tx(0, v=28), TX),
    "transaction: signature": (with_tx(0, signature=bytes(64)), TX),
    "transaction: gas price of type 0": (with_tx(0, gas_price=8), TX | Check.DERIVED),
    "transaction: gas price of type 2": (with_tx(2, gas_price=8), Check.DERIVED),
    "transaction: fee cap": (with_tx(2, fee_cap=1), TX | Check.DERIVED),
    "transaction: tip cap": (with_tx(2, tip_cap=0), TX | Check.DERIVED),
    "transaction: hash": (with_tx(0, hash=OTHER), Check.TX_HASH),
    "transaction: type": (with_tx(0, type=1), TX | DONE),
    "transaction: unknown type": (with_tx(0, type=0x7E), TX | DONE),
    "transaction: access list": (with_tx(1, extra='{"accessList":[]}'), TX),
    "transaction: blob hashes": (with_tx_extra(3, '"blobVersionedHashes":["0x01', '"blobVersionedHashes":["0x02'), TX),
    "transaction: blob fee": (with_tx_extra(3, '"maxFeePerBlobGas":"0x3"', '"maxFeePerBlobGas":"0x4"'), TX),
    "transaction: blob fee gone": (with_tx_extra(3, '"maxFeePerBlobGas":"0x3",', ""), TX),
    "transaction: storage key": (with_tx_extra(1, "0c0c", "0c0d"), TX),
    "transaction: authorizations": (with_tx_extra(4, '"nonce":"0x9"', '"nonce":"0x8"'), TX),
    "transaction: authorizations broken": (with_tx_extra(4, '"nonce":"0x9",', ""), TX),
    "transaction: index": (with_tx(0, index=1), Check.COUNTS),
    "transaction: created contract": (with_receipt(5, contract_address=OTHER[:20]), Check.DERIVED),
    "transaction: created contract gone": (with_receipt(5, contract_address=None), Check.DERIVED),
    "transactions: swapped": (swapped(), TX & ~Check.TX_HASH | DONE | Check.GAS),
    "transactions: last gone": (
        dataclasses.replace(BLOCK, txs=BLOCK.txs[:-1]),
        TX & ~Check.TX_HASH | DONE | Check.GAS,
    ),
    "receipt: status": (with_receipt(0, status=0), DONE),
    "receipt: root for status": (with_receipt(0, root=OTHER), DONE),
    "receipt: neither": (with_receipt(0, status=None), DONE),
    "receipt: cumulative gas": (with_receipt(0, cumulative_gas_used=1), DONE | Check.GAS),
    "receipt: gas": (with_receipt(0, gas_used=1), Check.GAS),
    "receipt: effective gas price": (with_receipt(0, effective_gas_price=8), Check.DERIVED),
    "receipt: bloom": (with_receipt(0, logs_bloom=b"\x01" * 256), LOGS | Check.HEADER_BLOOM),
    "log: address": (with_log(address=OTHER[:20]), LOGS),
    "log: topics": (with_log(topics=(OTHER,)), LOGS),
    "log: data": (with_log(data=b"\x02"), DONE),
    "log: index": (with_log(index=7), Check.LOG_INDEX),
    "log: gone": (with_receipt(1, logs=BLOCK.txs[1].receipt.logs[:-1]), LOGS | Check.LOG_INDEX),
    "logs: emptied with their bloom": (
        with_receipt(1, logs=(), logs_bloom=bytes(256)),
        DONE | Check.LOG_INDEX | Check.HEADER_BLOOM,
    ),
}  # fmt: skip


def test_a_block_that_is_right_passes_everything() -> None:
    assert can_tell(BLOCK) == ALL
    assert passed(BLOCK, ALL, CHAIN_ID) == ALL
    verify(BLOCK, ALL, CHAIN_ID)


def test_an_empty_block_passes_and_can_tell_little() -> None:
    verify(EMPTY, ALL, CHAIN_ID)
    assert can_tell(EMPTY) == OF_HEADER
    assert (EMPTY.transactions_root, EMPTY.receipts_root) == (EMPTY_ROOT, EMPTY_ROOT)


@pytest.mark.parametrize("what", MUTATIONS)
def test_what_is_changed_fails_the_checks_that_are_about_it_and_no_other(what: str) -> None:
    changed, expected = MUTATIONS[what]
    assert names(ALL & ~passed(changed, ALL, CHAIN_ID)) == names(expected)
    with pytest.raises(Unverified):
        verify(changed, ALL, CHAIN_ID)


def test_typed_transactions_are_of_one_chain() -> None:
    assert ALL & ~passed(BLOCK, ALL, CHAIN_ID + 1) == TX


def test_a_failed_creation_may_name_its_contract_or_none() -> None:
    failed = with_receipt(5, status=0, contract_address=None)
    assert passed(failed, Check.DERIVED, CHAIN_ID) == Check.DERIVED


def test_an_error_says_what_which_expected_and_found() -> None:
    with pytest.raises(Unverified, match="fails gas: cumulativeGasUsed of receipt 0 is 1, expected 21000") as raised:
        verify(with_receipt(0, cumulative_gas_used=1), ALL, CHAIN_ID)
    error = raised.value
    assert (error.at, error.check, error.expected, error.found) == (BLOCK.ref, "gas", "21000", "1")
    with pytest.raises(Unverified, match="is transaction type 0x7e, expected an encoding that is known"):
        verify(with_tx(0, type=0x7E), Check.TX_HASH, CHAIN_ID)


def test_checks_have_names_both_ways() -> None:
    assert named(names(ALL)) == ALL
    assert named([]) == NONE
    assert [int(check) for check in Check] == [1 << i for i in range(11)]


# -- what they are made of ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoded", "expected"),  # Yellow Paper, appendix B; ethereum/tests, RLPTests/rlptest.json
    [
        (rlp.string(b""), "80"),
        (rlp.string(b"\x00"), "00"),
        (rlp.string(b"\x7f"), "7f"),
        (rlp.string(b"\x80"), "8180"),
        (rlp.string(b"dog"), "83646f67"),
        (rlp.string(b"a" * 56), "b838" + "61" * 56),
        (rlp.string(b"a" * 1024), "b90400" + "61" * 1024),
        (rlp.integer(0), "80"),
        (rlp.integer(127), "7f"),
        (rlp.integer(128), "8180"),
        (rlp.integer(100_000), "830186a0"),
        (rlp.integer(2**256), "a1" + "01" + "00" * 32),
        (rlp.sequence([]), "c0"),
        (rlp.sequence([rlp.string(b"cat"), rlp.string(b"dog")]), "c88363617483646f67"),
        (rlp.sequence([rlp.string(b"a" * 60)]), "f83eb83c" + "61" * 60),
    ],
)
def test_rlp_is_that_of_the_yellow_paper(encoded: bytes, expected: str) -> None:
    assert encoded.hex() == expected


def reference_root(items: list[bytes]) -> bytes:
    """The same trie the long way: insert one by one into a dictionary of digits, then hash it."""

    def node(pairs: dict[str, bytes]) -> bytes:
        if len(pairs) == 1:
            [(key, value)] = pairs.items()
            return rlp.sequence([rlp.string(hp(key, 2)), rlp.string(value)])
        first, *others = pairs
        shared = 0
        while all(other[shared] == first[shared] for other in others):
            shared += 1
        if shared:
            inner = node({key[shared:]: value for key, value in pairs.items()})
            return rlp.sequence([rlp.string(hp(first[:shared], 0)), ref(inner)])
        children = []
        for digit in "0123456789abcdef":
            below = {key[1:]: value for key, value in pairs.items() if key[0] == digit}
            children.append(ref(node(below)) if below else b"\x80")
        return rlp.sequence([*children, b"\x80"])

    def hp(key: str, flag: int) -> bytes:
        return bytes.fromhex((f"{flag + 1:x}" if len(key) % 2 else f"{flag:x}0") + key)

    def ref(encoded: bytes) -> bytes:
        return encoded if len(encoded) < 32 else b"\xa0" + keccak(encoded)

    return keccak(node({rlp.integer(i).hex(): item for i, item in enumerate(items)}) if items else b"\x80")


@pytest.mark.parametrize("count", [0, 1, 2, 3, 16, 17, 127, 128, 129, 130, 255, 256, 257, 300, 1000])
@pytest.mark.parametrize("size", [1, 5, 33, 200])  # small ones are held by their parents themselves
def test_the_root_of_a_list_is_that_of_the_long_way(count: int, size: int) -> None:
    items = [bytes([1 + i % 200]) * size for i in range(count)]
    assert ordered_root(items) == reference_root(items)


def test_the_bloom_of_a_log_is_that_of_its_words() -> None:
    event = Log(address=bytes(20), topics=(bytes(32),), data=b"", index=0)
    expected = 0
    for word in (bytes(20), bytes(32)):
        digest = keccak(word)
        for pair in (digest[0:2], digest[2:4], digest[4:6]):
            expected |= 1 << (int.from_bytes(pair) % 2048)
    assert bloom.of_logs([event]) == expected
    assert bloom.of_logs([]) == 0


@pytest.mark.parametrize(
    "broken",
    [
        lambda block: dataclasses.replace(block, extra='{"withdrawals":[],"withdrawalsRoot":"0x12"}'),
        lambda block: dataclasses.replace(block, extra='{"requestsHash":"0x12"}'),
        lambda block: dataclasses.replace(block, extra='{"blobGasUsed":"0x1"}'),
        lambda block: dataclasses.replace(block, extra='{"withdrawals":5}'),
    ],
)
def test_a_header_that_makes_no_sense_has_no_encoding(broken: Callable[[Block], Block]) -> None:
    with pytest.raises(encode.Unencodable):
        encode.header(broken(BLOCK))
    assert not passed(broken(BLOCK), Check.BLOCK_HASH, CHAIN_ID)
