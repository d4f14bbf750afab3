"""SignedVault calls and the order its resolver signs. Source: maketh-labs/floor SignedVault, see contracts/abi."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from builders.call import Call, invoke
from core.keccak import keccak

ETHER = bytes(20)  # the vault's name for the chain's own coin

_DOMAIN = {"name": "string", "version": "string", "chainId": "uint256", "verifyingContract": "address"}
_WITHDRAW = {
    "user": "address",
    "token": "address",
    "amount": "uint256",
    "resolver": "address",
    "nonce": "uint256",
    "deadline": "uint256",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """What a resolver allows: `amount` base units of `token` to `user`, once per nonce, until unix time `deadline`."""

    user: bytes
    token: bytes
    amount: int
    resolver: bytes
    nonce: int
    deadline: int


def deposit_eth(vault: bytes, resolver: bytes, nonce: int, amount: int) -> Call:
    """Return the call that deposits `amount` wei of the sender's."""
    return invoke(vault, "depositETH(address,uint256)", resolver, nonce, value=amount)


def deposit(vault: bytes, token: bytes, amount: int, resolver: bytes, nonce: int) -> Call:
    """Return the call that deposits a token, which the sender must have approved."""
    return invoke(vault, "deposit(address,uint256,address,uint256)", token, amount, resolver, nonce)


def cancel(vault: bytes, nonce: int) -> Call:
    """Return the call by which a resolver makes its own nonce unusable."""
    return invoke(vault, "cancel(uint256)", nonce)


def withdraw(vault: bytes, order: Withdrawal, signature: bytes) -> Call:
    """Return the call that carries out a signed withdrawal; anybody may send it."""
    tail = (order.amount, order.resolver, order.nonce, order.deadline, signature)
    if order.token == ETHER:
        return invoke(vault, "withdrawETH(address,uint256,address,uint256,uint256,bytes)", order.user, *tail)
    function = "withdraw(address,address,uint256,address,uint256,uint256,bytes)"
    return invoke(vault, function, order.user, order.token, *tail)


def typed_data(vault: bytes, chain_id: int, order: Withdrawal) -> Mapping[str, Any]:
    """Return the order as EIP-712 typed data, in the form that eth_signTypedData_v4 takes."""
    return {
        "types": {"EIP712Domain": _fields(_DOMAIN), "Withdraw": _fields(_WITHDRAW)},
        "primaryType": "Withdraw",
        "domain": {
            "name": "SignedVault",
            "version": "1",
            "chainId": str(chain_id),
            "verifyingContract": "0x" + vault.hex(),
        },
        "message": {
            "user": "0x" + order.user.hex(),
            "token": "0x" + order.token.hex(),
            # As text: a wallet that reads JSON numbers as doubles would sign another amount.
            "amount": str(order.amount),
            "resolver": "0x" + order.resolver.hex(),
            "nonce": str(order.nonce),
            "deadline": str(order.deadline),
        },
    }


def deposit_hash(user: bytes, token: bytes, resolver: bytes, nonce: int) -> bytes:
    """Return the key under which the vault keeps a deposit."""
    return keccak(user + token + resolver + nonce.to_bytes(32, "big"))


def _fields(types: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "type": kind} for name, kind in types.items()]
