"""Figures as JSON lines while they come, and as a table at the end."""

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

MB = 1_000_000


def machine() -> str:
    """Return what the figures were made on, without naming it."""
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"


@dataclass(slots=True)
class Report:
    """Prints each measurement once; every line names the fixture it was made on."""

    sha256: str
    rows: list[tuple[str, str]] = field(default_factory=list)

    def line(self, bench: str, **figures: Any) -> None:
        """Print one JSON line."""
        print(json.dumps({"bench": bench, "fixture": self.sha256[:16], **_rounded(figures)}), flush=True)

    def row(self, what: str, text: str) -> None:
        """Add a line to the table."""
        self.rows.append((what, text))

    def table(self) -> None:
        """Print the table, after what there was to say in between."""
        width = max((len(what) for what, _ in self.rows), default=0)
        print(f"\nfixture {self.sha256}; {machine()}")
        for what, text in self.rows:
            print(f"{what:<{width}}  {text}")
        sys.stdout.flush()


def middle(values: Sequence[float]) -> float:
    """Return the median."""
    return median(values)


def percentile(values: Sequence[float], percent: int) -> float:
    """Return the value that `percent` of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-len(ordered) * percent // 100) - 1))]


def _rounded(figures: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _short(value) for name, value in figures.items()}


def _short(value: Any) -> Any:
    match value:
        case float():
            return round(value, 3)
        case list() | tuple():
            return [_short(each) for each in value]
        case dict():
            return _rounded(value)
        case _:
            return value
