"""The port for tables whose rows follow from a block alone: logs, transfers, and what later features decode."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from core.store.copy import Role
from core.types import Block

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Implied:
    """What one block implies for one table: its rows, and what follows from them elsewhere.

    `roles` are (transaction index, address, role); `tokens` maps each token that moved to the number of its standard;
    `upgraded` are contracts that now run other code, so that what they said of themselves is asked again.
    """

    rows: Sequence[Row]
    roles: Sequence[tuple[int, bytes, Role]] = ()
    tokens: Mapping[bytes, int] = field(default_factory=dict)
    upgraded: Collection[bytes] = ()


@dataclass(frozen=True, slots=True)
class TableRows:
    """Rows of one table, in the order of `columns`."""

    table: str
    columns: Sequence[str]
    rows: Iterable[Row]


class Derived(Protocol):
    """One table of schema `chain`, keyed by (chain_id, block_number, …).

    `sql_delete` and `sql_addresses` take chain id, the block above which and the block up to which. The addresses that
    `sql_addresses` selects (one column, `address`) had a role in the range's transactions because of these rows.
    `sql_archive`, with the time of the rewind or discard as fourth argument, keeps the rows before they are deleted:
    for what people act upon, and must be told that it is gone.
    """

    table: str
    columns: tuple[str, ...]
    sql_delete: str
    sql_archive: str | None
    sql_addresses: str | None

    def derive(self, chain_id: int, block: Block) -> Implied:
        """Return what the block implies, rows in the order of `columns`. Never raises on a malformed log."""
        ...
