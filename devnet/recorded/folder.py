"""A recorded chain, read: memory-mapped texts and the index into them."""

import mmap
from array import array
from bisect import bisect_right
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from core.errors import BadConfig
from devnet.recorded.layout import ARRAYS, BLOCKS, HASHES, LOGS, RECEIPTS, TEXTS, read_meta

Slice = memoryview

# Starts with the text that they point into.
_STARTS: Final = {"block_starts": BLOCKS, "hash_starts": HASHES, "receipt_starts": RECEIPTS, "log_starts": LOGS}


class Recording:
    """A chain from a folder. Numbers and ordinals are in range, or IndexError; slices live as long as this."""

    def __init__(self, folder: Path) -> None:
        self.meta = read_meta(folder)
        self._texts = {name: _mapped(folder / name) for name in TEXTS}
        self._arrays = {name: _array(folder / name, code) for name, code in ARRAYS.items()}
        self._check(folder)
        blocks, txs = (folder / "block_digests").read_bytes(), (folder / "tx_digests").read_bytes()
        self._numbers = {blocks[i : i + 32]: i // 32 for i in range(0, len(blocks), 32)}
        self._ordinals = {txs[i : i + 32]: i // 32 for i in range(0, len(txs), 32)}
        self.first_log = self._arrays["first_log"]
        self.postings = _postings(self._arrays["log_keys"], len(self.meta.keys))

    @property
    def tip(self) -> int:
        """The number of the last block."""
        return self.meta.blocks - 1

    def block(self, number: int) -> Slice:
        """Return the block with full transactions."""
        return self._line(BLOCKS, self._arrays["block_starts"], number)

    def hashes(self, number: int) -> Slice:
        """Return the block with transaction hashes."""
        return self._line(HASHES, self._arrays["hash_starts"], number)

    def receipts(self, number: int) -> Slice:
        """Return the receipts of a block."""
        return self._line(RECEIPTS, self._arrays["receipt_starts"], number)

    def number_of(self, digest: bytes) -> int | None:
        """Return the number of the block with this hash, None if there is none."""
        return self._numbers.get(digest)

    def tx(self, digest: bytes) -> tuple[int, Slice, Slice] | None:
        """Return a transaction's block number, itself and its receipt; None if there is none with this hash."""
        ordinal = self._ordinals.get(digest)
        if ordinal is None:
            return None
        start, end, receipt, receipt_end = self._arrays["tx_spans"][4 * ordinal : 4 * ordinal + 4]
        number = bisect_right(self._arrays["first_tx"], ordinal) - 1
        return number, self._texts[BLOCKS][start:end], self._texts[RECEIPTS][receipt:receipt_end]

    def logs(self, first: int, last: int) -> Slice:
        """Return neighbouring logs, ordinals `first` to `last`, as they stand in a JSON list."""
        starts = self._arrays["log_starts"]
        return self._texts[LOGS][starts[first] : starts[last + 1] - 1]

    def _line(self, text: str, starts: "array[int]", number: int) -> Slice:
        if number < 0:
            raise IndexError(number)
        return self._texts[text][starts[number] : starts[number + 1] - 1]

    def _check(self, folder: Path) -> None:
        """Raise BadConfig if a file is not as long as the index says: a copy that broke off answers nonsense."""
        for name, text in _STARTS.items():
            found, expected = len(self._texts[text]), self._arrays[name][-1] if self._arrays[name] else -1
            if found != expected:
                raise BadConfig(f"{folder / text}: expected {expected} bytes, found {found}; record the chain again")


def _mapped(file: Path) -> Slice:
    with file.open("rb") as opened:
        if file.stat().st_size == 0:  # which mmap refuses: a chain without logs
            return memoryview(b"")
        return memoryview(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ))


def _array(file: Path, code: str) -> "array[int]":
    found: array[int] = array(code)
    try:
        found.frombytes(file.read_bytes())
    except (OSError, ValueError) as error:
        raise BadConfig(f"{file}: {error}; record the chain again") from error
    return found


def _postings(keys: "array[int]", count: int) -> Mapping[int, "array[int]"]:
    """Return, for each key, the ordinals of its logs, ascending."""
    found: dict[int, array[int]] = {key: array("I") for key in range(count)}
    appends = [found[key].append for key in range(count)]
    for ordinal, key in enumerate(keys):
        appends[key](ordinal)
    return found
