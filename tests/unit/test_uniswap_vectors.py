"""All cases of VECTORS_DIR/uniswap_v3.json, which Uniswap's own SDK computed, against our integers."""

import json
import os
from collections.abc import Callable, Mapping
from decimal import Context
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from builders import liquidity, swaps, ticks
from builders.ticks import sqrt_at

FOLDER = Path(os.environ.get("VECTORS_DIR", Path(__file__).resolve().parents[3] / "shared" / "vectors"))
FILE = FOLDER / "uniswap_v3.json"
VECTORS: dict[str, Any] = json.loads(FILE.read_text()) if FILE.is_file() else {}
Case = Mapping[str, Any]


def raw(text: str) -> bytes:
    return bytes.fromhex(text[2:])


def pair(texts: list[str]) -> tuple[int, ...]:
    return tuple(map(int, texts))


def place(case: Case) -> tuple[int, int, int]:
    return int(case["sqrtRatioX96"]), sqrt_at(case["tickLower"]), sqrt_at(case["tickUpper"])


def square_root(case: Case) -> None:
    assert sqrt_at(case["tick"]) == int(case["sqrtRatioX96"])


def tick(case: Case) -> None:
    assert ticks.tick_at(int(case["sqrtRatioX96"])) == case["tick"]


def liquidity_for(case: Case) -> None:
    of = int(case["amount0"]), int(case["amount1"])
    found = liquidity.liquidity_of(*place(case), of, precise=case["useFullPrecision"])
    assert found == int(case["liquidity"])


def amounts_for(case: Case) -> None:
    of = (*place(case), int(case["liquidity"]))
    assert liquidity.amounts(*of, up=False) == pair(case["burn"]) == ticks.amounts_between(*of)
    assert liquidity.amounts(*of, up=True) == pair(case["mint"])


def usable(case: Case) -> None:
    assert ticks.nearest_usable(case["tick"], case["tickSpacing"]) == case["out"]


def growth(case: Case) -> None:
    sides = zip(*(pair(case[name]) for name in ("outsideLower", "outsideUpper", "global")), strict=True)
    found = tuple(
        liquidity.growth_inside(case["tickCurrent"], (case["tickLower"], below), (case["tickUpper"], above), total)
        for below, above, total in sides
    )
    assert found == pair(case["inside"])


def owed(case: Case) -> None:
    sides = zip(pair(case["inside"]), pair(case["insideLast"]), strict=True)
    assert tuple(liquidity.fees_owed(int(case["liquidity"]), *side) for side in sides) == pair(case["owed"])


def address(case: Case) -> None:
    factory, code = raw(VECTORS["meta"]["factory"]), raw(VECTORS["meta"]["poolInitCodeHash"])
    token0, token1 = sorted([raw(case["tokenA"]), raw(case["tokenB"])])
    assert ticks.pool_address(factory, code, token0, token1, case["fee"]) == raw(case["pool"])


def price(case: Case) -> None:
    scale = Fraction(10 ** case["quoteDecimals"], 10 ** case["baseDecimals"])
    units = Fraction(case["price"]) * scale
    found = ticks.tick_of(units if case["baseIsToken0"] else 1 / units)
    assert found == case["priceToClosestTick"]
    at = ticks.price_at(sqrt_at(found))
    human = (at if case["baseIsToken0"] else 1 / at) / scale
    shown = Context(prec=12).divide(human.numerator, human.denominator)
    assert shown == Context(prec=12).create_decimal(case["priceAtTick"])


def minimums(case: Case) -> None:
    at, held, bps = place(case), int(case["liquidity"]), case["bps"]
    price_, lower, upper = at
    assert liquidity.amounts(*at, held, up=True) == pair(case["mintAmounts"])
    assert liquidity.amounts(*at, held, up=False) == pair(case["burnAmounts"])
    assert liquidity.least_burned(*at, held, bps) == pair(case["burnMin"])
    # The SDK's minimums of a mint are those of one liquidity at both slipped prices; ours must not lie above them.
    low, high = liquidity.slipped(price_, bps)
    desired = liquidity.amounts(*at, held, up=True)
    made = liquidity.liquidity_of(*at, desired)
    theirs = tuple(liquidity.amounts(edge, lower, upper, made, up=True)[side] for side, edge in enumerate((high, low)))
    assert theirs == pair(case["mintMin"])
    ours = liquidity.least_minted(*at, desired, bps)
    assert ours[0] <= theirs[0] and ours[1] <= theirs[1]


def step(case: Case) -> None:
    names = ("sqrtRatioX96", "sqrtTargetX96", "liquidity", "amountRemaining", "feePips")
    found = swaps.swap_step(*(int(case[name]) for name in names))
    wanted = (int(case[name]) for name in ("sqrtNextX96", "amountIn", "amountOut", "feeAmount"))
    assert found == swaps.SwapStep(*wanted)


CHECKS: Mapping[str, Callable[[Case], None]] = {
    "getSqrtRatioAtTick": square_root, "getTickAtSqrtRatio": tick, "getLiquidityForAmounts": liquidity_for,
    "getAmountsForLiquidity": amounts_for, "nearestUsableTick": usable, "feeGrowthInside": growth, "tokensOwed": owed,
    "poolAddress": address, "priceToTick": price, "slippage": minimums, "computeSwapStep": step,
}  # fmt: skip


@pytest.mark.parametrize("name", CHECKS)
def test_uniswap_vectors_are_our_integers(name: str) -> None:
    if not VECTORS:
        pytest.skip(f"{FILE.name} is not there")
    cases = VECTORS[name]
    for case in cases:
        CHECKS[name](case)
    print(f"{name}: {len(cases)} cases checked")
    assert cases


def test_uniswap_vectors_are_checked_one_and_all() -> None:
    if not VECTORS:
        pytest.skip(f"{FILE.name} is not there")
    assert VECTORS.keys() - {"meta"} == CHECKS.keys()
    print(f"{sum(len(VECTORS[name]) for name in CHECKS)} cases in {len(CHECKS)} groups")
