"""Guards of droids, what receipts say, what slots show, what all is worth: pure parts of the loop."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from eth_abi.abi import encode

from builders import uniswap_v3
from builders.call import topic
from builders.ticks import sqrt_at
from builders.uniswap_v3 import Range
from core.types import Log
from droids import effects, guards
from droids.bots import Placed, slots
from droids.effects import Entry, Unexpected
from droids.guards import Cost, Limits, Scene, Word
from droids.market import Span
from droids.plan import Held, Place
from droids.records import BotStatus
from droids.worth import Books, lvr_of, worth
from tests.droids import BOTH, market
from tests.make import address
from wallet.types import State

LIMITS = Limits(head_age_s=60, twap_s=300, twap_ticks=100, min_native=1_000, slip_bps=50)
FINE = Scene(halted=None, alarmed=False, head_age_s=60, tick=-5, twap_tick=95, native=1_000)
PLACE = Place(manager=address("manager"), token0=address("a"), token1=address("b"), wallet=address("wallet"))
POOL = address("pool")
NOBODY = bytes(20)


def test_nothing_speaks_against_a_fine_scene() -> None:
    assert [guards.now(FINE, LIMITS, leaving=leaving) for leaving in (True, False)] == [None, None]


@pytest.mark.parametrize(
    ("fields", "word", "leaving_too"),
    [
        ({"halted": "a drill"}, Word.HALTED, True),
        ({"alarmed": True}, Word.ALARM, True),
        ({"head_age_s": 61}, Word.HEAD_STALE, True),
        ({"twap_tick": 96}, Word.TWAP, True),
        ({"twap_tick": -106}, Word.TWAP, True),
        ({"twap_tick": None}, Word.TWAP, False),
        ({"native": 999}, Word.NATIVE_LOW, False),
    ],
)
def test_each_guard_refuses_and_only_some_of_them_exits(fields: dict[str, Any], word: Word, leaving_too: bool) -> None:
    scene = replace(FINE, **fields)
    entering, leaving = (guards.now(scene, LIMITS, leaving=each) for each in (False, True))
    assert entering is not None and entering.word is word and entering.why
    assert (leaving is not None) == leaving_too


def test_a_budget_has_room_for_the_exit_too() -> None:
    cost = Cost(
        gas=1_500_000, exit_gas=guards.exit_gas(5), gas_price=10**9, native_price=Decimal(3_000), spent_usd=Decimal(90)
    )
    assert guards.exit_gas(5) == 1_010_000
    assert cost.usd == Decimal("7.53")
    assert guards.budget(cost, Decimal("97.53")) is None
    refusal = guards.budget(cost, Decimal("97.529"))
    assert refusal is not None and refusal.word is Word.GAS_BUDGET


def test_funding_and_value_have_their_limits() -> None:
    assert guards.funding(1_000_101, 1_000_000) is None
    more, less = guards.funding(1_000_102, 1_000_000), guards.value(10_000, 9_949, 50)
    assert more is not None and more.word is Word.FUNDING
    assert guards.value(10_000, 9_950, 50) is None
    assert less is not None and less.word is Word.VALUE_LOSS


# Receipts.


def log(
    index: int, event: str, topics: list[int | bytes], types: list[str], *data: object, at: bytes = PLACE.manager
) -> Log:
    words = [each.to_bytes(32) if isinstance(each, int) else each.rjust(32, b"\0") for each in topics]
    return Log(address=at, topics=(topic(event), *words), data=encode(types, data), index=index)


def increased(index: int, token: int, liquidity: int, *of: int) -> Log:
    types = ["uint128", "uint256", "uint256"]
    return log(index, "IncreaseLiquidity(uint256,uint128,uint256,uint256)", [token], types, liquidity, *of)


def moved(index: int, token: int, sender: bytes, recipient: bytes) -> Log:
    return log(index, "Transfer(address,address,uint256)", [sender, recipient, token], [])


def closing(index: int, token: int, got: tuple[int, int], paid: tuple[int, int], pool: bytes = POOL) -> list[Log]:
    two, collected = ["uint256", "uint256"], ["address", "uint256", "uint256"]
    to = "0x" + PLACE.wallet.hex()
    ticks = (60).to_bytes(32), (120).to_bytes(32)
    return [
        log(index, "DecreaseLiquidity(uint256,uint128,uint256,uint256)", [token], ["uint128", *two], 7, *got),
        log(
            index + 1, "Collect(address,address,int24,int24,uint128,uint128)", [PLACE.manager, *ticks],
            ["address", "uint128", "uint128"], to, *paid, at=pool,
        ),
        log(index + 2, "Collect(uint256,address,uint256,uint256)", [token], collected, to, paid[0] + 1, paid[1]),
        moved(index + 3, token, PLACE.wallet, NOBODY),
    ]  # fmt: skip


def call() -> Any:
    where = Range(token0=PLACE.token0, token1=PLACE.token1, fee=3000, tick_lower=60, tick_upper=180)
    calls = [
        uniswap_v3.decrease(PLACE.manager, 5, 7, least=(0, 0), deadline=9),
        uniswap_v3.collect(PLACE.manager, 5, recipient=PLACE.wallet),
        uniswap_v3.burn(PLACE.manager, 5),
        uniswap_v3.mint(PLACE.manager, where, 100, 200, recipient=PLACE.wallet, deadline=9),
    ]
    return uniswap_v3.multicall(PLACE.manager, calls)


GOOD = [*closing(3, 5, (50, 60), (53, 59)), moved(8, 6, NOBODY, PLACE.wallet), increased(9, 6, 11, 90, 80)]


def test_a_receipt_tells_principal_fees_and_what_was_put_in_to_the_wei() -> None:
    done = effects.done(call(), GOOD, PLACE, POOL)
    assert [(each.token_id, each.span, each.liquidity, each.put) for each in done.opened] == [
        (6, Span(60, 180), 11, (90, 80))
    ]
    assert [(each.token_id, each.got, each.fees) for each in done.closed] == [(5, (50, 60), (3, -1))]
    lines = effects.entries(done, PLACE)
    assert lines == (
        Entry(9, PLACE.token0, "put", -90, 6), Entry(9, PLACE.token1, "put", -80, 6),
        Entry(5, PLACE.token0, "principal", 50, 5), Entry(5, PLACE.token1, "principal", 60, 5),
        Entry(5, PLACE.token0, "fee", 3, 5), Entry(5, PLACE.token1, "fee", -1, 5),
    )  # fmt: skip
    effects.require_same(lines, {PLACE.token0: -37, PLACE.token1: -21, b"": -5}, PLACE)
    with pytest.raises(Unexpected, match=r"-37 by positions, -36 by transfers"):
        effects.require_same(lines, {PLACE.token0: -36, PLACE.token1: -21}, PLACE)


@pytest.mark.parametrize(
    ("logs", "why"),
    [
        (GOOD[:4], "expected 1 positions to be opened, found 0"),
        ([*GOOD[:3], *GOOD[4:]], "to be burnt"),
        ([*GOOD, increased(10, 7, 1, 1, 1)], "more positions"),
        ([*GOOD, moved(10, 6, PLACE.wallet, address("thief"))], "went to"),
        ([*closing(3, 5, (50, 60), (53, 59), pool=address("other")), *GOOD[4:]], "paid"),
        ([*GOOD[:5], increased(9, 8, 11, 90, 80)], "NFTs"),
    ],
)
def test_a_receipt_that_says_anything_else_is_for_a_person(logs: list[Log], why: str) -> None:
    with pytest.raises(Unexpected, match=why):
        effects.done(call(), logs, PLACE, POOL)


# Slots.


def test_slots_follow_from_positions_and_the_move_under_way() -> None:
    placed = {0: Placed(5, Span(0, 60), 9), 2: Placed(6, Span(60, 120), 8)}
    ladder = [Span(60, 120), Span(120, 180)]

    def shown(kind: str, state: State | None) -> list[tuple[int, str]]:
        return [(each.slot, each.status) for each in slots(placed, kind, ladder if kind == "rebalance" else (), state)]

    a, c = BotStatus.ACTIVE, BotStatus.CLOSING
    assert shown("", None) == [(0, a), (2, a)]
    assert shown("approve", State.PENDING) == [(0, a), (2, a)]
    assert shown("rebalance", State.QUEUED) == [(0, a), (1, BotStatus.PLANNED), (2, a)]
    assert shown("rebalance", State.MINED) == [(0, c), (1, BotStatus.OPENING), (2, c)]
    assert shown("close", State.PENDING) == [(0, c), (2, c)]


# Worth.


def test_worth_is_the_same_in_both_token_orders() -> None:
    found = []
    for of in BOTH:
        span = Span(-201_000, -199_000) if of.base_is_token0 else Span(199_000, 201_000)
        tick = -200_400 if of.base_is_token0 else 200_400
        held = [Held(1, span, 10**16, of.split((10**14, 10**5)))]
        tokens = (address("base"), address("quote")) if of.base_is_token0 else (address("quote"), address("base"))
        flows = {
            ("opening", address("base")): 10**18,
            ("external", address("quote")): 10**9,
            ("fee", address("quote")): 77,
        }
        past = [(of.split((10**17, 0)), of.split((0, 10**8)), sqrt_at(tick))]
        books = Books(
            flows=flows, past=past, put=of.split((10**17, 10**8)), gas_wei=5, gas_usd=Decimal(1), lvr=-3
        )  # fmt: skip
        found.append(worth(of, tokens, books, held, sqrt_x96=sqrt_at(tick), idle=of.split((10**15, 10**6)), native=6))
    one, other = found
    assert one.positions[0] > 0 and one.positions[1] > 0
    assert one.idle == (10**15, 10**6) and one.fees == (10**14, 10**5)
    assert (one.gas_wei, one.gas_usd, one.lvr, one.eth_wallet) == (5, Decimal(1), -3, 6)
    for name in ("aum", "hold", "fees_earned", "il"):
        assert abs(getattr(one, name) - getattr(other, name)) <= 5, name
    assert one.aum == one.positions[1] + one.idle[1] + one.fees[1] + market().quote_of(
        one.positions[0] + one.idle[0] + one.fees[0], sqrt_at(-200_400)
    )


def test_arbitrage_takes_from_a_position_whichever_way_the_price_goes() -> None:
    of = market()
    held = [Held(1, Span(-201_000, -199_000), 10**16, (0, 0))]
    here = sqrt_at(-200_400)
    assert lvr_of(of, held, here, here) == 0
    assert all(lvr_of(of, held, here, sqrt_at(tick)) > 0 for tick in (-200_900, -200_000, -199_500))
    # Beyond its range a position is one token alone: nobody takes anything.
    assert abs(lvr_of(of, held, sqrt_at(-198_900), sqrt_at(-198_000))) <= 2
