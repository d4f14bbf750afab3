"""Compiles the hot paths before they are needed: once for each version of the program, of numba and of the processor.

It takes half a minute and 700 MB, so it is done by a process of its own, which ends: `python -m indexer.warm`.
"""

import asyncio
import gc
import json
import logging
import sys
from typing import Any, Final

from indexer.compiled import jit
from indexer.decode.tables import LogTable, TransferTable
from indexer.eventpath import EventPath
from indexer.hotpath import HotPath

log = logging.getLogger(__name__)

MARK: Final = "complete"


def is_warm() -> bool:
    """Whether compiled code is kept from an earlier run."""
    return jit.KEPT and (jit.folder() / MARK).exists()


async def warm() -> None:
    """Load the compiled code; before that, compile in another process what is not compiled yet.

    Without a folder that could keep it (jit.folder) nothing is done: then this process compiles at the first block.
    """
    if is_warm():
        await asyncio.to_thread(load)
        return
    if not jit.KEPT:
        log.warning("compiled code cannot be kept, so every start compiles", extra={"folder": str(jit.folder())})
        return
    log.info("compiling the hot path, once, for half a minute", extra={"folder": str(jit.folder())})
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "indexer.warm")
    try:
        if code := await process.wait():
            log.warning("compiling failed, it is tried again at the first block", extra={"code": code})
        else:
            await asyncio.to_thread(load)
    finally:
        if process.returncode is None:
            process.kill()


def load() -> None:
    """Load what is compiled: a fifth of a second, and a third more if the collector looked through it for garbage."""
    gc.disable()
    try:
        compile_all()
    finally:
        gc.freeze()
        gc.enable()


def compile_all() -> None:
    """Compile everything that both hot paths call, by giving them a block without transactions."""
    nobody = bytes(20)
    transfers, logs = TransferTable(lambda *_: None), LogTable("watched", [nobody])
    block = json.dumps(_empty_block()).encode()
    HotPath(1, transfers, logs, (), [nobody]).encode([block], [b"[]"])
    EventPath(1, transfers, logs).encode([block], [b"[]"])
    if jit.KEPT:
        (jit.folder() / MARK).touch()


def _empty_block() -> dict[str, Any]:
    hash_ = "0x" + "00" * 32
    return {
        "hash": hash_, "number": "0x0", "parentHash": hash_, "timestamp": "0x0", "transactions": [],
        "miner": "0x" + "00" * 20, "stateRoot": hash_, "transactionsRoot": hash_, "receiptsRoot": hash_,
        "sha3Uncles": hash_, "logsBloom": "0x" + "00" * 256, "extraData": "0x", "gasLimit": "0x0", "gasUsed": "0x0",
    }  # fmt: skip


if __name__ == "__main__":
    compile_all()
