"""Rows that are already in COPY's binary format: what the hot path hands to the store. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from core.store.derived import Row
from core.types import Block, BlockRange

# PostgreSQL manual, COPY, "Binary Format": signature, flags, length of the header extension; and the trailer.
HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER: Final = b"\xff\xff"


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

    def stream(self, table: str) -> Iterator[bytes]:
        """Yield what COPY wants for `table`."""
        yield HEADER
        for piece in self.pieces:
            if found := piece.copies.get(table):
                yield found
        yield TRAILER
