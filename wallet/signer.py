"""Who signs: a key from a keystore file, a key for development, or a signer elsewhere. Keys never leave this module.

Whatever comes back from a signer is decoded and held against what was asked, and the signature against the wallet.
Sources: EIP-1559 and EIP-2718 (eth-account); Web3 Secret Storage v3 (eth-keyfile); eth_signTransaction of the
execution-apis, as Web3Signer serves it.
"""

import asyncio
import json
import sys
from typing import Any, Final, Protocol

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from eth_keys.exceptions import BadSignature
from eth_utils.exceptions import ValidationError
from hexbytes import HexBytes
from rlp.exceptions import RLPException

from core.errors import BadAnswer, BadConfig
from core.hex import from_hex, to_hex, to_quantity
from core.keccak import keccak
from core.rpc.client import Rpc
from wallet.types import Unsigned

# py_ecc, which eth-account brings along, raises the limit a hundredfold, for pairings that nobody computes here: a node
# that answers brackets within brackets would end the process, where the parser is to refuse them.
sys.setrecursionlimit(1_000)

SIGN_S: Final = 20.0
TYPE: Final = 2  # EIP-1559


class Signer(Protocol):
    """Signs for one account."""

    @property
    def address(self) -> bytes:
        """The account."""
        ...

    async def sign(self, unsigned: Unsigned) -> bytes:
        """Return the signed transaction's bytes, of exactly what was asked. Raises BadAnswer, RpcUnavailable."""
        ...


class LocalSigner:
    """A key in this process's memory (Signer)."""

    def __init__(self, account: LocalAccount) -> None:
        self._account = account

    @property
    def address(self) -> bytes:
        """The account."""
        return from_hex(self._account.address)

    async def sign(self, unsigned: Unsigned) -> bytes:
        """Return the signed transaction's bytes."""
        signed = self._account.sign_transaction(_fields(unsigned))
        return checked(bytes(signed.raw_transaction), unsigned, self.address)

    def __repr__(self) -> str:
        return f"LocalSigner({self._account.address})"


class RemoteSigner:
    """A signer that speaks eth_signTransaction, such as Web3Signer (Signer). `client` is connected by its owner."""

    def __init__(self, client: Rpc, address: bytes) -> None:
        self._client = client
        self._address = address

    @property
    def address(self) -> bytes:
        """The account."""
        return self._address

    async def sign(self, unsigned: Unsigned) -> bytes:
        """Return the signed transaction's bytes."""
        call = unsigned.call
        assert call.to is not None, "an intent calls somebody"
        asked = {
            "from": to_hex(self._address), "to": to_hex(call.to), "gas": to_quantity(unsigned.gas),
            "maxFeePerGas": to_quantity(unsigned.fees.cap), "maxPriorityFeePerGas": to_quantity(unsigned.fees.tip),
            "value": to_quantity(call.value), "data": to_hex(call.data), "nonce": to_quantity(unsigned.nonce),
            "chainId": to_quantity(unsigned.chain_id),
        }  # fmt: skip
        async with asyncio.timeout(SIGN_S):
            answer = await self._client.call("eth_signTransaction", asked)
        # geth's own answer is an object with the bytes in `raw`.
        raw = answer.get("raw") if isinstance(answer, dict) else answer
        if not isinstance(raw, str):
            raise BadAnswer(f"{self._client.host}: eth_signTransaction: expected hex, found {type(raw).__name__}")
        return checked(from_hex(raw), unsigned, self._address)


def from_keystore(text: str, passphrase: str, where: str) -> LocalSigner:
    """Open a keystore (v3), which takes a second on purpose. Raises BadConfig, never with the content."""
    try:
        key = Account.decrypt(json.loads(text), passphrase)
    except (ValueError, TypeError, KeyError, NotImplementedError) as error:
        # The library's text is its own ("MAC mismatch"); what was read is in none of it.
        raise BadConfig(f"{where}: not a keystore that the passphrase opens ({type(error).__name__})") from None
    return LocalSigner(Account.from_key(key))


def from_dev_key(key: str, where: str) -> LocalSigner:
    """Take a key as it is: for development, where it guards nothing. Raises BadConfig, never with the content."""
    try:
        return LocalSigner(Account.from_key(key))
    except (ValueError, TypeError, AssertionError):
        raise BadConfig(f"{where}: expected a private key of 32 bytes in hex, found something else") from None


def checked(raw: bytes, unsigned: Unsigned, address: bytes) -> bytes:
    """Return `raw` if it is exactly `unsigned`, signed by `address`. Raises BadAnswer."""
    try:
        found = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
        signer = from_hex(Account.recover_transaction(raw))
    except (ValueError, TypeError, IndexError, RLPException, BadSignature, ValidationError) as error:
        raise BadAnswer(f"signer: not a transaction of type 2: {type(error).__name__}") from None
    wanted = _fields(unsigned) | {"accessList": ()}
    for name, value in wanted.items():
        if _plain(found.get(name)) != _plain(value):
            raise BadAnswer(f"signer: {name} of the signed transaction is not what was asked")
    if found["v"] not in (0, 1):
        # The library reads older encodings of it too. A node that did as well would write it anew, under another hash.
        raise BadAnswer(f"signer: expected a parity of 0 or 1, found {found['v']}")
    if signer != address:
        raise BadAnswer(f"signer: signed by 0x{signer.hex()}, expected 0x{address.hex()}")
    return raw


def hash_of(raw: bytes) -> bytes:
    """Return the hash that names a signed transaction: known before anybody else has seen it."""
    return keccak(raw)


def _fields(unsigned: Unsigned) -> dict[str, Any]:
    return {
        "type": TYPE, "chainId": unsigned.chain_id, "nonce": unsigned.nonce, "gas": unsigned.gas,
        "maxFeePerGas": unsigned.fees.cap, "maxPriorityFeePerGas": unsigned.fees.tip, "to": unsigned.call.to,
        "value": unsigned.call.value, "data": unsigned.call.data,
    }  # fmt: skip


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return value.lower().removeprefix("0x")
    if isinstance(value, bytes | bytearray):
        return bytes(value).hex()
    return list(value) if isinstance(value, list | tuple) else value
