"""What tokens say of themselves, made safe."""

from eth_abi.abi import encode
from hypothesis import given
from hypothesis import strategies as st

from core.keccak import keccak
from indexer.decode.metadata import GETTERS, MAX_CHARACTERS, Metadata, metadata, text, whole


def string(value: str) -> bytes:
    return encode(["string"], [value])


def test_getters_are_the_selectors_of_their_signatures() -> None:
    names = ("symbol()", "name()", "decimals()", "SYMBOL()", "NAME()", "DECIMALS()")
    assert tuple(keccak(name.encode())[:4] for name in names) == GETTERS


def test_a_modern_token_answers_strings_and_decimals() -> None:
    answers = [string("USDC"), string("USD Coin"), encode(["uint8"], [6]), None, None, None]
    assert metadata(answers) == Metadata("USDC", "USD Coin", 6)


def test_an_old_token_answers_bytes32() -> None:
    assert text(b"MKR".ljust(32, b"\0")) == "MKR"
    assert text(b"A symbol of exactly 32 bytes len") == "A symbol of exactly 32 bytes len"


def test_getters_in_capitals_are_the_fallback() -> None:
    answers = [None, b"", None, string("OLD"), string("Old Token"), encode(["uint256"], [0])]
    assert metadata(answers) == Metadata("OLD", "Old Token", 0)


def test_decimals_of_zero_are_not_missing() -> None:
    answers = [None, None, encode(["uint8"], [0]), None, None, encode(["uint8"], [18])]
    assert metadata(answers).decimals == 0


def test_nul_and_bidirectional_overrides_do_not_reach_the_database() -> None:
    assert text(string("A\0B")) == "A B"
    assert text(string("evil\u202ecod")) == "evil cod"
    assert text(string("\0\0")) is None


def test_invalid_utf8_is_replaced_not_refused() -> None:
    assert text(b"\xff\xfeX".ljust(32, b"\0")) == "\ufffd\ufffdX"


def test_overlong_names_are_cut() -> None:
    assert text(string("x" * 100_000)) == "x" * MAX_CHARACTERS


def test_decimals_that_no_amount_can_have_are_unknown() -> None:
    assert whole(encode(["uint256"], [77])) == 77
    assert whole(encode(["uint256"], [78])) is None
    assert whole(encode(["uint256"], [2**255])) is None
    assert whole(b"") is None
    assert whole(None) is None


@given(st.binary(max_size=300))
def test_any_answer_is_read_without_an_error_and_is_storable(answer: bytes) -> None:
    found = text(answer)
    assert found is None or (0 < len(found) <= MAX_CHARACTERS and found.isprintable() and "\0" not in found)


@given(st.text(min_size=1, max_size=40, alphabet=st.characters(categories=["L", "N"])))
def test_ordinary_names_come_through_unchanged(name: str) -> None:
    assert text(string(name)) == name
