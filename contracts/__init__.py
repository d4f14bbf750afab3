"""What others have put on chain, as data: ABI fragments (abi/*.json) and well-known addresses (deployments.toml)."""

import json
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

Entry = Mapping[str, Any]


@cache
def abi(name: str) -> tuple[Entry, ...]:
    """Return the entries of `abi/<name>.json`, in the file's order; FileNotFoundError if there is no such file."""
    text = files("contracts").joinpath("abi", f"{name}.json").read_text(encoding="utf-8")
    return tuple(MappingProxyType(entry) for entry in json.loads(text))


@cache
def deployments(chain_id: int) -> Mapping[str, bytes]:
    """Return the well-known contracts of a chain by name, as 20-byte addresses; empty for a chain not listed."""
    text = files("contracts").joinpath("deployments.toml").read_text(encoding="utf-8")
    listed: dict[str, str] = tomllib.loads(text).get(str(chain_id), {})
    return MappingProxyType({name: bytes.fromhex(address[2:]) for name, address in listed.items()})
