"""Blocks that are right in every field: their roots, blooms and hashes are those of what they hold."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from core.keccak import keccak
from core.types import Block, Tx
from core.verify import bloom, encode, rlp
from core.verify.trie import ordered_root
from tests import make

CHAIN_ID = 7
BASE_FEE = 6
GAS = 21_000


def truthful(number: int = 5, parent: bytes = make.NOWHERE, txs: Sequence[Tx] | None = None, **fields: Any) -> Block:
    """Return a Prague block of `txs`, one of each type and a creation if not given, with all that follows from them."""
    done, gas, first_log, union = [], 0, 0, 0
    for index, tx in enumerate(one_of_each() if txs is None else txs):
        gas += GAS
        logs = tuple(dataclasses.replace(log, index=first_log + i) for i, log in enumerate(tx.receipt.logs))
        first_log += len(logs)
        filter_ = bloom.of_logs(logs)
        union |= filter_
        receipt = dataclasses.replace(
            tx.receipt, gas_used=GAS, cumulative_gas_used=gas, logs=logs, logs_bloom=filter_.to_bytes(256)
        )
        done.append(hashed(dataclasses.replace(tx, index=index, receipt=receipt)))
    withdrawal = '{"index":"0x1","validatorIndex":"0x2","address":"0x' + "03" * 20 + '","amount":"0x5"}'
    encoded = rlp.sequence([rlp.integer(1), rlp.integer(2), rlp.string(b"\x03" * 20), rlp.integer(5)])
    extra = (
        f'{{"withdrawals":[{withdrawal}],"withdrawalsRoot":"0x{ordered_root([encoded]).hex()}","blobGasUsed":"0x0",'
        f'"excessBlobGas":"0x0","parentBeaconBlockRoot":"0x{"04" * 32}","requestsHash":"0x{"05" * 32}"}}'
    )
    block = make.block(
        number, parent, txs=done, transactions_root=ordered_root([encode.transaction(tx, CHAIN_ID) for tx in done]),
        receipts_root=ordered_root([encode.receipt(tx.receipt, tx.type) for tx in done]),
        logs_bloom=union.to_bytes(256), gas_used=gas, base_fee=BASE_FEE, mix_hash=bytes(32), nonce=bytes(8),
        **{"extra": extra} | fields,
    )  # fmt: skip
    return dataclasses.replace(block, hash=keccak(encode.header(block)))


def hashed(tx: Tx) -> Tx:
    """Return `tx` with the hash of its encoding, and the contract it created if it is a creation."""
    created = None
    if tx.to is None:
        created = keccak(rlp.sequence([rlp.string(tx.sender), rlp.integer(tx.nonce)]))[12:]
    receipt = dataclasses.replace(tx.receipt, contract_address=created)
    return dataclasses.replace(tx, receipt=receipt, hash=keccak(encode.transaction(tx, CHAIN_ID)))


def one_of_each() -> list[Tx]:
    """Return a transaction of each type, with what only that type has, and a creation."""
    access = f'[{{"address":"0x{"0a" * 20}","storageKeys":["0x{"0b" * 32}","0x{"0c" * 32}"]}}]'
    blobs = f'"maxFeePerBlobGas":"0x3","blobVersionedHashes":["0x01{"0d" * 31}"]'
    signed = (
        f'[{{"chainId":"0x7","address":"0x{"0e" * 20}","nonce":"0x9","yParity":"0x1","r":"0x{"1" * 64}","s":"0x2"}}]'
    )
    logs = [make.log(topics=(make.digest("a"), make.digest("b"))), make.log(address=make.address("b"), topics=())]
    capped = {"gas_price": 7, "fee_cap": 9, "tip_cap": 1}
    free = {"fee_cap": None, "tip_cap": None}
    return [
        make.tx(0, type=0, v=27, receipt=make.receipt(), **free),
        make.tx(1, type=1, extra=f'{{"accessList":{access}}}', receipt=make.receipt(logs), **free),
        make.tx(2, type=2, extra='{"accessList":[]}', **capped),
        make.tx(3, type=3, extra=f'{{"accessList":[],{blobs}}}', **capped),
        make.tx(4, type=4, extra=f'{{"accessList":{access},"authorizationList":{signed}}}', **capped),
        make.tx(5, type=2, to=None, extra='{"accessList":[]}', **capped),
    ]
