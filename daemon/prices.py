"""Venues of prices from settings: which pools price the tokens of which chain."""

from datetime import timedelta

from core.price_settings import PriceSettings
from core.settings import Settings
from prices.routes import Venue


def venues(settings: Settings) -> dict[str, Venue]:
    """Return the venues of the chains that have one, by the chain's name."""
    return {name: venue_of(chain.prices) for name, chain in settings.chains.items() if chain.prices.factory}


def venue_of(of: PriceSettings) -> Venue:
    """Return a venue as prices are reckoned with it."""
    return Venue(
        factory=_bytes(of.factory),
        init_code_hash=_bytes(of.init_code_hash),
        wrapper=_bytes(of.wrapper),
        stables=tuple(map(_bytes, of.stables)),
        fees=of.fees,
        min_depth=of.min_depth * 10**18,
        max_age=timedelta(seconds=of.max_age_s),
    )


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text[2:])
