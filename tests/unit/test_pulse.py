"""Signs of life: who must show progress, and who is told."""

import asyncio

import pytest

from core import systemd
from core.pulse import Feed, Pulse
from tests.unit.clocks import FakeClock, TurnedClock


def test_a_part_is_overdue_until_it_beats_again() -> None:
    clock = FakeClock()
    pulse = Pulse(clock)
    assert pulse.still() == []
    slow, quick = pulse.part("slow", within_s=100), pulse.part("quick", within_s=10)
    clock.seconds += 11
    assert pulse.still() == ["quick"]
    quick()
    assert pulse.still() == []
    clock.seconds += 95
    slow()
    assert pulse.still() == ["quick"]


async def test_the_feed_stops_while_a_part_is_overdue(caplog: pytest.LogCaptureFixture) -> None:
    clock = TurnedClock()
    pulse, fed = Pulse(clock), []
    beat = pulse.part("chain", within_s=30)
    running = asyncio.create_task(
        Feed(pulse, lambda: fed.append(clock.seconds), every_s=10, name="f", clock=clock).run()
    )
    await clock.turn(95)
    assert [at - 1_000 for at in fed] == [0, 10, 20, 30]
    assert "no progress" in caplog.text
    beat()
    await clock.turn(10)
    assert len(fed) == 5
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "60000000"}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "7"}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "8"}, None),  # a child of whom it watches
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_systemd_says_whom_it_watches_and_how_often(environ: dict[str, str], expected: float | None) -> None:
    assert systemd.watchdog_s(environ, pid=7) == expected
