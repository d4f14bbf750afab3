"""Amounts for people, exact: no float, and no rounding that hides value. Pure."""

from decimal import Context, Decimal
from typing import Final

_SHOWN: Final = -6  # the power of ten from which on str(Decimal) has no exponent
_EXACT: Final = Context(prec=200)
_TENS: Final = tuple(10**power for power in range(256))  # a token has 77 decimals at most


class Plain(Decimal):
    """A number that JSON shows without an exponent, which Decimal has below a millionth: 0.0000001, not 1E-7."""


def number(text: str) -> Decimal:
    """Return the number that is written so, without an exponent; no answer shows it with one."""
    found = Decimal(text)
    return Plain(found) if found.adjusted() < _SHOWN else found


def exact(base_units: int, decimals: int) -> Decimal:
    """Return `base_units` / 10**decimals without loss and without trailing zeros."""
    one = _TENS[decimals]
    whole, rest = divmod(base_units, one)
    if not rest:
        return Decimal(whole)
    found = Decimal(base_units).scaleb(-decimals, _EXACT).normalize(_EXACT)
    return found if whole or rest >= one // _TENS[-_SHOWN] else Plain(found)


def display(base_units: int, decimals: int, symbol: str) -> str:
    """Return an amount as "0.00 ETH"; `base_units` is not negative."""
    return f"{amount(base_units, decimals)} {symbol}"


def amount(base_units: int, decimals: int) -> str:
    """Return an amount as "0.00": every digit that is not a trailing zero, and at least two places."""
    whole, rest = divmod(base_units, _TENS[decimals])
    if not rest:
        return f"{whole}.00"
    fraction = str(rest).zfill(decimals).rstrip("0")
    return f"{whole}.{fraction}" if len(fraction) > 1 else f"{whole}.{fraction}0"


def digits(base_units: int, decimals: int) -> str:
    """Return what `exact` returns as JSON has it."""
    whole, rest = divmod(base_units, _TENS[decimals])
    return f"{whole}.{str(rest).zfill(decimals).rstrip('0')}" if rest else str(whole)
