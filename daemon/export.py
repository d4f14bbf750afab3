"""`chainworkd export`: tables of a range of blocks to files, whole or not at all."""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from core.errors import BadConfig
from core.hex import to_hex
from core.settings import Settings
from core.store import reader
from core.store.export import TABLES, Snapshot, snapshot
from core.store.sinks import FileSink, opener
from core.types import BlockRange
from daemon.database import open_database
from daemon.terminal import say
from indexer.plan import holes

DEFAULT_TABLES: Final = ("blocks", "transactions", "transfers")
MANIFEST: Final = "export.json"


class Manifest(msgspec.Struct):
    """What `export.json` says: which blocks of which chain the files hold. It is written last.

    `watched` are the addresses whose transactions alone are stored, null where all are.
    """

    chain: str
    chain_id: int
    first_block: int
    last_block: int
    last_block_hash: str | None
    complete: bool
    covered: list[tuple[int, int]]
    watched: list[str] | None
    format: str
    rows: dict[str, int]


async def run(settings: Settings, arguments: argparse.Namespace) -> int | None:
    """Write the files; nothing of them is visible under its name before all are whole."""
    tables, folder = _tables(arguments.tables), arguments.out
    open_file = opener(arguments.format)
    _require_free(folder, [*_names(tables, arguments.format), MANIFEST], force=arguments.force)
    async with open_database(settings) as pool:
        name, chain_id = _chain(arguments.chain or settings.default_chain, await reader.chains(pool))
        async with snapshot(pool, chain_id) as stored:
            wanted, parts = await _parts(stored, name, arguments)
            with _apart(folder) as scratch:
                files = {
                    name: partial(open_file, scratch / f"{name}.{arguments.format}", TABLES[name].columns)
                    for name in tables
                }
                rows = await _write(stored, parts, files)
                ref = await stored.ref_at(wanted.last)
                tip = None if ref is None else to_hex(ref.hash)
                watched = await stored.watched()
                manifest = Manifest(
                    name, chain_id, wanted.first, wanted.last, tip, parts == (wanted,),
                    [(part.first, part.last) for part in parts],
                    None if watched is None else [to_hex(address) for address in watched], arguments.format, rows,
                )  # fmt: skip
                (scratch / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
                _publish(scratch, folder, [*_names(tables, arguments.format), MANIFEST])
    for table, count in rows.items():
        say(f"{folder / table}.{arguments.format}: {count} rows")
    return None


def _tables(text: str) -> list[str]:
    names = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    unknown = [name for name in names if name not in TABLES]
    if unknown or not names:
        raise BadConfig(f"--tables: expected some of {', '.join(TABLES)}, found {', '.join(unknown) or 'none'}")
    return names


def _names(tables: Sequence[str], format_: str) -> list[str]:
    return [f"{table}.{format_}" for table in tables]


def _chain(asked: str, known: dict[str, int]) -> tuple[str, int]:
    if not asked and len(known) == 1:
        asked = next(iter(known))
    if asked not in known:
        raise BadConfig(f"--chain: expected one of {', '.join(known) or 'none, nothing is indexed'}, found {asked!r}")
    return asked, known[asked]


def _require_free(folder: Path, names: Sequence[str], *, force: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise BadConfig(f"--out: {folder} is not a folder")
    taken = [name for name in names if (folder / name).exists()]
    if taken and not force:
        raise BadConfig(f"--out: {folder} holds {', '.join(taken)} already; --force overwrites")


async def _parts(
    stored: Snapshot, chain: str, arguments: argparse.Namespace
) -> tuple[BlockRange, tuple[BlockRange, ...]]:
    """Return the wanted range and what of it is covered. Raises BadConfig for holes, unless --partial."""
    cursor = await stored.cursor()
    if cursor is None:
        raise BadConfig(f"export: nothing of {chain} is indexed yet")
    last = cursor.number if arguments.last is None else arguments.last
    if not 0 <= arguments.first <= last:
        raise BadConfig(f"--from, --to: expected 0 <= from <= to, found {arguments.first} and {last}")
    wanted = BlockRange(arguments.first, last)
    missing = tuple(reversed(holes(await stored.coverage(), [wanted])))
    parts = tuple(reversed(holes(missing, [wanted])))
    if not parts:
        raise BadConfig(f"{chain}: no block of {wanted} is indexed")
    if missing:
        named = ", ".join(str(hole) for hole in missing[:10]) + (", …" if len(missing) > 10 else "")
        what = f"{chain}: blocks {named} of {wanted} are not indexed"
        if not arguments.partial:
            raise BadConfig(f"{what}; --partial exports the others")
        sys.stderr.write(f"{what}: left out\n")
    return wanted, parts


async def _write(
    stored: Snapshot, parts: Sequence[BlockRange], files: Mapping[str, Callable[[], FileSink]]
) -> dict[str, int]:
    """Write each table to its file; return how many rows each has."""
    rows: dict[str, int] = {}
    show = _Progress(sum(len(part) for part in parts))
    for name, open_file in files.items():
        table = TABLES[name]
        rows[name] = 0
        with _whole(open_file()) as file:
            # What is not of a range is written once.
            for part in parts if table.ranged else parts[:1]:
                done = 0
                async for at, done in stored.write(table, part, file):
                    show.line(name, sum(len(p) for p in parts if p.last < at) + at - part.first + 1, rows[name] + done)
                rows[name] += done
                if name == "transactions":
                    await stored.check(part, done)
    show.clear()
    return rows


@contextmanager
def _whole(file: FileSink) -> Iterator[FileSink]:
    try:
        yield file
    except BaseException:
        file.abandon()
        raise
    file.close()


@contextmanager
def _apart(folder: Path) -> Iterator[Path]:
    """Yield a folder beside the files to come, on the same file system; what is left in it at the end is removed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".export-", dir=folder))
    except OSError as error:
        raise BadConfig(f"--out: {folder}: {error.strerror}") from error
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _publish(scratch: Path, folder: Path, names: Sequence[str]) -> None:
    """Give the whole files their names; the manifest goes first and comes back last."""
    (folder / MANIFEST).unlink(missing_ok=True)
    for name in names:
        (scratch / name).replace(folder / name)


class _Progress:
    """A line on the terminal that is written over and over; nothing where standard error is no terminal."""

    def __init__(self, blocks: int) -> None:
        self._blocks = blocks
        self._shown = sys.stderr.isatty()

    def line(self, table: str, done: int, rows: int) -> None:
        if self._shown:
            sys.stderr.write(f"\r\x1b[K{table}: {100 * done // self._blocks} % of {self._blocks} blocks, {rows} rows")
            sys.stderr.flush()

    def clear(self) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
