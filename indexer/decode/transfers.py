"""Token transfers of ERC-20, ERC-721 and ERC-1155, from their events. Pure.

Sources: EIP-20, EIP-721, EIP-1155. The first two share a topic and differ in what is indexed: three topics and an
amount, or four topics and no data. Tokens from before EIP-721 (CryptoKitties) index nothing: all three words are data.
"""

from collections.abc import Callable, Mapping
from typing import Final

from core.types import Log, TokenStandard, TokenTransfer
from indexer.decode.words import Malformed, address, word, words

# keccak-256 of the signature in the comment
TRANSFER: Final = bytes.fromhex(  # Transfer(address,address,uint256)
    "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
)
TRANSFER_SINGLE: Final = bytes.fromhex(  # TransferSingle(address,address,address,uint256,uint256)
    "c3d58168c5ae7397731d063d5bbf3d657854427343f4c083240f7aacaa2d0f62"
)
TRANSFER_BATCH: Final = bytes.fromhex(  # TransferBatch(address,address,address,uint256[],uint256[])
    "4a39dc06d4c0dbc64b70af90fd698a233a518aa5d07e595d983b8c0526c8f7fb"
)

Decoder = Callable[[int, Log], tuple[TokenTransfer, ...]]


def decode(tx_index: int, log: Log) -> tuple[TokenTransfer, ...]:
    """Return the transfers that `log` announces, none if it is another event. Raises Malformed."""
    decoder = DECODERS.get(log.topics[0]) if log.topics else None
    return decoder(tx_index, log) if decoder is not None else ()


def _transfer(tx_index: int, log: Log) -> tuple[TokenTransfer, ...]:
    match len(log.topics), len(log.data):
        case 3, 32:
            return (_erc20(tx_index, log, word(log.data, 0)),)
        case 4, 0:
            return (_erc721(tx_index, log, log.topics[1], log.topics[2], word(log.topics[3], 0)),)
        case 1, 96:
            return (_erc721(tx_index, log, log.data[:32], log.data[32:64], word(log.data, 2)),)
        case topics, size:
            raise Malformed(f"Transfer with {topics} topics and {size} bytes")


def _erc20(tx_index: int, log: Log, amount: int) -> TokenTransfer:
    return TokenTransfer(
        tx_index=tx_index, log_index=log.index, position=0, standard=TokenStandard.ERC20, token=log.address,
        sender=address(log.topics[1]), recipient=address(log.topics[2]), amount=amount, token_id=None,
    )  # fmt: skip


def _erc721(tx_index: int, log: Log, sender: bytes, recipient: bytes, token_id: int) -> TokenTransfer:
    return TokenTransfer(
        tx_index=tx_index, log_index=log.index, position=0, standard=TokenStandard.ERC721, token=log.address,
        sender=address(sender), recipient=address(recipient), amount=1, token_id=token_id,
    )  # fmt: skip


def _transfer_single(tx_index: int, log: Log) -> tuple[TokenTransfer, ...]:
    if len(log.topics) != 4 or len(log.data) != 64:
        raise Malformed(f"TransferSingle with {len(log.topics)} topics and {len(log.data)} bytes")
    return (_erc1155(tx_index, log, 0, word(log.data, 0), word(log.data, 1)),)


def _transfer_batch(tx_index: int, log: Log) -> tuple[TokenTransfer, ...]:
    if len(log.topics) != 4:
        raise Malformed(f"TransferBatch with {len(log.topics)} topics")
    ids, amounts = words(log.data, 0), words(log.data, 1)
    if len(ids) != len(amounts):
        raise Malformed(f"TransferBatch of {len(ids)} ids and {len(amounts)} amounts")
    pairs = enumerate(zip(ids, amounts, strict=True))
    return tuple(_erc1155(tx_index, log, place, token_id, amount) for place, (token_id, amount) in pairs)


def _erc1155(tx_index: int, log: Log, position: int, token_id: int, amount: int) -> TokenTransfer:
    return TokenTransfer(
        tx_index=tx_index, log_index=log.index, position=position, standard=TokenStandard.ERC1155, token=log.address,
        sender=address(log.topics[2]), recipient=address(log.topics[3]), amount=amount, token_id=token_id,
    )  # fmt: skip


DECODERS: Final[Mapping[bytes, Decoder]] = {
    TRANSFER: _transfer,
    TRANSFER_SINGLE: _transfer_single,
    TRANSFER_BATCH: _transfer_batch,
}
