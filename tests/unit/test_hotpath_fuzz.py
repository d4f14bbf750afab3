"""One leaf of a good answer changed: the hot path refuses it, or stores just what the careful path would.

HOTPATH_CASES=20000 runs more of them than every test run has time for.
"""

import json
import os
import random
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import msgspec
import pytest

from core.errors import BadAnswer
from core.store.bulk import Unusual
from indexer.decode.tables import KeepLogs
from tests import blocks
from tests.unit.test_hotpath import MODES, Both, assert_same

CASES = int(os.environ.get("HOTPATH_CASES", "600"))

Dice = random.Random
Path = tuple[str | int, ...]
Refused = (Unusual, BadAnswer)


def digit(dice: Dice, text: str) -> str:
    at = dice.randrange(2, len(text)) if len(text) > 2 else 0
    return text[:at] + dice.choice('gzG _-+.\n\0"\\é０٣') + text[at + 1 :]


TEXTS: Sequence[Callable[[Dice, str], Any]] = (
    digit,
    digit,
    lambda _, text: text[2:],
    lambda _, text: "0X" + text[2:],
    lambda _, text: text + "0",
    lambda _, text: text + "00",
    lambda _, text: text[:-1],
    lambda _, text: text[:-2],
    lambda _, text: text.upper(),
    lambda _, text: text[:2] + text[2:].upper(),
    lambda _, text: text[:2] + text[2:].title(),
    lambda _, text: " " + text,
    lambda _, text: text + " ",
    lambda _, text: text[:2] + "0" + text[2:],
    lambda _, text: text[:2] + "000" + text[2:],
    lambda _, text: text[:3] + "_" + text[3:],
    lambda _, text: text[:2] + "-" + text[3:],
    lambda _, text: text[:2] + "+" + text[3:],
    lambda _, text: "-" + text,
    lambda _, text: text[:2] + "f" * (len(text) - 2),
    lambda _, text: text[:2] + "f" * (len(text) - 1),
    lambda _, text: text[:2] + "0" * (len(text) - 2),
    lambda _, text: "".join(chr(ord(c) + 0xFEE0) if c.isdigit() else c for c in text),
    lambda _, text: text[:2] + "".join(chr(ord(c) + 0x630) if c.isdigit() else c for c in text[2:]),
    lambda _, text: text + "\ud800",
    lambda _, text: "0x1" + "0" * 64,
    lambda *_: "0x", lambda *_: "", lambda *_: "0", lambda *_: "0x1", lambda *_: "0x0", lambda *_: "0x2",
    lambda *_: "0x80", lambda *_: "0xff", lambda *_: "0x" + "1" * 64, lambda *_: "0x" + "1" * 40,
    lambda *_: "0x10000000000000000", lambda *_: None, lambda *_: 7, lambda *_: 0.5, lambda *_: True,
    lambda *_: [], lambda *_: {}, lambda *_: [None],
)  # fmt: skip


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if not inside:
        yield path, value
    for name, each in inside:
        yield from leaves(each, (*path, name))


def put(value: Any, path: Path, new: Any) -> None:
    for name in path[:-1]:
        value = value[name]
    value[path[-1]] = new


def encoded(value: Any) -> bytes:
    """JSON of what may hold half a surrogate pair, as \\u text."""
    return json.dumps(value).encode()


def changed_leaf(dice: Dice, whole: dict[str, Any]) -> str:
    path, old = dice.choice(list(leaves(whole)))
    new = dice.choice(TEXTS)(dice, old) if isinstance(old, str) else dice.choice((None, True, "0x1", 7, [], {}, "x"))
    put(whole, path, new)
    return f"{path}: {old!r} -> {new!r}"


def changed_shape(dice: Dice, whole: dict[str, Any]) -> str:
    """Something put twice, left out, or swapped with its neighbour; a field that nobody knows."""
    nodes = [(path[:n]) for path, _ in leaves(whole) for n in range(1, len(path))]
    node: Any = whole
    path = dice.choice(nodes)
    for name in path:
        node = node[name]
    how = dice.choice(("double", "drop", "swap", "unknown"))
    if isinstance(node, list) and node:
        at = dice.randrange(len(node))
        match how:
            case "double":
                node.insert(at, node[at])
            case "drop":
                del node[at]
            case "swap":
                node[at], node[-1] = node[-1], node[at]
            case "unknown":
                node.append(dice.choice((None, {}, "0x" + "5" * 64)))
    elif isinstance(node, dict):
        name = dice.choice(sorted(node))
        match how:
            case "drop" | "swap":
                del node[name]
            case _:
                node[dice.choice(("unknown", "removed", "accessList", "l1Fee", "status", "root", "r", "to"))] = (
                    dice.choice((None, "0x1", "0x" + "1" * 64, True, []))
                )
    return f"{how} in {path}"


def changed_bytes(dice: Dice, raw: bytes) -> bytes:
    """Bytes that no library would write."""
    at = raw.index(b'"', dice.randrange(len(raw) - 100))
    match dice.choice(("byte", "cut", "insert", "twice", "number", "constant")):
        case "byte":
            return raw[:at] + bytes([dice.randrange(256)]) + raw[at + 1 :]
        case "cut":
            return raw[:at]
        case "insert":
            junk = dice.choice((b"\0", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\\u0000", b"\\ud800", b"\\x", b"\n", b"\t"))
            return raw[: at + 1] + junk + raw[at + 1 :]
        case "twice":
            name = dice.choice((b'"hash"', b'"value"', b'"from"', b'"data"', b'"topics"', b'"blockHash"', b'"type"'))
            return raw.replace(
                name + b":", name + dice.choice((b':"0x1",', b":null,", b":[],", b':"0xzz",')) + name + b":", 1
            )
        case "number":
            return raw.replace(b'"0x1"', b"1", 1)
        case _:
            return raw.replace(b"null", dice.choice((b"NaN", b"true", b"nul", b"[[[[]]]]", b"-0", b"1e999")), 1)


def assert_never_laxer(both: Both, raw: bytes, receipts: bytes, what: str) -> str:
    try:
        careful = both.careful([raw], [receipts])
    except BadAnswer as error:
        try:
            both.hot([raw], [receipts])
        except Refused:
            return "refused"
        pytest.fail(f"{what}: the careful path refuses it ({error}), the hot path does not")
    try:
        hot = both.hot([raw], [receipts])
    except Refused:
        return "careful only"
    assert_same(hot, careful, what)
    return "same"


@pytest.mark.parametrize(("keep", "watched"), MODES)
def test_a_changed_leaf_never_gets_further_than_on_the_careful_path(
    keep: KeepLogs, watched: Collection[bytes] | None
) -> None:
    dice = Dice(f"{keep} {watched}")
    both = Both(keep, watched)
    ends: dict[str, int] = {}
    for case in range(CASES):
        made = blocks.chain(dice.randrange(60), 1, most_txs=3, most_logs=3)
        raw, receipts = [msgspec.json.decode(each[0]) for each in blocks.answers(made)]
        whole = {"block": raw, "receipts": receipts}
        what = (changed_leaf if dice.random() < 0.7 else changed_shape)(dice, whole)
        end = assert_never_laxer(both, encoded(whole["block"]), encoded(whole["receipts"]), f"case {case}: {what}")
        ends[end] = ends.get(end, 0) + 1
    assert len(ends) == 3, ends


@pytest.mark.parametrize(("keep", "watched"), MODES)
def test_changed_bytes_never_get_further_than_on_the_careful_path(
    keep: KeepLogs, watched: Collection[bytes] | None
) -> None:
    dice = Dice(f"bytes {keep} {watched}")
    both = Both(keep, watched)
    for case in range(CASES):
        (raw,), (receipts,) = blocks.answers(blocks.chain(dice.randrange(60), 1, most_txs=3, most_logs=3))
        if dice.random() < 0.5:
            raw = changed_bytes(dice, raw)
        elif len(receipts) > 200:
            receipts = changed_bytes(dice, receipts)
        assert_never_laxer(both, raw, receipts, f"case {case}: {raw!r} {receipts!r}")
