"""Vault deposits over HTTP: parameters to filters, answers whose amounts are exact and whose pages do not shift."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
from starlette.requests import Request

from api import params
from api.addresses import checksum
from api.amounts import display
from api.errors import BadRequest, Conflict
from api.listings import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, SORTS, Links, Style, anchored
from api.schemas import ETHER, short
from api.times import iso
from core.hex import to_hex
from core.store.deposits import (
    DepositFilter,
    DepositPage,
    Deposits,
    DepositTotal,
    DepositWindow,
    Place,
    Standing,
    State,
    StoredDeposit,
    Sum,
)  # fmt: skip
from core.store.listing import AnchorGone
from core.store.transactions import StoredToken
from core.types import ZERO_ADDRESS, HowFinal

FILTERS: Final = ("user", "resolver", "token", "nonce", "vault", "state")
PAGING: Final = ("sort", "page", "page_size", "as_of", "as_of_hash", "as_of_state", "cursor")
STATES: Final[Mapping[str, State]] = {
    "seen": "seen", "confirmed": "confirmed", "finalized": "finalized", "orphaned": "orphaned",
}  # fmt: skip
FINALITY: Final[Mapping[State, HowFinal | None]] = {
    "seen": "latest", "confirmed": "safe", "finalized": "finalized", "orphaned": None,
}  # fmt: skip
GENERATIONS: Final = {1: "oldest", 2: "old", 3: "current"}
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)


class Deposit(msgspec.Struct, kw_only=True):
    """GET /api/v1/vault/deposits/{id}: the log of a deposit. Amounts and nonces are strings of up to 78 digits.

    `finality` is `state` in the words that blocks and transactions have, null for an orphan.
    """

    id: str
    state: str
    finality: HowFinal | None
    counts: bool
    generation: str
    vault: str
    user: str
    token: str
    token_symbol: str | None
    resolver: str | None
    nonce: str | None
    amount: str
    amount_display: str
    block_number: int
    block_hash: str
    block_timestamp: str
    transaction_hash: str
    log_index: int
    implementation: str | None
    orphaned_at: str | None
    orphaned_because: str | None

    @classmethod
    def of(cls, found: StoredDeposit, native_symbol: str) -> "Deposit":
        """Make it from a stored deposit."""
        return cls(
            id=id_of(found.place),
            state=found.state,
            finality=FINALITY[found.state],
            counts=found.counts,
            generation=GENERATIONS[found.generation],
            vault=checksum(found.vault),
            user=checksum(found.account),
            token=checksum(found.token.address),
            token_symbol=_symbol(found.token, native_symbol),
            resolver=None if found.resolver is None else checksum(found.resolver),
            nonce=None if found.nonce is None else str(found.nonce),
            amount=str(found.amount),
            amount_display=_display(found.amount, found.token, native_symbol),
            block_number=found.block_number,
            block_hash=to_hex(found.block_hash),
            block_timestamp=iso(found.block_time),
            transaction_hash=to_hex(found.tx_hash),
            log_index=found.log_index,
            implementation=None if found.implementation is None else checksum(found.implementation),
            orphaned_at=None if found.orphaned_at is None else iso(found.orphaned_at),
            orphaned_because=found.reason,
        )


class DepositSum(msgspec.Struct):
    """How many deposits that count, and their sum in base units."""

    count: int
    amount: str

    @classmethod
    def of(cls, found: Sum) -> "DepositSum":
        """Make it from what the store counted."""
        return cls(found.count, str(found.amount))


class ResolverTotal(msgspec.Struct, kw_only=True):
    """What a resolver was given of one token: all of it, and by state."""

    resolver: str
    token: str
    token_symbol: str | None
    count: int
    amount: str
    amount_display: str
    seen: DepositSum
    confirmed: DepositSum
    finalized: DepositSum

    @classmethod
    def of(cls, found: DepositTotal, native_symbol: str) -> "ResolverTotal":
        """Make it from what the store counted."""
        amount = sum(each.amount for each in found.by_state.values())
        return cls(
            resolver=checksum(found.resolver),
            token=checksum(found.token.address),
            token_symbol=_symbol(found.token, native_symbol),
            count=sum(each.count for each in found.by_state.values()),
            amount=str(amount),
            amount_display=_display(amount, found.token, native_symbol),
            seen=DepositSum.of(found.by_state["seen"]),
            confirmed=DepositSum.of(found.by_state["confirmed"]),
            finalized=DepositSum.of(found.by_state["finalized"]),
        )


class DepositFinality(msgspec.Struct):
    """What states were judged by; `by` is tags of the node, or depth below its head where it has none."""

    safe_block: int | None
    finalized_block: int | None
    by: str


class DepositList(msgspec.Struct, kw_only=True):
    """A page of deposits, the totals of all that pass the filters, and where its neighbours are."""

    data: list[Deposit]
    totals: list[ResolverTotal]
    all_totals: bool
    vaults: list[str]
    finality: DepositFinality
    page: int | None
    page_size: int
    total_results: int
    total_pages: int
    next_page_url: str | None
    prev_page_url: str | None
    next_cursor: str | None
    as_of: int | None
    complete: bool
    covered: list[tuple[int, int]]


async def answer(request: Request, deposits: Deposits, style: Style) -> DepositList:
    """Answer one page of the deposits that the request's parameters ask for."""
    given = params.given(request)
    wanted = DepositFilter(
        user=params.optional_address(given, "user"),
        resolver=params.optional_address(given, "resolver"),
        token=params.optional_address(given, "token"),
        nonce=params.uint256(given, "nonce"),
        vault=params.optional_address(given, "vault"),
        state=params.choice(given, "state", STATES),
    )
    number, window = _window(request)
    as_of = params.optional_block(given, "as_of")
    as_of_hash = params.block_hash(given, "as_of_hash")
    standing = _standing(request)
    for name, anchor in (("as_of_hash", as_of_hash), ("as_of_state", standing)):
        if anchor is not None and as_of is None:
            raise BadRequest(f"{name}: needs as_of, the number of the block it belongs to")
    try:
        found = await deposits.page(wanted, window, as_of=as_of, as_of_hash=as_of_hash, standing=standing)
    except AnchorGone as error:
        raise Conflict(f"as_of: {error}; start again without it") from error
    anchors = {**anchored(found.anchor), **({"as_of_state": _state_text(found.standing)} if found.anchor else {})}
    return _page(found, number, window.limit, style.symbol, Links(request, anchors, style.public_url))


def id_of(place: Place) -> str:
    """Return a log's id: its block's number, the first 16 digits of that block's hash, its index in the block."""
    number, log_index, key = place
    return f"{number}-{key.hex()}-{log_index}"


def _window(request: Request) -> tuple[int | None, DepositWindow]:
    """Return the page's number, None with a cursor, and the window it stands for."""
    given = params.given(request)
    size = params.integer(given, "page_size", default=DEFAULT_PAGE_SIZE, low=1, high=MAX_PAGE_SIZE)
    oldest_first = bool(params.choice(given, "sort", SORTS))
    cursor = given.get("cursor")
    if cursor is not None:
        if "page" in given:
            raise BadRequest("page: either page or cursor, not both")
        after = params.log_place(cursor, "cursor")
        return None, DepositWindow(limit=size, after=after, oldest_first=oldest_first)
    number = params.integer(given, "page", default=1, low=1, high=params.MAX_PAGE)
    return number, DepositWindow(limit=size, offset=(number - 1) * size, oldest_first=oldest_first)


def _standing(request: Request) -> Standing | None:
    text = params.given(request).get("as_of_state")
    if text is None:
        return None
    found = re.fullmatch(r"([0-9]{1,18}|none)\.([0-9]{1,18}|none)\.([0-9]{1,17}|none)", text, re.ASCII)
    if found is None:
        raise BadRequest(f"as_of_state: expected what an earlier answer's links carry, found {text[:80]!r}")
    safe, finalized, reorg = (None if part == "none" else int(part) for part in found.groups())
    return Standing(
        -1 if safe is None else safe,
        -1 if finalized is None else finalized,
        None if reorg is None else EPOCH + reorg * MICROSECOND,
    )


def _state_text(standing: Standing) -> str:
    numbers = ("none" if number < 0 else str(number) for number in (standing.safe, standing.finalized))
    reorg = "none" if standing.reorg is None else str((standing.reorg - EPOCH) // MICROSECOND)
    return ".".join((*numbers, reorg))


def _page(found: DepositPage, number: int | None, size: int, symbol: str, links: Links) -> DepositList:
    pages = -(-found.total // size)
    last = found.deposits[-1] if len(found.deposits) == size else None
    next_cursor = None if last is None else id_of(last.place)
    following, previous = links.around(number, pages, next_cursor)
    judged = found.standing
    return DepositList(
        data=[Deposit.of(each, symbol) for each in found.deposits],
        totals=[ResolverTotal.of(each, symbol) for each in found.totals],
        all_totals=found.all_totals,
        vaults=[checksum(vault) for vault in found.vaults],
        finality=DepositFinality(
            safe_block=judged.safe if judged.safe >= 0 else None,
            finalized_block=judged.finalized if judged.finalized >= 0 else None,
            by="depth" if found.by_depth else "tags",
        ),
        page=number,
        page_size=size,
        total_results=found.total,
        total_pages=pages,
        next_page_url=following,
        prev_page_url=previous,
        next_cursor=next_cursor,
        as_of=None if found.anchor is None else found.anchor.number,
        complete=found.complete,
        covered=[(span.first, span.last) for span in found.covered],
    )


def _symbol(token: StoredToken, native_symbol: str) -> str | None:
    return native_symbol if token.address == ZERO_ADDRESS else token.symbol


def _display(amount: int, token: StoredToken, native_symbol: str) -> str:
    """Return an amount with its unit, exact: in base units while a token's decimals are unknown."""
    if token.address == ZERO_ADDRESS:
        return display(amount, ETHER, native_symbol)
    name = token.symbol or short(token.address)
    return f"{amount} {name}" if token.decimals is None else display(amount, token.decimals, name)
