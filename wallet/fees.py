"""What to pay for a transaction: integers, wei for each gas. Pure."""

from dataclasses import dataclass
from statistics import median_low
from typing import Final

from wallet.types import Fees

BLOCKS: Final = 10  # of history that is looked at
PERCENTILES: Final = (90, 75, 50, 25, 10)  # of the tips in a block, by priority 1 (fastest) to 5
# geth replaces what waits only for 10 % more in both fields, others for 12.5 % (geth's issue 24852, Nethermind).
BUMP: Final = (9, 8)


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """eth_feeHistory: base fee of the *next* block; of each past one its tips at PERCENTILES, if it had any."""

    next_base_fee: int
    tips: tuple[tuple[int, ...], ...]
    filled: tuple[bool, ...]  # False: it was empty, and the zeros in its place are nobody's tips


@dataclass(frozen=True, slots=True)
class TooHigh:
    """The chain asks for more than the cap: nothing is sent until it asks for less."""

    wanted: int
    cap: int

    def __str__(self) -> str:
        return f"{self.wanted} wei for each gas are needed now, the cap is {self.cap}"


def quote(history: History, priority: int, *, min_tip: int, cap: int) -> Fees | TooHigh:
    """Return the fees for `priority` 1..5: the tip of its percentile, and room for the base fee to double.

    The tip is the median over the blocks that were not empty, at least `min_tip`: near zero it lingers on Ethereum, on
    a rollup it need not be more than 0. `cap` bounds maxFeePerGas.
    """
    offered = [tips[priority - 1] for tips, filled in zip(history.tips, history.filled, strict=True) if filled]
    tip = max(median_low(offered) if offered else 0, min_tip)
    wanted = history.next_base_fee + tip
    if wanted > cap:
        return TooHigh(wanted, cap)
    return Fees(min(2 * history.next_base_fee + tip, cap), tip)


def replacement(old: Fees, current: Fees | TooHigh, *, cap: int) -> Fees | None:
    """Return fees that replace `old`: an eighth more in both fields, or what is asked now if that is more.

    None if they are above `cap`. Both fields always grow: a tip of 0 becomes 1.
    """
    tip, most = _raised(old.tip), _raised(old.cap)
    if isinstance(current, Fees):
        tip, most = max(tip, current.tip), max(most, current.cap)
    most = max(most, tip)
    return Fees(most, tip) if most <= cap else None


def cancel_cap(cap: int) -> int:
    """Return the cap of a cancellation: one step above, so that what waits at the cap can still be cancelled."""
    return _raised(cap)


def gas_limit(estimate: int) -> int:
    """Return a quarter more than the estimate, rounded up: state moves on before it is mined."""
    return -(-estimate * 5 // 4)


def _raised(fee: int) -> int:
    up, down = BUMP
    return max(-(-fee * up // down), fee + 1)
