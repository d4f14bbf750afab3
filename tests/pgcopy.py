"""Reads tuples of PostgreSQL's binary COPY format: written from the manual, apart from what writes them."""

import struct
from collections.abc import Iterator
from typing import Any

Row = tuple[Any, ...]

# What a column holds; columns that are not named here are bytea.
BIGINT = frozenset({"chain_id", "block_number", "hash_key"})
INTEGER = frozenset({"tx_index", "log_index", "position"})
SMALLINT = frozenset({"type", "status", "roles", "standard"})
NUMERIC = frozenset(
    {
        "value", "nonce", "gas", "gas_used", "cumulative_gas_used", "gas_price", "effective_gas_price", "fee_cap",
        "tip_cap", "v", "amount", "token_id",
    }
)  # fmt: skip
JSON = frozenset({"extra", "receipt_extra"})


def tuples(data: bytes, columns: tuple[str, ...]) -> Iterator[Row]:
    """Yield the rows of `data`, which has neither header nor trailer."""
    at = 0
    while at < len(data):
        (count,) = struct.unpack_from(">h", data, at)
        assert count == len(columns), f"a tuple of {count} fields at {at}, expected {len(columns)}"
        at += 2
        row = []
        for column in columns:
            (size,) = struct.unpack_from(">i", data, at)
            at += 4
            assert size >= -1
            assert at + max(size, 0) <= len(data), f"{column} ends behind the data"
            row.append(None if size < 0 else value(column, data[at : at + size]))
            at += max(size, 0)
        yield tuple(row)


def value(column: str, field: bytes) -> Any:
    """Return what the server's receive function of the column's type reads."""
    if column in BIGINT:
        return struct.unpack(">q", field)[0]
    if column in INTEGER:
        return struct.unpack(">i", field)[0]
    if column in SMALLINT:
        return struct.unpack(">h", field)[0]
    if column in NUMERIC:
        return numeric(field)
    return field.decode() if column in JSON else field


def numeric(field: bytes) -> int:
    """Return a whole, positive number; numeric_recv refuses what is refused here."""
    count, weight, sign, scale = struct.unpack_from(">HhHH", field)
    digits = struct.unpack_from(f">{count}H", field, 8)
    assert len(field) == 8 + 2 * count
    assert (sign, scale) == (0, 0)
    assert all(digit < 10_000 for digit in digits)
    assert weight >= count - 1 or not any(digits[weight + 1 :]), "digits behind the point"
    return sum(digit * 10_000 ** (weight - place) for place, digit in enumerate(digits) if place <= weight)
