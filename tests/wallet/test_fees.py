"""What is paid: exact integers."""

from hypothesis import given
from hypothesis import strategies as st

from wallet.fees import History, TooHigh, cancel_cap, gas_limit, quote, replacement
from wallet.types import Fees

FEE = st.integers(0, 10**15)


def history(*tips: tuple[int, ...], base: int = 100, filled: tuple[bool, ...] | None = None) -> History:
    return History(next_base_fee=base, tips=tips, filled=filled or (True,) * len(tips))


TIPS = (50, 40, 30, 20, 10)  # of one block, the fastest first


def test_priority_one_is_the_fastest() -> None:
    paid = [quote(history(TIPS), priority, min_tip=0, cap=1_000) for priority in range(1, 6)]
    assert paid == [Fees(200 + tip, tip) for tip in TIPS]


def test_the_tip_is_the_median_over_blocks_that_were_not_empty() -> None:
    blocks = history((9,) * 5, (0,) * 5, (0,) * 5, (5,) * 5, (7,) * 5, filled=(True, False, False, True, True))
    assert quote(blocks, 3, min_tip=0, cap=1_000) == Fees(207, 7)


def test_the_tip_has_a_floor() -> None:
    assert quote(history((0,) * 5), 3, min_tip=3, cap=1_000) == Fees(203, 3)
    assert quote(history(), 3, min_tip=0, cap=1_000) == Fees(200, 0)


def test_the_cap_takes_room_first_and_then_defers() -> None:
    assert quote(history(TIPS), 1, min_tip=0, cap=150) == Fees(150, 50)
    assert quote(history(TIPS), 1, min_tip=0, cap=149) == TooHigh(150, 149)


def test_a_replacement_is_an_eighth_more_in_both_fields_rounded_up() -> None:
    assert replacement(Fees(1_000, 81), TooHigh(1, 0), cap=10_000) == Fees(1_125, 92)
    assert replacement(Fees(8, 0), TooHigh(1, 0), cap=10_000) == Fees(9, 1)


def test_a_replacement_pays_what_is_asked_now_if_that_is_more() -> None:
    assert replacement(Fees(100, 10), Fees(400, 30), cap=10_000) == Fees(400, 30)
    assert replacement(Fees(100, 10), Fees(400, 5), cap=10_000) == Fees(400, 12)


def test_nothing_is_replaced_above_the_cap_but_a_cancellation_has_one_step_more() -> None:
    assert replacement(Fees(1_000, 10), Fees(1_000, 10), cap=1_124) is None
    assert replacement(Fees(1_000, 10), Fees(1_000, 10), cap=1_125) == Fees(1_125, 12)
    assert replacement(Fees(1_000, 10), Fees(1_000, 10), cap=cancel_cap(1_000)) == Fees(1_125, 12)


@given(cap=FEE, tip=FEE, asked=st.tuples(FEE, FEE))
def test_geth_takes_every_replacement(cap: int, tip: int, asked: tuple[int, int]) -> None:
    old, current = Fees(max(cap, tip), tip), Fees(max(asked), min(asked))
    new = replacement(old, current, cap=10**18)
    assert new is not None
    for before, after in ((old.cap, new.cap), (old.tip, new.tip)):
        # core/txpool/legacypool/list.go: more than before, and at least (100 + PriceBump)/100 of it, rounded down.
        assert after > before
        assert after >= before * 110 // 100
        assert after * 8 >= before * 9
    assert new.tip <= new.cap


def test_the_gas_limit_is_a_quarter_more_rounded_up() -> None:
    assert [gas_limit(gas) for gas in (21_000, 1, 4)] == [26_250, 2, 5]
