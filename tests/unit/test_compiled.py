"""Compiled functions against Python's own: JSON, numbers, addresses; and nothing is compiled after warming up."""

import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import BadConfig
from core.store.bulk import Unusual
from indexer import warm
from indexer.compiled import build, native, people, rows, scan
from indexer.decode.transfers import TRANSFER
from tests import blocks, make, pgcopy
from tests.unit.test_hotpath import Both

ROOT = Path(__file__).parents[2]
EXAMPLES = int(os.environ.get("COMPILED_EXAMPLES", "300"))

# The functions that only compiled ones call, as those call them.
INNER = build.dispatchers(no_cpython_wrapper=False)
value_end = INNER["indexer.compiled.scan.value_end"]
put_quantity = INNER["indexer.compiled.rows.put_quantity"]
put_word = INNER["indexer.compiled.rows.put_word"]
join, leave = INNER["indexer.compiled.people.join"], INNER["indexer.compiled.people.leave"]


def buffer(text: bytes) -> scan.Bytes:
    return np.frombuffer(text + bytes(scan.PAD), np.uint8)


def span(text: bytes) -> scan.Ints:
    return np.array([[0, len(text)]], np.int32)


def refuse_constants(name: str) -> Any:
    raise ValueError(name)


def ends_like_json(text: bytes) -> bool:
    """Whether value_end takes `text` for one whole value; it may take less than json does, never more."""
    try:
        end = value_end(buffer(text), 0)
    except ValueError:
        return False
    assert end <= len(text)
    json.loads(text[:end], parse_constant=refuse_constants)
    return bool(end == len(text))


plain = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters='"\\'))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | plain,
    lambda inner: st.lists(inner) | st.dictionaries(plain, inner),
    max_leaves=20,
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(values, st.sampled_from([None, 1, "\t"]))
def test_json_is_passed_over_to_its_end(value: Any, indent: int | str | None) -> None:
    assert ends_like_json(json.dumps(value, indent=indent).encode())


@settings(max_examples=EXAMPLES, deadline=None)
@given(values, st.data())
def test_text_that_is_no_json_is_never_taken_for_it(value: Any, data: st.DataObject) -> None:
    text = bytearray(json.dumps(value).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        junk = data.draw(st.sampled_from([b"", b",", b":", b'"', b"[", b"]", b"{", b"}", b"0", b"-", b".", b"e", b"t"]))
        text[at : at + data.draw(st.integers(0, 2))] = junk
    ends_like_json(bytes(text))


@pytest.mark.parametrize(
    "text",
    [b"", b"[", b"[1", b"[1,", b"[1,]", b"{", b'{"a"', b'{"a":', b'{"a":1,}', b'{"a":1', b"{1:2}", b"nul", b"tru",
     b"01", b"1.", b"-", b"1e", b"+1", b".5", b'"', b'"\\n"', b'"\x01"', b'"\xc3\xa9"', b"[" * 61 + b"]" * 61, b"]",
     b"[}", b"{]"],
)  # fmt: skip
def test_what_no_value_is(text: bytes) -> None:
    assert not ends_like_json(text)


def number(text: bytes, digits: int = 64) -> int:
    """What the field that put_quantity writes says to PostgreSQL."""
    out, work = np.zeros(200, np.uint8), np.zeros(rows.WORK, np.int64)
    end = put_quantity(out, 0, buffer(text), span(text), 0, work, digits)
    return int(pgcopy.numeric(out[4:end].tobytes()))


NUMBERS = sorted(
    {n + d for b in (0, 1, 4, 13, 32, 40, 64, 128, 255) for n in (2**b, 10**b % 2**256) for d in (-1, 0, 1)}
)


@pytest.mark.parametrize("value", [n for n in NUMBERS if 0 <= n < 2**256] + [2**256 - 1, 10**76, 10**77])
def test_quantities_of_every_size_are_the_numbers_they_say(value: int) -> None:
    assert number(hex(value).encode()) == value
    assert number(b"0x" + b"%064x" % value) == value
    word, out = value.to_bytes(32), np.zeros(200, np.uint8)
    end = put_word(out, 0, np.frombuffer(word, np.uint8), 0, np.zeros(rows.WORK, np.int64))
    assert int(pgcopy.numeric(out[4:end].tobytes())) == value


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.integers(0, 2**256 - 1))
def test_any_quantity_is_the_number_it_says(value: int) -> None:
    assert number(hex(value).upper().replace("X", "x").encode()) == value


@pytest.mark.parametrize("text", [b"0x", b"", b"1", b"0X1", b"0xg", b"0x-1", b"0x 1", b"0x1" + b"0" * 64, b"0x1_0"])
def test_what_is_no_quantity_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"quantity|hex"):
        number(text)


def test_a_quantity_has_no_more_bits_than_its_column() -> None:
    assert number(b"0x" + b"f" * 16, 16) == 2**64 - 1
    with pytest.raises(ValueError, match="more bits"):
        number(b"0x1" + b"0" * 16, 16)


def test_a_crowd_of_addresses_is_a_dictionary_of_roles() -> None:
    dice = random.Random("crowd")
    found, roles, slots = (
        np.zeros((people.MOST, 20), np.uint8),
        np.zeros(people.MOST, np.int32),
        people.empty_slots(100),
    )
    for size in (0, 1, 2, 50, 99):
        expected: dict[bytes, int] = {}
        count = 0
        # Addresses that differ in one byte only crowd into few places.
        for _ in range(3 * size):
            who, role = bytes([dice.randrange(size)] + [7] * 19), 1 << dice.randrange(5)
            found[count] = np.frombuffer(who, np.uint8)
            count = join(found, roles, slots, count, role)
            expected[who] = expected.get(who, 0) | role
        assert {found[i].tobytes(): int(roles[i]) for i in range(count)} == expected
        leave(found, slots, count)
        assert (slots == people.FREE).all()


def test_a_transaction_without_a_hash_is_not_looked_for_in_what_was_there_before() -> None:
    both = Both("all")
    assert both.hot(*blocks.answers(blocks.chain(4, 6))).tables["transaction"]
    (raw,), (receipts,) = blocks.answers([make.block(7)])
    block = json.loads(raw)
    for tx in block["transactions"]:
        del tx["hash"]
    for length in (66, 1_000, 100_000):
        done = [each | {"transactionHash": "0" * length} for each in json.loads(receipts)]
        with pytest.raises(Unusual, match="belongs elsewhere"):
            both.hot([json.dumps(block).encode()], [json.dumps(done).encode()])


def test_a_transaction_with_more_addresses_than_there_is_room_for_is_unusual() -> None:
    transfer = make.log(0, topics=(TRANSFER, bytes(32), bytes(32)), data=bytes(32))
    logs = [
        make.log(i, topics=(transfer.topics[0], bytes(12) + make.address("a", i), bytes(12) + make.address("b", i)),
                 data=bytes(32))
        for i in range(people.MOST // 2)
    ]  # fmt: skip
    raw = blocks.answers([make.block(7, txs=[make.tx(receipt=make.receipt(logs))])])
    both = Both("all")
    with pytest.raises(Unusual, match="more addresses"):
        both.hot(*raw)
    # What it left behind does not matter to the next.
    raw = blocks.answers(blocks.chain(1, 3))
    assert both.hot(*raw).tables["address_transaction"] == both.careful(*raw).tables["address_transaction"]


@pytest.mark.parametrize("text", ["é", "\U0001f600", "a\\nb", "\0"])
def test_text_beyond_what_nodes_send_is_left_to_the_careful_path(text: str) -> None:
    both = Both("all")
    extra = json.dumps({"requestId": text}, ensure_ascii=text.isascii())
    raw = blocks.answers([make.block(7, txs=[make.tx(extra=extra)])])
    assert both.careful(*raw).tables["transaction"]
    with pytest.raises(Unusual, match="beyond ASCII"):
        both.hot(*raw)


NOTHING_OF_NUMBA = """
import sys

from indexer.decode.tables import LogTable, TransferTable, VaultTable
from indexer.eventpath import EventPath
from indexer.hotpath import HotPath
from tests import blocks

transfers, logs = TransferTable(lambda *_: None), LogTable("watched", blocks.TOKENS[:2])
for watched in (None, (), blocks.PEOPLE[:3]):
    hot = HotPath(1, transfers, logs, [VaultTable([blocks.VAULT], lambda *_: None)], watched)
    for seed in range(10):
        assert hot.encode(*blocks.answers(blocks.chain(seed, 3))).headers
EventPath(1, transfers, logs)
print("numba" in sys.modules)
"""


def test_no_compiler_is_loaded_where_blocks_are_read() -> None:
    command = [sys.executable, "-c", NOTHING_OF_NUMBA]
    assert subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout == "False\n"


def test_every_entry_is_compiled() -> None:
    kept = json.loads((native.folder() / native.INDEX).read_bytes())
    assert set(kept) == set(native.ENTRIES)


def test_an_argument_of_another_kind_is_refused_before_it_is_looked_at() -> None:
    members, slots = np.zeros((1, people.SIZE), np.uint8), people.empty_slots(1)
    people.fill(members, slots)
    wrong: Any
    for wrong in (slots.astype(np.int64), slots.reshape(1, -1), np.zeros(64, np.int32)[::2]):
        with pytest.raises(TypeError, match="expected int32 with 1 axes in C order, found int"):
            people.fill(members, wrong)
    with pytest.raises(ValueError, match="shorter"):
        people.fill(members)  # type: ignore[call-arg]


def test_code_that_was_not_loaded_is_not_called() -> None:
    forgotten = native.Entry(lambda: None, ())
    try:
        with pytest.raises(native.NotCompiled):
            forgotten()
    finally:
        del native.ENTRIES[forgotten.name]


async def test_a_warm_program_starts_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, object] = {}

    async def never(*_: object, **options: object) -> None:
        asked.update(options)
        raise AssertionError

    monkeypatch.setattr(asyncio, "create_subprocess_exec", never)
    await warm.warm()
    monkeypatch.setattr(native, "is_kept", lambda: False)
    assert not asked
    with pytest.raises(AssertionError):
        await warm.warm()
    assert asked["start_new_session"], "Ctrl-C would reach the compiler, which would tell where it was"


async def test_a_compiler_that_fails_is_an_error_that_names_the_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(native, "is_kept", lambda: False)
    monkeypatch.setattr(native, "folder", lambda: tmp_path / "kept")
    monkeypatch.setattr(sys, "executable", "false")
    with pytest.raises(BadConfig, match="kept ended with code 1"):
        await warm.warm()


def test_compiled_code_is_kept_apart_by_what_it_was_compiled_from(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    monkeypatch.delenv("CACHE_DIRECTORY", raising=False)
    user = native.folder()
    assert user.is_relative_to(tmp_path / "user")
    monkeypatch.setenv("CACHE_DIRECTORY", str(tmp_path / "unit"))
    assert native.folder().name == user.name
    assert native.folder().is_relative_to(tmp_path / "unit")
    elsewhere = tmp_path / "code"
    shutil.copytree(native.HERE, elsewhere)
    monkeypatch.setattr(native, "HERE", elsewhere)
    native._made_of.cache_clear()
    copied = native.folder().name
    (elsewhere / "rows.py").write_text("other")
    native._made_of.cache_clear()
    changed = native.folder().name
    native._made_of.cache_clear()
    assert copied == user.name != changed, "the place of the code does not matter, its text does"


def test_code_that_others_could_have_written_is_not_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CACHE_DIRECTORY", str(tmp_path))
    folder = native.folder()
    native.keep(folder, {}) if native.can_keep(folder) else None
    assert native.is_kept()
    folder.chmod(0o777)
    assert not native.is_kept()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_keeps_nothing(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert not native.can_keep(tmp_path / "kept")
