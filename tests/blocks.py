"""Random blocks with every edge that JSON-RPC and the tables have; a seed makes the same ones every time."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import msgspec

from core.rpc.encode import encode_block, encode_receipts
from core.types import ZERO_ADDRESS, Block, Log, Receipt, Tx
from indexer.decode import signed_vault, transfers
from indexer.decode.tables import POOL_TOPICS, UPGRADED
from tests import make

U64, U256 = 2**64 - 1, 2**256 - 1
NUMBERS = (
    0, 1, 9_999, 10_000, 10**8 - 1, 10**8, 10**8 + 1, 10**12, 10**16 - 1, 10**16, 10**16 + 1, 10**20, U64, 2**255,
    10**76, U256,
)  # fmt: skip
VAULT = make.address("vault")
PEOPLE = (ZERO_ADDRESS, bytes([255] * 20), VAULT, *(make.address("person", n) for n in range(5)))
TOKENS = tuple(make.address("token", n) for n in range(4))
TX_EXTRA = (
    None, None, '{"accessList":[]}', '{"accessList":null}',
    '{"accessList":[{"address":"0x00","storageKeys":["0x01"]}],"maxFeePerBlobGas":"0x1","blobVersionedHashes":["0x02"]}',
    '{"authorizationList":[{"chainId":"0x1"}]}', '{"sourceHash":"0x03","mint":"0x0","isSystemTx":false}',
    '{"requestId":"0x04","refundTo":"0x /[{","effectiveGasPrice":"0x5"}',
)  # fmt: skip
RECEIPT_EXTRA = (
    None, None, '{"blobGasUsed":"0x20000","blobGasPrice":"0x1"}', '{"l1Fee":"0x1","l1FeeScalar":"0.684"}',
    '{"depositNonce":"0x1","depositReceiptVersion":"0x1"}', '{"timeboosted":true}', '{"l1BlockNumber":null}',
)  # fmt: skip
BLOCK_EXTRA = (None, '{"withdrawals":[],"withdrawalsRoot":"0x05"}', '{"sendCount":"0x6"}')
SIZES = (0, 1, 31, 32, 33, 64, 96, 500, 5_000)

Dice = random.Random


def small(dice: Dice) -> int:
    return dice.choice([n for n in NUMBERS if n <= U64])


def word(value: int | bytes) -> bytes:
    return value.to_bytes(32) if isinstance(value, int) else value.rjust(32, b"\0")


def someone(dice: Dice) -> bytes:
    """A word with an address, now and then with something in the bytes that an address leaves free."""
    who = dice.choice(PEOPLE)
    return dice.randbytes(12) + who if dice.random() < 0.1 else word(who)


Made = tuple[bytes, Sequence[bytes], bytes]  # address, topics, data


def erc20(dice: Dice) -> Made:
    return dice.choice(TOKENS), (transfers.TRANSFER, someone(dice), someone(dice)), word(dice.choice(NUMBERS))


def erc721(dice: Dice) -> Made:
    topics = (transfers.TRANSFER, someone(dice), someone(dice), word(dice.choice(NUMBERS)))
    return dice.choice(TOKENS), topics, b""


def kitty(dice: Dice) -> Made:
    return dice.choice(TOKENS), (transfers.TRANSFER,), someone(dice) + someone(dice) + word(dice.choice(NUMBERS))


def single(dice: Dice) -> Made:
    topics = (transfers.TRANSFER_SINGLE, someone(dice), someone(dice), someone(dice))
    return dice.choice(TOKENS), topics, word(dice.choice(NUMBERS)) + word(dice.choice(NUMBERS))


def batch(dice: Dice) -> Made:
    topics = (transfers.TRANSFER_BATCH, someone(dice), someone(dice), someone(dice))
    ids, amounts = ([dice.choice(NUMBERS) for _ in range(n)] for n in [dice.choice((0, 1, 3, 40))] * 2)
    words = [64, 96 + 32 * len(ids), len(ids), *ids, len(amounts), *amounts]
    return dice.choice(TOKENS), topics, b"".join(map(word, words))


def malformed(dice: Dice) -> Made:
    topics = [dice.choice((transfers.TRANSFER, transfers.TRANSFER_SINGLE, transfers.TRANSFER_BATCH))]
    topics += [someone(dice) for _ in range(dice.randint(0, 3))]
    return dice.choice(TOKENS), topics, dice.randbytes(dice.choice(SIZES))


def upgraded(dice: Dice) -> Made:
    topics = [UPGRADED] + [someone(dice) for _ in range(dice.choice((1, 1, 0, 2)))]
    return dice.choice((*TOKENS, VAULT)), topics, dice.choice((b"", b"\x01"))


def vault(dice: Dice) -> Made:
    kinds = ((signed_vault.DEPOSIT, 5), (signed_vault.DEPOSIT_OLD, 4), (signed_vault.DEPOSIT_OLDEST, 3),
             (signed_vault.WITHDRAW, 3), (signed_vault.NONCE_CANCELLED, 2))  # fmt: skip
    topic, count = dice.choice(kinds)
    data = b"".join(word(dice.choice(PEOPLE)) for _ in range(count)) if dice.random() < 0.8 else dice.randbytes(70)
    return dice.choice((VAULT, VAULT, TOKENS[0])), (topic,), data


def of_a_pool(dice: Dice) -> Made:
    return make.address("pool"), (dice.choice(sorted(POOL_TOPICS)), someone(dice)), dice.randbytes(160)


def anything(dice: Dice) -> Made:
    topics = [make.digest("topic", dice.randint(0, 5)) for _ in range(dice.randint(0, 4))]
    return dice.choice((*TOKENS, *PEOPLE)), topics, dice.randbytes(dice.choice(SIZES))


KINDS: Sequence[Callable[[Dice], Made]] = (
    erc20, erc20, erc20, erc721, kitty, single, batch, malformed, upgraded, vault, of_a_pool, anything,
)  # fmt: skip


def log(dice: Dice, index: int) -> Log:
    address, topics, data = dice.choice(KINDS)(dice)
    return Log(address=address, topics=tuple(topics), data=data, index=index)


def receipt(dice: Dice, logs: Sequence[Log], *, creates: bool) -> Receipt:
    created = dice.choice(PEOPLE) if creates or dice.random() < 0.1 else None
    old = dice.random() < 0.2
    return Receipt(
        status=None if old else dice.choice((0, 1)), root=make.digest("root") if old else None, gas_used=small(dice),
        cumulative_gas_used=small(dice), effective_gas_price=dice.choice((None, *NUMBERS)), contract_address=created,
        logs_bloom=bytes(256) if dice.random() < 0.5 else dice.randbytes(256), logs=tuple(logs),
        extra=dice.choice(RECEIPT_EXTRA),
    )  # fmt: skip


def tx(dice: Dice, name: object, index: int, first_log: int, logs: int) -> Tx:
    to = dice.choice((None, *PEOPLE))
    signed = dice.random() < 0.8
    numbers = [dice.choice((None, *NUMBERS)) for _ in range(4)]
    return Tx(
        index=index, hash=make.digest("tx", name, index), type=dice.choice((0, 1, 2, 3, 4, 0x64, 0x7E, 0x7F)),
        sender=dice.choice(PEOPLE), to=to, value=dice.choice(NUMBERS), nonce=small(dice), gas=small(dice),
        gas_price=numbers[0], fee_cap=numbers[1], tip_cap=numbers[2], v=numbers[3],
        signature=word(dice.choice(NUMBERS)) + word(dice.choice(NUMBERS)) if signed else None,
        input=dice.randbytes(dice.choice(SIZES)), extra=dice.choice(TX_EXTRA),
        receipt=receipt(dice, [log(dice, first_log + i) for i in range(logs)], creates=to is None),
    )  # fmt: skip


def block(dice: Dice, number: int, parent: bytes, *, most_txs: int = 8, most_logs: int = 6) -> Block:
    uncles = tuple(make.digest("uncle", n) for n in range(dice.choice((0, 0, 2))))
    made = make.block(
        number, parent, fork=dice.random(), txs=0, uncles=uncles,
        extra=dice.choice(BLOCK_EXTRA), difficulty=dice.choice(NUMBERS), base_fee=dice.choice((None, *NUMBERS)),
        total_difficulty=dice.choice((None, *NUMBERS)), nonce=dice.choice((None, bytes(8))), gas_limit=small(dice),
    )  # fmt: skip
    txs: list[Tx] = []
    seen = 0
    for index in range(dice.choice((0, 1, most_txs))):
        logs = dice.choice((0, 1, most_logs))
        txs.append(tx(dice, made.hash, index, seen, logs))
        seen += logs
    return replace(made, txs=tuple(txs))


def chain(seed: object, length: int, *, first: int = 0, most_txs: int = 8, most_logs: int = 6) -> list[Block]:
    """Return `length` linked blocks."""
    dice = random.Random(f"blocks {seed}")
    made: list[Block] = []
    for number in range(first, first + length):
        parent = made[-1].hash if made else make.NOWHERE
        made.append(block(dice, number, parent, most_txs=most_txs, most_logs=most_logs))
    return made


def answers(blocks: Sequence[Block]) -> tuple[list[bytes], list[bytes]]:
    """Return what a node says of `blocks`: of each the block, and its receipts."""
    encode = msgspec.json.encode
    return [encode(encode_block(each)) for each in blocks], [encode(encode_receipts(each)) for each in blocks]
