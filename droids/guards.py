"""What keeps a droid from acting although it has decided to: each refusal has a word and a sentence. Pure.

Exits are never held back by what would make them impossible for long: budget, price band, cooldown, a pool without
history. They are by what makes them unsafe: a halt, an alarm, a stale head, a spot that is known to be off its mean.
"""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final

from builders.liquidity import BPS

WEI: Final = 10**18
GWEI: Final = 10**9
# Of a multicall that closes, and of each position in it: five took 787,321 to 976,512 in anvil (make droid-run).
EXIT_GAS: Final = (60_000, 190_000)


class Word(StrEnum):
    """Why a droid does not act."""

    HALTED = "halted"  # the kill switch
    ALARM = "alarm"  # blocks were orphaned that had been called finalized
    HEAD_STALE = "head_stale"
    TWAP = "twap"  # the spot is off the mean, or the pool does not know its mean
    NATIVE_LOW = "native_low"
    GAS_PRICE = "gas_price"
    GAS_BUDGET = "gas_budget"
    FUNDING = "funding"
    NO_WALLET = "no_wallet"  # settings do not let the sender send from this wallet what the droid needs
    NO_TOKENS = "no_tokens"
    REVERTS = "reverts"
    VALUE_LOSS = "value_loss"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A guard's no: its word, and a sentence with what was expected and found."""

    word: Word
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Settings of the guards. `twap_ticks`: how far the spot may be from its mean of `twap_s` seconds."""

    head_age_s: int
    twap_s: int
    twap_ticks: int
    min_native: int
    slip_bps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What guards look at before anything is planned. Times are seconds, `native` is wei."""

    halted: str | None
    alarmed: bool
    head_age_s: int
    tick: int
    twap_tick: int | None
    native: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a plan would cost: gas of it and of a later exit, wei for each gas, USD of a native coin, USD spent."""

    gas: int
    exit_gas: int
    gas_price: int
    native_price: Decimal
    spent_usd: Decimal

    @property
    def usd(self) -> Decimal:
        """USD of the plan and of the exit."""
        return usd_of((self.gas + self.exit_gas) * self.gas_price, self.native_price)


def usd_of(wei: int, native_price: Decimal) -> Decimal:
    """Return what wei are worth."""
    return Decimal(wei) / WEI * native_price


def exit_gas(positions: int) -> int:
    """Return the gas that closing so many positions takes."""
    base, each = EXIT_GAS
    return base + each * positions


def now(scene: Scene, limits: Limits, *, leaving: bool) -> Refusal | None:
    """Return what speaks against sending anything at this block; `leaving`: it would close positions and open none."""
    if scene.halted is not None:
        return Refusal(Word.HALTED, f"halted: {scene.halted}")
    if scene.alarmed:
        return Refusal(Word.ALARM, "blocks were orphaned that had been called finalized (chainworkd alarm list)")
    if scene.head_age_s > limits.head_age_s:
        why = f"the newest block is {scene.head_age_s} s old, expected at most {limits.head_age_s} s"
        return Refusal(Word.HEAD_STALE, why)
    if (off := _off_mean(scene, limits, leaving=leaving)) is not None:
        return off
    if scene.native < limits.min_native and not leaving:
        return Refusal(Word.NATIVE_LOW, f"the wallet has {scene.native} wei, expected at least {limits.min_native}")
    return None


def _off_mean(scene: Scene, limits: Limits, *, leaving: bool) -> Refusal | None:
    if scene.twap_tick is None:
        why = f"the pool does not know its mean of {limits.twap_s} s: its observations are too few"
        return None if leaving else Refusal(Word.TWAP, why)
    if abs(scene.tick - scene.twap_tick) <= limits.twap_ticks:
        return None
    off = f"the spot is at tick {scene.tick}, the mean of {limits.twap_s} s at {scene.twap_tick}"
    return Refusal(Word.TWAP, f"{off}: expected at most {limits.twap_ticks} ticks between them")


def budget(cost: Cost, limit_usd: Decimal) -> Refusal | None:
    """Return whether a plan, and an exit after it, would go beyond gasBudgetLimit."""
    if cost.spent_usd + cost.usd > limit_usd:
        said = f"gas of this session is {cost.spent_usd:.6g} USD, this and an exit would add {cost.usd:.6g}"
        return Refusal(Word.GAS_BUDGET, f"{said}: gasBudgetLimit is {limit_usd}")
    return None


def funding(placed: int, ceiling: int) -> Refusal | None:
    """Return whether more would be deployed than fundingUSD; both are base units of the quote."""
    # Each side of each rung is rounded up to a unit; a millionth is far more than that.
    if placed > ceiling + ceiling // 1_000_000 + 100:
        return Refusal(Word.FUNDING, f"{placed} base units of the quote would be deployed, fundingUSD is {ceiling}")
    return None


def value(before: int, after: int, slip_bps: int) -> Refusal | None:
    """Return whether a simulation loses more than the slip allows; both are base units of the quote."""
    if after < before - before * slip_bps // BPS:
        why = f"all is worth {before} before and {after} after, base units of the quote: more is lost than"
        return Refusal(Word.VALUE_LOSS, f"{why} {slip_bps} hundredths of a percent")
    return None
