"""Token transfers from logs: each standard, its old shapes, and whatever else a contract may emit."""

import pytest
from eth_abi.abi import encode
from hypothesis import given
from hypothesis import strategies as st

from core.keccak import keccak
from core.types import Log, TokenStandard
from indexer.decode import transfers
from indexer.decode.tables import POOL_TOPICS
from indexer.decode.words import Malformed

TOKEN, ALICE, BOB, OPERATOR = (bytes([n]) * 20 for n in (1, 2, 3, 4))

uint256 = st.integers(0, 2**256 - 1)


def topic(value: bytes | int) -> bytes:
    return value.to_bytes(32) if isinstance(value, int) else value.rjust(32, b"\0")


def log(*topics: bytes, data: bytes = b"") -> Log:
    return Log(address=TOKEN, topics=topics, data=data, index=7)


def test_topics_are_the_hashes_of_their_signatures() -> None:
    assert keccak(b"Transfer(address,address,uint256)") == transfers.TRANSFER
    assert keccak(b"TransferSingle(address,address,address,uint256,uint256)") == transfers.TRANSFER_SINGLE
    assert keccak(b"TransferBatch(address,address,address,uint256[],uint256[])") == transfers.TRANSFER_BATCH
    of_pools = (
        b"Swap(address,address,int256,int256,uint160,uint128,int24)",
        b"Initialize(uint160,int24)",
        b"Mint(address,address,int24,int24,uint128,uint256,uint256)",
        b"Burn(address,int24,int24,uint128,uint256,uint256)",
    )
    assert set(map(keccak, of_pools)) == POOL_TOPICS


@given(uint256)
def test_three_topics_and_an_amount_are_erc20(amount: int) -> None:
    (found,) = transfers.decode(5, log(transfers.TRANSFER, topic(ALICE), topic(BOB), data=topic(amount)))
    assert (found.standard, found.amount, found.token_id) == (TokenStandard.ERC20, amount, None)
    assert (found.token, found.sender, found.recipient) == (TOKEN, ALICE, BOB)
    assert (found.tx_index, found.log_index, found.position) == (5, 7, 0)


@given(uint256)
def test_four_topics_are_erc721(token_id: int) -> None:
    (found,) = transfers.decode(0, log(transfers.TRANSFER, topic(ALICE), topic(BOB), topic(token_id)))
    assert (found.standard, found.amount, found.token_id) == (TokenStandard.ERC721, 1, token_id)


@given(uint256)
def test_nothing_indexed_is_an_nft_from_before_the_standard(token_id: int) -> None:
    data = encode(["address", "address", "uint256"], ["0x" + ALICE.hex(), "0x" + BOB.hex(), token_id])
    (found,) = transfers.decode(0, log(transfers.TRANSFER, data=data))
    assert (found.standard, found.sender, found.recipient) == (TokenStandard.ERC721, ALICE, BOB)
    assert found.token_id == token_id


@given(uint256, uint256)
def test_a_single_erc1155_transfer_has_id_and_amount(token_id: int, amount: int) -> None:
    topics = (transfers.TRANSFER_SINGLE, topic(OPERATOR), topic(ALICE), topic(BOB))
    (found,) = transfers.decode(0, log(*topics, data=encode(["uint256", "uint256"], [token_id, amount])))
    assert (found.standard, found.token_id, found.amount) == (TokenStandard.ERC1155, token_id, amount)
    assert (found.sender, found.recipient) == (ALICE, BOB)


@given(st.lists(st.tuples(uint256, uint256), max_size=20))
def test_a_batch_is_one_transfer_per_id_in_order(pairs: list[tuple[int, int]]) -> None:
    data = encode(["uint256[]", "uint256[]"], [[i for i, _ in pairs], [a for _, a in pairs]])
    found = transfers.decode(0, log(transfers.TRANSFER_BATCH, topic(OPERATOR), topic(ALICE), topic(BOB), data=data))
    assert [(t.position, t.token_id, t.amount) for t in found] == [(n, i, a) for n, (i, a) in enumerate(pairs)]


def test_a_batch_whose_arrays_differ_in_length_is_malformed() -> None:
    data = encode(["uint256[]", "uint256[]"], [[1, 2], [3]])
    with pytest.raises(Malformed, match="2 ids and 1 amounts"):
        transfers.decode(0, log(transfers.TRANSFER_BATCH, topic(OPERATOR), topic(ALICE), topic(BOB), data=data))


def test_other_events_and_anonymous_logs_are_no_transfers() -> None:
    assert transfers.decode(0, log()) == ()
    assert transfers.decode(0, log(keccak(b"Approval(address,address,uint256)"), topic(ALICE), topic(BOB))) == ()


@given(
    st.sampled_from([transfers.TRANSFER, transfers.TRANSFER_SINGLE, transfers.TRANSFER_BATCH]),
    st.integers(0, 3),
    st.binary(max_size=400),
)
def test_any_bytes_under_a_transfer_topic_decode_or_are_malformed(first: bytes, topics: int, data: bytes) -> None:
    try:
        transfers.decode(0, log(first, *[topic(ALICE)] * topics, data=data))
    except Malformed:
        return
