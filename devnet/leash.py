"""Turns into the program given as arguments, which then ends when the process that started it does.

Run as a script: `python leash.py PARENT_PID PROGRAM [ARGUMENT...]`. A `kill -9` of the parent runs none of its
clean-up, and an orphaned node would keep its port and its memory. Outside Linux there is no such request to the
kernel; the program then runs unleashed.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2); kept across execve of a program that is not set-uid


def main(parent: int, program: list[str]) -> None:
    """Replace this process by `program`, bound to the life of `parent`."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        # The parent may have ended before the request was made; then the kernel has nothing left to announce.
        if os.getppid() != parent:
            sys.exit(1)
    os.execv(program[0], program)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
