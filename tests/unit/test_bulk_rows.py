"""Rows of a chunk as COPY gets them: those of look-up tables in the order of their key, whatever else unchanged."""

import random
import struct
import sys
from subprocess import run

from core.store.bulk import HEADER, KEYED, TRAILER, Chunk, Piece, by_key


def address_row(address: bytes, block: int, index: int, role: int = 1) -> bytes:
    sized = struct.pack(">hiqi", 5, 8, 31337, len(address)) + address
    return sized + struct.pack(">iqiiih", 8, block, 4, index, 2, role)


def hash_row(key: int, block: int, index: int) -> bytes:
    return struct.pack(">hiqiqiqii", 4, 8, 31337, 8, key, 8, block, 4, index)


def piece(**copies: bytes) -> Piece:
    return Piece(headers=[], copies=copies, counts={}, records={})


def split(data: bytes, width: int) -> list[bytes]:
    return [data[at : at + width] for at in range(0, len(data), width)]


def test_the_widths_are_those_of_the_rows() -> None:
    assert len(address_row(bytes(20), 1, 2)) == KEYED["address_transaction"]
    assert len(hash_row(1, 2, 3)) == KEYED["tx_hash"]


def test_rows_of_all_pieces_come_in_the_order_of_the_key_and_none_is_lost() -> None:
    dice = random.Random("order")
    people = [dice.randbytes(20) for _ in range(40)]
    rows = [address_row(dice.choice(people), block, index) for block in range(8) for index in range(30)]
    hashes = [hash_row(dice.randrange(-(2**63), 2**63), block, 1) for block in range(100)]
    parts = [
        piece(address_transaction=b"".join(rows[:100]), tx_hash=b"".join(hashes[:50])),
        piece(address_transaction=b"".join(rows[100:]), tx_hash=b"".join(hashes[50:])),
    ]
    for table, made in (("address_transaction", rows), ("tx_hash", hashes)):
        found = Chunk(parts).binary(table)
        assert found.startswith(HEADER) and found.endswith(TRAILER)
        # A row's bytes are its key's, big-endian: rows of one address stay in the order of the chain.
        assert split(found[len(HEADER) : -len(TRAILER)], KEYED[table]) == sorted(made)


def test_addresses_that_begin_alike_keep_the_order_they_came_in() -> None:
    rows = [address_row(bytes(12) + last, 1, 0) for last in (b"\2" * 8, b"\1" * 8, b"\3" * 8)]
    assert by_key(b"".join(rows), KEYED["address_transaction"]) == b"".join(rows)


def test_what_is_not_rows_of_one_shape_is_left_to_copy() -> None:
    width = KEYED["tx_hash"]
    good = hash_row(9, 1, 1) + hash_row(3, 1, 2)
    assert by_key(good, width) == hash_row(3, 1, 2) + hash_row(9, 1, 1)
    for bad in (good[:-1], good + b"\0", good[:width] + b"\xff\xff" + good[width + 2 :], b""):
        assert by_key(bad, width) == bad


def test_other_tables_are_in_the_order_of_the_chain() -> None:
    chunk = Chunk([piece(log=b"zz"), piece(log=b"aa"), piece()])
    assert chunk.binary("log") == HEADER + b"zzaa" + TRAILER


def test_only_who_stores_in_bulk_loads_numpy() -> None:
    code = "import sys, core.store.pg, core.store.bulk; sys.exit('numpy' in sys.modules)"
    assert run([sys.executable, "-P", "-c", code], check=False).returncode == 0
