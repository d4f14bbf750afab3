"""Amounts for people, exact: no float, and no rounding that hides value. Pure."""

from decimal import Decimal
from typing import Final

_SHOWN: Final = -6  # the power of ten from which on str(Decimal) has no exponent


class Plain(Decimal):
    """A number that JSON shows without an exponent, which Decimal has below a millionth: 0.0000001, not 1E-7."""


def number(text: str) -> Decimal:
    """Return the number that is written so, without an exponent; no answer shows it with one."""
    found = Decimal(text)
    return Plain(found) if found.adjusted() < _SHOWN else found


def exact(base_units: int, decimals: int) -> Decimal:
    """Return `base_units` / 10**decimals without loss and without trailing zeros."""
    whole, fraction = _places(base_units, decimals)
    return number(f"{whole}.{fraction}" if fraction else whole)


def display(base_units: int, decimals: int, symbol: str) -> str:
    """Return an amount as "0.00 ETH": every digit that is not a trailing zero, and at least two places."""
    whole, fraction = _places(base_units, decimals)
    return f"{whole}.{fraction:0<2} {symbol}"


def _places(base_units: int, decimals: int) -> tuple[str, str]:
    """Return the digits before and after the point, the latter without trailing zeros; `base_units` is not negative."""
    if not base_units:
        return "0", ""
    digits = str(base_units).rjust(decimals + 1, "0")
    at = len(digits) - decimals
    return digits[:at], digits[at:].rstrip("0")
