"""Plans of droids: bounds that hold whatever is held. What they do on chain: tests/anvil/test_droids.py."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.ticks import sqrt_at
from droids import ladder, plan
from droids.market import Market, Span
from droids.plan import Held, Place, Terms
from tests import make
from tests.droids import BOTH, droid, spot

PLACE = Place(manager=make.address("manager"), token0=b"\1" * 20, token1=b"\2" * 20, wallet=make.address("wallet"))
TERMS = Terms(deadline=9)
HELD = st.lists(
    st.tuples(st.integers(-20, 20), st.integers(1, 20), st.integers(0, 10**18), st.integers(0, 10**9)), max_size=4
)


@given(st.sampled_from(BOTH), st.decimals(2600, 3900, places=3), HELD, st.tuples(*[st.integers(0, 10**20)] * 2))
def test_a_plan_opens_no_more_than_it_closes_and_is_idle(
    of: Market, price: Decimal, held: list[tuple[int, int, int, int]], idle: tuple[int, int]
) -> None:
    at = spot(of, price)
    bucket = at.tick // 60 * 60
    positions = [
        Held(number, Span(bucket + 60 * low, bucket + 60 * (low + wide)), size, (fees, fees // 7))
        for number, (low, wide, size, fees) in enumerate(held)
    ]
    spans = ladder.rungs(droid(minPrice=1, maxPrice=10**6), of, at.tick, Decimal(0))
    made = plan.moved(
        of, PLACE, positions, spans, sqrt_x96=at.sqrt_x96, funding=10**40, idle=idle, terms=TERMS
    )  # fmt: skip
    if made is None:
        return
    have = [idle[side] + sum(each.gives[side] for each in made.closings) for side in (0, 1)]
    for side in (0, 1):
        assert sum(each.offered[side] for each in made.openings) <= have[side]
        assert made.idle[side] == have[side] - sum(each.takes[side] for each in made.openings) >= 0
    for opening in made.openings:
        assert all(
            low <= mid <= top for low, mid, top in zip(opening.least, opening.takes, opening.offered, strict=True)
        )
    assert made.after <= made.before


def test_a_few_base_units_are_sized_to_no_negative_amount() -> None:
    """Found by chance: what was short by a unit was shared out as -1, which no calldata can say."""
    of, at = BOTH[0], spot(BOTH[0], 2600)
    spans = ladder.rungs(droid(minPrice=1, maxPrice=10**6), of, at.tick, Decimal(0))
    for other in range(40):
        for available in ((1051, other), (other, 1051), (other, other)):
            shares = ladder.sized(
                spans, ladder.linear(len(spans)), sqrt_x96=at.sqrt_x96, funding=10**40, available=available
            )
            assert all(share.liquidity > 0 and min(share.amounts) >= 0 for share in shares)
            assert all(sum(share.amounts[side] for share in shares) <= available[side] for side in (0, 1))


def test_without_positions_there_is_nothing_to_end() -> None:
    assert plan.ended(BOTH[0], PLACE, [], sqrt_x96=sqrt_at(0), idle=(5, 5), terms=TERMS) is None


@pytest.mark.parametrize("slip", [-1, 301])
def test_a_slip_beyond_the_cap_is_refused(slip: int) -> None:
    with pytest.raises(ValueError, match=f"slip_bps: expected 0 to 300, found {slip}"):
        Terms(slip_bps=slip, deadline=1)
