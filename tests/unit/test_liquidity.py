"""What positions take, hold and earn: what must hold of our integers whatever the numbers are."""

from hypothesis import given
from hypothesis import strategies as st

from builders import liquidity, swaps, ticks
from builders.swaps import PoolState
from builders.ticks import sqrt_at

PLACES = st.tuples(st.integers(-300_000, 300_000), st.integers(1, 20_000), st.integers(-3_000, 3_000))
DESIRED = st.tuples(st.integers(0, 10**30), st.integers(0, 10**30))


def place(drawn: tuple[int, int, int]) -> tuple[int, int, int]:
    """Price and edges: the price lies near or within the range."""
    lower, width, off = drawn
    return sqrt_at(lower + width // 2 + off), sqrt_at(lower), sqrt_at(lower + width)


@given(PLACES, DESIRED)
def test_a_mint_never_takes_more_than_was_desired(drawn: tuple[int, int, int], desired: tuple[int, int]) -> None:
    at = place(drawn)
    made = liquidity.liquidity_of(*at, desired)
    taken = liquidity.amounts(*at, made, up=True)
    assert taken[0] <= desired[0] and taken[1] <= desired[1]


@given(PLACES, st.integers(0, 10**30))
def test_a_burn_gives_back_what_the_mint_took_but_a_wei(drawn: tuple[int, int, int], held: int) -> None:
    taken, given_ = (liquidity.amounts(*place(drawn), held, up=up) for up in (True, False))
    assert all(0 <= one - other <= 2 for one, other in zip(taken, given_, strict=True))


@given(PLACES, DESIRED, st.integers(0, 300), st.integers(0, 1_000))
def test_minimums_hold_while_the_price_slips_no_further(
    drawn: tuple[int, int, int], desired: tuple[int, int], bps: int, share: int
) -> None:
    price, lower, upper = place(drawn)
    low, high = liquidity.slipped(price, bps)
    found = low + (high - low) * share // 1_000
    least = liquidity.least_minted(price, lower, upper, desired, bps)
    taken = liquidity.amounts(found, lower, upper, liquidity.liquidity_of(found, lower, upper, desired), up=True)
    assert taken[0] >= least[0] and taken[1] >= least[1]
    held = liquidity.liquidity_of(price, lower, upper, desired)
    burnt = liquidity.amounts(found, lower, upper, held, up=False)
    assert all(a >= b for a, b in zip(burnt, liquidity.least_burned(price, lower, upper, held, bps), strict=True))


def test_minimums_of_a_mint_are_close_to_what_it_takes() -> None:
    price, lower, upper = sqrt_at(0), sqrt_at(-600), sqrt_at(600)
    taken = liquidity.amounts(price, lower, upper, liquidity.liquidity_of(price, lower, upper, (10**18,) * 2), up=True)
    least = liquidity.least_minted(price, lower, upper, (10**18, 10**18), 10)
    assert all(each > 0.96 * whole for each, whole in zip(least, taken, strict=True))


STATE = PoolState(
    sqrt_x96=sqrt_at(7), tick=7, liquidity=10**21, fee=3000, spacing=60,
    net={-120: 4 * 10**20, 60: -4 * 10**20, -60_000: 6 * 10**20, 60_000: -6 * 10**20},
)  # fmt: skip


@given(st.integers(1, 10**20), st.booleans())
def test_what_is_swapped_there_and_back_loses_the_fee(amount: int, down: bool) -> None:
    there = swaps.swap(STATE, amount, down=down)
    got = -(there.amount1 if down else there.amount0)
    if got == 0:
        return
    state = PoolState(
        sqrt_x96=there.sqrt_x96, tick=there.tick, liquidity=there.liquidity, fee=3000, spacing=60, net=STATE.net
    )
    back = swaps.swap(state, got, down=not down)
    assert -(back.amount0 if down else back.amount1) <= amount * 997 // 1000


@given(st.integers(1, 10**20), st.booleans())
def test_a_swap_for_an_exact_amount_takes_no_less_than_the_one_that_gives_it(amount: int, down: bool) -> None:
    forward = swaps.swap(STATE, amount, down=down)
    got = -(forward.amount1 if down else forward.amount0)
    if got == 0:
        return
    paid = swaps.swap(STATE, -got, down=down)
    assert -(paid.amount1 if down else paid.amount0) == got
    assert (paid.amount0 if down else paid.amount1) <= amount


def test_a_swap_stops_at_its_limit() -> None:
    for down, tick in ((True, -90), (False, 90)):
        found = swaps.swap(STATE, 10**30, down=down, limit=sqrt_at(tick))
        assert found.sqrt_x96 == sqrt_at(tick)
        assert ticks.tick_at(found.sqrt_x96) == found.tick == tick
