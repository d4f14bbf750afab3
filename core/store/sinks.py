"""Files that rows are exported to: CSV, written by PostgreSQL's own COPY, and Parquet through pyarrow."""

import csv
import importlib
import io
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol

from core.errors import BadConfig
from core.store.export import FETCH_ROWS, STATEMENT_S, Kind, Sink
from core.store.pool import Connection

GROUP_BYTES: Final = 16 << 20  # a row group's size in memory; readers skip whole groups by their block numbers
GROUP_ROWS: Final = 100_000


class FileSink(Sink, Protocol):
    """A sink that is a file: closed, it is whole and on the disk."""

    def close(self) -> None:
        """Write what is left and sync."""
        ...

    def abandon(self) -> None:
        """Close it, whatever it holds."""
        ...


Open = Callable[[Path, Mapping[str, Kind]], FileSink]


def opener(format_: str) -> Open:
    """Return what opens a file of `format_`. Raises BadConfig when what it takes is not installed."""
    if format_ == "csv":
        return CsvFile
    try:
        importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise BadConfig(
            "--format parquet: pyarrow is not installed; expected `pip install 'chainworkd[parquet]'`, or --format csv"
        ) from None
    return ParquetFile


class CsvFile:
    """RFC 4180 with a header. Null is an empty field, empty text is `""`."""

    def __init__(self, path: Path, columns: Mapping[str, Kind]) -> None:
        self._file = path.open("wb")
        header = io.StringIO()
        csv.writer(header, lineterminator="\n").writerow(columns)
        self._file.write(header.getvalue().encode())

    async def take(self, conn: Connection, sql: str, *arguments: Any) -> int:
        """Append the rows of a statement."""
        done = await conn.copy_from_query(sql, *arguments, output=self._file, format="csv", timeout=STATEMENT_S)
        return int(done.split()[-1])

    def close(self) -> None:
        """Sync."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def abandon(self) -> None:
        """Close it, whatever it holds."""
        self._file.close()


class ParquetFile:
    """Parquet, zstd. uint256 stays text: Arrow's decimal256 has 76 digits, a uint256 needs 78."""

    def __init__(self, path: Path, columns: Mapping[str, Kind]) -> None:
        # Imported here: it takes 0.2 s and 100 MB that no other command needs.
        self._arrow = importlib.import_module("pyarrow")
        kinds = self._kinds()
        self._schema = self._arrow.schema([(name, kinds[kind]) for name, kind in columns.items()])
        self._read = [READERS.get(kind) for kind in columns.values()]
        self._file = path.open("wb")
        parquet = importlib.import_module("pyarrow.parquet")
        self._writer = parquet.ParquetWriter(self._file, self._schema, compression="zstd")
        self._waiting: list[Any] = []

    async def take(self, conn: Connection, sql: str, *arguments: Any) -> int:
        """Append the rows of a statement, through a server-side cursor."""
        rows = 0
        cursor = await conn.cursor(sql, *arguments, timeout=STATEMENT_S)
        while batch := await cursor.fetch(FETCH_ROWS, timeout=STATEMENT_S):
            rows += len(batch)
            self._waiting.append(self._batch(batch))
            if sum(b.nbytes for b in self._waiting) > GROUP_BYTES or sum(map(len, self._waiting)) > GROUP_ROWS:
                self._flush()
        return rows

    def close(self) -> None:
        """Write the last row group and the footer, and sync."""
        self._flush()
        self._writer.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def abandon(self) -> None:
        """Close it without what is left: the footer closes the writer, the folder it is in is removed."""
        self._waiting.clear()
        self._writer.close()
        self._file.close()

    def _batch(self, rows: Sequence[Any]) -> Any:
        arrays = [
            self._arrow.array(column if read is None else map(read, column), field.type, size=len(rows))
            for column, read, field in zip(zip(*rows, strict=True), self._read, self._schema, strict=True)
        ]
        return self._arrow.RecordBatch.from_arrays(arrays, schema=self._schema)

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(self._arrow.Table.from_batches(self._waiting, self._schema))
            self._waiting.clear()

    def _kinds(self) -> dict[Kind, Any]:
        arrow = self._arrow
        return {
            "hex": arrow.string(), "text": arrow.string(), "uint256": arrow.string(), "uint64": arrow.uint64(),
            "int64": arrow.int64(), "time": arrow.timestamp("us", tz="UTC"),
        }  # fmt: skip


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)


def _time(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value)


READERS: Final[Mapping[Kind, Callable[[Any], Any]]] = {"uint64": _whole, "time": _time}
