"""Reads fields of a JSON object, noting every fault under its path; numbers stay exact. Pure."""

from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any, Final

from builders.ostium import scale
from builders.ostium.scale import NotANumber, TooManyDecimals

SHOWN: Final = 60  # characters of what was found
MAX_FAULTS: Final = 50  # paths; a body of a thousand wrong items is not answered with a book


class Faults:
    """What is wrong with a request: path -> messages, and path -> what was found there."""

    def __init__(self) -> None:
        self.messages: dict[str, list[str]] = {}
        self.found: dict[str, str] = {}

    def __bool__(self) -> bool:
        return bool(self.messages)

    def add(self, path: str, message: str, *found: Any) -> None:
        """Note a fault; `found` is the value, if there is one."""
        if path not in self.messages and len(self.messages) >= MAX_FAULTS:
            return
        self.messages.setdefault(path, []).append(message)
        if found:
            self.found[path] = shown(found[0])


class Fields:
    """One JSON object of a request. Readers return a value that fits, or note a fault and return None."""

    def __init__(self, of: Mapping[str, Any], prefix: str, faults: Faults) -> None:
        self._of = of
        self._prefix = prefix
        self.faults = faults

    def path(self, name: str) -> str:
        """Return the path of a field."""
        return self._prefix + name

    def has(self, name: str) -> bool:
        """Whether the field is given at all."""
        return name in self._of

    def value(self, name: str) -> Any:
        """Return what is there, None if nothing is."""
        return self._of.get(name)

    def fault(self, name: str, message: str) -> None:
        """Note a fault of a field."""
        found = (self._of[name],) if name in self._of else ()
        self.faults.add(self.path(name), message, *found)

    def unknown(self, known: Collection[str]) -> list[str]:
        """Return the paths of fields that nobody reads."""
        return [self.path(name[:SHOWN]) for name in self._of if name not in known]

    def index(self, name: str, label: str, most: int) -> int | None:
        """Read an integer of 0..`most`; 1.0 is one, as in JSON Schema."""
        value = self._of.get(name)
        if type(value) is int and 0 <= value <= most:
            return value
        value = self._given(name, label)
        if isinstance(value, Decimal) and value.is_finite() and 0 <= value <= most and value == int(value):
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most:
            return value
        if value is not None:
            self.fault(name, f"{label} must be an integer from 0 to {most}")
        return None

    def text(self, name: str, label: str, expected: str, places: int) -> int | None:
        """Read a decimal number in a string, scaled by `places`; `expected` says what it must be."""
        value = self._of.get(name)
        if isinstance(value, str):
            return self._scaled(name, label, expected, value, places)
        if self._given(name, label) is not None:
            self.fault(name, f"{label} must be {expected}")
        return None

    def number(self, name: str, label: str, expected: str, places: int) -> int | None:
        """Read a JSON number, scaled by `places`."""
        value = self._given(name, label)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            self.fault(name, f"{label} must be {expected}")
            return None
        return self._scaled(name, label, expected, value, places)

    def flag(self, name: str, label: str) -> bool | None:
        """Read true or false."""
        value = self._given(name, label)
        if isinstance(value, bool):
            return value
        if value is not None:
            self.fault(name, f"{label} must be true or false")
        return None

    def choice(self, name: str, label: str, choices: Collection[str]) -> str | None:
        """Read one of some words."""
        value = self._given(name, label)
        if isinstance(value, str) and value in choices:
            return value
        if value is not None:
            self.fault(name, f"{label} must be one of {', '.join(choices)}")
        return None

    def address(self, name: str, label: str) -> bytes | None:
        """Read an address; its checksum is not looked at."""
        value = self._given(name, label)
        found = address(value) if isinstance(value, str) else None
        if found is None and value is not None:
            self.fault(name, f"{label} must be an address: 0x and 40 hex digits")
        return found

    def _given(self, name: str, label: str) -> Any:
        if name not in self._of:
            self.faults.add(self.path(name), f"{label} is required")
            return None
        value = self._of[name]
        if value is None:
            self.fault(name, f"{label} must not be null")
        return value

    def _scaled(self, name: str, label: str, expected: str, value: str | int | Decimal, places: int) -> int | None:
        try:
            return scale.scaled(value, places)
        except TooManyDecimals:
            self.fault(name, f"{label} must have at most {places} decimals")
        except NotANumber:
            self.fault(name, f"{label} must be {expected}")
        return None


def address(text: str) -> bytes | None:
    """Return the 20 bytes of an address in any case, None if the text is none."""
    if len(text) != 42 or text[:2] != "0x" or not text.isascii() or not text[2:].isalnum():
        return None
    try:
        return bytes.fromhex(text[2:])
    except ValueError:
        return None


def shown(value: Any) -> str:
    """Return the beginning of a value as JSON would show it."""
    if isinstance(value, str):
        return f'"{value[:SHOWN]}"'
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list):
        return f"an array of {len(value)}"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return str(value)[:SHOWN]
