"""Late reads are asked of a second endpoint, on a clock that the test turns."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

from core.errors import BadAnswer, RpcUnavailable
from core.rpc.client import Seat
from core.rpc.endpoint import Aside
from core.rpc.hedge import ENOUGH, FIRST_S, FLOOR_S, MOST_EXTRA, Hedges
from core.rpc.pool import RpcPool
from tests.unit.clocks import TurnedClock, settled
from tests.unit.test_pool import Fake


class Counted:
    def __init__(self) -> None:
        self.outcomes: list[str] = []

    def hedged(self, outcome: str) -> None:
        self.outcomes.append(outcome)


class Race:
    """Two endpoints, and reads that each answers when the test says so."""

    def __init__(self, *names: str) -> None:
        self.clock, self.meter = TurnedClock(), Counted()
        self.hedges = Hedges(self.meter)
        self.pool = RpcPool(
            [Fake(name) for name in names], chain_id=7, sticky=True, hedges=self.hedges, clock=self.clock,
            dice=random.Random(1),
        )  # fmt: skip
        self.asked: list[str] = []
        self.cancelled: list[str] = []
        self.gates = {f"http://{name}.test": asyncio.get_running_loop().create_future() for name in names}

    async def ask(self, seat: Seat) -> str:
        self.asked.append(seat.host)
        try:
            return str(await asyncio.shield(self.gates[seat.host]))
        except asyncio.CancelledError:
            self.cancelled.append(seat.host)
            raise

    def read(self, kind: str = "blocks") -> "asyncio.Task[str]":
        return asyncio.ensure_future(self.pool.answer(self.ask, read=kind))

    def answers(self, name: str, said: str | Exception) -> None:
        gate = self.gates[f"http://{name}.test"]
        if isinstance(said, Exception):
            gate.set_exception(said)
        else:
            gate.set_result(said)


A, B = "http://a.test", "http://b.test"


async def test_a_read_that_is_late_is_asked_of_the_second_and_the_first_answer_counts() -> None:
    race = Race("a", "b")
    reading = race.read()
    await race.clock.turn(FIRST_S * 0.9)
    assert race.asked == [A]
    await race.clock.turn(FIRST_S * 0.2)
    assert race.asked == [A, B]
    race.answers("b", "theirs")
    assert await reading == "theirs"
    assert race.cancelled == [A]
    assert race.meter.outcomes == ["won"]


async def test_the_first_may_answer_after_all() -> None:
    race = Race("a", "b")
    reading = race.read()
    await race.clock.turn(FIRST_S * 1.1)
    race.answers("a", "ours")
    assert await reading == "ours"
    assert (race.cancelled, race.meter.outcomes) == ([B], ["lost"])


async def test_a_bad_answer_does_not_win() -> None:
    race = Race("a", "b")
    reading = race.read()
    await race.clock.turn(FIRST_S * 1.1)
    race.answers("b", BadAnswer("contradicts itself"))
    await settled()
    assert not reading.done()
    race.answers("a", "ours")
    assert await reading == "ours"


async def test_a_read_that_fails_before_it_is_late_goes_to_the_next_at_once() -> None:
    race = Race("a", "b")
    reading = race.read()
    race.answers("a", RpcUnavailable("down"))
    race.answers("b", "theirs")
    assert await reading == "theirs"
    assert race.meter.outcomes == []


async def test_where_both_fail_the_third_is_asked_and_the_pool_goes_on_as_ever() -> None:
    race = Race("a", "b", "c")
    reading = race.read()
    await race.clock.turn(FIRST_S * 1.1)
    race.answers("a", RpcUnavailable("down"))
    race.answers("b", RpcUnavailable("down"))
    race.answers("c", "at last")
    assert await reading == "at last"
    assert race.asked == [A, B, "http://c.test"]
    assert race.meter.outcomes == ["failed"]


async def test_a_single_endpoint_is_never_raced_and_no_task_is_made() -> None:
    race = Race("a")
    race.answers("a", "ours")
    before = len(asyncio.all_tasks())

    async def ask(seat: Seat) -> int:
        return len(asyncio.all_tasks())

    assert await race.pool.answer(ask, read="blocks") == before
    assert race.clock.slept == []


async def test_what_names_no_kind_of_read_is_never_raced() -> None:
    race = Race("a", "b")
    reading = asyncio.ensure_future(race.pool.answer(race.ask))
    await race.clock.turn(60)
    assert race.asked == [A]
    race.answers("a", "ours")
    assert await reading == "ours"


async def test_one_that_lags_is_not_asked_for_speed() -> None:
    race = Race("a", "b")
    race.pool.endpoints[1].put_aside(Aside.LAGGING)
    reading = race.read()
    await race.clock.turn(60)
    assert race.asked == [A]
    race.answers("a", "ours")
    await reading


def test_late_is_what_is_slower_than_nearly_all_of_its_kind_were() -> None:
    hedges = Hedges(Counted())
    for n in range(ENOUGH - 1):
        hedges.took("a", "blocks", 0.1 + n / 1000)
    assert hedges.late_after_s("a", "blocks") == FIRST_S
    for n in range(ENOUGH, 101):
        hedges.took("a", "blocks", 0.1 + n / 1000)
    assert hedges.late_after_s("a", "blocks") == pytest.approx(0.195, abs=0.003)
    assert hedges.late_after_s("a", "head") == FIRST_S
    assert hedges.late_after_s("b", "blocks") == FIRST_S
    for _ in range(ENOUGH):
        hedges.took("near", "blocks", 0.001)
    assert hedges.late_after_s("near", "blocks") == FLOOR_S


def test_second_requests_are_few() -> None:
    meter = Counted()
    hedges = Hedges(meter)
    given = sum(hedges.spend() for _ in range(20))
    assert given == MOST_EXTRA
    for _ in range(1_000):
        hedges.took("a", "blocks", 1.0)
        given += hedges.spend()
    assert given <= MOST_EXTRA + 1_000 * 0.05 + 1
    assert "withheld" in meter.outcomes


async def test_one_that_is_overtaken_again_and_again_is_out_although_no_request_ended() -> None:
    race = Race("a", "b")
    race.answers("b", "theirs")
    for _ in range(3):
        reading = race.read()
        await race.clock.turn(FIRST_S * 1.1)
        assert await reading == "theirs"
    assert race.pool.endpoints[0].out
    race.asked.clear()
    assert await race.read() == "theirs"
    assert race.asked == [B]


async def test_a_read_that_is_given_up_gives_up_both() -> None:
    race = Race("a", "b")
    reading = race.read()
    await race.clock.turn(FIRST_S * 1.1)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    assert sorted(race.cancelled) == [A, B]


# -- primaries ---------------------------------------------------------------------------------------------------------


async def test_primaries_share_the_load_and_fallbacks_do_not() -> None:
    first, second, fallback = Fake("a"), Fake("b"), Fake("c")
    pool = RpcPool([first, second, fallback], chain_id=7, primaries=2, dice=random.Random(1))
    gate = asyncio.Event()

    def held(fake: Fake) -> Callable[..., Awaitable[object]]:
        answer = fake.raw

        async def raw(method: str, *params: object) -> object:
            if method != "eth_chainId":
                await gate.wait()
            return await answer(method, *params)

        return raw

    await asyncio.gather(*(pool.word(each, lambda seat: seat.call("eth_a")) for each in pool.endpoints))
    for fake in (first, second, fallback):
        fake.asked.clear()
        fake.raw = held(fake)  # type: ignore[method-assign, assignment]
    waiting = []
    for _ in range(10):
        waiting.append(asyncio.ensure_future(pool.call("eth_a")))
        await settled()
    gate.set()
    await asyncio.gather(*waiting)
    assert [len(each.asked) for each in (first, second, fallback)] == [5, 5, 0]
