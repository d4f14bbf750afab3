"""Settings of wallets: who signs, what may be called, what it may cost. What they mean: docs/sending.md."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from core.fields import HexAddress, HttpUrl, OptionalAddress, Part, Seconds
from core.types import U256_MAX

Amount = Annotated[int, Field(ge=0, le=U256_MAX)]


class SenderSettings(Part):
    """What holds for all wallets."""

    kill_file: str = ""


class TokenSettings(Part):
    """How much of a token may leave the wallet, in its base units: with one transaction, and within 24 hours."""

    each: Amount = 0
    day: Amount = 0


class WalletSettings(Part):
    """One account that the sender sends from. Nothing may be called, and nothing spent, that is not named here."""

    chain: str = ""
    address: OptionalAddress = ""
    live: bool = False
    keystore: str = ""
    passphrase: str = ""
    remote_signer: HttpUrl = ""
    dev_key_env: str = ""
    allow_dev_key: bool = False
    max_fee_wei: Amount = 50_000_000_000
    min_tip_wei: Amount = 0
    max_gas: Annotated[int, Field(ge=21_000, le=1_000_000_000)] = 5_000_000
    each_wei: Amount = 0
    day_wei: Amount = 0
    tokens: dict[HexAddress, TokenSettings] = Field(default={})
    recipients: tuple[HexAddress, ...] = ()
    position_managers: tuple[HexAddress, ...] = ()
    routers: tuple[HexAddress, ...] = ()
    settle_blocks: Annotated[int, Field(ge=1, le=10_000)] = 12
    bump_blocks: Annotated[int, Field(ge=1, le=10_000)] = 3
    poll_s: Seconds = 1.0

    @property
    def ways_to_sign(self) -> tuple[str, ...]:
        """The settings that name a signer."""
        return tuple(name for name in ("keystore", "remote_signer", "dev_key_env") if getattr(self, name))


def wallet_faults(wallets: Mapping[str, WalletSettings], chains: Mapping[str, int]) -> list[str]:
    """Return what of the wallets contradicts itself or the configured chains, which are given with their ids."""
    faults = []
    whose: dict[tuple[str, str], str] = {}
    for name, wallet in wallets.items():
        at = f"wallets.{name}"
        if not chains.get(wallet.chain):
            faults.append(f"{at}.chain: expected a configured chain with a chain_id, found {wallet.chain!r}")
        if not wallet.address:
            faults.append(f"{at}.address: not set")
        if wallet.live and len(wallet.ways_to_sign) != 1:
            found = ", ".join(wallet.ways_to_sign) or "none"
            faults.append(f"{at}: expected one of keystore, remote_signer and dev_key_env, found {found}")
        if wallet.dev_key_env and not wallet.allow_dev_key:
            faults.append(f"{at}.dev_key_env: a key in the environment needs allow_dev_key as well")
        other = whose.setdefault((wallet.chain, wallet.address.lower()), name)
        if other != name:
            faults.append(f"{at}: the same account as wallets.{other}")
    return faults
