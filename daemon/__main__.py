"""The program's first lines: `chainworkd`, and `python -m daemon` for the children a parent starts."""

import gc
import os
import signal
from typing import NoReturn


def main() -> NoReturn:
    """Load the program and run it."""
    # Loading takes half a second. Until the event loop takes signals, Ctrl-C ends the process without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # numpy would start a thread for each core, for algebra that nobody does here.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # What is loaded stays: looking through it for garbage took a tenth of that. cli.py switches it on again.
    gc.disable()
    from daemon import cli, memory  # noqa: PLC0415 - this is what takes long

    memory.keep_little()
    cli.main()


if __name__ == "__main__":
    main()
