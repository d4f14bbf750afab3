"""USD values in answers, and where each comes from."""

from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from typing import Final, Literal

import msgspec

from api.addresses import checksum
from api.amounts import exact, number
from api.times import iso
from core.hex import to_hex
from core.store import ticks
from core.store.pool import Pool, translated
from core.store.reader import snapshot
from core.store.transactions import StoredToken, StoredTx
from core.types import BlockRef, TokenStandard
from prices.judge import Confidence, Price, Stable, Word
from prices.pricer import PASSING, Pricer
from prices.routes import Hop, Venue

SOURCE: Final = "uniswap_v3"
NATIVE_DECIMALS: Final = 18
CENT: Final = 2
TOLD: Final = 5_000  # prices; some 5 kB each
_EXACT: Final = Context(prec=200)
_DIGITS: Final = Context(prec=28, rounding=ROUND_HALF_EVEN)


class PoolUsed(msgspec.Struct):
    """A pool on the way, and the log that its price is from: the newest of that block."""

    address: str
    token0: str
    token1: str
    fee: int
    block_number: int
    sqrt_price_x96: str
    tick: int

    @classmethod
    def of(cls, hop: Hop) -> "PoolUsed":
        """Make it from a step of the way."""
        pool, tick = hop.pool, hop.tick
        return cls(
            checksum(pool.address), checksum(pool.token0), checksum(pool.token1), pool.fee, tick.number,
            str(tick.sqrt_x96), tick.tick,
        )  # fmt: skip


class StableUsed(msgspec.Struct):
    """A stable that the median was taken of: what it was worth by that median, and its way to the native coin."""

    address: str
    usd: Decimal
    pools: list[PoolUsed]

    @classmethod
    def of(cls, stable: Stable) -> "StableUsed":
        """Make it from a judged stable."""
        return cls(checksum(stable.token), decimal(stable.usd), [PoolUsed.of(hop) for hop in stable.route.hops])


class PriceInfo(msgspec.Struct, kw_only=True):
    """What a whole token (or native coin) was worth in USD at the end of a block, and how that is known.

    `value` is null where nothing can be stood for, `reason` says why; `spot` and `mean_30m` are what the pools say in
    any case. `depth` is in native coins, `deviation` a share. `method` names engine and settings.
    """

    value: Decimal | None
    reason: Word | None
    confidence: Confidence | None
    doubts: list[Word]
    source: Literal["uniswap_v3"] | None
    block_number: int
    block_hash: str
    timestamp: str | None
    spot: Decimal | None
    mean_30m: Decimal | None
    deviation: Decimal | None
    depth: Decimal | None
    pools: list[PoolUsed]
    stables: list[StableUsed]
    method: str | None

    @classmethod
    def of(cls, price: Price, decimals: int, method: str | None) -> "PriceInfo":
        """Make it from a price; `decimals` are the token's."""

        def whole(value: Fraction | None) -> Decimal | None:
            return None if value is None else decimal(value * 10**decimals)

        return cls(
            value=whole(price.usd),
            reason=price.reason,
            confidence=price.confidence,
            doubts=list(price.doubts),
            source=None if price.spot is None else SOURCE,
            block_number=price.block.number,
            block_hash=to_hex(price.block.hash),
            timestamp=None if price.time is None else iso(price.time),
            spot=whole(price.spot),
            mean_30m=whole(price.mean),
            deviation=None if price.deviation is None else decimal(price.deviation),
            depth=None if price.depth is None else exact(price.depth, NATIVE_DECIMALS),
            pools=[PoolUsed.of(hop) for hop in price.route],
            stables=[StableUsed.of(stable) for stable in price.stables],
            method=method,
        )

    @classmethod
    def none(cls, block: BlockRef) -> "PriceInfo":
        """Return what is said at a block of a chain without a venue."""
        return cls(
            value=None, reason="not_configured", confidence=None, doubts=[], source=None, block_number=block.number,
            block_hash=to_hex(block.hash), timestamp=None, spot=None, mean_30m=None, deviation=None, depth=None,
            pools=[], stables=[], method=None,
        )  # fmt: skip


class TokenPrice(msgspec.Struct):
    """GET /api/v1/tokens/{contract_address}/price."""

    contract_address: str
    symbol: str | None
    price: PriceInfo


class Told:
    """Prices of one venue as answers show them, made once: that takes longer than all else in an answer."""

    def __init__(self, venue: Venue | None) -> None:
        self.venue = venue
        self._method = None if venue is None else venue.method
        self._known: OrderedDict[tuple[bytes, bytes, int], PriceInfo] = OrderedDict()

    def info(self, price: Price, decimals: int) -> PriceInfo:
        """Return a price as answers show it; `decimals` are the token's."""
        key = price.block.hash, price.token, decimals
        known = self._known.get(key)
        if known is None:
            known = PriceInfo.of(price, decimals, self._method)
            if price.reason not in PASSING:
                self._known[key] = known
            if len(self._known) > TOLD:
                self._known.popitem(last=False)
        return known


Key = tuple[bytes, bytes]  # hash of a block, and a token


def of_whole(price: Price, token: StoredToken) -> Price:
    """Return the price, without values while the token's decimals are not read: nobody knows what a whole one is."""
    if token.read:
        return price
    return replace(price, usd=None, spot=None, mean=None, confidence=None, reason=price.reason or "not_covered")


@dataclass(frozen=True, slots=True)
class Values:
    """The prices that some transactions need. Without a venue there are none: `not_configured`."""

    found: Mapping[Key, Price]
    told: Told

    def native(self, tx: StoredTx) -> Price:
        """Return the native coin's price at the transaction's block."""
        venue = self.told.venue
        return self.token(tx, b"" if venue is None else venue.wrapper)

    def token(self, tx: StoredTx, token: bytes) -> Price:
        """Return a token's price at the transaction's block."""
        return self.found.get((tx.block_hash, token)) or Price(token=token, block=tx.block, reason="not_configured")

    def usd(self, base_units: int, tx: StoredTx, token: bytes | None = None) -> Decimal | None:
        """Return what an amount was worth at the transaction's block, in cents; None without a price.

        `token` None is the native coin.
        """
        if not self.found:
            return None  # pages of chains without a venue are half as long in the making
        return usd(base_units, self.native(tx) if token is None else self.token(tx, token))

    def of_native(self, tx: StoredTx) -> PriceInfo:
        """Return the native coin's price at the transaction's block as answers show it."""
        return self.told.info(self.native(tx), NATIVE_DECIMALS) if self.found else PriceInfo.none(tx.block)

    def of_token(self, tx: StoredTx, token: StoredToken) -> PriceInfo:
        """Return a token's price at the transaction's block as answers show it."""
        if not self.found:
            return PriceInfo.none(tx.block)
        return self.told.info(of_whole(self.token(tx, token.address), token), token.decimals or 0)

    def info(self, price: Price, decimals: int) -> PriceInfo:
        """Return a price as answers show it."""
        return self.told.info(price, decimals)


class Prices:
    """Prices of the chains that have a venue, by name."""

    def __init__(self, pool: Pool, venues: Mapping[str, Venue]) -> None:
        self._pool = pool
        self._venues = venues
        self._pricers: dict[str, Pricer] = {}
        self._told: dict[str, Told] = {}

    def pricer(self, name: str, chain_id: int) -> Pricer | None:
        """Return what prices the chain's tokens, None if nothing is set up for it."""
        if name in self._venues and name not in self._pricers:
            self._pricers[name] = Pricer(self._pool, chain_id, self._venues[name])
            self._told[name] = Told(self._venues[name])
        return self._pricers.get(name)

    async def at(self, name: str, chain_id: int, block: BlockRef, token: bytes | None) -> Values:
        """Return the price of one token, None for the native coin, at a block."""
        pricer = self.pricer(name, chain_id)
        if pricer is None:
            token = token or b""
            return Values({(block.hash, token): Price(token=token, block=block, reason="not_configured")}, Told(None))
        return Values(_by_hash(await pricer.prices({block: [token or pricer.venue.wrapper]})), self._told[name])

    async def native(self, name: str, chain_id: int) -> dict[str, str | int | None] | None:
        """Return what the native coin is worth at the newest block, for the status page; None without a venue."""
        if self.pricer(name, chain_id) is None:
            return None
        with translated():
            async with snapshot(self._pool) as conn:
                block = await ticks.block_at(conn, chain_id, None)
        if block is None:
            return None
        values = await self.at(name, chain_id, block, None)
        (price,) = values.found.values()
        info = values.info(price, NATIVE_DECIMALS)
        return {
            "usd": None if info.value is None else format(info.value, "f"), "reason": info.reason,
            "confidence": info.confidence, "source": info.source, "block": info.block_number,
        }  # fmt: skip

    async def values(self, name: str, chain_id: int, txs: Sequence[StoredTx]) -> Values:
        """Return the prices of what the transactions moved and paid."""
        pricer = self.pricer(name, chain_id)
        if pricer is None:
            return Values({}, Told(None))
        wanted: dict[BlockRef, Collection[bytes]] = {}
        for tx in txs:
            moved = (each.transfer for each in tx.transfers)
            tokens = {each.token for each in moved if each.standard is TokenStandard.ERC20}
            wanted[tx.block] = {pricer.venue.wrapper, *wanted.get(tx.block, ()), *tokens}
        return Values(_by_hash(await pricer.prices(wanted)), self._told[name])


def _by_hash(found: Mapping[tuple[BlockRef, bytes], Price]) -> dict[Key, Price]:
    return {(block.hash, token): price for (block, token), price in found.items()}


def usd(base_units: int, price: Price) -> Decimal | None:
    """Return what an amount was worth in dollars, rounded half-even to cents from the exact product."""
    if price.usd is None:
        return None
    cents, rest = divmod(base_units * price.usd.numerator * 10**CENT, price.usd.denominator)
    rest *= 2
    cents += rest > price.usd.denominator or (rest == price.usd.denominator and cents % 2 == 1)
    return Decimal(cents).scaleb(-CENT, _EXACT)


def decimal(value: Fraction) -> Decimal:
    """Return a fraction to 28 digits, rounded half-even, without trailing zeros."""
    text = format(_DIGITS.divide(Decimal(value.numerator), Decimal(value.denominator)), "f")
    return number(text.rstrip("0").rstrip(".") if "." in text else text)
