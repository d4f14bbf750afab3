"""Decimal numbers as people write them to the contracts' integers and back: exact, or an error; never a float.

Scales are those of the contracts' fields (0xOstium smart-contracts-public and the ABI of ostium-python-sdk 3.3.1).
"""

import re
from decimal import Decimal
from typing import Final

PRICE: Final = 18  # decimals of prices, take profits and stop losses
USD: Final = 6  # of collateral and margin, in USDC
LEVERAGE: Final = 2
PERCENT: Final = 2  # of slippage and of the share to close
FEE: Final = 6  # of a builder's fee, in percent: 0.1 % is 100_000

MAX_DIGITS: Final = 80  # more than any field of 256 bits holds

_NUMBER: Final = re.compile(r"([+-]?)([0-9]+)(?:\.([0-9]+))?", re.ASCII)


class NotANumber(ValueError):
    """The text is not a plain decimal number: digits, at most one point, no exponent."""


class TooManyDecimals(ValueError):
    """The number is finer than the contract can hold; rounding it would trade something else than was asked."""


def scaled(value: str | int | Decimal, places: int) -> int:
    """Return `value` times 10**places. Raises NotANumber, or TooManyDecimals if that is not an integer.

    Text may carry a sign and zeros at the end; anything with more than 80 digits is not a number here.
    """
    if isinstance(value, str):
        if len(value) <= MAX_DIGITS and value.isdecimal() and value.isascii():
            return int(value) * int(10**places)
        return _of_text(value, places)
    if isinstance(value, int):
        return value * int(10**places)
    return _of_decimal(value, places)


def plain(value: int, places: int) -> str:
    """Return `value` / 10**places as text without an exponent and without zeros at the end."""
    if value == 0:
        return "0"
    sign, digits = ("-", str(-value)) if value < 0 else ("", str(value))
    whole, fraction = digits[:-places] or "0", digits[-places:].rjust(places, "0").rstrip("0")
    return f"{sign}{whole}.{fraction}" if fraction else sign + whole


def fixed(value: int, places: int) -> str:
    """Return `value` / 10**places with exactly `places` decimals. `value` is not negative."""
    digits = str(value).rjust(places + 1, "0")
    return f"{digits[:-places]}.{digits[-places:]}"


def _of_text(text: str, places: int) -> int:
    found = _NUMBER.fullmatch(text) if len(text) <= MAX_DIGITS + 2 else None
    if found is None:
        raise NotANumber(f"expected a decimal number of at most {MAX_DIGITS} digits, found {text[:40]!r}")
    sign, whole, fraction = found[1], found[2], found[3] or ""
    if len(whole) + len(fraction) > MAX_DIGITS:
        raise NotANumber(f"expected at most {MAX_DIGITS} digits, found {len(whole) + len(fraction)}")
    kept = fraction.rstrip("0")
    if len(kept) > places:
        raise TooManyDecimals(f"expected at most {places} decimals, found {text!r}")
    size = int(whole + kept.ljust(places, "0"))
    return -size if sign == "-" else size


def _of_decimal(number: Decimal, places: int) -> int:
    # By its digits: arithmetic on Decimals rounds to the context's precision.
    sign, digits, exponent = number.as_tuple()
    if not isinstance(exponent, int) or len(digits) > MAX_DIGITS or (any(digits) and abs(exponent) > MAX_DIGITS):
        raise NotANumber(f"expected a finite number of at most {MAX_DIGITS} digits, found {str(number)[:40]}")
    if not any(digits):
        return 0
    size: int = int("".join(map(str, digits)))
    shift = exponent + places
    if shift >= 0:
        size *= int(10**shift)
    else:
        size, rest = divmod(size, 10**-shift)
        if rest:
            raise TooManyDecimals(f"expected at most {places} decimals, found {number}")
    return -size if sign else size
