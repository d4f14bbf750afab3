"""Logs of Uniswap v3 pools, encoded by eth_abi, and a venue of four tokens whose pools prices are read from."""

from collections.abc import Sequence
from datetime import timedelta
from math import isqrt

from eth_abi.abi import encode

from builders.ticks import INIT_CODE_HASH, tick_at
from core.keccak import keccak
from core.types import Log
from prices import routes
from prices.routes import Pool, Venue
from tests import make

SWAP = keccak(b"Swap(address,address,int256,int256,uint160,uint128,int24)")
INITIALIZE = keccak(b"Initialize(uint160,int24)")
MINT = keccak(b"Mint(address,address,int24,int24,uint128,uint256,uint256)")
BURN = keccak(b"Burn(address,int24,int24,uint128,uint256,uint256)")
SOMEBODY = make.address("somebody")

ETHER = 10**18
WETH, USDC, USDT, DAI, LINK = (make.address(name) for name in ("weth", "usdc", "usdt", "dai", "link"))
DECIMALS = {WETH: 18, USDC: 6, USDT: 6, DAI: 18, LINK: 18}
VENUE = Venue(
    factory=make.address("factory"), init_code_hash=INIT_CODE_HASH, wrapper=WETH, stables=(USDC, USDT, DAI),
    fees=(500, 3000), min_depth=ETHER, max_age=timedelta(hours=6),
)  # fmt: skip


def pool(one: bytes, other: bytes, fee: int = 500) -> Pool:
    return routes.pool(VENUE, one, other, fee)


def sqrt_of(of: Pool, token: bytes, price: str) -> int:
    """The square root of the price at which a whole `token` is worth `price` whole ones of the pool's other token."""
    whole, _, fraction = price.partition(".")
    over, under = int(whole + fraction), 10 ** len(fraction)
    other = of.token1 if token == of.token0 else of.token0
    over, under = over * 10 ** DECIMALS[other], under * 10 ** DECIMALS[token]
    if token == of.token1:
        over, under = under, over
    return isqrt((over << 192) // under)


def word(value: int) -> bytes:
    return encode(["int24"], [value])


def swap(of: bytes, sqrt_x96: int, *, liquidity: int, amount0: int = 1, amount1: int = -1, index: int = 0) -> Log:
    types = ["int256", "int256", "uint160", "uint128", "int24"]
    data = encode(types, [amount0, amount1, sqrt_x96, liquidity, tick_at(sqrt_x96)])
    person = bytes(12) + SOMEBODY
    return Log(address=of, topics=(SWAP, person, person), data=data, index=index)


def initialize(of: bytes, sqrt_x96: int, *, index: int = 0) -> Log:
    data = encode(["uint160", "int24"], [sqrt_x96, tick_at(sqrt_x96)])
    return Log(address=of, topics=(INITIALIZE,), data=data, index=index)


def mint(of: bytes, lower: int, upper: int, amount: int, *, index: int = 0) -> Log:
    data = encode(["address", "uint128", "uint256", "uint256"], [SOMEBODY, amount, 5, 6])
    return Log(address=of, topics=(MINT, bytes(12) + SOMEBODY, word(lower), word(upper)), data=data, index=index)


def burn(of: bytes, lower: int, upper: int, amount: int, *, index: int = 0) -> Log:
    data = encode(["uint128", "uint256", "uint256"], [amount, 5, 6])
    return Log(address=of, topics=(BURN, bytes(12) + SOMEBODY, word(lower), word(upper)), data=data, index=index)


def numbered(logs: Sequence[Log]) -> tuple[Log, ...]:
    """The logs with indexes from 0."""
    return tuple(Log(address=log.address, topics=log.topics, data=log.data, index=i) for i, log in enumerate(logs))
