"""Which transactions concern an address: whoever sent, received, was created, emitted a log or moved tokens."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from core.store.copy import TRANSACTION_COLUMNS, address_rows, block_row, transaction_rows
from core.types import Log, Receipt, Tx
from indexer.decode import transfers
from indexer.decode.tables import TransferTable
from indexer.watch import concerns, watching
from tests.unit.test_backfill_bounds import made

ADDRESSES = [bytes([n]) * 20 for n in range(1, 13)]
addresses = st.sampled_from(ADDRESSES)


def moved(token: bytes, sender: bytes, recipient: bytes, data: bytes) -> Log:
    topics = (transfers.TRANSFER, sender.rjust(32, b"\0"), recipient.rjust(32, b"\0"))
    return Log(address=token, topics=topics, data=data, index=0)


# Data of another length than 32 bytes is malformed: the log is still one of its contract.
logs = st.builds(moved, addresses, addresses, addresses, st.sampled_from([bytes(32), b"", bytes(31)]))


@st.composite
def txs(draw: st.DrawFn) -> Tx:
    created = draw(st.none() | addresses)
    receipt = Receipt(
        status=1, root=None, gas_used=21_000, cumulative_gas_used=21_000, effective_gas_price=1,
        contract_address=created, logs_bloom=bytes(256), logs=tuple(draw(st.lists(logs, max_size=2))), extra=None,
    )  # fmt: skip
    return Tx(
        index=0, hash=bytes(32), type=2, sender=draw(addresses), to=None if created else draw(addresses), value=0,
        nonce=0, gas=21_000, gas_price=1, fee_cap=None, tip_cap=None, input=b"", v=0, signature=None, extra=None,
        receipt=receipt,
    )  # fmt: skip


def involved(tx: Tx) -> set[bytes]:
    found = {tx.sender, tx.to, tx.receipt.contract_address} - {None}
    for log in tx.receipt.logs:
        found.add(log.address)
        if len(log.data) == 32:
            found |= {log.topics[1][12:], log.topics[2][12:]}
    return {address for address in found if address is not None}


@given(txs(), st.sets(addresses))
def test_a_transaction_concerns_exactly_those_involved(tx: Tx, watched: set[bytes]) -> None:
    assert concerns(tx, watched) == bool(watched & involved(tx))


@given(st.lists(txs(), max_size=6), st.sets(addresses, max_size=3))
def test_rows_of_what_is_kept_are_the_rows_it_has_among_all(found: list[Tx], watched: set[bytes]) -> None:
    block = replace(made(7), txs=tuple(replace(tx, index=index) for index, tx in enumerate(found)))
    kept = watching(watched)(block)
    assert [row[4] for row in (block_row(1, block), block_row(1, kept))] == [len(found)] * 2
    assert (block_row(1, block)[-1], block_row(1, kept)[-1]) == (None, len(kept.txs))
    places = {tx.index for tx in kept.txs}
    at = TRANSACTION_COLUMNS.index("tx_index")
    every, some = (list(transaction_rows(1, [b])) for b in (block, kept))
    assert some == [row for row in every if row[at] in places]
    table = TransferTable(lambda *_: None)
    every, some = (sorted(address_rows(1, [b], [table.derive(1, b).roles])) for b in (block, kept))
    assert some == [row for row in every if row[3] in places]
