"""Compiles the hot paths before they are needed: once for each version of the program, of numba and of the processor.

It takes a minute or two and 700 MB, so it is done by a process of its own, which ends: `python -m indexer.warm`.
"""

import asyncio
import fcntl
import logging
import sys
import tempfile
from pathlib import Path

from core.errors import BadConfig
from indexer.compiled import native

log = logging.getLogger(__name__)


async def warm() -> None:
    """Load compiled code, compiled in another process first if it never was. Raises BadConfig where that fails."""
    if native.is_kept():
        native.load()
        return
    folder = native.folder()
    if native.can_keep(folder):
        log.info("compiling the hot path, once, for a minute or two", extra={"folder": str(folder)})
        await _compile(folder)
        return
    log.warning("compiled code cannot be kept, so every start compiles", extra={"folder": str(folder)})
    with tempfile.TemporaryDirectory() as place:
        await _compile(Path(place))


async def _compile(folder: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "indexer.warm", str(folder),
        start_new_session=True,  # a terminal's Ctrl-C reaches us only, and we end it without a word
    )  # fmt: skip
    try:
        if code := await process.wait():
            raise BadConfig(f"compiling the hot path into {folder} ended with code {code}: see above")
    finally:
        if process.returncode is None:
            process.kill()
    native.load(folder)


def main() -> None:
    """Compile into the folder that the command line names; without one into the usual one, unless it is there."""
    if len(sys.argv) < 2 and native.is_kept():
        return
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else native.folder()
    if not native.can_keep(folder):
        sys.exit(f"{folder} must be a folder that this user, and nobody else, may write")
    with (folder / "lock").open("w") as lock:
        # The head and backfill start at the same time: one of them compiles, the other waits for it.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder / native.INDEX).exists():
            return
        from indexer.compiled import build  # noqa: PLC0415 - the compiler is loaded where it is needed only

        native.keep(folder, build.compile_all())


if __name__ == "__main__":
    main()
