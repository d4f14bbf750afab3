"""What a command answers on its standard output."""

import sys


def say(line: str) -> None:
    """Print a line of a command's answer."""
    sys.stdout.write(line + "\n")
