"""Token transfers that a receipt's logs announce, decoded by eth-abi rather than by the program's own code."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from eth_abi.abi import decode

from core.keccak import keccak

TRANSFER = "0x" + keccak(b"Transfer(address,address,uint256)").hex()
SINGLE = "0x" + keccak(b"TransferSingle(address,address,address,uint256,uint256)").hex()
BATCH = "0x" + keccak(b"TransferBatch(address,address,address,uint256[],uint256[])").hex()


@dataclass(frozen=True)
class Move:
    """One transfer; addresses as sent, in small letters."""

    log_index: int
    position: int
    standard: int
    token: str
    sender: str
    recipient: str
    amount: int
    token_id: int | None


def moves(receipt: Mapping[str, Any]) -> list[Move]:
    return [move for log in receipt["logs"] for move in _of(log)]


def _of(log: Mapping[str, Any]) -> Iterator[Move]:
    topics, data = log["topics"], bytes.fromhex(log["data"][2:])
    place, token = int(log["logIndex"], 16), log["address"]
    match (topics or [""])[0], len(topics):
        case kind, 3 if kind == TRANSFER:
            (amount,) = decode(["uint256"], data)
            yield Move(place, 0, 20, token, _tail(topics[1]), _tail(topics[2]), amount, None)
        case kind, 4 if kind == TRANSFER:
            yield Move(place, 0, 721, token, _tail(topics[1]), _tail(topics[2]), 1, int(topics[3], 16))
        case kind, 4 if kind == SINGLE:
            token_id, amount = decode(["uint256", "uint256"], data)
            yield Move(place, 0, 1155, token, _tail(topics[2]), _tail(topics[3]), amount, token_id)
        case kind, 4 if kind == BATCH:
            ids, amounts = decode(["uint256[]", "uint256[]"], data)
            for position, (token_id, amount) in enumerate(zip(ids, amounts, strict=True)):
                yield Move(place, position, 1155, token, _tail(topics[2]), _tail(topics[3]), amount, token_id)


def _tail(topic: str) -> str:
    return "0x" + topic[-40:]
