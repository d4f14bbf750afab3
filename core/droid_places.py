"""Settings of the pools and accounts that droids may be told to use (docs/droids.md)."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from core.fields import OptionalAddress, Part

PlaceId = Annotated[int, Field(ge=1, le=2**31 - 1)]


class DroidPoolSettings(Part):
    """A pool of Uniswap v3. `quote` is the token that prices are in; no `manager`: Uniswap's own on that chain."""

    chain: str = ""
    address: OptionalAddress = ""
    quote: OptionalAddress = ""
    manager: OptionalAddress = ""


class DroidAccountSettings(Part):
    """A wallet that droids may use, by its name among `wallets`."""

    wallet: str = ""


def place_faults(
    pools: Mapping[int, DroidPoolSettings],
    accounts: Mapping[int, DroidAccountSettings],
    chains: Mapping[str, int],
    wallets: Mapping[str, object],
) -> list[str]:
    """Return what of pools and accounts contradicts the configured chains (given with their ids) and wallets."""
    faults = []
    for number, pool in pools.items():
        at = f"droids.pools.{number}"
        if not chains.get(pool.chain):
            faults.append(f"{at}.chain: expected a configured chain with a chain_id, found {pool.chain!r}")
        faults += [f"{at}.{name}: not set" for name in ("address", "quote") if not getattr(pool, name)]
    faults += _doubles("pools", {n: (p.chain, p.address.lower()) for n, p in pools.items() if p.address})
    faults += _doubles("accounts", {n: a.wallet for n, a in accounts.items() if a.wallet})
    return faults + [
        f"droids.accounts.{number}.wallet: expected one of {', '.join(wallets) or 'none'}, found {account.wallet!r}"
        for number, account in accounts.items()
        if account.wallet not in wallets
    ]


def _doubles(kind: str, places: Mapping[int, object]) -> list[str]:
    first: dict[object, int] = {}
    return [
        f"droids.{kind}.{number}: the same as droids.{kind}.{first[place]}"
        for number, place in places.items()
        if first.setdefault(place, number) != number
    ]
