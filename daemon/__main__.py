"""The program's first lines: `chainworkd`, and `python -m daemon` for the children a parent starts."""

import signal
from typing import NoReturn


def main() -> NoReturn:
    """Load the program and run it."""
    # Loading takes half a second. Until the event loop takes signals, Ctrl-C ends the process without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from daemon import cli  # noqa: PLC0415 - this is what takes long

    cli.main()


if __name__ == "__main__":
    main()
