"""What a chain's blocks have to pass is remembered, and only ever grows."""

import logging
from collections.abc import Collection

import pytest

from core.errors import Unverified
from core.rpc.calibrate import Calibration
from core.store.verified import ChainChecks, Completeness
from core.types import BlockRef
from core.verify.checks import ALL, NONE, Check, Level
from indexer.calibration import FIRST_S, MOST_S, Calibrator, LevelWatch
from tests.unit.clocks import FakeClock

WEAK = ALL & ~Check.BLOCK_HASH
WHY = Unverified(BlockRef(5, bytes(32)), "block_hash", "hash of the header", "0x01", "0x02")


class Remembered:
    """A LevelStore in memory."""

    def __init__(self, held: Check | None = None) -> None:
        self.held = held
        self.without = NONE
        self.failed_at: tuple[int, ...] = ()

    async def level(self) -> ChainChecks | None:
        return None if self.held is None else ChainChecks(self.held, self.held & ~self.without, self.failed_at)

    async def calibrated(self, holds: Check, without: Check, failed_at: Collection[int] = ()) -> ChainChecks:
        self.held, self.without = (self.held or NONE) | holds, without
        self.failed_at = tuple(sorted({*self.failed_at, *failed_at}))
        return ChainChecks(self.held, self.held & ~without, self.failed_at)

    async def completeness(self) -> Completeness:
        return Completeness(self.held, 200, 150)

    async def count_quarantined(self) -> int:
        return 3


class Meter:
    def __init__(self) -> None:
        self.weaker: list[int] = []
        self.shown: list[tuple[float | None, int]] = []

    def weakened(self, checks: int) -> None:
        self.weaker.append(checks)

    def completeness(self, share: float | None, quarantined: int) -> None:
        self.shown.append((share, quarantined))


def calibrator(
    store: Remembered, *found: Calibration, meter: Meter | None = None, without: Check = NONE
) -> tuple[Calibrator, Level, FakeClock]:
    answers, level, clock = list(found), Level(NONE), FakeClock()

    async def look(also: Collection[int]) -> Calibration:
        assert set(also) == set(store.failed_at)
        if not answers:
            raise EndOfTest
        return answers.pop(0)

    made = Calibrator(look, store, level, name="one", meter=meter or Meter(), without=without, clock=clock)
    return made, level, clock


class EndOfTest(Exception):
    """Nothing more is to be found."""


async def test_the_first_start_finds_out_what_holds() -> None:
    store = Remembered()
    made, level, _ = calibrator(store, Calibration(WEAK, {Check.BLOCK_HASH: WHY}, 24))
    await made.begin()
    assert (level.checks, store.held) == (WEAK, WEAK)


async def test_a_later_start_goes_by_what_is_remembered_and_asks_nobody() -> None:
    made, level, _ = calibrator(Remembered(ALL))
    await made.begin()
    assert level.checks == ALL


async def test_what_fails_now_and_held_before_stays_on_and_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    store, meter = Remembered(ALL), Meter()
    made, level, _ = calibrator(store, Calibration(WEAK, {Check.BLOCK_HASH: WHY}, 24), meter=meter)
    await made.step()
    assert (level.checks, store.held, meter.weaker) == (ALL, ALL, [1])
    [record] = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert vars(record)["weaker"] == ["block_hash"]


async def test_what_could_not_be_told_before_is_added() -> None:
    made, level, _ = calibrator(Remembered(WEAK), Calibration(ALL, {}, 24))
    await made.begin()
    assert level.checks == WEAK
    await made.step()
    assert level.checks == ALL


async def test_a_block_that_failed_is_among_those_of_every_later_look() -> None:
    store = Remembered()
    made, _, _ = calibrator(store, Calibration(WEAK, {Check.BLOCK_HASH: WHY}, 24), Calibration(ALL, {}, 24))
    await made.begin()
    assert store.failed_at == (5,)
    await made.step()  # `look` asserts what it is given
    assert store.failed_at == (5,)


async def test_settings_leave_a_check_out_and_take_it_back() -> None:
    store = Remembered(ALL)
    made, level, _ = calibrator(store, without=Check.BLOCK_HASH)
    await made.begin()
    assert (level.checks, store.held) == (WEAK, ALL)
    made, level, _ = calibrator(store)
    await made.begin()
    assert level.checks == ALL


async def test_it_looks_again_soon_while_something_is_open_and_daily_after() -> None:
    open_, whole = Calibration(Check.BLOCK_HASH, {}, 1), Calibration(ALL, {}, 24)
    made, _, clock = calibrator(Remembered(), open_, open_, whole)
    with pytest.raises(EndOfTest):
        await made.run()
    assert clock.slept == [FIRST_S, FIRST_S * 2, FIRST_S * 4, MOST_S]


async def test_another_process_takes_over_what_was_found_and_shows_completeness() -> None:
    level, meter = Level(NONE), Meter()

    class Once(FakeClock):
        async def sleep(self, seconds: float) -> None:
            raise EndOfTest

    watch = LevelWatch(Remembered(WEAK), level, name="one", meter=meter, clock=Once())
    with pytest.raises(EndOfTest):
        await watch.run()
    assert (level.checks, meter.shown) == (WEAK, [(0.75, 3)])
