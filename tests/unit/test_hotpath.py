"""The hot path is never laxer than the careful path, and whatever it accepts gives exactly the careful path's rows."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from core.errors import BadAnswer
from core.rpc import wire
from core.store import copy
from core.store.bulk import Piece, Unusual
from core.types import Block
from indexer.decode.tables import KeepLogs, LogTable, TransferTable, VaultTable
from indexer.hotpath import HotPath
from indexer.watch import watching
from tests import blocks, make, pgcopy

CHAIN = 11_297_108_109  # above 2^31
WATCHED = (blocks.PEOPLE[3], blocks.TOKENS[1])
MODES: Sequence[tuple[KeepLogs, Collection[bytes] | None]] = (
    ("none", None), ("watched", None), ("all", None), ("all", WATCHED), ("none", (*WATCHED, blocks.VAULT)),
)  # fmt: skip
COLUMNS = {
    "transaction": copy.TRANSACTION_COLUMNS,
    "tx_hash": copy.TX_HASH_COLUMNS,
    "address_transaction": copy.ADDRESS_TRANSACTION_COLUMNS,
    "token_transfer": TransferTable(lambda *_: None).columns,
    "log": LogTable("all").columns,
}


@dataclass
class Rows:
    """Everything that is stored of some blocks."""

    tables: dict[str, list[tuple[Any, ...]]]
    tokens: dict[bytes, int]
    upgraded: set[bytes]


class Both:
    """The two ways of one setting."""

    def __init__(self, keep: KeepLogs, watched: Collection[bytes] | None = None) -> None:
        self.transfers = TransferTable(lambda *_: None)
        self.vaults = VaultTable([blocks.VAULT], lambda *_: None)
        self.logs = LogTable(keep, blocks.TOKENS[:2])
        self.hot_path = HotPath(CHAIN, self.transfers, self.logs, [self.vaults], watched)
        self._watched = watched

    def hot(self, raw: Sequence[bytes], receipts: Sequence[bytes]) -> Rows:
        return rows_of(self.hot_path.encode(raw, receipts))

    def careful(self, raw: Sequence[bytes], receipts: Sequence[bytes]) -> Rows:
        read = []
        for each, done in zip(raw, receipts, strict=True):
            block = wire.block(each, done)
            if block is None:
                raise BadAnswer("null")
            read.append(block)
        if self._watched is not None:
            read = [watching(self._watched)(block) for block in read]
        return self._rows(read)

    def _rows(self, read: Sequence[Block]) -> Rows:
        implied = {
            t.table: [t.derive(CHAIN, block) for block in read] for t in (self.transfers, self.logs, self.vaults)
        }
        roles = [found.roles for found in implied["token_transfer"]]
        tables: dict[str, list[tuple[Any, ...]]] = {
            "block": [copy.block_row(CHAIN, block) for block in read],
            "transaction": list(copy.transaction_rows(CHAIN, read)),
            "tx_hash": list(copy.tx_hash_rows(CHAIN, read)),
            "address_transaction": sorted(copy.address_rows(CHAIN, read, roles)),
            **{name: [row for found in per_block for row in found.rows] for name, per_block in implied.items()},
        }
        tokens: dict[bytes, int] = {}
        upgraded: set[bytes] = set()
        for found in implied["token_transfer"]:
            upgraded |= set(found.upgraded)
            for token, standard in found.tokens.items():
                tokens[token] = max(standard, tokens.get(token, 0))
        return Rows(tables, tokens, upgraded)


def rows_of(piece: Piece) -> Rows:
    tables = {name: list(pgcopy.tuples(piece.copies[name], columns)) for name, columns in COLUMNS.items()}
    assert piece.counts == {name: len(rows) for name, rows in tables.items()}
    tables["address_transaction"].sort()
    return Rows(
        tables | {name: list(rows) for name, rows in piece.records.items()}, dict(piece.tokens), set(piece.upgraded)
    )


def assert_same(hot: Rows, careful: Rows, where: object) -> None:
    assert hot.tables.keys() == careful.tables.keys()
    for name, rows in careful.tables.items():
        assert hot.tables[name] == rows, (where, name)
    assert (hot.tokens, hot.upgraded) == (careful.tokens, careful.upgraded), where


@pytest.mark.parametrize(("keep", "watched"), MODES)
def test_random_blocks_give_the_rows_of_the_careful_path(keep: KeepLogs, watched: Collection[bytes] | None) -> None:
    both = Both(keep, watched)
    kept: dict[str, int] = {}
    for seed in range(40):
        raw = blocks.answers(blocks.chain(seed, 5))
        hot = both.hot(*raw)
        assert_same(hot, both.careful(*raw), seed)
        kept = {name: kept.get(name, 0) + len(rows) for name, rows in hot.tables.items()}
    assert all(kept.values()), kept


def test_the_blocks_have_the_edges_they_are_for() -> None:
    both = Both("all")
    found = [both.careful(*blocks.answers(blocks.chain(seed, 5))) for seed in range(40)]
    txs = [row for rows in found for row in rows.tables["transaction"]]
    for place, name in enumerate(copy.TRANSACTION_COLUMNS):
        assert len({row[place] for row in txs}) > 1 or name == "chain_id", name
    moves = [row for rows in found for row in rows.tables["token_transfer"]]
    assert {row[5] for row in moves} == {20, 721, 1155}
    assert {row[9] for row in moves} >= set(blocks.NUMBERS)
    assert any(row[7] == row[8] for row in moves), "no transfer to oneself"
    assert {row[6] for rows in found for row in rows.tables["vault_event"]} >= {"deposit", "withdraw", "upgraded"}
    assert any(rows.upgraded for rows in found)


@pytest.mark.parametrize(("txs", "logs"), [(4_200, 1), (3, 4_200)])
def test_places_beyond_the_first_thousands_are_right(txs: int, logs: int) -> None:
    both = Both("all")
    one = make.block(7, txs=0)
    event = make.log(0, topics=())
    many = [
        make.tx(i, salt="many", receipt=make.receipt([replace(event, index=i * logs + n) for n in range(logs)]))
        for i in range(txs)
    ]
    raw = blocks.answers([replace(one, txs=tuple(many)), make.block(8, one.hash, txs=2)])
    assert_same(both.hot(*raw), both.careful(*raw), (txs, logs))


def test_an_encoder_forgets_what_the_last_blocks_left_behind() -> None:
    both = Both("all", WATCHED)
    chains = [blocks.chain(seed, 3) for seed in range(12)]
    for made in (*chains, *reversed(chains)):
        raw = blocks.answers(made)
        assert_same(both.hot(*raw), both.careful(*raw), made[0].ref)
        with pytest.raises((Unusual, BadAnswer)):
            both.hot([raw[0][0], b"{}"], [raw[1][0], b"[]"])


@pytest.mark.parametrize("raw", [b"null", b"{}", b"[]", b"", b"[null]", b'"0x"', b"7", b"{"])
def test_what_is_no_block_or_no_receipts_is_refused(raw: bytes) -> None:
    both = Both("all")
    whole = blocks.answers(blocks.chain(1, 1))
    for blocks_, receipts in (([raw], whole[1]), (whole[0], [raw])):
        if (blocks_, receipts) == whole:
            continue
        with pytest.raises((Unusual, BadAnswer)):
            both.hot(blocks_, receipts)


@pytest.mark.parametrize("value", [b'"\xff"', b'"\xc3"', b"[" * 50_000 + b"]" * 50_000], ids=["ff", "c3", "deep"])
@pytest.mark.parametrize("place", ["block", "receipts"])
def test_extra_fields_that_are_no_text_are_a_bad_answer_on_both_paths(place: str, value: bytes) -> None:
    both = Both("all")
    (raw,), (receipts,) = blocks.answers([make.block(7)])
    name = b'"accessList":' if place == "block" else b'"l1Fee":'
    if place == "block":
        raw = raw.replace(b'"input":', name + value + b',"input":')
    else:
        receipts = receipts.replace(b'"gasUsed":', name + value + b',"gasUsed":')
    with pytest.raises(BadAnswer):
        both.careful([raw], [receipts])
    with pytest.raises(Unusual):
        both.hot([raw], [receipts])


@pytest.mark.parametrize(("old", "new"), [(b'"input":"0xab"', b'"input":"0x-b"'), (b'"data":"0x01"', b'"data":"0x0g"')])
def test_transactions_that_are_not_kept_are_proven_all_the_same(old: bytes, new: bytes) -> None:
    (raw,), (receipts,) = blocks.answers([make.block(7)])
    both = Both("all", [make.address("nobody")])
    assert both.hot([raw], [receipts]).tables["transaction"] == []
    with pytest.raises(Unusual):
        both.hot([raw.replace(old, new)], [receipts.replace(old, new)])


def test_two_odd_inputs_do_not_make_an_even_one() -> None:
    (raw,), (receipts,) = blocks.answers([make.block(7, txs=2)])
    both = Both("all")
    odd = raw.replace(b'"input":"0xab"', b'"input":"0xabc"')
    assert odd.count(b"0xabc") == 2
    with pytest.raises(Unusual):
        both.hot([odd], [receipts])


def test_one_address_in_two_spellings_is_not_two_addresses() -> None:
    who = bytes.fromhex("ab" * 20)
    (raw,), (receipts,) = blocks.answers([make.block(7, txs=[make.tx(sender=who, to=who)])])
    spelt = raw.replace(b'"to":"0x' + b"ab" * 20, b'"to":"0x' + b"AB" * 20)
    assert spelt != raw
    both = Both("all")
    careful = both.careful([spelt], [receipts])
    assert len(careful.tables["address_transaction"]) == 1
    assert_same(both.hot([spelt], [receipts]), careful, "two spellings")
