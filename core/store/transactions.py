"""Transactions as answers tell of them: with receipts, blocks, token transfers, and what tokens said of themselves."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

import asyncpg

from core.store.listing import Place
from core.store.pool import Connection
from core.types import BlockRef, HowFinal, TokenStandard, TokenTransfer, how_final

# $1 chain, $2 and $3 places, each once, $4 and $5 the least and the greatest block number among them: by these,
# partitions are left out. Said with `or` they are no bounds for an index: `between` is one row to a planner that knows
# nothing of a table yet, and all of it may be read for each place (ADR 42). Where tables are small, a plan that is made
# once would rather read them through; an outer join makes it go from place to place, and coalesce hides from it that
# the join is none.
# Numbers travel as text: the driver takes 3 us to make a Decimal of each.
SQL_TRANSACTIONS: Final = """
    select t.block_number, t.tx_index, t.hash, t.sender, t.recipient, t.contract_address, t.value::text,
        t.gas_used::text, coalesce(t.effective_gas_price, t.gas_price)::text, t.status, b.hash, b.block_time
    from unnest($2::bigint[], $3::integer[]) as place (block_number, tx_index)
    left join chain.transaction t
        on t.chain_id = $1 and t.block_number = place.block_number and t.tx_index = place.tx_index
        and (t.block_number >= $4 or t.block_number = $4) and (t.block_number <= $5 or t.block_number = $5)
    left join chain.block b
        on b.chain_id = $1 and b.number = place.block_number
        and (b.number >= $4 or b.number = $4) and (b.number <= $5 or b.number = $5)
    where coalesce(t.tx_index, -1) >= 0
"""
SQL_TRANSFERS: Final = """
    select m.block_number, m.tx_index, m.log_index, m.position, m.standard, m.token, m.sender, m.recipient,
        m.amount::text, m.token_id::text
    from unnest($2::bigint[], $3::integer[]) as place (block_number, tx_index)
    left join chain.token_transfer m
        on m.chain_id = $1 and m.block_number = place.block_number and m.tx_index = place.tx_index
        and (m.block_number >= $4 or m.block_number = $4) and (m.block_number <= $5 or m.block_number = $5)
    where coalesce(m.tx_index, -1) >= 0
    order by m.block_number, m.log_index, m.position
"""
SQL_TOKENS: Final = """
    select address, block_number, symbol, name, decimals
    from chain.token
    where chain_id = $1 and address = any($2::bytea[])
    order by address, block_number
"""
_STANDARDS: Final[Mapping[int, TokenStandard]] = {int(each): each for each in TokenStandard}


@dataclass(frozen=True, slots=True)
class StoredToken:
    """What is known of a token: nothing but its address until its metadata has been `read`."""

    address: bytes
    symbol: str | None = None
    name: str | None = None
    decimals: int | None = None
    read: bool = False


class StoredTransfer(NamedTuple):
    """A token transfer with what its token said of itself at the time."""

    transfer: TokenTransfer
    token: StoredToken


class StoredTx(NamedTuple):
    """What answers tell of a transaction, its receipt and its block.

    `gas_price` is what a unit of gas cost, in wei: old nodes report it only as the transaction's own. `status` None is
    unknown. A tuple, for a page has up to 200 of them: a frozen dataclass of so many fields takes three times as long.
    """

    block_number: int
    tx_index: int
    hash: bytes
    sender: bytes
    recipient: bytes | None
    contract_address: bytes | None
    value: int
    gas_used: int
    gas_price: int
    status: int | None
    block_hash: bytes
    block_time: datetime
    transfers: tuple[StoredTransfer, ...] = ()
    finality: HowFinal = "latest"

    @property
    def block(self) -> BlockRef:
        """The block it is in."""
        return BlockRef(self.block_number, self.block_hash)


class TokenVersion(NamedTuple):
    """What a token said of itself from a block on."""

    since: int
    token: StoredToken


async def token_versions(
    conn: Connection, chain_id: int, addresses: Collection[bytes]
) -> dict[bytes, list[TokenVersion]]:
    """Return all versions of each token, oldest first."""
    versions: dict[bytes, list[TokenVersion]] = defaultdict(list)
    if addresses:
        for address, number, symbol, name, decimals in await conn.fetch(SQL_TOKENS, chain_id, list(addresses)):
            versions[address].append(TokenVersion(number, StoredToken(address, symbol, name, decimals, read=True)))
    return versions


async def at_places(
    conn: Connection, chain_id: int, places: Collection[Place], marks: asyncpg.Record
) -> dict[Place, StoredTx]:
    """Return the transactions at `places`; `marks` says which are the chain's newest `safe` and `finalized` blocks.

    Run it in one snapshot with what found the places, and with plans made once (core/store/plans.py).
    """
    if not places:
        return {}
    # In their order, for neighbours lie together.
    numbers, indexes = map(list, zip(*sorted(places), strict=True))
    asked = (chain_id, numbers, indexes, numbers[0], numbers[-1])
    rows, moved = await conn.fetch(SQL_TRANSACTIONS, *asked), await conn.fetch(SQL_TRANSFERS, *asked)
    tokens = await token_versions(conn, chain_id, {row[5] for row in moved})
    return stored_txs(rows, _by_place(moved, tokens), safe=marks["safe"], finalized=marks["finalized"])


def at_block(versions: Sequence[TokenVersion], address: bytes, number: int) -> StoredToken:
    """Return the newest version that is not newer than block `number`, else the oldest there is.

    Metadata is read when a token is first seen at the head; what history says of it before that was not asked.
    """
    if not versions:
        return StoredToken(address)
    if len(versions) == 1:
        return versions[0].token
    return next((each.token for each in reversed(versions) if each.since <= number), versions[0].token)


def _by_place(
    rows: Sequence[asyncpg.Record], tokens: Mapping[bytes, Sequence[TokenVersion]]
) -> dict[Place, list[StoredTransfer]]:
    """Return rows of SQL_TRANSFERS by their transactions, in their order."""
    transfers: dict[Place, list[StoredTransfer]] = {}
    # Most tokens have always said the same of themselves.
    same = {address: versions[0].token for address, versions in tokens.items() if len(versions) == 1}
    for number, tx_index, log_index, position, standard, token, sender, recipient, amount, token_id in rows:
        moved = TokenTransfer(
            tx_index, log_index, position, _STANDARDS[standard], token, sender, recipient, int(amount),
            None if token_id is None else int(token_id),
        )  # fmt: skip
        said = same.get(token) or at_block(tokens.get(token, ()), token, number)
        transfers.setdefault((number, tx_index), []).append(StoredTransfer(moved, said))
    return transfers


def stored_txs(
    rows: Sequence[asyncpg.Record],
    transfers: Mapping[Place, Sequence[StoredTransfer]],
    *,
    safe: int | None,
    finalized: int | None,
) -> dict[Place, StoredTx]:
    """Return rows of SQL_TRANSACTIONS, or of what has the same columns in the same order, by place and in their order.

    `safe` and `finalized` are the chain's newest such blocks.
    """
    stored: dict[Place, StoredTx] = {}
    for number, index, hash_, sender, recipient, created, value, gas_used, gas_price, status, block, time in rows:
        finality = how_final(number, safe=safe, finalized=finalized)
        moved = transfers.get((number, index))
        stored[number, index] = StoredTx(
            number, index, hash_, sender, recipient, created, int(value), int(gas_used), int(gas_price or 0), status,
            block, time, tuple(moved) if moved else (), finality,
        )  # fmt: skip
    return stored
