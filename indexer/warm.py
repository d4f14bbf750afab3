"""Compiles the hot paths before they are needed: once for each version of the program, of numba and of the processor.

It takes half a minute and 700 MB, so it is done by a process of its own, which ends: `python -m indexer.warm`.
"""

import asyncio
import json
import logging
import sys
from collections.abc import Callable
from typing import Any, Final

from core.hex import to_hex
from core.verify.checks import ALL, Level
from core.verify.trie import EMPTY_ROOT
from indexer.compiled import jit
from indexer.decode.tables import LogTable, TransferTable
from indexer.eventpath import EventPath
from indexer.hotpath import HotPath
from indexer.pipeline import Encoder

log = logging.getLogger(__name__)

MARK: Final = "complete"
# The hash of the header below, from core/verify: a test proves that the block passes all checks.
EMPTY_HASH: Final = "0x5d81218368ec9da3c9a9eec51b0f7a8c91461cf197d36ec8b5616e54fda14449"


def is_warm() -> bool:
    """Whether compiled code is kept from an earlier run."""
    return jit.KEPT and (jit.folder() / MARK).exists()


async def warm() -> None:
    """Compile in another process what is not compiled yet.

    Without a folder that could keep it (jit.folder) nothing is done: then this process compiles at the first block.
    """
    if is_warm():
        return
    if not jit.KEPT:
        log.warning("compiled code cannot be kept, so every start compiles", extra={"folder": str(jit.folder())})
        return
    log.info("compiling the hot path, once, for half a minute", extra={"folder": str(jit.folder())})
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "indexer.warm")
    try:
        if code := await process.wait():
            log.warning("compiling failed, it is tried again at the first block", extra={"code": code})
    finally:
        if process.returncode is None:
            process.kill()


def load(make: Callable[[], Encoder]) -> Encoder:
    """Return the encoder that `make` makes, with its compiled code loaded if there is any."""
    if not is_warm():
        return make()
    with jit.loading():
        made = make()
        made.encode([EMPTY], [b"[]"])
    return made


def compile_all() -> None:
    """Compile everything that both hot paths call, by giving them a block without transactions."""
    nobody = bytes(20)
    transfers, logs = TransferTable(lambda *_: None), LogTable("watched", [nobody])
    HotPath(1, transfers, logs, (), [nobody], level=Level(ALL)).encode([EMPTY], [b"[]"])
    EventPath(1, transfers, logs).encode([EMPTY], [b"[]"])
    if jit.KEPT:
        (jit.folder() / MARK).touch()


def _empty_block() -> dict[str, Any]:
    """Return a block that passes every check."""
    nothing, no_items = "0x" + "00" * 32, to_hex(EMPTY_ROOT)
    return {
        "hash": EMPTY_HASH, "number": "0x0", "parentHash": nothing, "timestamp": "0x0", "transactions": [],
        "miner": "0x" + "00" * 20, "stateRoot": nothing, "transactionsRoot": no_items, "receiptsRoot": no_items,
        "sha3Uncles": nothing, "logsBloom": "0x" + "00" * 256, "extraData": "0x", "gasLimit": "0x0", "gasUsed": "0x0",
        "mixHash": nothing, "nonce": "0x" + "00" * 8,
    }  # fmt: skip


EMPTY: Final = json.dumps(_empty_block()).encode()


if __name__ == "__main__":
    compile_all()
