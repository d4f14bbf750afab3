"""What a backtest runs over, from the index: a pool's key, and all that it said of its price in a range."""

import argparse
from dataclasses import dataclass
from itertools import combinations

from core.errors import BadConfig
from core.hex import to_hex
from core.settings import Settings
from core.store import reader, swaps, ticks, transactions
from core.store.pool import Connection
from core.types import BlockRange
from daemon.backfill import chosen
from daemon.database import open_database
from daemon.droid_file import PoolTable, parsed_time, spacing_of
from daemon.prices import venues
from droids.course import Moment
from droids.market import Market
from prices import routes
from prices.routes import Venue


@dataclass(frozen=True, slots=True)
class Found:
    """A pool and what it said.

    `until` is when the range ends, which may be after its last word. `base_is_native`: the base is the native coin, or
    nobody knows better and it has 18 decimals.
    """

    title: str
    market: Market
    base_is_native: bool
    moments: tuple[Moment, ...]
    until: int | None


@dataclass(frozen=True, slots=True)
class _Token:
    address: bytes
    symbol: str
    decimals: int


async def indexed(settings: Settings, arguments: argparse.Namespace, said: PoolTable) -> Found:
    """Return what the index has of --pool in --from to --to. Raises BadConfig for what it does not have."""
    name, of = chosen(settings, arguments.chain)
    address = bytes.fromhex(arguments.pool[2:])
    async with open_database(settings) as pool:
        chain_id = of.chain_id or (await reader.chains(pool)).get(name)
        if chain_id is None:
            raise BadConfig(f"backtest: nothing of {name} is indexed yet")
        async with reader.snapshot(pool) as conn:
            watched = await ticks.watched(conn, chain_id)
            if watched is not None and address not in watched:
                raise BadConfig(
                    f"--pool: {arguments.pool}: only some of its swaps are stored, since {name} does not watch it"
                )
            span = await _span(conn, chain_id, arguments.first, arguments.last)
            market, title, native = await _market(conn, chain_id, address, said, venues(settings).get(name))
            await _require_spacing(conn, chain_id, address, market.spacing, span)
            before = await ticks.newest(conn, chain_id, [address], 0, span.first - 1)
            logs = [each async for each in swaps.ticks_of(conn, chain_id, address, span)]
            first, last = [await swaps.time_of(conn, chain_id, number) for number in (span.first, span.last)]
    assert first is not None and last is not None, "covered blocks are stored"
    moments = [Moment(int(each.time.timestamp()), each.sqrt_x96, each.tick, each.liquidity) for each in logs]
    if opening := before.get(address):
        moments.insert(0, Moment(int(first.timestamp()), opening.sqrt_x96, opening.tick, opening.liquidity))
    if not moments:
        raise BadConfig(f"--pool: {arguments.pool} said nothing of a price up to block {span.last} of {name}")
    return Found(f"{title}, {name} {span}", market, native, tuple(moments), int(last.timestamp()))


async def _span(conn: Connection, chain_id: int, first: str | None, last: str | None) -> BlockRange:
    ranges = await swaps.covered(conn, chain_id)
    if not ranges:
        raise BadConfig("backtest: no block is indexed")
    bottom = ranges[-1].first if first is None else await _number(conn, chain_id, "--from", first)
    top = ranges[-1].last if last is None else await _number(conn, chain_id, "--to", last)
    if bottom > top:
        raise BadConfig(f"--from, --to: expected from <= to, found blocks {bottom} and {top}")
    if not any(bottom in each and top in each for each in ranges):
        listed = ", ".join(map(str, ranges[-5:]))
        raise BadConfig(f"backtest: not all of blocks {bottom}..{top} are indexed; there are {listed}")
    return BlockRange(bottom, top)


async def _number(conn: Connection, chain_id: int, option: str, text: str) -> int:
    if text.isdigit():
        return int(text)
    try:
        at = parsed_time(text)
    except ValueError as error:
        raise BadConfig(f"{option}: expected a block number or a time like 2026-01-31T12:00, found {text!r}") from error
    block = await ticks.block_at(conn, chain_id, at)
    if block is None:
        raise BadConfig(f"{option}: the block at {text} is not indexed")
    return block.number


async def _market(
    conn: Connection, chain_id: int, address: bytes, said: PoolTable, venue: Venue | None
) -> tuple[Market, str, bool]:
    tokens = await _tokens(conn, chain_id, address)
    proven = _proven(venue, address, [token.address for token in tokens]) if venue else None
    pair = [token for token in tokens if proven is None or token.address in (proven.token0, proven.token1)]
    if len(pair) != 2:
        raise BadConfig(
            f"--pool: {to_hex(address)}: expected two tokens of a pool, found {len(pair)}: it has no stored swap, "
            "or its tokens' metadata are not read yet"
        )
    fee = proven.fee if proven else said.fee
    if fee is None:
        raise BadConfig("pool.fee: expected it in the droid's file, since no venue of `prices` has this pool")
    if said.fee not in (None, fee):
        raise BadConfig(f"pool.fee: the pool's address is that of fee {fee}, found {said.fee}")
    spacing = spacing_of(fee, said.spacing)
    for side, decimals in enumerate((said.decimals0, said.decimals1)):
        if decimals not in (None, pair[side].decimals):
            raise BadConfig(
                f"pool.decimals{side}: token {pair[side].symbol} has {pair[side].decimals}, found {decimals}"
            )
    base = _base(said.base, pair, venue)
    names = [pair[base].symbol, pair[1 - base].symbol]
    market = Market(
        fee=fee, spacing=spacing, decimals0=pair[0].decimals, decimals1=pair[1].decimals, base_is_token0=base == 0
    )
    native = pair[base].address == venue.wrapper if venue else market.base_decimals == 18
    return market, f"{'/'.join(names)} at {fee / 10_000} %", native


async def _require_spacing(conn: Connection, chain_id: int, address: bytes, spacing: int, blocks: BlockRange) -> None:
    odd = sorted(edge for edge in await swaps.edges_of(conn, chain_id, address, blocks) if edge % spacing)
    if odd:
        raise BadConfig(
            f"pool.spacing: a position of the pool begins or ends at tick {odd[0]}, no multiple of {spacing}"
        )


async def _tokens(conn: Connection, chain_id: int, pool: bytes) -> list[_Token]:
    """Return the tokens of the pool's newest swap whose decimals are known, by address."""
    versions = await transactions.token_versions(conn, chain_id, await ticks.tokens_of(conn, chain_id, pool))
    newest = ((address, known[-1].token) for address, known in sorted(versions.items()) if known)
    return [
        _Token(address, token.symbol or to_hex(address), token.decimals)
        for address, token in newest
        if token.decimals is not None
    ]


def _proven(venue: Venue, address: bytes, tokens: list[bytes]) -> routes.Pool | None:
    pairs = ((one, other, fee) for one, other in combinations(tokens, 2) for fee in venue.fees)
    return next((found for found in (routes.pool(venue, *pair) for pair in pairs) if found.address == address), None)


def _base(said: str, pair: list[_Token], venue: Venue | None) -> int:
    if said in ("token0", "token1"):
        return int(said[-1])
    symbols = [token.symbol for token in pair]
    if said:
        if symbols.count(said) != 1:
            raise BadConfig(f"pool.base: expected token0, token1 or one of {' and '.join(symbols)}, found {said!r}")
        return symbols.index(said)
    stable = [side for side, token in enumerate(pair) if venue and token.address in venue.stables]
    if len(stable) != 1:
        raise BadConfig(f"pool.base: expected it in the droid's file: which of {' and '.join(symbols)} is the base")
    return 1 - stable[0]
