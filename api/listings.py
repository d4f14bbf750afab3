"""Listings of transactions over HTTP: query parameters to filters, pages to answers with links that do not shift."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast
from urllib.parse import urlencode

from starlette.requests import Request

from api import params
from api.errors import BadRequest, Conflict
from api.prices import Values
from api.schemas import Page, Transaction
from core.hex import to_hex
from core.store.listing import AnchorGone, Direction, Filter, Window
from core.store.reader import Reader, StoredTx, TxPage
from core.types import BlockRef

MAX_PAGE_SIZE: Final = 200
DEFAULT_PAGE_SIZE: Final = 20
FILTERS: Final = (
    "from_date", "to_date", "from_block", "to_block", "token", "direction", "status", "min_value", "max_value",
    "method",
)  # fmt: skip
PAGING: Final = ("sort", "page", "page_size", "as_of", "as_of_hash", "cursor")
DIRECTIONS: Final[Mapping[str, Direction]] = {"in": "in", "out": "out"}
STATUSES: Final = {"success": 1, "failed": 0, "unknown": -1}
SORTS: Final = {"-timestamp": False, "timestamp": True, "+timestamp": True, " timestamp": True}


@dataclass(frozen=True, slots=True)
class Style:
    """How answers look: the chain's native symbol, and where clients reach the API ("" takes it from the request)."""

    symbol: str
    public_url: str


Valued = Callable[[Sequence[StoredTx]], Awaitable[Values]]


async def answer(request: Request, chain: Reader, address: bytes | None, style: Style, valued: Valued) -> Page:
    """Answer one page of the transactions that the request's parameters ask for, of `address` if it is given.

    `valued` says what they were worth.
    """
    wanted = _filter(request, address)
    number, window = _window(request)
    as_of = params.optional_block(request, "as_of")
    as_of_hash = params.block_hash(request, "as_of_hash")
    if as_of_hash is not None and as_of is None:
        raise BadRequest("as_of_hash: needs as_of, the number of the block it is the hash of")
    try:
        found = await chain.transactions(wanted, window, as_of=as_of, as_of_hash=as_of_hash)
    except AnchorGone as error:
        raise Conflict(f"as_of: {error}; start again without it") from error
    values = await valued(found.txs)
    data = [Transaction.of(tx, style.symbol, values) for tx in found.txs]
    return _page(found, data, number, window.limit, Links(request, anchored(found.anchor), style.public_url))


def _filter(request: Request, address: bytes | None) -> Filter:
    wanted = Filter(
        address=address,
        direction=params.choice(request, "direction", DIRECTIONS),
        token=params.optional_address(request, "token"),
        status=params.choice(request, "status", STATUSES),
        min_value=params.ether(request, "min_value"),
        max_value=params.ether(request, "max_value"),
        selector=params.selector(request, "method"),
        from_block=params.optional_block(request, "from_block"),
        to_block=params.optional_block(request, "to_block"),
        from_time=params.moment(request, "from_date"),
        to_time=params.moment(request, "to_date"),
    )
    if wanted.direction is not None and address is None:
        raise BadRequest("direction: needs address, whose view it is")
    for low, high, names in (
        (wanted.from_block, wanted.to_block, "from_block, to_block"),
        (wanted.min_value, wanted.max_value, "min_value, max_value"),
    ):
        if low is not None and high is not None and low > high:
            raise BadRequest(f"{names}: the first is greater than the second")
    if wanted.from_time is not None and wanted.to_time is not None and wanted.from_time > wanted.to_time:
        raise BadRequest("from_date, to_date: the first is later than the second")
    return wanted


def _window(request: Request) -> tuple[int | None, Window]:
    """Return the page's number, None with a cursor, and the window it stands for."""
    size = params.integer(request, "page_size", default=DEFAULT_PAGE_SIZE, low=1, high=MAX_PAGE_SIZE)
    oldest_first = bool(params.choice(request, "sort", SORTS))
    after = params.place(request, "cursor")
    if after is not None:
        if "page" in request.query_params:
            raise BadRequest("page: either page or cursor, not both")
        return None, Window(limit=size, after=after, oldest_first=oldest_first)
    number = params.integer(request, "page", default=1, low=1, high=params.MAX_PAGE)
    return number, Window(limit=size, offset=(number - 1) * size, oldest_first=oldest_first)


def _page(found: TxPage, data: list[Transaction], number: int | None, size: int, links: "Links") -> Page:
    pages = -(-found.total // size)
    last = found.txs[-1] if len(found.txs) == size else None
    next_cursor = None if last is None else f"{last.block_number}-{last.tx_index}"
    # Where the total is only what was counted, a full page may have another one behind it.
    reachable = pages if found.is_exact or number is None or last is None else max(pages, number + 1)
    following, previous = links.around(number, reachable, next_cursor)
    return Page(
        data=data,
        page=number,
        page_size=size,
        total_results=found.total,
        total_is_exact=found.is_exact,
        total_pages=pages,
        next_page_url=following,
        prev_page_url=previous,
        next_cursor=next_cursor,
        as_of=None if found.anchor is None else found.anchor.number,
        complete=found.complete,
        covered=[(span.first, span.last) for span in found.covered],
    )


def anchored(anchor: BlockRef | None) -> dict[str, str]:
    """Return the parameters that anchor a listing at a block."""
    found: dict[str, str] = {}
    if anchor is not None:
        found["as_of"] = str(anchor.number)
    if anchor is not None and anchor.hash:
        # A reorg that puts another block at this number must not be paged over.
        found["as_of_hash"] = to_hex(anchor.hash)
    return found


class Links:
    """Complete URLs of other pages of the same listing, with the parameters that anchor it where this page was."""

    def __init__(self, request: Request, anchors: Mapping[str, str], public_url: str) -> None:
        self._base = f"{public_url or str(request.base_url).rstrip('/')}{request.scope['path']}"
        kept = {name: value for name, value in request.query_params.items() if name not in ("page", "cursor")}
        self._query = {**kept, **anchors}

    def around(self, number: int | None, pages: int, next_cursor: str | None) -> tuple[str | None, str | None]:
        """Return the next and the previous page's URL; `number` is None where a cursor was given."""
        if number is None:
            return self.to(cursor=next_cursor) if next_cursor else None, None
        following = self.to(page=number + 1) if number < pages else None
        return following, self.to(page=min(number - 1, pages)) if number > 1 and pages else None

    def to(self, **place: object) -> str:
        """Return the URL of `page` or `cursor`."""
        return f"{self._base}?{urlencode({**self._query, **cast(dict[str, str], place)})}"
