"""Vault events from logs: each generation, and whatever else may be emitted under their topics."""

from typing import Any

import pytest
from eth_abi.abi import encode
from hypothesis import given
from hypothesis import strategies as st

from core.keccak import keccak
from core.types import Block, Log, Receipt, Tx
from indexer.decode import signed_vault
from indexer.decode.signed_vault import DECODERS, Generation, VaultEvent
from indexer.decode.tables import VaultTable
from indexer.decode.words import Malformed

VAULT, OTHER = b"\x01" * 20, b"\x02" * 20
CHAIN = 7

uint256 = st.integers(0, 2**256 - 1)
address = st.binary(min_size=20, max_size=20)


def log(*topics: bytes, data: bytes = b"", emitter: bytes = VAULT, index: int = 3) -> Log:
    return Log(address=emitter, topics=topics, data=data, index=index)


def test_topics_are_the_hashes_of_their_signatures() -> None:
    assert set(DECODERS) == {
        keccak(signature)
        for signature in (
            b"Deposit(address,address,address,uint256,uint256)",
            b"Deposit(address,address,uint256,uint256)",
            b"Deposit(address,address,uint256)",
            b"Withdraw(address,address,uint256)",
            b"NonceCancelled(address,uint256)",
            b"Upgraded(address)",
        )
    }
    assert keccak(b"Deposit(address,address,address,uint256,uint256)") == signed_vault.DEPOSIT
    assert keccak(b"Deposit(address,address,uint256,uint256)") == signed_vault.DEPOSIT_OLD
    assert keccak(b"Withdraw(address,address,uint256)") == signed_vault.WITHDRAW


@given(address, address, address, uint256, uint256)
def test_a_current_deposit_has_a_resolver(user: bytes, token: bytes, to: bytes, amount: int, nonce: int) -> None:
    data = encode(["address", "address", "address", "uint256", "uint256"], [user, token, to, amount, nonce])
    found = signed_vault.decode(log(signed_vault.DEPOSIT, data=data))
    assert found == VaultEvent(
        kind="deposit", generation=Generation.CURRENT, account=user, token=token, resolver=to, amount=amount,
        nonce=nonce,
    )  # fmt: skip


@given(address, address, uint256, uint256)
def test_older_deposits_have_less(user: bytes, token: bytes, amount: int, nonce: int) -> None:
    data = encode(["address", "address", "uint256", "uint256"], [user, token, amount, nonce])
    old = signed_vault.decode(log(signed_vault.DEPOSIT_OLD, data=data))
    assert old == VaultEvent(
        kind="deposit", generation=Generation.OLD, account=user, token=token, amount=amount, nonce=nonce
    )
    oldest = signed_vault.decode(log(signed_vault.DEPOSIT_OLDEST, data=data[:96]))
    assert oldest == VaultEvent(kind="deposit", generation=Generation.OLDEST, account=user, token=token, amount=amount)


@given(address, address, uint256)
def test_what_else_a_vault_announces(account: bytes, token: bytes, number: int) -> None:
    taken = encode(["address", "address", "uint256"], [account, token, number])
    assert signed_vault.decode(log(signed_vault.WITHDRAW, data=taken)) == VaultEvent(
        kind="withdraw", account=account, token=token, amount=number
    )
    cancelled = encode(["address", "uint256"], [account, number])
    assert signed_vault.decode(log(signed_vault.NONCE_CANCELLED, data=cancelled)) == VaultEvent(
        kind="nonce_cancelled", resolver=account, nonce=number
    )
    assert signed_vault.decode(log(signed_vault.UPGRADED, account.rjust(32, b"\0"))) == VaultEvent(
        kind="upgraded", implementation=account
    )


def test_other_events_are_nothing() -> None:
    assert signed_vault.decode(log()) is None
    assert signed_vault.decode(log(keccak(b"Transfer(address,address,uint256)"))) is None


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_word_that_is_no_address_is_refused(place: int) -> None:
    data = bytearray(160)
    data[place * 32 + 11] = 1
    with pytest.raises(Malformed):
        signed_vault.decode(log(signed_vault.DEPOSIT, data=bytes(data)))


@given(st.sampled_from(sorted(DECODERS)), st.lists(st.binary(min_size=32, max_size=32), max_size=3), st.binary())
def test_a_log_is_an_event_or_malformed_and_nothing_else_is_raised(
    topic: bytes, more: list[bytes], data: bytes
) -> None:
    told: list[str] = []
    event = log(topic, *more, data=data)
    table = VaultTable([VAULT], lambda _block, _log, why: told.append(why))
    rows = table.derive(CHAIN, block(event)).rows
    assert len(rows) + len(told) == 1


def test_only_configured_vaults_are_believed() -> None:
    told: list[str] = []
    table = VaultTable([VAULT], lambda _block, _log, why: told.append(why))
    forged = log(signed_vault.DEPOSIT, data=bytes(160), emitter=OTHER)
    assert table.derive(CHAIN, block(forged, log(signed_vault.DEPOSIT, data=b"", emitter=OTHER))).rows == []
    assert told == []


def test_a_row_names_its_log_and_has_a_value_for_each_column() -> None:
    table = VaultTable([VAULT], lambda *_: None)
    (row,) = table.derive(CHAIN, block(log(signed_vault.DEPOSIT, data=bytes(160), index=9))).rows
    found = dict(zip(table.columns, row, strict=True))
    assert (found["chain_id"], found["block_number"], found["log_index"]) == (CHAIN, 5, 9)
    assert (found["block_hash"], found["tx_hash"], found["vault"]) == (b"\xbb" * 32, b"\xaa" * 32, VAULT)
    assert (found["kind"], found["generation"], found["amount"]) == ("deposit", 3, 0)


def block(*logs: Log) -> Block:
    """A block with one transaction that emitted `logs`."""
    receipt = Receipt(
        status=1, root=None, gas_used=1, cumulative_gas_used=1, effective_gas_price=1, contract_address=None,
        logs_bloom=bytes(256), logs=logs, extra=None,
    )  # fmt: skip
    tx = Tx(
        index=0, hash=b"\xaa" * 32, type=2, sender=OTHER, to=VAULT, value=0, nonce=0, gas=1, gas_price=1, fee_cap=1,
        tip_cap=1, input=b"", v=0, signature=bytes(64), extra=None, receipt=receipt,
    )  # fmt: skip
    words: dict[str, Any] = {
        name: bytes(32)
        for name in ("parent_hash", "state_root", "transactions_root", "receipts_root", "uncles_hash", "mix_hash")
    }
    return Block(
        number=5, hash=b"\xbb" * 32, timestamp=1_700_000_000, miner=OTHER, logs_bloom=bytes(256), difficulty=0,
        total_difficulty=None, size=1, extra_data=b"", gas_limit=1, gas_used=1, base_fee=None, nonce=None, uncles=(),
        extra=None, txs=(tx,), **words,
    )  # fmt: skip
