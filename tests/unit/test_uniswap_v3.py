"""Calls to Uniswap's position manager and routers, and what their logs say."""

from dataclasses import replace

import pytest
from eth_abi.abi import decode, encode

from builders import uniswap_v3
from builders.call import Call, topic
from builders.uniswap_v3 import Collected, Decreased, Increased, Moved, Paid, Range
from core.types import Log
from tests import make

MANAGER, ROUTER, WALLET, POOL = (make.address(name) for name in ("manager", "router", "wallet", "pool"))
TOKEN0, TOKEN1 = bytes([1]) * 20, bytes([2]) * 20
WHERE = Range(token0=TOKEN0, token1=TOKEN1, fee=3000, tick_lower=-600, tick_upper=1200)


def hexed(address: bytes) -> str:
    return "0x" + address.hex()


def test_selectors_are_those_of_the_deployed_contracts() -> None:
    # As block explorers show them for the position manager and SwapRouter02.
    made = {
        "88316456": uniswap_v3.mint(MANAGER, WHERE, 1, 2, recipient=WALLET, deadline=9),
        "0c49ccbe": uniswap_v3.decrease(MANAGER, 7, 8, least=(1, 2), deadline=9),
        "fc6f7865": uniswap_v3.collect(MANAGER, 7, recipient=WALLET),
        "42966c68": uniswap_v3.burn(MANAGER, 7),
        "ac9650d8": uniswap_v3.multicall(MANAGER, [uniswap_v3.burn(MANAGER, 7)]),
        "5ae401dc": uniswap_v3.swap_02(ROUTER, (TOKEN0, 500, TOKEN1), 5, recipient=WALLET, deadline=9, least_out=4),
    }
    assert {call.data[:4].hex() for call in made.values()} == made.keys()


def test_a_mint_carries_its_minimums() -> None:
    call = uniswap_v3.mint(MANAGER, WHERE, 10, 20, recipient=WALLET, deadline=9, least=(9, 19))
    words = decode(
        ["(address,address,uint24,int24,int24,uint256,uint256,uint256,uint256,address,uint256)"], call.data[4:]
    )
    assert words[0] == (hexed(TOKEN0), hexed(TOKEN1), 3000, -600, 1200, 10, 20, 9, 19, hexed(WALLET), 9)


def test_a_swap_of_the_second_router_has_a_deadline_and_its_limit() -> None:
    path = (TOKEN0, 500, TOKEN1)
    call = uniswap_v3.swap_02(ROUTER, path, 5, recipient=WALLET, deadline=9, least_out=4, limit=77)
    deadline, (order,) = decode(["uint256", "bytes[]"], call.data[4:])
    assert (deadline, order[:4].hex()) == (9, "04e45aaf")
    (words,) = decode(["(address,address,uint24,address,uint256,uint256,uint160)"], order[4:])
    assert words == (hexed(TOKEN0), hexed(TOKEN1), 500, hexed(WALLET), 5, 4, 77)


@pytest.mark.parametrize("calls", [[], [Call(ROUTER, b"x")], [Call(MANAGER, b"x", 1)]])
def test_a_multicall_takes_only_calls_to_the_manager_without_value(calls: list[Call]) -> None:
    with pytest.raises(ValueError, match="expected some to"):
        uniswap_v3.multicall(MANAGER, calls)


def word(kind: str, value: object) -> bytes:
    return encode([kind], [value])


def event(signature: str, topics: list[bytes], kinds: list[str], values: list[object], at: bytes = MANAGER) -> Log:
    return Log(address=at, topics=(topic(signature), *topics), data=encode(kinds, values), index=3)


AMOUNTS = ["uint128", "uint256", "uint256"]
INCREASE = event("IncreaseLiquidity(uint256,uint128,uint256,uint256)", [word("uint256", 7)], AMOUNTS, [5, 6, 8])
DECREASE = event("DecreaseLiquidity(uint256,uint128,uint256,uint256)", [word("uint256", 7)], AMOUNTS, [5, 6, 8])
COLLECT = event(
    "Collect(uint256,address,uint256,uint256)", [word("uint256", 7)], ["address", "uint256", "uint256"],
    [hexed(WALLET), 6, 8],
)  # fmt: skip
TRANSFER = event(
    "Transfer(address,address,uint256)",
    [bytes(32), word("address", hexed(WALLET)), word("uint256", 7)], [], [],
)  # fmt: skip
PAID = event(
    "Collect(address,address,int24,int24,uint128,uint128)",
    [word("address", hexed(MANAGER)), word("int24", -600), word("int24", 1200)], ["address", "uint128", "uint128"],
    [hexed(WALLET), 6, 7], at=POOL,
)  # fmt: skip


@pytest.mark.parametrize(
    ("log", "says"),
    [
        (INCREASE, Increased(7, 5, 6, 8)),
        (DECREASE, Decreased(7, 5, 6, 8)),
        (COLLECT, Collected(7, WALLET, 6, 8)),
        (TRANSFER, Moved(7, bytes(20), WALLET)),
        (PAID, Paid(POOL, WALLET, -600, 1200, 6, 7)),
    ],
)
def test_logs_say_what_became_of_positions(log: Log, says: object) -> None:
    assert uniswap_v3.effect(log, MANAGER) == says


def test_logs_of_others_say_nothing() -> None:
    for log in (INCREASE, DECREASE, COLLECT, TRANSFER):
        assert uniswap_v3.effect(replace(log, address=POOL), MANAGER) is None
    other = (PAID.topics[0], word("address", hexed(WALLET)), *PAID.topics[2:])
    assert uniswap_v3.effect(replace(PAID, topics=other), MANAGER) is None
    assert uniswap_v3.effect(replace(INCREASE, topics=()), MANAGER) is None
    assert uniswap_v3.effect(replace(INCREASE, topics=(topic("Approval(address,address,uint256)"),)), MANAGER) is None


def test_a_broken_log_of_the_manager_is_an_error() -> None:
    with pytest.raises(ValueError, match="log 3"):
        uniswap_v3.effect(replace(INCREASE, data=b"short"), MANAGER)
    with pytest.raises(ValueError, match="log 3"):
        uniswap_v3.effect(replace(TRANSFER, topics=TRANSFER.topics[:2]), MANAGER)
