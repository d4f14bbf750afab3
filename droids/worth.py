"""What a droid is worth at a block, and what of that is owed to whom: fees, gas, holding, IL and LVR. Pure integers.

What the words mean: docs/droids.md; they are those of the backtest.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from builders.liquidity import Amounts, amounts
from builders.ticks import sqrt_at
from droids.market import Market
from droids.plan import Held

GIVEN: Final = ("opening", "external")  # kinds of the ledger that are people's, not the droid's


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """`positions`, `idle` and `fees` are base and quote; the others base units of the quote, wei and USD."""

    price: Decimal
    aum: int
    positions: Amounts
    idle: Amounts
    fees: Amounts
    fees_earned: int
    gas_wei: int
    gas_usd: Decimal
    hold: int
    il: int
    lvr: int
    eth_wallet: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """What the rows say: sums of the ledger by kind and asset, positions that are closed, gas, LVR.

    `past` is, of each closed position, what was put in, what came back, and the square root of the price at that time;
    `put` is what is in the open ones.
    """

    flows: Mapping[tuple[str, bytes], int]
    past: Sequence[tuple[Amounts, Amounts, int]]
    put: Amounts
    gas_wei: int
    gas_usd: Decimal
    lvr: int


def worth(
    market: Market, tokens: tuple[bytes, bytes], books: Books, held: Sequence[Held], *, sqrt_x96: int, idle: Amounts,
    native: int,
) -> Worth:  # fmt: skip
    """Return what all is worth at a price."""
    inside = principal(held, sqrt_x96)
    uncollected = _sum(each.fees for each in held)
    given = _flow(books.flows, GIVEN, tokens)
    earned = _sum([_flow(books.flows, ("fee",), tokens), uncollected])
    il = sum(market.worth(got, at) - market.worth(put, at) for put, got, at in books.past)
    il += market.worth(inside, sqrt_x96) - market.worth(books.put, sqrt_x96)
    return Worth(
        price=market.price(sqrt_x96), aum=market.worth(_sum([inside, uncollected, idle]), sqrt_x96),
        positions=market.split(inside), idle=market.split(idle), fees=market.split(uncollected),
        fees_earned=market.worth(earned, sqrt_x96), gas_wei=books.gas_wei, gas_usd=books.gas_usd,
        hold=market.worth(given, sqrt_x96), il=il, lvr=books.lvr, eth_wallet=native,
    )  # fmt: skip


def lvr_of(market: Market, held: Sequence[Held], before: int, now: int) -> int:
    """Return what arbitrage took between two prices (roots): base held times the change, less that of the worth."""
    had, has = principal(held, before), principal(held, now)
    base = market.split(had)[0]
    return (
        market.quote_of(base, now) - market.quote_of(base, before) - market.worth(has, now) + market.worth(had, before)
    )


def principal(held: Sequence[Held], sqrt_x96: int) -> Amounts:
    """Return what positions would give back, without fees."""
    return _sum(
        amounts(sqrt_x96, sqrt_at(each.span.lower), sqrt_at(each.span.upper), each.liquidity, up=False) for each in held
    )


def _flow(flows: Mapping[tuple[str, bytes], int], kinds: Sequence[str], tokens: tuple[bytes, bytes]) -> Amounts:
    one, other = (sum(flows.get((kind, token), 0) for kind in kinds) for token in tokens)
    return one, other


def _sum(of: Iterable[Amounts]) -> Amounts:
    one = other = 0
    for each in of:
        one, other = one + each[0], other + each[1]
    return one, other
