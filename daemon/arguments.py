"""How commands are described, and the kinds of options that several of them take."""

import argparse
import re
from typing import Any, Final

MOST_ID: Final = 2**31 - 1


def add(into: Any, name: str, text: str, example: str, does: str) -> argparse.ArgumentParser:
    """Add a command that `does` (module.function within daemon/) something, with its example."""
    made: argparse.ArgumentParser = into.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + ".", epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    made.set_defaults(does=does)
    return made


def address(text: str) -> str:
    """Return an option as an address. Raises ValueError."""
    if re.fullmatch(r"0x[0-9a-fA-F]{40}", text) is None:
        raise ValueError("not an address")
    return text


def row_id(text: str) -> int:
    """Return an option as the id of a row. Raises ValueError."""
    value = int(text)
    if not 1 <= value <= MOST_ID:
        raise ValueError("not an id")
    return value


def some(text: str) -> int:
    """Return an option as a number above 0. Raises ValueError."""
    value = int(text)
    if value < 1:
        raise ValueError("not a number above 0")
    return value
