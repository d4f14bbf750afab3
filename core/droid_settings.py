"""Settings of droids that are not any one droid's: how often they look, and what keeps them from acting."""

from typing import Annotated

from pydantic import Field

from core.droid_places import DroidAccountSettings, DroidPoolSettings, PlaceId
from core.fields import Part, Seconds
from core.types import U256_MAX


class DroidSettings(Part):
    """The pace of all droids and their guards (docs/droids.md), and what they may be told to use. Times are seconds."""

    sample_s: Annotated[int, Field(ge=1, le=3_600)] = 60
    tau_s: Annotated[int, Field(ge=1, le=86_400 * 30)] = 3_600
    warm_up_s: Annotated[int, Field(ge=0, le=86_400 * 90)] = 10_800
    cooldown_s: Annotated[int, Field(ge=0, le=86_400)] = 600
    daily_cap: Annotated[int, Field(ge=1, le=10_000)] = 12
    snapshot_s: Annotated[int, Field(ge=1, le=86_400)] = 3_600
    slip_bps: Annotated[int, Field(ge=0, le=300)] = 50
    deadline_s: Annotated[int, Field(ge=10, le=3_600)] = 600
    twap_s: Annotated[int, Field(ge=1, le=3_600)] = 300
    twap_ticks: Annotated[int, Field(ge=1, le=200)] = 100
    head_age_s: Annotated[int, Field(ge=1, le=3_600)] = 60
    min_native_wei: Annotated[int, Field(ge=0, le=U256_MAX)] = 10_000_000_000_000_000
    poll_s: Seconds = 1.0
    pools: dict[PlaceId, DroidPoolSettings] = Field(default={})
    accounts: dict[PlaceId, DroidAccountSettings] = Field(default={})
