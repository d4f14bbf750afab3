"""Amounts for people, exact: no float, and no rounding that hides value. Pure."""

from decimal import Context, Decimal
from typing import Final

# 78 digits of uint256, twice, so that a product of two of them is still exact.
_EXACT: Final = Context(prec=160)
_SHOWN: Final = -6  # the power of ten from which on str(Decimal) has no exponent


class Plain(Decimal):
    """A number that JSON shows without an exponent, which Decimal has below a millionth: 0.0000001, not 1E-7."""


def number(value: Decimal) -> Decimal:
    """Return `value` without trailing zeros, and so that no answer shows an exponent."""
    text = format(value, "f")
    found = Decimal(text.rstrip("0").rstrip(".") if "." in text else text)
    return Plain(found) if found.adjusted() < _SHOWN else found


def exact(base_units: int, decimals: int) -> Decimal:
    """Return `base_units` / 10**decimals without loss and without trailing zeros."""
    return number(Decimal(base_units).scaleb(-decimals, _EXACT))


def display(base_units: int, decimals: int, symbol: str) -> str:
    """Return an amount as "0.00 ETH": every digit that is not a trailing zero, and at least two places."""
    whole, _, fraction = format(exact(base_units, decimals), "f").partition(".")
    return f"{whole}.{fraction.ljust(2, '0')} {symbol}"
