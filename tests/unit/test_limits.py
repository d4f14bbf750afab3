"""What is learned of an endpoint: properties of the rules, whatever happens in whatever order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.rpc.limits import (
    BATCHES,
    BREAK_AFTER,
    BREAK_S,
    FIRST_LOGS,
    LEAST_RATE,
    LEAST_WINDOW,
    MOST_LOGS,
    MOST_WINDOW,
    BatchSize,
    Breaker,
    Latency,
    Learned,
    LogSpan,
    Rate,
    Window,
)

EVENTS = st.lists(st.tuples(st.booleans(), st.integers(1, 64), st.floats(0.001, 2.0)), max_size=300)


@given(EVENTS)
def test_the_window_stays_within_its_bounds_whatever_happens(events: list[tuple[bool, int, float]]) -> None:
    window, now = Window(), 0.0
    for good, under_way, seconds in events:
        now += seconds
        if good:
            window.answered(under_way)
        else:
            window.overloaded(now - seconds, now)
        assert LEAST_WINDOW <= window.size <= MOST_WINDOW
        assert window.width >= 1


@given(st.integers(1, 64), st.integers(0, 200))
def test_a_window_that_is_not_full_does_not_grow(size: int, answers: int) -> None:
    window = Window(float(size))
    for _ in range(answers):
        window.answered(window.width - 1)
    assert window.width == size


@given(st.integers(2, 64), st.integers(1, 64))
def test_refusals_of_one_round_trip_cut_the_window_once(size: int, refusals: int) -> None:
    window = Window(float(size))
    for i in range(refusals):
        window.overloaded(10.0, 10.1 + i / 1000)
    assert window.size == max(size / 2, 1.0)
    window.overloaded(11.0, 11.1)
    assert window.size == max(size / 4, 1.0)


def test_refusals_that_come_quicker_than_answers_do_not_close_the_window() -> None:
    window = Window(32.0)
    assert window.overloaded(10.0, 10.001, 0.1)
    assert not any(window.overloaded(10.001 + i / 1000, 10.002 + i / 1000, 0.1) for i in range(90))
    assert window.width == 16
    assert window.overloaded(10.2, 10.3, 0.1)


def test_the_rate_is_lowered_once_for_a_second_of_refusals() -> None:
    rate = Rate(100.0)
    for i in range(100):
        rate.refused(10 + i / 100, 10.001 + i / 100)
    assert rate.per_s == 80.0


def test_the_window_doubles_each_round_until_the_first_overload_and_then_adds_one() -> None:
    window = Window()
    for expected in (16, 32, 64):
        for _ in range(window.width):
            window.answered(64)
        assert window.width == expected
    window.overloaded(1.0, 1.1)
    assert window.width == 32
    for _ in range(33):
        window.answered(64)
    assert window.width == 33


def test_the_window_does_not_grow_while_requests_queue() -> None:
    window = Window()
    for _ in range(100):
        window.answered(64, queueing=True)
    assert window.width == 8
    assert not window.learned


@given(st.integers(1, 60))
def test_the_window_settles_around_what_the_endpoint_bears(bears: int) -> None:
    """A server that refuses above `bears` at once, asked as wide as the window: 200 rounds of a tenth of a second."""
    window = Window()
    seen: list[int] = []
    for turn in range(200):
        now, width = float(turn), window.width
        for i in range(width):
            if i < bears:
                window.answered(width)
            else:
                window.overloaded(now, now + 0.1)
        seen.append(width)
    settled = seen[100:]
    assert max(settled) <= max(bears + 2, 2)
    assert sum(settled) / len(settled) >= bears * 0.6


def test_there_is_no_rate_until_one_is_refused() -> None:
    rate = Rate()
    assert [rate.take(100, 0.0) for _ in range(1000)] == [0.0] * 1000
    assert rate.per_s is None


@pytest.mark.parametrize(("seconds", "per_s"), [(0.5, 200), (1.5, 200), (10, 200), (3, 40)])
def test_the_first_rate_is_a_little_less_than_what_was_borne(seconds: float, per_s: int) -> None:
    rate = Rate()
    for i in range(int(seconds * 20)):
        rate.answered(per_s // 20, 100 + i / 20)
    rate.refused(100 + seconds, 100 + seconds)
    assert rate.per_s is not None
    assert per_s * 0.7 <= rate.per_s <= per_s


def test_a_rate_that_nobody_uses_up_is_not_raised() -> None:
    rate = Rate(100.0)
    for i in range(100):
        rate.take(1, float(i))
    assert rate.per_s == 100.0


@given(st.lists(st.tuples(st.integers(1, 50), st.floats(0.0, 1.0)), min_size=30, max_size=200), st.floats(5.0, 500.0))
def test_calls_are_sent_no_faster_than_the_rate(takes: list[tuple[int, float]], per_s: float) -> None:
    rate, now, sent = Rate(per_s), 0.0, []
    rate.refused(10.0, 10.0)  # settles the rate at 0.8 of it from here, with no credit
    start = now = 10.0
    for calls, pause in takes:
        now += pause * 0.01
        sent.append((now + rate.take(calls, now), calls))
    last = max(at for at, _ in sent)
    allowed = per_s * 0.8 * (last - start) * 1.1  # it may be raised once in the last of this time
    assert sum(calls for _, calls in sent[:-1]) <= allowed + 50


@given(st.lists(st.booleans(), max_size=200))
def test_the_rate_never_reaches_nothing_and_rises_again(refusals: list[bool]) -> None:
    rate = Rate(10.0)
    for i, refused in enumerate(refusals):
        if refused:
            rate.refused(i * 10.0 + 1, i * 10.0 + 1)
        rate.take(1, i * 10.0 + 2)
        assert rate.per_s is not None and rate.per_s >= LEAST_RATE
    before = rate.per_s
    for i in range(10):
        rate.take(1000, 1e6 + i * 6.0)
    assert before is not None and rate.per_s is not None and rate.per_s > before * 2


def test_an_answer_is_late_only_beside_answers_of_its_own_size() -> None:
    latency = Latency()
    assert not latency.took(0.010, 1_000, 0.0)
    assert not latency.took(0.200, 1_000_000, 0.1)
    assert latency.took(0.200, 1_010, 0.2)
    assert not latency.took(0.220, 1_010_000, 0.3)
    # What was quick two minutes ago says nothing of now.
    latency.took(0.200, 1_000, 70.0)
    latency.took(0.200, 1_000, 140.0)
    assert not latency.took(0.300, 1_000, 141.0)


def test_a_distant_endpoint_is_not_a_queueing_one() -> None:
    latency = Latency()
    assert not any(latency.took(0.050 + i % 7 / 500, 100_000, i / 10) for i in range(100))


@given(st.lists(st.booleans(), max_size=60))
def test_a_breaker_opens_after_failures_in_a_row_and_closes_with_an_answer(answers: list[bool]) -> None:
    breaker, run = Breaker(), 0
    for i, good in enumerate(answers):
        now = float(i * 100)
        if good:
            breaker.answered()
        else:
            breaker.failed(now, now)
        run = 0 if good else run + 1
        assert breaker.open == (run >= BREAK_AFTER)
        assert breaker.wait_s(now) <= BREAK_S[1]
        assert breaker.wait_s(now + BREAK_S[1]) == 0.0


def test_requests_that_fail_together_are_one_outage() -> None:
    breaker = Breaker()
    for _ in range(64):
        breaker.failed(1.0, 2.0)
    assert breaker.wait_s(2.0) == BREAK_S[0]
    breaker.failed(2.5, 2.6)
    assert breaker.wait_s(2.6) == 2 * BREAK_S[0]


@given(st.integers(1, 200_000), st.lists(st.tuples(st.integers(1, 3), st.floats(0, 20)), max_size=100))
def test_a_span_of_logs_never_exceeds_what_was_learned(limit: int, events: list[tuple[int, float]]) -> None:
    """Against a provider that takes `limit` blocks and says so only by refusing."""
    span = LogSpan()
    for kind, seconds in events:
        asked = span.size
        if asked > limit:
            span.too_wide(asked, None, None)
            assert span.size < asked
            continue
        if kind == 1 and asked > 1:
            span.too_much(asked, None)
        else:
            span.answered(asked, seconds, kind * 1_000_000)
        assert 1 <= span.size <= MOST_LOGS
    assert span.most is None or span.most >= limit // 2


def test_a_span_of_logs_takes_the_number_that_is_named() -> None:
    span = LogSpan()
    span.too_wide(2_000, 500, 400)
    assert (span.size, span.most) == (500, 500)
    for _ in range(5):
        span.answered(span.size, 0.1, 10)
    assert span.size == 500
    span.too_much(500, 120)
    assert (span.size, span.most) == (120, 500)
    span.too_much(120, 120)
    assert span.size == 60


def test_a_span_of_logs_grows_only_when_it_was_used_whole() -> None:
    span = LogSpan()
    span.answered(10, 0.1, 10)
    assert span.size == FIRST_LOGS
    span.answered(FIRST_LOGS, 0.1, 10)
    assert span.size == 2 * FIRST_LOGS


@given(st.integers(2, 1000), st.integers(1, 1000) | st.none())
def test_a_batch_that_was_refused_is_smaller_next_time(calls: int, limit: int | None) -> None:
    batch = BatchSize()
    batch.too_many(calls, limit)
    assert batch.most is not None and 1 <= batch.most < calls


def test_a_batch_limit_that_was_not_named_is_tried_again_now_and_then() -> None:
    batch = BatchSize()
    batch.too_many(20, None)
    for _ in range(BATCHES):
        assert batch.most == 10
        batch.taken(4)
        batch.taken(10)
    assert batch.most == 20
    batch.too_many(20, None)
    for _ in range(BATCHES * 3):
        batch.taken(10)
    assert batch.most == 10
    batch.too_many(10, 3)
    for _ in range(BATCHES * 100):
        batch.taken(3)
    assert batch.most == 3


def test_nothing_learned_is_nothing_to_remember() -> None:
    assert Learned().nothing
    assert not Learned(block_receipts=False).nothing
