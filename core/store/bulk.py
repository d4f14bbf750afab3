"""Rows that are already in COPY's binary format: what the hot path hands to the store. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from core.store.derived import Row
from core.types import Block, BlockRange

# PostgreSQL manual, COPY, "Binary Format": signature, flags, length of the header extension; and the trailer.
HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER: Final = b"\xff\xff"

# Tables that are looked up by something else than the block, and the bytes of a row: all fields have one length.
# COPY goes through their index at a fifth less cost in the order of the key than all over it (docs/performance.md).
KEYED: Final[Mapping[str, int]] = {
    "address_transaction": 2 + (4 + 8) + (4 + 20) + (4 + 8) + (4 + 4) + (4 + 2),
    "tx_hash": 2 + (4 + 8) + (4 + 8) + (4 + 8) + (4 + 4),
}
_KEY_AT: Final = 2 + (4 + 8) + 4  # behind the number of fields, the chain and the key's own length


class Unusual(Exception):
    """Blocks that are not exactly as an encoder expects them; the careful path decides."""


class RowsRefused(Exception):
    """The database does not take encoded rows; nothing of them is stored."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive blocks as rows.

    `headers` are the blocks without their transactions, ascending. `copies` hold the tuples of each table in binary
    COPY format, without header and trailer, `counts` how many they are. `records` are rows as Python values, for tables
    of few rows. `tokens` maps each token that moved to its standard, `upgraded` are contracts that run other code now.
    """

    headers: Sequence[Block]
    copies: Mapping[str, bytes]
    counts: Mapping[str, int]
    records: Mapping[str, Sequence[Row]]
    tokens: Mapping[bytes, int] = field(default_factory=dict)
    upgraded: frozenset[bytes] = frozenset()

    @property
    def size(self) -> int:
        """Bytes of the rows."""
        return sum(map(len, self.copies.values()))


@dataclass(frozen=True, slots=True)
class Chunk:
    """Pieces that are stored in one transaction: at least one, ascending, each the child of the one before it."""

    pieces: Sequence[Piece]

    @property
    def headers(self) -> list[Block]:
        """The blocks without their transactions."""
        return [header for piece in self.pieces for header in piece.headers]

    @property
    def blocks(self) -> BlockRange:
        """Which blocks these are."""
        return BlockRange(self.pieces[0].headers[0].number, self.pieces[-1].headers[-1].number)

    def rows(self, table: str) -> int:
        """Return how many rows `table` gets."""
        return sum(piece.counts.get(table, 0) + len(piece.records.get(table, ())) for piece in self.pieces)

    def all_rows(self) -> int:
        """Return how many rows all tables get."""
        return sum(sum(piece.counts.values()) + sum(map(len, piece.records.values())) for piece in self.pieces)

    def tokens(self) -> dict[bytes, int]:
        """Return the tokens that moved, each with the highest standard that it was seen to keep."""
        found: dict[bytes, int] = {}
        for piece in self.pieces:
            for token, standard in piece.tokens.items():
                found[token] = max(found.get(token, 0), standard)
        return found

    def upgraded(self) -> set[bytes]:
        """Return the contracts that run other code now."""
        return {address for piece in self.pieces for address in piece.upgraded}

    def binary(self, table: str) -> bytes:
        """Return what COPY wants for `table`, whole: handed over by pieces it cost 0.3 us a transaction more."""
        rows = [found for piece in self.pieces if (found := piece.copies.get(table))]
        if table in KEYED:
            rows = [by_key(b"".join(rows), KEYED[table])]
        return b"".join((HEADER, *rows, TRAILER))


def by_key(rows: bytes, width: int) -> bytes:
    """Return `rows` of `width` bytes each in the order of the first 8 bytes of their key, otherwise as they were.

    Rows that do not all begin like the first one come back as they are: COPY decides about them.
    """
    import numpy as np  # noqa: PLC0415 - takes 0.1 s, and only who stores in bulk needs it

    count, left = divmod(len(rows), width)
    if left or not count:
        return rows
    table = np.frombuffer(rows, np.uint8).reshape(count, width)
    if (table[:, :_KEY_AT] != table[0, :_KEY_AT]).any():
        return rows
    keys = np.ascontiguousarray(table[:, _KEY_AT : _KEY_AT + 8]).view(">u8").ravel().astype(np.uint64)
    return table[np.argsort(keys, kind="stable")].tobytes()
