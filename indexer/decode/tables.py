"""The tables that logs become (Derived): token transfers, events of vaults, and the raw logs that are kept."""

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from typing import Final, Literal, Protocol

from core.store.copy import Role, block_time
from core.store.derived import Derived, Implied, Row
from core.types import Block, Log, PlacedLog, TokenTransfer
from indexer.decode import signed_vault, transfers
from indexer.decode.words import Malformed

KeepLogs = Literal["none", "watched", "all"]

# Upgraded(address) of a proxy. Source: EIP-1967.
UPGRADED: Final = bytes.fromhex("bc7cd75a20ee27fd9adebab32041f755214dbc6bffa90cc0225b39da2e5c2d3b")
# Kept on every chain from the start, whatever the settings: prices are derived from them (views chain.tick and
# chain.liquidity_change), and a log that was not kept has to be fetched again. Source: Uniswap v3 core,
# IUniswapV3PoolEvents.
POOL_TOPICS: Final = frozenset(
    {
        bytes.fromhex("c42079f94a6350d7e6235f29174924f928cc2ac818eb64fed8004e115fbcca67"),  # Swap
        bytes.fromhex("98636036cb66a9c19a37435efc1e90142190214e8abeb821bdba3f2990dd4c95"),  # Initialize
        bytes.fromhex("7a53080ba414158be7ec69b987b5fb7d07dee101fe85488f0853ae16239d0bde"),  # Mint
        bytes.fromhex("0c396cd989a39f4459b5fa1aed6a9a8dcdbc45908acfd67e028cd568da98982c"),  # Burn
    }
)


class PerLog(Derived, Protocol):
    """A table with at most one row per log, and few of them: what `addresses` emit, and what starts with `topics`."""

    addresses: frozenset[bytes]
    topics: frozenset[bytes]

    def row(self, chain_id: int, block: Block, placed: PlacedLog) -> Row | None:
        """Return the row of one log of `block`. Never raises on a malformed log."""
        ...


class TransferTable:
    """`chain.token_transfer`. `on_malformed` is told of logs that promise a transfer and do not hold one."""

    table: str = "token_transfer"
    columns: tuple[str, ...] = (
        "chain_id", "block_number", "log_index", "position", "tx_index", "standard", "token", "sender", "recipient",
        "amount", "token_id",
    )  # fmt: skip
    sql_delete: str = """
        delete from chain.token_transfer where chain_id = $1 and block_number > $2 and block_number <= $3
    """
    sql_archive: str | None = None
    sql_addresses: str | None = """
        select sender as address from chain.token_transfer
        where chain_id = $1 and block_number > $2 and block_number <= $3
        union
        select recipient from chain.token_transfer
        where chain_id = $1 and block_number > $2 and block_number <= $3
    """

    def __init__(self, on_malformed: Callable[[Block, Log, str], None]) -> None:
        self._on_malformed = on_malformed

    def derive(self, chain_id: int, block: Block) -> Implied:
        """Return a row per transfer of the block; senders and recipients of tokens get their roles."""
        rows: list[Row] = []
        roles: list[tuple[int, bytes, Role]] = []
        seen: dict[bytes, int] = {}
        upgraded = {log.address for tx in block.txs for log in tx.receipt.logs if log.topics[:1] == (UPGRADED,)}
        for t in self._decoded(block):
            rows.append(
                (chain_id, block.number, t.log_index, t.position, t.tx_index, int(t.standard), t.token, t.sender,
                 t.recipient, t.amount, t.token_id)
            )  # fmt: skip
            roles.append((t.tx_index, t.sender, Role.SENT_TOKENS))
            roles.append((t.tx_index, t.recipient, Role.RECEIVED_TOKENS))
            seen[t.token] = max(seen.get(t.token, 0), int(t.standard))
        return Implied(rows, roles, seen, upgraded)

    def decoded(self, block: Block, tx_index: int, log: Log) -> Sequence[TokenTransfer]:
        """Return the transfers that one log of `block` announces."""
        try:
            return transfers.decode(tx_index, log)
        except Malformed as error:
            self._on_malformed(block, log, str(error))
            return ()

    def _decoded(self, block: Block) -> Iterator[TokenTransfer]:
        for tx in block.txs:
            for log in tx.receipt.logs:
                yield from self.decoded(block, tx.index, log)


class VaultTable:
    """`chain.vault_event`: what the configured `vaults` announced. Anybody can emit their events elsewhere."""

    table: str = "vault_event"
    columns: tuple[str, ...] = (
        "chain_id", "block_number", "log_index", "tx_index", "generation", "block_time", "kind", "block_hash",
        "tx_hash", "vault", "account", "token", "resolver", "implementation", "amount", "nonce",
    )  # fmt: skip
    sql_delete: str = """
        delete from chain.vault_event where chain_id = $1 and block_number > $2 and block_number <= $3
    """
    sql_archive: str | None = """
        insert into chain.orphan_vault_event
        select $4, e.* from chain.vault_event e
        where e.chain_id = $1 and e.block_number > $2 and e.block_number <= $3
    """
    sql_addresses: str | None = None

    def __init__(self, vaults: Collection[bytes], on_malformed: Callable[[Block, Log, str], None]) -> None:
        self.addresses = frozenset(vaults)
        self.topics: frozenset[bytes] = frozenset()
        self._on_malformed = on_malformed

    def derive(self, chain_id: int, block: Block) -> Implied:
        """Return a row per vault event of the block, whatever it is worth."""
        placed = (
            PlacedLog(block.ref, tx.hash, tx.index, log)
            for tx in block.txs
            for log in tx.receipt.logs
            if log.address in self.addresses
        )
        rows = (self.row(chain_id, block, each) for each in placed)
        return Implied([row for row in rows if row is not None])

    def row(self, chain_id: int, block: Block, placed: PlacedLog) -> Row | None:
        """Return the row of one vault's log of `block`, None for other events."""
        try:
            return vault_row(chain_id, block_time(block.timestamp), placed)
        except Malformed as error:
            self._on_malformed(block, placed.log, str(error))
            return None


def vault_row(chain_id: int, at: datetime, found: PlacedLog) -> Row | None:
    """Return the row of a vault's log in a block of time `at`, None for other events. Raises Malformed."""
    event = signed_vault.decode(found.log)
    if event is None:
        return None
    generation = None if event.generation is None else int(event.generation)
    return (
        chain_id, found.block.number, found.log.index, found.tx_index, generation, at, event.kind, found.block.hash,
        found.tx_hash, found.log.address, event.account, event.token, event.resolver, event.implementation,
        event.amount, event.nonce,
    )  # fmt: skip


class LogTable:
    """`chain.log`: all logs, or those of `watched` contracts, and in any case those with a topic of POOL_TOPICS."""

    table: str = "log"
    columns: tuple[str, ...] = (
        "chain_id", "block_number", "log_index", "tx_index", "address", "topic0", "topic1", "topic2", "topic3", "data",
    )  # fmt: skip
    sql_delete: str = """
        delete from chain.log where chain_id = $1 and block_number > $2 and block_number <= $3
    """
    sql_archive: str | None = None
    sql_addresses: str | None = None

    def __init__(self, keep: KeepLogs, watched: Collection[bytes] = ()) -> None:
        self._all = keep == "all"
        self.addresses = frozenset(watched) if keep == "watched" else frozenset()

    def keeps_topic(self, topic: bytes | None) -> bool:
        """Whether logs with this first topic, None for none, are kept whoever emits them."""
        return self._all or topic in POOL_TOPICS

    def keeps_address(self, address: bytes) -> bool:
        """Whether all logs of a contract are kept."""
        return self._all or address in self.addresses

    def derive(self, chain_id: int, block: Block) -> Implied:
        """Return a row per kept log; raw logs give no roles."""
        return Implied(
            [
                (chain_id, block.number, log.index, tx.index, log.address, *_four(log.topics), log.data)
                for tx in block.txs
                for log in tx.receipt.logs
                if self._kept(log)
            ]
        )

    def _kept(self, log: Log) -> bool:
        return self.keeps_address(log.address) or self.keeps_topic(log.topics[0] if log.topics else None)


def _four(topics: tuple[bytes, ...]) -> tuple[bytes | None, ...]:
    return (*topics, None, None, None, None)[:4]


class EventTransactionTable:
    """`chain.event_transaction`: which transactions emitted events, where transactions themselves are not stored."""

    table: str = "event_transaction"
    columns: tuple[str, ...] = ("chain_id", "block_number", "tx_index", "hash")
    sql_delete: str = """
        delete from chain.event_transaction where chain_id = $1 and block_number > $2 and block_number <= $3
    """
    sql_archive: str | None = None
    sql_addresses: str | None = None

    def derive(self, chain_id: int, block: Block) -> Implied:
        """Return a row per transaction that emitted a log."""
        return Implied([(chain_id, block.number, tx.index, tx.hash) for tx in block.txs if tx.receipt.logs])
