"""The archive of reorgs over HTTP: what the chain no longer has, in pages that do not shift."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import msgspec
from starlette.requests import Request

from api import params
from api.addresses import checksum
from api.amounts import display, exact
from api.errors import BadRequest
from api.listings import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, SORTS, Links, Style
from api.schemas import ETHER, GWEI, STATUS
from api.times import iso
from core.hex import to_hex
from core.store.reorgs import KEY_BYTES, OrphanBlock, Place, Reorgs, ReorgWindow, StoredReorg
from core.store.transactions import StoredTx

PAGING: Final = ("sort", "page", "page_size", "as_of", "cursor")
INSIDE_PAGING: Final = ("page", "page_size", "cursor")
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)


class OrphanedBlock(msgspec.Struct):
    """A block that the chain no longer has."""

    block_number: int
    block_hash: str
    parent_hash: str
    block_timestamp: str
    transaction_count: int

    @classmethod
    def of(cls, block: OrphanBlock) -> "OrphanedBlock":
        """Make it from an archived block."""
        at = iso(block.block_time)
        return cls(block.ref.number, to_hex(block.ref.hash), to_hex(block.parent_hash), at, block.tx_count)


class OrphanedTransaction(msgspec.Struct, kw_only=True):
    """A transaction of such a block, as it was there. It may be in another block now: ask /transactions/{hash}."""

    hash: str
    block_number: int
    transaction_index: int
    block_timestamp: str
    from_address: str
    to_address: str | None
    contract_address: str | None
    value_native: str
    gas_used: int
    gas_price_gwei: Decimal
    status: str | None

    @classmethod
    def of(cls, tx: StoredTx, native_symbol: str) -> "OrphanedTransaction":
        """Make it from an archived transaction."""
        return cls(
            hash=to_hex(tx.hash),
            block_number=tx.block_number,
            transaction_index=tx.tx_index,
            block_timestamp=iso(tx.block_time),
            from_address=checksum(tx.sender),
            to_address=None if tx.recipient is None else checksum(tx.recipient),
            contract_address=None if tx.contract_address is None else checksum(tx.contract_address),
            value_native=display(tx.value, ETHER, native_symbol),
            gas_used=tx.gas_used,
            gas_price_gwei=exact(tx.gas_price, GWEI),
            status=STATUS[tx.status],
        )


class Reorg(msgspec.Struct, kw_only=True):
    """GET /api/v1/reorgs/{id}: stored blocks that turned out not to be part of the chain.

    `ancestor_hash` is null where the block below the orphans was not stored; `depth` counts heights, `orphaned_blocks`
    what was stored of them. `blocks` are the highest 20 at most, highest first.
    """

    id: str
    detected_at: str
    ancestor_block: int | None
    ancestor_hash: str | None
    tip_block: int
    tip_hash: str
    depth: int
    reason: str
    orphaned_blocks: int
    orphaned_transactions: int
    blocks: list[OrphanedBlock]

    @classmethod
    def of(cls, found: StoredReorg) -> "Reorg":
        """Make it from an archived reorg."""
        return cls(
            id=id_of(found.detected_at, found.tip.hash),
            detected_at=found.detected_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            ancestor_block=found.ancestor if found.ancestor >= 0 else None,
            ancestor_hash=None if found.ancestor_hash is None else to_hex(found.ancestor_hash),
            tip_block=found.tip.number,
            tip_hash=to_hex(found.tip.hash),
            depth=found.tip.number - found.ancestor,
            reason=found.reason,
            orphaned_blocks=found.blocks,
            orphaned_transactions=found.txs,
            blocks=[OrphanedBlock.of(block) for block in found.highest],
        )


class Paged(msgspec.Struct, kw_only=True):
    """Where a page's neighbours are; `page` is null where a cursor was given."""

    page: int | None
    page_size: int
    total_results: int
    total_pages: int
    next_page_url: str | None
    prev_page_url: str | None
    next_cursor: str | None


class ReorgList(Paged, kw_only=True):
    """A page of reorgs. `as_of` is the newest one that the listing speaks of, null when there is none."""

    data: list[Reorg]
    as_of: str | None


class OrphanedBlockList(Paged, kw_only=True):
    """A page of a reorg's blocks, highest first."""

    data: list[OrphanedBlock]


class OrphanedTransactionList(Paged, kw_only=True):
    """A page of a reorg's transactions, newest first."""

    data: list[OrphanedTransaction]


def id_of(detected_at: datetime, tip_hash: bytes) -> str:
    """Return a reorg's id: when it was detected, in microseconds, and 16 digits of its highest orphan's hash."""
    return f"{(detected_at - EPOCH) // MICROSECOND}-{tip_hash[:KEY_BYTES].hex()}"


def place_of(text: str, name: str) -> Place:
    """Return what a reorg's id names."""
    found = re.fullmatch(r"([0-9]{1,16})-([0-9a-fA-F]{16})", text, re.ASCII)
    if found is None:
        raise BadRequest(f"{name}: expected the id of a reorg, <microseconds>-<16 hex digits>, found {text[:60]!r}")
    return EPOCH + int(found[1]) * MICROSECOND, bytes.fromhex(found[2])


async def listed(request: Request, reorgs: Reorgs, style: Style) -> ReorgList:
    """Answer one page of the archive."""
    number, size = _page(request)
    as_of, cursor = (_place(request, name) for name in ("as_of", "cursor"))
    oldest_first = bool(params.choice(params.given(request), "sort", SORTS))
    window = ReorgWindow(limit=size, offset=_offset(number, size), after=cursor, oldest_first=oldest_first)
    found, total, newest = await reorgs.page(window, as_of)
    anchor = None if newest is None else id_of(*newest)
    next_cursor = id_of(*found[-1].place) if len(found) == size else None
    links = Links(request, {} if anchor is None else {"as_of": anchor}, style.public_url)
    paged = _paged(number, size, total, next_cursor, links)
    return ReorgList(data=[Reorg.of(each) for each in found], as_of=anchor, **paged)


async def blocks(request: Request, reorgs: Reorgs, of: StoredReorg, style: Style) -> OrphanedBlockList:
    """Answer one page of a reorg's blocks."""
    number, size = _page(request)
    below = params.optional_block(params.given(request), "cursor")
    found = await reorgs.blocks(of, below=below, limit=size, offset=_offset(number, size))
    next_cursor = str(found[-1].ref.number) if len(found) == size else None
    paged = _paged(number, size, of.blocks, next_cursor, Links(request, {}, style.public_url))
    return OrphanedBlockList(data=[OrphanedBlock.of(each) for each in found], **paged)


async def transactions(request: Request, reorgs: Reorgs, of: StoredReorg, style: Style) -> OrphanedTransactionList:
    """Answer one page of a reorg's transactions."""
    number, size = _page(request)
    below = params.place(params.given(request), "cursor")
    found = await reorgs.transactions(of, below=below, limit=size, offset=_offset(number, size))
    next_cursor = f"{found[-1].block_number}-{found[-1].tx_index}" if len(found) == size else None
    paged = _paged(number, size, of.txs, next_cursor, Links(request, {}, style.public_url))
    return OrphanedTransactionList(data=[OrphanedTransaction.of(each, style.symbol) for each in found], **paged)


def _place(request: Request, name: str) -> Place | None:
    text = request.query_params.get(name)
    return None if text is None else place_of(text, name)


def _page(request: Request) -> tuple[int | None, int]:
    """Return the page's number, None with a cursor, and its size."""
    given = params.given(request)
    size = params.integer(given, "page_size", default=DEFAULT_PAGE_SIZE, low=1, high=MAX_PAGE_SIZE)
    if "cursor" not in request.query_params:
        return params.integer(given, "page", default=1, low=1, high=params.MAX_PAGE), size
    if "page" in request.query_params:
        raise BadRequest("page: either page or cursor, not both")
    return None, size


def _offset(number: int | None, size: int) -> int:
    return 0 if number is None else (number - 1) * size


def _paged(number: int | None, size: int, total: int, next_cursor: str | None, links: Links) -> dict[str, Any]:
    pages = -(-total // size)
    following, previous = links.around(number, pages, next_cursor)
    return {
        "page": number, "page_size": size, "total_results": total, "total_pages": pages,
        "next_page_url": following, "prev_page_url": previous, "next_cursor": next_cursor,
    }  # fmt: skip
