"""Ticks and prices against what Uniswap's own SDK computes (VECTORS_DIR/uniswap_v3.json), and against each other."""

import json
import os
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

import pytest

from builders import ticks
from builders.ticks import MAX_TICK

FOLDER = Path(os.environ.get("VECTORS_DIR", Path(__file__).resolve().parents[3] / "shared" / "vectors"))
FILE = FOLDER / "uniswap_v3.json"
VECTORS: dict[str, Any] = json.loads(FILE.read_text()) if FILE.is_file() else {}


def cases(name: str) -> list[Any]:
    if not VECTORS:
        pytest.skip(f"{FILE.name} is not there")
    assert VECTORS[name]
    return list(VECTORS[name])


def raw(text: str) -> bytes:
    return bytes.fromhex(text[2:])


def test_square_roots_are_those_of_the_sdk() -> None:
    for case in cases("getSqrtRatioAtTick"):
        assert ticks.sqrt_at(case["tick"]) == int(case["sqrtRatioX96"]), case


def test_ticks_are_those_of_the_sdk() -> None:
    for case in cases("getTickAtSqrtRatio"):
        assert ticks.tick_at(int(case["sqrtRatioX96"])) == case["tick"], case


def test_amounts_are_what_a_burn_pays_by_the_sdk() -> None:
    for case in cases("getAmountsForLiquidity"):
        edges = ticks.sqrt_at(case["tickLower"]), ticks.sqrt_at(case["tickUpper"])
        found = ticks.amounts_between(int(case["sqrtRatioX96"]), *edges, int(case["liquidity"]))
        assert found == tuple(map(int, case["burn"])), case


def test_pools_are_where_the_sdk_finds_them() -> None:
    factory = raw(VECTORS["meta"]["factory"]) if VECTORS else b""
    for case in cases("poolAddress"):
        token0, token1 = sorted([raw(case["tokenA"]), raw(case["tokenB"])])
        assert ticks.pool_address(factory, ticks.INIT_CODE_HASH, token0, token1, case["fee"]) == raw(case["pool"])
    assert raw(VECTORS["meta"]["poolInitCodeHash"]) == ticks.INIT_CODE_HASH


def test_the_ends_are_those_of_tick_math() -> None:
    # Source: TickMath.MIN_SQRT_RATIO and MAX_SQRT_RATIO.
    assert ticks.MIN_SQRT == 4295128739
    assert ticks.MAX_SQRT == 1461446703485210103287273052203988822378723970342


def test_a_tick_is_the_greatest_whose_price_is_not_above() -> None:
    dice = Random(40)
    for _ in range(300):
        tick = dice.randint(-MAX_TICK, MAX_TICK - 1)
        at, above = ticks.sqrt_at(tick), ticks.sqrt_at(tick + 1)
        assert [ticks.tick_at(sqrt) for sqrt in (at, (at + above) // 2, above - 1)] == [tick] * 3


def test_a_guess_changes_nothing_but_the_time_it_takes() -> None:
    dice = Random(60)
    for _ in range(300):
        tick = dice.randint(-MAX_TICK, MAX_TICK - 1)
        sqrt = dice.randint(ticks.sqrt_at(tick), ticks.sqrt_at(tick + 1) - 1)
        for guess in (tick, tick + 1, tick - 1, dice.randint(-2 * MAX_TICK, 2 * MAX_TICK)):
            assert ticks.tick_near(sqrt, guess) == tick
    ends = ((ticks.MIN_SQRT, -MAX_TICK), (ticks.MAX_SQRT - 1, MAX_TICK - 1))
    assert all(ticks.tick_near(sqrt, 0) == tick for sqrt, tick in ends)


@pytest.mark.parametrize("tick", [MAX_TICK + 1, -MAX_TICK - 1])
def test_a_tick_that_no_pool_has_is_refused(tick: int) -> None:
    with pytest.raises(ValueError, match=f"found {tick}"):
        ticks.sqrt_at(tick)


@pytest.mark.parametrize("sqrt", [0, 4295128738, 1461446703485210103287273052203988822378723970342])
def test_a_price_that_no_pool_has_is_refused(sqrt: int) -> None:
    with pytest.raises(ValueError, match=f"found {sqrt}"):
        ticks.tick_at(sqrt)


def test_a_mean_tick_weighs_by_time_and_rounds_down() -> None:
    assert ticks.mean_tick(100 + 200 * 3, 4) == 175
    assert ticks.mean_tick(-1, 2) == -1
    with pytest.raises(ValueError, match="seconds"):
        ticks.mean_tick(5, 0)


def test_reserves_near_the_price_are_a_hundredth_of_the_liquidity() -> None:
    """At price 1: 1 - sqrt(0.98) of token1 below, 1 - 1/sqrt(1.02) of token0 above."""
    reserve0, reserve1 = ticks.virtual_reserves(ticks.Q96, 10**30)
    assert reserve1 // 10**20 == 100505063  # 0.0100505063…
    assert reserve0 // 10**20 == 98524570  # 0.0098524570…


def test_a_price_is_exact() -> None:
    assert ticks.price_at(3 * ticks.Q96 // 2) == Fraction(9, 4)
