"""Watch mode: of each block, only the transactions that concern watched addresses; events mode: only events. Pure."""

from collections.abc import Callable, Collection
from dataclasses import replace

from core.types import Block, Log, Tx
from indexer.decode import transfers
from indexer.decode.words import Malformed


def watching(watched: Collection[bytes]) -> Callable[[Block], Block]:
    """Return the filter for `watched` addresses. A transaction it keeps is kept whole."""
    wanted = frozenset(watched)

    def kept(block: Block) -> Block:
        """Return the block with its header, its true number of transactions, and those that concern us."""
        txs = tuple(tx for tx in block.txs if concerns(tx, wanted))
        return replace(block, txs=txs, tx_total=block.tx_count)

    return kept


def only_events(contracts: Collection[bytes]) -> Callable[[Block], Block]:
    """Return the filter that leaves of a block the logs of `contracts`, within the transactions that emitted them."""
    wanted = frozenset(contracts)

    def kept(block: Block) -> Block:
        """Return the block with its header, its true number of transactions, and the logs that are wanted."""
        logs = [tuple(log for log in tx.receipt.logs if log.address in wanted) for tx in block.txs]
        txs = tuple(
            replace(tx, receipt=replace(tx.receipt, logs=found))
            for tx, found in zip(block.txs, logs, strict=True)
            if found
        )
        return replace(block, txs=txs, tx_total=block.tx_count)

    return kept


def concerns(tx: Tx, watched: Collection[bytes]) -> bool:
    """Whether one of `watched` sent, received or was created by it, emitted a log in it, or moved tokens through it."""
    return any(address in watched for address in (tx.sender, tx.to, tx.receipt.contract_address)) or any(
        log.address in watched or _moves(tx.index, log, watched) for log in tx.receipt.logs
    )


def _moves(tx_index: int, log: Log, watched: Collection[bytes]) -> bool:
    try:
        return any(t.sender in watched or t.recipient in watched for t in transfers.decode(tx_index, log))
    except Malformed:
        return False
