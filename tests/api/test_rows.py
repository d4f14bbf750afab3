"""Rows of listings are written as text; what they must be is what `api.schemas.Transaction` encodes to."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from api import schemas
from api.prices import Told, Values
from api.rows import rows
from core.store.transactions import StoredToken, StoredTransfer, StoredTx
from core.types import TokenStandard, TokenTransfer
from prices.judge import Price

UINT256 = st.integers(min_value=0, max_value=2**256 - 1)
ADDRESS = st.binary(min_size=20, max_size=20)
HASH = st.binary(min_size=32, max_size=32)
# PostgreSQL keeps no NUL, and UTF-8 has no surrogates.
SAID = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
TOKENS = st.builds(
    StoredToken, ADDRESS, symbol=st.none() | SAID, name=st.none(), decimals=st.none() | st.integers(0, 255),
    read=st.booleans(),
)  # fmt: skip
MOVES = st.builds(
    TokenTransfer, tx_index=st.just(0), log_index=st.just(0), position=st.just(0),
    standard=st.sampled_from(TokenStandard), token=ADDRESS, sender=ADDRESS, recipient=ADDRESS, amount=UINT256,
    token_id=st.none() | UINT256,
)  # fmt: skip
TIMES = st.integers(0, 4 * 10**9).map(lambda seconds: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds))
TXS = st.builds(
    StoredTx, block_number=st.integers(0, 2**63 - 2), tx_index=st.just(0), hash=HASH, sender=ADDRESS,
    recipient=st.none() | ADDRESS, contract_address=st.none() | ADDRESS, value=UINT256, gas_used=UINT256,
    gas_price=UINT256 | st.integers(0, 10**12), status=st.sampled_from([None, 0, 1]), block_hash=HASH,
    block_time=TIMES, transfers=st.lists(st.builds(StoredTransfer, MOVES, TOKENS), max_size=3).map(tuple),
    finality=st.sampled_from(["latest", "safe", "finalized"]),
)  # fmt: skip
WORTH = st.none() | st.fractions(min_value=0, max_value=10**6, max_denominator=10**9)
WITHOUT_VENUE = Values({}, Told(None))


def expected(txs: list[StoredTx], symbol: str, values: Values) -> bytes:
    return b"[" + b",".join(schemas.encode(row(tx, symbol, values)) for tx in txs) + b"]"


def row(tx: StoredTx, symbol: str, values: Values) -> schemas.Transaction:
    moved = [
        schemas.ShortTransfer(
            token_symbol=each.token.symbol, amount_display=schemas.amount_display(each),
            amount_usd=schemas.amount_usd(each, tx, values),
        )
        for each in tx.transfers
    ]  # fmt: skip
    return schemas.Transaction(*schemas.common(tx, symbol, values), moved)


@given(st.lists(TXS, max_size=3), SAID)
def test_a_row_is_what_its_schema_says(txs: list[StoredTx], symbol: str) -> None:
    assert bytes(rows(txs, symbol, WITHOUT_VENUE)) == expected(txs, symbol, WITHOUT_VENUE)


@given(st.lists(TXS, min_size=1, max_size=2), st.data())
def test_a_row_with_values_is_what_its_schema_says(txs: list[StoredTx], data: st.DataObject) -> None:
    def price(tx: StoredTx, token: bytes) -> Price:
        usd: Fraction | None = data.draw(WORTH)
        return Price(token=token, block=tx.block, usd=usd, reason=None if usd is not None else "not_covered")

    keys = {(tx, token) for tx in txs for token in (b"", *(each.transfer.token for each in tx.transfers))}
    values = Values({(tx.block_hash, token): price(tx, token) for tx, token in keys}, Told(None))
    assert bytes(rows(txs, "ETH", values)) == expected(txs, "ETH", values)
