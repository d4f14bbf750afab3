"""Amounts for people: exact there and back, whatever the number. And EIP-55."""

from decimal import Decimal, localcontext

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.addresses import checksum
from api.amounts import display, exact
from api.schemas import encode

UINT256 = st.integers(min_value=0, max_value=2**256 - 1)
DECIMALS = st.integers(min_value=0, max_value=77)


@given(UINT256, DECIMALS)
def test_what_is_displayed_is_the_amount_without_loss(amount: int, decimals: int) -> None:
    text, symbol = display(amount, decimals, "ETH").split(" ")
    whole, _, fraction = text.partition(".")
    assert symbol == "ETH"
    assert int(whole + fraction.ljust(decimals, "0")) == amount * 10 ** max(0, len(fraction) - decimals)


@given(UINT256, DECIMALS)
def test_what_is_displayed_has_two_places_no_exponent_and_no_zeros_without_need(amount: int, decimals: int) -> None:
    text = display(amount, decimals, "X").removesuffix(" X")
    whole, _, fraction = text.partition(".")
    assert whole.isdigit()
    assert fraction.isdigit()
    assert len(fraction) >= 2
    assert whole == "0" or not whole.startswith("0")
    assert len(fraction) == 2 or not fraction.endswith("0")


@given(st.integers(min_value=0, max_value=2**512 - 1), DECIMALS)
def test_exact_is_the_amount_without_loss_for_products_too(amount: int, decimals: int) -> None:
    with localcontext() as context:
        context.prec = 400
        assert exact(amount, decimals) * Decimal(10) ** decimals == amount


@pytest.mark.parametrize(
    ("amount", "decimals", "shown"),
    [
        (0, 18, "0"),
        (1, 6, "0.000001"),
        (1, 9, "0.000000001"),
        (1, 77, "0." + "0" * 76 + "1"),
        (2**256 - 1, 0, str(2**256 - 1)),
    ],
)
def test_json_shows_a_number_without_an_exponent(amount: int, decimals: int, shown: str) -> None:
    class Answer(msgspec.Struct):
        amount: Decimal

    assert encode(Answer(exact(amount, decimals))) == f'{{"amount":{shown}}}'.encode()


def test_what_json_cannot_hold_is_a_defect() -> None:
    class Answer(msgspec.Struct):
        amount: object

    with pytest.raises(TypeError, match="found complex"):
        encode(Answer(1j))


@pytest.mark.parametrize(
    ("amount", "decimals", "shown"),
    [
        (0, 18, "0.00 ETH"),
        (1, 18, "0.000000000000000001 ETH"),
        (250_000_000, 6, "250.00 ETH"),
        (10**18, 18, "1.00 ETH"),
        (1_230_000, 6, "1.23 ETH"),
        (7, 0, "7.00 ETH"),
        (2**256 - 1, 0, f"{2**256 - 1}.00 ETH"),
    ],
)
def test_amounts_look_as_in_the_seed_document(amount: int, decimals: int, shown: str) -> None:
    assert display(amount, decimals, "ETH") == shown


@pytest.mark.parametrize(
    "address",  # the test vectors of EIP-55
    [
        "0x52908400098527886E0F7030069857D2E4169EE7",
        "0x8617E340B3D01FA5F11F306F4090FD50E238070D",
        "0xde709f2102306220921060314715629080e2fb77",
        "0x27b1fdb04752bbc536007a920d24acb045561c26",
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
        "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
    ],
)
def test_addresses_carry_their_checksum(address: str) -> None:
    assert checksum(bytes.fromhex(address[2:])) == address
