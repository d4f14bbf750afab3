"""Events of SignedVault, every generation of them. Pure.

Source: maketh-labs/floor SignedVault and its history; `Upgraded` is that of ERC-1967. Nothing is indexed but the
implementation, so a log is one topic and whole words. Words that an address does not fill are refused: the vault cannot
have emitted them, and money is credited by what is read here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Literal

from core.types import Log
from indexer.decode.words import WORD, Malformed, word

Kind = Literal["deposit", "withdraw", "nonce_cancelled", "upgraded"]

# keccak-256 of the signature in the comment
DEPOSIT: Final = bytes.fromhex(  # Deposit(address,address,address,uint256,uint256)
    "5fe47ed6d4225326d3303476197d782ded5a4e9c14f479dc9ec4992af4e85d59"
)
DEPOSIT_OLD: Final = bytes.fromhex(  # Deposit(address,address,uint256,uint256)
    "dcbc1c05240f31ff3ad067ef1ee35ce4997762752e3a095284754544f4c709d7"
)
DEPOSIT_OLDEST: Final = bytes.fromhex(  # Deposit(address,address,uint256)
    "5548c837ab068cf56a2c2479df0882a4922fd203edb7517321831d95078c5f62"
)
WITHDRAW: Final = bytes.fromhex(  # Withdraw(address,address,uint256)
    "9b1bfa7fa9ee420a16e124f794c35ac9f90472acc99140eb2f6447c714cad8eb"
)
NONCE_CANCELLED: Final = bytes.fromhex(  # NonceCancelled(address,uint256)
    "26ccf9904b9b2fb069d347553978928fd2fc65efb2638dcbeb8d142e974479f0"
)
UPGRADED: Final = bytes.fromhex(  # Upgraded(address)
    "bc7cd75a20ee27fd9adebab32041f755214dbc6bffa90cc0225b39da2e5c2d3b"
)


class Generation(IntEnum):
    """Which Deposit event it was. Only the current one names a resolver, and only it can be credited."""

    OLDEST = 1
    OLD = 2
    CURRENT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultEvent:
    """What a vault announced; what an event does not say is None.

    `account` deposited, or received a withdrawal. `token` is 20 zero bytes for the native coin, `amount` in base units.
    """

    kind: Kind
    generation: Generation | None = None
    account: bytes | None = None
    token: bytes | None = None
    resolver: bytes | None = None
    amount: int | None = None
    nonce: int | None = None
    implementation: bytes | None = None


Decoder = Callable[[Log], VaultEvent]


def decode(log: Log) -> VaultEvent | None:
    """Return what `log` announces, None if it is another event. Raises Malformed."""
    decoder = DECODERS.get(log.topics[0]) if log.topics else None
    return None if decoder is None else decoder(log)


def _deposit(log: Log) -> VaultEvent:
    _check(log, topics=1, size=5)
    return VaultEvent(
        kind="deposit", generation=Generation.CURRENT, account=_address(log.data, 0), token=_address(log.data, 1),
        resolver=_address(log.data, 2), amount=word(log.data, 3), nonce=word(log.data, 4),
    )  # fmt: skip


def _deposit_old(log: Log) -> VaultEvent:
    _check(log, topics=1, size=4)
    return VaultEvent(
        kind="deposit", generation=Generation.OLD, account=_address(log.data, 0), token=_address(log.data, 1),
        amount=word(log.data, 2), nonce=word(log.data, 3),
    )  # fmt: skip


def _deposit_oldest(log: Log) -> VaultEvent:
    _check(log, topics=1, size=3)
    return VaultEvent(
        kind="deposit", generation=Generation.OLDEST, account=_address(log.data, 0), token=_address(log.data, 1),
        amount=word(log.data, 2),
    )  # fmt: skip


def _withdraw(log: Log) -> VaultEvent:
    _check(log, topics=1, size=3)
    return VaultEvent(
        kind="withdraw", account=_address(log.data, 0), token=_address(log.data, 1), amount=word(log.data, 2)
    )


def _nonce_cancelled(log: Log) -> VaultEvent:
    _check(log, topics=1, size=2)
    return VaultEvent(kind="nonce_cancelled", resolver=_address(log.data, 0), nonce=word(log.data, 1))


def _upgraded(log: Log) -> VaultEvent:
    _check(log, topics=2, size=0)
    return VaultEvent(kind="upgraded", implementation=_address(log.topics[1], 0))


def _check(log: Log, *, topics: int, size: int) -> None:
    if len(log.topics) != topics or len(log.data) != size * WORD:
        raise Malformed(
            f"vault event 0x{log.topics[0][:4].hex()}… with {len(log.topics)} topics and {len(log.data)} bytes,"
            f" expected {topics} and {size * WORD}"
        )


def _address(data: bytes, index: int) -> bytes:
    value = word(data, index)
    if value >> 160:
        raise Malformed(f"word {index} is no address: {value:#x}")
    return value.to_bytes(20)


DECODERS: Final[Mapping[bytes, Decoder]] = {
    DEPOSIT: _deposit,
    DEPOSIT_OLD: _deposit_old,
    DEPOSIT_OLDEST: _deposit_oldest,
    WITHDRAW: _withdraw,
    NONCE_CANCELLED: _nonce_cancelled,
    UPGRADED: _upgraded,
}
