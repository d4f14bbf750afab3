"""What a droid is told: its fields, named as in the API, and what contradicts itself among them. Pure."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from builders.ticks import MAX_TICK, sqrt_at
from droids.market import Market

MOST_BOTS: Final = 50
MOST_BUCKETS: Final = 10_000
# A trigger of DEVIATION is the share that the price may move; a legacy ratio such as 0.75 must never be read as one.
MOST_DEVIATION: Final = Decimal("0.5")
AUTOMATIC: Final = (Decimal("0.25"), Decimal("0.75"))  # what a negative RANGE_RATIO stands for


def _number(value: Any) -> Any:
    # pydantic would take "10" and true for numbers, and a binary float for what somebody typed.
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ValueError("expected a number")
    return value


Whole = Annotated[int, BeforeValidator(_number)]
Number = Annotated[Decimal, BeforeValidator(_number), Field(max_digits=60, decimal_places=30)]
Positive = Annotated[Number, Field(gt=0, lt=Decimal("1e30"))]


class BadDroid(ValueError):
    """Fields of a droid are missing, malformed, or contradict one another; each fault begins with its field."""

    def __init__(self, faults: tuple[str, ...]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


class Fields(BaseModel):
    """A group of fields: unknown ones are refused, values cannot change, names from outside are camelCase."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=to_camel, validate_by_name=True, validate_by_alias=True
    )


Group = TypeVar("Group", bound=Fields)


class Droid(Fields):
    """How a droid keeps its ladder. docs/droids.md says what each field means; money is USD, gas prices are gwei.

    Prices are in the quote token for a whole base token. `trigger_mode` DEVIATION: the triggers are shares that the
    price may move since the last centring. RANGE_RATIO: they are places within the centre, 0 its lower edge and 1 its
    upper one; a negative one stands for AUTOMATIC.
    """

    funding_usd: Annotated[Positive, Field(alias="fundingUSD")]
    tick_buckets: Annotated[Whole, Field(ge=1, le=MOST_BUCKETS)]
    bucket_offset: Annotated[Whole, Field(ge=0, le=MOST_BUCKETS)] = 0
    max_bots: Annotated[Whole, Field(ge=1, le=MOST_BOTS)]
    min_price: Positive
    max_price: Positive
    falling_rebalance_trigger: Number
    rising_rebalance_trigger: Number
    trigger_type: Literal["EMA", "PRICE"] = "EMA"
    trigger_mode: Literal["DEVIATION", "RANGE_RATIO"] = "DEVIATION"
    funding_curve_type: Literal["LINEAR"] = "LINEAR"
    derivative_threshold: Annotated[Number, Field(ge=0, lt=1_000)]
    ladder_perc_margin: Annotated[Number, Field(ge=0, lt=Decimal("0.5"))]
    max_gas_price: Positive
    gas_budget_limit: Positive
    tx_priority: Annotated[Whole, Field(ge=1, le=5)]

    @property
    def ratios(self) -> tuple[Decimal, Decimal]:
        """Where within the centre the price has to fall below, or rise above, in mode RANGE_RATIO."""
        low, high = self.falling_rebalance_trigger, self.rising_rebalance_trigger
        return (AUTOMATIC[0] if low < 0 else low), (AUTOMATIC[1] if high < 0 else high)


class Pace(Fields):
    """How often a droid looks and acts, in seconds: settings of the daemon, not of a droid.

    `tau_s` is the EMA's time constant; before its `warm_up_s` are over a droid does nothing. `daily_cap` is the most
    rebalances within 24 hours.
    """

    sample_s: Annotated[int, Field(ge=1, le=3_600)] = 60
    tau_s: Annotated[int, Field(ge=1, le=86_400 * 30)] = 3_600
    warm_up_s: Annotated[int, Field(ge=0, le=86_400 * 90)] = 10_800
    cooldown_s: Annotated[int, Field(ge=0, le=86_400)] = 600
    daily_cap: Annotated[int, Field(ge=1, le=10_000)] = 12


def droid_of(values: Mapping[str, Any]) -> Droid:
    """Return the droid of fields named as in the API. Raises BadDroid for all that is wrong with them."""
    droid = fields_of(Droid, values)
    if faults := _contradictions(droid):
        raise BadDroid(tuple(faults))
    return droid


def fields_of(kind: type[Group], values: Mapping[str, Any]) -> Group:
    """Return `values` as a group of fields. Raises BadDroid for each that is missing, unknown or malformed."""
    try:
        return kind.model_validate(dict(values), by_name=False, by_alias=True)
    except ValidationError as error:
        raise BadDroid(tuple(_fault(each) for each in error.errors(include_url=False))) from None


def _fault(detail: Any) -> str:
    where = ascii(".".join(map(str, detail["loc"])))[1:-1][:60]
    if detail["type"] == "extra_forbidden":
        return f"{where}: no such field"
    text = detail["msg"].removeprefix("Value error, ")
    said = f"{where}: {text[:1].lower()}{text[1:]}"
    return said if detail["type"] == "missing" else f"{said}, found {shown(detail['input'])}"


def shown(value: Any) -> str:
    """Return a value as faults name it: short, and in ASCII."""
    text = ascii(value) if not isinstance(value, Decimal) else str(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def require_fit(droid: Droid, market: Market) -> None:
    """Raise BadDroid unless the ladder fits between the ends of a pool's ticks, and its centre within the band."""
    width = droid.tick_buckets * market.spacing
    step = (droid.bucket_offset or droid.tick_buckets) * market.spacing
    faults = []
    if width + droid.max_bots * step > MAX_TICK:
        faults.append(
            f"tickBuckets: {droid.max_bots} rungs of {droid.tick_buckets} spacings of {market.spacing} ticks are wider "
            "than the ticks of any pool"
        )
    elif droid.max_price / droid.min_price < Decimal(sqrt_at(width) ** 2) / (1 << 192):
        faults.append(
            f"maxPrice: expected room for one rung of {droid.tick_buckets} spacings of {market.spacing} ticks above "
            f"minPrice {droid.min_price}, found {droid.max_price}"
        )
    if faults:
        raise BadDroid(tuple(faults))


def _contradictions(droid: Droid) -> list[str]:
    faults = []
    if droid.max_price <= droid.min_price:
        faults.append(f"maxPrice: expected more than minPrice {droid.min_price}, found {droid.max_price}")
    if droid.bucket_offset > droid.tick_buckets:
        faults.append(
            f"bucketOffset: expected at most tickBuckets {droid.tick_buckets}, or the ladder has gaps in which the "
            f"price earns nothing, found {droid.bucket_offset}"
        )
    triggers = {
        "fallingRebalanceTrigger": droid.falling_rebalance_trigger,
        "risingRebalanceTrigger": droid.rising_rebalance_trigger,
    }
    if droid.trigger_mode == "DEVIATION":
        return faults + [
            f"{name}: expected a share above 0 and below {MOST_DEVIATION} in triggerMode DEVIATION, found {value}"
            + (
                "; a place within the range needs triggerMode RANGE_RATIO"
                if value >= MOST_DEVIATION or value < 0
                else ""
            )
            for name, value in triggers.items()
            if not 0 < value < MOST_DEVIATION
        ]
    faults += [
        f"{name}: expected a place below 1 within the range, or a negative number for the automatic one, found {value}"
        for name, value in triggers.items()
        if value >= 1
    ]
    low, high = droid.ratios
    if low >= high:
        faults.append(f"risingRebalanceTrigger: expected more than fallingRebalanceTrigger {low}, found {high}")
    return faults
