"""The recorded node's pure parts: log filters, tags and ranges, WebSocket frames, what may be recorded."""

import json
import random
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from core.errors import BadAnswer, BadConfig
from core.hex import to_hex, to_quantity
from core.rpc.encode import encode_block, encode_receipts
from core.types import Block
from devnet.recorded import frames
from devnet.recorded.answers import FINALIZED_BLOCKS, SAFE_BLOCKS, Answers
from devnet.recorded.filters import Refused, read_filter, runs, selected
from devnet.recorded.folder import Recording
from devnet.recorded.layout import BLOCKS, META, call_key
from devnet.recorded.recorder import Recorder
from tests import make

TOKENS = [make.address("token", n) for n in range(3)]
TOPICS = [make.digest("topic", n) for n in range(4)]


def chain(length: int = 90, seed: int = 1) -> list[Block]:
    """Blocks whose logs differ in address and topics, some without topics, some blocks without transactions."""
    chance = random.Random(seed)
    made: list[Block] = []
    for number in range(length):
        count, index, txs = chance.choice((0, 1, 4)), 0, []
        for place in range(count):
            logs = []
            for _ in range(chance.randint(0, 3)):
                topics = tuple(chance.choice(TOPICS) for _ in range(chance.randint(0, 3)))
                logs.append(make.log(index, address=chance.choice(TOKENS), topics=topics))
                index += 1
            txs.append(make.tx(place, salt=number, receipt=make.receipt(logs)))
        made.append(make.block(number, made[-1].hash if made else make.NOWHERE, txs=txs))
    return made


CHAIN = chain()


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    calls = {
        call_key("eth_call", to_hex(TOKENS[0]), "0xAB"): "0x01",
        call_key("eth_call", to_hex(TOKENS[1]), "0xab"): None,
    }
    return Recording(make.record(tmp_path_factory.mktemp("chain"), CHAIN, calls=calls))


@pytest.fixture
def answers(recording: Recording) -> Answers:
    return Answers(recording)


def said(answers: Answers, method: str, *params: object) -> Any:
    return json.loads(b"".join(answers.answer(method, params)))


# -- blocks, tags, transactions ----------------------------------------------------------------------------------------


def test_blocks_and_receipts_are_what_was_recorded(answers: Answers) -> None:
    for block in (CHAIN[0], CHAIN[17], CHAIN[-1]):
        at = to_quantity(block.number)
        short = encode_block(block) | {"transactions": [to_hex(tx.hash) for tx in block.txs]}
        assert said(answers, "eth_getBlockByNumber", at, True) == encode_block(block)
        assert said(answers, "eth_getBlockByNumber", at, False) == short
        assert said(answers, "eth_getBlockByHash", to_hex(block.hash), True) == encode_block(block)
        assert said(answers, "eth_getBlockReceipts", at) == encode_receipts(block)
        assert said(answers, "eth_getBlockReceipts", to_hex(block.hash)) == encode_receipts(block)


def test_transactions_are_found_by_hash(answers: Answers) -> None:
    block = next(block for block in CHAIN[20:] if len(block.txs) == 4)
    for place in (0, 3):
        digest = to_hex(block.txs[place].hash)
        assert said(answers, "eth_getTransactionByHash", digest) == encode_block(block)["transactions"][place]
        assert said(answers, "eth_getTransactionReceipt", digest) == encode_receipts(block)[place]
    assert said(answers, "eth_getTransactionReceipt", to_hex(bytes(32))) is None


def test_tags_follow_the_head(answers: Answers) -> None:
    answers.head = 70
    assert [answers.number(tag) for tag in ("earliest", "latest", "pending", "safe", "finalized")] == [
        0, 70, 70, 70 - SAFE_BLOCKS, 70 - FINALIZED_BLOCKS,
    ]  # fmt: skip
    answers.head = 10
    assert answers.number("safe") is None
    assert said(answers, "eth_getBlockByNumber", "finalized", False) is None


def test_what_is_beyond_the_head_is_not_there_yet(answers: Answers) -> None:
    answers.head = next(block.number for block in CHAIN[30:] if block.txs) - 1
    above = CHAIN[answers.head + 1]
    assert said(answers, "eth_blockNumber") == to_quantity(answers.head)
    for method, param in (
        ("eth_getBlockByNumber", to_quantity(above.number)),
        ("eth_getBlockByHash", to_hex(above.hash)),
        ("eth_getBlockReceipts", to_quantity(above.number)),
        ("eth_getTransactionByHash", to_hex(above.txs[0].hash)),
        ("eth_getTransactionReceipt", to_hex(above.txs[0].hash)),
    ):
        assert said(answers, method, param) is None, method
    assert said(answers, "eth_getLogs", {"fromBlock": to_quantity(above.number), "toBlock": "0xffff"}) == []


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("eth_unknown", [], -32601),
        ("eth_getBlockByNumber", [], -32602),
        ("eth_getBlockByNumber", ["0xzz", False], -32602),
        ("eth_getBlockByNumber", [7, False], -32602),
        ("eth_getBlockByHash", ["0x12", False], -32602),
        ("eth_getLogs", ["0x1"], -32602),
        ("eth_getLogs", [{"fromBlock": "0x5", "toBlock": "0x4"}], -32602),
        ("eth_getLogs", [{"address": "0x12"}], -32602),
        ("eth_getLogs", [{"topics": "0x12"}], -32602),
        ("eth_getLogs", [{"blockHash": to_hex(bytes(32))}], -32000),
        ("eth_call", [{"to": to_hex(TOKENS[2]), "data": "0xab"}, "latest"], -32000),
        ("eth_call", [{"to": to_hex(TOKENS[1]), "data": "0xab"}, "latest"], 3),
    ],
)
def test_a_bad_call_is_refused_with_its_reason(answers: Answers, method: str, params: list[Any], code: int) -> None:
    with pytest.raises(Refused) as refused:
        answers.answer(method, params)
    assert refused.value.code == code
    assert refused.value.message


def test_recorded_calls_are_answered(answers: Answers) -> None:
    assert said(answers, "eth_call", {"to": to_hex(TOKENS[0]), "input": "0xab"}, "0x1") == "0x01"
    assert said(answers, "eth_getCode", to_hex(TOKENS[0]), "latest") == "0x"


def test_a_head_beyond_the_recording_is_refused(recording: Recording) -> None:
    with pytest.raises(ValueError, match=r"expected 0\.\.89, found 90"):
        Answers(recording, 90)


# -- logs --------------------------------------------------------------------------------------------------------------


def brute(asked: dict[str, Any]) -> list[Any]:
    """The same question answered by looking at every log."""
    every = [log for block in CHAIN for receipt in encode_receipts(block) for log in receipt["logs"]]
    first, last = int(asked.get("fromBlock", "0x59"), 16), int(asked.get("toBlock", "0x59"), 16)
    options = [asked.get("address"), *(asked.get("topics") or [])]
    sets = [None if o in (None, []) else set(o if isinstance(o, list) else [o]) for o in options]

    def matches(log: Any) -> bool:
        if not first <= int(log["blockNumber"], 16) <= last or len(log["topics"]) < len(sets) - 1:
            return False
        found = zip(sets, [log["address"], *log["topics"]], strict=False)
        return all(wanted is None or has in wanted for wanted, has in found)

    return [log for log in every if matches(log)]


def questions() -> list[dict[str, Any]]:
    chance = random.Random(2)
    tokens, topics = [to_hex(t) for t in TOKENS], [to_hex(t) for t in TOPICS]
    made: list[dict[str, Any]] = [{}, {"fromBlock": "0x0", "toBlock": "0x59"}]
    for _ in range(60):
        first = chance.randrange(90)
        asked: dict[str, Any] = {"fromBlock": hex(first), "toBlock": hex(chance.randrange(first, 90))}
        if chance.random() < 0.6:
            asked["address"] = chance.choice([tokens[0], tokens[:2], [], None])
        if chance.random() < 0.7:
            asked["topics"] = [chance.choice([None, topics[0], topics[1:3], []]) for _ in range(chance.randrange(4))]
        made.append(asked)
    return made


def test_logs_are_those_that_a_look_at_every_log_finds(answers: Answers) -> None:
    found = [said(answers, "eth_getLogs", asked) for asked in questions()]
    assert found == [brute(asked) for asked in questions()]
    assert sum(map(bool, found)) > 20


def test_logs_of_one_block_are_asked_for_by_its_hash(answers: Answers) -> None:
    block = next(block for block in CHAIN[40:] if block.txs and block.txs[0].receipt.logs)
    at = to_quantity(block.number)
    assert said(answers, "eth_getLogs", {"blockHash": to_hex(block.hash)}) == brute({"fromBlock": at, "toBlock": at})


def test_neighbours_make_one_slice() -> None:
    assert list(runs([3, 4, 5, 9, 11, 12])) == [(3, 5), (9, 9), (11, 12)]
    assert list(runs([])) == []
    assert list(runs(range(4, 4))) == []
    assert list(runs(range(4, 9))) == [(4, 8)]


def test_keys_are_merged_in_order() -> None:
    postings = {0: array("I", [0, 3, 8]), 1: array("I", [1, 2, 9]), 2: array("I", [4])}
    keys: list[tuple[str, str | None]] = [
        (to_hex(TOKENS[0]), to_hex(TOPICS[0])),
        (to_hex(TOKENS[1]), None),
        ("0x", None),
    ]
    wanted = read_filter({"address": [to_hex(TOKENS[0]).upper().replace("0X", "0x"), to_hex(TOKENS[1])]})
    assert list(selected(postings, keys, wanted, 1, 9)) == [1, 2, 3, 8]


# -- recording ---------------------------------------------------------------------------------------------------------


def spoiled(change: Callable[[dict[str, Any], list[dict[str, Any]]], None]) -> tuple[bytes, bytes]:
    block = next(block for block in CHAIN[1:] if len(block.txs) == 4)
    made, receipts = encode_block(block), encode_receipts(block)
    made |= {"number": "0x1", "parentHash": to_hex(CHAIN[0].hash)}
    change(made, receipts)
    return msgspec.json.encode(made), msgspec.json.encode(receipts)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda block, _: block.update(number="0x2"), "expected block 1, found 2"),
        (lambda block, _: block.update(parentHash=to_hex(bytes(32))), "has parent"),
        (lambda block, _: block.update(timestamp="0x1"), "older than the block below"),
        (lambda _, receipts: receipts.pop(), "4 transactions but 3 receipts"),
        (lambda _, receipts: receipts.reverse(), "not of one place"),
        (lambda _, receipts: receipts[-1]["logs"].append({}), "log"),
        (lambda _, receipts: receipts[-1]["logs"].append(encode_receipts(CHAIN[1])), "log"),
    ],
)
def test_a_chain_that_contradicts_itself_is_not_recorded(
    tmp_path: Path, change: Callable[[dict[str, Any], list[dict[str, Any]]], None], why: str
) -> None:
    with Recorder(tmp_path, chain_id=7) as recorder:
        recorder.add(msgspec.json.encode(encode_block(CHAIN[0])), msgspec.json.encode(encode_receipts(CHAIN[0])))
        with pytest.raises(BadAnswer, match=why):
            recorder.add(*spoiled(change))


def test_a_null_block_is_not_recorded(tmp_path: Path) -> None:
    with Recorder(tmp_path, chain_id=7) as recorder, pytest.raises(BadAnswer, match="block"):
        recorder.add(b"null", b"null")


def test_a_folder_that_is_none_or_broken_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="folder of a recorded chain"):
        Recording(tmp_path)
    make.record(tmp_path, CHAIN[:5])
    (tmp_path / BLOCKS).write_bytes((tmp_path / BLOCKS).read_bytes()[:-10])
    with pytest.raises(BadConfig, match=r"expected .* bytes, found"):
        Recording(tmp_path)
    (tmp_path / META).write_bytes((tmp_path / META).read_bytes().replace(b'"format":1', b'"format":9'))
    with pytest.raises(BadConfig, match="format is 9, expected 1"):
        Recording(tmp_path)


# -- WebSocket frames --------------------------------------------------------------------------------------------------


def masked(data: bytes, opcode: int = frames.TEXT) -> bytes:
    mask = b"\x11\x22\x33\x44"
    head = bytearray(frames.prefix(len(data), opcode))
    head[1] |= 0x80
    return bytes(head) + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))


def test_the_handshake_is_the_one_of_the_standard() -> None:
    assert frames.accept(b"dGhlIHNhbXBsZSBub25jZQ==") == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455, section 1.3


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
def test_frames_are_read_whatever_pieces_they_come_in(size: int) -> None:
    data = random.Random(size).randbytes(size)
    wire, buffer, found = masked(data) + masked(b"x", frames.PING), bytearray(), []
    for start in range(0, len(wire), 1_000):
        buffer += wire[start : start + 1_000]
        found += list(frames.frames(buffer))
    assert found == [(frames.TEXT, data), (frames.PING, b"x")]
    assert not buffer


@pytest.mark.parametrize("wire", [b"\x01\x80\x00\x00\x00\x00", b"\x81\x01x", masked(b"")[:1] + b"\xff" + b"\xff" * 12])
def test_frames_that_are_not_supported_end_the_connection(wire: bytes) -> None:
    with pytest.raises(BadAnswer, match="WebSocket"):
        list(frames.frames(bytearray(wire)))
