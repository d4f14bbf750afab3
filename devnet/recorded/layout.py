"""The files of a recorded chain, and what stands in each.

Texts are exactly what the node said, so that a client decodes what it would decode in production:

    blocks.ndjson    line i: eth_getBlockByNumber(i, true)
    hashes.ndjson    line i: the same with transaction hashes only
    receipts.ndjson  line i: eth_getBlockReceipts(i)
    logs.json        every log of the chain, in order, joined by commas: neighbours are one slice
    chain.json       Meta

Index files are arrays of little-endian integers, in the order of the texts; an entry more than there are things, where
starts are listed, so that the last thing has an end.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from core.errors import BadConfig

FORMAT: Final = 1
BLOCKS: Final = "blocks.ndjson"
HASHES: Final = "hashes.ndjson"
RECEIPTS: Final = "receipts.ndjson"
LOGS: Final = "logs.json"
META: Final = "chain.json"
TEXTS: Final = (BLOCKS, HASHES, RECEIPTS, LOGS)

# name -> array type code (Python's array module): Q is 64 bits, I is 32.
ARRAYS: Final[Mapping[str, str]] = {
    "block_starts": "Q",  # of lines in BLOCKS
    "hash_starts": "Q",  # of lines in HASHES
    "receipt_starts": "Q",  # of lines in RECEIPTS
    "first_tx": "I",  # ordinal of each block's first transaction
    "first_log": "I",  # ordinal of each block's first log
    "tx_spans": "Q",  # four a transaction: start and end in BLOCKS, start and end in RECEIPTS
    "log_starts": "Q",  # in LOGS; an end is the next start less the comma
    "log_keys": "I",  # which of Meta.keys each log has
}
DIGESTS: Final = ("block_digests", "tx_digests")  # 32 bytes each: hashes of blocks, of transactions


class Meta(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What a folder holds.

    `keys` are the distinct (address, first topic) of logs; `calls` are recorded answers to eth_call and eth_getCode,
    keyed by `method to data`, null for one that reverted; `facts` is for whoever made the chain.
    """

    format: int
    chain_id: int
    client: str
    blocks: int
    txs: int
    logs: int
    keys: list[tuple[str, str | None]]
    calls: dict[str, str | None]
    facts: dict[str, Any]
    sha256: str = ""


def call_key(method: str, to: str, data: str = "") -> str:
    """Return the name of a recorded answer."""
    return f"{method} {to.lower()} {data.lower()}".rstrip()


def read_meta(folder: Path) -> Meta:
    """Read chain.json. Raises BadConfig if there is none, or of another format."""
    file = folder / META
    try:
        found = msgspec.json.decode(file.read_bytes(), type=Meta)
    except OSError as error:
        raise BadConfig(f"{file}: {error.strerror}; is this the folder of a recorded chain?") from error
    except msgspec.DecodeError as error:
        raise BadConfig(f"{file}: {error}") from error
    if found.format != FORMAT:
        raise BadConfig(f"{file}: format is {found.format}, expected {FORMAT}; record the chain again")
    return found


def fingerprint(folder: Path) -> str:
    """Return the SHA-256, in hex, of the folder's texts: the same for two folders that answer the same."""
    digest = hashlib.sha256()
    for name in TEXTS:
        with (folder / name).open("rb") as file:
            while piece := file.read(1 << 22):
                digest.update(piece)
    return digest.hexdigest()
