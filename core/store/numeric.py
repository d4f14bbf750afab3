"""Whole numbers as PostgreSQL's numeric in the binary format, written in hex. Pure.

Layout: numeric_recv in src/backend/utils/adt/numeric.c: count of digits, weight of the first, sign, scale, and digits
to base 10,000, two bytes each; before them, as before every field of COPY, the length in four.
"""

from typing import Final

GROUPS: Final = [f"{n:04x}" for n in range(10_000)]  # digits to base 10,000
HEADS: Final = [f"{8 + 2 * n:08x}{n:04x}{max(n - 1, 0):04x}00000000" for n in range(21)]  # of n digits; 2^256 has 20


def numeric(n: int) -> str:
    """Return `n`, not negative, as a numeric field: length, digits, weight, sign, scale and base-10,000 digits.

    Digits may lead with zeros, which the server strips: a few widths need fewer steps than the exact one.
    """
    if n < 10**8:
        return f"{HEADS[2]}{GROUPS[n // 10_000]}{GROUPS[n % 10_000]}"
    if n < 10**16:
        high, low = n // 10**8, n % 10**8
        return f"{HEADS[4]}{GROUPS[high // 10_000]}{GROUPS[high % 10_000]}{GROUPS[low // 10_000]}{GROUPS[low % 10_000]}"
    digits: list[str] = []
    while n:
        n, low = divmod(n, 10**8)
        digits += (GROUPS[low % 10_000], GROUPS[low // 10_000])
    digits.append(HEADS[len(digits)])
    digits.reverse()
    return "".join(digits)
