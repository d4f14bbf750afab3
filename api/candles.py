"""GET /api/v1/prices/candles: what a pool's price did, in spans of one length."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Final

import msgspec
from starlette.requests import Request

from api import params
from api.addresses import checksum
from api.amounts import exact
from api.errors import BadRequest, NotFound, Unavailable
from api.prices import decimal
from api.times import iso
from builders.ticks import price_at
from core.store import ticks
from core.store.pool import Pool as Connections
from core.store.pool import translated
from core.store.reader import MAX_BLOCK_NUMBER, snapshot
from core.store.ticks import Bar
from core.store.transactions import at_block, token_versions
from prices import routes
from prices.pricer import Pricer
from prices.routes import Pool

INTERVALS: Final[Mapping[str, timedelta]] = {
    "1m": timedelta(minutes=1), "5m": timedelta(minutes=5), "1h": timedelta(hours=1), "1d": timedelta(days=1),
}  # fmt: skip
MOST: Final = 1_000  # candles of one answer
DEFAULT: Final = 200
MOST_SWAPS: Final = 50_000  # of the pool that one answer looks at: about 0.3 s
PARAMETERS: Final = ("pool", "token", "quote", "fee", "interval", "from_date", "to_date", "limit")
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Candle(msgspec.Struct):
    """One span with a swap in it: whole quote tokens for one whole token; volumes are whole tokens swapped."""

    time: str
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    quote_volume: Decimal
    swaps: int


class Candles(msgspec.Struct):
    """Candles of one pool, oldest first; spans without a swap are absent.

    `complete` is false while some blocks of the time asked for are not indexed, or when it holds too many swaps for
    one answer: then the oldest candles are left out.
    """

    pool: str
    token: str
    quote: str
    fee: int
    interval: str
    from_date: str
    to_date: str
    complete: bool
    candles: list[Candle]


@dataclass(frozen=True, slots=True)
class Side:
    """How a pool's figures are told: the token that is priced, and both tokens' decimals."""

    pool: Pool
    token: bytes
    decimals0: int
    decimals1: int

    @property
    def quote(self) -> bytes:
        """The pool's other token."""
        return self.pool.token1 if self.token == self.pool.token0 else self.pool.token0

    def candle(self, bar: Bar) -> Candle:
        """Return a span as answers show it."""
        opened, high, low, closed = (self._price(sqrt) for sqrt in (bar.open, bar.high, bar.low, bar.close))
        volumes = exact(bar.volume0, self.decimals0), exact(bar.volume1, self.decimals1)
        if self.token == self.pool.token1:
            high, low, volumes = low, high, volumes[::-1]
        return Candle(iso(bar.start), opened, high, low, closed, *volumes, bar.swaps)

    def _price(self, sqrt_x96: int) -> Decimal:
        price = price_at(sqrt_x96) * Fraction(10**self.decimals0, 10**self.decimals1)
        return decimal(price if self.token == self.pool.token0 else 1 / price)


async def answer(request: Request, connections: Connections, chain_id: int, pricer: Pricer | None) -> Candles:
    """Answer the candles that the request's parameters ask for."""
    name, width = _interval(request)
    start, end = _time(request, width)
    if pricer is None:
        raise NotFound("prices: none are set up for this chain (chains.<name>.prices)")
    pool, token = await _asked(request, pricer)
    with translated():
        async with snapshot(connections) as conn:
            versions = await token_versions(conn, chain_id, [pool.token0, pool.token1])
            blocks, covered = await ticks.span(conn, chain_id, start, end)
            found: Sequence[Bar] = ()
            whole = True
            if blocks is not None:
                found, whole = await ticks.bars(
                    conn, chain_id, pool.address, width=width, blocks=blocks, most=MOST_SWAPS
                )  # fmt: skip
    both = [at_block(versions.get(each, ()), each, MAX_BLOCK_NUMBER) for each in (pool.token0, pool.token1)]
    for each in both:
        if not each.read:
            raise Unavailable(f"the decimals of {checksum(each.address)} are not read yet: try again")
    side = Side(pool, token, *(each.decimals or 0 for each in both))
    return Candles(
        pool=checksum(pool.address), token=checksum(token), quote=checksum(side.quote), fee=pool.fee, interval=name,
        from_date=iso(start), to_date=iso(end), complete=covered and whole, candles=[side.candle(bar) for bar in found],
    )  # fmt: skip


def _interval(request: Request) -> tuple[str, timedelta]:
    name = params.choice(params.given(request), "interval", {each: each for each in INTERVALS}) or "1h"
    return name, INTERVALS[name]


def _time(request: Request, width: timedelta) -> tuple[datetime, datetime]:
    """Return first and last moment, the last not included, both on a bound between two candles."""
    given = params.given(request)
    limit = params.integer(given, "limit", default=DEFAULT, low=1, high=MOST)
    start, end = params.moment(given, "from_date"), params.moment(given, "to_date")
    try:
        end = _bound(end or datetime.now(UTC), width) + width
        start = end - limit * width if start is None else _bound(start, width)
    except OverflowError:
        raise BadRequest("from_date, to_date: expected times that candles can have, found one at an end") from None
    if start >= end:
        raise BadRequest("from_date, to_date: the first is later than the second")
    if (end - start) // width > MOST:
        raise BadRequest(f"from_date, to_date: expected at most {MOST} candles, found {(end - start) // width}")
    return start, end


def _bound(at: datetime, width: timedelta) -> datetime:
    return at - (at - EPOCH) % width


async def _asked(request: Request, pricer: Pricer) -> tuple[Pool, bytes]:
    """Return the pool that is asked for, by address or by its tokens, and the token that is priced."""
    given = params.given(request)
    address, token = params.optional_address(given, "pool"), params.optional_address(given, "token")
    quote = params.optional_address(given, "quote")
    fee = params.integer(given, "fee", default=0, low=1, high=999_999)
    if address is not None:
        if quote is not None or fee:
            raise BadRequest("quote, fee: not together with pool, which says both")
        pool = await pricer.pool_at(address)
        if pool is None:
            raise NotFound(f"pool: no swap of a Uniswap v3 pool at {checksum(address)} is indexed")
        if token not in (None, pool.token0, pool.token1):
            raise BadRequest("token: expected one of the pool's two tokens")
        return pool, token or pool.token0
    if token is None:
        raise BadRequest("pool, token: one of the two is needed")
    return await _of_tokens(pricer, token, quote or pricer.venue.wrapper, fee), token


async def _of_tokens(pricer: Pricer, token: bytes, quote: bytes, fee: int) -> Pool:
    if token == quote:
        raise BadRequest("token, quote: expected two tokens, found one twice")
    pool = routes.pool(pricer.venue, token, quote, fee) if fee else await pricer.deepest(token, quote)
    if pool is None:
        raise NotFound(f"token, quote: no swap between {checksum(token)} and {checksum(quote)} is indexed")
    return pool
