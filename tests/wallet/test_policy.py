"""What a wallet may do: everything else is refused, and it is said why."""

from dataclasses import replace

import pytest

from builders import erc20
from builders.call import Call, encode, invoke, selector
from tests.make import address
from wallet.policy import Bound, Denied, Rules, over_a_day, spend_of, with_fee
from wallet.types import NATIVE

WALLET, TOKEN, OTHER, MANAGER, ROUTER, FRIEND, STRANGER = (
    address(name) for name in ("wallet", "token", "other", "manager", "router", "friend", "stranger")
)
RULES = Rules(
    wallet=WALLET, native=Bound(each=1_000, day=1_500), recipients=frozenset({FRIEND}),
    tokens={TOKEN: Bound(each=100, day=250), OTHER: Bound(each=10, day=20)},
    position_managers=frozenset({MANAGER}), routers=frozenset({ROUTER}),
)  # fmt: skip
MINT = "mint((address,address,uint24,int24,int24,uint256,uint256,uint256,uint256,address,uint256))"
SWAP = "exactInputSingle((address,address,uint24,address,uint256,uint256,uint256,uint160))"
SWAP_02 = "exactInputSingle((address,address,uint24,address,uint256,uint256,uint160))"


def mint(recipient: bytes = WALLET, token0: bytes = TOKEN, amount0: int = 60, amount1: int = 5) -> bytes:
    return encode(MINT, [(token0, OTHER, 3_000, -60, 60, amount0, amount1, 1, 1, recipient, 9)])


def swap(recipient: bytes = WALLET, paid: bytes = TOKEN, amount: int = 60, least: int = 1) -> bytes:
    return encode(SWAP, [(paid, OTHER, 3_000, recipient, 9, amount, least, 0)])


def collect(recipient: bytes) -> bytes:
    return encode("collect((uint256,address,uint128,uint128))", [(1, recipient, 5, 5)])


def many(*items: bytes) -> bytes:
    return encode("multicall(bytes[])", [list(items)])


DECREASE = encode("decreaseLiquidity((uint256,uint128,uint256,uint256,uint256))", [(1, 2, 3, 4, 5)])
BURN = encode("burn(uint256)", [1])


def test_a_rebalance_in_one_transaction_spends_what_it_mints() -> None:
    data = many(DECREASE, collect(WALLET), BURN, mint(amount0=40), mint(amount0=50, amount1=0))
    assert spend_of(Call(MANAGER, data), RULES) == {TOKEN: 90, OTHER: 5}


@pytest.mark.parametrize(
    ("call", "spend"),
    [
        (erc20.transfer(TOKEN, FRIEND, 100), {TOKEN: 100}),
        (erc20.approve(TOKEN, MANAGER, 100), {}),
        (erc20.approve(TOKEN, ROUTER, 0), {}),
        (Call(FRIEND, b"", 7), {NATIVE: 7}),
        (Call(MANAGER, mint()), {TOKEN: 60, OTHER: 5}),
        (Call(ROUTER, swap()), {TOKEN: 60}),
        (Call(ROUTER, encode(SWAP_02, [(OTHER, TOKEN, 500, WALLET, 10, 1, 0)])), {OTHER: 10}),
    ],
)
def test_what_is_allowed(call: Call, spend: dict[bytes, int]) -> None:
    assert spend_of(call, RULES) == spend


NFT_APPROVAL = "setApprovalForAll(address,bool)"
INCREASE = "increaseLiquidity((uint256,uint256,uint256,uint256,uint256,uint256))"
FORWARD = "callPositionManager(bytes)"


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (Call(None, b"\x60"), "creation"),
        (Call(STRANGER, b""), "not among"),
        (Call(STRANGER, b"", 1), "expected 0 for a call"),
        (Call(WALLET, b""), "not among"),
        (Call(FRIEND, b"\x01"), "not among"),
        (Call(FRIEND, b"", 1_001), "wei: 1001 is more than the 1000"),
        (Call(TOKEN, b""), "selector 0x is not allowed"),
        (invoke(TOKEN, "transferFrom(address,address,uint256)", WALLET, FRIEND, 1), "selector 0x23b872dd"),
        (invoke(TOKEN, "increaseAllowance(address,uint256)", ROUTER, 1), "is not allowed"),
        (erc20.transfer(TOKEN, STRANGER, 1), "recipient of transfer"),
        (erc20.transfer(TOKEN, MANAGER, 1), "recipient of transfer"),
        (erc20.transfer(TOKEN, FRIEND, 101), "101 is more than the 100"),
        (erc20.approve(TOKEN, STRANGER, 1), "spender of approve"),
        (erc20.approve(TOKEN, FRIEND, 1), "spender of approve"),
        (erc20.approve(TOKEN, ROUTER, 2**256 - 1), "approve: 115792"),
        (replace(erc20.transfer(TOKEN, FRIEND, 1), value=1), "expected 0 for a call"),
        (Call(MANAGER, mint(recipient=STRANGER)), "recipient of mint"),
        (Call(MANAGER, mint(token0=STRANGER)), "token of mint"),
        (Call(MANAGER, mint(amount0=101)), "101 is more than the 100"),
        (Call(MANAGER, many(mint(), mint())), "120 is more than the 100"),
        (Call(MANAGER, collect(STRANGER)), "recipient of collect"),
        (Call(MANAGER, collect(bytes(20))), "recipient of collect"),
        (Call(MANAGER, many(DECREASE, collect(STRANGER))), "multicall item 1: recipient of collect"),
        (Call(MANAGER, many(many(BURN))), "multicall item 0: selector 0xac9650d8"),
        (invoke(MANAGER, NFT_APPROVAL, ROUTER, True), "selector 0xa22cb465"),
        (invoke(MANAGER, "approve(address,uint256)", ROUTER, 1), "selector 0x095ea7b3"),
        (Call(MANAGER, many(encode(NFT_APPROVAL, [ROUTER, True]))), "multicall item 0: selector"),
        (invoke(MANAGER, INCREASE, (1,) * 6), "0x219f5d17"),
        (invoke(MANAGER, "safeTransferFrom(address,address,uint256)", WALLET, STRANGER, 1), "selector 0x42842e0e"),
        (Call(MANAGER, swap()), "is not allowed here"),
        (Call(ROUTER, mint()), "is not allowed here"),
        (invoke(ROUTER, FORWARD, mint()), "is not allowed here"),
        (Call(ROUTER, many(swap(amount=1), encode(FORWARD, [mint()]))), "multicall item 1: selector"),
        (Call(ROUTER, swap(recipient=STRANGER)), "recipient of swap"),
        (Call(ROUTER, swap(recipient=(1).to_bytes(20))), "recipient of swap"),
        (Call(ROUTER, swap(paid=STRANGER)), "token of swap"),
        (Call(ROUTER, swap(amount=0)), "above 0"),
        (Call(ROUTER, swap(least=0)), "above 0"),
        (Call(ROUTER, swap(amount=101)), "101 is more than the 100"),
        (Call(ROUTER, many(swap(), swap())), "120 is more than the 100"),
        (Call(TOKEN, selector("transfer(address,uint256)") + b"\x00" * 40), "not decodable"),
        (Call(TOKEN, erc20.transfer(TOKEN, FRIEND, 1).data + b"\x00"), "not the canonical encoding"),
    ],
)  # fmt: skip
def test_what_is_refused(call: Call, why: str) -> None:
    with pytest.raises(Denied) as denied:
        spend_of(call, RULES)
    assert why in str(denied.value)


def test_nothing_is_allowed_by_default() -> None:
    for call in (erc20.transfer(TOKEN, FRIEND, 0), Call(FRIEND), Call(MANAGER, mint()), Call(ROUTER, swap())):
        with pytest.raises(Denied):
            spend_of(call, Rules(wallet=WALLET))


def test_fees_count_as_wei_of_a_transaction() -> None:
    assert with_fee({TOKEN: 5}, 1_000, RULES) == {TOKEN: 5, NATIVE: 1_000}
    with pytest.raises(Denied, match="1001 is more than the 1000"):
        with_fee({NATIVE: 1}, 1_000, RULES)


def test_a_day_is_bounded_by_asset() -> None:
    assert over_a_day({TOKEN: 50, NATIVE: 500}, {TOKEN: 200, NATIVE: 1_000}, RULES) is None
    assert over_a_day({TOKEN: 51}, {TOKEN: 200}, RULES) is not None
    assert (
        over_a_day({NATIVE: 501}, {NATIVE: 1_000}, RULES) == "wei: 501 on top of 1000 within 24 hours is more than 1500"
    )


def test_one_address_has_one_role() -> None:
    with pytest.raises(ValueError, match="one role for each address"):
        replace(RULES, position_managers=frozenset({TOKEN}))
    with pytest.raises(ValueError, match="one role for each address"):
        replace(RULES, recipients=frozenset({WALLET}))
