"""The recorded node as a process of its own, so that its CPU is not its client's."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from devnet.anvil import LEASH

START_S = 60.0
SETTLED = ("--finalized", "0")  # the whole recording is history, which `chainworkd backfill` fills


@dataclass(frozen=True, slots=True)
class Served:
    """A node that runs: where it answers, and its process."""

    url: str
    ws: str
    pid: int


@asynccontextmanager
async def recorded_node(folder: Path, *options: str) -> AsyncIterator[Served]:
    """Run `python -m devnet.recorded` on a free port while inside; it also ends when this process does."""
    leash = [sys.executable, "-I", "-S", str(LEASH), str(os.getpid())]
    command = [*leash, sys.executable, "-P", "-m", "devnet.recorded", str(folder), "--port", "0", *options]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None, "a pipe"
        async with asyncio.timeout(START_S):
            said = json.loads(await process.stdout.readline() or b"{}")
        # What the child itself printed: no other process can stand in for it.
        assert said.get("pid") == process.pid, f"the recorded node did not start: {said}"
        yield Served(said["url"], said["ws"], process.pid)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
