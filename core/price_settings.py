"""Settings of prices: section `prices` of a chain (docs/prices.md)."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from core.fields import HexAddress, OptionalAddress, Part


class PriceSettings(Part):
    """Where prices come from: a deployment of Uniswap v3, and what is reckoned through. No factory: there are none."""

    factory: OptionalAddress = ""
    init_code_hash: Annotated[str, Field(pattern=r"^0x[0-9a-fA-F]{64}$")] = (
        "0xe34f199b19b2b4f47f68442619d555527d244f78a3297ea89325f843f87b8b54"
    )
    wrapper: OptionalAddress = ""
    stables: Annotated[tuple[HexAddress, ...], Field(max_length=8)] = ()
    fees: Annotated[tuple[Annotated[int, Field(ge=1, lt=1_000_000)], ...], Field(min_length=1, max_length=8)] = (
        100, 500, 3000, 10000,
    )  # fmt: skip
    min_depth: Annotated[int, Field(ge=0, le=10**12)] = 10
    max_age_s: Annotated[int, Field(ge=3_600, le=2_592_000)] = 86_400

    @model_validator(mode="after")
    def _whole(self) -> Self:
        bases = [each.lower() for each in (self.wrapper, *self.stables)]
        if self.factory and (not self.wrapper or not self.stables):
            raise ValueError("factory needs wrapper and at least one of stables: prices are reckoned through them")
        if len(set(bases)) < len(bases):
            raise ValueError("wrapper and stables: expected different addresses, found one twice")
        return self
