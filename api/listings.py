"""Listings of transactions over HTTP: query parameters to filters, pages to answers with links that do not shift."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple, cast
from urllib.parse import quote_plus

import msgspec
from starlette.requests import Request

from api import params
from api.errors import BadRequest, Conflict
from api.prices import Values
from api.rows import rows
from api.schemas import Page, Transaction
from core.hex import to_hex
from core.store.listing import AnchorGone, Direction, Filter, Window
from core.store.reader import Reader, TxPage
from core.store.transactions import StoredTx
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
    asked = _asked(request.scope["query_string"])
    wanted = asked.wanted
    if address is not None:
        wanted = wanted._replace(address=address)
    elif wanted.direction is not None:
        raise BadRequest("direction: needs address, whose view it is")
    number, window = asked.number, asked.window
    try:
        found = await chain.transactions(wanted, window, as_of=asked.as_of, as_of_hash=asked.as_of_hash)
    except AnchorGone as error:
        raise Conflict(f"as_of: {error}; start again without it") from error
    values = await valued(found.txs)
    data = rows(found.txs, style.symbol, values)
    return _page(found, data, number, window.limit, Links(request, anchored(found.anchor), style.public_url))


class _Asked(NamedTuple):
    """What a query string asks for, whosever the transactions are; `number` is None with a cursor."""

    wanted: Filter
    number: int | None
    window: Window
    as_of: int | None
    as_of_hash: bytes | None


@lru_cache(maxsize=1_024)  # the same few, of many addresses
def _asked(query: bytes) -> _Asked:
    given = params.parsed(query)
    wanted = _filter(given)
    number, window = _window(given)
    as_of = params.optional_block(given, "as_of")
    as_of_hash = params.block_hash(given, "as_of_hash")
    if as_of_hash is not None and as_of is None:
        raise BadRequest("as_of_hash: needs as_of, the number of the block it is the hash of")
    return _Asked(wanted, number, window, as_of, as_of_hash)


def _filter(given: params.Query) -> Filter:
    wanted = Filter(
        direction=params.choice(given, "direction", DIRECTIONS),
        token=params.optional_address(given, "token"),
        status=params.choice(given, "status", STATUSES),
        min_value=params.ether(given, "min_value"),
        max_value=params.ether(given, "max_value"),
        selector=params.selector(given, "method"),
        from_block=params.optional_block(given, "from_block"),
        to_block=params.optional_block(given, "to_block"),
        from_time=params.moment(given, "from_date"),
        to_time=params.moment(given, "to_date"),
    )
    for low, high, names in (
        (wanted.from_block, wanted.to_block, "from_block, to_block"),
        (wanted.min_value, wanted.max_value, "min_value, max_value"),
    ):
        if low is not None and high is not None and low > high:
            raise BadRequest(f"{names}: the first is greater than the second")
    if wanted.from_time is not None and wanted.to_time is not None and wanted.from_time > wanted.to_time:
        raise BadRequest("from_date, to_date: the first is later than the second")
    return wanted


def _window(given: params.Query) -> tuple[int | None, Window]:
    """Return the page's number, None with a cursor, and the window it stands for."""
    size = params.integer(given, "page_size", default=DEFAULT_PAGE_SIZE, low=1, high=MAX_PAGE_SIZE)
    oldest_first = bool(params.choice(given, "sort", SORTS))
    after = params.place(given, "cursor")
    if after is not None:
        if "page" in given:
            raise BadRequest("page: either page or cursor, not both")
        return None, Window(limit=size, after=after, oldest_first=oldest_first)
    number = params.integer(given, "page", default=1, low=1, high=params.MAX_PAGE)
    return number, Window(limit=size, offset=(number - 1) * size, oldest_first=oldest_first)


def _page(found: TxPage, data: msgspec.Raw, number: int | None, size: int, links: "Links") -> Page:
    pages = -(-found.total // size)
    last = found.txs[-1] if len(found.txs) == size else None
    next_cursor = None if last is None else f"{last.block_number}-{last.tx_index}"
    # Where the total is only what was counted, a full page may have another one behind it.
    reachable = pages if found.is_exact or number is None or last is None else max(pages, number + 1)
    following, previous = links.around(number, reachable, next_cursor)
    return Page(
        data=cast(list[Transaction], data),  # is encoded as what it is
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


def _base_url(request: Request) -> str:
    scope = request.scope
    server = scope.get("server")
    root = scope.get("app_root_path", scope.get("root_path", ""))
    return _base_of(scope["scheme"], request.headers.get("host"), server and tuple(server), root)


@lru_cache(maxsize=256)  # a few names in practice, and taking a URL apart and together takes as long as making two rows
def _base_of(scheme: str, host: str | None, server: tuple[str, int | None] | None, root: str) -> str:
    headers = [] if host is None else [(b"host", host.encode("latin-1"))]
    scope = {
        "type": "http", "scheme": scheme, "server": server, "headers": headers, "root_path": root, "path": "/"
    }  # fmt: skip
    return str(Request(scope).base_url).rstrip("/")


class Links:
    """Complete URLs of other pages of the same listing, with the parameters that anchor it where this page was."""

    def __init__(self, request: Request, anchors: Mapping[str, str], public_url: str) -> None:
        self._base = f"{public_url or _base_url(request)}{request.scope['path']}"
        kept = {name: value for name, value in params.given(request).items() if name not in ("page", "cursor")}
        self._query = _encoded({**kept, **anchors})

    def around(self, number: int | None, pages: int, next_cursor: str | None) -> tuple[str | None, str | None]:
        """Return the next and the previous page's URL; `number` is None where a cursor was given."""
        if number is None:
            return self.to(cursor=next_cursor) if next_cursor else None, None
        following = self.to(page=number + 1) if number < pages else None
        return following, self.to(page=min(number - 1, pages)) if number > 1 and pages else None

    def to(self, **place: object) -> str:
        """Return the URL of `page` or `cursor`."""
        query = "&".join(filter(None, (self._query, _encoded(place))))
        return f"{self._base}?{query}"


def _encoded(query: Mapping[str, object]) -> str:
    """Return a query string, as urlencode does."""
    return "&".join([f"{_quoted(name)}={_quoted(str(value))}" for name, value in query.items()])


_quoted = lru_cache(maxsize=1_024)(quote_plus)  # the same few, page after page, and each takes 2 us
