"""The file of a droid: its fields as in the API, and tables `pace` and `pool`. And prices from a CSV."""

import csv
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from math import isqrt
from pathlib import Path
from typing import Any, Final

from builders.ticks import MAX_SQRT, MIN_SQRT, tick_near
from core.errors import BadConfig
from droids.course import Moment
from droids.droid import BadDroid, Droid, Fields, Pace, droid_of, fields_of
from droids.market import Market

# What Uniswap's own factory allows. Source: UniswapV3Factory's constructor, and fee 100 by governance.
SPACINGS: Final[Mapping[int, int]] = {100: 1, 500: 10, 3_000: 60, 10_000: 200}
TIME, ROOT, PRICE, LIQUIDITY = "time", "sqrt_price_x96", "price", "liquidity"


class PoolTable(Fields):
    """What the file says of the pool; what it leaves out is looked up in the index, where there is one.

    `fee` is in millionths; `base` is token0, token1, or the symbol of one.
    """

    fee: int | None = None
    spacing: int | None = None
    base: str = ""
    decimals0: int | None = None
    decimals1: int | None = None


@dataclass(frozen=True, slots=True)
class DroidFile:
    """What a file says."""

    droid: Droid
    pace: Pace
    pool: PoolTable


def read(path: Path) -> DroidFile:
    """Read a droid's file. Raises BadConfig that names the file and every field that is wrong."""
    try:
        tables: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadConfig(f"--droid: {path}: {getattr(error, 'strerror', None) or error}") from error
    found: list[Any] = []
    faults: list[str] = []
    parts = (("pace.", Pace, tables.pop("pace", {})), ("pool.", PoolTable, tables.pop("pool", {})))
    for prefix, kind, values in parts:
        try:
            found.append(fields_of(kind, values if isinstance(values, dict) else {"": values}))
        except BadDroid as error:
            faults += [prefix + fault for fault in error.faults]
    try:
        droid = droid_of(tables)
    except BadDroid as error:
        faults = [*error.faults, *faults]
    if faults:
        raise BadConfig(f"--droid: {path}: " + "; ".join(faults))
    return DroidFile(droid, *found)


def spacing_of(fee: int, said: int | None) -> int:
    """Return a pool's tick spacing. Raises BadConfig if nobody says it."""
    if said is None and fee not in SPACINGS:
        raise BadConfig(f"pool.spacing: expected it for fee {fee}; known are {', '.join(map(str, SPACINGS))}")
    found = SPACINGS[fee] if said is None else said
    if not 0 < found < 16_384:  # source: UniswapV3Factory.enableFeeAmount
        raise BadConfig(f"pool.spacing: expected 1 to 16383, found {found}")
    return found


def market_of_csv(pool: PoolTable) -> Market:
    """Return the pool of a CSV, which the file alone describes. Raises BadConfig for what is missing."""
    missing = [name for name in ("fee", "decimals0", "decimals1") if getattr(pool, name) is None]
    missing += [] if pool.base in ("token0", "token1") else ["base"]
    if missing:
        raise BadConfig(
            f"--csv: expected the pool's {', '.join(missing)} in the droid's file: "
            '[pool] fee = 3000, base = "token0", decimals0 = 18, decimals1 = 6'
        )
    assert pool.fee is not None and pool.decimals0 is not None and pool.decimals1 is not None
    return Market(
        fee=pool.fee, spacing=spacing_of(pool.fee, pool.spacing), decimals0=pool.decimals0, decimals1=pool.decimals1,
        base_is_token0=pool.base == "token0",
    )  # fmt: skip


def moments_of_csv(path: Path, market: Market) -> list[Moment]:
    """Read prices: columns `time` and `sqrt_price_x96` or `price`, and `liquidity` if it is known.

    Time is ISO 8601 (UTC if it does not say) or Unix seconds; price is quote for a whole base. Raises BadConfig that
    names file, line, and what is wrong.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            columns = set(rows.fieldnames or ())
            if TIME not in columns or not columns & {ROOT, PRICE}:
                found = ", ".join(sorted(columns)) or "none"
                raise BadConfig(f"--csv: {path}: expected columns {TIME} and {ROOT} or {PRICE}, found {found}")
            return list(_moments(path, rows, market))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadConfig(f"--csv: {path}: {getattr(error, 'strerror', None) or error}") from error


def _moments(path: Path, rows: "csv.DictReader[str]", market: Market) -> Iterator[Moment]:
    tick = 0
    for row in rows:
        try:
            sqrt_x96 = int(row[ROOT]) if row.get(ROOT) else _root(Decimal(row[PRICE]), market)
            if not MIN_SQRT <= sqrt_x96 < MAX_SQRT:
                raise ValueError("a price that no pool can have")
            tick = tick_near(sqrt_x96, tick)
            yield Moment(_seconds(row[TIME]), sqrt_x96, tick, int(row.get(LIQUIDITY) or 0))
        except (ValueError, KeyError, TypeError, ArithmeticError, InvalidOperation) as error:
            raise BadConfig(f"--csv: {path}: line {rows.line_num}: cannot be read: {error}") from error


def _root(price: Decimal, market: Market) -> int:
    over, under = price.scaleb(market.quote_decimals - market.base_decimals).as_integer_ratio()
    if over <= 0:
        raise ValueError(f"expected a price above 0, found {price}")
    return isqrt((over << 192) // under if market.base_is_token0 else (under << 192) // over)


def _seconds(text: str) -> int:
    return int(text) if text.strip().isdigit() else int(parsed_time(text).timestamp())


def parsed_time(text: str) -> datetime:
    """Return an ISO 8601 time, UTC if it does not say."""
    found = datetime.fromisoformat(text.strip())
    return found if found.tzinfo else found.replace(tzinfo=UTC)
