"""Ostium on a devnet: test doubles of its contracts, wired as the real ones are, with a few pairs to trade."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from builders.call import Call, invoke

SET_PAIR: Final = "set(uint16,(bool,uint16,uint32,uint32,uint64,uint64))"


@dataclass(frozen=True, slots=True)
class Pair:
    """What is allowed on a pair: leverages x 100. All have a smallest position of 4.5 and an oracle fee of 0.1 USDC."""

    index: int
    feed: str
    most: int
    overnight: int = 0


# Like the real ones of January 2026: a coin, a currency, and a stock that may be held overnight at 10x only.
PAIRS: Final = (
    Pair(0, "BTC-USD", 10_000),
    Pair(2, "EUR-USD", 20_000),
    Pair(9, "NVDA-USD", 10_000, overnight=1_000),
)
LEAST: Final = 100
MIN_POSITION: Final = 4_500_000
ORACLE_FEE: Final = 100_000


def wiring(at: Mapping[str, bytes]) -> list[Call]:
    """Return what makes the created contracts one deployment; sent once, by anybody."""
    names = {"trading": "ostium_trading", "tradingStorage": "ostium_storage", "pairsStorage": "ostium_pairs"}
    calls = [
        invoke(at["ostium_registry"], "set(bytes32,address)", name.encode().ljust(32, b"\0"), at[contract])
        for name, contract in names.items()
    ]
    calls.append(invoke(at["ostium_storage"], "setTrading(address)", at["ostium_trading"]))
    for pair in PAIRS:
        rules = (True, LEAST, pair.most, pair.overnight, MIN_POSITION, ORACLE_FEE)
        calls.append(invoke(at["ostium_pairs"], SET_PAIR, pair.index, rules))
    return calls
